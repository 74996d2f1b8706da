package capi

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

func withHook(m *clusterv1.Machine) {
	if m.Annotations == nil {
		m.Annotations = map[string]string{}
	}
	m.Annotations[HookAnnotation] = hookOwner
}

func withNote(k, v string) func(*clusterv1.Machine) {
	return func(m *clusterv1.Machine) {
		if m.Annotations == nil {
			m.Annotations = map[string]string{}
		}
		m.Annotations[k] = v
	}
}

func hookStep(kind planner.StepKind, machines ...string) planner.Step {
	s := planner.Step{Kind: kind, Group: testNamespace + "/a"}
	for _, m := range machines {
		s.Machines = append(s.Machines, testNamespace+"/"+m)
	}
	return s
}

func TestHook(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster(), deployment("a", 3), machineSet("a", "a", 3),
		machine("m1", "a", "n1"), machine("has", "a", "n2", withHook), machine("going", "a", "n3", deleting), machine("other", "b", "n4"))
	step := hookStep(planner.StepHook, "m1", "has", "going", "gone", "other")
	require.NoError(t, w.actuator().Hook(t.Context(), step, testPlan))
	assert.Equal(t, map[string]string{HookAnnotation: hookOwner}, w.machine(t, "m1").Annotations)
	assert.False(t, hooked(w.machine(t, "going")))
	assert.False(t, hooked(w.machine(t, "other")), "it is not of the group")
	require.NoError(t, w.actuator().Hook(t.Context(), step, testPlan), "again")
	assert.Len(t, w.writes, 1)

	change(t, w, deployment("a", 0), func(md *clusterv1.MachineDeployment) { md.Annotations = nil })
	require.ErrorIs(t, w.actuator().Hook(t.Context(), step, testPlan), ErrMoved, "not managed any more")
	require.ErrorContains(t, w.actuator().Hook(t.Context(), planner.Step{Group: "other/a"}, testPlan), "is not in namespace")
}

// TestHookLosesTheRace: the version that was checked is the version that gets the
// hook.
// Fault 36: a conflict is answered by a new plan, not by a retry.
func TestHookLosesTheRace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster(), deployment("a", 1), machineSet("a", "a", 1), machine("m1", "a", "n1"))
	w.onWrite = func(int, string) error {
		change(t, w, machine("m1", "a", ""), withNote("touched", "yes"))
		return nil
	}
	require.ErrorIs(t, w.actuator().Hook(t.Context(), hookStep(planner.StepHook, "m1"), testPlan), ErrMoved)
	assert.False(t, hooked(w.machine(t, "m1")))
	assert.Len(t, w.writes, 1)
}

func unreachable(since time.Time) func(*corev1.Node) {
	return func(n *corev1.Node) {
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionUnknown, LastTransitionTime: metav1.NewTime(since)}}
	}
}

// TestReleaseHook: each condition that lets a Machine go, and each that does not.
// Fault 35: the hook of a Machine that somebody else deletes holds it while Ray works.
// Fault 21: a Ray pod that came anew on the node holds the hook.
// Fault 24: a Ray pod that a finalizer keeps is still there.
func TestReleaseHook(t *testing.T) {
	t.Parallel()
	going := func(node string, edits ...func(*clusterv1.Machine)) *clusterv1.Machine {
		return machine("m", "a", node, append([]func(*clusterv1.Machine){withHook, deleting}, edits...)...)
	}
	notReady := func(n *corev1.Node) {
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionFalse}}
	}
	long, short := testTime.Add(-11*time.Minute), testTime.Add(-9*time.Minute)
	for name, c := range map[string]struct {
		objects []client.Object
		off     bool // the pod's cluster is in mode off: the step names it
		held    string
	}{
		"cordoned and vacant":          {objects: []client.Object{going("n"), node("n", nil, cordoned), pod("d", "n", controlledBy("apps/v1", "DaemonSet", "d"))}},
		"with another's pod":           {objects: []client.Object{going("n"), node("n", nil, cordoned), pod("p", "n")}},
		"with a Ray pod":               {objects: []client.Object{going("n"), node("n", nil, cordoned), pod("p", "n", rayPod)}, held: "Ray pod jobs/p is on Node n"},
		"with one that does not end":   {objects: []client.Object{going("n"), node("n", nil, cordoned), pod("p", "n", rayPod, terminating)}, held: "Ray pod jobs/p is on Node n"},
		"with a finished one":          {objects: []client.Object{going("n"), node("n", nil, cordoned), pod("p", "n", rayPod, func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed })}},
		"its cluster is not ours":      {objects: []client.Object{going("n"), node("n", nil, cordoned), pod("p", "n", rayPod)}, off: true},
		"not cordoned":                 {objects: []client.Object{going("n"), node("n", nil)}, held: "does not carry our cordon"},
		"no Node":                      {objects: []client.Object{going("")}},
		"no Node, but one looks so":    {objects: []client.Object{going(""), node("m", nil), pod("p", "m", rayPod)}, held: "does not carry our cordon"},
		"its Node is gone":             {objects: []client.Object{going("n")}},
		"unreachable for long":         {objects: []client.Object{going("n"), node("n", nil, unreachable(long)), pod("p", "n", rayPod)}},
		"unreachable not long":         {objects: []client.Object{going("n"), node("n", nil, unreachable(short)), pod("p", "n", rayPod)}, held: "does not carry our cordon"},
		"not ready is not unreachable": {objects: []client.Object{going("n"), node("n", nil, notReady), pod("p", "n", rayPod)}, held: "does not carry our cordon"},
		"a person says so":             {objects: []client.Object{going("n", withNote(ReleaseAnnotation, "")), node("n", nil), pod("p", "n", rayPod)}},
		"a person says no":             {objects: []client.Object{going("n", withNote(ReleaseAnnotation, "false")), node("n", nil), pod("p", "n", rayPod)}, held: "does not carry our cordon"},
		"not being deleted":            {objects: []client.Object{machine("m", "a", "n", withHook), node("n", nil, cordoned)}, held: "is not being deleted"},
		"not being deleted, break it":  {objects: []client.Object{machine("m", "a", "n", withHook, withNote(ReleaseAnnotation, "yes")), node("n", nil)}, held: "is not being deleted"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, append(c.objects, cluster(), deployment("a", 1), machineSet("a", "a", 1))...)
			a := NewActuator(ActuatorOptions{Management: w, Workload: w, Namespace: testNamespace, ClusterName: testCluster, UnreachableRelease: 10 * time.Minute})
			step := hookStep(planner.StepReleaseHook, "m", "gone")
			if c.off {
				step.Pods = []planner.PodRef{{Namespace: "jobs", Name: "p", UID: "p-p"}}
			}
			err := a.ReleaseHook(t.Context(), step, testPlan, testTime)
			if c.held != "" {
				require.ErrorIs(t, err, ErrMoved)
				require.ErrorContains(t, err, c.held)
				assert.True(t, hooked(w.machine(t, "m")))
				assert.Empty(t, w.writes)
				return
			}
			require.NoError(t, err)
			assert.False(t, hooked(w.machine(t, "m")))
			require.NoError(t, a.ReleaseHook(t.Context(), step, testPlan, testTime), "again")
			assert.Len(t, w.writes, 1)
		})
	}
}

