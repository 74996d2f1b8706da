package capi

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

func machineNamed(t *testing.T, v View, name string) planner.Machine {
	t.Helper()
	for i := range v.Machines {
		if v.Machines[i].Name == name {
			return v.Machines[i]
		}
	}
	require.Fail(t, "no Machine "+name)
	return planner.Machine{}
}

// TestProtocolMarks: what the removal protocol has written on objects is read
// again, so that a restart finds it.
// Fault 30: a Machine that is stuck while it is deleted is seen as being deleted, since when, and for which hook.
func TestProtocolMarks(t *testing.T) {
	t.Parallel()
	waits := func(reason string, status metav1.ConditionStatus) func(*clusterv1.Machine) {
		return func(m *clusterv1.Machine) {
			m.Status.Conditions = []metav1.Condition{{Type: clusterv1.MachineDeletingCondition, Status: status, Reason: reason}}
		}
	}
	hookReason := clusterv1.MachineDeletingWaitingForPreDrainHookReason
	v := observeAll(t, cluster(), deployment("a", 4), machineSet("a", "a", 4),
		machine("plain", "a", ""), machine("hooked", "a", "", withHook, withNote(ReleaseAnnotation, "")),
		machine("waits", "a", "", withHook, deleting, waits(hookReason, metav1.ConditionTrue)),
		machine("drains", "a", "", withHook, deleting, waits(clusterv1.MachineDeletingDrainingNodeReason, metav1.ConditionTrue)),
		node("n1", nil, softTainted, unreachable(testTime)), node("n2", nil, func(n *corev1.Node) { n.Annotations = map[string]string{annotationNodeKeep: "true"} }),
		node("n3", nil, func(n *corev1.Node) { n.Annotations = map[string]string{annotationDoNotDisrupt: "true"} }), node("n4", nil),
		pod("p", "n4", rayPod, func(p *corev1.Pod) { p.Labels[labelRayReplica] = "tpu-1" }),
	)
	m := machineNamed(t, v, "plain")
	assert.False(t, m.Hook || m.WaitsForHook || m.Release || !m.DeletingSince.IsZero())
	m = machineNamed(t, v, "hooked")
	assert.True(t, m.Hook && m.Release && !m.WaitsForHook)
	m = machineNamed(t, v, "waits")
	assert.True(t, m.Deleting && m.Hook && m.WaitsForHook)
	assert.Equal(t, testTime, m.DeletingSince)
	m = machineNamed(t, v, "drains")
	assert.True(t, m.Deleting && !m.WaitsForHook)

	n := nodeNamed(t, v, "n1")
	assert.Equal(t, &planner.Mark{PlanID: "plan-6", At: testTime}, n.SoftTaint)
	assert.Nil(t, n.Cordon)
	assert.Equal(t, testTime, n.UnreadySince)
	assert.Equal(t, "annotation "+annotationNodeKeep, nodeNamed(t, v, "n2").Keep)
	assert.Equal(t, "annotation "+annotationDoNotDisrupt, nodeNamed(t, v, "n3").Keep)
	n = nodeNamed(t, v, "n4")
	assert.Empty(t, n.Keep)
	assert.True(t, n.UnreadySince.IsZero())
	assert.Equal(t, "tpu-1", v.Pods[0].RayReplica)
}

// Fault 32: a person pauses a group, or everything; a step that is under way is refused.
func TestPaused(t *testing.T) {
	t.Parallel()
	v := observeAll(t, cluster(), deployment("a", 1, annotated(PausedAnnotation, "maintenance")), deployment("b", 1, annotated(PausedAnnotation, "false")))
	assert.True(t, groupOf(t, v, "a").Paused)
	assert.False(t, groupOf(t, v, "b").Paused)
	assert.Empty(t, v.PausedBy)
	pause := func(c *clusterv1.Cluster) { c.Annotations = map[string]string{PausedAnnotation: "until Monday"} }
	v = observeAll(t, cluster(pause), deployment("b", 1))
	assert.True(t, groupOf(t, v, "b").Paused)
	assert.Equal(t, "annotation tandem-autoscaler.io/paused of Cluster pools/gpu: until Monday", v.PausedBy)
	w := newWorld(t, cluster(pause), deployment("a", 0))
	require.ErrorIs(t, w.actuator().Scale(t.Context(), grow(0, 1), testPlan), ErrMoved)
	assert.Empty(t, w.writes)
}

func TestBackoffsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	v := observeAll(t, cluster(), deployment("a", 1, annotated(BackoffAnnotation, "{")))
	assert.Empty(t, groupOf(t, v, "a").Invalid)
	assert.Empty(t, groupOf(t, v, "a").Backoffs)
	assert.Contains(t, sourceOf(t, v, planner.SourceManagement).Error, "reading annotation "+BackoffAnnotation)
}

func pdb(name string, allowed int32, labels map[string]string) *policyv1.PodDisruptionBudget {
	return &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: "jobs", Name: name},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: new(intstr.FromInt32(1)), Selector: &metav1.LabelSelector{MatchLabels: labels}},
		Status:     policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: allowed},
	}
}

// TestBudgetsBlock: a pod that a disruption budget holds keeps its node.
// Fault 23: a disruption budget allows no disruption.
func TestBudgetsBlock(t *testing.T) {
	t.Parallel()
	web := func(app string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			controlledBy("apps/v1", "ReplicaSet", app)(p)
			p.Labels = map[string]string{"app": app}
		}
	}
	objects := []client.Object{
		cluster(), pdb("tight", 0, map[string]string{"app": "tight"}), pdb("loose", 1, map[string]string{"app": "loose"}),
		pod("tight", "n", web("tight")), pod("loose", "n", web("loose")), pod("other", "n", web("other")),
		pod("ray", "n", rayPod, func(p *corev1.Pod) { p.Labels["app"] = "tight" }),
		pod("elsewhere", "n", web("tight"), func(p *corev1.Pod) { p.Namespace = "more" }),
	}
	blocked := func(v View) map[string]string {
		out := map[string]string{}
		for i := range v.Pods {
			if v.Pods[i].Blocks != "" {
				out[v.Pods[i].Name] = v.Pods[i].Blocks
			}
		}
		return out
	}
	w := newWorld(t, objects...)
	s := New(Options{Management: w, Workload: w, Namespace: testNamespace, ClusterName: testCluster})
	assert.Equal(t, map[string]string{"tight": "PodDisruptionBudget tight allows no disruption now"}, blocked(s.Observe(testTime)))

	// The pod has not changed, but its budget has.
	change(t, w, pdb("tight", 0, nil), func(b *policyv1.PodDisruptionBudget) { b.Status.DisruptionsAllowed = 1 })
	b := pdb("tight", 0, nil)
	require.NoError(t, w.Get(t.Context(), client.ObjectKeyFromObject(b), b))
	b.Status.DisruptionsAllowed = 1
	require.NoError(t, w.Status().Update(t.Context(), b))
	assert.Empty(t, blocked(s.Observe(testTime)))

	// Without the right to read budgets, every pod counts as held, and this is said.
	blind := interceptor.NewClient(w.WithWatch, interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			if _, ok := list.(*policyv1.PodDisruptionBudgetList); ok {
				return errors.New("forbidden")
			}
			return c.List(ctx, list, opts...)
		},
	})
	v := New(Options{Management: w, Workload: blind, Namespace: testNamespace, ClusterName: testCluster}).Observe(testTime)
	assert.Len(t, blocked(v), 4, "all but Ray's")
	got := sourceOf(t, v, planner.SourceWorkload)
	assert.True(t, got.Known)
	assert.Contains(t, got.Error, "listing PodDisruptionBudgets: forbidden: every pod that is not Ray's holds its node")
}

