package report

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// reading is one reading of the GCS in a test of waves.
type reading struct {
	ms     int
	demand map[string]int64
}

func TestWaves(t *testing.T) {
	d := func(n int64) map[string]int64 { return map[string]int64{"{GPU 1}": n} }
	tests := map[string]struct {
		readings []reading
		visible  []float64
		settled  []float64
		gone     []float64 // −1: not gone
	}{
		"one burst that is served": {
			readings: []reading{{0, nil}, {200, d(1)}, {400, d(2)}, {600, d(2)}, {5000, d(1)}, {6000, nil}, {7000, nil}},
			visible:  []float64{0.2}, settled: []float64{0.4}, gone: []float64{6},
		},
		"shrinking demand that swells again is no new wave": {
			readings: []reading{{0, d(5)}, {4000, d(3)}, {8000, d(5)}},
			visible:  []float64{0}, settled: []float64{0}, gone: []float64{-1},
		},
		"growth after a pause is a new wave": {
			readings: []reading{{0, d(1)}, {4000, d(2)}},
			visible:  []float64{0, 4}, settled: []float64{0, 4}, gone: []float64{-1, -1},
		},
		"slow growth within the gap is one wave": {
			readings: []reading{{0, d(1)}, {1900, d(2)}, {3800, d(3)}},
			visible:  []float64{0}, settled: []float64{3.8}, gone: []float64{-1},
		},
		"one empty reading does not end a wave": {
			readings: []reading{{0, d(1)}, {200, nil}, {400, d(1)}},
			visible:  []float64{0}, settled: []float64{0}, gone: []float64{-1},
		},
		"the same demand again after the end is a new wave": {
			readings: []reading{{0, d(1)}, {3000, nil}, {4000, nil}, {9000, d(1)}},
			visible:  []float64{0, 9}, settled: []float64{0, 9}, gone: []float64{3, -1},
		},
		"growth of one shape keeps the peak of another": {
			readings: []reading{{0, map[string]int64{"a": 5, "b": 1}}, {1000, map[string]int64{"a": 3, "b": 2}}, {9000, map[string]int64{"a": 5, "b": 2}}},
			visible:  []float64{0}, settled: []float64{1}, gone: []float64{-1},
		},
		"another shape is growth": {
			readings: []reading{{0, d(1)}, {5000, map[string]int64{"{GPU 1}": 1, "{CPU 8}": 1}}},
			visible:  []float64{0, 5}, settled: []float64{0, 5}, gone: []float64{-1, -1},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := newTestRecorder()
			for _, x := range tt.readings {
				r.ObserveGCS(at(x.ms), cluster, RayState{Demand: x.demand})
			}
			waves := r.Report(at(20000)).Waves
			require.Len(t, waves, len(tt.visible))
			for i, w := range waves {
				assert.InDelta(t, tt.visible[i], w.VisibleAt, 1e-9, "wave %d", i)
				assert.InDelta(t, tt.settled[i], w.SettledAt, 1e-9, "wave %d", i)
				if tt.gone[i] < 0 {
					assert.Nil(t, w.GoneAt, "wave %d", i)
				} else if assert.NotNil(t, w.GoneAt, "wave %d", i) {
					assert.InDelta(t, tt.gone[i], *w.GoneAt, 1e-9, "wave %d", i)
				}
			}
		})
	}
}

func TestWaveHasItsRaisesAndItsFirstPod(t *testing.T) {
	r := newTestRecorder()
	r.ObserveReplicas(at(0), "gpu", 0, true, "")
	r.ObserveReplicas(at(10), "gpu", 1, false, "") // long before any demand
	r.ObservePod(at(20), worker("early", "", "Pending"))
	demand := map[string]int64{"{GPU 1}": 2}
	r.ObserveReplicas(at(9800), "gpu", 2, false, "") // somebody saw it one poll earlier
	r.ObserveGCS(at(10000), cluster, RayState{Demand: demand})
	r.ObserveReplicas(at(10900), "gpu", 3, false, "p1")
	r.ObserveReplicas(at(10950), "cpu", 0, true, "")
	r.ObservePod(at(12000), worker("later", "", "Pending"))
	r.ObserveGCS(at(20000), cluster, RayState{})
	r.ObserveGCS(at(21000), cluster, RayState{})
	r.ObserveReplicas(at(25000), "gpu", 4, false, "") // after the wave is gone
	r.ObserveGCS(at(30000), cluster, RayState{Demand: demand})
	r.ObserveReplicas(at(31000), "gpu", 5, false, "")

	rep := r.Report(at(40000))
	require.Len(t, rep.Waves, 2)
	first, second := rep.Waves[0], rep.Waves[1]
	assert.Equal(t, []Raise{{"gpu", 1, 2, 9.8}, {"gpu", 2, 3, 10.9}}, first.Raises)
	require.NotNil(t, first.DemandToPatchSeconds)
	assert.InDelta(t, 0.9, *first.DemandToPatchSeconds, 1e-9)
	assert.InDelta(t, -0.2, *first.DemandToFirstPatchSeconds, 1e-9)
	require.NotNil(t, first.FirstPodAt)
	assert.InDelta(t, 12, *first.FirstPodAt, 1e-9)
	assert.Equal(t, []Raise{{"gpu", 4, 5, 31}}, second.Raises)
	assert.Nil(t, second.FirstPodAt)
	assert.Equal(t, 5, rep.Pools[1].Raises)
	assert.Equal(t, int32(5), rep.Pools[1].MaxReplicas)
	assert.Zero(t, rep.Pools[2].Raises)
}

func TestNewGangIsANewShape(t *testing.T) {
	r := newTestRecorder()
	r.ObserveGCS(at(0), cluster, RayState{Demand: map[string]int64{"gang aaaa STRICT_SPREAD [2 x {GPU 1}]": 1}})
	r.ObserveGCS(at(9000), cluster, RayState{Demand: map[string]int64{"gang bbbb STRICT_SPREAD [2 x {GPU 1}]": 1}})
	assert.Len(t, r.Report(at(9000)).Waves, 2)
}
