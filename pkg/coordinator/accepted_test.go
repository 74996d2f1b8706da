package coordinator

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/tandem-autoscaler/tandem/pkg/metrics"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

func preemption() planner.Step {
	return planner.Step{
		Kind: planner.StepDrain, RayCluster: "ml/a", RayNode: "r1", NodeUID: "uid-n1", Drain: planner.DrainPreemption, DrainBy: time.Unix(1790000000, 0),
	}
}

// Fault 38: a cache lags behind a drain that was accepted, and behind a hook that
// was released: neither is asked for again meanwhile.
func TestWhatWasAcceptedForGoodIsNotRepeated(t *testing.T) {
	release := planner.Step{Kind: planner.StepReleaseHook, Group: "ns/g", Machines: []string{"ns/m1"}, Node: "n1", Reason: planner.ReasonVacant}
	for name, step := range map[string]planner.Step{"a drain": idleDrain(), "a preemption": preemption(), "a release": release} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				actuator := &taker{}
				l := New(Options{Actuator: actuator, Policy: func() planner.Policy { return planner.Policy{} }})
				s := healthy()
				act := func(l *Loop, step planner.Step) metrics.StepResult {
					results, soon := l.act(t.Context(), &s, planner.Plan{Steps: []planner.Step{step}}, time.Time{})
					assert.False(t, soon, "it does not hurry the loop")
					return results[0]
				}
				actuator.err = errors.New("no answer")
				assert.Equal(t, metrics.Failed, act(l, step).Outcome)
				time.Sleep(firstPause)
				actuator.err = nil
				assert.Equal(t, metrics.Done, act(l, step).Outcome, "a lost answer is asked for again")
				for range 3 {
					time.Sleep(acceptedFor/3 - time.Millisecond)
					again := act(l, step)
					assert.Equal(t, metrics.Refused, again.Outcome)
					assert.Contains(t, again.Error, "not seen yet")
				}
				assert.Len(t, actuator.steps, 2)

				assert.Equal(t, metrics.Done, act(New(l.o), step).Outcome, "a crash forgets it")
				time.Sleep(3 * time.Millisecond)
				assert.Equal(t, metrics.Done, act(l, step).Outcome, "and so does time, if nothing comes of it")
			})
		})
	}
}

// What can be taken back is taken whenever a plan has it, and another step is
// another step.
func TestOnlyTheSameStepIsHeldBack(t *testing.T) {
	other := func(step planner.Step, change func(*planner.Step)) planner.Step { change(&step); return step }
	cordon := planner.Step{Kind: planner.StepCordon, Node: "n1", NodeUID: "uid-n1"}
	release := planner.Step{Kind: planner.StepReleaseHook, Machines: []string{"ns/m1"}, Node: "n1", Reason: planner.ReasonVacant}
	for name, c := range map[string]struct {
		first, then planner.Step
		want        metrics.Outcome
	}{
		"a cordon, after it was taken back": {cordon, cordon, metrics.Done},
		"another Ray node":                  {idleDrain(), other(idleDrain(), func(s *planner.Step) { s.RayNode = "r2" }), metrics.Done},
		"a namesake in another RayCluster":  {idleDrain(), other(idleDrain(), func(s *planner.Step) { s.RayCluster = "ml/b" }), metrics.Done},
		"a preemption after an idle drain":  {other(preemption(), func(s *planner.Step) { s.Drain = planner.DrainIdle }), preemption(), metrics.Done},
		"another deadline":                  {preemption(), other(preemption(), func(s *planner.Step) { s.DrainBy = s.DrainBy.Add(time.Second) }), metrics.Done},
		"another Machine":                   {release, other(release, func(s *planner.Step) { s.Machines = []string{"ns/m2"} }), metrics.Done},
		"for another reason":                {release, other(release, func(s *planner.Step) { s.Node, s.Reason = "", planner.ReasonNoNode }), metrics.Refused},
	} {
		t.Run(name, func(t *testing.T) {
			l := New(Options{Actuator: &taker{}, Policy: func() planner.Policy { return planner.Policy{} }})
			s := healthy()
			results, _ := l.act(t.Context(), &s, planner.Plan{Steps: []planner.Step{c.first, c.then}}, time.Time{})
			assert.Equal(t, metrics.Done, results[0].Outcome, results[0].Error)
			assert.Equal(t, c.want, results[1].Outcome, results[1].Error)
		})
	}
}
