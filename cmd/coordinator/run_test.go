package main

import (
	"context"
	"math"
	"os"
	"runtime/debug"
	"testing"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/tandem-autoscaler/tandem/pkg/config"
	"github.com/tandem-autoscaler/tandem/pkg/demand"
)

// Fault 59: the container has a memory limit: the runtime keeps below it.
func TestTheMemoryLimitIsThatOfTheContainer(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	t.Setenv("GOMEMLIMIT", "")
	require.NoError(t, os.Unsetenv("GOMEMLIMIT"))
	limitMemory(zap.NewNop(), memlimit.Limit(1000<<20))
	assert.Equal(t, int64(900<<20), debug.SetMemoryLimit(-1))

	debug.SetMemoryLimit(math.MaxInt64)
	limitMemory(zap.NewNop(), func() (uint64, error) { return 0, memlimit.ErrNoLimit })
	assert.Equal(t, int64(math.MaxInt64), debug.SetMemoryLimit(-1), "no limit, none set")
}

func TestALeaseThatIsNotHeldIsNoLeave(t *testing.T) {
	l := newLease(config.Default().LeaderElection, zap.NewNop())
	require.ErrorContains(t, l.gate(t.Context()), "not held")
	off := config.Default().LeaderElection
	off.Enabled = false
	alone := newLease(off, zap.NewNop())
	require.NoError(t, alone.gate(t.Context()))
	worked := false
	require.NoError(t, alone.run(t.Context(), nil, "x", func(context.Context) error { worked = true; return nil }))
	assert.True(t, worked)
}

func TestBootTimesAreWhatWasSeen(t *testing.T) {
	s := &sources{deadline: 15 * time.Minute}
	assert.Equal(t, 15*time.Minute, s.bootTime())
	seen := time.Duration(0)
	s.booted(func() time.Duration { return seen })
	assert.Equal(t, 15*time.Minute, s.bootTime(), "nothing has come up yet")
	seen = 4 * time.Minute
	assert.Equal(t, 4*time.Minute, s.bootTime())
}

func TestOnlyRayClustersKeepTheirManagers(t *testing.T) {
	for kind, kept := range map[string]bool{"ray.io/v1 RayCluster": true, "v1 Pod": false} {
		u := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"managedFields": []any{map[string]any{"manager": "x"}}}}}
		u.SetAPIVersion("v1")
		u.SetKind("Pod")
		if kept {
			u.SetGroupVersionKind(demand.RayClusterKind())
		}
		out, err := keepManagers(u)
		require.NoError(t, err)
		assert.Equal(t, kept, len(out.(*unstructured.Unstructured).GetManagedFields()) > 0, kind)
	}
}
