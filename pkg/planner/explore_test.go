package planner_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// The states of a raylet as the GCS and the pod have it.
const (
	rayIdle    = "idle"
	rayBusy    = "busy"
	rayDead    = "dead"    // drained: listed as DEAD, the pod runs on
	rayJoining = "joining" // alive, not known to the GCS (any more)
	rayLost    = "lost"    // ended, and the GCS has forgotten it
)

// slot is a Machine with its node and at most one Ray worker pod.
type slot struct {
	Machine  string // "", up, deleting (by whomever), hooked off
	Bare     bool   // it was deleted by somebody else before it carried our hook
	Cordon   bool
	Mark     bool
	Hook     bool
	Pod      bool
	Named    bool // in workersToDelete
	Ray      string
	Gen      int  // of the pod, so that namesakes differ
	IdleSeen bool // Memory: read as idle before
	Refused  bool // Memory: a drain was refused
}

// mini is a small world: one NodeGroup, one RayCluster with one worker group of
// one pod a node, and what the actuators and controllers do with it. It is
// comparable, so it is its own key.
type mini struct {
	Slots    [2]slot
	Replicas int64 // of the MachineDeployment
	Workers  int64 // of the worker group
	Waiting  bool  // a task that waits
	Pending  bool  // a pod without a node
	Stale    bool  // a name in workersToDelete whose pod is gone
	Faults   int   // left
}

func (w mini) alive() (n int64) {
	for _, s := range w.Slots {
		if s.Machine == "up" {
			n++
		}
	}
	return n
}

// snapshot is what the observers would tell, with the memory of the last tick.
func (w mini) snapshot() (planner.Snapshot, planner.Memory) {
	cpu := planner.Resources{planner.ResourceCPU: 4000}
	s := planner.Snapshot{At: noon, Policy: testPolicy()}
	s.Policy.VacantHold, s.Policy.Hooks, s.Policy.DrainDeadline = 0, true, planner.Duration(time.Minute)
	s.NodeGroups = []planner.NodeGroup{{Namespace: "ns", Name: "g", UID: "g", Managed: true, Max: 2, Replicas: w.Replicas, Capacity: cpu}}
	c := planner.RayCluster{Namespace: "ml", Name: "r", UID: "r", Mode: planner.ModeLead, DemandKnown: true, IdleTimeout: planner.Duration(time.Minute)}
	g := planner.WorkerGroup{Name: "w", Replicas: w.Workers, Max: 2, RayResources: cpu, Pod: planner.PodShape{Requests: cpu}}
	m := planner.Memory{At: noon.Add(-5 * time.Second), Idle: map[string]planner.IdleRead{}, Refused: map[string]time.Time{}, Unwanted: map[string]time.Time{"pending": noon.Add(-time.Minute)}}
	for i, sl := range w.Slots {
		name := fmt.Sprintf("n%d", i)
		if sl.Machine == "" {
			continue
		}
		ma := planner.Machine{
			Namespace: "ns", Name: name, UID: name, Group: "ns/g", Node: name, CreatedAt: noon.Add(-time.Hour), Hook: sl.Hook,
			Deleting: sl.Machine == "deleting", WaitsForHook: sl.Machine == "deleting" && sl.Hook,
		}
		n := planner.Node{Name: name, UID: name, Machine: ma.Key(), Ready: true, Allocatable: cpu}
		if sl.Mark {
			ma.Mark = &planner.Mark{PlanID: "p", At: noon.Add(-10 * time.Second)}
		}
		if sl.Machine == "deleting" {
			ma.DeletingSince = noon.Add(-10 * time.Second)
		}
		if sl.Cordon {
			n.Cordon = &planner.Mark{PlanID: "p", At: noon.Add(-10 * time.Second)}
			n.Taints = []planner.Taint{{Key: planner.CordonTaint, Effect: "NoSchedule"}}
		}
		s.Machines, s.Nodes = append(s.Machines, ma), append(s.Nodes, n)
		if sl.Refused {
			m.Refused[name] = noon.Add(-5 * time.Second)
		}
		if !sl.Pod {
			continue
		}
		pod := w.pod(i)
		s.Pods = append(s.Pods, pod)
		if sl.Named {
			g.WorkersToDelete = append(g.WorkersToDelete, pod.Name)
		}
		r := planner.RayNode{ID: "ray-" + pod.Name, Pod: pod.Name, PodUID: pod.UID, Total: cpu}
		switch sl.Ray {
		case rayIdle:
			r.Status, r.IdleFor, r.Available = planner.RayNodeIdle, planner.Duration(10*time.Minute), cpu
		case rayBusy:
			r.Status, r.Available = planner.RayNodeRunning, planner.Resources{}
		case rayDead:
			r.Status = planner.RayNodeDead
		default:
			continue
		}
		c.RayNodes = append(c.RayNodes, r)
		if sl.IdleSeen {
			m.Idle[name] = planner.IdleRead{RayNodes: "r/" + r.ID, First: noon.Add(-5 * time.Second)}
		}
	}
	if w.Pending {
		s.Pods = append(s.Pods, planner.Pod{Namespace: "ml", Name: "pending", UID: "pending", RayCluster: "ml/r", RayGroup: "w", Unschedulable: true, Shape: g.Pod})
	}
	if w.Stale {
		g.WorkersToDelete = append(g.WorkersToDelete, "gone")
	}
	if w.Waiting {
		c.Requests = []planner.Request{{Resources: planner.Resources{planner.ResourceCPU: 1000}, Count: 1}}
	}
	c.WorkerGroups = []planner.WorkerGroup{g}
	s.RayClusters = []planner.RayCluster{c}
	return s, m
}

