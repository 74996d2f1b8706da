package capi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

func removal(from, to int64, machines ...string) planner.Step {
	s := planner.Step{Kind: planner.StepRemove, Group: testNamespace + "/a", From: from, To: to}
	for _, m := range machines {
		s.Machines = append(s.Machines, testNamespace+"/"+m)
	}
	return s
}

// pool is a group of three Machines: m1 vacant and cordoned, m2 busy, m3 without
// a Node.
func pool(t *testing.T) *world {
	t.Helper()
	return newWorld(t,
		cluster(), deployment("a", 3), machineSet("a", "a", 3),
		machine("m1", "a", "n1"), machine("m2", "a", "n2"), machine("m3", "a", ""),
		node("n1", nil, cordoned), node("n2", nil),
		pod("daemon", "n1", controlledBy("apps/v1", "DaemonSet", "d")), pod("busy", "n2"),
	)
}

func TestRemove(t *testing.T) {
	t.Parallel()
	w := pool(t)
	step := removal(3, 1, "m1", "m3")
	require.NoError(t, w.actuator().Remove(t.Context(), step, testPlan, testTime))
	assert.EqualValues(t, 1, w.replicas(t))
	assert.Equal(t, []string{"m1", "m3"}, w.markedMachines(t))
	m := w.machine(t, "m1")
	assert.Equal(t, "2026-09-21T14:13:20Z", m.Annotations[clusterv1.DeleteMachineAnnotation])
	assert.Equal(t, "plan-7.1790000000", m.Annotations[DeleteMarkAnnotation])
	assert.Equal(t, "scale a", w.writes[len(w.writes)-1], "the marks come first: %v", w.writes)

	writes := len(w.writes)
	require.NoError(t, w.actuator().Remove(t.Context(), step, testPlan, testTime), "again")
	change(t, w, machine("m1", "a", ""), held)
	require.NoError(t, w.Delete(t.Context(), machine("m1", "a", "")))
	require.NoError(t, w.actuator().Remove(t.Context(), step, testPlan, testTime), "while they go")
	assert.Len(t, w.writes, writes)
}

func held(m *clusterv1.Machine) { m.Finalizers = []string{"test/hold"} }

func TestRemoveToZero(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster(), deployment("a", 1), machineSet("a", "a", 1), machine("m1", "a", "n1"), node("n1", nil, cordoned))
	require.NoError(t, w.actuator().Remove(t.Context(), removal(1, 0, "m1"), testPlan, testTime))
	assert.Zero(t, w.replicas(t))
}