func writer(manager string, at time.Time, subresource string) metav1.ManagedFieldsEntry {
	return metav1.ManagedFieldsEntry{
		Manager: manager, Time: new(metav1.NewTime(at)), Subresource: subresource, Operation: metav1.ManagedFieldsOperationUpdate,
		FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:spec":{"f:replicas":{}}}`)},
	}
}

// TestContestedByAWriter: a person may set replicas; who does it after us again
// and again is a second writer.
// Fault 34: somebody else changes replicas.
func TestContestedByAWriter(t *testing.T) {
	t.Parallel()
	f := fights{map[string]*fight{}}
	seen := func(replicas int32, by string, at time.Time) string {
		md := deployment("a", replicas)
		md.ManagedFields = []metav1.ManagedFieldsEntry{writer("kubectl", testTime.Add(-time.Hour), ""), writer(by, at, "scale")}
		return f.watch(md, at)
	}
	at := testTime
	tick := func() time.Time { at = at.Add(time.Minute); return at }
	assert.Empty(t, seen(1, "gitops", tick()), "it was so before us")
	for range 2 {
		assert.Empty(t, seen(4, fieldOwner, tick()))
		assert.Empty(t, seen(1, "gitops", tick()))
		assert.Empty(t, seen(1, "gitops", tick()), "the same write is seen once")
	}
	assert.Empty(t, seen(4, fieldOwner, tick()))
	assert.Equal(t, `"gitops" has changed replicas 3 times after us within 1h0m0s`, seen(1, "gitops", tick()))
	assert.NotEmpty(t, seen(1, "gitops", at.Add(50*time.Minute)))
	assert.Empty(t, seen(1, "gitops", at.Add(2*time.Hour)), "it has given up")
}

func TestKeepReplicaWriters(t *testing.T) {
	t.Parallel()
	other := metav1.ManagedFieldsEntry{Manager: "capi", FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:metadata":{}}`)}}
	status := writer("capi", testTime, "status")
	md := deployment("a", 1)
	md.ManagedFields = []metav1.ManagedFieldsEntry{other, status, writer("kubectl", testTime, "")}
	got, err := KeepReplicaWriters()(md)
	require.NoError(t, err)
	assert.Len(t, got.(*clusterv1.MachineDeployment).ManagedFields, 1)
	m := machine("m", "a", "")
	m.ManagedFields = md.ManagedFields
	got, err = KeepReplicaWriters()(m)
	require.NoError(t, err)
	assert.Empty(t, got.(*clusterv1.Machine).ManagedFields)
	got, err = KeepReplicaWriters()("no object")
	require.NoError(t, err)
	assert.Equal(t, "no object", got)
}

func scalerStatus(at time.Time, status string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: scalerNamespace, Name: scalerConfigMap, Annotations: map[string]string{scalerUpdatedKey: at.Format(scalerTimeLayout)}},
		Data:       map[string]string{"status": status},
	}
}

