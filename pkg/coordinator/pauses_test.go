package coordinator

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tandem-autoscaler/tandem/pkg/metrics"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// tries ticks ten times a second with the same step, and tells when it was tried.
func tries(t *testing.T, l *Loop, actuator *taker, step planner.Step, last time.Duration) (at []time.Duration) {
	t.Helper()
	s := healthy()
	begin := time.Now()
	for time.Since(begin) < last {
		before := len(actuator.steps)
		results, soon := l.act(t.Context(), &s, planner.Plan{Steps: []planner.Step{step}}, time.Time{})
		require.False(t, soon, "neither a failure nor a pause hurries the loop")
		if len(actuator.steps) > before {
			at = append(at, time.Since(begin))
		} else {
			assert.Equal(t, metrics.Refused, results[0].Outcome)
			assert.Contains(t, results[0].Error, "backing off")
			assert.Contains(t, results[0].Error, "API server is down")
		}
		time.Sleep(100 * time.Millisecond)
	}
	return at
}

func TestAStepThatKeepsFailingIsPaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		actuator := &taker{err: errors.New("API server is down")}
		l := New(Options{Actuator: actuator, Policy: func() planner.Policy { return planner.Policy{} }})
		step := planner.Step{Kind: planner.StepCordon, Node: "n1"}
		second := time.Second
		assert.Equal(t, []time.Duration{0, second, 3 * second, 7 * second, 15 * second, 31 * second, 63 * second, 123 * second, 183 * second},
			tries(t, l, actuator, step, 200*second))

		s := healthy()
		act := func(steps ...planner.Step) []metrics.StepResult {
			results, _ := l.act(t.Context(), &s, planner.Plan{Steps: steps}, time.Time{})
			return results
		}
		other := planner.Step{Kind: planner.StepCordon, Node: "n2"}
		results := act(step, other)
		assert.Equal(t, metrics.Refused, results[0].Outcome)
		assert.Equal(t, metrics.Failed, results[1].Outcome, "the same step on another node is another one")
		act(other)
		assert.Equal(t, metrics.Failed, act(step)[0].Outcome, "forgotten: a plan was without it")

		time.Sleep(time.Second)
		actuator.err = nil
		assert.Equal(t, metrics.Done, act(step)[0].Outcome)
		actuator.err = errors.New("API server is down")
		assert.Equal(t, []time.Duration{0, second, 3 * second}, tries(t, l, actuator, step, 5*second), "forgotten: it was done")
	})
}

func TestStepsThatProtectWorkAreNeverPaused(t *testing.T) {
	for _, step := range []planner.Step{
		{Kind: planner.StepUncordon, Node: "n1"},
		{Kind: planner.StepUnmark, Machines: []string{"ns/m1"}},
		{Kind: planner.StepDrain, Drain: planner.DrainPreemption, NodeUID: "uid-n1"},
	} {
		t.Run(string(step.Kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				actuator := &taker{err: errors.New("API server is down")}
				l := New(Options{Actuator: actuator, Policy: func() planner.Policy { return planner.Policy{} }})
				assert.Len(t, tries(t, l, actuator, step, time.Second), 10, "every tick tries it")
			})
		})
	}
}

func TestARefusedStepIsNotPaused(t *testing.T) {
	actuator := &taker{err: fmt.Errorf("%w: moved", ErrRefused)}
	l := New(Options{Actuator: actuator, Policy: func() planner.Policy { return planner.Policy{} }})
	s := healthy()
	act := func(steps ...planner.Step) bool {
		_, soon := l.act(t.Context(), &s, planner.Plan{Steps: steps}, time.Time{})
		return soon
	}
	step, other := planner.Step{Kind: planner.StepEvict, Node: "n1"}, planner.Step{Kind: planner.StepCordon, Node: "n2"}
	for range mostHurries {
		assert.True(t, act(step))
	}
	// Fault 23: a disruption budget forbids an eviction: it is asked again, but not
	// as fast as the loop can.
	for range 3 {
		assert.False(t, act(step), "what is refused again and again does not hurry the loop")
	}
	assert.True(t, act(step, other), "another step does")
	assert.False(t, act(), "a plan without it: forgotten")
	assert.True(t, act(step))
	assert.Len(t, actuator.steps, mostHurries+6, "every tick has tried it")
}
