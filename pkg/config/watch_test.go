package config

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// Fault 57: a changed file with an unknown key: the old configuration goes on, and
// whoever listens is told once.
func TestABadFileChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "config.yaml")
		write := func(text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o600)) }
		write(head + "growth: {maxPerTick: 3}\n")
		c, err := Load(path)
		require.NoError(t, err)
		var told []error
		var restarts [][]string
		w := NewWatcher(path, c, WatchOptions{Reloaded: func(err error, restart []string) {
			told, restarts = append(told, err), append(restarts, restart)
		}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Run(ctx) }()
		after := func(d time.Duration) { time.Sleep(d); synctest.Wait() }

		after(time.Minute)
		assert.Empty(t, told, "nothing has changed")

		write(head + "growth: {maxPerTic: 4}\n")
		after(time.Minute)
		require.Len(t, told, 1, "told once, not at every look")
		var p *Problem
		require.ErrorAs(t, told[0], &p)
		assert.Equal(t, "growth.maxPerTic", p.Path)
		assert.Equal(t, c, w.Current())

		require.NoError(t, os.Remove(path))
		after(time.Minute)
		require.Len(t, told, 2)
		require.ErrorIs(t, told[1], os.ErrNotExist)
		assert.Equal(t, c, w.Current())

		write(head + "growth: {maxPerTick: 5}\nloop: {paused: true, interval: 9s}\n")
		after(6 * time.Second)
		require.Len(t, told, 3)
		require.NoError(t, told[2])
		assert.Equal(t, []string{"loop"}, restarts[2], "the interval waits for a restart")
		got := w.Current()
		assert.EqualValues(t, 5, got.Growth.MaxPerTick)
		assert.True(t, got.Loop.Paused)
		assert.Equal(t, c.Loop.Interval, got.Loop.Interval)
		cancel()
		require.NoError(t, <-done)
	})
}

func TestPolicyOfTheNewSettings(t *testing.T) {
	c, err := Parse([]byte(head+`
loop: {paused: true}
growth: {maxPerHour: 7, maxPerGroup: 2, maxAttempts: 0, fairShare: false, gpuNodeFee: "0.25"}
removal: {maxPerHour: 9, maxPerTick: 0, softTaints: false, hooks: false, maxUnreadyPercent: 30, okUnready: 1, demandHold: 0s, drainDeadline: 2m, unreachableRelease: 3m}
tenants: [{namespace: team-a, maxMachines: 4, maxGPUs: 8, priority: 5, weight: 3}, {namespace: "*", maxGPUs: 1}]
`), "f")
	require.NoError(t, err)
	p := c.Policy()
	assert.True(t, p.Paused)
	assert.Contains(t, p.PausedBy, "loop.paused")
	assert.Equal(t, []int64{7, 2, 0, 9, 0, 30, 1}, []int64{p.MaxGrowPerHour, p.MaxGrowPerGroup, p.MaxAttempts, p.MaxRemovePerHour, p.MaxRemovePerTick, p.MaxUnreadyPercent, p.OKUnready})
	assert.False(t, p.SoftTaints || p.Hooks)
	assert.True(t, p.FairShareDisabled)
	assert.Equal(t, int64(250_000), *p.GPUNodeFee)
	assert.Equal(t, []time.Duration{0, 2 * time.Minute, 3 * time.Minute}, []time.Duration{time.Duration(p.DemandHold), time.Duration(p.DrainDeadline), time.Duration(p.UnreachableRelease)})
	assert.Equal(t, []planner.TenantLimit{{Namespace: "team-a", MaxMachines: 4, MaxGPUs: 80000, Priority: 5, Weight: 3}, {MaxGPUs: 10000}}, p.TenantLimits)

	byDefault := Default()
	p = byDefault.Policy()
	assert.Nil(t, p.GPUNodeFee, "nodes with GPUs are kept for GPU demand")
	assert.True(t, p.SoftTaints && p.Hooks && !p.Paused && !p.RemovalDisabled && !p.FairShareDisabled, "the safe ways are the defaults")
	assert.Equal(t, []int64{45, 3, 10}, []int64{p.MaxUnreadyPercent, p.OKUnready, p.MaxRemovePerTick})
}