func (w mini) pod(i int) planner.Pod {
	name := fmt.Sprintf("w%d-%d", i, w.Slots[i].Gen)
	return planner.Pod{
		Namespace: "ml", Name: name, UID: name, Node: fmt.Sprintf("n%d", i), RayCluster: "ml/r", RayGroup: "w",
		Shape: planner.PodShape{Requests: planner.Resources{planner.ResourceCPU: 4000}},
	}
}

// remember keeps what a tick that was not cut short remembers.
func (w *mini) remember(m planner.Memory) {
	for i := range w.Slots {
		_, w.Slots[i].IdleSeen = m.Idle[fmt.Sprintf("n%d", i)]
		w.Slots[i].Refused = w.Slots[i].Refused && w.Slots[i].Cordon
	}
}

func (w *mini) forget() {
	for i := range w.Slots {
		w.Slots[i].IdleSeen, w.Slots[i].Refused = false, false
	}
}

func slotOf(name string) int { return int(name[len(name)-1] - '0') }

// take carries out one step the way the actuators do: they read its
// precondition again, and refuse it when it does not hold.
func (w *mini) take(st planner.Step) {
	switch st.Kind {
	case planner.StepGrow:
		if w.Replicas == st.From {
			w.Replicas = st.To
		}
	case planner.StepGrowWorkers:
		if w.Workers == st.From {
			w.Workers = st.To
		}
	case planner.StepCordon, planner.StepUncordon:
		sl := &w.Slots[slotOf(st.Node)]
		listed := !sl.Pod
		for _, r := range st.Pods {
			listed = listed || r.UID == w.pod(slotOf(st.Node)).UID
		}
		if sl.Machine != "" && (listed || st.Kind == planner.StepUncordon) {
			sl.Cordon = st.Kind == planner.StepCordon
		}
	case planner.StepUnmark, planner.StepHook, planner.StepReleaseHook:
		for _, name := range st.Machines {
			w.mark(st, &w.Slots[slotOf(name)])
		}
	case planner.StepDrain:
		w.drain(st)
	case planner.StepShrinkWorkers:
		w.shrinkWorkers(st)
	case planner.StepReplaceWorker:
		if i := w.byPod(st.Pods[0].UID); i >= 0 && w.Slots[i].Ray == rayDead {
			w.Slots[i].Pod, w.Slots[i].Ray, w.Slots[i].Named = false, "", false
		}
	case planner.StepClearWorkers:
		w.Stale = false
	case planner.StepRemove:
		w.remove(st)
	case planner.StepSoftTaint, planner.StepSoftUntaint, planner.StepEvict, planner.StepRemember:
	}
}

func (w *mini) byPod(uid string) int {
	for i := range w.Slots {
		if w.Slots[i].Pod && w.pod(i).UID == uid {
			return i
		}
	}
	return -1
}

func (w *mini) mark(st planner.Step, sl *slot) {
	switch {
	case sl.Machine == "":
	case st.Kind == planner.StepUnmark:
		sl.Mark = false
	case st.Kind == planner.StepHook:
		sl.Hook = sl.Hook || sl.Machine == "up"
	case sl.Machine == "deleting" && sl.Cordon && !sl.Pod:
		sl.Hook = false
	}
}

// drain is what the GCS does: a preemption is never refused, an idle
// termination of a raylet that works is.
func (w *mini) drain(st planner.Step) {
	i := w.byPod(st.Pods[0].UID)
	if i < 0 || w.Slots[i].Ray != rayIdle && w.Slots[i].Ray != rayBusy {
		return
	}
	switch {
	case w.Slots[i].Ray == rayIdle:
		w.Slots[i].Ray = rayDead
	case st.Drain == planner.DrainIdle:
		w.Slots[i].Refused = true
	}
}