// TestRemoveRefuses: every precondition, each broken alone. Nothing may be left
// behind.
// Fault 31: the group is rolling out, or has several MachineSets.
// Fault 32: the MachineDeployment is paused.
// Fault 24: a Machine that is going does not count.
func TestRemoveRefuses(t *testing.T) {
	t.Parallel()
	md, mach := deployment("a", 0), func(name string) *clusterv1.Machine { return machine(name, "a", "") }
	edit := func(f func(md *clusterv1.MachineDeployment)) func(*testing.T, *world) {
		return func(t *testing.T, w *world) { t.Helper(); change(t, w, md.DeepCopy(), f) }
	}
	editMachine := func(name string, f func(m *clusterv1.Machine)) func(*testing.T, *world) {
		return func(t *testing.T, w *world) { t.Helper(); change(t, w, mach(name), f) }
	}
	editNode := func(name string, f func(n *corev1.Node)) func(*testing.T, *world) {
		return func(t *testing.T, w *world) { t.Helper(); change(t, w, node(name, nil), f) }
	}
	create := func(o client.Object) func(*testing.T, *world) {
		return func(t *testing.T, w *world) { t.Helper(); require.NoError(t, w.Create(t.Context(), o)) }
	}
	note := func(m *clusterv1.Machine, k, v string) { m.Annotations = map[string]string{k: v} }
	ip := func(s string) clusterv1.MachineAddresses {
		return clusterv1.MachineAddresses{{Type: clusterv1.MachineInternalIP, Address: s}}
	}
	m1, m3 := removal(3, 2, "m1"), removal(3, 2, "m3")
	for name, c := range map[string]struct {
		change func(*testing.T, *world)
		step   planner.Step
		want   string
	}{
		"other replicas":             {edit(func(md *clusterv1.MachineDeployment) { md.Spec.Replicas = new(int32(4)) }), m1, "has 4 replicas, not 3"},
		"minimum":                    {edit(func(md *clusterv1.MachineDeployment) { annotated(clusterv1.AutoscalerMinSizeAnnotation, "3")(md) }), m1, "must keep 3 replicas, not 2"},
		"paused":                     {edit(func(md *clusterv1.MachineDeployment) { annotated(clusterv1.PausedAnnotation, "")(md) }), m1, "is paused"},
		"rolling out":                {create(machineSet("b", "a", 1)), m1, "is rolling out"},
		"not observed":               {edit(func(md *clusterv1.MachineDeployment) { md.Generation = 2; md.Status.ObservedGeneration = 1 }), m1, "is rolling out"},
		"a Machine more":             {create(machine("m4", "a", "")), m1, "has 4 Machines that are not being deleted"},
		"a Machine going":            {create(machine("m4", "b", "")), removal(3, 2, "m4"), "is gone, or going, or not of"},
		"no such Machine":            {nil, removal(3, 2, "m9"), "is gone, or going, or not of"},
		"marked by somebody":         {editMachine("m1", func(m *clusterv1.Machine) { note(m, clusterv1.DeleteMachineAnnotation, "") }), m1, "a delete mark of somebody else"},
		"another is marked":          {editMachine("m2", func(m *clusterv1.Machine) { note(m, clusterv1.DeleteMachineAnnotation, "") }), m1, "Machine pools/m2 carries a delete mark of somebody else"},
		"another is marked by us":    {editMachine("m2", func(m *clusterv1.Machine) { note(m, DeleteMarkAnnotation, "plan-1.5") }), m1, "Machine pools/m2 carries a delete mark of plan plan-1"},
		"no cordon":                  {editNode("n1", func(n *corev1.Node) { n.Spec.Taints = nil }), m1, "does not carry our cordon"},
		"cordon of another hand":     {editNode("n1", func(n *corev1.Node) { n.Spec.Taints[0].Value = "x" }), m1, "does not carry our cordon"},
		"cordon that evicts nothing": {editNode("n1", func(n *corev1.Node) { n.Spec.Taints[0].Effect = corev1.TaintEffectPreferNoSchedule }), m1, "does not carry our cordon"},
		"a pod":                      {create(pod("new", "n1")), m1, "pod jobs/new is on Node n1"},
		"a busy one":                 {nil, removal(3, 2, "m2"), "does not carry our cordon"},
		"a busy one among two":       {editNode("n2", cordoned), removal(3, 1, "m1", "m2"), "pod jobs/busy is on Node n2"},
		"its Node is gone":           {func(t *testing.T, w *world) { t.Helper(); require.NoError(t, w.Delete(t.Context(), node("n1", nil))) }, m1, "not found"},
		"two claim the Node":         {editMachine("m3", func(m *clusterv1.Machine) { m.Status.NodeRef.Name = "n1" }), m1, "both claim Node n1"},
		"the Node says otherwise":    {editNode("n1", func(n *corev1.Node) { n.Annotations = map[string]string{clusterv1.MachineAnnotation: "m7"} }), m1, "belongs to Machine m7"},
		"it has joined":              {editMachine("m3", func(m *clusterv1.Machine) { m.Status.NodeRef.Name = "n3" }), m3, "not found"},
		"joined by name":             {create(node("m3", nil)), m3, "Node m3 looks like its own"},
		"joined by annotation":       {editNode("n2", func(n *corev1.Node) { n.Annotations = map[string]string{clusterv1.MachineAnnotation: "m3"} }), m3, "Node n2 looks like its own"},
		"joined by provider id": {func(t *testing.T, w *world) {
			t.Helper()
			change(t, w, mach("m3"), func(m *clusterv1.Machine) { m.Spec.ProviderID = "vsphere://1" })
			change(t, w, node("n2", nil), func(n *corev1.Node) { n.Spec.ProviderID = "vsphere://1" })
		}, m3, "Node n2 looks like its own"},
		"joined by address": {func(t *testing.T, w *world) {
			t.Helper()
			change(t, w, mach("m3"), func(m *clusterv1.Machine) { m.Status.Addresses = ip("10.0.0.7") })
			n := w.node(t, "n2")
			n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.0.0.7"}}
			require.NoError(t, w.Status().Update(t.Context(), n))
		}, m3, "Node n2 looks like its own"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := pool(t)
			if c.change != nil {
				c.change(t, w)
			}
			before, marks := w.replicas(t), w.markedMachines(t)
			err := w.actuator().Remove(t.Context(), c.step, testPlan, testTime)
			require.ErrorIs(t, err, ErrMoved)
			require.ErrorContains(t, err, c.want)
			assert.Equal(t, before, w.replicas(t))
			assert.Equal(t, marks, w.markedMachines(t))
			assert.Empty(t, w.writes)
		})
	}
}

