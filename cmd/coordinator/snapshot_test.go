package main

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

func TestSnapshotWaitsForItsSources(t *testing.T) {
	source := func(known bool, trouble string) planner.Snapshot {
		return planner.Snapshot{Sources: []planner.Source{{Kind: planner.SourceManagement, Known: known, Error: trouble}}}
	}
	for name, c := range map[string]struct {
		observe func(elapsed time.Duration) planner.Snapshot
		want    time.Duration
	}{
		"all well":             {func(time.Duration) planner.Snapshot { return source(true, "") }, 0},
		"known after a second": {func(d time.Duration) planner.Snapshot { return source(d >= time.Second, "") }, time.Second},
		"trouble that goes away": {func(d time.Duration) planner.Snapshot {
			if d < 500*time.Millisecond {
				return source(true, "not read yet")
			}
			return source(true, "")
		}, 500 * time.Millisecond},
		"trouble that stays": {func(time.Duration) planner.Snapshot { return source(true, "min is above max") }, settleTime + 100*time.Millisecond},
		"never known":        {func(time.Duration) planner.Snapshot { return source(false, "down") }, 20 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				waitKnown(t.Context(), 20*time.Second, func() planner.Snapshot { return c.observe(time.Since(start)) })
				assert.Equal(t, c.want, time.Since(start))
			})
		})
	}
}
