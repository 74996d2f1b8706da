package coordinator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// errHeld is wrapped, beside [ErrRefused], by what the executor holds back.
var errHeld = errors.New("held by the executor")

// executor holds the limits once more, right before each step, whatever the plan
// says. It counts by itself and trusts neither the planner nor its check: a plan
// that asks for too much is cut off here.
type executor struct {
	snapshot *planner.Snapshot
	policy   func() planner.Policy
	gates    []Gate
	spent    *ledger

	grown, removed int64 // in this tick
	byGroup        map[string]int64
}

// ledger is what was asked for in the last hour, by the monotonic clock.
type ledger struct{ entries []entry }

type entry struct {
	at             time.Time
	grown, removed int64
}

// last sums up an hour, and forgets what is older.
func (l *ledger) last(now time.Time) (grown, removed int64) {
	for len(l.entries) > 0 && now.Sub(l.entries[0].at) >= time.Hour {
		l.entries = l.entries[1:]
	}
	for _, e := range l.entries {
		grown, removed = grown+e.grown, removed+e.removed
	}
	return grown, removed
}

// allow tells why the step must not be taken. Such an error wraps [ErrRefused].
func (e *executor) allow(ctx context.Context, step planner.Step) error {
	policy := e.policy() // as it is now: a reload may have changed it within the tick
	if policy.Paused {
		return e.refuse("paused by %s", policy.PausedBy)
	}
	for _, gate := range e.gates {
		if err := gate(ctx); err != nil {
			return fmt.Errorf("%w: %w: %w", ErrRefused, errHeld, err)
		}
	}
	switch step.Kind {
	case planner.StepGrow:
		return e.allowGrowth(step, policy)
	case planner.StepRemove:
		return e.allowRemoval(step, policy)
	case planner.StepDrain:
		return e.allowDrain(step, policy)
	case planner.StepShrinkWorkers, planner.StepReplaceWorker:
		return e.known(planner.SourceRay, planner.SourceWorkload)
	case planner.StepEvict:
		if policy.RemovalDisabled {
			return e.refuse("removal is disabled")
		}
		return e.known(planner.SourceWorkload)
	case planner.StepGrowWorkers, planner.StepCordon, planner.StepUncordon, planner.StepUnmark, planner.StepSoftTaint, planner.StepSoftUntaint,
		planner.StepClearWorkers, planner.StepHook, planner.StepReleaseHook, planner.StepRemember:
	}
	return nil
}

func (e *executor) refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %w: %s", ErrRefused, errHeld, fmt.Sprintf(format, args...))
}

// within refuses what would take a count above a bound; zero is no bound.
func (e *executor) within(what string, have, more, limit int64) error {
	if limit > 0 && have+more > limit {
		return e.refuse("%d and %d more exceed %s of %d", have, more, what, limit)
	}
	return nil
}

// known refuses when a source of one of the kinds is not known (rule I9).
func (e *executor) known(kinds ...planner.SourceKind) error {
	for _, kind := range kinds {
		seen := false
		for _, s := range e.snapshot.Sources {
			seen = seen || s.Kind == kind
			if s.Kind == kind && !s.Known {
				return e.refuse("source %s %s is not known", s.Kind, s.Name)
			}
		}
		if !seen {
			return e.refuse("source %s was not read", kind)
		}
	}
	return nil
}

func (e *executor) allowGrowth(step planner.Step, policy planner.Policy) error {
	more := step.To - step.From
	if more <= 0 {
		return e.refuse("a growth from %d to %d is none", step.From, step.To)
	}
	hour, _ := e.spent.last(time.Now())
	return firstOf(
		e.known(planner.SourceManagement),
		e.groupMax(step),
		e.within("growth.maxPerTick", e.grown, more, policy.MaxGrowPerTick),
		e.within("growth.maxPerGroup", e.byGroup[step.Group], more, policy.MaxGrowPerGroup),
		e.within("growth.maxPerHour", hour, more, policy.MaxGrowPerHour),
		e.within("growth.maxMachines", e.machines()+e.grown, more, policy.MaxMachines),
	)
}

