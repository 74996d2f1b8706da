package capi

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

func softTainted(n *corev1.Node) {
	n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: planner.SoftTaintKey, Value: "plan-6.1790000000", Effect: corev1.TaintEffectPreferNoSchedule})
}

func marked6(m *clusterv1.Machine) {
	withNote(clusterv1.DeleteMachineAnnotation, "x")(m)
	withNote(DeleteMarkAnnotation, "plan-6.1790000000")(m)
}

func usedWorld(t *testing.T) *world {
	t.Helper()
	return newWorld(t, cluster(),
		deployment("a", 4, annotated(BackoffAnnotation, "[]", PausedAnnotation, "by hand")),
		deployment("x", 1, annotated(BackoffAnnotation, "[]"), func(md *clusterv1.MachineDeployment) { md.Spec.ClusterName = "other" }),
		machineSet("a", "a", 4),
		machine("m1", "a", "n1", withHook, marked6), machine("m2", "a", "n2", withHook, withNote(ReleaseAnnotation, "yes")), machine("m3", "a", "n3", deleting, withHook),
		machine("m4", "a", "n4", withNote(clusterv1.DeleteMachineAnnotation, "by hand")), machine("m5", "a", "n5", withNote(clusterv1.PreDrainDeleteHookAnnotationPrefix+"/backup", "")),
		machine("theirs", "x", "", withHook, func(m *clusterv1.Machine) { m.Spec.ClusterName = "other" }),
		node("n1", nil, cordoned, softTainted), node("n2", nil, softTainted), node("n3", nil, cordoned),
		node("n4", nil, func(n *corev1.Node) {
			n.Spec.Taints = []corev1.Taint{{Key: planner.CordonTaint, Value: "by-hand", Effect: corev1.TaintEffectNoSchedule}}
		}),
	)
}

func taken(list []Released) []string {
	out := make([]string, 0, len(list))
	for _, x := range list {
		out = append(out, x.Kind+" "+x.Name+" "+x.Marker)
	}
	return out
}

func (w *world) release(t *testing.T, dry bool) ([]Released, error) {
	t.Helper()
	return Release(t.Context(), ReleaseOptions{Management: w, Workload: w, Namespace: testNamespace, ClusterName: testCluster, DryRun: dry})
}

// TestRelease: everything of ours goes, nothing of anybody else.
// Fault 43: markers that a crash has left behind are taken, whoever wrote them.
func TestRelease(t *testing.T) {
	t.Parallel()
	w := usedWorld(t)
	plan, err := w.release(t, true)
	require.NoError(t, err)
	assert.Empty(t, w.writes, "a dry run writes nothing")

	got, err := w.release(t, false)
	require.NoError(t, err)
	assert.Equal(t, taken(plan), taken(got))
	assert.Equal(t, []string{
		"Machine pools/m1 " + DeleteMarkAnnotation,
		"Node n1 " + planner.CordonTaint, "Node n1 " + planner.SoftTaintKey, "Node n2 " + planner.SoftTaintKey, "Node n3 " + planner.CordonTaint,
		"MachineDeployment pools/a " + BackoffAnnotation,
		"Machine pools/m1 " + HookAnnotation, "Machine pools/m2 " + HookAnnotation, "Machine pools/m3 " + HookAnnotation,
	}, taken(got))
	for _, x := range got {
		assert.Equal(t, x.Name == "pools/m3", strings.Contains(x.Warning, "is being deleted"), x.Name)
	}
	for _, name := range []string{"n1", "n2", "n3"} {
		assert.Empty(t, w.node(t, name).Spec.Taints, name)
	}
	assert.Len(t, w.node(t, "n4").Spec.Taints, 1, "of another hand")
	assert.Empty(t, w.machine(t, "m1").Annotations)
	assert.Equal(t, map[string]string{ReleaseAnnotation: "yes"}, w.machine(t, "m2").Annotations)
	assert.NotEmpty(t, w.machine(t, "m4").Annotations)
	assert.NotEmpty(t, w.machine(t, "m5").Annotations)
	assert.True(t, hooked(w.machine(t, "theirs")))
	md := &clusterv1.MachineDeployment{}
	require.NoError(t, w.Get(t.Context(), client.ObjectKey{Namespace: testNamespace, Name: "a"}, md))
	assert.Equal(t, "by hand", md.Annotations[PausedAnnotation])
	assert.NotContains(t, md.Annotations, BackoffAnnotation)

	got, err = w.release(t, false)
	require.NoError(t, err)
	assert.Empty(t, got, "again")
}

// TestReleaseGoesOn: one object that cannot be written does not keep the others,
// and a mark stays while a shrink is under way.
func TestReleaseGoesOn(t *testing.T) {
	t.Parallel()
	w := usedWorld(t)
	broken := errors.New("forbidden")
	w.onWrite = func(_ int, what string) error {
		if strings.HasSuffix(what, "Node n1") {
			return broken
		}
		return nil
	}
	change(t, w, deployment("a", 0), func(md *clusterv1.MachineDeployment) { md.Spec.Replicas = new(int32(3)) })
	got, err := w.release(t, false)
	require.ErrorIs(t, err, broken)
	require.ErrorIs(t, err, ErrMoved)
	require.ErrorContains(t, err, "a shrink is under way")
	assert.Len(t, got, 9)
	assert.Contains(t, w.machine(t, "m1").Annotations, DeleteMarkAnnotation)
	assert.NotEmpty(t, w.node(t, "n1").Spec.Taints)
	assert.Empty(t, w.node(t, "n3").Spec.Taints)
	assert.False(t, hooked(w.machine(t, "m3")))

	w.onWrite = nil
	change(t, w, deployment("a", 0), func(md *clusterv1.MachineDeployment) { md.Spec.Replicas = new(int32(4)) })
	got, err = w.release(t, false)
	require.NoError(t, err)
	assert.Len(t, got, 3)
}
