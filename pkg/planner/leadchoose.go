package planner

import (
	"fmt"
	"maps"
	"slices"
)

// Which replicas a cluster in lead mode opens is tried out: as one gang and one
// request after the other would open them, in several ways, as the packing core
// chooses them for all requests at once, and as Ray itself would. The choice
// that serves most at the least cost is taken, and serves what Ray would serve:
// so the plan is never worse than Ray's own, as far as the budget lasts.

// order is the order in which requests are served.
type order int

// The orders: those with the most GPUs first; by the largest share of what a
// worker group has; and as Ray has it, by the amounts in the order of the names
// of the resources.
const (
	byGPUs order = iota
	byShare
	byNames
)

// way is how a trial goes about it: an order, whether the largest of the
// replicas that are asked for are used first, or those that suit a request at
// the least price, whether placement groups with the strategy PACK are not
// packed, and whether the demand is put on replicas as the packing core puts it,
// or as Ray's own scheduler does.
type way struct {
	order   order
	largest bool
	apart   bool
	exact   bool
	asRay   bool
}

// ways lists the ways to try.
func (l *leading) ways() []way {
	out := []way{
		{order: byGPUs}, {order: byNames, largest: true}, {order: byShare}, {order: byShare, largest: true}, {order: byGPUs, largest: true}, {order: byNames},
	}
	if slices.ContainsFunc(l.c.Gangs, func(g Gang) bool { return g.Strategy == Pack }) {
		out = append(out, way{order: byGPUs, apart: true}, way{order: byNames, largest: true, apart: true}, way{order: byShare, largest: true, apart: true})
	}
	return append(out, way{order: byGPUs, exact: true}, way{order: byGPUs, asRay: true})
}

// choice is what a trial is made with: a way, and a wish for replicas by worker
// group.
type choice struct {
	way

	wish map[string]int64
}

// trial is what came of a choice: the replicas that were opened and the pods that
// got their turn of those that wait, by worker group, how many Machines were
// bought, and what is left of each demand.
type trial struct {
	choice

	opened, used map[string]int64
	bought       int64
	left         []int64
}

// serves tells whether of no demand more is left than in the other trial.
func (t *trial) serves(other trial) bool {
	for i, n := range t.left {
		if n > other.left[i] {
			return false
		}
	}
	return true
}

// whole tells whether everything is served.
func (t *trial) whole() bool {
	return !slices.ContainsFunc(t.left, func(n int64) bool { return n > 0 })
}

// serveBest serves in the plain way, and in a better one where that opens
// replicas, buys nodes for pods that wait, or leaves such pods and demand.
func (l *leading) serveBest() {
	// Each cluster has its part of what is left, and one of which a single trial
	// takes much of that is served in the plain way.
	start := l.p.work
	floor := start - start/max(1, int64(len(l.p.leads)-l.p.led))
	l.p.led++
	mark, unmet := l.p.mark(), len(l.p.unmet)
	plain := l.attempt(choice{way: l.ways()[0]})
	if plain.suffices(l) || start-l.p.work > (start-floor)/20 {
		return
	}
	l.p.rollback(mark)
	l.p.unmet = l.p.unmet[:unmet]
	l.serveAll(l.choose(plain, floor))
}

// suffices tells whether no other way can be better: nothing is opened or bought,
// and nothing is left that an empty Ray node would hold. Where something is left,
// another way may serve more with the same Ray nodes, as the plan did that asked
// for them.
func (t *trial) suffices(l *leading) bool {
	if len(t.opened) > 0 || t.bought > 0 && len(t.used) > 0 {
		return false
	}
	first := len(t.left) - len(l.requests)
	for i, n := range t.left {
		if n > 0 && (i < first || l.fitsSomewhere(l.requests[i-first])) {
			return false
		}
	}
	return true
}

// fitsSomewhere tells whether an empty Ray node of some worker group holds the
// request, whatever its labels.
func (l *leading) fitsSomewhere(r Request) bool {
	a := l.ask(r.Resources, nil)
	return slices.ContainsFunc(l.empty, func(b *rayBin) bool { return b.times(&a, 1) > 0 })
}

// choose finds the choice to carry out; first is the trial of the plain way. What
// Ray would serve is served. A choice counts only if its wish comes true: then
// the next plan, which finds the replicas asked for, makes the same one (rule
// I5).
func (l *leading) choose(first trial, floor int64) choice {
	ways := l.ways()
	costs := costs{l, map[string]int64{}}
	plain, enough := l.asTheyAre(first, &costs)
	if v := l.view(nil); enough != nil && (enough.whole() && enough.bought == 0 || v == nil || v.out.Err != nil || v.settled()) {
		return enough.choice
	}
	now, rest := l.raysWishes()
	wishes := append([]map[string]int64{now, rest}, l.packedWishes()...)
	packed := len(wishes)
	for _, t := range plain {
		wishes = append(wishes, t.opened)
	}
	var best trial
	steady := true
	if enough != nil { // but Ray would ask for more, and may serve more or cost less
		best = *enough
	} else {
		best, steady = l.carryOn(choice{ways[0], first.opened})
	}
	compare := func(c choice) {
		t, ok := l.carryOn(c)
		switch {
		case !ok:
		case c.asRay && !best.serves(t), t.serves(best) && (!steady || !best.serves(t) || costs.of(t) < costs.of(best)):
			best, steady = t, true
		}
	}
	// What Ray would do is tried first: the budget may not last for all.
	if len(rest) > 0 && l.p.work > floor {
		compare(choice{way{asRay: true}, rest})
	}
	for i, wish := range wishes {
		same := func(o map[string]int64) bool { return maps.Equal(o, wish) }
		if len(wish) == 0 || slices.ContainsFunc(wishes[:i], same) {
			continue
		}
		for _, w := range ways {
			if w.exact && !slices.ContainsFunc(wishes[2:packed], same) || w.asRay {
				continue // the packing core only places well what it has chosen
			}
			if l.p.work <= floor {
				return best.choice
			}
			compare(choice{w, wish})
		}
	}
	return best.choice
}

