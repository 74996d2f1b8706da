package capi

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// TestStaleCache: a cache that has not seen our own write, or falls back behind
// it, is not believed; each kind that is written is looked at.
// Fault 38: the cache lags behind our own last write.
func TestStaleCache(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		source planner.SourceKind
		write  func(*testing.T, *Actuator)
	}{
		"scale": {planner.SourceManagement, func(t *testing.T, a *Actuator) {
			t.Helper()
			require.NoError(t, a.Scale(t.Context(), grow(1, 3), testPlan))
		}},
		"note": {planner.SourceManagement, func(t *testing.T, a *Actuator) {
			t.Helper()
			require.NoError(t, a.Remember(t.Context(), planner.Step{Group: testNamespace + "/a", Backoffs: []planner.Backoff{{Why: "x"}}}, testPlan))
		}},
		"hook": {planner.SourceManagement, func(t *testing.T, a *Actuator) {
			t.Helper()
			require.NoError(t, a.Hook(t.Context(), hookStep(planner.StepHook, "m"), testPlan))
		}},
		"cordon": {planner.SourceWorkload, func(t *testing.T, a *Actuator) {
			t.Helper()
			require.NoError(t, a.Cordon(t.Context(), cordonStep("n"), testPlan, testTime))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects := func() []client.Object {
				return []client.Object{cluster(), deployment("a", 1), machineSet("a", "a", 1), machine("m", "a", "n"), node("n", amounts("cpu", "4"))}
			}
			live, lagging := newWorld(t, objects()...), newWorld(t, objects()...)
			var caughtUp atomic.Bool
			cache := interceptor.NewClient(lagging.WithWatch, interceptor.Funcs{
				List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
					if caughtUp.Load() {
						return live.List(ctx, list, opts...)
					}
					return c.List(ctx, list, opts...)
				},
			})
			writes := NewWrites()
			s := New(Options{Management: cache, Workload: cache, Namespace: testNamespace, ClusterName: testCluster, Writes: writes})
			require.True(t, sourceOf(t, s.Observe(testTime), c.source).Known)

			a := NewActuator(ActuatorOptions{Management: live, Workload: live, Namespace: testNamespace, ClusterName: testCluster, Wrote: writes.Note})
			c.write(t, a)
			v := s.Observe(testTime.Add(time.Second))
			got := sourceOf(t, v, c.source)
			assert.False(t, got.Known)
			assert.Contains(t, got.Error, "the cache is older than our own last write to")
			assert.Equal(t, planner.Duration(time.Second), got.Age)
			assert.Len(t, v.NodeGroups, 1)

			caughtUp.Store(true)
			assert.True(t, sourceOf(t, s.Observe(testTime), c.source).Known)
			caughtUp.Store(false)
			assert.False(t, sourceOf(t, s.Observe(testTime), c.source).Known, "it has fallen back")
		})
	}
}

func TestWrites(t *testing.T) {
	t.Parallel()
	w := NewWrites()
	at := func(version string) *corev1.Node {
		n := node("n", nil)
		n.ResourceVersion = version
		return n
	}
	require.NoError(t, w.behind(at("1")))
	w.Note(at("10"))
	w.Note(at("9"))
	require.Error(t, w.behind(at("9")))
	require.NoError(t, w.behind(at("10")))
	require.NoError(t, w.behind(at("11")))
	require.NoError(t, w.behind(at("odd")), "a version that is no number tells nothing")
	namesake := at("2")
	namesake.UID = "new"
	require.NoError(t, w.behind(namesake))
	require.NoError(t, (*Writes)(nil).behind(at("1")))
}

// TestEmptyListIsAsked: a list that has become empty counts as unknown until the
// API server says the same.
// Fault 39: a cache is empty all at once.
func TestEmptyListIsAsked(t *testing.T) {
	t.Parallel()
	var blank atomic.Bool
	w := newWorld(t, cluster(), deployment("a", 1), machineSet("a", "a", 1), machine("m", "a", "n"), node("n", amounts("cpu", "4")), pod("p", "n"))
	cache := interceptor.NewClient(w.WithWatch, interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			if blank.Load() {
				return nil
			}
			return c.List(ctx, list, opts...)
		},
	})
	changed := make(chan struct{}, 100)
	s := New(Options{
		Management: cache, Workload: cache, Namespace: testNamespace, ClusterName: testCluster, WorkloadLive: w,
		Templates: w, Mapper: w.RESTMapper(), Changed: func() { changed <- struct{}{} },
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-done) })
	known := func() [2]bool {
		v := s.Observe(testTime)
		return [2]bool{sourceOf(t, v, planner.SourceManagement).Known, sourceOf(t, v, planner.SourceWorkload).Known}
	}
	require.Equal(t, [2]bool{true, true}, known())

	blank.Store(true)
	v := s.Observe(testTime)
	assert.False(t, sourceOf(t, v, planner.SourceManagement).Known)
	assert.Contains(t, sourceOf(t, v, planner.SourceWorkload).Error, "the cache lists no Nodes, and it did before")
	assert.Len(t, v.Nodes, 1, "what was last seen")
	<-changed
	<-changed
	assert.Equal(t, [2]bool{false, false}, known(), "the API server still has them")

	// Now they are gone indeed.
	for _, o := range []client.Object{deployment("a", 0), machineSet("a", "a", 0), machine("m", "a", ""), node("n", nil), pod("p", "")} {
		require.NoError(t, w.Delete(t.Context(), o))
	}
	require.Eventually(t, func() bool { return known() == [2]bool{true, true} }, 30*time.Second, 10*time.Millisecond)
	assert.Empty(t, s.Observe(testTime).Nodes)
	assert.Empty(t, s.Observe(testTime).NodeGroups)
}

// TestDoubts: an entry that comes back ends the doubt, and the next emptiness is
// doubted again.
func TestDoubts(t *testing.T) {
	t.Parallel()
	d := newDoubts()
	list := &clusterv1.MachineList{}
	require.NoError(t, d.believe("x", 0, list), "it never had any")
	require.NoError(t, d.believe("x", 1, list))
	require.Error(t, d.believe("x", 0, list))
	d.settle("x", false)
	require.Error(t, d.believe("x", 0, list))
	require.NoError(t, d.believe("x", 1, list))
	d.settle("x", true)
	require.Error(t, d.believe("x", 0, list), "the answer was to an older question")
	d.settle("x", true)
	require.NoError(t, d.believe("x", 0, list))
	require.NoError(t, d.believe("x", 0, list))
}
