package demand_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tandem-autoscaler/tandem/pkg/demand"
	"github.com/tandem-autoscaler/tandem/pkg/demand/gcs/autoscalerpb"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// Fault 55: the object says that Ray's own autoscaler is off, and it still runs in
// the head pod.
func TestSourceFindsALiveAutoscalerInTheHeadPod(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		head := pod("a", "a-head", "head", "10.0.0.1")
		head.Spec.Containers = []corev1.Container{{Name: "ray-head"}, {Name: "autoscaler"}}
		w := newWorld(t, demand.Options{DefaultMode: "lead"}, named(t, "a", leadSpec), head)
		w.serve("10.0.0.1:6379", cpus(3))
		w.run(t)
		time.Sleep(2 * time.Second)
		assert.Contains(t, w.only(t).Invalid, "still runs in head pod a-head")
		assert.Len(t, w.view().Sources, 1, "its demand is not waited for")

		require.NoError(t, w.Delete(t.Context(), head))
		again := pod("a", "again", "head", "10.0.0.1")
		again.Spec.Containers = []corev1.Container{{Name: "ray-head"}, {Name: "autoscaler", Env: []corev1.EnvVar{{Name: "AUTOSCALER_UPDATE_INTERVAL_S", Value: "2147483647"}}}}
		require.NoError(t, w.Create(t.Context(), again))
		time.Sleep(8 * time.Second)
		assert.Empty(t, w.only(t).Invalid)
		assert.True(t, w.only(t).DemandKnown)
	})
}

func TestSourceRefusesASecondWriter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, demand.Options{DefaultMode: "lead"}, named(t, "a", leadSpec), pod("a", "a-head", "head", "10.0.0.1"))
		w.serve("10.0.0.1:6379", cpus(3))
		w.run(t)
		write := func(manager string, replicas int64) {
			t.Helper()
			u := named(t, "a", "{}")
			require.NoError(t, w.Get(t.Context(), client.ObjectKeyFromObject(u), u))
			groups, _, err := unstructured.NestedSlice(u.Object, "spec", "workerGroupSpecs")
			require.NoError(t, err)
			groups[1].(map[string]any)["replicas"] = replicas
			require.NoError(t, unstructured.SetNestedSlice(u.Object, groups, "spec", "workerGroupSpecs"))
			w.mu.Lock()
			w.manager = manager
			w.mu.Unlock()
			require.NoError(t, w.Update(t.Context(), u))
			time.Sleep(2 * time.Second)
		}
		time.Sleep(2 * time.Second)
		write("tandem-coordinator", 1)
		write("argocd", 2)
		write("argocd", 0)
		require.Empty(t, w.only(t).Invalid)
		write("argocd", 3)
		assert.Contains(t, w.only(t).Invalid, `another writer, "argocd"`)
		time.Sleep(11 * time.Minute)
		assert.Empty(t, w.only(t).Invalid, "it has been silent")
	})
}

// Fault 11: the RayCluster is deleted and made anew under its name: what was known
// of the former one is void, its pods included.
func TestNothingIsJoinedAcrossNamesakes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first := named(t, "a", leadSpec)
		old := pod("a", "w1", "worker", "10.0.0.2")
		w := newWorld(t, demand.Options{DefaultMode: "lead"}, first, pod("a", "a-head", "head", "10.0.0.1"), old)
		nodes := &state{NodeStates: []*autoscalerpb.NodeState{{NodeId: []byte{1}, InstanceId: "w1", Status: autoscalerpb.NodeStatus_IDLE, IdleDurationMs: 3600_000}}}
		w.serve("10.0.0.1:6379", nodes)
		w.run(t)
		time.Sleep(30 * time.Second)
		require.Equal(t, "uid-w1", w.only(t).RayNodes[0].PodUID)
		assert.InDelta(t, 30, time.Duration(w.only(t).RayNodes[0].IdleFor).Seconds(), 2, "idle since it is known")

		require.NoError(t, w.Delete(t.Context(), first))
		again := named(t, "a", leadSpec)
		again.SetUID("another")
		require.NoError(t, w.Create(t.Context(), again))
		head := pod("a", "b-head", "head", "10.0.0.3")
		head.OwnerReferences[0].UID = "another"
		require.NoError(t, w.Create(t.Context(), head))
		w.serve("10.0.0.3:6379", nodes)
		time.Sleep(10 * time.Second)
		c := w.only(t)
		require.True(t, c.DemandKnown)
		assert.Empty(t, c.RayNodes[0].PodUID, "the pod is the former cluster's")
		assert.Less(t, time.Duration(c.RayNodes[0].IdleFor), 11*time.Second, "and its idle time starts anew")
	})
}

// Clusters that suspend or delete themselves when no driver was there for a while
// are taken as they are.
func TestClustersThatEndThemselves(t *testing.T) {
	t.Parallel()
	u := object(t, leadSpec+"idleTerminationOptions: {timeoutSeconds: 60, policy: Suspend}\n")
	assert.False(t, demand.RayCluster(u, "lead").Suspended)
	assert.Empty(t, demand.RayCluster(u, "lead").Invalid)
	require.NoError(t, unstructured.SetNestedField(u.Object, true, "spec", "idleSuspend"))
	assert.True(t, demand.RayCluster(u, "lead").Suspended)
	require.NoError(t, unstructured.SetNestedField(u.Object, false, "spec", "idleSuspend"))
	now := metav1.Now()
	u.SetDeletionTimestamp(&now)
	u.SetFinalizers([]string{"ray.io/idle-termination-cleanup-finalizer"})
	assert.True(t, demand.RayCluster(u, "lead").Suspended)
}

// A Ray node that was resized in place offers what it says, not what its group's
// template says.
func TestRayNodesKeepTheirOwnSize(t *testing.T) {
	t.Parallel()
	s := demand.Convert(&state{NodeStates: []*autoscalerpb.NodeState{{
		NodeId: []byte{1}, InstanceId: "w1", RayNodeTypeName: "cpu", Status: autoscalerpb.NodeStatus_RUNNING,
		TotalResources: map[string]float64{"CPU": 6}, AvailableResources: map[string]float64{"CPU": 2},
	}}}, demand.DefaultLimits())
	assert.Equal(t, planner.Resources{"CPU": 6000}, s.RayNodes[0].Total)
	assert.Equal(t, planner.Resources{"CPU": 2000}, s.RayNodes[0].Available)
}

// Fault 16: request_resources was called once and never taken back.
func TestConstraintsExpire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, demand.Options{ConstraintTTL: time.Hour}, named(t, "a", liveSpec), pod("a", "a-head", "head", "10.0.0.1"))
		asked := func(n int64) *state {
			return &state{ClusterSessionName: "s", ClusterResourceConstraints: []*autoscalerpb.ClusterResourceConstraint{{ResourceRequests: []*byCount{want(n, amounts{"CPU": 1})}}}}
		}
		s := w.serve("10.0.0.1:6379", asked(4))
		w.run(t)
		time.Sleep(59 * time.Minute)
		require.Len(t, w.only(t).Constraints, 1)
		time.Sleep(2 * time.Minute)
		c := w.only(t)
		assert.Empty(t, c.Constraints)
		require.Len(t, c.Rejected, 1)
		assert.Contains(t, c.Rejected[0].Why, "expired")
		s.set(func(s *server) { s.state = asked(5) })
		time.Sleep(5 * time.Second)
		assert.Len(t, w.only(t).Constraints, 1, "another call counts anew")
	})
}
