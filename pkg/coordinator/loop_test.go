package coordinator_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tandem-autoscaler/tandem/pkg/coordinator"
	"github.com/tandem-autoscaler/tandem/pkg/metrics"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is one NodeGroup and one pod that wants a node, with writes that can be
// made to fail. It is as strict as an API server about what a step was planned
// from.
type world struct {
	replicas int64
	fail     error
	unknown  bool
	since    time.Time
	taken    []planner.Step
	ticks    []metrics.Tick
}

func (w *world) Observe(_ time.Time, s *planner.Snapshot) {
	s.Sources = []planner.Source{{Kind: planner.SourceManagement, Known: !w.unknown}}
	s.NodeGroups = []planner.NodeGroup{{
		Namespace: "ns", Name: "cpu", UID: "g", Managed: true, Max: 5, Replicas: w.replicas, Capacity: planner.Resources{planner.ResourceCPU: 4000},
	}}
	s.RayClusters = []planner.RayCluster{{Namespace: "ml", Name: "r", Mode: planner.ModeFollow, DemandKnown: true, DemandSince: w.since}}
	s.Pods = []planner.Pod{{Namespace: "ml", Name: "p", Unschedulable: true, Shape: planner.PodShape{Requests: planner.Resources{planner.ResourceCPU: 1000}}}}
}

func (w *world) Take(_ context.Context, _ planner.Plan, step planner.Step) error {
	if w.fail != nil {
		return w.fail
	}
	if step.From != w.replicas {
		return fmt.Errorf("%w: %d replicas, planned from %d", coordinator.ErrRefused, w.replicas, step.From)
	}
	w.taken = append(w.taken, step)
	w.replicas = step.To
	return nil
}

func (w *world) Record(t metrics.Tick) { w.ticks = append(w.ticks, t) }

func (w *world) loop(change func(*coordinator.Options)) *coordinator.Loop {
	o := coordinator.Options{
		Observers: []coordinator.Observer{w}, Actuator: w, Recorder: w,
		Policy: func() planner.Policy { return planner.Policy{VacantHold: planner.Duration(time.Minute)} },
	}
	if change != nil {
		change(&o)
	}
	return coordinator.New(o)
}

func TestTickGrowsOnce(t *testing.T) {
	w := &world{}
	l := w.loop(nil)
	assert.False(t, l.Tick(t.Context()))
	assert.False(t, l.Tick(t.Context()))
	require.Len(t, w.taken, 1, "the second tick sees the Machine on its way")
	assert.Equal(t, int64(1), w.replicas)
	require.Len(t, w.ticks, 2)
	assert.Equal(t, metrics.Done, w.ticks[0].Results[0].Outcome)
	assert.True(t, w.ticks[0].SafeToAct)
	assert.Empty(t, w.ticks[1].Results)
}

func TestGrowthTellsHowLongItsDemandWaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{since: time.Now()}
		time.Sleep(700 * time.Millisecond)
		w.loop(nil).Tick(t.Context())
		require.Len(t, w.ticks[0].Results, 1)
		assert.Equal(t, 700*time.Millisecond, w.ticks[0].Results[0].Waited)
	})
}

func TestTickOutcomes(t *testing.T) {
	for name, c := range map[string]struct {
		fail    error
		unknown bool
		dryRun  bool
		want    []metrics.Outcome
		soon    bool
	}{
		"refused":        {fail: fmt.Errorf("%w: moved", coordinator.ErrRefused), want: []metrics.Outcome{metrics.Refused}, soon: true},
		"failed":         {fail: errors.New("API server is down"), want: []metrics.Outcome{metrics.Failed}, soon: true},
		"dry run":        {dryRun: true, want: []metrics.Outcome{metrics.DryRun}},
		"source unknown": {unknown: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{fail: c.fail, unknown: c.unknown}
			soon := w.loop(func(o *coordinator.Options) { o.DryRun = c.dryRun }).Tick(t.Context())
			assert.Equal(t, c.soon, soon)
			assert.Zero(t, w.replicas, "nothing is written")
			got := make([]metrics.Outcome, 0, len(w.ticks[0].Results))
			for _, r := range w.ticks[0].Results {
				got = append(got, r.Outcome)
			}
			assert.ElementsMatch(t, c.want, got)
			assert.Equal(t, !c.unknown, w.ticks[0].SafeToAct)
		})
	}
}

func TestTickStopsWhenTheLeaseIsLost(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := &world{}
	w.loop(nil).Tick(ctx)
	assert.Empty(t, w.taken)
	assert.Equal(t, metrics.Failed, w.ticks[0].Results[0].Outcome)
}

func TestRunTicksOnIntervalAndOnEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		wake := make(chan struct{}, 1)
		ready := errors.New("caches are not synced")
		l := w.loop(func(o *coordinator.Options) {
			o.Interval, o.Wake, o.Ready = time.Minute, wake, func() error { return ready }
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()

		time.Sleep(5 * time.Second)
		synctest.Wait()
		require.Empty(t, w.ticks, "nothing is planned before every source was read once")

		ready = nil
		time.Sleep(time.Second)
		synctest.Wait()
		require.Len(t, w.ticks, 1)

		time.Sleep(time.Minute)
		synctest.Wait()
		require.Len(t, w.ticks, 2, "the interval has passed")

		for range 10 { // a burst of events becomes one tick, or two
			select {
			case wake <- struct{}{}:
			default:
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
		assert.InDelta(t, 3, len(w.ticks), 1)
		assert.Less(t, time.Since(l.LastTick()), 2*time.Second)
		cancel()
		require.NoError(t, <-done)
	})
}

func TestRunComesBackSoonAfterARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{fail: fmt.Errorf("%w: moved", coordinator.ErrRefused)}
		l := w.loop(func(o *coordinator.Options) { o.Interval = time.Hour })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		assert.Greater(t, len(w.ticks), 3, "it does not wait for the interval")
		assert.Less(t, len(w.ticks), 30, "and does not spin")
		cancel()
		require.NoError(t, <-done)
	})
}
