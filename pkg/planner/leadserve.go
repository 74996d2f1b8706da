package planner

import (
	"fmt"
	"slices"
)

// serve puts n requests on Ray nodes, new ones where there is no room, in the
// order of the selectors. It returns how many it could not.
func (l *leading) serve(r Resources, selectors []Selector, n int64) int64 {
	if len(selectors) == 0 {
		selectors = []Selector{nil}
	}
	l.refusal = refusal{}
	for _, sel := range selectors {
		a := l.ask(r, sel)
		n = l.fill(l.bins, &a, n)
		for n > 0 {
			opened := l.open(&a, n, nil)
			if opened == nil {
				break
			}
			n = l.fill([]*rayBin{opened}, &a, n)
		}
	}
	return n
}

// fill puts up to n requests into the bins and returns how many are left.
func (l *leading) fill(bins []*rayBin, a *ask, n int64) int64 {
	l.p.work -= int64(10 + 3*len(bins)) // about what this takes
	for _, b := range bins {
		if n == 0 {
			break
		}
		k := b.times(a, n)
		if k == 0 || !a.selector.matches(b.labels.labels) {
			continue
		}
		all := b.count
		m := min(all, n/k)
		if m > 0 {
			l.take(b, a, k, m)
			n -= k * m
		}
		if n > 0 && m < all {
			l.take(b, a, n, 1)
			n = 0
		}
	}
	return n
}

// take puts k requests on each of m nodes of the bin, which the caller has
// asked by times, and returns the bin of these nodes.
func (l *leading) take(b *rayBin, a *ask, k, m int64) *rayBin {
	nb := l.split(b, m)
	free, devices := nb.free, nb.devices
	nb.free, nb.devices = free.minus(a.need, k), takeGPUs(devices, a.gpu, k)
	nb.used += k
	l.p.undo = append(l.p.undo, func() {
		nb.free, nb.devices = free, devices
		nb.used -= k
	})
	return nb
}

// split makes a bin of its own of m of the bin's nodes.
func (l *leading) split(b *rayBin, m int64) *rayBin {
	if m == b.count {
		return b
	}
	nb := *b
	nb.count = m
	b.count -= m
	l.bins = append(l.bins, &nb)
	n := len(l.bins)
	l.p.undo = append(l.p.undo, func() {
		l.bins = l.bins[:n-1]
		b.count += m
	})
	return &nb
}

// candidate is a worker group that could serve a request.
type candidate struct {
	index    int
	replicas int64 // how many would be used in full, at least one
	rank     [6]int64
}

// open adds replicas of the worker group that serves n requests at the lowest
// price, no more than they fill. suits, if given, narrows the groups further. It
// returns nil and sets the refusal when none can be added.
func (l *leading) open(a *ask, n int64, suits func(*rayBin) bool) *rayBin {
	found := l.candidates(a, n, suits)
	var first refusal // of the group that would have been best
	for i, c := range found {
		if b := l.openReplicas(c.index, c.replicas); b != nil {
			return b
		}
		if i == 0 {
			first = l.refusal
		}
	}
	if len(found) > 0 {
		l.refusal = first
	}
	return nil
}

func (l *leading) candidates(a *ask, n int64, suits func(*rayBin) bool) []candidate {
	l.p.work -= int64(len(l.c.WorkerGroups) * (20 + 8*len(l.p.groups))) // about what this takes
	found := l.found[:0]
	l.refusal = refusal{why: ReasonNoWorkerGroup, message: "no worker group is large enough"}
	for i := range l.c.WorkerGroups {
		w, empty := &l.c.WorkerGroups[i], l.empty[i]
		k := empty.times(a, n)
		if w.Invalid != "" || w.Suspended || k == 0 || suits != nil && !suits(empty) {
			continue
		}
		if !a.selector.matches(w.Labels) {
			l.refuse(ReasonLabels, "worker group "+w.Name+" does not carry the labels")
			continue
		}
		room := w.Max - w.base() - l.opened[w.Name]
		// Pods that wait already, and those with a node to come before others,
		// come before pods to ask for; so do those of a wish, for they will be
		// waiting in the next plan.
		waits, wish := int64(len(l.waiting[w.Name])), l.wish[w.Name]
		switch {
		case waits > 0:
			room = (waits + w.hosts() - 1) / w.hosts()
		case wish > 0:
			room = min(room, wish)
		}
		if room <= 0 {
			l.refuse(ReasonWorkersAtMax, fmt.Sprintf("worker group %s is at maxReplicas %d", w.Name, w.Max))
			continue
		}
		each := mulSat(k, w.hosts())
		most := min(n/each, room)
		o := l.offer(i, max(1, mulSat(most, w.hosts())))
		rank := mulSat(o.price, w.hosts()) / max(1, min(n, each))
		if o.asked == 0 && l.way.largest {
			rank = -l.nominal[i]
		}
		waste := int64(0)
		if a.gpu == 0 && len(empty.devices) > 0 {
			waste = 1
		}
		found = append(found, candidate{
			i, max(1, min(most, o.pods/w.hosts())),
			[6]int64{waste, o.asked, o.roomless, rank, -w.Priority, int64(i)},
		})
	}
	slices.SortFunc(found, func(a, b candidate) int { return slices.Compare(a.rank[:], b.rank[:]) })
	l.found = found
	return found
}

