package metrics

import (
	"sync/atomic"
	"time"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// Latest keeps the last tick for the pages of the server. The zero value is
// ready for use and has none.
type Latest struct {
	tick atomic.Pointer[Tick]
}

// Record replaces the tick.
func (l *Latest) Record(t Tick) { l.tick.Store(&t) }

// Tick is the last one; ok is false before the first.
func (l *Latest) Tick() (t Tick, ok bool) {
	if p := l.tick.Load(); p != nil {
		return *p, true
	}
	return Tick{}, false
}

// Snapshot is that of the last tick, or nil before the first.
func (l *Latest) Snapshot() *planner.Snapshot {
	if p := l.tick.Load(); p != nil {
		return &p.Snapshot
	}
	return nil
}

// Plan is that of the last tick, or nil before the first.
func (l *Latest) Plan() *planner.Plan {
	if p := l.tick.Load(); p != nil {
		return &p.Plan
	}
	return nil
}

// Status sums up a tick for people.
type Status struct {
	At        time.Time `json:"at,omitzero"`
	PlanID    string    `json:"planID,omitempty"`
	Leader    bool      `json:"leader"`
	SafeToAct bool      `json:"safeToAct"`
	DryRun    bool      `json:"dryRun,omitempty"`
	Violation string    `json:"violation,omitempty"`
	// Duration of the round, as text such as 12ms.
	Duration planner.Duration      `json:"duration"`
	Sources  []planner.Source      `json:"sources,omitempty"`
	Groups   []planner.GroupTarget `json:"groups,omitempty"`
	// Decisions are those that ask for something or that refuse it; what is
	// merely held is left out.
	Decisions []planner.Decision `json:"decisions,omitempty"`
}

// Status sums up the last tick. It is the zero Status before the first.
func (l *Latest) Status() Status {
	t, ok := l.Tick()
	if !ok {
		return Status{}
	}
	s := Status{
		At: t.At, PlanID: t.Plan.ID, Leader: t.Leader, SafeToAct: t.SafeToAct, DryRun: t.DryRun, Violation: t.Violation,
		Duration: planner.Duration(t.Duration), Sources: t.Snapshot.Sources, Groups: t.Plan.Groups,
	}
	for i := range t.Plan.Decisions {
		if d := &t.Plan.Decisions[i]; d.Outcome != planner.OutcomeHold {
			s.Decisions = append(s.Decisions, *d)
		}
	}
	return s
}
