package planner_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// TestRemovalRules draws worlds in which nodes are on their way out in every
// way, and holds the plans to I1, I2, I3, I6, I9 (through Check), I4, I11 and
// I12, and to what a plan must never do to Ray.
//
// Fault 12: two RayClusters share one node.
// Fault 27: the node is not ready and Ray still works on it.
// Fault 33: a max below what is there takes nothing that works.
func TestRemovalRules(t *testing.T) {
	rapid.Check(t, removalRules)
}

func FuzzRemovalRules(f *testing.F) {
	f.Fuzz(rapid.MakeFuzz(removalRules))
}

func removalRules(t *rapid.T) {
	s, m := drawWorld(t)
	drawRemoval(t, &s, &m)
	plan, next := planner.Make(s, m)
	if err := planner.Check(s, plan); err != nil {
		t.Fatalf("%v\n%s", err, tell(plan))
	}
	deterministic(t, s, m, plan, next)
	reasons(t, s, plan)
	gentle(t, s, plan)
	if most := 40 + 12*(len(s.Nodes)+len(s.Machines)+len(s.NodeGroups)+len(s.Pods)); len(plan.Steps) > most || len(plan.Decisions) > most+planner.MaxUnmetDecisions {
		t.Fatalf("I11: %d steps and %d decisions", len(plan.Steps), len(plan.Decisions))
	}
	if s.Policy.Paused && len(plan.Steps) > 0 {
		t.Fatalf("paused, and yet:\n%s", tell(plan))
	}
	stages := planner.Stages(s)
	if len(stages) != len(s.Nodes) {
		t.Fatalf("%d stages of %d nodes", len(stages), len(s.Nodes))
	}
}

// gentle says in its own words what must not happen to Ray's pods: it looks at
// the snapshot alone, not at what the planner made of it.
func gentle(t *rapid.T, s planner.Snapshot, plan planner.Plan) {
	mode := map[string]planner.Mode{}
	status := map[string]planner.RayNodeStatus{}
	for _, c := range s.RayClusters {
		mode[c.Key()] = c.Mode
		for _, n := range c.RayNodes {
			status[n.PodUID] = n.Status
		}
	}
	pods := map[string]planner.Pod{}
	for _, p := range s.Pods {
		pods[p.UID] = p
	}
	for _, st := range plan.Steps {
		for _, r := range st.Pods {
			p := pods[r.UID]
			switch st.Kind { //nolint:exhaustive // the others end no pod
			case planner.StepDrain:
				if st.Drain == planner.DrainIdle && (status[r.UID] != planner.RayNodeIdle || mode[p.RayCluster] != planner.ModeLead) || p.RayHead {
					t.Fatalf("draining %s, which is %s in mode %s\n%s", p.Name, status[r.UID], mode[p.RayCluster], tell(plan))
				}
			case planner.StepShrinkWorkers:
				if p.Node != "" && status[r.UID] != planner.RayNodeDead {
					named := false
					for _, c := range s.RayClusters {
						for _, w := range c.WorkerGroups {
							for _, n := range w.WorkersToDelete {
								named = named || n == r.Name && c.Key() == p.RayCluster
							}
						}
					}
					if !named {
						t.Fatalf("taking back pod %s, whose Ray node is %q\n%s", p.Name, status[r.UID], tell(plan))
					}
				}
			case planner.StepEvict:
				if p.Blocks != "" || p.RayCluster != "" && mode[p.RayCluster] != planner.ModeOff {
					t.Fatalf("evicting %s\n%s", p.Name, tell(plan))
				}
			}
		}
	}
}

// drawRemoval adds Ray nodes, marks, hooks, limits and troubles to a world.
func drawRemoval(t *rapid.T, s *planner.Snapshot, m *planner.Memory) {
	drawPolicy(t, &s.Policy)
	for i := range s.RayClusters {
		drawRayNodes(t, s, &s.RayClusters[i])
	}
	for i := range s.Machines {
		ma := &s.Machines[i]
		ma.Hook = rapid.Bool().Draw(t, "hook")
		ma.WaitsForHook = ma.Deleting && ma.Hook
		ma.Release = rapid.IntRange(0, 9).Draw(t, "release") == 0
		if ma.Deleting {
			ma.DeletingSince = noon.Add(-time.Duration(rapid.IntRange(0, 20).Draw(t, "deletingSince")) * time.Minute)
		}
		if ma.Node == "" && rapid.IntRange(0, 3).Draw(t, "fails") == 0 {
			ma.Failure = "no"
			ma.FailureKind = rapid.SampledFrom([]planner.FailureKind{planner.FailureNoCapacity, planner.FailureQuota, planner.FailureOther, ""}).Draw(t, "failureKind")
		}
	}
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if !n.Ready {
			n.UnreadySince = noon.Add(-time.Duration(rapid.IntRange(0, 20).Draw(t, "unreadySince")) * time.Minute)
		}
		if rapid.IntRange(0, 4).Draw(t, "soft") == 0 {
			n.SoftTaint = &planner.Mark{PlanID: "p", At: noon}
		}
		if rapid.IntRange(0, 9).Draw(t, "keep") == 0 {
			n.Keep = "annotation"
		}
		if rapid.IntRange(0, 4).Draw(t, "refused") == 0 {
			*m = m.DrainRefused(n.UID, noon.Add(-time.Duration(rapid.IntRange(0, 90).Draw(t, "refusedAt"))*time.Second))
		}
	}
	for i := range s.Pods {
		if p := &s.Pods[i]; p.RayCluster == "" && rapid.IntRange(0, 2).Draw(t, "blocks") == 0 {
			p.Blocks = "local storage"
		}
	}
	m.At = noon.Add(-time.Duration(rapid.SampledFrom([]int{5, 5, 5, 600, -600}).Draw(t, "lastPlan")) * time.Second)
}