// asTheyAre tries the ways without a wish. If one needs no more replicas and
// serves enough, the cheapest such trial is returned.
func (l *leading) asTheyAre(first trial, costs *costs) (all []trial, enough *trial) {
	base := first
	all = []trial{first}
	var found []trial
	if l.view(nil).settled() {
		if t := l.try(choice{way: way{asRay: true}}, nil); len(t.opened) == 0 {
			found = append(found, t)
			if !first.serves(t) {
				base = t
			}
		}
	}
	if len(first.opened) == 0 {
		found = append([]trial{first}, found...)
	}
	for _, w := range l.ways()[1:] {
		if w.asRay {
			continue
		}
		t := l.try(choice{way: w}, nil)
		if len(t.opened) == 0 {
			found = append(found, t)
		}
		all = append(all, t)
	}
	for i := range found {
		t := &found[i]
		switch {
		case !t.serves(base):
		case enough == nil || !enough.serves(*t) || costs.of(*t) < costs.of(*enough):
			enough = t
		}
	}
	return all, enough
}

// costs are what trials cost, by what they open and use.
type costs struct {
	l     *leading
	known map[string]int64
}

func (c *costs) of(t trial) int64 {
	if len(t.opened) == 0 && t.bought == 0 {
		return 0
	}
	key := fmt.Sprint(t.opened, t.used)
	if _, known := c.known[key]; !known {
		c.known[key] = c.l.cost(t.choice)
	}
	return c.known[key]
}

// carryOn tries a choice, and the wish that comes of it, until it comes true. It
// tells whether it did.
func (l *leading) carryOn(c choice) (t trial, steady bool) {
	for range 3 {
		if t = l.try(c, nil); maps.Equal(t.opened, c.wish) {
			return t, true
		}
		c.wish = t.opened
	}
	t.wish = t.opened
	return t, false
}

// cost is what the new nodes of all clusters so far cost with a choice.
func (l *leading) cost(c choice) (cost int64) {
	l.try(c, func() { cost = l.p.leastCost() })
	return cost
}

// try serves everything with a choice, lets look at what came of it, and takes
// all back.
func (l *leading) try(c choice, look func()) trial {
	mark, unmet := l.p.mark(), len(l.p.unmet)
	t := l.attempt(c)
	if look != nil {
		look()
	}
	l.p.rollback(mark)
	l.p.unmet = l.p.unmet[:unmet]
	l.wish = nil
	return t
}

// attempt serves everything with a choice, and tells what came of it.
func (l *leading) attempt(c choice) trial {
	before, waited, bought := maps.Clone(l.opened), maps.Clone(l.waiting), l.p.bought
	t := trial{choice: c, opened: map[string]int64{}, used: map[string]int64{}, left: l.serveAll(c)}
	for name, n := range l.opened {
		if n > before[name] {
			t.opened[name] = n - before[name]
		}
	}
	for name, pods := range waited {
		if n := len(pods) - len(l.waiting[name]); n > 0 {
			t.used[name] = int64(n)
		}
	}
	t.bought = l.p.bought - bought
	return t
}

// packedWishes lists what the packing core would open.
func (l *leading) packedWishes() (out []map[string]int64) {
	mark, unmet, before := l.p.mark(), len(l.p.unmet), maps.Clone(l.opened)
	rests, ok := l.rests()
	if ok {
		for _, wish := range l.packed(rests) {
			for name, n := range l.opened { // by gangs and constraints
				if n > before[name] {
					wish[name] += n - before[name]
				}
			}
			out = append(out, wish)
		}
	}
	l.p.rollback(mark)
	l.p.unmet = l.p.unmet[:unmet]
	return out
}

// rest is a request with how many of it no Ray node that exists, is on its way
// or is opened for a gang can serve. index is that of the request.
type rest struct {
	Request
	left  int64
	index int
}

// rests serves constraints and strict gangs, and what else finds room beside
// them. Bundles that may go anywhere count like requests. Requests with a choice
// of selectors it leaves to others.
func (l *leading) rests() (out []rest, ok bool) {
	l.constraints()
	gangs, _ := l.c.demand()
	for _, g := range gangs {
		if g.Strategy != Pack && g.Strategy != Spread || len(g.Options) != 1 {
			l.gang(g)
			continue
		}
		for _, b := range g.Options[0].Bundles {
			r := Request{Resources: b.Resources, Count: 1}
			if len(b.Selector) > 0 {
				r.Selectors = []Selector{b.Selector}
			}
			out = l.beside(out, r, -1)
		}
	}
	for i, r := range l.requests {
		if len(r.Selectors) > 1 {
			return nil, false
		}
		out = l.beside(out, r, i)
	}
	return out, len(out) > 0
}

// beside serves what there is room for of a request with at most one selector,
// and adds what is left.
func (l *leading) beside(out []rest, r Request, index int) []rest {
	a := l.ask(r.Resources, onlySelector(r))
	if left := l.fill(l.bins, &a, r.Count); left > 0 {
		out = append(out, rest{r, left, index})
	}
	return out
}

func onlySelector(r Request) Selector {
	if len(r.Selectors) == 0 {
		return nil
	}
	return r.Selectors[0]
}
