package planner

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/tandem-autoscaler/tandem/pkg/planner/rayv2"
)

// raysView is what Ray's own scheduler makes of the cluster with some more
// replicas.
type raysView struct {
	*following
	prediction

	slots []raySlot
}

// raySlot is one instance that the scheduler sees: one of the nodes of a bin, or
// a pod of the worker group with the given index that waits or is a wish.
type raySlot struct {
	node  *RayNode // if it serves
	bin   *rayBin
	group int
	used  bool // by a demand that is to be put there
}

// placedAsRay tells what of a demand is settled where Ray's own scheduler has
// placed it: request_resources, and which gangs.
type placedAsRay struct {
	constraints bool
	gangs       map[int]bool
}

// viewOf asks the model of Ray's scheduler about the Ray nodes that serve and
// come, the pods that wait and the wished-for replicas, as far as a plan may
// spend that.
func (l *leading) viewOf(wish map[string]int64) *raysView {
	things := int64(len(l.requests) + len(l.c.rayNodes) + len(l.c.pods) + 8)
	for _, g := range l.c.Gangs {
		for _, o := range g.Options {
			things += int64(len(o.Bundles))
		}
	}
	if l.p.work -= things * 500; l.p.work <= 0 {
		return nil
	}
	v := &raysView{following: &following{p: l.p, c: l.c}}
	v.nodeTypes()
	byGroup := map[string][]int{}
	for i, n := range l.c.rayNodes {
		switch {
		case l.at[i] == nil:
		case n.Head:
			v.add(headGroup, rayv2.KindHead, n, nil)
			v.slots = append(v.slots, raySlot{node: n, bin: l.at[i]})
		default:
			byGroup[n.Group] = append(byGroup[n.Group], i)
		}
	}
	// A group's nodes keep their places in the list whatever becomes of them, for
	// these break ties.
	for i := range l.c.WorkerGroups {
		w := &l.c.WorkerGroups[i]
		if w.Invalid != "" || w.Suspended {
			continue // Ray's scheduler does not know the type
		}
		for _, k := range byGroup[w.Name] {
			v.add(w.Name, rayv2.KindWorker, l.c.rayNodes[k], nil)
			v.slots = append(v.slots, raySlot{node: l.c.rayNodes[k], bin: l.at[k]})
		}
		if b := l.coming[i]; b != nil {
			v.pending(w, raySlot{bin: b}, b.count)
		}
		more := min(wish[w.Name], max(0, w.Max-w.base()))
		v.pending(w, raySlot{group: i}, min(addSat(int64(len(l.waiting[w.Name])), mulSat(more, w.hosts())), 10_000))
	}
	gangs, _ := l.c.demand()
	v.prediction = v.predict(gangs, l.requests)
	return v
}

// pending adds n instances that do not run Ray yet.
func (v *raysView) pending(w *WorkerGroup, slot raySlot, n int64) {
	for range n {
		v.add(w.Name, rayv2.KindWorker, nil, nil)
		v.slots = append(v.slots, slot)
	}
}

// view is what Ray's own scheduler makes of the cluster with the wished-for
// replicas, or nil. It is asked once for each wish.
func (l *leading) view(wish map[string]int64) *raysView {
	key := fmt.Sprint(wish)
	v, known := l.rays[key]
	if !known {
		v = l.viewOf(wish)
		l.rays[key] = v
	}
	return v
}

// settled tells whether Ray's own scheduler asks for nothing more.
func (v *raysView) settled() bool { return v != nil && v.out.Err == nil && len(v.out.Launches) == 0 }

// raysWishes is what Ray's own scheduler would launch now, and all that it would
// in the end: it may ask for more once it counts what it has asked for as nodes
// that come.
func (l *leading) raysWishes() (now, rest map[string]int64) {
	for range 4 {
		v := l.view(rest)
		if v == nil || v.out.Err != nil || v.settled() {
			break
		}
		rest = maps.Clone(rest)
		if rest == nil {
			rest = map[string]int64{}
		}
		more := map[string]int64{}
		for _, launch := range v.out.Launches {
			more[launch.Type] += launch.Count
		}
		for name, n := range more {
			hosts := l.c.workerGroup(name).hosts()
			rest[name] += (n + hosts - 1) / hosts
		}
		if now == nil {
			now = maps.Clone(rest)
		}
	}
	return now, rest
}

// likeRay puts on Ray nodes what Ray's own scheduler would, where it would: it
// leaves in of what it does not, and what it would only put on replicas that are
// neither asked for nor a wish. Ray's scheduler is deterministic, so the next
// plan, which finds the wished-for replicas asked for, does the same. Nothing is
// placed if not all that Ray uses has room.
func (l *leading) likeRay(of []int64) placedAsRay {
	v := l.view(l.wish)
	if v == nil || v.out.Err != nil {
		return placedAsRay{}
	}
	v = new(*v) // others look at the same view
	v.slots = slices.Clone(v.slots)
	done := placedAsRay{constraints: true, gangs: map[int]bool{}}
	held := false // request_resources, by Ray
	for _, o := range v.out.Constraints {
		held = o.Unplaced == 0 && v.uses(instancesOf(o.On))
	}
	gangs, _ := l.c.demand()
	for i, g := range gangs {
		done.gangs[i] = l.mayBe(g, v, v.out.Bundles[i]) && v.uses(v.out.Bundles[i])
	}
	for _, o := range v.out.Requests {
		for _, share := range o.On {
			v.uses([]int{share.Instance})
		}
	}
	mark := l.p.mark()
	if !l.openUsed(v) {
		l.p.rollback(mark)
		return placedAsRay{}
	}
	if !held {
		l.constraints()
	}
	for i := range v.slots {
		if s := &v.slots[i]; s.used && s.node != nil {
			l.held[s.node] = true
		}
	}
	for i, g := range gangs {
		done.gangs[i] = done.gangs[i] && l.putBundles(g.Options[0].Bundles, v, v.out.Bundles[i])
	}
	for i, r := range l.requests {
		for _, share := range v.out.Requests[i].On {
			if share.Instance >= 0 {
				of[i] -= l.putRequests(r, v.slots[share.Instance].bin, share.Count)
			}
		}
	}
	return done
}