func TestRemoveRefusesNonsense(t *testing.T) {
	t.Parallel()
	w := pool(t)
	for name, step := range map[string]planner.Step{
		"no Machines":     removal(3, 3),
		"a Machine twice": removal(3, 1, "m1", "m1"),
		"wrong sum":       removal(3, 1, "m1"),
		"below zero":      removal(0, -1, "m1"),
		"another place":   {Group: "other/a", From: 1, To: 0, Machines: []string{"other/m"}},
	} {
		err := w.actuator().Remove(t.Context(), step, testPlan, testTime)
		require.Error(t, err, name)
		require.NotErrorIs(t, err, ErrMoved, name)
	}
	assert.Empty(t, w.writes)
}

// TestRemoveChecksAgain: what happens between the marks and the shrink stops it,
// and the marks stay until the next plan.
// Fault 20: a pod lands after the node was found vacant.
// Fault 29: a Machine joins while it is given up.
func TestRemoveChecksAgain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		meanwhile func(*testing.T, *world)
		want      string
	}{
		"a pod lands": {func(t *testing.T, w *world) { t.Helper(); require.NoError(t, w.Create(t.Context(), pod("late", "n1"))) }, "pod jobs/late is on Node n1"},
		"it joins":    {func(t *testing.T, w *world) { t.Helper(); require.NoError(t, w.Create(t.Context(), node("m3", nil))) }, "looks like its own"},
		"a mark goes": {func(t *testing.T, w *world) {
			t.Helper()
			change(t, w, machine("m1", "a", ""), func(m *clusterv1.Machine) { delete(m.Annotations, clusterv1.DeleteMachineAnnotation) })
		}, "does not carry our delete mark any more"},
		"a rollout starts": {func(t *testing.T, w *world) {
			t.Helper()
			require.NoError(t, w.Create(t.Context(), machineSet("b", "a", 1)))
		}, "is rolling out"},
		"it grows": {func(t *testing.T, w *world) {
			t.Helper()
			change(t, w, deployment("a", 0), func(md *clusterv1.MachineDeployment) { md.Spec.Replicas = new(int32(5)) })
		}, "has 5 replicas, not 3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := pool(t)
			w.afterWrite = func(n int, _ string) error {
				if n == 1 { // both marks are written
					c.meanwhile(t, w)
				}
				return nil
			}
			err := w.actuator().Remove(t.Context(), removal(3, 1, "m1", "m3"), testPlan, testTime)
			require.ErrorIs(t, err, ErrMoved)
			require.ErrorContains(t, err, c.want)
			assert.GreaterOrEqual(t, w.replicas(t), int32(3))
			assert.Contains(t, w.markedMachines(t), "m3", "a second coordinator may count on it")
			assert.NotContains(t, w.writes, "scale a")
		})
	}
}

// TestRemoveKeepsMarksWhenSomebodyShrinks: without them Cluster API would choose
// a Machine that works. Two coordinators mark the same Machine, the second one
// shrinks first, and the first one fails.
func TestRemoveKeepsMarksWhenSomebodyShrinks(t *testing.T) {
	t.Parallel()
	w := pool(t)
	w.afterWrite = func(n int, _ string) error {
		if n == 0 {
			change(t, w, deployment("a", 0), func(md *clusterv1.MachineDeployment) { md.Spec.Replicas = new(int32(1)) })
		}
		return nil
	}
	err := w.actuator().Remove(t.Context(), removal(3, 2, "m1"), testPlan, testTime)
	require.ErrorIs(t, err, ErrMoved)
	require.ErrorContains(t, err, "has 1 replicas, not 3")
	assert.Equal(t, []string{"m1"}, w.markedMachines(t))
}

