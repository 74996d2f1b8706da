package planner_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// TestFullestNodesFirst: pods go to the nodes that they fill best, one after the
// other, whatever the order of the nodes.
func TestFullestNodesFirst(t *testing.T) {
	const nodes, each = 40, 2000
	for pods := range 20 {
		s := planner.Snapshot{At: noon, Policy: testPolicy()}
		order := rand.New(rand.NewPCG(uint64(pods), 1)).Perm(nodes) //nolint:gosec // A shuffle that can be repeated is wanted.
		for i, free := range order {
			// From too little for one pod to enough for one, but not for two.
			s.Nodes = append(s.Nodes, planner.Node{
				Name: fmt.Sprintf("n%d", i), UID: fmt.Sprintf("un%d", i), Ready: true,
				Allocatable: planner.Resources{planner.ResourceCPU: int64(each + 20*(free-10))},
			})
		}
		for i := range pods {
			s.Pods = append(s.Pods, planner.Pod{
				Namespace: "x", Name: fmt.Sprintf("p%d", i), UID: fmt.Sprintf("up%d", i), Unschedulable: true,
				Shape: planner.PodShape{Requests: planner.Resources{planner.ResourceCPU: each}},
			})
		}
		plan, _ := planner.Make(s, planner.Memory{})
		got, want := map[string]int64{}, map[string]int64{}
		for _, n := range plan.Nodes {
			for _, pl := range n.Pods {
				got[n.Node] += pl.Count
			}
		}
		for i, free := range order {
			if free >= 10 && free < 10+pods {
				want[fmt.Sprintf("n%d", i)] = 1
			}
		}
		assert.Equal(t, want, got, "%d pods", pods)
	}
}