func drawPolicy(t *rapid.T, p *planner.Policy) {
	one := func(name string) bool { return rapid.IntRange(0, 9).Draw(t, name) == 0 }
	p.Paused, p.Hooks, p.SoftTaints = one("pausedAll"), !one("noHooks"), !one("noSoft")
	p.DrainDeadline, p.UnreachableRelease = planner.Duration(5*time.Minute), planner.Duration(10*time.Minute)
	p.VacantHold = rapid.SampledFrom([]planner.Duration{0, planner.Duration(time.Minute)}).Draw(t, "vacantHold")
	p.DemandHold = rapid.SampledFrom([]planner.Duration{0, planner.Duration(time.Hour)}).Draw(t, "demandHold")
	p.MaxRemovePerHour = rapid.SampledFrom([]int64{0, 0, 1}).Draw(t, "removePerHour")
	p.MaxGrowPerHour = rapid.SampledFrom([]int64{0, 0, 4}).Draw(t, "growPerHour")
	p.MaxGrowPerGroup = rapid.SampledFrom([]int64{0, 0, 1}).Draw(t, "growPerGroup")
	p.MaxAttempts = rapid.SampledFrom([]int64{0, 3}).Draw(t, "attempts")
	if one("unreadyStop") {
		p.MaxUnreadyPercent, p.OKUnready = 45, 1
	}
	if rapid.IntRange(0, 3).Draw(t, "tenants") == 0 {
		p.TenantLimits = []planner.TenantLimit{{Namespace: "ml", MaxMachines: rapid.Int64Range(1, 6).Draw(t, "tenantMachines")}}
	}
}

// drawRayNodes binds workers of the cluster to nodes and draws what the GCS
// says of them.
func drawRayNodes(t *rapid.T, s *planner.Snapshot, c *planner.RayCluster) {
	for i := range c.WorkerGroups {
		w := &c.WorkerGroups[i]
		w.Min = rapid.Int64Range(0, 2).Draw(t, "minReplicas")
		w.NumOfHosts = rapid.SampledFrom([]int64{0, 1, 1, 2}).Draw(t, "hosts")
		for k := range rapid.IntRange(0, 3).Draw(t, "bound") {
			if len(s.Nodes) == 0 {
				return
			}
			name := fmt.Sprintf("%s-%s-b%d", c.Name, w.Name, k)
			pod := planner.Pod{
				Namespace: "ml", Name: name, UID: "ub-" + name, RayCluster: c.Key(), RayGroup: w.Name, Shape: planner.PodShape{Requests: planner.Resources{planner.ResourceCPU: 100}},
				Node: rapid.SampledFrom(s.Nodes).Draw(t, "on").Name, Terminating: rapid.IntRange(0, 9).Draw(t, "terminating") == 0,
			}
			if w.NumOfHosts == 2 && rapid.Bool().Draw(t, "tells") {
				pod.RayReplica = fmt.Sprintf("%s-r%d", w.Name, k/2)
			}
			s.Pods = append(s.Pods, pod)
			if rapid.IntRange(0, 5).Draw(t, "named") == 0 {
				w.WorkersToDelete = append(w.WorkersToDelete, name)
			}
			if rapid.IntRange(0, 7).Draw(t, "unknown") == 0 {
				continue
			}
			c.RayNodes = append(c.RayNodes, planner.RayNode{
				ID: "id-" + name, Pod: name, PodUID: pod.UID, Group: w.Name, Total: w.RayResources.Clone(), Available: w.RayResources.Clone(),
				Status:  rapid.SampledFrom([]planner.RayNodeStatus{planner.RayNodeIdle, planner.RayNodeIdle, planner.RayNodeRunning, planner.RayNodeDead, planner.RayNodeDraining}).Draw(t, "status"),
				IdleFor: planner.Duration(time.Duration(rapid.IntRange(0, 4).Draw(t, "idleMinutes")) * time.Minute),
			})
		}
		if rapid.IntRange(0, 5).Draw(t, "stale") == 0 {
			w.WorkersToDelete = append(w.WorkersToDelete, "gone")
		}
	}
}
