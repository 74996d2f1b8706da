package planner_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// plain is a world without Ray: two groups of one class in two zones, one of
// another class that is dearer, and a pod that fits nowhere yet.
func plain() (planner.Snapshot, planner.Memory) {
	cpu := planner.Resources{planner.ResourceCPU: 4000}
	s := planner.Snapshot{At: noon, Policy: testPolicy()}
	s.Policy.DrainDeadline = minutes(5)
	s.Classes = []planner.VMClass{{Name: "small", Capacity: cpu, Price: 1e6}, {Name: "large", Capacity: planner.Resources{planner.ResourceCPU: 8000}, Price: 2e6}}
	for _, g := range []planner.NodeGroup{
		{Name: "a1", Class: "small", Zone: "z1", Capacity: cpu},
		{Name: "a2", Class: "small", Zone: "z2", Capacity: cpu},
		{Name: "b1", Class: "large", Zone: "z1", Capacity: planner.Resources{planner.ResourceCPU: 8000}},
	} {
		g.Namespace, g.UID, g.Managed, g.Max = "ns", g.Name, true, 5
		s.NodeGroups = append(s.NodeGroups, g)
	}
	s.Pods = []planner.Pod{{Namespace: "x", Name: "p", UID: "p", Unschedulable: true, Shape: planner.PodShape{Requests: planner.Resources{planner.ResourceCPU: 3000}}}}
	return s, planner.Memory{At: noon.Add(-5 * time.Second)}
}

// machine adds a Machine to the first group, with a Node if it has joined.
func machine(s *planner.Snapshot, name string, age time.Duration, joined bool) *planner.Machine {
	g := &s.NodeGroups[0]
	g.Replicas++
	m := planner.Machine{Namespace: "ns", Name: name, UID: "m" + name, Group: g.Key(), CreatedAt: noon.Add(-age)}
	if joined {
		m.Node = name
		s.Nodes = append(s.Nodes, planner.Node{Name: name, UID: "n" + name, Machine: "ns/" + name, Ready: true, Allocatable: g.Capacity.Clone(), Labels: g.Labels})
	}
	s.Machines = append(s.Machines, m)
	return &s.Machines[len(s.Machines)-1]
}

func onNode(s *planner.Snapshot, node, name string, milli int64) {
	s.Pods = append(s.Pods, planner.Pod{Namespace: "x", Name: name, UID: name, Node: node, Shape: planner.PodShape{Requests: planner.Resources{planner.ResourceCPU: milli}}})
}

// grows names the groups that grow.
func grows(p planner.Plan) string {
	var out []string
	for _, st := range p.Steps {
		if st.Kind == planner.StepGrow {
			out = append(out, strings.TrimPrefix(st.Group, "ns/"))
		}
	}
	return strings.Join(out, " ")
}

func reasonOf(p planner.Plan, subject string) planner.Reason {
	for _, d := range p.Decisions {
		if d.Subject == subject {
			return d.Reason
		}
	}
	return ""
}

