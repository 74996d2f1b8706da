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

// The story of every run: one of three nodes works and the others are idle; after
// four minutes it is idle, too; later two requests come and are done.
const (
	actorEnds    = 4 * time.Minute
	requestsCome = 7 * time.Minute
	requestsEnd  = 9 * time.Minute
	storyEnds    = 16 * time.Minute
)

func sievePolicy() planner.Policy {
	return planner.Policy{
		VacantHold: planner.Duration(20 * time.Second), ProvisionDeadline: planner.Duration(15 * time.Minute), SoftTaints: true, Hooks: true,
		BackoffInitial: planner.Duration(time.Minute), BackoffMax: planner.Duration(time.Minute),
	}
}

func (r *rig) loop() *coordinator.Loop {
	return coordinator.New(coordinator.Options{Observers: []coordinator.Observer{r}, Actuator: r, Policy: sievePolicy})
}

// story drives one loop through the story. crash tells that the process has ended:
// the next one begins with nothing in its memory.
func (r *rig) story(ctx context.Context, crashed *bool, pause *time.Duration) {
	begin := time.Now()
	var once [3]sync.Once
	for l := r.loop(); time.Since(begin) < storyEnds; {
		for i, event := range []struct {
			at time.Duration
			do func()
		}{{actorEnds, r.finish}, {requestsCome, func() { r.ask(2) }}, {requestsEnd, r.finish}} {
			if time.Since(begin) >= event.at {
				once[i].Do(event.do)
			}
		}
		wait := 5 * time.Second
		if l.Tick(ctx) {
			wait = 250 * time.Millisecond
		}
		if *crashed {
			*crashed, l = false, r.loop()
		}
		time.Sleep(wait + *pause)
		*pause = 0
	}
}

// tale is a variation of the story, and the kinds of writes that it must come to.
type tale struct {
	// twist makes what a rig does around a step; it may remember.
	twist func() func(*rig, planner.Step, bool)
	kinds []planner.StepKind
}

func tales() map[string]tale {
	removal := []planner.StepKind{planner.StepHook, planner.StepCordon, planner.StepDrain, planner.StepShrinkWorkers, planner.StepClearWorkers, planner.StepRemove, planner.StepGrow, planner.StepGrowWorkers}
	first := func(kind planner.StepKind, taken bool, do func(*rig, planner.Step)) func() func(*rig, planner.Step, bool) {
		return func() func(*rig, planner.Step, bool) {
			done := false
			return func(r *rig, step planner.Step, now bool) {
				if !done && step.Kind == kind && now == taken {
					done = true
					do(r, step)
				}
			}
		}
	}
	return map[string]tale{
		"plain": {func() func(*rig, planner.Step, bool) { return nil }, removal},
		// A drain was accepted, and then the node is wanted after all.
		"demand after a drain": {
			first(planner.StepDrain, true, func(r *rig, _ planner.Step) { r.waiting += 3 }),
			append(slices.Clone(removal), planner.StepReplaceWorker, planner.StepUncordon),
		},
		// Fault 20: a task is placed on the Ray node between the cordon and its drain.
		"a task before the drain": {
			first(planner.StepDrain, false, func(r *rig, step planner.Step) {
				if p := r.pods[step.Pods[0].Name]; p != nil && p.status == planner.RayNodeIdle {
					p.status = planner.RayNodeRunning
				}
			}),
			append(slices.Clone(removal), planner.StepUncordon),
		},
		// The shrink did not happen: somebody set the replicas back before a Machine
		// went, the mark stays on it, and its node is wanted after all.
		"a shrink that did not happen": {
			first(planner.StepRemove, true, func(r *rig, step planner.Step) { r.replicas, r.waiting = step.From, r.waiting+3 }),
			append(slices.Clone(removal), planner.StepUnmark),
		},
	}
}

// undisturbed is the run that all others are compared with.
func undisturbed(t *testing.T, tl tale) (writes []planner.StepKind, state string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.twist = tl.twist()
		r.story(t.Context(), new(bool), new(time.Duration))
		writes, state = r.writes, r.state()
	})
	return writes, state
}

