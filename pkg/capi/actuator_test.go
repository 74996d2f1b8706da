package capi

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

func grow(from, to int64) planner.Step {
	return planner.Step{Kind: planner.StepGrow, Group: testNamespace + "/a", From: from, To: to}
}

// Fault 33: a group never grows beyond its maximum.
func TestScale(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		md    *clusterv1.MachineDeployment
		step  planner.Step
		want  int32
		moved string // text of an ErrMoved
		err   string // text of another error
		wrote bool
	}{
		"from zero":          {md: deployment("a", 0), step: grow(0, 4), want: 4, wrote: true},
		"taken before":       {md: deployment("a", 4), step: grow(0, 4), want: 4},
		"changed by others":  {md: deployment("a", 2), step: grow(0, 4), want: 2, moved: "has 2 replicas, not 0"},
		"beyond the maximum": {md: deployment("a", 0), step: grow(0, 11), want: 0, moved: "may have 10 replicas at most"},
		"not managed now":    {md: deployment("a", 0, func(md *clusterv1.MachineDeployment) { md.Annotations = nil }), step: grow(0, 4), want: 0, moved: "both size annotations"},
		"paused now":         {md: deployment("a", 0, annotated(clusterv1.PausedAnnotation, "")), step: grow(0, 4), want: 0, moved: "is paused"},
		"gone":               {md: deployment("b", 0), step: grow(0, 4), moved: "not found"},
		"of another Cluster": {md: deployment("a", 0, func(md *clusterv1.MachineDeployment) { md.Spec.ClusterName = "x" }), step: grow(0, 4), want: 0, err: `belongs to Cluster "x"`},
		"another namespace":  {md: deployment("a", 0), step: planner.Step{Group: "other/a", To: 1}, want: 0, err: "is not in namespace pools"},
		"downwards":          {md: deployment("a", 4), step: grow(4, 3), want: 4, err: "only growth is scaled"},
		"rolling out":        {md: deployment("a", 0, func(md *clusterv1.MachineDeployment) { md.Generation = 2; md.Status.ObservedGeneration = 1 }), step: grow(0, 4), want: 4, wrote: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, cluster(), c.md)
			err := w.actuator().Scale(t.Context(), c.step, testPlan)
			switch {
			case c.moved != "":
				require.ErrorIs(t, err, ErrMoved)
				require.ErrorContains(t, err, c.moved)
			case c.err != "":
				require.NotErrorIs(t, err, ErrMoved)
				require.ErrorContains(t, err, c.err)
			default:
				require.NoError(t, err)
			}
			if c.md.Name == "a" {
				assert.Equal(t, c.want, w.replicas(t))
			}
			assert.Equal(t, c.wrote, len(w.writes) == 1, w.writes)
		})
	}
}

// TestScaleLosesTheRace: whatever changes between the check and the write makes
// the API server refuse the write.
// Fault 34: somebody else changes replicas between the check and the write.
func TestScaleLosesTheRace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster(), deployment("a", 1))
	w.onWrite = func(int, string) error {
		change(t, w, deployment("a", 0), func(md *clusterv1.MachineDeployment) { md.Spec.Replicas = new(int32(2)) })
		return nil
	}
	require.ErrorIs(t, w.actuator().Scale(t.Context(), grow(1, 4), testPlan), ErrMoved)
	assert.EqualValues(t, 2, w.replicas(t))
}

// TestScaleOutcomeUnknown: a write that happened and was not confirmed is seen
// when the step is taken again.
// Fault 37: the write happened, and its answer was lost.
func TestScaleOutcomeUnknown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster(), deployment("a", 1))
	w.afterWrite = func(int, string) error { return context.DeadlineExceeded }
	err := w.actuator().Scale(t.Context(), grow(1, 4), testPlan)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, ErrMoved)
	require.NoError(t, w.actuator().Scale(t.Context(), grow(1, 4), testPlan))
	assert.EqualValues(t, 4, w.replicas(t))
	assert.Len(t, w.writes, 1, "an absolute value is not written twice")
}

func cordonStep(name string) planner.Step {
	return planner.Step{Kind: planner.StepCordon, Node: name, NodeUID: "n-" + name}
}