// Fault 36: the API server answers 409.
// Fault 37: the API server answers 429 or 500, or does not answer: nobody knows whether it was written.
func TestRemoveShrinkFails(t *testing.T) {
	t.Parallel()
	resource := schema.GroupResource{Group: "cluster.x-k8s.io", Resource: "machinedeployments/scale"}
	for name, c := range map[string]struct {
		err   error
		moved bool
	}{
		"lost race":   {apierrors.NewConflict(resource, "a", errors.New("newer")), true},
		"no right":    {apierrors.NewForbidden(resource, "a", errors.New("rbac")), false},
		"rate limit":  {apierrors.NewTooManyRequests("slow down", 1), false},
		"timeout":     {apierrors.NewTimeoutError("too slow", 1), false},
		"server down": {apierrors.NewInternalError(errors.New("etcd")), false},
		"broken pipe": {errors.New("connection reset"), false},
		"cancelled":   {context.Canceled, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := pool(t)
			w.onWrite = func(_ int, what string) error {
				if what == "scale a" {
					return c.err
				}
				return nil
			}
			err := w.actuator().Remove(t.Context(), removal(3, 2, "m1"), testPlan, testTime)
			require.ErrorIs(t, err, c.err)
			assert.Equal(t, c.moved, errors.Is(err, ErrMoved))
			assert.Equal(t, []string{"m1"}, w.markedMachines(t), "the next plan goes on, or takes it back")
			assert.EqualValues(t, 3, w.replicas(t))
		})
	}
}

// TestRemoveLosesTheRace: the version that was checked is the version that is
// shrunk.
func TestRemoveLosesTheRace(t *testing.T) {
	t.Parallel()
	w := pool(t)
	w.onWrite = func(_ int, what string) error {
		if what == "scale a" {
			change(t, w, deployment("a", 0), func(md *clusterv1.MachineDeployment) { md.Labels = map[string]string{"touched": "yes"} })
		}
		return nil
	}
	require.ErrorIs(t, w.actuator().Remove(t.Context(), removal(3, 2, "m1"), testPlan, testTime), ErrMoved)
	assert.EqualValues(t, 3, w.replicas(t))
	assert.Equal(t, []string{"m1"}, w.markedMachines(t))
}

// TestRemoveAfterACrash: the coordinator dies before or after every single write,
// a new one takes the same step. The end is the same as without the crash.
// Fault 42: a crash between each pair of writes of a removal.
func TestRemoveAfterACrash(t *testing.T) {
	t.Parallel()
	type crash struct {
		at    int
		after bool
	}
	var crashes []crash
	for at := range 3 {
		crashes = append(crashes, crash{at, false}, crash{at, true})
	}
	for _, c := range crashes {
		t.Run(fmt.Sprintf("write %d, after %v", c.at, c.after), func(t *testing.T) {
			t.Parallel()
			w, dead := pool(t), false
			died := errors.New("killed")
			die := func(n int, after bool) error {
				if dead = dead || n == c.at && after == c.after; dead {
					return died
				}
				return nil
			}
			w.onWrite = func(n int, _ string) error { return die(n, false) }
			w.afterWrite = func(n int, _ string) error { return die(n, true) }
			step := removal(3, 1, "m1", "m3")
			require.ErrorIs(t, w.actuator().Remove(t.Context(), step, testPlan, testTime), died)

			w.onWrite, w.afterWrite = nil, nil
			require.NoError(t, w.actuator().Remove(t.Context(), step, "plan-8", testTime))
			assert.EqualValues(t, 1, w.replicas(t))
			assert.Equal(t, []string{"m1", "m3"}, w.markedMachines(t))
			scaled := slices.DeleteFunc(slices.Clone(w.writes), func(s string) bool { return !strings.HasPrefix(s, "scale") })
			assert.LessOrEqual(t, len(scaled), 2)
		})
	}
}

// Fault 44: a second coordinator comes too late to shrink. The mark that it
// found stays: the first is about to lower the replicas for which it wrote it.
func TestRemoveLeavesTheMarksOfASecondCoordinator(t *testing.T) {
	t.Parallel()
	w := pool(t)
	first := w.actuator()
	w.onWrite = func(_ int, what string) error {
		if what == "scale a" {
			return context.DeadlineExceeded // the first is slow
		}
		return nil
	}
	require.Error(t, first.Remove(t.Context(), removal(3, 2, "m1"), testPlan, testTime))
	require.Equal(t, []string{"m1"}, w.markedMachines(t))
	w.onWrite = func(_ int, what string) error {
		if what == "scale a" {
			return apierrors.NewConflict(schema.GroupResource{Resource: "machinedeployments"}, "a", errors.New("newer"))
		}
		return nil
	}
	require.ErrorIs(t, w.actuator().Remove(t.Context(), removal(3, 2, "m1"), "plan-8", testTime), ErrMoved)
	assert.Equal(t, []string{"m1"}, w.markedMachines(t))
}
