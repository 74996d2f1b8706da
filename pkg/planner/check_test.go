package planner_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// checked is a world in which growing and removing one Machine of ns/g is right.
func checked() planner.Snapshot {
	return planner.Snapshot{
		At: noon, Policy: testPolicy(),
		Sources: []planner.Source{{Kind: planner.SourceManagement, Known: true}, {Kind: planner.SourceWorkload, Known: true}},
		NodeGroups: []planner.NodeGroup{{
			Namespace: "ns", Name: "g", Managed: true, Min: 1, Max: 3, Replicas: 2, Capacity: planner.Resources{planner.ResourceCPU: 4000},
		}},
		Machines: []planner.Machine{
			{Namespace: "ns", Name: "a", Group: "ns/g", Node: "a", CreatedAt: noon},
			{Namespace: "ns", Name: "b", Group: "ns/g", Node: "b", CreatedAt: noon},
		},
		Nodes: []planner.Node{
			{Name: "a", UID: "a", Machine: "ns/a", Ready: true, Allocatable: planner.Resources{planner.ResourceCPU: 4000}, Cordon: &planner.Mark{PlanID: "p", At: noon}},
			{Name: "b", UID: "b", Machine: "ns/b", Ready: true, Allocatable: planner.Resources{planner.ResourceCPU: 4000}},
		},
		Pods: []planner.Pod{{Namespace: "ml", Name: "w", Node: "b", RayCluster: "ml/r", Shape: planner.PodShape{Requests: planner.Resources{planner.ResourceCPU: 1000}}}},
	}
}

func TestCheckFindsBrokenRules(t *testing.T) {
	grow := planner.Step{Kind: planner.StepGrow, Group: "ns/g", From: 2, To: 3}
	remove := planner.Step{Kind: planner.StepRemove, Group: "ns/g", Machines: []string{"ns/a"}, From: 2, To: 1}
	for name, c := range map[string]struct {
		world func(*planner.Snapshot)
		plan  planner.Plan
		want  string
	}{
		"growing is right":  {plan: planner.Plan{Steps: []planner.Step{grow}}},
		"removing is right": {plan: planner.Plan{Steps: []planner.Step{remove}}},
		"beyond max":        {plan: planner.Plan{Steps: []planner.Step{{Kind: planner.StepGrow, Group: "ns/g", From: 2, To: 4}}}, want: "rule I2"},
		"no room for the class": {
			world: func(s *planner.Snapshot) {
				s.NodeGroups[0].Class, s.Classes = "c", []planner.VMClass{{Name: "c", Headroom: new(int64)}}
			},
			plan: planner.Plan{Steps: []planner.Step{grow}}, want: "rule I2",
		},
		"unusable class": {
			world: func(s *planner.Snapshot) {
				s.NodeGroups[0].Class, s.Classes = "c", []planner.VMClass{{Name: "c", Invalid: "it is gone"}}
			},
			plan: planner.Plan{Steps: []planner.Step{grow}}, want: "rule I2",
		},
		"from another number": {plan: planner.Plan{Steps: []planner.Step{{Kind: planner.StepGrow, Group: "ns/g", From: 1, To: 3}}}, want: "rule I2"},
		"unknown group":       {plan: planner.Plan{Steps: []planner.Step{{Kind: planner.StepGrow, Group: "ns/x", To: 1}}}, want: "rule I2"},
		"both ways":           {plan: planner.Plan{Steps: []planner.Step{grow, remove}}, want: "rule I6"},
		"busy node": {
			plan: planner.Plan{Steps: []planner.Step{{Kind: planner.StepRemove, Group: "ns/g", Machines: []string{"ns/b"}, From: 2, To: 1}}}, want: "rule I1",
		},
		"node not cordoned": {world: func(s *planner.Snapshot) { s.Nodes[0].Cordon = nil }, plan: planner.Plan{Steps: []planner.Step{remove}}, want: "rule I1"},
		"node not seen":     {world: func(s *planner.Snapshot) { s.Nodes = s.Nodes[1:] }, plan: planner.Plan{Steps: []planner.Step{remove}}, want: "rule I1"},
		"Machine going":     {world: func(s *planner.Snapshot) { s.Machines[0].Deleting = true }, plan: planner.Plan{Steps: []planner.Step{remove}}, want: "rule I1"},
		"below min":         {world: func(s *planner.Snapshot) { s.NodeGroups[0].Min = 2 }, plan: planner.Plan{Steps: []planner.Step{remove}}, want: "rule I2"},
		"more than named": {
			plan: planner.Plan{Steps: []planner.Step{{Kind: planner.StepRemove, Group: "ns/g", Machines: []string{"ns/a"}, From: 2, To: 0}}}, want: "rule I2",
		},
		"in a rollout":     {world: func(s *planner.Snapshot) { s.NodeGroups[0].RollingOut = true }, plan: planner.Plan{Steps: []planner.Step{remove}}, want: "rule I2"},
		"paused":           {world: func(s *planner.Snapshot) { s.NodeGroups[0].Paused = true }, plan: planner.Plan{Steps: []planner.Step{grow}}, want: "rule I2"},
		"shrinking blind":  {world: func(s *planner.Snapshot) { s.Sources[1].Known = false }, plan: planner.Plan{Steps: []planner.Step{remove}}, want: "rule I9"},
		"growing blind":    {world: func(s *planner.Snapshot) { s.Sources[0].Known = false }, plan: planner.Plan{Steps: []planner.Step{grow}}, want: "rule I9"},
		"cordoning blind":  {world: func(s *planner.Snapshot) { s.Sources[0].Known = false }, plan: planner.Plan{Steps: []planner.Step{{Kind: planner.StepCordon, Node: "a"}}}, want: "rule I9"},
		"cordoning a busy": {plan: planner.Plan{Steps: []planner.Step{{Kind: planner.StepCordon, Node: "b"}}}, want: "rule I1"},
		"too much on a node": {
			plan: planner.Plan{Nodes: []planner.NodePlan{{Node: "b", Pods: []planner.Placement{{Requests: planner.Resources{planner.ResourceCPU: 2000}, Count: 2}}}}}, want: "rule I3",
		},
		"too much on a new node": {
			plan: planner.Plan{Nodes: []planner.NodePlan{{Group: "ns/g", New: true, Count: 1, Pods: []planner.Placement{{Requests: planner.Resources{planner.ResourceGPU: 1}, Count: 1}}}}},
			want: "rule I3",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := checked()
			if c.world != nil {
				c.world(&s)
			}
			err := planner.Check(s, c.plan)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			assert.Contains(t, err.Error(), c.want)
		})
	}
}

