package kube

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
)

// TestOptional: a kind that may be missing does not make the cluster unhealthy,
// and whoever reads it is told at once.
func TestOptional(t *testing.T) {
	t.Parallel()
	c := &Cluster{o: ClusterOptions{Name: "workload", Scheme: clientgoscheme.Scheme}, missing: map[string]error{}, optional: map[string]error{}}
	r := reader{fake.NewClientBuilder().Build(), c}
	no := errors.New("forbidden")
	budgets := Optional(&policyv1.PodDisruptionBudget{})
	c.setMissing(budgets, no)
	require.NoError(t, c.Health())
	require.ErrorIs(t, r.List(t.Context(), &policyv1.PodDisruptionBudgetList{}), no)
	require.NoError(t, r.List(t.Context(), &corev1.PodList{}))

	c.setMissing(&corev1.Pod{}, no)
	require.ErrorIs(t, c.Health(), no)
	require.ErrorIs(t, r.List(t.Context(), &corev1.PodList{}), no)
	c.setMissing(&corev1.Pod{}, nil)
	c.setMissing(budgets, nil)
	require.NoError(t, c.Health())
	require.NoError(t, r.List(t.Context(), &policyv1.PodDisruptionBudgetList{}))
	assert.IsType(t, &policyv1.PodDisruptionBudget{}, Required(budgets))
}
