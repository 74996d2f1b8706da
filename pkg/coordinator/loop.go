package coordinator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tandem-autoscaler/tandem/pkg/metrics"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// Defaults of [Options].
const (
	DefaultInterval    = 5 * time.Second
	DefaultStepTimeout = 10 * time.Second
	// quiet is the least time between two ticks: events that come in a burst
	// become one tick.
	quiet = 50 * time.Millisecond
	// again is how soon a tick follows one in which a step was refused: the
	// caches need that long to see what was written meanwhile.
	again = 250 * time.Millisecond
)

// Options of a [Loop]. Observers, Actuator and Policy are required.
type Options struct {
	Observers []Observer
	Actuator  Actuator
	// Recorder is told what every tick saw, decided and did.
	Recorder metrics.Recorder
	// Policy is asked at every tick, so that a reloaded configuration counts
	// from the next one on.
	Policy func() planner.Policy
	// Wake makes the loop tick before its interval has passed.
	Wake <-chan struct{}
	// Ready tells whether every source has been read once. Until then the loop
	// plans nothing.
	Ready func() error
	// Interval between ticks (default 5 s).
	Interval time.Duration
	// StepTimeout bounds each step (default 10 s).
	StepTimeout time.Duration
	// DryRun plans and records but takes no step.
	DryRun bool
	Log    *zap.Logger
}

// Loop is the coordinator's one writer. Use [New].
type Loop struct {
	o      Options
	memory planner.Memory

	mu       sync.Mutex
	lastTick time.Time
}

// New fills in what the options leave out.
func New(o Options) *Loop {
	if o.Interval <= 0 {
		o.Interval = DefaultInterval
	}
	if o.StepTimeout <= 0 {
		o.StepTimeout = DefaultStepTimeout
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return &Loop{o: o}
}

// Run ticks until ctx ends. It returns nil then: being asked to stop is no
// error.
func (l *Loop) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	wake := l.o.Wake
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-wake:
		case <-timer.C:
		}
		next := l.o.Interval
		if l.ready() {
			if l.Tick(ctx) {
				next = again
			}
		} else {
			next = again
		}
		timer.Reset(next)
		// Whatever happens in this short while is seen by one tick.
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(quiet):
		}
	}
}

func (l *Loop) ready() bool { return l.o.Ready == nil || l.o.Ready() == nil }

// LastTick is when the last tick ended; the zero time before the first.
func (l *Loop) LastTick() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lastTick
}

// Observe builds a snapshot of now.
func (l *Loop) Observe(now time.Time) planner.Snapshot {
	s := planner.Snapshot{SchemaVersion: planner.SchemaVersion, At: now.UTC(), Policy: l.o.Policy()}
	for _, o := range l.o.Observers {
		o.Observe(now, &s)
	}
	return s
}

// Tick runs the loop once. It tells whether another tick should follow soon,
// because a step was refused or failed.
func (l *Loop) Tick(ctx context.Context) (soon bool) {
	start := time.Now()
	s := l.Observe(start)
	observed := time.Now()
	plan, memory := planner.Make(s, l.memory)
	planned := time.Now()
	violation := planner.Check(s, plan)
	checked := time.Now()
	t := metrics.Tick{At: s.At, Snapshot: s, Plan: plan, Memory: memory, DryRun: l.o.DryRun, Leader: true, SafeToAct: violation == nil && allKnown(s)}
	if violation != nil {
		// Never act on a plan that breaks a rule; the memory it came with is
		// not trusted either.
		t.Violation = violation.Error()
		l.o.Log.Error("plan dropped: it breaks a rule", zap.String("planID", plan.ID), zap.Error(violation))
	} else {
		l.memory = memory
		t.Results = l.act(ctx, plan, demandSince(s))
	}
	end := time.Now()
	t.Duration = end.Sub(start)
	t.Phases = map[metrics.Phase]time.Duration{
		metrics.PhaseObserve: observed.Sub(start), metrics.PhasePlan: planned.Sub(observed),
		metrics.PhaseCheck: checked.Sub(planned), metrics.PhaseAct: end.Sub(checked),
	}
	l.mu.Lock()
	l.lastTick = end
	l.mu.Unlock()
	if l.o.Recorder != nil {
		l.o.Recorder.Record(t)
	}
	for _, r := range t.Results {
		soon = soon || r.Outcome == metrics.Refused || r.Outcome == metrics.Failed
	}
	return soon
}

// act takes the plan's steps in their order. One step that is refused or fails
// never stops the others; losing the context, which a lost lease does, stops
// all that have not begun.
func (l *Loop) act(ctx context.Context, plan planner.Plan, since time.Time) []metrics.StepResult {
	out := make([]metrics.StepResult, 0, len(plan.Steps))
	for _, step := range plan.Steps {
		r := metrics.StepResult{Step: step, Outcome: metrics.Done}
		switch err := l.take(ctx, plan, step); {
		case l.o.DryRun:
			r.Outcome = metrics.DryRun
		case errors.Is(err, ErrRefused):
			r.Outcome, r.Error = metrics.Refused, err.Error()
		case err != nil:
			r.Outcome, r.Error = metrics.Failed, err.Error()
		case (step.Kind == planner.StepGrow || step.Kind == planner.StepGrowWorkers) && !since.IsZero():
			r.Waited = time.Since(since)
		}
		l.log(plan, r)
		out = append(out, r)
	}
	return out
}

// demandSince is when the demand that changed last was first seen, the zero time
// if that is not known. A burst of growth follows from the latest change.
func demandSince(s planner.Snapshot) time.Time {
	var last time.Time
	for i := range s.RayClusters {
		if c := &s.RayClusters[i]; c.DemandKnown && c.DemandSince.After(last) {
			last = c.DemandSince
		}
	}
	return last
}

func (l *Loop) take(ctx context.Context, plan planner.Plan, step planner.Step) error {
	if l.o.DryRun {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("not begun: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, l.o.StepTimeout)
	defer cancel()
	return l.o.Actuator.Take(ctx, plan, step)
}

func (l *Loop) log(plan planner.Plan, r metrics.StepResult) {
	fields := []zap.Field{
		zap.String("planID", plan.ID), zap.String("step", string(r.Step.Kind)), zap.String("reason", string(r.Step.Reason)),
		zap.String("nodeGroup", r.Step.Group), zap.String("node", r.Step.Node), zap.String("cluster", r.Step.RayCluster),
		zap.String("workerGroup", r.Step.WorkerGroup), zap.Strings("machines", r.Step.Machines),
		zap.Int64("from", r.Step.From), zap.Int64("to", r.Step.To), zap.String("outcome", string(r.Outcome)),
	}
	switch r.Outcome {
	case metrics.Done, metrics.DryRun:
		l.o.Log.Info("step", fields...)
	case metrics.Refused:
		l.o.Log.Info("step refused", append(fields, zap.String("why", r.Error))...)
	case metrics.Failed:
		l.o.Log.Warn("step failed", append(fields, zap.String("error", r.Error))...)
	}
}

func allKnown(s planner.Snapshot) bool {
	for _, src := range s.Sources {
		if !src.Known {
			return false
		}
	}
	return true
}