// offer is at what price how many pods of a worker group can be had: asked is 0
// for those that are asked for already or are a wish, and roomless 1 for those
// of them that no node has room for.
type offer struct{ price, pods, asked, roomless int64 }

// offer prices up to most pods of the worker group with index i.
func (l *leading) offer(i int, most int64) offer {
	w := &l.c.WorkerGroups[i]
	s := l.p.shape(&w.Pod)
	waits, wish := len(l.waiting[w.Name]) > 0, l.wish[w.Name] > 0
	if wish && !waits && !l.p.noRoom[wanting{l.p.tenant, s}] {
		return offer{price: l.nominal[i] / w.hosts(), pods: unbounded}
	}
	price, pods := l.p.podPrice(s, most)
	switch {
	case !waits && !wish:
		return offer{price: price, pods: pods, asked: 1}
	case price == unbounded:
		return offer{price: price, pods: pods, roomless: 1}
	case price > 1 && waits:
		return offer{price: l.nominal[i] / w.hosts(), pods: unbounded, roomless: 1}
	}
	return offer{price: l.nominal[i] / w.hosts(), pods: unbounded}
}

func (l *leading) refuse(why Reason, message string) {
	if l.refusal.why == ReasonNoWorkerGroup || why == ReasonWorkersAtMax {
		l.refusal = refusal{why: why, message: message}
	}
}

// openReplicas adds up to n replicas whose pods find room on nodes: of the pods
// that wait already, else more. A replica is opened with all its pods or not at
// all. It returns nil if there is no room for one.
func (l *leading) openReplicas(i int, n int64) *rayBin {
	w := &l.c.WorkerGroups[i]
	waiting := l.waiting[w.Name]
	asked := len(waiting) > 0
	s, pods := l.p.shape(&w.Pod), mulSat(n, w.hosts())
	if asked {
		s, pods = waiting[0], min(pods, equalPrefix(waiting))
	}
	place := l.p.place
	if asked {
		place = l.p.placeWaiting
	}
	mark := l.p.mark()
	demand := podsOf(l.c.Key(), w.Name)
	if left := place(s, demand, pods); left > 0 {
		l.p.rollback(mark)
		pods -= left
		if !asked {
			pods -= pods % w.hosts()
		}
		if pods <= 0 || place(s, demand, pods) > 0 {
			l.p.rollback(mark)
			l.refusal = refusal{pod: s, group: w.Name}
			return nil
		}
	}
	var replicas, wished, dearer int64
	if asked {
		l.waiting[w.Name] = waiting[pods:]
	} else {
		replicas = pods / w.hosts()
		wished = min(l.wish[w.Name], replicas)
		l.opened[w.Name] += replicas
		if wished > 0 {
			l.wish[w.Name] -= wished
		}
		dearer = mulSat(l.nominal[i], replicas-wished)
		l.dearer = addSat(l.dearer, dearer)
	}
	b := l.fresh(i, pods)
	l.bins = append(l.bins, b)
	known := len(l.bins)
	l.p.undo = append(l.p.undo, func() {
		l.opened[w.Name] -= replicas
		if wished > 0 {
			l.wish[w.Name] += wished
		}
		l.dearer -= dearer
		l.waiting[w.Name] = waiting
		l.bins = l.bins[:known-1]
	})
	return b
}

// equalPrefix counts the pods at the front that are of one shape.
func equalPrefix(shapes []*shape) int64 {
	n := slices.IndexFunc(shapes, func(s *shape) bool { return s != shapes[0] })
	if n < 0 {
		n = len(shapes)
	}
	return int64(n)
}

// podPrice estimates what one more pod of the shape costs, and for how many
// pods that holds, of those that are asked about: nothing where it fits on a
// node that is there or already bought, else its share of the cheapest new node.
func (p *planning) podPrice(s *shape, most int64) (price, pods int64) {
	if p.noRoom[wanting{p.tenant, s}] {
		return unbounded, unbounded
	}
	for _, bins := range p.roomFor(s) {
		for _, b := range bins {
			if k := b.fits(s, most); k > 0 {
				pods = addSat(pods, mulSat(k, b.count))
			}
			if pods >= most {
				return 1, pods
			}
		}
	}
	if pods > 0 {
		return 1, pods
	}
	best := int64(unbounded)
	for _, g := range p.groups {
		if share := s.shareOn(g); share < best && p.refuses(g, s) == "" {
			best = share
		}
	}
	return best, unbounded
}

// nominalPrice is what a pod of the shape would cost as its share of the
// cheapest empty node that holds it, whatever there is and may be bought now.
func (p *planning) nominalPrice(s *shape) int64 {
	best := int64(unbounded)
	for _, g := range p.groups {
		if g.Managed && len(g.Capacity) > 0 && g.holds(s) {
			best = min(best, s.shareOn(g))
		}
	}
	return best
}
