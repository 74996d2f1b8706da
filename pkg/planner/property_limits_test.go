package planner_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// TestRulesUnderAFlood is rule I11 in wild worlds: whatever number of whatever
// shapes the clusters ask for, steps, decisions and nodes of a plan are bounded
// by what there is and by the limits of the groups.
func TestRulesUnderAFlood(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, m := drawWide(t, false)
		for i := range s.RayClusters {
			c := &s.RayClusters[i]
			for j := range rapid.Int64Range(0, 40).Draw(t, "shapes") {
				c.Requests = append(c.Requests, planner.Request{
					Resources: planner.Resources{planner.ResourceCPU: 1 + 37*j, planner.ResourceGPU: j % 3 * planner.Unit / 2},
					Count:     rapid.Int64Range(1, 1<<40).Draw(t, "flood"),
				})
			}
			for j := range c.WorkerGroups {
				c.WorkerGroups[j].Max = 1 << 30
			}
		}
		plan, _ := planner.Make(s, m)
		if err := planner.Check(s, plan); err != nil {
			t.Fatalf("%v\n%s", err, tell(plan))
		}
		things := len(s.Nodes) + len(s.Machines) + len(s.NodeGroups) + len(s.Pods) + 1
		nodes := int64(len(s.Nodes) + len(s.Machines))
		for _, g := range s.NodeGroups {
			nodes += g.Max + g.Replicas
		}
		if len(plan.Steps) > 8*things || len(plan.Decisions) > 12*things+planner.MaxUnmetDecisions || int64(len(plan.Nodes)) > nodes {
			t.Fatalf("I11: %d steps, %d decisions and %d nodes for %d things", len(plan.Steps), len(plan.Decisions), len(plan.Nodes), things)
		}
	})
}

// TestScaleFreeRules is rule I13 in wild worlds: twice the CPU and memory of
// everything changes no step.
func TestScaleFreeRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, m := drawWide(t, false)
		one, _ := planner.Make(s, m)
		two, _ := planner.Make(doubled(s), m)
		if a, b := fmt.Sprint(short(one)), fmt.Sprint(short(two)); a != b {
			t.Fatalf("I13: %s\nbut doubled: %s", a, b)
		}
	})
}

// TestRulesForMoreDemand is rule I7 in wild worlds: one more kind of request,
// the smallest, of the cluster that is planned last, leaves nothing of the others
// unserved that was served, as long as room is not what is wanting. Of its own
// demand, no more is unserved than has been added: it is all of one priority.
// Where all is served in both plans, the bound falls by no more than one percent.
func TestRulesForMoreDemand(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, m := drawWide(t, false)
		s.Policy.FairShareDisabled = true // the fair part of another tenant may grow by more demand
		small := planner.Resources{planner.ResourceCPU: 100}
		less, _ := planner.Make(s, m)
		if len(s.RayClusters) == 0 || wantsRoom(less) {
			return
		}
		s.RayClusters = append([]planner.RayCluster(nil), s.RayClusters...)
		slices.SortFunc(s.RayClusters, func(a, b planner.RayCluster) int {
			return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
		})
		c := &s.RayClusters[len(s.RayClusters)-1]
		added := rapid.Int64Range(1, 20).Draw(t, "more")
		c.Requests = append([]planner.Request{{Resources: small, Count: added}}, c.Requests...)
		more, _ := planner.Make(s, m)
		others, own := unmetBut(less, small, c.Key())
		if a, b := unmetBut(more, small, c.Key()); a > others || b > own+added {
			t.Fatalf("I7: %d and %d are unserved, %d and %d before\n%s\nwith more:\n%s", a, b, others, own, tell(less), tell(more))
		}
		if !unmet(less) && !unmet(more) && more.Bound < less.Bound-less.Bound/100 {
			t.Fatalf("I7: the bound fell from %d to %d\n%s\nwith more:\n%s", less.Bound, more.Bound, tell(less), tell(more))
		}
	})
}

// unmetBut counts what is unmet of other clusters and of the one named, apart from
// one kind of request and from the pods that the one that asks for it would have.
func unmetBut(p planner.Plan, r planner.Resources, cluster string) (others, own int64) {
	for _, d := range p.Decisions {
		switch {
		case d.Outcome != planner.OutcomeUnmet || d.Demand.Key() == r.Key() || strings.HasPrefix(d.Subject, "pods of "+cluster+" "):
		case d.RayCluster == cluster:
			own += d.Count
		default:
			others += d.Count
		}
	}
	return others, own
}

// TestRulesOfTheWayBack is rule I10 in calm worlds: removals run for a while,
// then every Ray node of the clusters in lead mode is wanted. No node on which
// one is left goes any more, and within six rounds all of them serve.
func TestRulesOfTheWayBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, m := drawWide(t, true)
		c := carry(s)
		for range rapid.IntRange(0, 3).Draw(t, "rounds") {
			plan, next := planner.Make(c.s, m)
			for _, st := range plan.Steps {
				c.take(st)
			}
			c.settle(plan)
			c.pass(roundTime)
			m = next
		}
		wanted := c.wantAll()
		for range 6 {
			plan, next := planner.Make(c.s, m)
			for _, st := range plan.Steps {
				if st.Kind == planner.StepRemove || st.Kind == planner.StepDrain || st.Kind == planner.StepCordon {
					for _, n := range append([]string{st.Node}, st.Machines...) {
						if wanted[n] {
							t.Fatalf("I10: %s, while all Ray nodes are wanted\n%s", tellStep(st), tell(plan))
						}
					}
				}
				c.take(st)
			}
			m = next
			c.pass(5 * time.Second)
		}
		for i := range c.s.Nodes {
			if n := &c.s.Nodes[i]; wanted[n.Name] && n.Cordon != nil {
				t.Fatalf("I10: node %s does not serve again", n.Name)
			}
		}
	})
}

// wantAll asks for every Ray node of the clusters in lead mode that is idle, and
// nothing else, and names the nodes on which they are with their Machines.
func (c *carrying) wantAll() map[string]bool {
	wanted := map[string]bool{}
	on := map[string]string{}
	for _, p := range c.s.Pods {
		on[p.UID] = p.Node
	}
	for i := range c.s.RayClusters {
		r := &c.s.RayClusters[i]
		r.Requests, r.Gangs, r.Constraints = nil, nil, nil
		for j := range r.RayNodes {
			n := &r.RayNodes[j]
			if r.Mode == planner.ModeLead && n.Status == planner.RayNodeIdle {
				n.Labels = map[string]string{"node": n.ID} // which no other serves as well
				r.Requests = append(r.Requests, planner.Request{
					Resources: n.Total.Clone(), Count: 1, Selectors: []planner.Selector{{{Key: "node", Values: []string{n.ID}}}},
				})
				wanted[on[n.PodUID]], wanted["ns/"+on[n.PodUID]] = true, true
			}
		}
	}
	return wanted
}
