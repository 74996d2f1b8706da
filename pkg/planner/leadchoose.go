package planner

import (
	"maps"
	"slices"

	"github.com/tandem-autoscaler/tandem/pkg/planner/packing"
)

// rest is a request with how many of it no Ray node that exists or is on its
// way can serve.
type rest struct {
	Request
	left int64
}

// requests serves the single requests: what is there first, then new replicas.
// Which replicas is tried out, as one request after the other would open them
// and as the packing core would choose them for all requests at once; the
// cheapest choice that serves as much is taken. A choice counts only if the
// next plan, which finds its replicas asked for, makes the same one (rule I5).
func (l *leading) requests() {
	all := sortedRequests(l.c.Requests)
	fallbacks := slices.ContainsFunc(all, func(r Request) bool { return len(r.Selectors) > 1 })
	rests, from := make([]rest, 0, len(all)), 0
	for _, r := range all {
		left := r.Count
		if !fallbacks { // else the order of the selectors comes before what is there
			var sel Selector
			if len(r.Selectors) > 0 {
				sel = r.Selectors[0]
			}
			a := l.ask(r.Resources, sel)
			left = l.fill(l.bins, &a, left)
		}
		if left > 0 {
			rests = append(rests, rest{r, left})
		}
	}
	if !fallbacks {
		from = len(l.bins)
	}
	l.wish = l.choose(rests, from)
	for _, r := range rests {
		if left := l.serve(r.Resources, r.Selectors, r.left, from); left > 0 {
			l.resolve()
			l.unmet("request", r.Resources, left, l.refusal.why, l.refusal)
		}
	}
	clear(l.wish)
}

// trial is what came of a choice of replicas: those that were opened, by worker
// group, and what is left of each request.
type trial struct {
	opened map[string]int64
	left   []int64
}

// choose tells how many replicas of which worker group to open for the rest,
// which the bins up to from cannot serve.
func (l *leading) choose(rests []rest, from int) map[string]int64 {
	best, steady := l.carryOn(rests, from, nil)
	if len(best.opened) == 0 {
		return nil // nothing is opened, or nothing can be
	}
	for _, wish := range l.packed(rests) {
		if maps.Equal(wish, best.opened) {
			continue
		}
		t, ok := l.carryOn(rests, from, wish)
		if !ok || !t.serves(best) {
			continue
		}
		if !steady || l.cost(rests, from, t.opened) < l.cost(rests, from, best.opened) {
			best, steady = t, true
		}
	}
	return best.opened
}

// serves tells whether of no request more is left than in the other trial.
func (t *trial) serves(other trial) bool {
	for i, n := range t.left {
		if n > other.left[i] {
			return false
		}
	}
	return true
}

// carryOn tries a wish, and the wish that comes of it, until it comes true. It
// tells whether it did.
func (l *leading) carryOn(rests []rest, from int, wish map[string]int64) (t trial, steady bool) {
	for range 4 {
		t.left = nil
		l.try(rests, from, wish, func(left []int64, opened map[string]int64) { t = trial{opened, left} })
		if maps.Equal(t.opened, wish) {
			return t, true
		}
		wish = t.opened
	}
	return t, false
}

// cost is what the new nodes of all clusters so far cost with a wish that comes
// true.
func (l *leading) cost(rests []rest, from int, wish map[string]int64) (cost int64) {
	l.try(rests, from, wish, func([]int64, map[string]int64) { cost = l.p.leastCost() })
	return cost
}

// try serves the rest with a wish, shows what came of it, and takes all back.
func (l *leading) try(rests []rest, from int, wish map[string]int64, show func(left []int64, opened map[string]int64)) {
	before := maps.Clone(l.opened)
	mark := l.p.mark()
	l.wish = maps.Clone(wish)
	left := make([]int64, 0, len(rests))
	for _, r := range rests {
		left = append(left, l.serve(r.Resources, r.Selectors, r.left, from))
	}
	opened := map[string]int64{}
	for name, n := range l.opened {
		if n > before[name] {
			opened[name] = n - before[name]
		}
	}
	show(left, opened)
	l.p.rollback(mark)
	l.wish = nil
}

