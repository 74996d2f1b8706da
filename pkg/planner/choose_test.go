package planner_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// TestChoiceIsNearTheBound draws waiting pods of many shapes for eight classes,
// two of which are large, with stocks: what the plan buys costs at most two
// percent more than it proves that any plan must cost, in the mean of ten
// worlds. The plan holds its pods by best fit, so it cannot be at the bound.
func TestChoiceIsNearTheBound(t *testing.T) {
	for _, shapes := range []int{3, 8, 30, 150} {
		t.Run(fmt.Sprint(shapes, " shapes"), func(t *testing.T) {
			t.Parallel()
			var cost, bound int64
			for seed := range uint64(10) {
				s := manyShapes(rand.New(rand.NewPCG(seed, uint64(shapes))), shapes) //nolint:gosec // The worlds are to be the same in every run.
				plan, _ := planner.Make(s, planner.Memory{})
				require.NoError(t, planner.Check(s, plan))
				require.LessOrEqual(t, plan.Bound, plan.Cost)
				cost, bound = cost+plan.Cost, bound+plan.Bound
			}
			gap := 100 * float64(cost-bound) / float64(bound)
			t.Logf("%d shapes: %.2f %% over the bound", shapes, gap)
			assert.Less(t, gap, 2.0)
		})
	}
}

// manyShapes is an empty cluster of eight classes, and pods that wait.
func manyShapes(r *rand.Rand, shapes int) planner.Snapshot {
	s := planner.Snapshot{At: noon, Policy: testPolicy()}
	for i := range 8 {
		cpu, gpu := int64(8<<(i%4)), int64(0)
		if i >= 4 {
			gpu = 1 << (i % 4)
			cpu = 12 * gpu
		}
		capacity := planner.Resources{planner.ResourceCPU: 1000 * cpu, planner.ResourceMemory: cpu * 8 << 30}
		if gpu > 0 {
			capacity[planner.ResourceGPU] = gpu * planner.Unit
		}
		name := fmt.Sprintf("c%d", i)
		price := (cpu*40_000 + gpu*2_000_000) * (95 + r.Int64N(10)) / 100
		s.Classes = append(s.Classes, planner.VMClass{Name: name, Capacity: capacity, Price: price})
		s.NodeGroups = append(s.NodeGroups, planner.NodeGroup{
			Namespace: "ns", Name: name, UID: name, Class: name, Managed: true, Max: 20 + r.Int64N(100), Capacity: capacity,
		})
	}
	for i := range shapes {
		q := planner.Resources{planner.ResourceCPU: 100 * (1 + r.Int64N(100)), planner.ResourceMemory: (1 + r.Int64N(64)) << 30}
		if r.IntN(2) == 0 {
			q[planner.ResourceGPU] = planner.Unit * (1 + r.Int64N(4))
		}
		for j := range 1 + r.IntN(300/shapes+1) {
			name := fmt.Sprintf("p%d-%d", i, j)
			s.Pods = append(s.Pods, planner.Pod{Namespace: "x", Name: name, UID: name, Unschedulable: true, Shape: planner.PodShape{Requests: q}})
		}
	}
	return s
}

// TestBoundGivesOneGroupWhatLimitsLeaveToAll buys, for four RayClusters of a
// tenant one after the other, four small nodes, which is all that the limits
// allow. One large node would hold the four pods for less, so no bound may be
// above its price: a limit for several groups together may be given to one.
func TestBoundGivesOneGroupWhatLimitsLeaveToAll(t *testing.T) {
	cpu := func(n int64) planner.Resources { return planner.Resources{planner.ResourceCPU: 1000 * n} }
	s := planner.Snapshot{At: noon, Policy: testPolicy()}
	s.Policy.MaxMachines = 4
	s.Policy.TenantLimits = []planner.TenantLimit{{Namespace: "ml", MaxMachines: 4}} // the nodes are not chosen again then
	for _, c := range []planner.VMClass{{Name: "large", Capacity: cpu(16), Price: 3_000_000}, {Name: "small", Capacity: cpu(4), Price: 1_000_000}} {
		s.Classes = append(s.Classes, c)
		s.NodeGroups = append(s.NodeGroups, planner.NodeGroup{Namespace: "ns", Name: c.Name, UID: c.Name, Class: c.Name, Managed: true, Max: 10, Capacity: c.Capacity})
	}
	for i := range 4 {
		name := fmt.Sprintf("r%d", i)
		s.RayClusters = append(s.RayClusters, planner.RayCluster{
			Namespace: "ml", Name: name, UID: name, Mode: planner.ModeLead, DemandKnown: true,
			WorkerGroups: []planner.WorkerGroup{{Name: "w", Max: 1, RayResources: cpu(3), Pod: planner.PodShape{Requests: cpu(3)}}},
			Requests:     []planner.Request{{Resources: cpu(3), Count: 1}},
		})
	}
	plan, _ := planner.Make(s, planner.Memory{})
	require.NoError(t, planner.Check(s, plan))
	require.Equal(t, int64(4_000_000), plan.Cost)
	assert.Positive(t, plan.Bound)
	assert.LessOrEqual(t, plan.Bound, int64(3_000_000))
}
