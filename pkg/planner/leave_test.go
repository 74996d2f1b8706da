package planner_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

func minutes(n int) planner.Duration { return planner.Duration(time.Duration(n) * time.Minute) }

// led is a RayCluster in lead mode with one idle worker on each of three nodes
// a, b and c, all of which have been read as idle before.
func led() (planner.Snapshot, planner.Memory) {
	cpu := planner.Resources{planner.ResourceCPU: 4000}
	s := planner.Snapshot{At: noon, Policy: testPolicy()}
	s.Policy.DrainDeadline, s.Policy.UnreachableRelease = minutes(5), minutes(10)
	s.Classes = []planner.VMClass{{Name: "small", Capacity: cpu, Price: 1e6}}
	s.NodeGroups = []planner.NodeGroup{{Namespace: "ns", Name: "g", UID: "g", Class: "small", Managed: true, Max: 5, Replicas: 3, Capacity: cpu}}
	c := planner.RayCluster{
		Namespace: "ml", Name: "r", UID: "r", Mode: planner.ModeLead, DemandKnown: true, IdleTimeout: minutes(1),
		WorkerGroups: []planner.WorkerGroup{{Name: "w", Replicas: 3, Max: 5, RayResources: cpu, Pod: planner.PodShape{Requests: cpu}}},
	}
	m := planner.Memory{At: noon.Add(-5 * time.Second), Idle: map[string]planner.IdleRead{}}
	for _, n := range []string{"a", "b", "c"} {
		s.Machines = append(s.Machines, planner.Machine{Namespace: "ns", Name: n, UID: "m" + n, Group: "ns/g", Node: n, CreatedAt: noon.Add(-time.Hour)})
		s.Nodes = append(s.Nodes, planner.Node{Name: n, UID: "n" + n, Machine: "ns/" + n, Ready: true, Allocatable: cpu})
		s.Pods = append(s.Pods, planner.Pod{Namespace: "ml", Name: "w" + n, UID: "w" + n, Node: n, RayCluster: "ml/r", RayGroup: "w", Shape: planner.PodShape{Requests: cpu}})
		c.RayNodes = append(c.RayNodes, planner.RayNode{ID: "r" + n, Pod: "w" + n, PodUID: "w" + n, Status: planner.RayNodeIdle, IdleFor: minutes(10), Total: cpu, Available: cpu})
		m.Idle["n"+n] = planner.IdleRead{RayNodes: "r/r" + n, First: noon.Add(-5 * time.Second)}
	}
	s.RayClusters = []planner.RayCluster{c}
	return s, m
}

func cordoned(s *planner.Snapshot, nodes ...int) {
	for _, i := range nodes {
		s.Nodes[i].Cordon = &planner.Mark{PlanID: "p", At: noon.Add(-10 * time.Second)}
		s.Nodes[i].Taints = []planner.Taint{{Key: planner.CordonTaint, Effect: "NoSchedule"}}
	}
}

func status(s *planner.Snapshot, st planner.RayNodeStatus, nodes ...int) {
	for _, i := range nodes {
		s.RayClusters[0].RayNodes[i].Status = st
		if st == planner.RayNodeRunning {
			s.RayClusters[0].RayNodes[i].Available = planner.Resources{}
		}
	}
}

// deleted makes a the node whose Machine somebody else deletes.
func deleted(s *planner.Snapshot) {
	s.Machines[0].Deleting, s.Machines[0].Hook, s.Machines[0].WaitsForHook, s.Machines[0].DeletingSince = true, true, true, noon.Add(-time.Minute)
	s.NodeGroups[0].Replicas = 2
}

