package scenario

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/tandem-autoscaler/tandem/lab/report"
)

// checkInterval is how often conditions are looked at.
const checkInterval = 50 * time.Millisecond

// Options of a Run.
type Options struct {
	Scenario *Scenario
	Lab      Lab
	Recorder *report.Recorder
	// Dir receives the files of the run: configuration, logs, programs.
	Dir string
	// Python runs the drivers.
	Python string
	// Coordinator is the path of the executable; empty runs without one.
	Coordinator string
	// PollGCS reads the GCS of a RayCluster until the context ends (default
	// [report.PollGCS]).
	PollGCS func(context.Context, report.GCSTarget, *report.Recorder)
	// AutoscalerRan tells whether the in-tree autoscaler of a RayCluster has
	// ended a round (default [report.AutoscalerRan]).
	AutoscalerRan func(context.Context, report.GCSTarget) bool
	// Meanwhile, if not nil, runs beside everything else. The scenario does not
	// end before it, and fails with its error.
	Meanwhile func(context.Context, *Run) error
}

// Run is a scenario that runs on a lab.
type Run struct {
	o            Options
	tokens       map[string]string // by namespace/name of the RayCluster
	coordinators []*coordinator    // one for each instance that runs at once

	// background ends with Close: the context of what outlives Do, such as a
	// coordinator that is kept.
	background context.Context
	cancel     context.CancelFunc
	wg         sync.WaitGroup

	mu      sync.Mutex
	drivers map[string]*driver
	faults  int           // injected so far
	beside  bool          // Meanwhile runs
	fatal   []string      // why the scenario cannot pass any more
	failed  chan struct{} // closed with the first of fatal
}

// New prepares a run. Close must be called at its end.
func New(ctx context.Context, o Options) (*Run, error) {
	if o.PollGCS == nil {
		o.PollGCS = report.PollGCS
	}
	if o.AutoscalerRan == nil {
		o.AutoscalerRan = report.AutoscalerRan
	}
	r := &Run{o: o, beside: o.Meanwhile != nil, tokens: map[string]string{}, drivers: map[string]*driver{}, failed: make(chan struct{})}
	r.background, r.cancel = context.WithCancel(ctx)
	for _, dir := range []string{"drivers", "tokens"} {
		if err := os.MkdirAll(filepath.Join(o.Dir, dir), 0o700); err != nil {
			r.cancel()
			return nil, fmt.Errorf("making the directory of the run: %w", err)
		}
	}
	for i := range o.Scenario.Drivers {
		d := &o.Scenario.Drivers[i]
		r.drivers[d.Name] = newDriver(d)
	}
	return r, nil
}

// Do runs the scenario to its end and judges it. It returns early when the
// scenario cannot pass any more. An error means that it could not be run; a
// scenario that ran and failed is no error.
func (r *Run) Do(parent context.Context) (report.Report, error) {
	ctx, cancel := context.WithTimeout(parent, r.o.Scenario.Deadline.Duration)
	defer cancel()
	if err := r.prepare(ctx); err != nil {
		return r.o.Recorder.Report(time.Now()), err
	}
	var tasks sync.WaitGroup
	r.startTasks(ctx, &tasks)
	missing := r.waitForEnd(ctx)
	if parent.Err() != nil {
		r.fail("the run was interrupted")
		missing = nil
	}
	cancel()
	tasks.Wait()
	r.collectCoordinator()
	rep := r.o.Recorder.Report(time.Now())
	rep.HoldSeconds = r.o.Scenario.holds().Seconds()
	rep.CountedPodsAtEnd = r.countedPods(parent)
	r.judge(&rep, missing)
	return rep, nil
}

// Recorder is what the run records to.
func (r *Run) Recorder() *report.Recorder { return r.o.Recorder }

// Lab is what the scenario runs on.
func (r *Run) Lab() Lab { return r.o.Lab }

// Close ends the drivers and the coordinator and waits for everything that the
// run started.
func (r *Run) Close() {
	r.cancel()
	r.wg.Wait()
}

// prepare makes pools and tokens and starts the coordinator.
func (r *Run) prepare(ctx context.Context) error {
	s := r.o.Scenario
	for _, p := range s.Pools {
		if err := r.o.Lab.AddPool(ctx, p); err != nil {
			return fmt.Errorf("adding pool %s: %w", p.Name, err)
		}
	}
	for i := range s.RayClusters {
		if err := r.prepareToken(ctx, &s.RayClusters[i]); err != nil {
			return err
		}
	}
	if r.o.Coordinator == "" {
		return nil
	}
	for i := range s.Coordinator.Instances {
		c, err := r.newCoordinator(ctx, i)
		if err != nil {
			return err
		}
		r.mu.Lock()
		r.coordinators = append(r.coordinators, c)
		r.mu.Unlock()
		if s.Coordinator.AfterEvent != nil {
			continue // startTasks waits for it
		}
		if err := c.start(r.background); err != nil {
			return err
		}
	}
	return nil
}

// startCoordinators starts them when what they wait for has happened.
func (r *Run) startCoordinators(ctx context.Context) {
	after := r.o.Scenario.Coordinator.AfterEvent
	if after == nil || !waitUntil(ctx, func() bool { return r.happened(after) }) {
		return
	}
	for _, c := range r.coordinators {
		if err := c.start(r.background); err != nil {
			r.fail("%v", err)
		}
	}
}

// runBeside runs what the options say beside the scenario.
func (r *Run) runBeside(ctx context.Context) {
	err := r.o.Meanwhile(ctx, r)
	if err != nil && ctx.Err() == nil {
		r.fail("%v", err)
	}
	r.mu.Lock()
	r.beside = false
	r.mu.Unlock()
}

// startTasks starts one goroutine for each thing that happens at its own time.
func (r *Run) startTasks(ctx context.Context, tasks *sync.WaitGroup) {
	s := r.o.Scenario
	for i := range s.RayClusters {
		tasks.Go(func() { r.runRayCluster(ctx, &s.RayClusters[i]) })
	}
	for i := range s.Objects {
		tasks.Go(func() { r.runObject(ctx, &s.Objects[i]) })
	}
	for i := range s.Drivers {
		tasks.Go(func() { r.runDriver(ctx, r.drivers[s.Drivers[i].Name]) })
	}
	for i := range s.Faults {
		tasks.Go(func() { r.runFault(ctx, &s.Faults[i]) })
	}
	tasks.Go(func() { r.startCoordinators(ctx) })
	if r.o.Meanwhile != nil {
		tasks.Go(func() { r.runBeside(ctx) })
	}
}

// fail notes why the scenario cannot pass any more; the end follows.
func (r *Run) fail(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fatal = append(r.fatal, fmt.Sprintf(format, args...))
	if len(r.fatal) == 1 {
		close(r.failed)
	}
}

// wait waits for a duration, or less if the context ends; then it is false.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// waitUntil waits for a condition; it is false if the context ends first.
func waitUntil(ctx context.Context, condition func() bool) bool {
	tick := time.NewTicker(checkInterval)
	defer tick.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
	return true
}
