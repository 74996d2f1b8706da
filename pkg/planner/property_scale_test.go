package planner_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// TestScaleFree is rule I13: amounts twice as large, of demand and of capacity
// alike, change no step. GPUs are left as they are: they are devices, and half
// of one is something else than one half twice. Prices are set, because one
// that is made up from a capacity has a fixed part.
func TestScaleFree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, m := drawWorld(t)
		for i := range s.Classes {
			s.Classes[i].Price = max(s.Classes[i].Price, int64(i+1)*1_000_000)
		}
		plan, _ := planner.Make(s, m)
		twice, _ := planner.Make(doubled(s), m)
		if d := cmp.Diff(plan.Steps, twice.Steps); d != "" {
			t.Fatalf("I13: doubling all amounts changes the steps:\n%s\n%s", d, tell(plan))
		}
		if plan.Cost != twice.Cost || plan.Bound != twice.Bound {
			t.Fatalf("I13: cost %d and bound %d became %d and %d", plan.Cost, plan.Bound, twice.Cost, twice.Bound)
		}
	})
}

func doubled(s planner.Snapshot) planner.Snapshot {
	s.NodeGroups = each(s.NodeGroups, func(g *planner.NodeGroup) { g.Capacity = twice(g.Capacity) })
	s.Classes = each(s.Classes, func(c *planner.VMClass) { c.Capacity = twice(c.Capacity) })
	s.Nodes = each(s.Nodes, func(n *planner.Node) { n.Allocatable = twice(n.Allocatable) })
	s.Pods = each(s.Pods, func(p *planner.Pod) { p.Shape.Requests = twice(p.Shape.Requests) })
	s.RayClusters = each(s.RayClusters, func(c *planner.RayCluster) {
		request := func(r *planner.Request) { r.Resources = twice(r.Resources) }
		c.Requests, c.Constraints = each(c.Requests, request), each(c.Constraints, request)
		c.RayNodes = each(c.RayNodes, func(n *planner.RayNode) { n.Total, n.Available = twice(n.Total), twice(n.Available) })
		c.WorkerGroups = each(c.WorkerGroups, func(w *planner.WorkerGroup) {
			w.RayResources, w.Pod.Requests = twice(w.RayResources), twice(w.Pod.Requests)
		})
		c.Gangs = each(c.Gangs, func(g *planner.Gang) {
			g.Options = each(g.Options, func(o *planner.GangOption) {
				o.Bundles = each(o.Bundles, func(b *planner.Bundle) { b.Resources = twice(b.Resources) })
			})
		})
	})
	return s
}

// each changes a copy of the list.
func each[T any](in []T, change func(*T)) []T {
	out := append([]T(nil), in...)
	for i := range out {
		change(&out[i])
	}
	return out
}

func twice(r planner.Resources) planner.Resources {
	out := r.Clone()
	for name := range out {
		if name != planner.ResourceGPU {
			out[name] *= 2
		}
	}
	return out
}