// short writes the steps in a few words.
func short(p planner.Plan) []string {
	out := []string{}
	for _, st := range p.Steps {
		w := []string{string(st.Kind)}
		switch st.Kind { //nolint:exhaustive // the others change no number
		case planner.StepGrow, planner.StepGrowWorkers, planner.StepShrinkWorkers, planner.StepRemove:
			w = append(w, fmt.Sprintf("%d→%d", st.From, st.To))
		default:
		}
		w = append(w, st.Machines...)
		if len(st.Machines) == 0 {
			w = append(w, st.Node)
		}
		for _, r := range st.Pods {
			w = append(w, r.Name)
		}
		w = append(w, string(st.Drain))
		out = append(out, strings.Join(strings.Fields(strings.Join(w, " ")), " "))
	}
	return out
}

func TestLeaving(t *testing.T) {
	type world = planner.Snapshot
	for name, c := range map[string]struct {
		world  func(*world, *planner.Memory)
		steps  []string
		reason string // "Subject Reason"
	}{
		"idle in one read only": {
			world: func(_ *world, m *planner.Memory) { m.Idle = nil }, steps: []string{}, reason: "a IdleHold",
		},
		// Fault 10: the head restarted, other Ray nodes run in the same pods.
		"idle, but other Ray nodes than before": {
			world: func(s *world, _ *planner.Memory) {
				for i := range s.RayClusters[0].RayNodes {
					s.RayClusters[0].RayNodes[i].ID += "x"
				}
			}, steps: []string{}, reason: "a IdleHold",
		},
		"idle in two reads": {steps: []string{"Cordon a wa", "Cordon b wb", "Cordon c wc"}, reason: "a Idle"},
		"exactly the idle one": {
			world: func(s *world, _ *planner.Memory) { status(s, planner.RayNodeRunning, 0, 2) }, steps: []string{"Cordon b wb"}, reason: "b Idle",
		},
		"the group's own timeout": {
			world: func(s *world, _ *planner.Memory) {
				d := minutes(30)
				s.RayClusters[0].WorkerGroups[0].IdleTimeout = &d
			}, steps: []string{}, reason: "a IdleHold",
		},
		"min of the NodeGroup": {
			world: func(s *world, _ *planner.Memory) { s.NodeGroups[0].Min = 2 }, steps: []string{"Cordon a wa"}, reason: "c AtMinSize",
		},
		"minReplicas": {
			world: func(s *world, _ *planner.Memory) { s.RayClusters[0].WorkerGroups[0].Min = 2 }, steps: []string{"Cordon a wa"}, reason: "c WorkersAtMin",
		},
		// Fault 16: request_resources holds nodes for as long as it stands.
		"request_resources": {
			world: func(s *world, _ *planner.Memory) {
				s.RayClusters[0].Constraints = []planner.Request{{Resources: planner.Resources{planner.ResourceCPU: 4000}, Count: 2}}
			}, steps: []string{"Cordon a wa"}, reason: "c WorkersAtMin",
		},
		"demand that waits": {
			world: func(s *world, _ *planner.Memory) {
				s.RayClusters[0].Requests = []planner.Request{{Resources: planner.Resources{planner.ResourceCPU: 1000}, Count: 4}}
			}, steps: []string{"Cordon a wa", "Cordon b wb"}, reason: "c Wanted",
		},
		"a gang that uses idle nodes": {
			world: func(s *world, _ *planner.Memory) {
				b := planner.Bundle{Resources: planner.Resources{planner.ResourceCPU: 4000}}
				s.RayClusters[0].Gangs = []planner.Gang{{ID: "pg", Strategy: planner.StrictSpread, Options: []planner.GangOption{{Bundles: []planner.Bundle{b, b, b}}}}}
			}, steps: []string{}, reason: "a Wanted",
		},
		"limits of one round": {
			world: func(s *world, _ *planner.Memory) { s.Policy.MaxRemovePerTick = 1 }, steps: []string{"Cordon a wa"}, reason: "b TickLimit",
		},
		"limits of one hour": {
			world: func(s *world, m *planner.Memory) {
				s.Policy.MaxRemovePerHour, m.Removed = 2, []planner.Count{{At: noon.Add(-time.Minute), N: 1}}
			}, steps: []string{"Cordon a wa"}, reason: "b HourLimit",
		},
		"paused": {world: func(s *world, _ *planner.Memory) { s.Policy.Paused = true }, steps: []string{}, reason: "a Paused"},
		"head":   {world: func(s *world, _ *planner.Memory) { s.Pods[0].RayHead = true }, steps: []string{"Cordon b wb", "Cordon c wc"}},
		// Fault 22: a pod that must not be disturbed.
		"another pod that blocks": {
			world: func(s *world, _ *planner.Memory) {
				s.Pods = append(s.Pods, planner.Pod{Namespace: "x", Name: "db", UID: "db", Node: "a", Blocks: "local storage"})
			}, steps: []string{"Cordon b wb", "Cordon c wc"}, reason: "a BlockingPod",
		},
		// Fault 25: DaemonSets never hold a node.
		"DaemonSet": {
			world: func(s *world, _ *planner.Memory) {
				s.Pods = append(s.Pods, planner.Pod{Namespace: "x", Name: "ds", UID: "ds", Node: "a", DaemonSet: true})
			}, steps: []string{"Cordon a wa", "Cordon b wb", "Cordon c wc"},
		},
		"a person's mark": {world: func(s *world, _ *planner.Memory) { s.Nodes[0].Keep = "annotation" }, steps: []string{"Cordon b wb", "Cordon c wc"}, reason: "a KeptByMark"},
		// Fault 12: two clusters on one node; one of them works.
		"busy for another cluster": {
			world: func(s *world, _ *planner.Memory) {
				o := s.RayClusters[0]
				o.Name, o.UID, o.RayNodes = "o", "o", []planner.RayNode{{ID: "o", Pod: "o", PodUID: "o", Status: planner.RayNodeRunning}}
				o.WorkerGroups = []planner.WorkerGroup{{Name: "w", Replicas: 1, Max: 1}}
				s.RayClusters = append(s.RayClusters, o)
				s.Pods = append(s.Pods, planner.Pod{Namespace: "ml", Name: "o", UID: "o", Node: "a", RayCluster: "ml/o", RayGroup: "w"})
			}, steps: []string{"Cordon b wb", "Cordon c wc"}, reason: "a Busy",
		},
		// Fault 11: the cluster was deleted; its pods must be gone first.
		"pods of a deleted cluster": {world: func(s *world, _ *planner.Memory) { s.RayClusters = nil }, steps: []string{}},
		// Fault 26: the node is not ready, so nobody knows.
		"not ready": {
			world: func(s *world, _ *planner.Memory) {
				s.Nodes[0].Ready = false
				cordoned(s, 0)
				status(s, planner.RayNodeRunning, 1, 2)
			}, steps: []string{}, reason: "a RayNodeUnknown",
		},
		// Fault 28: many nodes are not ready at once.
		"too many not ready": {
			world: func(s *world, _ *planner.Memory) {
				s.Policy.MaxUnreadyPercent, s.Nodes[1].Ready, s.Nodes[2].Ready = 45, false, false
			}, steps: []string{}, reason: "a TooManyUnready",
		},
		// Fault 31: a rollout is under way.
		"rollout": {world: func(s *world, _ *planner.Memory) { s.NodeGroups[0].RollingOut = true }, steps: []string{}, reason: "a RolloutInProgress"},
		// Fault 32: the group is paused.
		"paused group": {world: func(s *world, _ *planner.Memory) { s.NodeGroups[0].Paused = true }, steps: []string{}, reason: "a Paused"},
		// Fault 34: somebody else changes replicas.
		// Fault 56: a Cluster Autoscaler runs on the group.
		"contested": {world: func(s *world, _ *planner.Memory) { s.NodeGroups[0].Contested = "cluster-autoscaler" }, steps: []string{}, reason: "a Contested"},
		// Fault 45: the clock jumped.
		"clock jump": {world: func(_ *world, m *planner.Memory) { m.At = noon.Add(-time.Hour) }, steps: []string{}, reason: "a ClockJump"},
		"drain":      {world: func(s *world, _ *planner.Memory) { status(s, planner.RayNodeRunning, 1, 2); cordoned(s, 0) }, steps: []string{"Drain a wa IDLE_TERMINATION"}, reason: "a Draining"},
		// Fault 18: the drain was refused.
		"refused": {
			world: func(s *world, m *planner.Memory) {
				status(s, planner.RayNodeRunning, 0, 1, 2)
				cordoned(s, 0)
				*m = m.DrainRefused("na", noon.Add(-time.Second))
			}, steps: []string{"Uncordon a"}, reason: "a DrainRefused",
		},
		"refused, and idle again at once": {
			world: func(s *world, m *planner.Memory) {
				status(s, planner.RayNodeRunning, 1, 2)
				*m = m.DrainRefused("na", noon.Add(-20*time.Second))
			}, steps: []string{}, reason: "a DrainRefused",
		},
		// Fault 20: a task came after the cordon.
		"busy after the cordon": {world: func(s *world, _ *planner.Memory) { status(s, planner.RayNodeRunning, 0, 1, 2); cordoned(s, 0) }, steps: []string{"Uncordon a"}, reason: "a Busy"},
		"joining": {
			world: func(s *world, _ *planner.Memory) {
				s.RayClusters[0].RayNodes = s.RayClusters[0].RayNodes[1:]
				status(s, planner.RayNodeRunning, 0, 1)
				cordoned(s, 0)
			},
			steps: []string{"Uncordon a"}, reason: "a RayNodeUnknown",
		},
		// Fault 19: it ended after the drain; the coordinator knows nothing of it.
		"ended": {
			world: func(s *world, m *planner.Memory) {
				status(s, planner.RayNodeRunning, 1, 2)
				status(s, planner.RayNodeDead, 0)
				cordoned(s, 0)
				*m = planner.Memory{}
			},
			steps: []string{"ShrinkWorkers 3→2 wa"}, reason: "a Drained",
		},
		"ended, and its replica is wanted again": {
			world: func(s *world, _ *planner.Memory) {
				status(s, planner.RayNodeRunning, 1, 2)
				status(s, planner.RayNodeDead, 0)
				cordoned(s, 0)
				s.RayClusters[0].Requests = []planner.Request{{Resources: planner.Resources{planner.ResourceCPU: 4000}, Count: 1}}
			}, steps: []string{"Uncordon a", "ReplaceWorker wa"}, reason: "a Wanted",
		},
		"ended, and minReplicas wants it": {
			world: func(s *world, _ *planner.Memory) {
				status(s, planner.RayNodeRunning, 1, 2)
				status(s, planner.RayNodeDead, 0)
				s.RayClusters[0].WorkerGroups[0].Min = 3
			}, steps: []string{"ReplaceWorker wa"},
		},
		"named, on its way": {
			world: func(s *world, _ *planner.Memory) {
				status(s, planner.RayNodeRunning, 1, 2)
				status(s, planner.RayNodeDead, 0)
				cordoned(s, 0)
				s.RayClusters[0].WorkerGroups[0].Replicas, s.RayClusters[0].WorkerGroups[0].WorkersToDelete = 2, []string{"wa"}
			}, steps: []string{}, reason: "a PodsLeaving",
		},
		"replicas overwritten": {
			world: func(s *world, _ *planner.Memory) {
				status(s, planner.RayNodeRunning, 1, 2)
				status(s, planner.RayNodeDead, 0)
				cordoned(s, 0)
				s.RayClusters[0].WorkerGroups[0].WorkersToDelete = []string{"wa"}
			}, steps: []string{"ShrinkWorkers 3→2 wa"},
		},
		"names of pods that are gone": {
			world: func(s *world, _ *planner.Memory) {
				status(s, planner.RayNodeRunning, 0, 1, 2)
				s.RayClusters[0].WorkerGroups[0].WorkersToDelete = []string{"old"}
			}, steps: []string{"ClearWorkers old"},
		},
		// Fault 24: a finalizer keeps the pod.
		"terminating for long": {
			world: func(s *world, _ *planner.Memory) {
				status(s, planner.RayNodeRunning, 1, 2)
				s.Pods[0].Terminating = true
				cordoned(s, 0)
				s.RayClusters[0].WorkerGroups[0].Replicas = 2
			}, steps: []string{}, reason: "a PodsLeaving",
		},
		"vacant": {
			world: func(s *world, _ *planner.Memory) {
				status(s, planner.RayNodeRunning, 1, 2)
				s.Pods, s.RayClusters[0].RayNodes, s.RayClusters[0].WorkerGroups[0].Replicas = s.Pods[1:], s.RayClusters[0].RayNodes[1:], 2
				cordoned(s, 0)
			}, steps: []string{"Remove 3→2 ns/a"}, reason: "a Vacant",
		},
		"multi-host, all idle": {
			world: func(s *world, _ *planner.Memory) { multihost(s) }, steps: []string{"Cordon a wa", "Cordon b wb"}, reason: "a Idle",
		},
		"multi-host, one busy": {
			world: func(s *world, _ *planner.Memory) { multihost(s); status(s, planner.RayNodeRunning, 1) }, steps: []string{}, reason: "a ReplicaIncomplete",
		},
		"multi-host, pods do not tell": {
			world: func(s *world, _ *planner.Memory) { multihost(s); s.Pods[0].RayReplica, s.Pods[1].RayReplica = "", "" }, steps: []string{}, reason: "a ReplicaIncomplete",
		},
		"multi-host, one ended": {
			world: func(s *world, _ *planner.Memory) { multihost(s); cordoned(s, 0, 1); status(s, planner.RayNodeDead, 0) }, steps: []string{"Drain b wb IDLE_TERMINATION"}, reason: "b Draining",
		},
		"multi-host, all ended": {
			world: func(s *world, _ *planner.Memory) {
				multihost(s)
				cordoned(s, 0, 1)
				status(s, planner.RayNodeDead, 0, 1)
			}, steps: []string{"ShrinkWorkers 2→1 wa wb"},
		},
		// Fault 7: growth stays within the limits whatever is asked for.
		"per group": {
			world: func(s *world, _ *planner.Memory) {
				status(s, planner.RayNodeRunning, 0, 1, 2)
				s.Policy.MaxGrowPerGroup = 1
				s.RayClusters[0].Requests = []planner.Request{{Resources: planner.Resources{planner.ResourceCPU: 4000}, Count: 1 << 40}}
			}, steps: []string{"Grow 3→4", "GrowWorkers 3→4"},
		},
		"tenant": {
			world: func(s *world, _ *planner.Memory) {
				status(s, planner.RayNodeRunning, 0, 1, 2)
				s.Policy.TenantLimits = []planner.TenantLimit{{MaxMachines: 4}}
				s.RayClusters[0].Requests = []planner.Request{{Resources: planner.Resources{planner.ResourceCPU: 4000}, Count: 2}}
			}, steps: []string{"Grow 3→4", "GrowWorkers 3→4"}, reason: "ml/r request CPU=4000 TenantLimit",
		},
		// Fault 35: somebody else deletes a Machine with work on it.
		"deleted by others": {
			world: func(s *world, _ *planner.Memory) { status(s, planner.RayNodeRunning, 0, 1, 2); deleted(s) }, steps: []string{"Grow 2→3", "Cordon a wa"}, reason: "ns/a DeletedByOthers",
		},
		"deleted by others, cordoned": {
			world: func(s *world, _ *planner.Memory) {
				status(s, planner.RayNodeRunning, 0, 1, 2)
				deleted(s)
				cordoned(s, 0)
				s.NodeGroups[0].Replicas = 3
			},
			steps: []string{"Drain a wa PREEMPTION"}, reason: "ns/a DeletedByOthers",
		},
		"deleted by others, out of reach": {
			world: func(s *world, _ *planner.Memory) {
				status(s, planner.RayNodeIdle, 0)
				status(s, planner.RayNodeRunning, 1, 2)
				deleted(s)
				s.Nodes[0].Ready, s.Nodes[0].UnreadySince = false, noon.Add(-time.Hour)
			}, steps: []string{"ReleaseHook ns/a"}, reason: "ns/a Unreachable",
		},
		// Fault 27: the kubelet is silent, Ray works on.
		"deleted by others, out of reach, but Ray works": {
			world: func(s *world, _ *planner.Memory) {
				status(s, planner.RayNodeRunning, 0, 1, 2)
				deleted(s)
				cordoned(s, 0)
				s.NodeGroups[0].Replicas, s.Nodes[0].Ready, s.Nodes[0].UnreadySince = 3, false, noon.Add(-time.Hour)
			}, steps: []string{"Drain a wa PREEMPTION"},
		},
		"break-glass": {
			world: func(s *world, _ *planner.Memory) {
				status(s, planner.RayNodeRunning, 0, 1, 2)
				deleted(s)
				s.Machines[0].Release, s.NodeGroups[0].Replicas = true, 3
			}, steps: []string{"ReleaseHook ns/a"}, reason: "ns/a BreakGlass",
		},
		"hooks": {
			world: func(s *world, _ *planner.Memory) {
				status(s, planner.RayNodeRunning, 0, 1, 2)
				s.Policy.Hooks, s.Machines[1].Hook = true, true
			}, steps: []string{"Hook ns/a ns/c"},
		},
		// Fault 43: marks that a crash left behind are swept.
		"left behind": {
			world: func(s *world, m *planner.Memory) {
				status(s, planner.RayNodeRunning, 0, 1, 2)
				cordoned(s, 1)
				s.Machines[1].Mark = s.Nodes[1].Cordon
				*m = planner.Memory{}
			},
			steps: []string{"Uncordon b", "Unmark ns/b"}, reason: "b Busy",
		},
		// Fault 30: a Machine that is stuck while it is deleted counts no more.
		"stuck deleting": {
			world: func(s *world, _ *planner.Memory) {
				s.Machines[0].Deleting = true
				s.NodeGroups[0].Replicas = 2
				status(s, planner.RayNodeRunning, 0, 1, 2)
			}, steps: []string{"Grow 2→3"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, m := led()
			if c.world != nil {
				c.world(&s, &m)
			}
			plan, _ := planner.Make(s, m)
			require.NoError(t, planner.Check(s, plan))
			assert.Equal(t, c.steps, short(plan), tell(plan))
			if c.reason != "" {
				i := strings.LastIndex(c.reason, " ")
				found := false
				for _, d := range plan.Decisions {
					found = found || d.Subject == c.reason[:i] && string(d.Reason) == c.reason[i+1:]
				}
				assert.True(t, found, "no decision %q in\n%s", c.reason, tell(plan))
			}
		})
	}
}

// multihost makes one replica of a and b; c works.
func multihost(s *planner.Snapshot) {
	w := &s.RayClusters[0].WorkerGroups[0]
	w.NumOfHosts, w.Replicas = 2, 2
	s.Pods[0].RayReplica, s.Pods[1].RayReplica = "one", "one"
	s.Pods[2].RayReplica = "two"
	four := s.Pods[2]
	four.Name, four.UID = "wd", "wd"
	s.Pods = append(s.Pods, four)
	s.RayClusters[0].RayNodes = append(s.RayClusters[0].RayNodes, planner.RayNode{ID: "rd", Pod: "wd", PodUID: "wd", Status: planner.RayNodeRunning})
	status(s, planner.RayNodeRunning, 2)
}
