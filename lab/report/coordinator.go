package report

import "time"

// CoordinatorStarted records a start of the coordinator.
func (r *Recorder) CoordinatorStarted(at time.Time, path, logFile string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.coordinator()
	c.Path, c.LogFile = path, logFile
	c.Starts++
	c.Restarts = c.Starts - 1
	text := "started"
	if c.Restarts > 0 {
		text = "started again"
	}
	r.emit(at, Event{Kind: KindCoordinator, Text: text})
}

// CoordinatorExited records the end of a process of the coordinator. Asked is
// true if the scenario wanted it.
func (r *Recorder) CoordinatorExited(at time.Time, how string, asked bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.coordinator()
	if !asked {
		c.UnexpectedExits = append(c.UnexpectedExits, how)
		how += ", which nobody asked for"
	}
	r.emit(at, Event{Kind: KindCoordinator, Text: "ended: " + how})
}

// CoordinatorPeak records the largest resident set so far of a process of the
// coordinator; pid zero is none. It is read while the process runs: what the
// kernel tells of one that has ended includes the lab, of which it was a copy
// before it became the coordinator.
func (r *Recorder) CoordinatorPeak(pid int) {
	bytes := peakRSS("/proc", pid)
	if bytes == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.coordinator()
	c.PeakRSSBytes = max(c.PeakRSSBytes, bytes)
}

// CoordinatorLog records the end of the coordinator's log and the lines of it
// that tell of a panic.
func (r *Recorder) CoordinatorLog(tail string, panics []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.coordinator()
	c.LogTail, c.Panics = tail, panics
}

func (r *Recorder) coordinator() *Coordinator {
	if r.rep.Coordinator == nil {
		r.rep.Coordinator = &Coordinator{Reasons: map[string]int{}, Steps: map[string]int{}, NodeSteps: map[string][]string{}}
	}
	return r.rep.Coordinator
}

// ObserveMemory records sums of resident sets in bytes, see [Memory].
func (r *Recorder) ObserveMemory(lab, withRay int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rep.Memory.LabPeakBytes = max(r.rep.Memory.LabPeakBytes, lab)
	r.rep.Memory.WithRayPeakBytes = max(r.rep.Memory.WithRayPeakBytes, withRay)
}