// groupMax is the group's own limit.
func (e *executor) groupMax(step planner.Step) error {
	for i := range e.snapshot.NodeGroups {
		g := &e.snapshot.NodeGroups[i]
		if g.Key() != step.Group {
			continue
		}
		if !g.Managed || step.To > g.Max {
			return e.refuse("%d replicas exceed what %s may have, %d", step.To, g.Key(), g.Max)
		}
		return nil
	}
	return e.refuse("NodeGroup %s is not in the snapshot", step.Group)
}

// machines counts what all managed groups hold or ask for, Machines that are on
// their way out included.
func (e *executor) machines() int64 {
	have := map[string]int64{}
	for i := range e.snapshot.Machines {
		have[e.snapshot.Machines[i].Group]++
	}
	var sum int64
	for i := range e.snapshot.NodeGroups {
		if g := &e.snapshot.NodeGroups[i]; g.Managed {
			sum += max(g.Replicas, have[g.Key()])
		}
	}
	return sum
}

func (e *executor) allowRemoval(step planner.Step, policy planner.Policy) error {
	n := int64(len(step.Machines))
	_, hour := e.spent.last(time.Now())
	switch {
	case policy.RemovalDisabled:
		return e.refuse("removal is disabled")
	case n == 0 || step.From-step.To != n:
		return e.refuse("%d replicas to %d is not what %d Machines make", step.From, step.To, n)
	}
	return firstOf(
		e.known(planner.SourceManagement, planner.SourceWorkload, planner.SourceRay),
		e.empty(step),
		e.within("removal.maxPerTick", e.removed, n, policy.MaxRemovePerTick),
		e.within("removal.maxPerHour", hour, n, policy.MaxRemovePerHour),
	)
}

// empty is rule I1 once more, on the snapshot: no Ray pod is on a Node of the
// Machines, and the Node carries our cordon.
func (e *executor) empty(step planner.Step) error {
	going := map[string]bool{}
	for _, m := range step.Machines {
		going[m] = true
	}
	machine := map[string]bool{}
	for i := range e.snapshot.Nodes {
		if n := &e.snapshot.Nodes[i]; going[n.Machine] {
			if n.Cordon == nil {
				return e.refuse("Node %s of Machine %s does not carry our cordon", n.Name, n.Machine)
			}
			machine[n.Name] = true
		}
	}
	for i := range e.snapshot.Pods {
		if p := &e.snapshot.Pods[i]; p.RayCluster != "" && p.Node != "" && machine[p.Node] {
			return e.refuse("Ray pod %s is on Node %s", p.Key(), p.Node)
		}
	}
	return nil
}

func (e *executor) allowDrain(step planner.Step, policy planner.Policy) error {
	if step.Drain != planner.DrainIdle {
		return nil // somebody else deletes the Machine: the Ray node is only told
	}
	if policy.RemovalDisabled {
		return e.refuse("removal is disabled")
	}
	for _, s := range e.snapshot.Sources {
		if s.Kind == planner.SourceGCS && s.Name == step.RayCluster && !s.Known {
			return e.refuse("the GCS of %s is not known", s.Name)
		}
	}
	return e.known(planner.SourceRay, planner.SourceWorkload, planner.SourceManagement)
}

// took counts a step whose write was tried: one of which the outcome is unknown
// counts as done.
func (e *executor) took(step planner.Step) {
	var now entry
	switch step.Kind { //nolint:exhaustive // the other kinds neither buy nor give back
	case planner.StepGrow:
		now.grown = step.To - step.From
		e.byGroup[step.Group] += now.grown
	case planner.StepRemove:
		now.removed = int64(len(step.Machines))
	default:
		return
	}
	e.grown, e.removed = e.grown+now.grown, e.removed+now.removed
	now.at = time.Now()
	e.spent.entries = append(e.spent.entries, now)
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
