package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/tandem-autoscaler/tandem/pkg/capi"
	"github.com/tandem-autoscaler/tandem/pkg/config"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// marked are objects with marks of ours and of others.
func marked() []client.Object {
	machine := func(name, cluster string, annotations map[string]string) *clusterv1.Machine {
		return &clusterv1.Machine{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, Annotations: annotations}, Spec: clusterv1.MachineSpec{ClusterName: cluster}}
	}
	return []client.Object{
		machine("hooked", "gpu", map[string]string{capi.HookAnnotation: "", "keep": "x"}),
		machine("marked", "gpu", map[string]string{capi.HookAnnotation: "", capi.DeleteMarkAnnotation: "p.1", clusterv1.DeleteMachineAnnotation: "yes"}),
		machine("theirs", "gpu", map[string]string{clusterv1.DeleteMachineAnnotation: "yes"}),
		machine("other", "elsewhere", map[string]string{capi.HookAnnotation: ""}),
		&clusterv1.MachineDeployment{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "g", Annotations: map[string]string{capi.BackoffAnnotation: "[]", capi.PausedAnnotation: "by hand"}}, Spec: clusterv1.MachineDeploymentSpec{ClusterName: "gpu"}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Spec: corev1.NodeSpec{Taints: []corev1.Taint{
			{Key: planner.CordonTaint, Value: "p.1", Effect: corev1.TaintEffectNoSchedule},
			{Key: "gpu", Effect: corev1.TaintEffectNoSchedule},
			{Key: planner.SoftTaintKey, Value: "p.1", Effect: corev1.TaintEffectPreferNoSchedule},
		}}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2"}},
	}
}

func newReleaser(t *testing.T, patch func() error, objects ...client.Object) *releaser {
	t.Helper()
	scheme, err := newScheme()
	require.NoError(t, err)
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithInterceptorFuncs(interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			if patch != nil {
				if err := patch(); err != nil {
					return err
				}
			}
			return c.Patch(ctx, o, p, opts...)
		},
	}).Build()
	conf := config.Default()
	conf.Management.Namespace, conf.Management.ClusterName = "ns", "gpu"
	return &releaser{management: c, workload: c, c: conf}
}

func all(t *testing.T, r *releaser) (marks []string) {
	t.Helper()
	var nodes corev1.NodeList
	var machines clusterv1.MachineList
	var groups clusterv1.MachineDeploymentList
	require.NoError(t, errors.Join(r.workload.List(t.Context(), &nodes), r.management.List(t.Context(), &machines), r.management.List(t.Context(), &groups)))
	for _, m := range machines.Items {
		for k := range m.Annotations {
			marks = append(marks, m.Name+" "+k)
		}
	}
	for _, g := range groups.Items {
		for k := range g.Annotations {
			marks = append(marks, g.Name+" "+k)
		}
	}
	for _, n := range nodes.Items {
		for _, taint := range n.Spec.Taints {
			marks = append(marks, n.Name+" "+taint.Key)
		}
	}
	return marks
}

// Fault 43: cordons, taints, annotations and hooks that were left behind.
func TestReleaseTakesEveryMarkOfOursAway(t *testing.T) {
	conflicts := 0
	r := newReleaser(t, func() error {
		conflicts++
		if conflicts%2 == 1 {
			return apierrors.NewConflict(schema.GroupResource{}, "x", errors.New("changed"))
		}
		return nil
	}, marked()...)
	r.dryRun = true
	before := all(t, r)
	list, err := r.run(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 7)
	assert.ElementsMatch(t, before, all(t, r), "a dry run writes nothing")
	assert.Zero(t, conflicts)

	r.dryRun, r.list = false, nil
	list, err = r.run(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 7)
	for _, e := range list {
		assert.True(t, e.Done, e)
	}
	assert.ElementsMatch(t, []string{
		"hooked keep", "theirs " + clusterv1.DeleteMachineAnnotation, "other " + capi.HookAnnotation, "g " + capi.PausedAnnotation, "n1 gpu",
	}, all(t, r), "marks of others, pauses and other clusters stay")

	r.list = nil
	list, err = r.run(t.Context())
	require.NoError(t, err)
	assert.Empty(t, list, "a second run finds nothing")
	var text strings.Builder
	require.NoError(t, printReleased(&text, "table", list, false))
	assert.Contains(t, text.String(), "no object carries a mark")
}

func TestReleaseGoesOnAfterAFailure(t *testing.T) {
	calls := 0
	r := newReleaser(t, func() error {
		calls++
		if calls == 1 {
			return errors.New("etcd is full")
		}
		return nil
	}, marked()...)
	list, err := r.run(t.Context())
	require.ErrorContains(t, err, "could not be taken off")
	require.Len(t, list, 7)
	assert.Contains(t, list[0].Error, "etcd is full")
	assert.True(t, list[6].Done)
	var text strings.Builder
	require.NoError(t, printReleased(&text, "json", list, false))
	assert.Contains(t, text.String(), `"error": "etcd is full"`)
}

func TestReleaseWaitsForTheCoordinatorToStop(t *testing.T) {
	now := time.Now()
	lease := func(holder string, renewed time.Time) *coordinationv1.Lease {
		at := metav1.NewMicroTime(renewed)
		return &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Namespace: "tandem-system", Name: "tandem-coordinator"},
			Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder, RenewTime: &at},
		}
	}
	require.NoError(t, newReleaser(t, nil).idle(t.Context(), now))
	require.NoError(t, newReleaser(t, nil, lease("", now)).idle(t.Context(), now), "released")
	require.NoError(t, newReleaser(t, nil, lease("pod-1", now.Add(-time.Minute))).idle(t.Context(), now), "expired")
	require.ErrorContains(t, newReleaser(t, nil, lease("pod-1", now.Add(-time.Second))).idle(t.Context(), now), `coordinator "pod-1" holds the lease`)
}

func TestPauseOnTheClusterHoldsEveryStep(t *testing.T) {
	scheme, err := newScheme()
	require.NoError(t, err)
	cluster := &clusterv1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "gpu"}}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(cluster).Build()
	gate := pausedBy(c, client.ObjectKeyFromObject(cluster))
	require.NoError(t, gate(t.Context()))
	cluster.Annotations = map[string]string{capi.PausedAnnotation: "upgrade till noon"}
	require.NoError(t, c.Update(t.Context(), cluster))
	require.ErrorContains(t, gate(t.Context()), "upgrade till noon")
	require.NoError(t, c.Delete(t.Context(), cluster))
	assert.Error(t, gate(t.Context()), "what cannot be read is no leave")
}
