package planner_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// disturb tells what goes wrong in one run, and when: a crash after a number of
// writes, a round that sees an older world, or a round that does not happen.
type disturb struct {
	crashAfter int // writes in all, -1 for never
	staleAt    int // round, -1 for never
	skipAt     int
}

// settleDown runs the world without faults until nothing moves for a while, one
// controller's move a round, and counts writes and rounds.
func (w mini) settleDown(t *testing.T, d disturb) (end mini, writes, rounds int) {
	t.Helper()
	before := w
	quiet := 0
	for rounds = 0; rounds < 100 && quiet < 4; rounds++ {
		was := w
		if m := w.moves(); len(m) > 0 {
			w = m[0]
		}
		seen := w
		if rounds == d.staleAt {
			seen = before
		}
		before = w
		if rounds != d.skipAt {
			s, mem := seen.snapshot()
			plan, next := planner.Make(s, mem)
			require.NoError(t, planner.Check(s, plan))
			crashed := false
			for _, st := range plan.Steps {
				w.take(st)
				if writes++; writes == d.crashAfter {
					crashed = true
					break
				}
			}
			if crashed {
				w.forget()
			} else {
				w.remember(next)
			}
		}
		if quiet++; w != was {
			quiet = 0
		}
	}
	return w.left(), writes, rounds
}

// TestSieve disturbs one removal in every way at every place: a crash between
// any two writes with nothing remembered, a round that sees the world before the
// last change, and a round that is missed. It always ends the same (rule I15).
//
// Fault 42: the coordinator crashes between any two steps.
// Fault 43: a crash leaves a cordon, a mark or a name behind.
func TestSieve(t *testing.T) {
	start := mini{Replicas: 2, Workers: 2}
	for i := range start.Slots {
		start.Slots[i] = slot{Machine: "up", Pod: true, Ray: rayIdle}
	}
	start.Slots[1].Ray = rayBusy
	want, writes, rounds := start.settleDown(t, disturb{-1, -1, -1})
	require.Empty(t, want.Slots[0].Machine, "the idle node is given back")
	require.Equal(t, rayBusy, want.Slots[1].Ray, "the busy one stays")
	require.EqualValues(t, 1, want.Workers)
	for i := range writes {
		end, _, _ := start.settleDown(t, disturb{i + 1, -1, -1})
		assert.Equal(t, want, end, "crash after write %d", i+1)
	}
	for i := range rounds {
		end, _, _ := start.settleDown(t, disturb{-1, i, -1})
		assert.Equal(t, want, end, "stale view in round %d", i)
		end, _, _ = start.settleDown(t, disturb{-1, -1, i})
		assert.Equal(t, want, end, "round %d is missed", i)
	}
	t.Logf("%d writes and %d rounds, each disturbed", writes, rounds)
}

// TestRestStillFits gives back everything that a plan would at once, and plans
// again: nothing is bought for the same demand, and nothing that was served is
// unserved (rules I5, I6 and I8).
//
// Fault 33: minima of both layers hold whatever is idle.
func TestRestStillFits(t *testing.T) {
	rapid.Check(t, restStillFits)
}

func restStillFits(t *rapid.T) {
	s, m := led()
	c := &s.RayClusters[0]
	for i := range c.RayNodes {
		if rapid.Bool().Draw(t, "busy") {
			c.RayNodes[i].Status = planner.RayNodeRunning
			c.RayNodes[i].Available = planner.Resources{planner.ResourceCPU: 500 * rapid.Int64Range(0, 7).Draw(t, "free")}
		}
	}
	c.WorkerGroups[0].Min, s.NodeGroups[0].Min = rapid.Int64Range(0, 3).Draw(t, "minReplicas"), rapid.Int64Range(0, 3).Draw(t, "min")
	ask := func(name string) planner.Resources {
		return planner.Resources{planner.ResourceCPU: 500 * rapid.Int64Range(0, 8).Draw(t, name)}
	}
	for range rapid.IntRange(0, 2).Draw(t, "requests") {
		c.Requests = append(c.Requests, planner.Request{Resources: ask("request"), Count: rapid.Int64Range(1, 3).Draw(t, "count")})
	}
	if rapid.Bool().Draw(t, "gang") {
		g := planner.Gang{ID: "pg", Strategy: rapid.SampledFrom([]planner.Strategy{planner.Pack, planner.Spread, planner.StrictPack, planner.StrictSpread}).Draw(t, "strategy")}
		o := planner.GangOption{}
		for range rapid.IntRange(1, 3).Draw(t, "bundles") {
			o.Bundles = append(o.Bundles, planner.Bundle{Resources: ask("bundle")})
		}
		g.Options = []planner.GangOption{o}
		c.Gangs = []planner.Gang{g}
	}
	if rapid.Bool().Draw(t, "constraint") {
		c.Constraints = []planner.Request{{Resources: ask("total"), Count: rapid.Int64Range(1, 3).Draw(t, "totals")}}
	}
	first, next := planner.Make(s, m)
	gone := map[string]bool{}
	for _, st := range first.Steps {
		if st.Kind == planner.StepCordon {
			gone[st.Node] = true
		}
		if st.Kind == planner.StepGrow || st.Kind == planner.StepGrowWorkers {
			return // what grows does not shrink, which Check sees
		}
	}
	if int64(3-len(gone)) < max(s.NodeGroups[0].Min, c.WorkerGroups[0].Min) {
		t.Fatalf("I2: %d of 3 nodes go\n%s", len(gone), tell(first))
	}
	second, _ := planner.Make(without(s, gone), next)
	for _, st := range second.Steps {
		if st.Kind == planner.StepGrow || st.Kind == planner.StepGrowWorkers {
			t.Fatalf("I8: after the removal of %v, %+v\nfirst:\n%s\nthen:\n%s", gone, st, tell(first), tell(second))
		}
	}
	if lost := unmetCount(second) - unmetCount(first); lost > 0 {
		t.Fatalf("I8: %d more are unserved after the removal of %v\n%s", lost, gone, tell(second))
	}
}

