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
	// caches need that long to see what was written meanwhile. A step that failed
	// waits for the interval.
	again = 250 * time.Millisecond
	// clockJump is how far the wall clock may run ahead of the monotonic one, or
	// behind it, between two ticks.
	clockJump = time.Minute
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
	// Gates are asked before every step, beside the policy: whether the lease is
	// still held, whether a person has paused the cluster.
	Gates []Gate
	// Wall tells the time of day (time.Now). Durations within the process go by
	// the monotonic clock.
	Wall func() time.Time
	// Wake makes the loop tick before its interval has passed.
	Wake <-chan struct{}
	// Ready tells whether every source has been read once. Until then the loop
	// plans nothing.
	Ready func() error
	// Room tells why there is too little memory for a plan, or nil (default: by the
	// memory limit of the Go runtime). It is asked once a tick.
	Room func() error
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
	spent  ledger
	pauses pauses
	// accepted holds back what was granted just now.
	accepted accepted
	// wall and mono are when the last tick began, by both clocks.
	wall, mono time.Time

	mu       sync.Mutex
	lastTick time.Time
	// beat is when the loop last went round, tick or not; began is when the tick
	// that runs now began. Zero: not running, no tick.
	beat, began time.Time
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
	if o.Wall == nil {
		o.Wall = time.Now
	}
	if o.Room == nil {
		o.Room = func() error { return room(goHeap{}) }
	}
	return &Loop{o: o, pauses: pauses{}, accepted: accepted{}}
}

// Run ticks until ctx ends. It returns nil then: being asked to stop is no
// error.
func (l *Loop) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	defer l.beats(time.Time{})
	wake := l.o.Wake
	for {
		l.beats(time.Now())
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

func (l *Loop) beats(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.beat = at
}

// Live tells why the loop counts as stuck: a tick has been running for longer
// than the limit, or the loop has not gone round for that long. A loop that waits
// for the lease, or for its sources, is not stuck.
func (l *Loop) Live(limit time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !l.began.IsZero() && time.Since(l.began) > limit:
		return fmt.Errorf("a round has been running for %s", time.Since(l.began).Round(time.Second))
	case l.began.IsZero() && !l.beat.IsZero() && time.Since(l.beat) > limit+l.o.Interval:
		return fmt.Errorf("the loop has not ticked for %s", time.Since(l.beat).Round(time.Second))
	}
	return nil
}

// Observe builds a snapshot of now.
func (l *Loop) Observe(now time.Time) planner.Snapshot {
	s := planner.Snapshot{SchemaVersion: planner.SchemaVersion, At: l.o.Wall().UTC(), Policy: l.o.Policy()}
	for _, o := range l.o.Observers {
		o.Observe(now, &s)
	}
	return s
}

// begin notes that a tick runs, and forgets every timer when the wall clock has
// jumped: the zero Memory is the most cautious one, and what must outlive it is
// written on objects.
func (l *Loop) begin(now time.Time) {
	l.mu.Lock()
	l.began = now
	l.mu.Unlock()
	wall := l.o.Wall().Round(0)
	if !l.mono.IsZero() {
		if jump := wall.Sub(l.wall) - now.Sub(l.mono); jump > clockJump || jump < -clockJump {
			l.memory = planner.Memory{}
			l.o.Log.Warn("the clock jumped: timers start anew", zap.Duration("jump", jump))
		}
	}
	l.wall, l.mono = wall, now
}

func (l *Loop) end(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lastTick, l.began = now, time.Time{}
}

// Tick runs the loop once. It tells whether another tick should follow soon,
// because a step was refused. It must not be called again before it
// has returned: a tick that overruns the interval delays the next one.
func (l *Loop) Tick(ctx context.Context) (soon bool) {
	start := time.Now()
	l.begin(start)
	s := l.Observe(start)
	observed := time.Now()
	if err := l.o.Room(); err != nil {
		l.o.Log.Warn("nothing planned in this round", zap.Error(err))
		l.record(metrics.Tick{At: s.At, Snapshot: s, Memory: l.memory, DryRun: l.o.DryRun, Leader: true}, start,
			map[metrics.Phase]time.Duration{metrics.PhaseObserve: observed.Sub(start)})
		return false
	}
	plan, memory := planner.Make(s, l.memory)
	planned := time.Now()
	violation := planner.Check(s, plan)
	checked := time.Now()
	t := metrics.Tick{At: s.At, Snapshot: s, Plan: plan, Memory: memory, DryRun: l.o.DryRun, Leader: true, SafeToAct: violation == nil && allKnown(s) && !s.Policy.Paused}
	if violation != nil {
		// Never act on a plan that breaks a rule; the memory it came with is
		// not trusted either.
		t.Violation = violation.Error()
		l.o.Log.Error("plan dropped: it breaks a rule", zap.String("planID", plan.ID), zap.Error(violation))
	} else {
		l.memory = memory
		t.Results, soon = l.act(ctx, &s, plan, demandSince(s))
	}
	l.record(t, start, map[metrics.Phase]time.Duration{
		metrics.PhaseObserve: observed.Sub(start), metrics.PhasePlan: planned.Sub(observed),
		metrics.PhaseCheck: checked.Sub(planned), metrics.PhaseAct: time.Since(checked),
	})
	return soon
}

