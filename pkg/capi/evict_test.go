package capi

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

func evictStep(names ...string) planner.Step {
	s := planner.Step{Kind: planner.StepEvict, Node: "n", NodeUID: "n-n"}
	for _, name := range names {
		s.Pods = append(s.Pods, planner.PodRef{Namespace: "jobs", Name: name, UID: "p-" + name})
	}
	return s
}

func exists(t *testing.T, w *world, name string) bool {
	t.Helper()
	err := w.Get(t.Context(), client.ObjectKey{Namespace: "jobs", Name: name}, &corev1.Pod{})
	if err != nil {
		require.True(t, apierrors.IsNotFound(err), err)
	}
	return err == nil
}

func TestEvict(t *testing.T) {
	t.Parallel()
	owned := controlledBy("apps/v1", "ReplicaSet", "web")
	w := newWorld(t, node("n", nil, cordoned), pod("a", "n", owned), pod("b", "n", owned), pod("kept", "n", owned))
	require.NoError(t, w.actuator().Evict(t.Context(), evictStep("a", "b", "gone"), testPlan))
	assert.False(t, exists(t, w, "a"))
	assert.False(t, exists(t, w, "b"))
	assert.True(t, exists(t, w, "kept"))
	require.NoError(t, w.actuator().Evict(t.Context(), evictStep("a", "b", "gone"), testPlan), "again")
	assert.Equal(t, []string{"eviction a", "eviction b"}, w.writes)
}

// Fault 22: a pod that must not be disturbed is not evicted, whatever the plan was.
func TestEvictRefuses(t *testing.T) {
	t.Parallel()
	owned := controlledBy("apps/v1", "ReplicaSet", "web")
	for name, c := range map[string]struct {
		node *corev1.Node
		pod  *corev1.Pod
		step planner.Step
		want string
	}{
		"no cordon":      {node("n", nil), pod("a", "n", owned), evictStep("a"), "does not carry our cordon"},
		"another node":   {node("n", nil, cordoned), pod("a", "n", owned), planner.Step{Node: "n", NodeUID: "old", Pods: evictStep("a").Pods}, "is another one now"},
		"Ray's":          {node("n", nil, cordoned), pod("a", "n", rayPod), evictStep("a"), "is Ray's"},
		"elsewhere":      {node("n", nil, cordoned), pod("a", "m", owned), evictStep("a"), "is not on Node n"},
		"a daemon":       {node("n", nil, cordoned), pod("a", "n", controlledBy("apps/v1", "DaemonSet", "d")), evictStep("a"), "belongs to its Node"},
		"no controller":  {node("n", nil, cordoned), pod("a", "n"), evictStep("a"), "no controller"},
		"do-not-disrupt": {node("n", nil, cordoned), pod("a", "n", owned, noted(annotationDoNotDisrupt, "true")), evictStep("a"), "must not be disturbed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.node, c.pod)
			err := w.actuator().Evict(t.Context(), c.step, testPlan)
			require.ErrorIs(t, err, ErrMoved)
			require.ErrorContains(t, err, c.want)
			assert.Empty(t, w.writes)
			assert.True(t, exists(t, w, "a"))
		})
	}
	w := newWorld(t, node("n", nil, cordoned), pod("a", "n", owned), pod("going", "n", owned, terminating))
	require.NoError(t, w.actuator().Evict(t.Context(), planner.Step{Node: "n", NodeUID: "n-n", Pods: []planner.PodRef{{Namespace: "jobs", Name: "a", UID: "old"}}}, testPlan), "a namesake is another pod")
	assert.Empty(t, w.writes)
	require.ErrorContains(t, w.actuator().Evict(t.Context(), planner.Step{Node: "n", NodeUID: "n-n", Pods: []planner.PodRef{{Namespace: "jobs", Name: "a"}}}, testPlan), "does not name its UID")
}

// Fault 23: a disruption budget holds a pod: never forced, and the others go on.
func TestEvictHoldsBudgets(t *testing.T) {
	t.Parallel()
	owned := controlledBy("apps/v1", "ReplicaSet", "web")
	w := newWorld(t, node("n", nil, cordoned), pod("a", "n", owned), pod("b", "n", owned))
	w.budget = func(p *corev1.Pod) bool { return p.Name == "a" }
	err := w.actuator().Evict(t.Context(), evictStep("a", "b"), testPlan)
	require.ErrorIs(t, err, ErrMoved)
	require.ErrorContains(t, err, "a disruption budget holds pod jobs/a")
	assert.True(t, exists(t, w, "a"))
	assert.False(t, exists(t, w, "b"))

	// A server that is only busy says nothing about budgets.
	w.onWrite = func(int, string) error { return apierrors.NewTooManyRequests("slow down", 1) }
	err = w.actuator().Evict(t.Context(), evictStep("a"), testPlan)
	require.Error(t, err)
	require.NotErrorIs(t, err, ErrMoved)
}

// Fault 20: what changes between the check and the eviction makes the API server
// refuse it.
func TestEvictLosesTheRace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, node("n", nil, cordoned), pod("a", "n", controlledBy("apps/v1", "ReplicaSet", "web")))
	w.onWrite = func(int, string) error {
		w.onWrite = nil
		change(t, w, pod("a", ""), noted(annotationDoNotDisrupt, "true"))
		return nil
	}
	require.ErrorIs(t, w.actuator().Evict(t.Context(), evictStep("a"), testPlan), ErrMoved)
	assert.True(t, exists(t, w, "a"))
}

// Fault 37: nobody knows whether the eviction happened.
func TestEvictOutcomeUnknown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, node("n", nil, cordoned), pod("a", "n", controlledBy("apps/v1", "ReplicaSet", "web")))
	broken := errors.New("connection reset")
	w.afterWrite = func(int, string) error { return broken }
	require.ErrorIs(t, w.actuator().Evict(t.Context(), evictStep("a"), testPlan), broken)
	require.NoError(t, w.actuator().Evict(t.Context(), evictStep("a"), testPlan))
	assert.Len(t, w.writes, 1)
}
