package coordinator_test

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
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

func TestMain(m *testing.M) {
	debug.SetGCPercent(400) // most of the heap is garbage of short lives
	goleak.VerifyTestMain(m)
}

// world is one NodeGroup and one pod that wants a node, with writes that can be
// made to fail. It is as strict as an API server about what a step was planned
// from.
type world struct {
	replicas int64
	fail     error
	unknown  bool
	since    time.Time
	taken    []planner.Step
	mu       sync.Mutex
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

func (w *world) Record(t metrics.Tick) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ticks = append(w.ticks, t)
}

// recorded are the ticks of a loop that runs beside the test.
func (w *world) recorded() []metrics.Tick {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.ticks)
}

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
		"failed":         {fail: errors.New("API server is down"), want: []metrics.Outcome{metrics.Failed}},
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
		var synced atomic.Bool
		ready := func() error {
			if !synced.Load() {
				return errors.New("caches are not synced")
			}
			return nil
		}
		l := w.loop(func(o *coordinator.Options) { o.Interval, o.Wake, o.Ready = time.Minute, wake, ready })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()

		time.Sleep(5 * time.Second)
		synctest.Wait()
		require.Empty(t, w.recorded(), "nothing is planned before every source was read once")

		synced.Store(true)
		time.Sleep(time.Second)
		synctest.Wait()
		require.Len(t, w.recorded(), 1)

		time.Sleep(time.Minute)
		synctest.Wait()
		require.Len(t, w.recorded(), 2, "the interval has passed")

		for range 10 { // a burst of events becomes one tick, or two
			select {
			case wake <- struct{}{}:
			default:
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
		assert.InDelta(t, 3, len(w.recorded()), 1)
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
		assert.Greater(t, len(w.recorded()), 3, "it does not wait for the interval")
		assert.Less(t, len(w.recorded()), 30, "and does not spin")
		cancel()
		require.NoError(t, <-done)
	})
}

func TestPausedLoopTakesNoStep(t *testing.T) {
	w := &world{}
	l := w.loop(func(o *coordinator.Options) {
		o.Policy = func() planner.Policy { return planner.Policy{Paused: true, PausedBy: "a test"} }
	})
	assert.False(t, l.Tick(t.Context()), "it does not spin")
	assert.Zero(t, w.replicas)
	assert.False(t, w.ticks[0].SafeToAct)
	for _, r := range w.ticks[0].Results {
		assert.Equal(t, metrics.Refused, r.Outcome)
	}
}

// Fault 46: a tick overruns its interval: no second one begins, and the watchdog
// tells when it lasts too long.
func TestATickThatOverrunsNeverOverlaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		inside, most := 0, 0
		slow := coordinator.ObserverFunc(func(time.Time, *planner.Snapshot) {
			inside++
			most = max(most, inside)
			time.Sleep(40 * time.Second)
			inside--
		})
		wake := make(chan struct{}, 1)
		l := w.loop(func(o *coordinator.Options) {
			o.Interval, o.Wake = 5*time.Second, wake
			o.Observers = append(o.Observers, slow)
		})
		require.NoError(t, l.Live(time.Second), "a loop that does not run is not stuck")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		for range 30 {
			time.Sleep(3 * time.Second)
			select {
			case wake <- struct{}{}:
			default:
			}
		}
		synctest.Wait()
		assert.Equal(t, 1, most)
		assert.Len(t, w.recorded(), 2)
		require.NoError(t, l.Live(time.Minute))
		require.ErrorContains(t, l.Live(5*time.Second), "a round has been running for")
		cancel()
		require.NoError(t, <-done)
		require.NoError(t, l.Live(time.Nanosecond), "a loop that lost the lease is not stuck")
	})
}

func TestALoopWithoutSourcesIsAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		l := w.loop(func(o *coordinator.Options) { o.Ready = func() error { return errors.New("API server is down") } })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		time.Sleep(time.Hour)
		require.NoError(t, l.Live(time.Minute), "to restart it would mend nothing")
		assert.Empty(t, w.recorded())
		cancel()
		require.NoError(t, <-done)
	})
}

// Fault 45: the wall clock jumps, forward or back: timers start anew, and nothing
// is removed before its time.
func TestAClockJumpStartsTimersAnew(t *testing.T) {
	for name, jump := range map[string]time.Duration{"forward": 2 * time.Hour, "back": -2 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &vacant{}
				skew := time.Duration(0)
				l := coordinator.New(coordinator.Options{
					Observers: []coordinator.Observer{w}, Actuator: w, Recorder: w,
					Policy: func() planner.Policy { return planner.Policy{VacantHold: planner.Duration(time.Minute)} },
					Wall:   func() time.Time { return time.Now().Add(skew) },
				})
				tick := func() { l.Tick(t.Context()); time.Sleep(5 * time.Second) }
				tick()
				skew = jump
				began := time.Now()
				for w.cordoned.IsZero() && time.Since(began) < time.Hour {
					tick()
				}
				require.False(t, w.cordoned.IsZero(), "it is removed at last")
				assert.GreaterOrEqual(t, w.cordoned.Sub(began), time.Minute, "a whole hold after the jump")
				assert.Less(t, w.cordoned.Sub(began), 2*time.Minute)
			})
		})
	}
}

// vacant is one node that nothing needs.
type vacant struct {
	cordoned time.Time
}

func (v *vacant) Observe(_ time.Time, s *planner.Snapshot) {
	for _, k := range []planner.SourceKind{planner.SourceManagement, planner.SourceWorkload, planner.SourceRay} {
		s.Sources = append(s.Sources, planner.Source{Kind: k, Known: true})
	}
	size := planner.Resources{planner.ResourceCPU: 4000}
	s.NodeGroups = []planner.NodeGroup{{Namespace: "ns", Name: "cpu", UID: "g", Managed: true, Max: 5, Replicas: 1, Capacity: size}}
	s.Machines = []planner.Machine{{Namespace: "ns", Name: "m", UID: "m", Group: "ns/cpu", Node: "n", CreatedAt: s.At.Add(-24 * time.Hour), Hook: true}}
	n := planner.Node{Name: "n", UID: "n", Machine: "ns/m", Ready: true, Allocatable: size}
	if !v.cordoned.IsZero() {
		n.Cordon = &planner.Mark{PlanID: "p", At: s.At}
	}
	s.Nodes = []planner.Node{n}
}

func (v *vacant) Take(_ context.Context, _ planner.Plan, step planner.Step) error {
	if step.Kind == planner.StepCordon && v.cordoned.IsZero() {
		v.cordoned = time.Now()
	}
	return nil
}

func (v *vacant) Record(metrics.Tick) {}
