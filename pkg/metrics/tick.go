package metrics

import (
	"time"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// Tick is everything that one round of the loop found out, decided and did. It
// is plain data. Whoever records it keeps parts of it, so nothing in it may
// change afterwards.
type Tick struct {
	// At is the time of the snapshot.
	At       time.Time
	Snapshot planner.Snapshot
	// Plan is empty in a round that made none.
	Plan planner.Plan
	// Memory is the planner's after this plan.
	Memory planner.Memory
	// Results has one entry for every step that was looked at, in order.
	Results []StepResult
	// Duration of the whole round.
	Duration time.Duration
	// Phases are the parts of Duration.
	Phases map[Phase]time.Duration
	// Leader tells whether this replica may act.
	Leader bool
	// SafeToAct is false while something forbids every write: a source that
	// growth needs is unknown, or the plan broke a rule.
	SafeToAct bool
	// Violation, if not empty, is the rule that the plan broke; it was dropped.
	Violation string
	// DryRun rounds write nothing.
	DryRun bool
}

// Phase is a part of a round.
type Phase string

// The phases of a round.
const (
	PhaseObserve Phase = "observe" // making the snapshot
	PhasePlan    Phase = "plan"    // planner.Make
	PhaseCheck   Phase = "check"   // planner.Check
	PhaseAct     Phase = "act"     // preconditions and writes
)

// Outcome is what became of a step.
type Outcome string

// The outcomes of steps.
const (
	// Done steps were carried out.
	Done Outcome = "done"
	// Refused steps were not taken, because their precondition did not hold
	// any more; the next round plans anew.
	Refused Outcome = "refused"
	// Failed steps met an error.
	Failed Outcome = "failed"
	// DryRun steps would have been taken.
	DryRun Outcome = "dry-run"
)

// StepResult is one step and what became of it.
type StepResult struct {
	Step    planner.Step `json:"step"`
	Outcome Outcome      `json:"outcome"`
	// Error tells why a step was refused or failed.
	Error string `json:"error,omitempty"`
	// Waited is the time from when the demand behind the step was first seen
	// until the step was done. Zero: not known.
	Waited time.Duration `json:"-"`
	// DrainRefused tells that a Ray node refused its drain.
	DrainRefused bool `json:"drainRefused,omitempty"`
	// Took is how long the step took, its reads included.
	Took time.Duration `json:"-"`
}

// Recorder takes what a round came to. Record returns at once.
type Recorder interface {
	Record(Tick)
}

// Tee records to each of the recorders in turn.
func Tee(recorders ...Recorder) Recorder { return tee(recorders) }

type tee []Recorder

func (t tee) Record(tick Tick) {
	for _, r := range t {
		r.Record(tick)
	}
}
