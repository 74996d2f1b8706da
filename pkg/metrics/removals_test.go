package metrics

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// Every phase of a removal is measured from when the node comes to it until it
// leaves it for a later one; a removal that is cancelled is left out.
func TestRemovalPhasesAreMeasured(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	m := New(r, Options{})
	now := start
	tick := func(after time.Duration, change func(*planner.Snapshot)) {
		now = now.Add(after)
		s := planner.Snapshot{
			Sources:  []planner.Source{{Kind: planner.SourceManagement, Known: true}, {Kind: planner.SourceWorkload, Known: true}},
			Machines: []planner.Machine{{Namespace: "ns", Name: "m", UID: "m", Node: "n"}},
			Nodes:    []planner.Node{{Name: "n", UID: "n", Machine: "ns/m", Cordon: &planner.Mark{}}},
		}
		change(&s)
		m.Record(Tick{At: now, Snapshot: s})
	}
	ray := func(s *planner.Snapshot) {
		s.Pods = []planner.Pod{{Name: "w", Node: "n", RayCluster: "ml/a"}, {Name: "d", Node: "n", DaemonSet: true}}
	}
	tick(0, func(s *planner.Snapshot) { s.Nodes[0].Cordon = nil })
	tick(time.Second, ray)
	tick(time.Second, func(s *planner.Snapshot) { s.Sources[1].Known, s.Nodes = false, nil }) // nothing is known
	tick(2*time.Second, ray)
	tick(7*time.Second, func(s *planner.Snapshot) { s.Pods = []planner.Pod{{Name: "web", Node: "n"}} })
	tick(5*time.Second, func(*planner.Snapshot) {})
	tick(3*time.Second, func(s *planner.Snapshot) { s.Machines[0].Mark = &planner.Mark{} })
	tick(20*time.Second, func(s *planner.Snapshot) { s.Machines[0].Deleting = true })
	tick(20*time.Second, func(s *planner.Snapshot) { s.Nodes, s.Machines = nil, nil })
	tick(time.Second, ray)
	tick(time.Hour, func(s *planner.Snapshot) { s.Nodes[0].Cordon = nil })
	got := values(t, r)
	for phase, want := range map[string]float64{"drain": 10, "evict": 5, "vacant": 3, "delete": 40} {
		assert.InDelta(t, want, got["sum:removal_phase_duration_seconds{phase="+phase+"}"], 0, phase)
		assert.InDelta(t, 1, got["removal_phase_duration_seconds{phase="+phase+"}"], 0, phase)
	}
}

func TestDrainsAndNodesThatStay(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	m := New(r, Options{})
	drain := func(reason planner.DrainReason, outcome Outcome, refused bool) StepResult {
		return StepResult{Step: planner.Step{Kind: planner.StepDrain, Drain: reason}, Outcome: outcome, DrainRefused: refused}
	}
	m.Record(Tick{
		Results: []StepResult{
			drain(planner.DrainIdle, Done, false), drain(planner.DrainIdle, Refused, true), drain(planner.DrainIdle, Refused, false),
			drain(planner.DrainPreemption, Done, false), drain("X", Done, false),
		},
		Plan: planner.Plan{Decisions: []planner.Decision{
			{Kind: planner.SubjectNode, Subject: "a", Outcome: planner.OutcomeHold, Reason: planner.ReasonBusy},
			{Kind: planner.SubjectNode, Subject: "b", Outcome: planner.OutcomeHold, Reason: planner.ReasonBusy},
			{Kind: planner.SubjectNode, Subject: "c", Outcome: planner.OutcomeCancel, Reason: planner.ReasonDrainRefused},
			{Kind: planner.SubjectNode, Subject: "d", Outcome: planner.OutcomeShrink, Reason: planner.ReasonVacant},
			{Kind: planner.SubjectNodeGroup, Subject: "e", Outcome: planner.OutcomeHold, Reason: planner.ReasonBusy},
		}},
	})
	got := values(t, r)
	for key, want := range map[string]float64{
		"drains_total{reason=IDLE_TERMINATION,result=accepted}": 1,
		"drains_total{reason=IDLE_TERMINATION,result=refused}":  1,
		"drains_total{reason=PREEMPTION,result=accepted}":       1,
		"drains_total{reason=PREEMPTION,result=refused}":        0,
		"drains_total{reason=other,result=accepted}":            1,
		"unremovable_nodes{reason=Busy}":                        2,
		"unremovable_nodes{reason=DrainRefused}":                1,
	} {
		assert.InDelta(t, want, got[key], 0, key)
	}
	assert.NotContains(t, got, "unremovable_nodes{reason=Vacant}")
}
