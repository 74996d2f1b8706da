package report

import (
	"maps"
	"math"
	"slices"
	"time"
)

const (
	// waveGap is the longest pause between two growths of one wave.
	waveGap = 2 * time.Second
	// waveEnd is how long a GCS must show nothing before a wave is over: one
	// reading without demand can be the gap between two reports of a raylet.
	waveEnd = time.Second
	// pollSlack is how much earlier than the lab somebody else may have seen a
	// demand.
	pollSlack = 500 * time.Millisecond
)

// wave is demand of one RayCluster that grew.
type wave struct {
	cluster string
	visible time.Time
	grown   time.Time
	empty   time.Time // since when the GCS shows nothing; zero: it shows something
	gone    time.Time // zero: not over
	demand  map[string]int64
}

type raise struct {
	Raise

	at time.Time
}

// waveReading follows the demand of one reading.
func (r *Recorder) waveReading(at time.Time, cluster string, demand map[string]int64) {
	w := r.latestWave(cluster)
	open := w != nil && w.gone.IsZero()
	if len(demand) == 0 {
		if !open {
			return
		}
		if w.empty.IsZero() {
			w.empty = at
		}
		if at.Sub(w.empty) >= waveEnd {
			w.gone = w.empty
		}
		return
	}
	if open {
		w.empty = time.Time{}
		if !grew(w.demand, demand) {
			return
		}
	}
	if !open || at.Sub(w.grown) > waveGap {
		w = &wave{cluster: cluster, visible: at, demand: map[string]int64{}}
		r.waves = append(r.waves, w)
	}
	w.grown = at
	for shape, n := range demand {
		w.demand[shape] = max(w.demand[shape], n)
	}
}

func (r *Recorder) latestWave(cluster string) *wave {
	for _, w := range slices.Backward(r.waves) {
		if w.cluster == cluster {
			return w
		}
	}
	return nil
}

// grew tells whether some shape is asked for more often than ever in the wave.
func grew(most, now map[string]int64) bool {
	for shape, n := range now {
		if n > most[shape] {
			return true
		}
	}
	return false
}

// reportWaves gives every raise and every new pod to the wave that it belongs
// to: the latest of its RayCluster that was visible and not gone. A raise
// belongs to such a wave of each RayCluster.
func (r *Recorder) reportWaves() []Wave {
	out := make([]Wave, 0, len(r.waves))
	for i, w := range r.waves {
		o := Wave{RayCluster: w.cluster, VisibleAt: r.seconds(w.visible), SettledAt: r.seconds(w.grown), Demand: maps.Clone(w.demand)}
		if !w.gone.IsZero() {
			o.GoneAt = new(r.seconds(w.gone))
		}
		until := r.waveUntil(i)
		for _, x := range r.raises {
			if within(w, until, x.at) {
				o.Raises = append(o.Raises, x.Raise)
			}
		}
		if n := len(o.Raises); n > 0 {
			at := o.Raises[n-1].At
			o.PatchedAt = &at
			o.DemandToFirstPatchSeconds = new(round(o.Raises[0].At - o.VisibleAt))
			o.DemandToPatchSeconds = new(round(at - o.VisibleAt))
			o.SettledToPatchSeconds = new(round(at - o.SettledAt))
		}
		for _, at := range r.created[w.cluster] {
			if within(w, until, at) {
				o.FirstPodAt = new(r.seconds(at))
				break
			}
		}
		out = append(out, o)
	}
	return out
}

// waveUntil is when wave i stops being the latest of its RayCluster; zero is
// never.
func (r *Recorder) waveUntil(i int) time.Time {
	for _, next := range r.waves[i+1:] {
		if next.cluster == r.waves[i].cluster {
			return next.visible.Add(-pollSlack)
		}
	}
	return time.Time{}
}

func within(w *wave, until, at time.Time) bool {
	return !at.Before(w.visible.Add(-pollSlack)) &&
		(until.IsZero() || at.Before(until)) &&
		(w.gone.IsZero() || !at.After(w.gone.Add(waveEnd)))
}

func round(v float64) float64 { return math.Round(v*1000) / 1000 }