// TestFailedGrowth fails a Machine of a1 in every way, and looks where the next
// one is bought.
//
// Fault 29: a Machine is stuck, and another class is tried in the same round.
// Fault 50: the VM class is gone.
// Fault 51: no host has room, or the quota is used up.
func TestFailedGrowth(t *testing.T) {
	for kind, want := range map[planner.FailureKind]string{
		planner.FailureNoCapacity: "a2", planner.FailureAddress: "a2", planner.FailureBootstrap: "a2", planner.FailureOther: "a2", "": "a2",
		planner.FailureQuota: "b1", planner.FailureClass: "b1", planner.FailureImage: "b1",
	} {
		s, m := plain()
		ma := machine(&s, "m1", time.Minute, false)
		ma.Failure, ma.FailureKind = "no", kind
		plan, next := planner.Make(s, m)
		require.NoError(t, planner.Check(s, plan))
		assert.Equal(t, want, grows(plan), "%s\n%s", kind, tell(plan))
		var note []planner.Backoff
		for _, st := range plan.Steps {
			if st.Kind == planner.StepRemember {
				note = st.Backoffs
			}
		}
		require.Len(t, note, 1)
		assert.True(t, note[0].Until.After(noon))

		// The coordinator restarts; the Machine is gone, the note is there.
		s.Machines, s.NodeGroups[0].Replicas, s.NodeGroups[0].Backoffs = nil, 0, note
		again, _ := planner.Make(s, planner.Memory{})
		assert.Equal(t, want, grows(again), "after a restart: %s\n%s", kind, tell(again))
		for _, st := range again.Steps {
			assert.NotEqual(t, planner.StepRemember, st.Kind, "nothing new to note")
		}
		// A second failure rests longer.
		ma = machine(&s, "m2", time.Minute, false)
		ma.Failure, ma.FailureKind = "no", kind
		s.At = note[0].Until.Add(time.Second)
		next.At = s.At.Add(-time.Second)
		second, _ := planner.Make(s, next)
		for _, st := range second.Steps {
			if st.Kind == planner.StepRemember {
				assert.Greater(t, st.Backoffs[0].Last, note[0].Last)
			}
		}
	}
}

func TestRestsEnd(t *testing.T) {
	s, m := plain()
	s.NodeGroups[0].Backoffs = []planner.Backoff{{Kind: planner.FailureOther, Until: noon.Add(-2 * time.Hour), Last: minutes(5)}}
	plan, _ := planner.Make(s, m)
	assert.Equal(t, "a1", grows(plan))
	assert.Contains(t, short(plan), "Remember", "the note is taken away")
}

// A note that nobody could have written does not stop a group for ever.
func TestAbsurdNote(t *testing.T) {
	s, m := plain()
	s.NodeGroups[0].Backoffs = []planner.Backoff{{Kind: planner.FailureOther, Until: noon.Add(1000 * time.Hour)}}
	plan, _ := planner.Make(s, m)
	assert.Equal(t, "a1", grows(plan))
}

// Fault 52: the first real node is smaller than its template says.
func TestTemplateMismatch(t *testing.T) {
	s, m := plain()
	s.NodeGroups[0].CapacityFrom = "annotation"
	machine(&s, "m1", time.Hour, true)
	s.Nodes[0].Allocatable = planner.Resources{planner.ResourceCPU: 2000}
	plan, _ := planner.Make(s, m)
	assert.NotContains(t, grows(plan), "a1", tell(plan))
	assert.Equal(t, planner.ReasonMismatch, reasonOf(plan, "ns/a1"))
}

// Fault 53: the node is ready, its GPU is not there (yet).
func TestLateGPU(t *testing.T) {
	s, m := plain()
	gpu := planner.Resources{planner.ResourceCPU: 4000, planner.ResourceGPU: planner.Unit}
	s.NodeGroups[0].Capacity, s.NodeGroups[1].Max, s.NodeGroups[2].Max = gpu, 0, 0
	s.Pods[0].Shape.Requests = planner.Resources{planner.ResourceGPU: planner.Unit}
	ma := machine(&s, "m1", 2*time.Minute, true)
	s.Nodes[0].Allocatable = planner.Resources{planner.ResourceCPU: 4000}
	plan, _ := planner.Make(s, m)
	assert.Empty(t, short(plan), "it is coming:\n%s", tell(plan))
	ma.CreatedAt = noon.Add(-time.Hour)
	plan, next := planner.Make(s, m)
	assert.Equal(t, planner.ReasonBackoff, reasonOf(plan, "ns/a1"), tell(plan))
	assert.Equal(t, planner.FailureNoGPU, next.Failures["a1"][0].Kind)
}

// Fault 54: growth does not help.
func TestIneffective(t *testing.T) {
	s, m := plain()
	s.Policy.MaxAttempts = 3
	for i := range 6 {
		plan, next := planner.Make(s, m)
		require.NoError(t, planner.Check(s, plan))
		if i < 3 {
			assert.Equal(t, "a1", grows(plan), "attempt %d", i+1)
		} else {
			assert.Empty(t, grows(plan))
			assert.Equal(t, planner.ReasonIneffective, reasonOf(plan, "pod x/p"))
		}
		m, s.At = next, s.At.Add(time.Minute) // the node came, and did not take the pod
	}
}

