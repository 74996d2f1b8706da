package coordinator_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tandem-autoscaler/tandem/pkg/coordinator"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

func sievePolicy() planner.Policy {
	return planner.Policy{
		VacantHold: planner.Duration(vacantHold), ProvisionDeadline: planner.Duration(15 * time.Minute), SoftTaints: true, Hooks: true,
		BackoffInitial: planner.Duration(time.Minute), BackoffMax: planner.Duration(time.Minute),
		DrainDeadline: planner.Duration(drainDeadline), UnreachableRelease: planner.Duration(unreachable),
	}
}

func (r *rig) options() coordinator.Options {
	return coordinator.Options{Observers: []coordinator.Observer{r}, Actuator: r, Policy: r.policy}
}

func (r *rig) policy() planner.Policy {
	p := sievePolicy()
	if rest := r.tale.rest; rest > 0 {
		p.BackoffInitial, p.BackoffMax = planner.Duration(rest), planner.Duration(rest)
	}
	return p
}

// story drives a loop to the end of the tale. A crash ends the process: the next
// one begins with nothing in its memory. point, if not nil, is called before each
// tick.
func (r *rig) story(ctx context.Context, l *coordinator.Loop, point func(*coordinator.Loop)) {
	for time.Since(r.began) < r.tale.ends {
		r.tell()
		if point != nil {
			point(l)
		}
		wait := 5 * time.Second
		if l.Tick(ctx) {
			wait = 250 * time.Millisecond
		}
		if r.dead {
			r.dead, l = false, coordinator.New(r.options())
			clear(r.accepted)
		}
		time.Sleep(wait + r.pause)
		r.pause = 0
	}
}

// tell lets the events happen whose time has come.
func (r *rig) tell() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for ; r.told < len(r.tale.events) && time.Since(r.began) >= r.tale.events[r.told].at; r.told++ {
		r.tale.events[r.told].do(r)
		r.act()
	}
}

// checkpoint is a run right before one of its ticks.
type checkpoint struct {
	at   time.Time
	loop *coordinator.Loop
	state
}

// undisturbed is the run that all others are compared with. It comes with the
// point from which each of its writes may be told anew.
func undisturbed(t *testing.T, tl tale) (r *rig, points map[int]checkpoint) {
	t.Helper()
	points = map[int]checkpoint{} // by tick
	synctest.Test(t, func(t *testing.T) {
		r = newRig(t, tl)
		var last checkpoint
		keep := func() {
			if n := len(r.writes); n > len(last.writes) {
				points[last.ticks+1] = last
			}
		}
		r.story(t.Context(), coordinator.New(r.options()), func(l *coordinator.Loop) {
			keep()
			last = checkpoint{at: time.Now(), loop: l.Fork(r.options()), state: r.clone()}
		})
		keep()
	})
	return r, points
}

// from goes on from a checkpoint, as another run.
func (tl tale) from(t *testing.T, at checkpoint, disturb func(*rig)) *rig {
	t.Helper()
	r := &rig{t: t, tale: tl, views: map[planner.SourceKind]planner.Snapshot{}, state: at.clone()}
	time.Sleep(time.Until(at.at))
	disturb(r)
	r.story(t.Context(), at.loop.Fork(r.options()), nil)
	return r
}

// perturbation disturbs a run at one write.
type perturbation struct {
	name string
	set  func(r *rig, write int)
	// same tells that this comes to the same as to disturb the write before, which
	// was of the same tick.
	same func(before, now rigWrite) bool
	// of, if not empty, is the source that the write must have changed.
	of planner.SourceKind
}

// twice tells that this disturbance of write i comes to the same as another one.
func (p perturbation) twice(writes []rigWrite, i int) bool {
	w := writes[i]
	return i > 0 && writes[i-1].tick == w.tick && p.same(writes[i-1], w) || p.of != "" && w.views[p.of] == w.after[p.of]
}

// at calls f once, at the write with this number.
func at(write int, f func() error) func(int) error {
	done := false
	return func(n int) error {
		if n != write || done {
			return nil
		}
		done = true
		return f()
	}
}

// lag shows what a source said before a write for a while after it, be it to the
// same process or, as another API server would, to the one that follows a crash.
func (r *rig) lag(kind planner.SourceKind, write int, crash bool) {
	var old planner.Snapshot
	r.before = at(write, func() error { old = r.view(time.Now()); return nil })
	r.after = at(write, func() error {
		r.views[kind] = old
		time.AfterFunc(lags, func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			delete(r.views, kind)
		})
		if crash {
			r.dead = true
			return errCrash
		}
		return nil
	})
}

// lose makes a source unknown for a while.
func (r *rig) lose(kind planner.SourceKind) {
	r.unknown, r.unknownFrom = kind, r.ticks
	time.AfterFunc(silent, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.unknown = ""
	})
}

