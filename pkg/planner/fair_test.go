package planner_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// fairWorld is a number of tenants who want nodes of one group, each pod all of
// one, and have some already.
type fairWorld struct {
	s            planner.Snapshot
	has, weights map[string]int64
	wants        map[string]int64
	room         int64
}

func drawFairWorld(t *rapid.T) *fairWorld {
	r := planner.Resources{planner.ResourceCPU: 8000}
	if rapid.Bool().Draw(t, "gpus") {
		r[planner.ResourceGPU] = planner.Unit
	}
	w := &fairWorld{has: map[string]int64{}, weights: map[string]int64{}, wants: map[string]int64{}, room: rapid.Int64Range(0, 12).Draw(t, "room")}
	g := planner.NodeGroup{Namespace: "ns", Name: "g", UID: "g", Class: "c", Managed: true, Max: 100, Capacity: r}
	w.s = planner.Snapshot{At: noon, Policy: testPolicy()}
	for i := range rapid.IntRange(1, 4).Draw(t, "tenants") {
		name := fmt.Sprintf("t%d", i)
		c := planner.RayCluster{
			Namespace: name, Name: "ray", UID: name, Mode: planner.ModeLead, DemandKnown: true,
			WorkerGroups: []planner.WorkerGroup{{Name: "w", Max: 50, RayResources: r, Pod: planner.PodShape{Requests: r}}},
		}
		w.has[name] = rapid.Int64Range(0, 4).Draw(t, "has")
		for j := range w.has[name] {
			id := fmt.Sprintf("%s-%d", name, j)
			c.RayNodes = append(c.RayNodes, planner.RayNode{ID: id, Pod: id, PodUID: id, Status: planner.RayNodeRunning, Total: r, Available: planner.Resources{}})
			w.s.Pods = append(w.s.Pods, planner.Pod{Namespace: name, Name: id, UID: id, Node: id, RayCluster: c.Key(), RayGroup: "w", Shape: planner.PodShape{Requests: r}})
			w.s.Nodes = append(w.s.Nodes, planner.Node{Name: id, UID: id, Machine: "ns/" + id, Allocatable: r, Ready: true})
			w.s.Machines = append(w.s.Machines, planner.Machine{Namespace: "ns", Name: id, UID: "m" + id, Group: "ns/g", Node: id, CreatedAt: noon.Add(-2 * 3600e9)})
			g.Replicas++
		}
		c.WorkerGroups[0].Replicas = w.has[name]
		w.wants[name] = rapid.Int64Range(0, 12).Draw(t, "wants")
		c.Requests = []planner.Request{{Resources: r, Count: w.wants[name]}}
		w.weights[name] = rapid.Int64Range(1, 4).Draw(t, "weight")
		w.s.Policy.TenantLimits = append(w.s.Policy.TenantLimits, planner.TenantLimit{Namespace: name, Weight: w.weights[name]})
		w.s.RayClusters = append(w.s.RayClusters, c)
	}
	// Not enough for all, in one of the ways there are.
	switch rapid.IntRange(0, 3).Draw(t, "what is short") {
	case 0:
		g.Max = g.Replicas + w.room
	case 1:
		w.s.Policy.MaxMachines = max(1, g.Replicas+w.room)
		w.room = w.s.Policy.MaxMachines - g.Replicas
	case 2:
		w.s.Policy.MaxGrowPerTick = max(1, w.room)
		w.room = max(1, w.room)
	case 3:
		w.s.Classes = []planner.VMClass{{Name: "c", Capacity: r, Headroom: &w.room}}
	}
	w.s.NodeGroups = []planner.NodeGroup{g}
	return w
}

// gets counts the pods that a plan places for each tenant.
func gets(plan planner.Plan) map[string]int64 {
	out := map[string]int64{}
	for _, n := range plan.Nodes {
		for _, p := range n.Pods {
			out[p.Demand[len("pods of "):len("pods of ")+2]] += p.Count * n.Count
		}
	}
	return out
}

// TestSharesAreFair holds plans to the definition of weighted max-min fairness:
// nothing is left over while somebody wants it; and where somebody waits, nobody
// has got anything who has more by weight, but for what one node makes. Carrying
// the plan out leads to no further step but the one for the next round's limit.
func TestSharesAreFair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawFairWorld(t)
		plan, next := planner.Make(w.s, planner.Memory{})
		if err := planner.Check(w.s, plan); err != nil {
			t.Fatalf("%v\n%s", err, tell(plan))
		}
		got := gets(plan)
		var all, wanted int64
		for name, wants := range w.wants {
			all, wanted = all+got[name], wanted+wants
			for other := range w.wants {
				mine, theirs := w.has[name]+got[name], w.has[other]+got[other]
				if got[name] < wants && got[other] > 0 && (theirs-1)*w.weights[name] > (mine+1)*w.weights[other] {
					t.Fatalf("%s waits with %d by weight %d while %s has %d by weight %d\n%s", name, mine, w.weights[name], other, theirs, w.weights[other], tell(plan))
				}
			}
		}
		if all != min(w.room, wanted) {
			t.Fatalf("%d of %d are given to those who want %d\n%s", all, w.room, wanted, tell(plan))
		}
		if w.s.Policy.MaxGrowPerTick > 0 {
			return // the next round goes on
		}
		for i := range w.s.Classes {
			left := w.room - all // what was bought has taken its room on the hosts
			w.s.Classes[i].Headroom = &left
		}
		fixedPoint(t, w.s, next, plan)
	})
}

// TestSharesCostNothing compares plans with and without shares where there is
// enough for all: they are the same.
func TestSharesCostNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawFairWorld(t)
		plan, _ := planner.Make(w.s, planner.Memory{})
		if unmet(plan) { // another world is drawn, and the test fails if too few count
			t.Skip("there is not enough")
		}
		w.s.Policy.FairShareDisabled = true
		if without, _ := planner.Make(w.s, planner.Memory{}); tell(without) != tell(plan) {
			t.Fatalf("with shares\n%s\nwithout\n%s", tell(plan), tell(without))
		}
	})
}