// packed asks the packing core for replicas, once with the price of a pod as
// what whole pods make of an empty node, and once as its dominant share of one.
func (l *leading) packed(rests []rest) []map[string]int64 {
	var out []map[string]int64
	var last packing.Problem
	for _, whole := range []bool{true, false} {
		in, of := l.replicaProblem(rests, whole)
		if len(in.Classes) < 2 || samePrices(in, last) {
			break // there is no choice, or no other one
		}
		last = in
		r, ok := l.p.solve(in, replicaBudget)
		if !ok {
			break
		}
		wish := map[string]int64{}
		for i, n := range r.Nodes {
			if n > 0 && of[i] != "" {
				wish[of[i]] += n
			}
		}
		out = append(out, wish)
	}
	return out
}

func samePrices(a, b packing.Problem) bool {
	return slices.EqualFunc(a.Classes, b.Classes, func(x, y packing.Class) bool { return x.Price == y.Price })
}

// replicaProblem puts the rest in the packing core's terms: a worker group is a
// class, and what waits of it already is one that costs next to nothing. It
// names the worker group that a class adds to.
func (l *leading) replicaProblem(rests []rest, whole bool) (in packing.Problem, of []string) {
	var groups []*WorkerGroup
	add := func(w *WorkerGroup, empty *rayBin, price, most int64, name string) {
		in.Classes = append(in.Classes, packing.Class{
			Name: w.Name, Capacity: empty.free, Devices: int64(len(empty.devices)), Price: price, Max: most, Headroom: packing.Unlimited,
		})
		of, groups = append(of, name), append(groups, w)
	}
	for i := range l.c.WorkerGroups {
		w := &l.c.WorkerGroups[i]
		price := l.p.sharePrice(l.p.shape(&w.Pod), whole)
		if w.Invalid != "" || w.Suspended || w.hosts() > 1 || price == unbounded {
			continue
		}
		if n := int64(len(l.waiting[w.Name])); n > 0 {
			add(w, l.empty[i], 1, n, "")
			continue // more of it is asked for once these are used
		}
		add(w, l.empty[i], price, max(0, w.Max-w.base()-l.opened[w.Name]), w.Name)
	}
	for _, r := range rests {
		s := packing.Shape{Name: r.Resources.Key(), Amounts: l.vector(r.Resources), GPU: r.Resources[ResourceGPU], Count: r.left, Refused: make([]bool, len(groups))}
		for i, w := range groups {
			s.Refused[i] = len(r.Selectors) > 0 && !r.Selectors[0].matches(w.Labels)
		}
		in.Shapes = append(in.Shapes, s)
	}
	return in, of
}

// sharePrice is what a pod of the shape costs on the group that may grow and
// holds it most cheaply: its part of an empty node's price, by the number of
// such pods that the node holds, or by dominant share.
func (p *planning) sharePrice(s *shape, whole bool) int64 {
	best := int64(unbounded)
	for _, g := range p.groups {
		if p.refuses(g, s) != "" {
			continue
		}
		price := shareOf(g.price, s.Requests, g.Capacity)
		if whole {
			price = g.price / max(1, s.need.times(g.dense, unbounded))
		}
		best = min(best, max(1, price))
	}
	return best
}

// leastCost is what the nodes cost that the plan would buy by now, chosen
// again by the packing core.
func (p *planning) leastCost() int64 {
	cost := p.purchase().cost
	items := p.items()
	if len(items) == 0 {
		return cost
	}
	in, _ := p.problem(items, false)
	r, ok := p.solve(in, costBudget)
	if !ok || slices.ContainsFunc(r.Unplaced, func(n int64) bool { return n > 0 }) {
		return cost
	}
	return min(cost, r.Cost)
}