func unmetCount(p planner.Plan) (n int64) {
	for _, d := range p.Decisions {
		if d.Outcome == planner.OutcomeUnmet {
			n += d.Count
		}
	}
	return n
}

// without is the world after the nodes and what was on them are gone.
func without(s planner.Snapshot, gone map[string]bool) planner.Snapshot {
	out := s
	out.NodeGroups = append([]planner.NodeGroup(nil), s.NodeGroups...)
	out.NodeGroups[0].Replicas -= int64(len(gone))
	c := s.RayClusters[0]
	c.WorkerGroups = append([]planner.WorkerGroup(nil), c.WorkerGroups...)
	c.WorkerGroups[0].Replicas -= int64(len(gone))
	out.Machines, out.Nodes, out.Pods, c.RayNodes = nil, nil, nil, nil
	for i := range s.Nodes {
		if gone[s.Nodes[i].Name] {
			continue
		}
		out.Machines, out.Nodes = append(out.Machines, s.Machines[i]), append(out.Nodes, s.Nodes[i])
		out.Pods, c.RayNodes = append(out.Pods, s.Pods[i]), append(c.RayNodes, s.RayClusters[0].RayNodes[i])
	}
	out.RayClusters = []planner.RayCluster{c}
	return out
}

// TestScaleFree doubles all amounts of CPU and memory: the same steps follow
// (rule I13). GPUs are devices, and twice a part of one is not a part of two.
func TestScaleFree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, m := drawWorld(t)
		drawRemoval(t, &s, &m)
		for i := range s.Classes {
			s.Classes[i].Price = max(1e6, s.Classes[i].Price) // none derived from amounts
		}
		one, _ := planner.Make(s, m)
		two, _ := planner.Make(doubled(s), m)
		if a, b := fmt.Sprint(short(one)), fmt.Sprint(short(two)); a != b {
			t.Fatalf("I13: %s\nbut doubled: %s", a, b)
		}
	})
}

func doubled(s planner.Snapshot) planner.Snapshot {
	twice := func(r planner.Resources) planner.Resources {
		r = r.Clone()
		for _, n := range []string{planner.ResourceCPU, planner.ResourceMemory} {
			if r[n] != 0 {
				r[n] *= 2
			}
		}
		return r
	}
	requests := func(in []planner.Request) (out []planner.Request) {
		for _, r := range in {
			r.Resources = twice(r.Resources)
			out = append(out, r)
		}
		return out
	}
	out := s
	out.Pods, out.Nodes, out.NodeGroups, out.Classes, out.RayClusters = nil, nil, nil, nil, nil
	for _, p := range s.Pods {
		p.Shape.Requests = twice(p.Shape.Requests)
		out.Pods = append(out.Pods, p)
	}
	for _, n := range s.Nodes {
		n.Allocatable = twice(n.Allocatable)
		out.Nodes = append(out.Nodes, n)
	}
	for _, g := range s.NodeGroups {
		g.Capacity = twice(g.Capacity)
		out.NodeGroups = append(out.NodeGroups, g)
	}
	for _, c := range s.Classes {
		c.Capacity = twice(c.Capacity)
		out.Classes = append(out.Classes, c)
	}
	for _, c := range s.RayClusters {
		groups, nodes, gangs := c.WorkerGroups, c.RayNodes, c.Gangs
		c.WorkerGroups, c.RayNodes, c.Gangs = nil, nil, nil
		for _, w := range groups {
			w.RayResources, w.Pod.Requests = twice(w.RayResources), twice(w.Pod.Requests)
			c.WorkerGroups = append(c.WorkerGroups, w)
		}
		for _, n := range nodes {
			n.Total, n.Available = twice(n.Total), twice(n.Available)
			c.RayNodes = append(c.RayNodes, n)
		}
		for _, g := range gangs {
			opts := g.Options
			g.Options = nil
			for _, o := range opts {
				var n planner.GangOption
				for _, b := range o.Bundles {
					n.Bundles = append(n.Bundles, planner.Bundle{Resources: twice(b.Resources), Selector: b.Selector})
				}
				g.Options = append(g.Options, n)
			}
			c.Gangs = append(c.Gangs, g)
		}
		c.Requests, c.Constraints = requests(c.Requests), requests(c.Constraints)
		out.RayClusters = append(out.RayClusters, c)
	}
	return out
}

// TestBusyStaysHoweverLong: an actor works for three days on one of three nodes;
// the others go, and it is never touched.
func TestBusyStaysHoweverLong(t *testing.T) {
	s, m := led()
	status(&s, planner.RayNodeRunning, 1)
	for range 50 {
		plan, next := planner.Make(s, m)
		for _, st := range plan.Steps {
			assert.NotEqual(t, "b", st.Node)
		}
		m, s.At = next, s.At.Add(90*time.Second)
	}
}