// Fault 45: the clock jumps by an hour while a Machine boots; its deadline moves.
func TestClockJumpGivesPatience(t *testing.T) {
	s, m := plain()
	machine(&s, "m1", time.Minute, false)
	_, m = planner.Make(s, m)
	s.At = s.At.Add(time.Hour)
	for range 3 {
		var plan planner.Plan
		plan, m = planner.Make(s, m)
		assert.Empty(t, short(plan), tell(plan))
		s.At = s.At.Add(5 * time.Second)
	}
}

// The deadline of a class follows from how long its Machines took of late.
func TestDeadlineIsLearned(t *testing.T) {
	s, m := plain()
	m.Boots = map[string][]planner.Duration{"small": {minutes(1), minutes(2), minutes(2)}}
	machine(&s, "m1", 7*time.Minute, false)
	plan, _ := planner.Make(s, m)
	assert.Equal(t, "a2", grows(plan), "three times two minutes have passed:\n%s", tell(plan))
	plan, _ = planner.Make(s, planner.Memory{})
	assert.Empty(t, grows(plan), "without evidence, the configured deadline counts")
}

// Fault 7: nobody can buy more than the hour's limit.
func TestHourLimit(t *testing.T) {
	s, m := plain()
	s.Policy.MaxGrowPerHour = 2
	m.Grown = []planner.Count{{At: noon.Add(-time.Minute), N: 2}}
	plan, _ := planner.Make(s, m)
	assert.Empty(t, grows(plan))
	assert.Equal(t, planner.ReasonHourLimit, reasonOf(plan, "pod x/p"), tell(plan))
}

// TestOtherWorkloads: pods that are not Ray's are demand where they wait, and
// move where they may.
func TestOtherWorkloads(t *testing.T) {
	s, m := plain()
	s.Pods[0].Shape.NodeAffinity = []planner.NodeTerm{{{Key: "zone", Operator: "In", Values: []string{"z2"}}}}
	s.NodeGroups[0].Labels, s.NodeGroups[1].Labels = map[string]string{"zone": "z1"}, map[string]string{"zone": "z2"}
	plan, _ := planner.Make(s, m)
	assert.Equal(t, "a2", grows(plan), tell(plan))

	s, m = plain()
	s.Pods, s.Policy.VacantHold = nil, 0
	machine(&s, "m1", time.Hour, true)
	machine(&s, "m2", time.Hour, true)
	onNode(&s, "m1", "few", 500)
	onNode(&s, "m2", "many", 2500)
	plan, _ = planner.Make(s, m)
	require.NoError(t, planner.Check(s, plan))
	assert.Equal(t, []string{"Cordon m1"}, short(plan), tell(plan))
	cordoned(&s, 0)
	plan, _ = planner.Make(s, m)
	require.NoError(t, planner.Check(s, plan))
	assert.Equal(t, []string{"Evict m1 few"}, short(plan), tell(plan))
	// Fault 23: a budget blocks the eviction for too long.
	s.Nodes[0].Cordon.At = noon.Add(-time.Hour)
	plan, _ = planner.Make(s, m)
	assert.Equal(t, []string{"Uncordon m1"}, short(plan), tell(plan))
	onNode(&s, "m2", "more", 1400)
	s.Nodes[0].Cordon, s.Nodes[0].Taints = nil, nil
	plan, _ = planner.Make(s, m)
	assert.Empty(t, short(plan))
	assert.Equal(t, planner.ReasonNoRoom, reasonOf(plan, "m1"))
}