// perturbation disturbs a run at one write.
type perturbation struct {
	name string
	set  func(r *rig, write int, crashed *bool, pause *time.Duration)
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

func perturbations() []perturbation {
	out := []perturbation{
		{"crash before", func(r *rig, write int, crashed *bool, _ *time.Duration) {
			r.before = at(write, func() error { *crashed = true; return errCrash })
		}},
		{"crash after", func(r *rig, write int, crashed *bool, _ *time.Duration) {
			r.after = at(write, func() error { *crashed = true; return errCrash })
		}},
		{"no answer", func(r *rig, write int, _ *bool, _ *time.Duration) {
			r.after = at(write, func() error { return context.DeadlineExceeded })
		}},
		{"not written", func(r *rig, write int, _ *bool, _ *time.Duration) {
			r.before = at(write, func() error { return errors.New("429 too many requests") })
		}},
		{"unobserved", func(r *rig, write int, _ *bool, pause *time.Duration) {
			r.after = at(write, func() error { *pause = 70 * time.Second; return nil })
		}},
	}
	for _, kind := range []planner.SourceKind{planner.SourceManagement, planner.SourceWorkload, planner.SourceRay, planner.SourceGCS} {
		out = append(out, perturbation{"stale " + string(kind), func(r *rig, write int, _ *bool, _ *time.Duration) {
			var old planner.Snapshot
			r.before = at(write, func() error { old = r.view(time.Now()); return nil })
			r.after = at(write, func() error {
				r.views[kind] = old
				time.AfterFunc(12*time.Second, func() {
					r.mu.Lock()
					defer r.mu.Unlock()
					delete(r.views, kind)
				})
				return nil
			})
		}})
	}
	return out
}

// Every write of the undisturbed run is disturbed in every way, of every source:
// the process ends before it and after it, its answer is lost, an older view is
// shown after it, what follows it is not seen. All runs end in the same state, and
// no Ray node that works is lost.
//
// Fault 42: the coordinator crashes between two writes.
// Fault 37: the outcome of a write is unknown.
// Fault 38: a cache lags behind a write of our own.
// Fault 41: events are lost: what counts is the state.
// Fault 19: a crash between an accepted drain and the patch that follows it.
func TestSieve(t *testing.T) {
	for name, tl := range tales() {
		t.Run(name, func(t *testing.T) {
			writes, want := undisturbed(t, tl)
			kinds := map[planner.StepKind]int{}
			for _, k := range writes {
				kinds[k]++
			}
			for _, k := range tl.kinds {
				require.Positive(t, kinds[k], "the story comes to a %s", k)
			}
			runs := 0
			for write := 1; write <= len(writes); write++ {
				for _, p := range perturbations() {
					runs++
					t.Run(fmt.Sprintf("%d %s %s", write, writes[write-1], p.name), func(t *testing.T) { sieve(t, tl, p, write, want) })
				}
			}
			t.Logf("%d writes of kinds %v, %d disturbed runs; every run ends in: %s", len(writes), slices.Sorted(maps.Keys(kinds)), runs, want)
		})
	}
}

func sieve(t *testing.T, tl tale, p perturbation, write int, want string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.twist = tl.twist()
		crashed, pause := new(bool), new(time.Duration)
		p.set(r, write, crashed, pause)
		r.story(t.Context(), crashed, pause)
		assert.Equal(t, want, r.state())
	})
}

// Fault 44: two coordinators at once, one of which stops between its plan and its
// writes, and goes on later: work may be wasted, nothing breaks.
func TestTwoLeaders(t *testing.T) {
	_, want := undisturbed(t, tales()["plain"])
	for _, offset := range []time.Duration{0, time.Second, 2500 * time.Millisecond} {
		t.Run(offset.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				paused := &pausing{rig: r}
				other := coordinator.New(coordinator.Options{Observers: []coordinator.Observer{r}, Actuator: paused, Policy: sievePolicy, StepTimeout: time.Hour})
				ctx, cancel := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				wg.Go(func() {
					time.Sleep(offset)
					for ctx.Err() == nil {
						other.Tick(ctx)
						time.Sleep(5 * time.Second)
					}
				})
				r.story(t.Context(), new(bool), new(time.Duration))
				cancel()
				wg.Wait()
				assert.Equal(t, want, r.state())
				assert.Positive(t, paused.taken+paused.refused, "the other one acts, too")
				t.Logf("the one that pauses took %d steps and was refused %d", paused.taken, paused.refused)
			})
		})
	}
}

// pausing sleeps before every step.
type pausing struct {
	rig            *rig
	taken, refused int
}

func (p *pausing) Take(ctx context.Context, plan planner.Plan, step planner.Step) error {
	time.Sleep(17 * time.Second)
	err := p.rig.Take(ctx, plan, step)
	if err == nil {
		p.taken++
	} else {
		p.refused++
	}
	return err
}