// TestReleaseHookKeepsItsBound: without a bound an unreachable node never lets go
// by itself.
// Fault 27: a node that the control plane cannot reach may still work for Ray.
func TestReleaseHookKeepsItsBound(t *testing.T) {
	t.Parallel()
	w := newWorld(t, machine("m", "a", "n", withHook, deleting), node("n", nil, unreachable(testTime.Add(-time.Hour))), pod("p", "n", rayPod))
	require.ErrorIs(t, w.actuator().ReleaseHook(t.Context(), hookStep(planner.StepReleaseHook, "m"), testPlan, testTime), ErrMoved)
	w = newWorld(t, machine("m", "a", "n", withHook, deleting, func(m *clusterv1.Machine) { m.Spec.ClusterName = "x" }))
	require.ErrorContains(t, w.actuator().ReleaseHook(t.Context(), hookStep(planner.StepReleaseHook, "m"), testPlan, testTime), `belongs to Cluster "x"`)
}

// Fault 43: what a restart must not forget is on the object.
func TestRemember(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster(), deployment("a", 2))
	step := planner.Step{Kind: planner.StepRemember, Group: testNamespace + "/a", Backoffs: []planner.Backoff{
		{Kind: planner.FailureQuota, Until: testTime.Add(time.Minute), Last: planner.Duration(time.Minute), Machine: "m-1", Why: `says "no"`},
	}}
	require.NoError(t, w.actuator().Remember(t.Context(), step, testPlan))
	read := func() *clusterv1.MachineDeployment {
		md := &clusterv1.MachineDeployment{}
		require.NoError(t, w.Get(t.Context(), client.ObjectKey{Namespace: testNamespace, Name: "a"}, md))
		return md
	}
	got, err := readBackoffs(read().Annotations)
	require.NoError(t, err)
	assert.Equal(t, step.Backoffs, got)
	require.NoError(t, w.actuator().Remember(t.Context(), step, testPlan), "again")
	assert.Len(t, w.writes, 1)
	assert.Equal(t, step.Backoffs, groupOf(t, observeAll(t, cluster(), read()), "a").Backoffs)

	step.Backoffs = nil
	require.NoError(t, w.actuator().Remember(t.Context(), step, testPlan))
	assert.NotContains(t, read().Annotations, BackoffAnnotation)
	require.NoError(t, w.actuator().Remember(t.Context(), step, testPlan), "again")
	assert.Len(t, w.writes, 2)
	assert.EqualValues(t, 2, w.replicas(t))

	step.Backoffs = []planner.Backoff{{Why: strings.Repeat("x", mostBackoff)}}
	require.ErrorContains(t, w.actuator().Remember(t.Context(), step, testPlan), "are more than")
	for _, bad := range []string{"{", strings.Repeat("[", mostBackoff+1), `{"a":1}`} {
		_, err = readBackoffs(map[string]string{BackoffAnnotation: bad})
		require.Error(t, err)
	}
}

// TestRememberLosesTheRace: the note never brings back an old size of the group.
func TestRememberLosesTheRace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster(), deployment("a", 2))
	w.onWrite = func(int, string) error {
		change(t, w, deployment("a", 0), func(md *clusterv1.MachineDeployment) { md.Spec.Replicas = new(int32(5)) })
		return nil
	}
	step := planner.Step{Group: testNamespace + "/a", Backoffs: []planner.Backoff{{Why: "x"}}}
	require.ErrorIs(t, w.actuator().Remember(t.Context(), step, testPlan), ErrMoved)
	assert.EqualValues(t, 5, w.replicas(t))
}