// TestContestedByClusterAutoscaler: its taints and its status tell.
// Fault 56: a Cluster Autoscaler runs on the same groups.
func TestContestedByClusterAutoscaler(t *testing.T) {
	t.Parallel()
	taint := func(key, value string) func(*corev1.Node) {
		return func(n *corev1.Node) {
			n.Spec.Taints = []corev1.Taint{{Key: key, Value: value, Effect: corev1.TaintEffectPreferNoSchedule}}
		}
	}
	yamlStatus := "autoscalerStatus: Running\nnodeGroups:\n- name: MachineDeployment/pools/a\n  health:\n    status: Healthy\n"
	for name, c := range map[string]struct {
		objects []client.Object
		want    string
	}{
		"none":              {[]client.Object{node("n", nil)}, ""},
		"candidate":         {[]client.Object{node("n", nil, taint(scalerCandidateTaint, "1789999990"))}, "is about to remove Node n"},
		"to be deleted":     {[]client.Object{node("n", nil, taint(scalerDeletionTaint, "1789999990"))}, "is about to remove Node n"},
		"of long ago":       {[]client.Object{node("n", nil, taint(scalerCandidateTaint, "1789990000"))}, ""},
		"without a time":    {[]client.Object{node("n", nil, taint(scalerCandidateTaint, ""))}, "is about to remove Node n"},
		"another's node":    {[]client.Object{node("n", nil), node("x", nil, taint(scalerCandidateTaint, "1789999990"))}, ""},
		"status":            {[]client.Object{scalerStatus(testTime, yamlStatus)}, "a Cluster Autoscaler manages it"},
		"older status":      {[]client.Object{scalerStatus(testTime, "NodeGroups:\n  Name:        MachineDeployment/pools/a\n  Health: x")}, "a Cluster Autoscaler manages it"},
		"a dead one":        {[]client.Object{scalerStatus(testTime.Add(-time.Hour), yamlStatus)}, ""},
		"for other groups":  {[]client.Object{scalerStatus(testTime, "nodeGroups:\n- name: MachineDeployment/pools/b\n")}, ""},
		"of no clear age":   {[]client.Object{func() *corev1.ConfigMap { c := scalerStatus(testTime, yamlStatus); c.Annotations = nil; return c }()}, "a Cluster Autoscaler manages it"},
		"of another's kind": {[]client.Object{scalerStatus(testTime, "nodeGroups:\n- name: MachinePool/pools/a\n")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, append(c.objects, cluster(), deployment("a", 1), machineSet("a", "a", 1), machine("m", "a", "n"))...)
			s := New(Options{Management: w, Workload: w, Namespace: testNamespace, ClusterName: testCluster})
			s.scaler.read(t.Context(), w, s.o.Log)
			got := groupOf(t, s.Observe(testTime), "a").Contested
			if c.want == "" {
				assert.Empty(t, got)
				return
			}
			assert.Contains(t, got, c.want)
		})
	}
}

// TestScalerStatusUnreadable: without the right to read it, this is said.
func TestScalerStatusUnreadable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster())
	blind := interceptor.NewClient(w.WithWatch, interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return errors.New("forbidden")
		},
	})
	s := New(Options{Management: w, Workload: w, Namespace: testNamespace, ClusterName: testCluster})
	s.scaler.read(t.Context(), blind, s.o.Log)
	got := sourceOf(t, s.Observe(testTime), planner.SourceWorkload)
	assert.True(t, got.Known)
	assert.Contains(t, got.Error, "reading the status of a Cluster Autoscaler: forbidden")
}

// TestOnlyTheStateCounts: what is observed depends on what is there now, not on
// which events led to it, how often and in which order they were seen.
// Fault 41: events come twice, late, or not at all.
func TestOnlyTheStateCounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster(), deployment("a", 1), machineSet("a", "a", 1), machine("m", "a", "n"), node("n", amounts("cpu", "4")))
	o := Options{Management: w, Workload: w, Namespace: testNamespace, ClusterName: testCluster}
	sees := New(o)
	for _, step := range []func(){
		func() { require.NoError(t, w.Create(t.Context(), pod("p", ""))) },
		func() { change(t, w, pod("p", ""), func(p *corev1.Pod) { p.Spec.NodeName = "n" }) },
		func() { change(t, w, node("n", nil), cordoned) },
		func() { require.NoError(t, w.Delete(t.Context(), pod("p", ""))) },
		func() {
			require.NoError(t, w.Create(t.Context(), pod("p", "n", func(p *corev1.Pod) { p.UID = "other" })))
		},
		func() { change(t, w, node("n", nil), func(n *corev1.Node) { n.Spec.Taints = nil }) },
		func() { change(t, w, machine("m", "a", ""), withHook) },
	} {
		step()
		first := sees.Observe(testTime)
		assert.Equal(t, first, sees.Observe(testTime), "seen twice")
		assert.Equal(t, New(o).Observe(testTime), first, "seen for the first time")
	}
}