func (w *mini) shrinkWorkers(st planner.Step) {
	if w.Workers != st.From {
		return
	}
	for _, r := range st.Pods {
		if i := w.byPod(r.UID); r.UID != "pending" && (i < 0 || w.Slots[i].Ray != rayDead) {
			return
		}
	}
	for _, r := range st.Pods {
		if r.UID == "pending" {
			w.Pending, w.Stale = false, true
			continue
		}
		w.Slots[w.byPod(r.UID)].Named = true
	}
	w.Workers = st.To
}

func (w *mini) remove(st planner.Step) {
	if w.Replicas != st.From {
		return
	}
	for _, name := range st.Machines {
		if sl := w.Slots[slotOf(name)]; sl.Machine != "up" || !sl.Cordon || sl.Pod {
			return
		}
	}
	for _, name := range st.Machines {
		w.Slots[slotOf(name)].Mark = true
	}
	w.Replicas = st.To
}

// settle lets the controllers and Ray come to rest, one move at a time. It
// tells whether anything moved.
func (w mini) moves() []mini {
	var out []mini
	add := func(f func(*mini)) {
		n := w
		f(&n)
		out = append(out, n)
	}
	live := int64(0)
	for i, sl := range w.Slots {
		if sl.Pod && !sl.Named {
			live++
		}
		switch {
		case sl.Pod && sl.Named: // the operator deletes it
			add(func(n *mini) { n.Slots[i].Pod, n.Slots[i].Named, n.Slots[i].Ray, n.Stale = false, false, "", true })
		case sl.Pod && sl.Ray == rayJoining:
			add(func(n *mini) { n.Slots[i].Ray = rayIdle })
		case sl.Pod && sl.Ray == rayLost: // its probe fails
			add(func(n *mini) { n.Slots[i].Pod, n.Slots[i].Ray = false, "" })
		case sl.Machine == "deleting" && !sl.Hook: // Cluster API goes on
			add(func(n *mini) { n.Slots[i] = slot{} })
		case sl.Machine == "up" && sl.Mark && w.alive() > w.Replicas:
			add(func(n *mini) { n.Slots[i].Machine = "deleting" })
		case sl.Machine == "" && w.alive() < w.Replicas:
			add(func(n *mini) { n.Slots[i] = slot{Machine: "up"} })
		case sl.Machine == "up" && !sl.Cordon && !sl.Pod && w.Pending:
			add(func(n *mini) { n.schedule(i) })
		case sl.Pod && sl.Ray == rayIdle && w.Waiting:
			add(func(n *mini) { n.Slots[i].Ray, n.Waiting = rayBusy, false })
		}
	}
	if w.Pending {
		live++
	}
	if live < w.Workers && !w.Pending {
		add(func(n *mini) { n.Pending = true })
	}
	return out
}

func (w *mini) schedule(i int) {
	s := &w.Slots[i]
	s.Pod, s.Ray, s.Gen, w.Pending, s.IdleSeen = true, rayJoining, 1-s.Gen, false, false
}

// faults are what else may happen at any time, a bounded number of times.
func (w mini) faults() []mini {
	if w.Faults == 0 {
		return nil
	}
	w.Faults--
	var out []mini
	add := func(f func(*mini)) {
		n := w
		f(&n)
		out = append(out, n)
	}
	add(func(n *mini) { // the head restarts and forgets every raylet and drain
		for i := range n.Slots {
			switch n.Slots[i].Ray {
			case rayIdle, rayBusy:
				n.Slots[i].Ray = rayJoining
			case rayDead:
				n.Slots[i].Ray = rayLost
			}
		}
	})
	add(func(n *mini) { n.forget() }) // the coordinator restarts
	if !w.Waiting {
		add(func(n *mini) { n.Waiting = true }) // a new task
	}
	for i, sl := range w.Slots {
		if sl.Machine == "up" {
			add(func(n *mini) { n.Slots[i].Machine, n.Slots[i].Bare = "deleting", !n.Slots[i].Hook })
		}
		if sl.Pod { // the pod dies and is made anew elsewhere or here
			add(func(n *mini) { n.Slots[i].Pod, n.Slots[i].Ray, n.Slots[i].Named = false, "", false })
		}
	}
	return out
}

// ends lets tasks finish.
func (w mini) ends() []mini {
	var out []mini
	for i, sl := range w.Slots {
		if sl.Ray == rayBusy {
			n := w
			n.Slots[i].Ray = rayIdle
			out = append(out, n)
		}
	}
	return out
}

