package coordinator

import (
	"context"
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

// taker takes every step, or fails as told.
type taker struct {
	steps []planner.Step
	err   error
}

func (t *taker) Take(_ context.Context, _ planner.Plan, step planner.Step) error {
	t.steps = append(t.steps, step)
	return t.err
}

// healthy is a snapshot in which every source is known: group ns/g has three
// Machines of five, the first of which is on a cordoned, empty node.
func healthy() planner.Snapshot {
	return planner.Snapshot{
		Sources: []planner.Source{
			{Kind: planner.SourceManagement, Known: true},
			{Kind: planner.SourceWorkload, Known: true},
			{Kind: planner.SourceRay, Known: true},
			{Kind: planner.SourceGCS, Name: "ml/a", Known: true},
		},
		NodeGroups: []planner.NodeGroup{{Namespace: "ns", Name: "g", Managed: true, Max: 5, Replicas: 3}, {Namespace: "ns", Name: "h", Managed: true, Max: 50}},
		Machines:   []planner.Machine{{Namespace: "ns", Name: "m1", Group: "ns/g", Node: "n1"}, {Namespace: "ns", Name: "m2", Group: "ns/g", Node: "n2"}},
		Nodes:      []planner.Node{{Name: "n1", Machine: "ns/m1", Cordon: &planner.Mark{}}, {Name: "n2", Machine: "ns/m2"}},
		Pods:       []planner.Pod{{Namespace: "ml", Name: "w2", Node: "n2", RayCluster: "ml/a"}},
	}
}

func growth(group string, from, to int64) planner.Step {
	return planner.Step{Kind: planner.StepGrow, Group: group, From: from, To: to}
}

func gone(machines ...string) planner.Step {
	return planner.Step{Kind: planner.StepRemove, Group: "ns/g", Machines: machines, From: 3, To: 3 - int64(len(machines))}
}

func idleDrain() planner.Step {
	return planner.Step{Kind: planner.StepDrain, RayCluster: "ml/a", NodeUID: "uid-n1", Drain: planner.DrainIdle}
}

// A plan that asks for too much is cut off, whatever the planner and its check say.
func TestTheExecutorHoldsTheLimitsByItself(t *testing.T) {
	unknown := func(kind planner.SourceKind) func(*planner.Snapshot) {
		return func(s *planner.Snapshot) {
			for i := range s.Sources {
				s.Sources[i].Known = s.Sources[i].Known && s.Sources[i].Kind != kind
			}
		}
	}
	for name, c := range map[string]struct {
		steps  []planner.Step
		policy planner.Policy
		change func(*planner.Snapshot)
		taken  int
		want   string
	}{
		"within every bound": {[]planner.Step{growth("ns/g", 3, 5), gone("ns/m1"), idleDrain()}, planner.Policy{MaxGrowPerTick: 2, MaxGrowPerHour: 2, MaxGrowPerGroup: 2, MaxMachines: 5, MaxRemovePerTick: 1, MaxRemovePerHour: 1}, nil, 3, ""},
		// Fault 7: a tenant asks for more than anybody has.
		"per tick":         {[]planner.Step{growth("ns/g", 3, 4), growth("ns/h", 0, 2)}, planner.Policy{MaxGrowPerTick: 2}, nil, 1, "growth.maxPerTick of 2"},
		"per group":        {[]planner.Step{growth("ns/h", 0, 3)}, planner.Policy{MaxGrowPerGroup: 2}, nil, 0, "growth.maxPerGroup of 2"},
		"of the group":     {[]planner.Step{growth("ns/g", 3, 6)}, planner.Policy{}, nil, 0, "exceed what ns/g may have, 5"},
		"of all":           {[]planner.Step{growth("ns/h", 0, 3)}, planner.Policy{MaxMachines: 5}, nil, 0, "growth.maxMachines of 5"},
		"unknown group":    {[]planner.Step{growth("ns/x", 0, 1)}, planner.Policy{}, nil, 0, "not in the snapshot"},
		"no growth":        {[]planner.Step{growth("ns/g", 3, 3)}, planner.Policy{}, nil, 0, "is none"},
		"growth blind":     {[]planner.Step{growth("ns/g", 3, 4)}, planner.Policy{}, unknown(planner.SourceManagement), 0, "source management"},
		"removal per tick": {[]planner.Step{gone("ns/m1"), gone("ns/m3")}, planner.Policy{MaxRemovePerTick: 1}, nil, 1, "removal.maxPerTick of 1"},
		"removal disabled": {[]planner.Step{gone("ns/m1"), idleDrain(), {Kind: planner.StepEvict}}, planner.Policy{RemovalDisabled: true}, nil, 0, "removal is disabled"},
		"more than named":  {[]planner.Step{{Kind: planner.StepRemove, Machines: []string{"ns/m1"}, From: 3, To: 1}}, planner.Policy{}, nil, 0, "is not what 1 Machines make"},
		"not cordoned":     {[]planner.Step{gone("ns/m2")}, planner.Policy{}, nil, 0, "does not carry our cordon"},
		"a Ray pod on it":  {[]planner.Step{gone("ns/m2")}, planner.Policy{}, func(s *planner.Snapshot) { s.Nodes[1].Cordon = &planner.Mark{} }, 0, "Ray pod ml/w2 is on Node n2"},
		// Fault 1: the GCS of a RayCluster cannot be reached.
		"its GCS unknown": {[]planner.Step{idleDrain()}, planner.Policy{}, unknown(planner.SourceGCS), 0, "the GCS of ml/a is not known"},
		// Fault 40: one source of the snapshot is there, another is not.
		"pods unknown": {[]planner.Step{gone("ns/m1"), idleDrain(), {Kind: planner.StepShrinkWorkers}, {Kind: planner.StepReplaceWorker}, {Kind: planner.StepEvict}}, planner.Policy{}, unknown(planner.SourceWorkload), 0, "source workload"},
		"never read":   {[]planner.Step{gone("ns/m1")}, planner.Policy{}, func(s *planner.Snapshot) { s.Sources = nil }, 0, "was not read"},
		"paused":       {[]planner.Step{growth("ns/g", 3, 4), {Kind: planner.StepUncordon}}, planner.Policy{Paused: true, PausedBy: "a person"}, nil, 0, "paused by a person"},
		"a preemption tells, whatever is unknown": {[]planner.Step{{Kind: planner.StepDrain, Drain: planner.DrainPreemption}, {Kind: planner.StepReleaseHook}}, planner.Policy{RemovalDisabled: true}, unknown(planner.SourceWorkload), 2, ""},
	} {
		t.Run(name, func(t *testing.T) {
			actuator := &taker{}
			l := New(Options{Actuator: actuator, Policy: func() planner.Policy { return c.policy }})
			s := healthy()
			if c.change != nil {
				c.change(&s)
			}
			results, _ := l.act(t.Context(), &s, planner.Plan{Steps: c.steps}, time.Time{})
			require.Len(t, results, len(c.steps))
			assert.Len(t, actuator.steps, c.taken)
			last := results[len(results)-1]
			if c.want == "" {
				assert.Equal(t, metrics.Done, last.Outcome, last.Error)
				return
			}
			assert.Equal(t, metrics.Refused, last.Outcome)
			assert.Contains(t, results[c.taken].Error, c.want)
		})
	}
}

func TestTheExecutorCountsByTheHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		actuator := &taker{}
		l := New(Options{Actuator: actuator, Policy: func() planner.Policy { return planner.Policy{MaxGrowPerHour: 3, MaxRemovePerHour: 1} }})
		s := healthy()
		act := func(step planner.Step) metrics.StepResult {
			results, _ := l.act(t.Context(), &s, planner.Plan{Steps: []planner.Step{step}}, time.Time{})
			return results[0]
		}
		assert.Equal(t, metrics.Done, act(growth("ns/h", 0, 2)).Outcome)
		assert.Equal(t, metrics.Done, act(gone("ns/m1")).Outcome)
		time.Sleep(59 * time.Minute)
		assert.Contains(t, act(growth("ns/h", 2, 4)).Error, "2 and 2 more exceed growth.maxPerHour of 3")
		assert.Contains(t, act(gone("ns/m1")).Error, "removal.maxPerHour of 1")
		// Fault 37: a write of which the outcome is unknown counts as done.
		actuator.err = context.DeadlineExceeded
		assert.Equal(t, metrics.Failed, act(growth("ns/h", 2, 3)).Outcome)
		actuator.err = fmt.Errorf("%w: moved", ErrRefused)
		assert.Contains(t, act(growth("ns/h", 3, 4)).Error, "growth.maxPerHour")
		time.Sleep(time.Minute)
		actuator.err = nil
		assert.Equal(t, metrics.Done, act(growth("ns/h", 3, 5)).Outcome, "the hour has passed")
		assert.Equal(t, metrics.Done, act(gone("ns/m1")).Outcome)
	})
}