// Fault 17: demand that comes and goes. What has not come up yet is taken back
// only after a while, pods before Machines.
func TestCancelWhatHasNotCome(t *testing.T) {
	s, m := led()
	status(&s, planner.RayNodeRunning, 0, 1, 2)
	s.RayClusters[0].WorkerGroups[0].Replicas = 4
	s.Pods = append(s.Pods, planner.Pod{Namespace: "ml", Name: "wd", UID: "wd", RayCluster: "ml/r", RayGroup: "w", Unschedulable: true, Shape: s.Pods[0].Shape})
	plan, next := planner.Make(s, m)
	assert.NotContains(t, strings.Join(short(plan), "|"), "ShrinkWorkers")
	s.At = s.At.Add(11 * time.Second)
	next.At = s.At.Add(-5 * time.Second)
	plan, _ = planner.Make(s, next)
	require.NoError(t, planner.Check(s, plan))
	assert.Contains(t, short(plan), "ShrinkWorkers 4→3 wd", tell(plan))

	s.Pods, s.RayClusters[0].WorkerGroups[0].Replicas = s.Pods[:3], 3
	machine(&s, "d", time.Minute, false)
	plan, next = planner.Make(s, next)
	assert.Empty(t, short(plan), tell(plan))
	s.At = s.At.Add(time.Minute)
	next.At = s.At.Add(-5 * time.Second)
	plan, _ = planner.Make(s, next)
	require.NoError(t, planner.Check(s, plan))
	assert.Equal(t, []string{"Remove 4→3 ns/d"}, short(plan), tell(plan))
}

// following is the led world in follow mode, each node half full.
func following() (planner.Snapshot, planner.Memory) {
	s, m := led()
	s.RayClusters[0].Mode, s.Policy.SoftTaints = planner.ModeFollow, true
	for i := range s.Pods {
		s.Pods[i].Shape.Requests = planner.Resources{planner.ResourceCPU: 2000}
	}
	status(&s, planner.RayNodeRunning, 0, 1, 2)
	return s, m
}

// Fault 55: in follow mode Ray alone decides about its pods.
func TestHerd(t *testing.T) {
	s, m := following()
	plan, _ := planner.Make(s, m)
	require.NoError(t, planner.Check(s, plan))
	assert.Equal(t, []string{"SoftTaint a"}, short(plan), tell(plan))
	s.Nodes[0].SoftTaint = &planner.Mark{PlanID: "p", At: noon}
	plan, _ = planner.Make(s, m)
	assert.Empty(t, short(plan), "it stays chosen")
	s.Pods = s.Pods[:1]
	s.Nodes[0].SoftTaint, s.Nodes[1].SoftTaint = nil, &planner.Mark{PlanID: "p", At: noon}
	s.NodeGroups[0].Min = 3
	plan, _ = planner.Make(s, m)
	assert.Contains(t, short(plan), "SoftUntaint b", tell(plan))
	status(&s, planner.RayNodeIdle, 0, 1, 2)
	s, m = following()
	status(&s, planner.RayNodeIdle, 0, 1, 2)
	plan, _ = planner.Make(s, m)
	for _, st := range plan.Steps {
		assert.Equal(t, planner.StepSoftTaint, st.Kind, "nothing of Ray's is touched")
	}
}

func TestDemandHold(t *testing.T) {
	s, m := following()
	s.Policy.SoftTaints, s.Policy.VacantHold, s.Policy.DemandHold = false, 0, minutes(30)
	s.Pods, s.RayClusters[0].RayNodes, s.RayClusters[0].WorkerGroups[0].Replicas = s.Pods[:1], s.RayClusters[0].RayNodes[:1], 1
	m.Use = map[string]int64{"g": 1}
	plan, _ := planner.Make(s, m)
	assert.Equal(t, []string{"Cordon b", "Cordon c"}, short(plan), "nothing arrived of late")
	m.Arrivals = map[string][]planner.Count{"g": {{At: noon.Add(-10 * time.Minute), N: 6}}} // a gang of six in half an hour; a boot takes five minutes
	plan, next := planner.Make(s, m)
	assert.Equal(t, []string{"Cordon b"}, short(plan), tell(plan))
	assert.Equal(t, planner.ReasonDemandHold, reasonOf(plan, "c"))
	assert.NotEmpty(t, next.Arrivals)
	m.Use["g"] = 0
	_, next = planner.Make(s, m)
	assert.Len(t, next.Arrivals["g"], 2, "one more node is in use than before")
}

