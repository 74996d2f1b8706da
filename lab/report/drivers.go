package report

import "time"

// DriverStarted records that a driver runs. RayCluster is namespace/name.
func (r *Recorder) DriverStarted(at time.Time, name, cluster, outputFile string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := Driver{Name: name, RayCluster: cluster, StartedAt: r.seconds(at), OutputFile: outputFile}
	for _, p := range r.pods {
		if p.cluster() == cluster && !p.Head && p.phase() == "Ready" {
			d.FirstWorkerReadyAt, d.WaitSeconds = new(d.StartedAt), new(0.0)
		}
	}
	r.rep.Drivers = append(r.rep.Drivers, d)
	r.emit(at, Event{Kind: KindDriver, Subject: name, Text: "started on " + cluster})
}

// DriverEnd is how a driver ended.
type DriverEnd struct {
	ExitCode int
	TimedOut bool
	// Tail is the end of its output.
	Tail string
	// Text says it in words.
	Text string
}

// DriverEnded records the end of a driver that was started.
func (r *Recorder) DriverEnded(at time.Time, name string, end DriverEnd) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.rep.Drivers {
		d := &r.rep.Drivers[i]
		if d.Name != name || d.EndedAt != nil {
			continue
		}
		d.EndedAt = new(r.seconds(at))
		d.RunSeconds = new(round(*d.EndedAt - d.StartedAt))
		d.ExitCode, d.TimedOut, d.OutputTail = &end.ExitCode, end.TimedOut, end.Tail
	}
	r.emit(at, Event{Kind: KindDriver, Subject: name, Text: end.Text})
}

// FaultInjected records a fault, or with an error that it could not be done.
func (r *Recorder) FaultInjected(at time.Time, kind, target string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := Fault{Kind: kind, At: r.seconds(at), Target: target}
	text := kind + " " + target
	if err != nil {
		f.Error = err.Error()
		text += ": " + f.Error
	}
	r.rep.Faults = append(r.rep.Faults, f)
	r.emit(at, Event{Kind: KindFault, Subject: target, Text: text})
}