// round is what the planner said about a world; it says the same every time.
type round struct {
	plan planner.Plan
	next planner.Memory
}

var rounds = map[mini]round{}

// ticks are the worlds after one round of the coordinator that saw the world
// `seen`: complete, or cut short after any number of writes.
func (w mini) ticks(t *testing.T, seen mini) []mini {
	t.Helper()
	seen.Faults = 0 // which nobody can see
	r, known := rounds[seen]
	if !known {
		s, m := seen.snapshot()
		r.plan, r.next = planner.Make(s, m)
		if err := planner.Check(s, r.plan); err != nil {
			t.Fatalf("%v\n%s", err, tell(r.plan))
		}
		rounds[seen] = r
	}
	plan, next := r.plan, r.next
	out := make([]mini, 0, len(plan.Steps)+1)
	n := w
	for _, st := range plan.Steps {
		cut := n
		cut.forget()
		out = append(out, cut)
		n.take(st)
	}
	n.remember(next)
	return append(out, n)
}

// unsafe tells whether a Machine went with a Ray pod on it while our hook or
// our own shrink was there to prevent it.
func (w mini) unsafe(next mini) string {
	for i, sl := range w.Slots {
		if sl.Machine == "deleting" && next.Slots[i].Machine == "" && sl.Pod && !sl.Bare {
			return fmt.Sprintf("Machine n%d went with a Ray pod on it: %+v", i, w)
		}
		if !sl.Mark && next.Slots[i].Mark && (sl.Pod || !sl.Cordon) {
			return fmt.Sprintf("Machine n%d was given up with a Ray pod on it: %+v", i, w)
		}
	}
	return ""
}

// TestEveryInterleaving searches, breadth first, every order of ticks, crashes
// between any two writes, stale reads, moves of the controllers and faults on a
// world of two nodes, with the planner itself as transition function. No
// Machine may go while a Ray pod is on it, and from every state that is reached
// everything is given back once the faults end.
//
// Fault 18: a drain is refused because a task came first.
// Fault 19: a drain is accepted and the coordinator crashes before its patch.
// Fault 20: a task comes after the cordon.
// Fault 21: a pod is made anew while its node is on the way out.
// Fault 35: somebody else deletes a Machine with Ray work on it.
// Fault 42: a crash between any two writes.
// Fault 44: a coordinator that was paused acts on what it saw before.
func TestEveryInterleaving(t *testing.T) {
	start := mini{Replicas: 2, Workers: 2, Faults: 2}
	for i := range start.Slots {
		start.Slots[i] = slot{Machine: "up", Hook: true, Pod: true, Ray: rayIdle}
	}
	start.Slots[1].Ray = rayBusy
	seen := map[mini]bool{start: true}
	queue := []mini{start}
	edges := 0
	for len(queue) > 0 {
		w := queue[0]
		queue = queue[1:]
		next := w.ticks(t, w)
		for _, after := range append(append(w.moves(), w.faults()...), w.ends()...) {
			next = append(next, after)
			if after.Faults < w.Faults && after != w { // the tick that comes now saw the world before
				next = append(next, after.ticks(t, w)...)
			}
		}
		for _, n := range next {
			edges++
			if why := w.unsafe(n); why != "" {
				t.Fatal(why)
			}
			if !seen[n] {
				seen[n] = true
				queue = append(queue, n)
			}
		}
	}
	reach := map[mini]int{}
	for w := range seen {
		if end := w.rest(t, reach); end != (mini{}) {
			t.Fatalf("from %+v everything comes to rest at %+v", w, end)
		}
	}
	t.Logf("%d states, %d transitions: none unsafe, the goal is reached from each", len(seen), edges)
	require.Greater(t, len(seen), 500)
}

// rest lets everything run without faults until nothing moves any more, and
// returns what is left of the world.
func (w mini) rest(t *testing.T, known map[mini]int) mini {
	t.Helper()
	w.Faults = 0
	var path []mini
	for range 200 {
		if known[w] == 1 {
			break
		}
		path = append(path, w)
		next := w
		if m := append(w.moves(), w.ends()...); len(m) > 0 {
			next = m[0]
		}
		all := next.ticks(t, next)
		next = all[len(all)-1]
		if next == w {
			if left := w.left(); left != (mini{}) {
				return left
			}
			break
		}
		w = next
	}
	if known[w] != 1 && w.left() != (mini{}) {
		return w
	}
	for _, p := range path {
		known[p] = 1
	}
	return mini{}
}

// left is the world without what does not matter at the end.
func (w mini) left() mini {
	w.Faults = 0
	for i := range w.Slots {
		w.Slots[i].Gen = 0
	}
	return w
}