func TestCordon(t *testing.T) {
	t.Parallel()
	tainted := func(n *corev1.Node) {
		n.Spec.Taints = []corev1.Taint{{Key: "pool", Effect: corev1.TaintEffectNoSchedule}, {Key: "pool", Effect: corev1.TaintEffectNoExecute}}
	}
	for name, c := range map[string]struct {
		node  *corev1.Node
		pods  []*corev1.Pod
		step  planner.Step
		moved string
		taint string // the value of our taint at the end
	}{
		"vacant":           {node: node("n", nil, tainted), step: cordonStep("n"), taint: "plan-7.1790000000"},
		"with daemons":     {node: node("n", nil), pods: []*corev1.Pod{pod("d", "n", controlledBy("apps/v1", "DaemonSet", "d")), pod("over", "n", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }), pod("x", "other")}, step: cordonStep("n"), taint: "plan-7.1790000000"},
		"occupied":         {node: node("n", nil), pods: []*corev1.Pod{pod("busy", "n")}, step: cordonStep("n"), moved: "pod jobs/busy is on Node n"},
		"another node now": {node: node("n", nil), step: planner.Step{Node: "n", NodeUID: "old"}, moved: "is another one now"},
		"gone":             {node: node("n", nil), step: cordonStep("x"), moved: "not found"},
		"cordoned before":  {node: node("n", nil, cordoned), pods: []*corev1.Pod{pod("busy", "n")}, step: cordonStep("n"), taint: "plan-6.1790000000"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.node)
			for _, p := range c.pods {
				require.NoError(t, w.Create(t.Context(), p))
			}
			before := len(c.node.Spec.Taints)
			err := w.actuator().Cordon(t.Context(), c.step, testPlan, testTime)
			if c.moved != "" {
				require.ErrorIs(t, err, ErrMoved)
				require.ErrorContains(t, err, c.moved)
				assert.Len(t, w.node(t, "n").Spec.Taints, before)
				return
			}
			require.NoError(t, err)
			taint, ok := cordonOf(w.node(t, "n"))
			require.True(t, ok)
			assert.Equal(t, c.taint, taint.Value)
			require.NoError(t, w.actuator().Cordon(t.Context(), c.step, testPlan, testTime), "again")

			require.NoError(t, w.actuator().Uncordon(t.Context(), c.step))
			_, ok = cordonOf(w.node(t, "n"))
			assert.False(t, ok)
			if name == "vacant" {
				assert.Len(t, w.node(t, "n").Spec.Taints, 2, "other taints stay, also those with the same key")
			}
			writes := len(w.writes)
			require.NoError(t, w.actuator().Uncordon(t.Context(), c.step), "again")
			assert.Len(t, w.writes, writes)
		})
	}
}

// TestCordonWithPods: in lead mode the idle Ray pods are still there, and pods
// that can be moved never forbid it.
// Fault 22: a pod that must not be disturbed keeps its node.
// Fault 25: pods of DaemonSets keep nothing.
func TestCordonWithPods(t *testing.T) {
	t.Parallel()
	owned := controlledBy("apps/v1", "ReplicaSet", "web")
	idle := pod("idle", "n", rayPod)
	for name, c := range map[string]struct {
		pods  []*corev1.Pod
		moved string
	}{
		"named":                {pods: []*corev1.Pod{idle}},
		"Ray's, not named":     {pods: []*corev1.Pod{idle, pod("other", "n", rayPod)}, moved: "pod jobs/other is on Node n: it is Ray's"},
		"a namesake":           {pods: []*corev1.Pod{pod("idle", "n", rayPod, func(p *corev1.Pod) { p.UID = "new" })}, moved: "it is Ray's"},
		"Ray's, terminating":   {pods: []*corev1.Pod{pod("other", "n", rayPod, terminating)}, moved: "it is Ray's"},
		"movable":              {pods: []*corev1.Pod{pod("web", "n", owned)}},
		"no controller":        {pods: []*corev1.Pod{pod("bare", "n")}, moved: "no controller would make it anew"},
		"bare, on its way out": {pods: []*corev1.Pod{pod("bare", "n", terminating)}},
		"safe-to-evict=false":  {pods: []*corev1.Pod{pod("web", "n", owned, noted(annotationSafeToEvict, "false"))}, moved: "is false"},
		"do-not-disrupt":       {pods: []*corev1.Pod{pod("web", "n", owned, noted(annotationDoNotDisrupt, "true"))}, moved: "is true"},
		"local storage": {pods: []*corev1.Pod{pod("web", "n", owned, func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "d", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
		})}, moved: "own disk"},
		"DaemonSets": {pods: []*corev1.Pod{pod("d", "n", controlledBy("apps/v1", "DaemonSet", "d"), noted(annotationSafeToEvict, "false"))}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, node("n", nil))
			for _, p := range c.pods {
				require.NoError(t, w.Create(t.Context(), p.DeepCopy()))
				if p.DeletionTimestamp != nil {
					require.NoError(t, w.Delete(t.Context(), p.DeepCopy()))
				}
			}
			step := cordonStep("n")
			step.Pods = []planner.PodRef{{Namespace: "jobs", Name: "idle", UID: "p-idle"}}
			err := w.actuator().Cordon(t.Context(), step, testPlan, testTime)
			if c.moved != "" {
				require.ErrorIs(t, err, ErrMoved)
				require.ErrorContains(t, err, c.moved)
				assert.Empty(t, w.writes)
				return
			}
			require.NoError(t, err)
			_, ok := cordonOf(w.node(t, "n"))
			assert.True(t, ok)
		})
	}
}