func perturbations() []perturbation {
	never := func(rigWrite, rigWrite) bool { return false }
	always := func(rigWrite, rigWrite) bool { return true }
	out := []perturbation{
		{name: "crash before", set: func(r *rig, write int) {
			r.before = at(write, func() error { r.dead = true; return errCrash })
		}, same: func(before, now rigWrite) bool { return now.attempt == before.attempt+1 }}, // it is a crash after that one
		{name: "crash after", set: func(r *rig, write int) {
			r.after = at(write, func() error { r.dead = true; return errCrash })
		}, same: never},
		{name: "no answer", set: func(r *rig, write int) {
			r.after = at(write, func() error { return context.DeadlineExceeded })
		}, same: never},
		{name: "not written", set: func(r *rig, write int) {
			r.before = at(write, func() error { return errors.New("429 too many requests") })
		}, same: never},
		{name: "unobserved", set: func(r *rig, write int) {
			r.after = at(write, func() error { r.pause = 70 * time.Second; return nil })
		}, same: always}, // the pause comes after the tick
	}
	for _, kind := range seen {
		unchanged := func(before, now rigWrite) bool { return before.views[kind] == now.views[kind] }
		out = append(
			out,
			perturbation{name: "stale " + string(kind), set: func(r *rig, write int) { r.lag(kind, write, false) }, same: unchanged},
			// Of what the write did not change, the next process sees nothing old.
			perturbation{name: "time travel " + string(kind), set: func(r *rig, write int) { r.lag(kind, write, true) }, same: never, of: kind},
			perturbation{name: "unknown " + string(kind), set: func(r *rig, write int) {
				r.after = at(write, func() error { r.lose(kind); return nil })
			}, same: always},
		)
	}
	return out
}

// Every write of the undisturbed run is disturbed in every way, of every source:
// the process ends before it and after it, its answer is lost, an older view is
// shown after it, to the same process or to the next, a source cannot be read, what
// follows it is not seen. All runs end in the same state, and no Ray node that works
// is lost. A disturbed run begins with the tick of its write, as all before is the
// same; what comes to the same as another disturbance of that tick is left out.
//
// Fault 42: the coordinator crashes between two writes.
// Fault 37: the outcome of a write is unknown.
// Fault 38: a cache lags behind a write of our own.
// Fault 40: one source of the snapshot cannot be read: nothing is taken away.
// Fault 41: events are lost: what counts is the state.
// Fault 19: a crash between an accepted drain and the patch that follows it.
func TestSieve(t *testing.T) {
	for name, tl := range tales() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, points := undisturbed(t, tl)
			want := r.summary()
			verbs := map[string]int{}
			for _, w := range r.writes {
				verbs[w.verb]++
			}
			for _, v := range tl.verbs {
				require.Positive(t, verbs[v], "the story comes to a %s: %v", v, verbs)
			}
			for _, v := range tl.never {
				require.Zero(t, verbs[v], "the story comes to a %s: %v", v, verbs)
			}
			runs, left := 0, 0
			for i, w := range r.writes {
				for _, p := range perturbations() {
					if p.twice(r.writes, i) {
						left++
						continue
					}
					runs++
					t.Run(fmt.Sprintf("%d %s %s", i+1, w.verb, p.name), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							got := tl.from(t, points[w.tick], func(r *rig) { p.set(r, i+1) })
							assert.Equal(t, want, got.summary())
							assert.Greater(t, time.Since(got.last), settled, "nothing is tried any more at the end")
						})
					})
				}
			}
			t.Logf("%d writes %v, %d disturbed runs, %d more come to the same; every run ends in: %s",
				len(r.writes), slices.Sorted(maps.Keys(verbs)), runs, left, want)
		})
	}
}

// A run that goes on from a checkpoint is the run itself: what is not disturbed
// makes the same writes at the same times.
func TestSieveGoesOnWhereItStopped(t *testing.T) {
	for name, tl := range tales() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want, points := undisturbed(t, tl)
			ticks := slices.Sorted(maps.Keys(points))
			for _, tick := range []int{ticks[0], ticks[len(ticks)/2], ticks[len(ticks)-1]} {
				synctest.Test(t, func(t *testing.T) {
					got := tl.from(t, points[tick], func(*rig) {})
					assert.Equal(t, want.summary(), got.summary())
					assert.Equal(t, want.writes, got.writes)
				})
			}
		})
	}
}

// Fault 44: two coordinators at once, one of which stops between its plan and its
// writes, and goes on later: work may be wasted, nothing breaks.
func TestTwoLeaders(t *testing.T) {
	for name, tl := range tales() {
		tl.ends *= 2 // it takes longer
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, _ := undisturbed(t, tl)
			// Never 0: which of two that act in the same instant comes first is open.
			for _, offset := range []time.Duration{100 * time.Millisecond, time.Second, 2500 * time.Millisecond} {
				for _, pause := range []time.Duration{time.Second, 17 * time.Second} {
					t.Run(fmt.Sprintf("%s late, %s between steps", offset, pause), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) { twoLeaders(t, tl, offset, pause, first.summary()) })
					})
				}
			}
		})
	}
}

func twoLeaders(t *testing.T, tl tale, offset, pause time.Duration, want string) {
	t.Helper()
	r := newRig(t, tl)
	r.accepted = nil // neither knows what the other was granted
	paused := &pausing{rig: r, pause: pause}
	other := coordinator.New(coordinator.Options{Observers: []coordinator.Observer{r}, Actuator: paused, Policy: r.policy, StepTimeout: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		time.Sleep(offset)
		for ctx.Err() == nil {
			other.Tick(ctx)
			time.Sleep(5 * time.Second)
		}
	})
	r.story(t.Context(), coordinator.New(r.options()), nil)
	cancel()
	wg.Wait()
	assert.Equal(t, want, r.summary())
	assert.Positive(t, paused.taken+paused.refused, "the other one acts, too")
	t.Logf("the one that pauses took %d steps and was refused %d", paused.taken, paused.refused)
}

// pausing sleeps before every step.
type pausing struct {
	rig            *rig
	pause          time.Duration
	taken, refused int
}

func (p *pausing) Take(ctx context.Context, plan planner.Plan, step planner.Step) error {
	time.Sleep(p.pause)
	err := p.rig.Take(ctx, plan, step)
	if err == nil {
		p.taken++
	} else {
		p.refused++
	}
	return err
}