// Fault 44: the lease is lost between two steps: the rest of the plan is not taken.
func TestGatesAreAskedBeforeEveryStep(t *testing.T) {
	actuator := &taker{}
	lost := errors.New("the lease is lost")
	gate := func(context.Context) error {
		if len(actuator.steps) == 2 {
			return lost
		}
		return nil
	}
	l := New(Options{Actuator: actuator, Policy: func() planner.Policy { return planner.Policy{} }, Gates: []Gate{gate}})
	s := healthy()
	kinds := []planner.Step{{Kind: planner.StepUncordon}, {Kind: planner.StepHook}, {Kind: planner.StepUnmark}, growth("ns/g", 3, 4)}
	results, _ := l.act(t.Context(), &s, planner.Plan{Steps: kinds}, time.Time{})
	assert.Len(t, actuator.steps, 2)
	for _, r := range results[2:] {
		assert.Equal(t, metrics.Refused, r.Outcome)
		assert.Contains(t, r.Error, "the lease is lost")
	}
}

// Fault 18: the raylet refused: the planner learns it, and the node's idle time
// starts anew.
func TestARefusedDrainIsRemembered(t *testing.T) {
	actuator := &taker{err: fmt.Errorf("%w: %w: busy", ErrRefused, ErrDrainRefused)}
	l := New(Options{Actuator: actuator, Policy: func() planner.Policy { return planner.Policy{} }})
	s := healthy()
	s.At = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	results, _ := l.act(t.Context(), &s, planner.Plan{Steps: []planner.Step{idleDrain()}}, time.Time{})
	assert.Equal(t, metrics.Refused, results[0].Outcome)
	assert.True(t, results[0].DrainRefused)
	assert.Equal(t, map[string]time.Time{"uid-n1": s.At}, l.memory.Refused)

	actuator.err = fmt.Errorf("%w: moved", ErrRefused)
	l.memory = planner.Memory{}
	l.act(t.Context(), &s, planner.Plan{Steps: []planner.Step{idleDrain()}}, time.Time{})
	assert.Empty(t, l.memory.Refused, "a precondition that moved is no refusal of the raylet")
}
