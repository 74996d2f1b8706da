package planner_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// TestCheckHoldsTenants buys one Machine with two GPUs for a namespace: its own
// limits count, and the default ones where it has none of its own.
func TestCheckHoldsTenants(t *testing.T) {
	const gpu = planner.Unit
	for name, c := range map[string]struct {
		limits []planner.TenantLimit
		broken bool
	}{
		"no limit":                     {},
		"enough GPUs":                  {limits: []planner.TenantLimit{{Namespace: "ml", MaxGPUs: 2 * gpu}}},
		"too many GPUs":                {limits: []planner.TenantLimit{{Namespace: "ml", MaxGPUs: gpu}}, broken: true},
		"too many GPUs by default":     {limits: []planner.TenantLimit{{MaxGPUs: gpu}}, broken: true},
		"too many Machines":            {limits: []planner.TenantLimit{{Namespace: "ml", MaxMachines: 1}}, broken: true},
		"too many Machines by default": {limits: []planner.TenantLimit{{MaxMachines: 1}}, broken: true},
		"its own before the default":   {limits: []planner.TenantLimit{{Namespace: "ml", MaxMachines: 9}, {MaxMachines: 1, MaxGPUs: gpu}}},
		"of somebody else":             {limits: []planner.TenantLimit{{Namespace: "web", MaxMachines: 1, MaxGPUs: gpu}}},
	} {
		t.Run(name, func(t *testing.T) {
			s := checked() // node b carries a pod of namespace ml
			s.NodeGroups[0].Capacity = planner.Resources{planner.ResourceCPU: 4000, planner.ResourceGPU: 2 * gpu}
			s.RayClusters = []planner.RayCluster{{Namespace: "ml", Name: "r"}}
			s.Policy.TenantLimits = c.limits
			err := planner.Check(s, planner.Plan{Nodes: []planner.NodePlan{{
				Group: "ns/g", New: true, Count: 1,
				Pods: []planner.Placement{{Demand: "pods of ml/r w", Requests: planner.Resources{planner.ResourceGPU: gpu}, Count: 2}},
			}}})
			if !c.broken {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			assert.Contains(t, err.Error(), "namespace ml")
		})
	}
}

// TestPlansAreBounded is rule I11: however many requests of however many shapes
// a tenant makes, a plan takes at most eight steps for each node, Machine, group and
// worker group, and lists at most one NodePlan for each Machine that there is
// or that the groups' max sizes allow.
func TestPlansAreBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, m := led()
		c := &s.RayClusters[0]
		for range rapid.IntRange(0, 40).Draw(t, "shapes") {
			c.Requests = append(c.Requests, planner.Request{
				Resources: planner.Resources{planner.ResourceCPU: rapid.Int64Range(1, 5000).Draw(t, "cpu")},
				Count:     rapid.Int64Range(1, 1<<40).Draw(t, "count"),
			})
		}
		plan, _ := planner.Make(s, m)
		things := len(s.Nodes) + len(s.Machines) + len(s.NodeGroups) + len(c.WorkerGroups)
		if len(plan.Steps) > 8*things {
			t.Fatalf("I11: %d steps for %d things", len(plan.Steps), things)
		}
		if most := len(s.Machines) + int(s.NodeGroups[0].Max); len(plan.Nodes) > most {
			t.Fatalf("I11: %d NodePlans, at most %d Machines", len(plan.Nodes), most)
		}
	})
}

// TestMoreDemand is rule I7 for a request that the planner serves last, being
// the smallest: nothing that was served is unserved by it, and where all is
// served in both plans the bound does not fall. Where the worker group
// is at its maximum with both, it is up to Ray which demand the same pods serve,
// and a packing without a gap need not be found with something more to pack: one
// of a kind may be left over then.
func TestMoreDemand(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, m := led()
		status(&s, planner.RayNodeRunning, 0, 1, 2)
		c := &s.RayClusters[0]
		for range rapid.IntRange(0, 4).Draw(t, "requests") {
			c.Requests = append(c.Requests, planner.Request{
				Resources: planner.Resources{planner.ResourceCPU: 500 * rapid.Int64Range(1, 9).Draw(t, "cpu")},
				Count:     rapid.Int64Range(1, 3).Draw(t, "count"),
			})
		}
		less, _ := planner.Make(s, m)
		s.RayClusters = []planner.RayCluster{*c}
		c = &s.RayClusters[0]
		c.Requests = append([]planner.Request{{Resources: planner.Resources{planner.ResourceCPU: 400}, Count: rapid.Int64Range(1, 20).Draw(t, "more")}}, c.Requests...)
		more, _ := planner.Make(s, m)
		left := func(p planner.Plan) map[string]int64 {
			out := map[string]int64{}
			for _, d := range p.Decisions {
				if d.Outcome == planner.OutcomeUnmet {
					out[d.Demand.Key()] += d.Count
				}
			}
			return out
		}
		before := left(less)
		gap := int64(0)
		if most := c.WorkerGroups[0].Max; targetsOf(less)["w"] == most && targetsOf(more)["w"] == most {
			gap = 1
		}
		for key, n := range left(more) {
			if key != (planner.Resources{planner.ResourceCPU: 400}).Key() && n > before[key]+gap {
				t.Fatalf("I7: %d of %s are unserved, %d before\n%s", n, key, before[key], tell(more))
			}
		}
		if !unmet(less) && !unmet(more) && more.Bound < less.Bound {
			t.Fatalf("I7: the bound fell from %d to %d", less.Bound, more.Bound)
		}
	})
}

