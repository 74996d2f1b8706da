package planner

import (
	"cmp"
	"slices"
)

// settle is the second half of phase 5. What the demand asked for is known by
// now, pod by pod; the nodes for it are chosen again, for all pods at once: as
// the greedy placement chose them, or by the packing core, whichever is cheaper
// in the end. A choice is carried on until the plain best-fit placement of the
// next plan finds room for every pod on it: a packing that only a perfect
// scheduler would find is not bought, and carrying a plan out leads to no
// further one (rule I5).
func (p *planning) settle() {
	if len(p.fresh) == 0 {
		return
	}
	pods := p.placedPods()
	p.twin.work, p.twin.unmet = nodesBudget, p.unmet
	best, ok := p.twin.bestPurchase(pods, p.purchase())
	p.proven = p.twin.proven
	if !ok {
		return // the greedy placement stays as it is, with a place for every pod
	}
	p.rollback(0)
	p.buy(best, pods)
}

// bestPurchase finds the cheapest choice, if one holds every pod. Nothing may be
// placed so far. Which of the pods need new nodes is found out by best fit, as in
// the next plan, so that it does not matter in which order demand has asked for
// them.
func (p *planning) bestPurchase(pods []wantedPods, greedy purchase) (best purchase, ok bool) {
	choices := []purchase{greedy}
	if _, ok := p.buy(purchase{}, pods); ok {
		choices = append(choices, p.purchase())
	}
	items := p.items()
	p.rollback(0)
	choices = append(choices, p.packed(items)...)
	slices.SortStableFunc(choices, func(a, b purchase) int { return cmp.Compare(a.cost, b.cost) })
	best = purchase{cost: unbounded}
	for i, c := range choices {
		if c.cost >= best.cost || i > 0 && slices.Equal(c.nodes, choices[i-1].nodes) {
			continue
		}
		if c, holds := p.carryOn(c, pods, best.cost); holds && c.cost < best.cost {
			best, ok = c, true
		}
	}
	return best, ok
}

// carryOn buys more until every pod finds room by best fit on what was chosen.
// It fails where that takes too long, breaks a limit, or costs as much as an
// earlier choice.
func (p *planning) carryOn(c purchase, pods []wantedPods, limit int64) (purchase, bool) {
	defer p.rollback(0)
	for range 8 {
		p.rollback(0)
		if !p.mayBuy(c) {
			return c, false
		}
		more, ok := p.buy(c, pods)
		if !ok || p.breaksGPUs() {
			return c, false
		}
		next := p.purchase()
		if more == 0 {
			return next, true
		}
		if next.cost >= limit {
			return c, false
		}
		c = next
	}
	return c, false
}

// purchase is a number of new nodes by group, in the order of the groups, and
// their price with the fees that the policy asks for.
type purchase struct {
	nodes []int64
	cost  int64
}

// purchase is what the plan buys so far. Nodes that stay empty do not count:
// they are given up, unless some demand is unmet (see dropEmpty).
func (p *planning) purchase() purchase {
	c := purchase{nodes: make([]int64, len(p.groups))}
	for _, b := range p.fresh {
		if len(b.placed) == 0 && len(p.unmet) == 0 {
			continue
		}
		c.nodes[b.group.index] += b.count
		c.cost = addSat(c.cost, mulSat(addSat(b.group.price, p.fee(b)), b.count))
	}
	return c
}

// mayBuy tells whether all limits together allow the purchase. Nothing may be
// bought so far.
func (p *planning) mayBuy(c purchase) bool {
	mark := p.mark()
	defer p.rollback(mark)
	for i, n := range c.nodes {
		if n == 0 {
			continue
		}
		if p.growRoom(p.groups[i]) < n {
			return false
		}
		p.open(p.groups[i], n)
	}
	return true
}

// buy opens the nodes and places the pods on what there is then. Pods that find
// no room get new nodes: it returns how many these were, and whether all found
// room in the end.
func (p *planning) buy(c purchase, pods []wantedPods) (more int64, ok bool) {
	ok = true
	for i, n := range c.nodes {
		if n > 0 {
			p.open(p.groups[i], n)
		}
	}
	for _, w := range pods {
		s := p.shape(w.shape)
		if left := p.fill(s, w.demand, w.count); left > 0 {
			more += left
			ok = p.place(s, w.demand, left) == 0 && ok
		}
	}
	return more, ok
}

// placedPods lists everything that the plan has placed, hardest first.
func (p *planning) placedPods() []wantedPods {
	index := map[kind]int{}
	var out []wantedPods
	for _, bins := range [][]*bin{p.bins, p.fresh} {
		for _, b := range bins {
			for _, pl := range b.placed {
				k := kind{pl.demand, pl.shape}
				if i, ok := index[k]; ok {
					out[i].count += pl.count * b.count
					continue
				}
				index[k] = len(out)
				out = append(out, wantedPods{demand: pl.demand, shape: pl.shape.PodShape, count: pl.count * b.count})
			}
		}
	}
	sortPods(out)
	return out
}

// kind is what makes pods the same for a plan.
type kind struct {
	demand string
	shape  *shape
}

// item is a shape with the number of pods that wait for a new node.
type item struct {
	shape  *shape
	demand string
	left   int64
}

// items sums up what the fresh nodes hold, in an order of its own.
func (p *planning) items() []*item {
	byShape := map[kind]*item{}
	var out []*item
	for _, b := range p.fresh {
		for _, pl := range b.placed {
			k := kind{pl.demand, pl.shape}
			it := byShape[k]
			if it == nil {
				it = &item{shape: pl.shape, demand: pl.demand}
				byShape[k] = it
				out = append(out, it)
			}
			it.left += pl.count * b.count
		}
	}
	slices.SortStableFunc(out, func(a, b *item) int {
		return cmp.Or(cmp.Compare(a.demand, b.demand), cmp.Compare(a.shape.text, b.shape.text))
	})
	return out
}

// shareOf is the price of the dominant share that r takes of a node.
func shareOf(price int64, r, capacity Resources) int64 {
	var most int64
	for name, v := range r {
		if c := capacity[name]; c > 0 {
			most = max(most, mulDiv(price, v, c))
		}
	}
	return max(1, most)
}

// shareOn is the price of the dominant share that a pod of the shape takes of
// an empty node of the group.
func (s *shape) shareOn(g *groupState) int64 {
	for int64(len(s.shares)) <= g.index {
		s.shares = append(s.shares, 0)
	}
	if s.shares[g.index] == 0 {
		s.shares[g.index] = shareOf(g.price, s.Requests, g.Capacity)
	}
	return s.shares[g.index]
}

func (p *planning) heldElsewhere(s *shape) bool {
	for _, g := range p.groups {
		if g.Capacity[ResourceGPU] > 0 {
			continue
		}
		if p.refuses(g, s) == "" {
			return true
		}
	}
	return false
}
