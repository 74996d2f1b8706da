package coordinator

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tandem-autoscaler/tandem/pkg/metrics"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

type fakeHeap struct {
	max, live, garbage int64
	collected          int
}

func (h *fakeHeap) limit() int64 { return h.max }
func (h *fakeHeap) inUse() int64 { return h.live + h.garbage }
func (h *fakeHeap) collect()     { h.garbage = 0; h.collected++ }

func TestRoom(t *testing.T) {
	for name, c := range map[string]struct {
		heap      fakeHeap
		short     bool
		collected int
	}{
		"no limit":      {fakeHeap{max: math.MaxInt64, live: math.MaxInt64 - 1}, false, 0},
		"enough":        {fakeHeap{max: 1000, live: 500, garbage: 400}, false, 0},
		"garbage":       {fakeHeap{max: 1000, live: 500, garbage: 401}, false, 1},
		"live":          {fakeHeap{max: 1000, live: 901}, true, 1},
		"above already": {fakeHeap{max: 1000, live: 1200, garbage: 10}, true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			err := room(&c.heap)
			assert.Equal(t, c.collected, c.heap.collected)
			if !c.short {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, "memory is short")
		})
	}
	assert.Positive(t, goHeap{}.inUse())
	assert.Positive(t, goHeap{}.limit())
}

type recorded []metrics.Tick

func (r *recorded) Record(t metrics.Tick) { *r = append(*r, t) }

// Fault 59: memory runs out: a tick is refused and recorded, and the loop goes on
// when there is room again.
func TestATickIsRefusedWhenMemoryIsShort(t *testing.T) {
	h := &fakeHeap{max: 1000, live: 950}
	actuator, ticks := &taker{}, recorded{}
	l := New(Options{
		Actuator: actuator, Recorder: &ticks, Room: func() error { return room(h) },
		Policy: func() planner.Policy { return planner.Policy{VacantHold: planner.Duration(time.Minute)} },
		Observers: []Observer{ObserverFunc(func(_ time.Time, s *planner.Snapshot) {
			s.Sources = []planner.Source{{Kind: planner.SourceManagement, Known: true}}
			s.NodeGroups = []planner.NodeGroup{{Namespace: "ns", Name: "cpu", UID: "g", Managed: true, Max: 5, Capacity: planner.Resources{planner.ResourceCPU: 4000}}}
			s.Pods = []planner.Pod{{Namespace: "ml", Name: "p", Unschedulable: true, Shape: planner.PodShape{Requests: planner.Resources{planner.ResourceCPU: 1000}}}}
		})},
	})
	assert.False(t, l.Tick(t.Context()), "it does not hurry")
	assert.Empty(t, actuator.steps)
	require.Len(t, ticks, 1)
	assert.False(t, ticks[0].SafeToAct)
	assert.Empty(t, ticks[0].Plan.ID, "no plan was made")
	assert.False(t, l.LastTick().IsZero(), "the loop is not stuck")

	h.live = 500
	l.Tick(t.Context())
	require.Len(t, ticks, 2)
	assert.True(t, ticks[1].SafeToAct)
	require.Len(t, actuator.steps, 1)
	assert.Equal(t, planner.StepGrow, actuator.steps[0].Kind)
}