// TestTenantsShare draws tenants with limits of their own and by default who
// may share nodes: no plan breaks what Check knows of limits.
func TestTenantsShare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, m := led()
		s.NodeGroups[0].Max, s.Classes[0].Capacity = 9, planner.Resources{planner.ResourceCPU: 8000}
		s.NodeGroups[0].Capacity = s.Classes[0].Capacity
		status(&s, planner.RayNodeRunning, 0, 1, 2)
		other := s.RayClusters[0]
		other.Namespace, other.UID, other.RayNodes = "web", "r2", nil
		other.WorkerGroups = append([]planner.WorkerGroup(nil), other.WorkerGroups...)
		other.WorkerGroups[0].Replicas = 0
		s.RayClusters = append(s.RayClusters, other)
		for i := range s.RayClusters {
			s.RayClusters[i].Requests = []planner.Request{{Resources: planner.Resources{planner.ResourceCPU: 4000}, Count: rapid.Int64Range(0, 6).Draw(t, "count")}}
		}
		s.Policy.TenantLimits = []planner.TenantLimit{{MaxMachines: rapid.Int64Range(0, 5).Draw(t, "default")}}
		if rapid.Bool().Draw(t, "own") {
			s.Policy.TenantLimits = append(s.Policy.TenantLimits, planner.TenantLimit{Namespace: "web", MaxMachines: rapid.Int64Range(1, 5).Draw(t, "limit")})
		}
		plan, _ := planner.Make(s, m)
		if err := planner.Check(s, plan); err != nil {
			t.Fatalf("%v\n%s", err, tell(plan))
		}
	})
}

// TestNobodyStarves is rule I14 in a small perfect world: whatever another
// cluster asks for in every round, with one Machine a round, a request with room
// is served within as many rounds as there are Machines to be had. Room is
// what the others' max replicas leave.
func TestNobodyStarves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const most = 6
		cpu := planner.Resources{planner.ResourceCPU: 4000}
		s := planner.Snapshot{At: noon, Policy: testPolicy()}
		s.Policy.MaxGrowPerTick = 1
		s.Classes = []planner.VMClass{{Name: "small", Capacity: cpu, Price: 1e6}}
		s.NodeGroups = []planner.NodeGroup{{Namespace: "ns", Name: "g", UID: "g", Class: "small", Managed: true, Max: most, Capacity: cpu}}
		for _, name := range []string{"a", "b"} {
			s.RayClusters = append(s.RayClusters, planner.RayCluster{
				Namespace: "ml", Name: name, UID: name, Mode: planner.ModeLead, DemandKnown: true,
				WorkerGroups: []planner.WorkerGroup{{Name: "w", Max: most - 1, RayResources: cpu, Pod: planner.PodShape{Requests: cpu}}},
			})
		}
		victim := rapid.IntRange(0, 1).Draw(t, "victim")
		m := planner.Memory{}
		for range most {
			for i := range s.RayClusters {
				n := int64(1)
				if i != victim {
					n = rapid.Int64Range(0, most).Draw(t, "asks")
				}
				s.RayClusters[i].Requests = []planner.Request{{Resources: cpu, Count: n}}
			}
			plan, next := planner.Make(s, m)
			for _, st := range plan.Steps {
				switch st.Kind { //nolint:exhaustive // nothing else happens while all nodes come
				case planner.StepGrow:
					s.NodeGroups[0].Replicas = st.To
				case planner.StepGrowWorkers:
					s.RayClusters = withReplicas(s.RayClusters, st)
				}
			}
			m, s.At = next, s.At.Add(5*time.Second)
			if s.RayClusters[victim].WorkerGroups[0].Replicas > 0 {
				return
			}
		}
		t.Fatalf("I14: after %d rounds nothing is served: %+v", most, s.NodeGroups)
	})
}

