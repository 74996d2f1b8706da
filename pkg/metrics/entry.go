package metrics

import (
	"slices"
	"time"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// entryOf renders a tick. Texts are cut and cleaned: they may be a tenant's.
func entryOf(t *Tick, begun []planner.Decision, ended []DecisionKey) Entry {
	e := Entry{
		Time: t.At, PlanID: t.Plan.ID, Leader: t.Leader, SafeToAct: t.SafeToAct, Violation: clean(t.Violation), DryRun: t.DryRun,
		Steps: slices.Clone(t.Plan.Steps), Results: slices.Clone(t.Results), Decisions: slices.Clone(begun), Ended: ended,
		Cost: t.Plan.Cost, Bound: t.Plan.Bound, DurationMS: milliseconds(t.Duration),
	}
	for i := range e.Results {
		e.Results[i].Error = clean(e.Results[i].Error)
	}
	for i := range e.Decisions {
		e.Decisions[i].Message = clean(e.Decisions[i].Message)
	}
	for _, s := range t.Snapshot.Sources {
		if !s.Known {
			s.Error = clean(s.Error)
			e.Unknown = append(e.Unknown, s)
		}
	}
	if len(t.Phases) > 0 {
		e.PhasesMS = make(map[Phase]float64, len(t.Phases))
		for p, d := range t.Phases {
			e.PhasesMS[p] = milliseconds(d)
		}
	}
	return e
}

// milliseconds rounds to microseconds, which is all that a reader can use.
func milliseconds(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond)) / float64(time.Millisecond)
}
