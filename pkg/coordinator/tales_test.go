package coordinator_test

import (
	"maps"
	"slices"
	"time"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// tale is a story: what the cluster is at first, what happens to it, and the steps
// that it must come to and those that it must not.
type tale struct {
	follow bool
	worker int64         // milli-CPU of a Ray worker, if it is not a whole Node
	min    int64         // workers
	rest   time.Duration // of a group after a failure, if not a minute
	begin  func(*rig)
	events []event
	ends   time.Duration
	twist  *twist
	verbs  []string
	never  []string // steps that it must not come to
}

type event struct {
	at time.Duration
	do func(*rig)
}

// usual is the story of most tales: one of three nodes works and the others are
// idle; after three minutes it is idle, too; later two requests come and are done.
func usual() []event {
	return []event{{3 * time.Minute, (*rig).finish}, {330 * time.Second, func(r *rig) { r.ask(2) }}, {7 * time.Minute, (*rig).finish}}
}

func tales() map[string]tale {
	out := map[string]tale{}
	for _, some := range []map[string]tale{leadTales(), deletionTales(), moveTales(), rememberTales(), followTales()} {
		maps.Copy(out, some)
	}
	return out
}

// leadTales are removals and purchases in lead mode.
func leadTales() map[string]tale {
	const ends = 11 * time.Minute
	removal := []string{"Hook", "Cordon", "Drain IDLE_TERMINATION", "ShrinkWorkers", "ClearWorkers", "Remove", "ReleaseHook Vacant", "Grow cpu", "GrowWorkers"}
	with := func(more ...string) []string { return slices.Concat(removal, more) }
	return map[string]tale{
		"plain": {events: usual(), ends: ends, verbs: removal},
		// A drain was accepted, and then the node is wanted after all.
		"demand after a drain": {
			events: usual(), ends: ends, verbs: with("ReplaceWorker", "Uncordon"),
			twist: &twist{planner.StepDrain, true, func(r *rig, _ planner.Step) { r.ask(3) }},
		},
		// Fault 20: a task is placed on the Ray node between the cordon and its drain.
		"a task before the drain": {
			events: usual(), ends: ends, verbs: with("Uncordon"),
			twist: &twist{planner.StepDrain, false, func(r *rig, step planner.Step) {
				if p := r.pods[step.Pods[0].Name]; p != nil && p.status == planner.RayNodeIdle {
					p.status = planner.RayNodeRunning
				}
			}},
		},
		// The shrink did not happen: somebody set the replicas back before a Machine
		// went, the mark stays on it, and its node is wanted after all.
		"a shrink that did not happen": {
			events: usual(), ends: ends, verbs: with("Unmark"),
			twist: &twist{planner.StepRemove, true, func(r *rig, step planner.Step) { r.groups[0].replicas = step.From; r.ask(3) }},
		},
	}
}

// deletionTales: somebody else deletes the Machine on whose Node an actor works.
// The hook holds it while the actor works; with nobody to reach, or by a person's
// word, it does not.
func deletionTales() map[string]tale {
	const comes = 20 * time.Second
	remove := func(r *rig) { r.busy().deleting = time.Now() }
	lose := func(r *rig) { m := r.busy(); m.deleting, m.lost = time.Now(), time.Now() }
	end := func(r *rig) { // the GCS gives its Ray node up
		for _, p := range r.pods {
			if p.working() {
				p.status = planner.RayNodeDead
			}
		}
	}
	return map[string]tale{
		// Fault 35: the Machine of a node that works is deleted: it stays until the
		// work has ended.
		"somebody deletes a Machine": {
			events: []event{{comes, remove}, {3 * time.Minute, (*rig).finish}}, ends: 390 * time.Second,
			verbs: []string{"Hook", "Cordon", "Drain PREEMPTION", "ShrinkWorkers", "ReleaseHook Vacant", "Remove"},
		},
		"somebody deletes a Machine whose worker must be": {
			min: 3, events: []event{{comes, remove}, {3 * time.Minute, (*rig).finish}}, ends: 390 * time.Second,
			verbs: []string{"Hook", "Cordon", "Drain PREEMPTION", "ReplaceWorker", "ReleaseHook Vacant"},
		},
		"somebody deletes a Machine in follow mode": {
			follow: true, worker: 2000, events: []event{{comes, remove}, {3 * time.Minute, (*rig).finish}}, ends: 390 * time.Second,
			verbs: []string{"Hook", "Cordon", "Drain PREEMPTION", "ReleaseHook Vacant", "Remove"},
		},
		"a deleted Machine that nobody reaches": {
			events: []event{{comes, func(r *rig) { lose(r); end(r) }}}, ends: 7 * time.Minute,
			verbs: []string{"Hook", "Cordon", "ShrinkWorkers", "ReleaseHook Unreachable", "Remove"},
			never: []string{"Uncordon", "Grow cpu"}, // no room is kept for a pod that cannot even end
		},
		// Fault 27: nobody but Ray reaches the node of a deleted Machine, and Ray still
		// sees it work when the bound has passed.
		"a deleted Machine that only Ray reaches": {
			events: []event{{comes, lose}, {4 * time.Minute, end}}, ends: 450 * time.Second,
			verbs: []string{"Hook", "Cordon", "Drain PREEMPTION", "ReleaseHook Unreachable", "Remove"},
		},
		"a person lets a deleted Machine go": {
			events: []event{{comes, remove}, {80 * time.Second, func(r *rig) { r.busy().release = true }}}, ends: 5 * time.Minute,
			verbs: []string{"Hook", "Cordon", "Drain PREEMPTION", "ReleaseHook BreakGlass", "Remove"},
		},
	}
}

// moveTales: a pod of a ReplicaSet is on an idle Node, and has room beside the
// actor.
func moveTales() map[string]tale {
	begin := func(r *rig) {
		r.apps = 1
		r.pod("a", &rigPod{size: appSize, app: true}).node = "m002"
	}
	guarded := func(r *rig) { begin(r); r.guarded = true }
	return map[string]tale{
		"a pod that can move": {
			worker: 3000, begin: begin, events: usual(), ends: 11 * time.Minute,
			verbs: []string{"Cordon", "Drain IDLE_TERMINATION", "ShrinkWorkers", "Evict", "Remove", "Grow cpu"},
		},
		// Fault 23: a disruption budget forbids the eviction for so long that the
		// cordon is taken back; later the pod may go.
		"a pod that may not move yet": {
			worker: 3000, begin: guarded, events: []event{{5 * time.Minute, func(r *rig) { r.guarded = false }}}, ends: 8 * time.Minute,
			verbs: []string{"Cordon", "Drain IDLE_TERMINATION", "ShrinkWorkers", "Uncordon", "Evict", "Remove"},
		},
	}
}

// rememberTales: the cheaper class has no room. Its group rests by a note on the
// object, and demand is served by the dearer one, now and when it comes again.
func rememberTales() map[string]tale {
	return map[string]tale{
		// Fault 51: hosts have no room for a class. What was learned of it outlives a
		// restart.
		"a class without room": {
			rest: 3 * time.Minute,
			events: []event{
				{5 * time.Second, (*rig).finish},
				{3 * time.Minute, func(r *rig) { r.groups[0].broken = true; r.ask(1) }},
				{6 * time.Minute, func(r *rig) { r.ask(1) }},
				{7 * time.Minute, (*rig).finish},
			}, ends: 15 * time.Minute,
			verbs: []string{"Grow cpu", "Remember 1", "Grow alt", "Remove", "Remember 0"},
		},
	}
}

// followTales: Ray decides about its pods, two of which fit on a Node. New ones are
// herded onto fuller Nodes, Ray ends the idle ones, and what becomes vacant is
// held for a while and then goes.
func followTales() map[string]tale {
	return map[string]tale{
		// Fault 55: Ray's autoscaler takes its own pods back; nothing of Ray's is touched.
		"follow": {
			follow: true, worker: 2000, events: []event{{3 * time.Minute, (*rig).finish}, {5 * time.Minute, func(r *rig) { r.ask(3) }}, {390 * time.Second, (*rig).finish}},
			ends: 10 * time.Minute, verbs: []string{"Hook", "SoftTaint", "Cordon", "Remove", "ReleaseHook Vacant", "Grow cpu"},
		},
	}
}
