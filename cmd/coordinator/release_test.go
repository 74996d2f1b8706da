package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/tandem-autoscaler/tandem/pkg/capi"
	"github.com/tandem-autoscaler/tandem/pkg/config"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

func TestWhatWasReleasedIsTold(t *testing.T) {
	list := []capi.Released{
		{Kind: "Node", Name: "n1", Marker: planner.CordonTaint},
		{Kind: "Machine", Name: "ns/m", Marker: capi.HookAnnotation, Warning: "it is being deleted"},
		{Kind: "Machine", Name: "ns/k", Marker: capi.HookAnnotation, Err: errors.New("etcd is full")},
	}
	text := func(format string, list []capi.Released, dryRun bool) string {
		var b strings.Builder
		require.NoError(t, printReleased(&b, format, list, dryRun))
		return b.String()
	}
	table := text("table", list, false)
	assert.Contains(t, table, "released; it is being deleted")
	assert.Contains(t, table, "etcd is full")
	assert.Contains(t, text("table", list[:1], true), "would be released")
	assert.Contains(t, text("table", nil, false), "no object carries a mark")
	var got []released
	require.NoError(t, json.Unmarshal([]byte(text("json", list, false)), &got))
	assert.Equal(t, []bool{true, true, false}, []bool{got[0].Done, got[1].Done, got[2].Done})
	require.NoError(t, json.Unmarshal([]byte(text("json", list, true)), &got))
	assert.False(t, got[0].Done)
	assert.Equal(t, "[]\n", text("json", nil, false), "an empty list, not nothing")
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
	with := func(objects ...client.Object) error {
		scheme, err := newScheme()
		require.NoError(t, err)
		return stopped(t.Context(), fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build(), config.Default().LeaderElection, now)
	}
	require.NoError(t, with())
	require.NoError(t, with(lease("", now)), "released")
	require.NoError(t, with(lease("pod-1", now.Add(-time.Minute))), "expired")
	require.ErrorContains(t, with(lease("pod-1", now.Add(-time.Second))), `coordinator "pod-1" holds the lease`)
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