// TestCordonOfADeletedMachine: what runs there is to go in any case; the cordon
// keeps new pods away while it does.
// Fault 35: somebody else deletes a Machine whose Ray nodes work.
func TestCordonOfADeletedMachine(t *testing.T) {
	t.Parallel()
	of := func(n *corev1.Node) {
		n.Annotations = map[string]string{clusterv1.MachineAnnotation: "m", clusterv1.ClusterNamespaceAnnotation: testNamespace}
	}
	w := newWorld(t, node("n", nil, of), pod("busy", "n", rayPod), pod("bare", "n"), machine("m", "a", "n", deleting))
	require.NoError(t, w.actuator().Cordon(t.Context(), cordonStep("n"), testPlan, testTime))
	w = newWorld(t, node("n", nil, of), pod("busy", "n", rayPod), machine("m", "a", "n"))
	require.ErrorIs(t, w.actuator().Cordon(t.Context(), cordonStep("n"), testPlan, testTime), ErrMoved)
	w = newWorld(t, node("n", nil, of), pod("busy", "n", rayPod), machine("m", "a", "other", deleting))
	require.ErrorIs(t, w.actuator().Cordon(t.Context(), cordonStep("n"), testPlan, testTime), ErrMoved)
}

func rayPod(p *corev1.Pod) {
	controlledBy("ray.io/v1", "RayCluster", "train")(p)
	p.Labels = map[string]string{labelRayCluster: "train"}
}

// terminating pods are deleted by whoever creates them.
func terminating(p *corev1.Pod) {
	p.Finalizers = []string{"test/hold"}
	p.DeletionTimestamp = new(metav1.NewTime(testTime))
}

func noted(k, v string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Annotations = map[string]string{k: v} }
}

func TestSoftTaint(t *testing.T) {
	t.Parallel()
	w := newWorld(t, node("n", nil, cordoned), pod("busy", "n"))
	step := planner.Step{Kind: planner.StepSoftTaint, Node: "n", NodeUID: "n-n"}
	require.NoError(t, w.actuator().SoftTaint(t.Context(), step, testPlan, testTime))
	assert.Contains(t, w.node(t, "n").Spec.Taints, corev1.Taint{Key: planner.SoftTaintKey, Value: "plan-7.1790000000", Effect: corev1.TaintEffectPreferNoSchedule})
	require.NoError(t, w.actuator().SoftTaint(t.Context(), step, "plan-8", testTime), "again")
	assert.Len(t, w.writes, 1)

	require.NoError(t, w.actuator().SoftUntaint(t.Context(), step))
	assert.Len(t, w.node(t, "n").Spec.Taints, 1, "the cordon stays")
	require.NoError(t, w.actuator().SoftUntaint(t.Context(), step), "again")
	assert.Len(t, w.writes, 2)

	step.NodeUID = "old"
	require.ErrorIs(t, w.actuator().SoftTaint(t.Context(), step, testPlan, testTime), ErrMoved)
	require.ErrorIs(t, w.actuator().SoftUntaint(t.Context(), step), ErrMoved)
	step.Node = "gone"
	require.ErrorIs(t, w.actuator().SoftTaint(t.Context(), step, testPlan, testTime), ErrMoved)
	require.NoError(t, w.actuator().SoftUntaint(t.Context(), step))
}

func TestCordonLosesTheRace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, node("n", nil))
	w.onWrite = func(int, string) error {
		change(t, w, node("n", nil), func(n *corev1.Node) { n.Spec.Unschedulable = true })
		return nil
	}
	require.ErrorIs(t, w.actuator().Cordon(t.Context(), cordonStep("n"), testPlan, testTime), ErrMoved)
	assert.Empty(t, w.node(t, "n").Spec.Taints)
}

func TestCordonRefusesAnUnwritableMark(t *testing.T) {
	t.Parallel()
	w := newWorld(t, node("n", nil))
	err := w.actuator().Cordon(t.Context(), cordonStep("n"), "a plan", testTime)
	require.ErrorContains(t, err, "cannot be the value of a taint")
	assert.Empty(t, w.writes)
}

func TestUncordon(t *testing.T) {
	t.Parallel()
	w := newWorld(t, node("n", nil, cordoned))
	require.NoError(t, w.actuator().Uncordon(t.Context(), cordonStep("gone")))
	require.ErrorIs(t, w.actuator().Uncordon(t.Context(), planner.Step{Node: "n", NodeUID: "old"}), ErrMoved)

	change(t, w, node("n", nil), func(n *corev1.Node) { n.Spec.Taints[0].Value = "by-hand" })
	require.NoError(t, w.actuator().Uncordon(t.Context(), cordonStep("n")))
	assert.Len(t, w.node(t, "n").Spec.Taints, 1, "what another hand wrote is left alone")
}

func TestClassify(t *testing.T) {
	t.Parallel()
	require.NoError(t, classify("x", nil))
	err := classify("writing", errors.New("boom"))
	require.NotErrorIs(t, err, ErrMoved)
	require.EqualError(t, err, "writing: boom")
}
