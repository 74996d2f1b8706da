package scenario

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// missing lists what the scenario still waits for.
func (r *Run) missing() []string {
	s := r.o.Scenario
	var out []string
	for i := range s.Drivers {
		d := r.drivers[s.Drivers[i].Name]
		switch {
		case !d.hasStarted():
			out = append(out, "driver "+d.Name+" has not started")
		case !d.hasEnded():
			out = append(out, "driver "+d.Name+" runs")
		}
	}
	r.mu.Lock()
	if r.beside {
		out = append(out, "what runs beside it has not ended")
	}
	if n := len(s.Faults) - r.faults; n > 0 {
		out = append(out, fmt.Sprintf("%d of %d faults are not injected yet", n, len(s.Faults)))
	}
	r.mu.Unlock()
	if want := s.Finish.WorkerMachines; want != nil {
		if n := r.facts().WorkerMachines; n != *want {
			out = append(out, fmt.Sprintf("%d worker Machines exist, want %d", n, *want))
		}
	}
	return out
}

// Waiting says in one line what the scenario waits for.
func (r *Run) Waiting() string {
	text := "waiting for the end to hold"
	if m := r.missing(); len(m) > 0 {
		text = "waiting: " + strings.Join(m, ", ")
	}
	if state := r.o.Recorder.State(); state != "" {
		text += "; " + state
	}
	return text
}

// waitForEnd waits until nothing is missing and that has held, until the
// scenario cannot pass any more, or for the deadline. It returns what was
// missing at the deadline.
func (r *Run) waitForEnd(ctx context.Context) []string {
	var since time.Time
	var left []string
	tick := time.NewTicker(checkInterval)
	defer tick.Stop()
	for {
		left = r.missing()
		switch {
		case len(left) > 0:
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		case time.Since(since) >= r.o.Scenario.Finish.Hold.Duration:
			return nil
		}
		select {
		case <-ctx.Done():
			if len(left) == 0 {
				left = []string{"the end did not hold for " + r.o.Scenario.Finish.Hold.Duration.String()}
			}
			return left
		case <-r.failed:
			return nil // the failure is told
		case <-tick.C:
		}
	}
}