// record ends a tick and tells what it came to.
func (l *Loop) record(t metrics.Tick, start time.Time, phases map[metrics.Phase]time.Duration) {
	end := time.Now()
	t.Duration, t.Phases = end.Sub(start), phases
	l.end(end)
	if l.o.Recorder != nil {
		l.o.Recorder.Record(t)
	}
}

// act takes the plan's steps in their order. One step that is refused or fails
// never stops the others; losing the context, which a lost lease does, stops
// all that have not begun. Another tick should follow soon if the world had moved
// on, but not if a write failed, nor for what the executor itself holds back: it
// would come to the same again.
func (l *Loop) act(ctx context.Context, s *planner.Snapshot, plan planner.Plan, since time.Time) (results []metrics.StepResult, soon bool) {
	e := &executor{snapshot: s, policy: l.o.Policy, gates: l.o.Gates, spent: &l.spent, byGroup: map[string]int64{}}
	l.pauses.keep(plan.Steps)
	out := make([]metrics.StepResult, 0, len(plan.Steps))
	for _, step := range plan.Steps {
		r := metrics.StepResult{Step: step, Outcome: metrics.Done}
		began := time.Now()
		err := l.take(ctx, e, plan, step)
		switch {
		case l.o.DryRun:
			r.Outcome = metrics.DryRun
		case errors.Is(err, ErrDrainRefused):
			r.Outcome, r.Error, r.DrainRefused = metrics.Refused, err.Error(), true
			l.memory = l.memory.DrainRefused(step.NodeUID, s.At)
		case errors.Is(err, ErrRefused):
			r.Outcome, r.Error = metrics.Refused, err.Error()
		case err != nil:
			r.Outcome, r.Error = metrics.Failed, err.Error()
		case (step.Kind == planner.StepGrow || step.Kind == planner.StepGrowWorkers) && !since.IsZero():
			r.Waited = time.Since(since)
		}
		r.Took = time.Since(began)
		if r.Outcome == metrics.Refused && !errors.Is(err, errHeld) && l.pauses.hurries(step) {
			soon = true
		}
		l.log(plan, r)
		out = append(out, r)
	}
	return out, soon
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

func (l *Loop) take(ctx context.Context, e *executor, plan planner.Plan, step planner.Step) error {
	if l.o.DryRun {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("not begun: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, l.o.StepTimeout)
	defer cancel()
	if err := firstOf(e.allow(ctx, step), l.accepted.allow(step, time.Now()), l.pauses.allow(step, time.Now())); err != nil {
		return err
	}
	err := l.o.Actuator.Take(ctx, plan, step)
	switch {
	case err == nil:
		l.pauses.succeeded(step)
		l.accepted.note(step, time.Now())
	case !errors.Is(err, ErrRefused):
		l.pauses.failed(step, time.Now(), err)
	}
	if !errors.Is(err, ErrRefused) {
		e.took(step)
	}
	return err
}

func (l *Loop) log(plan planner.Plan, r metrics.StepResult) {
	fields := []zap.Field{
		zap.String("planID", plan.ID), zap.String("step", string(r.Step.Kind)), zap.String("reason", string(r.Step.Reason)),
		zap.String("nodeGroup", r.Step.Group), zap.String("node", r.Step.Node), zap.String("cluster", r.Step.RayCluster),
		zap.String("workerGroup", r.Step.WorkerGroup), zap.Strings("machines", r.Step.Machines),
		zap.Strings("pods", podNames(r.Step.Pods)), zap.String("rayNode", r.Step.RayNode),
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

func podNames(pods []planner.PodRef) []string {
	out := make([]string, 0, len(pods))
	for _, p := range pods {
		out = append(out, p.Namespace+"/"+p.Name)
	}
	return out
}

func allKnown(s planner.Snapshot) bool {
	for _, src := range s.Sources {
		if !src.Known {
			return false
		}
	}
	return true
}