// Fault 6: amounts that make no sense never buy anything.
// Fault 13: a pod that waits and the demand that it was made for count once.
// Fault 15: a gang that cannot be whole buys nothing.
func TestDemandCountsOnce(t *testing.T) {
	s, m := led()
	status(&s, planner.RayNodeRunning, 0, 1, 2)
	ask := []planner.Request{{Resources: planner.Resources{planner.ResourceCPU: 4000}, Count: 1}}
	s.RayClusters[0].Requests, s.RayClusters[0].WorkerGroups[0].Replicas = ask, 4
	s.Pods = append(s.Pods, planner.Pod{Namespace: "ml", Name: "wd", UID: "wd", RayCluster: "ml/r", RayGroup: "w", Unschedulable: true, Shape: s.Pods[0].Shape})
	plan, _ := planner.Make(s, m)
	assert.Equal(t, []string{"Grow 3→4"}, short(plan), tell(plan))
	s.RayClusters[0].Rejected = []planner.Rejected{{What: "resource request", Why: "CPU is negative", Count: 1}}
	b := planner.Bundle{Resources: planner.Resources{planner.ResourceCPU: 4000}}
	s.RayClusters[0].Gangs = []planner.Gang{{ID: "pg", Strategy: planner.StrictSpread, Options: []planner.GangOption{{Bundles: []planner.Bundle{b, b, b, b, b, b}}}}}
	plan, _ = planner.Make(s, m)
	assert.Equal(t, []string{"Grow 3→4"}, short(plan), tell(plan))
	assert.Equal(t, planner.ReasonInvalidDemand, reasonOf(plan, "ml/r resource request"))
	assert.Equal(t, planner.ReasonGangIncomplete, reasonOf(plan, "ml/r placement group pg"))
}

// Fault 51: the provider says that no host has room, and still tries; the
// demand does not wait for the deadline.
func TestNoCapacityFallsThroughBeforeTheDeadline(t *testing.T) {
	for _, c := range []struct {
		kind  planner.FailureKind
		age   time.Duration
		gives bool
	}{
		{planner.FailureNoCapacity, 2 * time.Minute, true},
		{planner.FailureNoCapacity, 10 * time.Second, false},
		{planner.FailureAddress, 2 * time.Minute, false},
		{planner.FailureQuota, 2 * time.Minute, true},
	} {
		s := planner.Snapshot{At: noon, Policy: testPolicy()}
		s.Policy.ProvisionDeadline = planner.Duration(15 * time.Minute)
		r := planner.Resources{planner.ResourceCPU: 4000}
		for i, name := range []string{"a", "b"} {
			s.Classes = append(s.Classes, planner.VMClass{Name: name, Capacity: r, Price: int64(i+1) * 1e6})
			s.NodeGroups = append(s.NodeGroups, planner.NodeGroup{Namespace: "ns", Name: name, UID: "u" + name, Class: name, Managed: true, Max: 3, Capacity: r})
		}
		s.NodeGroups[0].Replicas = 1
		s.Machines = []planner.Machine{{Namespace: "ns", Name: "m", UID: "um", Group: "ns/a", CreatedAt: noon.Add(-c.age), FailureKind: c.kind, Trouble: "says why"}}
		s.Pods = []planner.Pod{{Namespace: "x", Name: "p", UID: "up", Unschedulable: true, Shape: planner.PodShape{Requests: r}}}
		plan, _ := planner.Make(s, planner.Memory{})
		var grown bool
		for _, st := range plan.Steps {
			grown = grown || st.Kind == planner.StepGrow && st.Group == "ns/b"
		}
		assert.Equal(t, c.gives, grown, "%s after %s: %s", c.kind, c.age, tell(plan))
	}
}
