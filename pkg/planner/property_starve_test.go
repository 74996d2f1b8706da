package planner_test

import (
	"flag"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// TestRulesOfPatience is rule I14 in calm worlds: a request that could be had if
// nobody else asked for anything, of a cluster that comes last, waits while
// others hold what it needs, at a rate of one new Machine a round. Once they ask
// no more, their nodes go, and it is served.
func TestRulesOfPatience(t *testing.T) {
	checkFewer(t, 4, func(t *rapid.T) {
		s, m := drawWide(t, true)
		selfless(&s)
		hungry(&s)
		victim := last(&s)
		if alone := aloneIn(s, victim); unmetOf(alone, victim) > 0 { // another world is drawn, and the test fails if too few count
			t.Skip("it could not be had in any case")
		}
		s.Policy.MaxGrowPerTick = 1
		r := &settling{carrying: carry(s), t: t, m: m}
		r.rest()
		for i := range r.s.RayClusters {
			if c := &r.s.RayClusters[i]; c.Key() != victim {
				c.Requests, c.Gangs, c.Constraints = nil, nil, nil
				for j := range c.RayNodes { // its tasks have ended
					n := &c.RayNodes[j]
					n.Status, n.Available, n.IdleFor = planner.RayNodeIdle, n.Total.Clone(), minutes(2)
				}
			}
		}
		if n := unmetOf(r.rest(), victim); n > 0 {
			r.fail("I14: %d of %s are never served", n, victim)
		}
	})
}

// checkFewer checks a property on one in by of the worlds that are asked for: a
// check of it takes as long as very many of others.
func checkFewer(t *testing.T, by int, prop func(*rapid.T)) {
	t.Helper()
	f := flag.Lookup("rapid.checks")
	asked := f.Value.String()
	n, err := strconv.Atoi(asked)
	require.NoError(t, err)
	require.NoError(t, flag.Set(f.Name, strconv.Itoa(max(1, n/by))))
	defer func() { require.NoError(t, flag.Set(f.Name, asked)) }()
	rapid.Check(t, prop)
}

// selfless leaves nothing in a world that nobody may take from others: clusters
// that are led, without minima, and no other pods.
func selfless(s *planner.Snapshot) {
	s.Pods = slices.DeleteFunc(s.Pods, func(p planner.Pod) bool { return p.RayCluster == "" || p.RayHead })
	for i := range s.RayClusters {
		c := &s.RayClusters[i]
		c.Mode = planner.ModeLead
		for j := range c.WorkerGroups {
			c.WorkerGroups[j].Min = 0
		}
	}
	for i := range s.NodeGroups {
		s.NodeGroups[i].Min = 0
	}
}

// hungry lets every cluster ask for more than there can be.
func hungry(s *planner.Snapshot) {
	for i := range s.RayClusters {
		c := &s.RayClusters[i]
		for j := range c.WorkerGroups {
			w := &c.WorkerGroups[j]
			w.Max += 6
			c.Requests = append(c.Requests, planner.Request{Resources: w.RayResources.Clone(), Count: 9})
		}
	}
}

// last adds a cluster that has nothing, wants one thing and comes last, and
// names it.
func last(s *planner.Snapshot) string {
	cpu := planner.Resources{planner.ResourceCPU: 4000}
	c := planner.RayCluster{
		Namespace: "t9", Name: "last", UID: "last", Mode: planner.ModeLead, DemandKnown: true, IdleTimeout: minutes(1),
		WorkerGroups: []planner.WorkerGroup{{
			Name: "w", Max: 1, RayResources: cpu, Pod: planner.PodShape{Requests: cpu, Tolerations: []planner.Toleration{{Operator: "Exists"}}},
		}},
		Requests: []planner.Request{{Resources: cpu, Count: 1}},
	}
	s.RayClusters = append(s.RayClusters, c)
	return c.Key()
}

// aloneIn plans for one cluster in a world without nodes and pods.
func aloneIn(s planner.Snapshot, cluster string) planner.Plan {
	s.Pods, s.Nodes, s.Machines = nil, nil, nil
	s.NodeGroups = slices.Clone(s.NodeGroups)
	for i := range s.NodeGroups {
		s.NodeGroups[i].Replicas = 0
	}
	for _, c := range s.RayClusters {
		if c.Key() == cluster {
			s.RayClusters = []planner.RayCluster{c}
		}
	}
	plan, _ := planner.Make(s, planner.Memory{})
	return plan
}

func unmetOf(plan planner.Plan, cluster string) (n int64) {
	for _, d := range plan.Decisions {
		if d.Outcome == planner.OutcomeUnmet && d.RayCluster == cluster {
			n += d.Count
		}
	}
	return n
}

// TestRulesOfPriority is rule I14 in a wild world: what is served if a namespace
// asks alone is served as well when its priority is the highest, whatever others
// ask for, unless pods that wait already or minima come before all demand.
func TestRulesOfPriority(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, m := drawWide(t, false)
		selfless(&s)
		hungry(&s)
		s.Pods = slices.DeleteFunc(s.Pods, func(p planner.Pod) bool { return p.Node == "" })
		victim := last(&s)
		s.Policy.TenantLimits = append(s.Policy.TenantLimits, planner.TenantLimit{Namespace: "t9", Priority: 1})
		alone := s
		alone.RayClusters = slices.Clone(s.RayClusters)
		for i := range alone.RayClusters {
			if c := &alone.RayClusters[i]; c.Key() != victim {
				c.Requests, c.Gangs, c.Constraints = nil, nil, nil
			}
		}
		least, _ := planner.Make(alone, m)
		all, _ := planner.Make(s, m)
		if n := unmetOf(all, victim); n > unmetOf(least, victim) {
			t.Fatalf("I14: %d of %s are unserved\nalone:\n%s\nbeside others:\n%s", n, victim, tell(least), tell(all))
		}
	})
}