func instancesOf(on []rayv2.Share) []int {
	out := make([]int, 0, len(on))
	for _, share := range on {
		out = append(out, share.Instance)
	}
	return out
}

// uses notes that a demand is on the instances, if it is whole on such.
func (v *raysView) uses(on []int) bool {
	if slices.Contains(on, -1) {
		return false
	}
	for _, i := range on {
		v.slots[i].used = true
	}
	return true
}

// mayBe tells whether a placement group may be where Ray would have it. Ray
// splits one with the strategy STRICT_PACK where bundles want different labels,
// and mixes types of accelerators.
func (l *leading) mayBe(g Gang, v *raysView, on []int) bool {
	if on == nil {
		return false
	}
	if g.Strategy == StrictPack && slices.ContainsFunc(on, func(i int) bool { return i != on[0] }) {
		return false
	}
	if len(g.Options) == 0 || len(l.acceleratorTypes(g.Options[0])) == 0 {
		return true
	}
	types := map[string]bool{}
	for k, b := range g.Options[0].Bundles {
		if b.Resources[ResourceGPU] > 0 && !b.asksType() && on[k] >= 0 {
			types[l.labelsOf(&v.slots[on[k]])[acceleratorLabel]] = true
		}
	}
	return len(types) <= 1
}

func (l *leading) labelsOf(s *raySlot) map[string]string {
	if s.bin != nil {
		return s.bin.labels.labels
	}
	return l.c.WorkerGroups[s.group].Labels
}

// hardestFirst lists the worker groups, those first whose pods are hardest to
// place, as where pods are placed that Ray has asked for: nodes may be few.
func (l *leading) hardestFirst() []int {
	out := make([]int, len(l.c.WorkerGroups))
	for i := range out {
		out[i] = i
	}
	slices.SortStableFunc(out, func(i, j int) int {
		a, b := l.c.WorkerGroups[i].Pod.Requests, l.c.WorkerGroups[j].Pod.Requests
		return cmp.Or(cmp.Compare(b[ResourceGPU], a[ResourceGPU]), cmp.Compare(b[ResourceMemory], a[ResourceMemory]),
			cmp.Compare(b[ResourceCPU], a[ResourceCPU]), cmp.Compare(l.c.WorkerGroups[i].Name, l.c.WorkerGroups[j].Name))
	})
	return out
}

// openUsed opens the replicas that are used, and makes a bin of its own of every
// Ray node that is. It fails where there is no room.
func (l *leading) openUsed(v *raysView) bool {
	virtual := make([][]*raySlot, len(l.c.WorkerGroups))
	for i := range v.slots {
		switch s := &v.slots[i]; {
		case !s.used:
		case s.bin == nil:
			virtual[s.group] = append(virtual[s.group], s)
		default:
			s.bin = l.split(s.bin, 1)
		}
	}
	for _, i := range l.hardestFirst() {
		slots := virtual[i]
		hosts := l.c.WorkerGroups[i].hosts()
		for len(slots) > 0 {
			b := l.openReplicas(i, (int64(len(slots))+hosts-1)/hosts)
			if b == nil {
				return false
			}
			n := min(b.count, int64(len(slots)))
			for _, s := range slots[:n] {
				s.bin = l.split(b, 1)
			}
			slots = slots[n:]
		}
	}
	return true
}

// putBundles puts every bundle on its Ray node, or none.
func (l *leading) putBundles(bundles []Bundle, v *raysView, on []int) bool {
	mark := l.p.mark()
	for k, b := range bundles {
		a := l.ask(b.Resources, b.Selector)
		bin := v.slots[on[k]].bin
		if !a.selector.matches(bin.labels.labels) || bin.times(&a, 1) == 0 {
			l.p.rollback(mark)
			return false
		}
		l.take(bin, &a, 1, 1)
	}
	return true
}

// putRequests puts up to n equal requests on one Ray node, and tells how many.
// They are fewer where they fit by the sum of its GPUs only.
func (l *leading) putRequests(r Request, b *rayBin, n int64) int64 {
	selectors := r.Selectors
	if len(selectors) == 0 {
		selectors = []Selector{nil}
	}
	for _, s := range selectors {
		if !s.matches(b.labels.labels) {
			continue
		}
		a := l.ask(r.Resources, s)
		if n = b.times(&a, n); n > 0 {
			l.take(b, &a, n, 1)
		}
		return n
	}
	return 0
}