// TestEveryRemovalComesBack is rule I10: of three nodes that may not become
// more, any are on their way out, up to the delete mark whose shrink has not
// happened, when demand comes that needs all of them. Within four rounds no
// cordon is left and every ended Ray node has a fresh pod; once the tasks run,
// no mark and no soft taint is left either. A soft taint may stay until then:
// it keeps no task from the Ray node that is there. No Machine goes.
func TestEveryRemovalComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, m := led()
		c := &s.RayClusters[0]
		s.NodeGroups[0].Max, c.WorkerGroups[0].Max = 3, 3
		s.Policy.SoftTaints = rapid.Bool().Draw(t, "softTaints")
		for i := range s.Nodes {
			switch rapid.SampledFrom([]string{"serving", "soft", "cordoned", "drained", "marked"}).Draw(t, "stage") {
			case "soft":
				s.Nodes[i].SoftTaint = &planner.Mark{PlanID: "p", At: noon}
			case "cordoned":
				cordoned(&s, i)
			case "drained":
				cordoned(&s, i)
				status(&s, planner.RayNodeDead, i)
			case "marked":
				cordoned(&s, i)
				status(&s, planner.RayNodeDead, i)
				s.Machines[i].Mark = &planner.Mark{PlanID: "p", At: noon.Add(-10 * time.Second)}
			}
		}
		c.Requests = []planner.Request{{Resources: planner.Resources{planner.ResourceCPU: 4000}, Count: 3}}
		for round := range 5 {
			if round == 4 { // the tasks run
				for i := range c.RayNodes {
					if c.RayNodes[i].Status != planner.RayNodeIdle || s.Nodes[i].Cordon != nil || s.Machines[i].Mark != nil {
						t.Fatalf("I10: node %s does not serve again", s.Nodes[i].Name)
					}
				}
				c.Requests = nil
				status(&s, planner.RayNodeRunning, 0, 1, 2)
			}
			plan, next := planner.Make(s, m)
			for _, st := range plan.Steps {
				takeBack(t, &s, st)
			}
			m, s.At = next, s.At.Add(5*time.Second)
		}
		for i := range s.Nodes {
			if n := s.Nodes[i]; n.Cordon != nil || n.SoftTaint != nil || s.Machines[i].Mark != nil || c.RayNodes[i].Status != planner.RayNodeRunning {
				t.Fatalf("I10: %+v with %+v and Ray node %s does not serve again", n, s.Machines[i], c.RayNodes[i].Status)
			}
		}
	})
}

// takeBack carries out a step of a way back; a node that goes on breaks I10.
func takeBack(t *rapid.T, s *planner.Snapshot, st planner.Step) {
	for i := range s.Nodes {
		n, ma, r := &s.Nodes[i], &s.Machines[i], &s.RayClusters[0].RayNodes[i]
		switch st.Kind { //nolint:exhaustive // the others do not concern a way back
		case planner.StepUncordon:
			if n.Name == st.Node {
				n.Cordon, n.Taints = nil, nil
			}
		case planner.StepSoftUntaint:
			if n.Name == st.Node {
				n.SoftTaint = nil
			}
		case planner.StepUnmark:
			if st.Machines[0] == ma.Key() {
				ma.Mark = nil
			}
		case planner.StepReplaceWorker:
			if st.Pods[0].UID == r.PodUID { // the operator makes a fresh one
				s.Pods[i].UID += "2"
				r.ID, r.PodUID, r.Status, r.Available = r.ID+"2", s.Pods[i].UID, planner.RayNodeIdle, r.Total
			}
		case planner.StepCordon, planner.StepRemove, planner.StepShrinkWorkers, planner.StepDrain:
			t.Fatalf("I10: %+v, while all nodes are wanted", st)
		}
	}
}

// TestATenantDoesNotLengthenAPlan is rule I11 for decisions: two thousand kinds
// of demand that cannot be met are told in a bounded number of decisions, and
// none of them is lost from the count.
func TestATenantDoesNotLengthenAPlan(t *testing.T) {
	const kinds = 2000
	s, m := led()
	c := &s.RayClusters[0]
	c.Requests = nil
	for i := range int64(kinds) {
		c.Requests = append(c.Requests, planner.Request{Resources: planner.Resources{planner.ResourceCPU: 1_000_000 + i}, Count: 1})
	}
	plan, _ := planner.Make(s, m)
	var unmet int
	var count int64
	for _, d := range plan.Decisions {
		if d.Outcome == planner.OutcomeUnmet {
			unmet++
			count += d.Count
		}
	}
	assert.LessOrEqual(t, unmet, planner.MaxUnmetDecisions+1)
	assert.Equal(t, int64(kinds), count)
	assert.NoError(t, planner.Check(s, plan))
}