func TestResourcesAreSafe(t *testing.T) {
	const most = int64(^uint64(0) >> 1)
	r := planner.Resources{planner.ResourceCPU: most}
	r.Add(planner.Resources{planner.ResourceCPU: most})
	assert.Equal(t, most, r[planner.ResourceCPU], "sums saturate")
	r.Sub(planner.Resources{planner.ResourceCPU: most, planner.ResourceGPU: 5})
	assert.True(t, r.IsZero(), "differences stop at zero")
	assert.Equal(t, "CPU=-9223372036854775808,GPU=10", planner.Resources{planner.ResourceGPU: 10, planner.ResourceCPU: -most - 1, "x": 0}.Key())
}

// TestHostileDemand asks for absurd amounts: nothing overflows, nothing is
// bought, and the work does not grow with the count (rule I11).
func TestHostileDemand(t *testing.T) {
	const absurd = int64(1) << 60
	for _, mode := range []planner.Mode{planner.ModeLead, planner.ModeFollow} {
		s := checked()
		s.RayClusters = []planner.RayCluster{{
			Namespace: "ml", Name: "r", Mode: mode, DemandKnown: true,
			WorkerGroups: []planner.WorkerGroup{{
				Name: "w", Max: 1 << 31, RayResources: planner.Resources{planner.ResourceCPU: 1000},
				Pod: planner.PodShape{Requests: planner.Resources{planner.ResourceCPU: 1000}},
			}},
			Requests: []planner.Request{
				{Resources: planner.Resources{planner.ResourceCPU: absurd, planner.ResourceGPU: absurd, "x": absurd}, Count: absurd},
				{Resources: planner.Resources{planner.ResourceCPU: 1000}, Count: 1_000_000},
			},
			Constraints: []planner.Request{{Resources: planner.Resources{planner.ResourceMemory: absurd}, Count: absurd}},
		}}
		plan, _ := planner.Make(s, planner.Memory{})
		require.NoError(t, planner.Check(s, plan))
		assert.LessOrEqual(t, plan.Groups[0].Target, int64(3))
		assert.NotEmpty(t, plan.Decisions)
	}
}
