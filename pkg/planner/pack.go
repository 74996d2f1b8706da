package planner

import (
	"cmp"
	"slices"
)

// settle is the second half of phase 5. What the demand asked for is known by
// now, pod by pod; the nodes for it are chosen again, for all pods at once: as
// the greedy placement chose them, or by pattern and price, whichever is
// cheaper. A choice counts only if the plain best-fit placement of the next
// plan finds room for every pod on it: a packing that only a perfect scheduler
// would find is not bought, and carrying a plan out leads to no further one
// (rule I5).
func (p *planning) settle() {
	if len(p.fresh) == 0 {
		return
	}
	pods, items := p.placedPods(), p.items()
	greedy := p.purchase()
	p.rollback(0)
	choices := []purchase{{nodes: make([]int64, len(p.groups))}, greedy} // perhaps none is needed
	if p.patterns(items) {
		choices = append(choices, p.purchase())
	}
	p.rollback(0)
	slices.SortStableFunc(choices, func(a, b purchase) int { return cmp.Compare(a.cost, b.cost) })
	for _, c := range choices {
		if p.buy(c, pods) == 0 {
			return
		}
		p.rollback(0)
	}
	for range 8 { // buy more until the placement settles
		left := p.buy(greedy, pods)
		if left == 0 {
			return
		}
		more := p.purchase()
		if more.cost == greedy.cost {
			return
		}
		greedy = more
		p.rollback(0)
	}
	p.buy(greedy, pods)
}

// purchase is a number of new nodes by group, in the order of the groups.
type purchase struct {
	nodes []int64
	cost  int64
}

func (p *planning) purchase() purchase {
	c := purchase{nodes: make([]int64, len(p.groups))}
	for _, b := range p.fresh {
		c.nodes[b.group.index] += b.count
		c.cost = addSat(c.cost, mulSat(b.group.price, b.count))
	}
	return c
}

// buy opens the nodes and places the pods on what there is then. Pods that find
// no room get new nodes; it returns how many these were.
func (p *planning) buy(c purchase, pods []wantedPods) (more int64) {
	for i, n := range c.nodes {
		if n > 0 {
			p.open(p.groups[i], n)
		}
	}
	for _, w := range pods {
		s := p.shape(w.shape)
		if left := p.fill(s, w.demand, w.count); left > 0 {
			more += left
			p.place(s, w.demand, left)
		}
	}
	return more
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
	// unit is the least that one pod of the shape can cost, by its dominant
	// share of the cheapest group that holds it.
	unit int64
}

// items sums up what the fresh nodes hold, largest first.
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
	for _, it := range out {
		it.unit = unbounded
		for _, g := range p.groups {
			if g.Managed && len(g.Capacity) > 0 && g.holds(it.shape) {
				it.unit = min(it.unit, shareOf(g.price, it.shape.Requests, g.Capacity))
			}
		}
	}
	slices.SortStableFunc(out, func(a, b *item) int {
		return cmp.Or(cmp.Compare(b.shape.Requests[ResourceGPU], a.shape.Requests[ResourceGPU]), cmp.Compare(b.unit, a.unit),
			cmp.Compare(a.demand, b.demand), cmp.Compare(a.shape.key(), b.shape.key()))
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

// patterns buys nodes one filling at a time, always the filling with the most
// value for its price. It tells whether everything found room.
func (p *planning) patterns(items []*item) bool {
	for {
		var left bool
		for _, it := range items {
			left = left || it.left > 0
		}
		if !left {
			return true
		}
		g, fill := p.bestPattern(items)
		if g == nil {
			return false
		}
		m := p.growRoom(g) // as many nodes of this filling as the pods make
		for i, k := range fill {
			if k > 0 {
				m = min(m, items[i].left/k)
			}
		}
		b := p.open(g, m)
		for i, k := range fill {
			if k > 0 {
				p.put(b, items[i].shape, items[i].demand, k, m)
				items[i].left -= k * m
			}
		}
	}
}

// bestPattern fills an empty node of every group with the largest items first
// and compares what it holds, by value, with its price.
func (p *planning) bestPattern(items []*item) (*groupState, []int64) {
	var best *groupState
	var bestFill []int64
	var bestValue int64
	for _, g := range p.groups {
		free := slices.Clone(g.dense)
		fill := make([]int64, len(items))
		var value int64
		gpu := false
		for i, it := range items {
			if it.left == 0 {
				continue
			}
			if p.refuses(g, it.shape) != "" {
				continue
			}
			// A node with GPUs takes pods without only beside GPU demand, or
			// where nothing else can hold them.
			if p.gpuWaste(it.shape, g.dense) == 1 && !gpu && p.heldElsewhere(it.shape) {
				continue
			}
			k := it.shape.need.times(free, it.left)
			free = free.minus(it.shape.need, k)
			fill[i] = k
			value = addSat(value, mulSat(it.unit, k))
			gpu = gpu || k > 0 && it.shape.gpu
		}
		if value == 0 {
			continue
		}
		if best == nil || better(value, g.price, bestValue, best.price) {
			best, bestFill, bestValue = g, fill, value
		}
	}
	return best, bestFill
}

// better compares value for price; ties go to the cheaper node, then to the
// earlier name.
func better(value, price, bestValue, bestPrice int64) bool {
	a, b := float64(value)*float64(bestPrice), float64(bestValue)*float64(price)
	if a != b {
		return a > b
	}
	return price < bestPrice
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

// bound is phase 6: a lower bound on the price of any plan that buys room for
// the same pods. For one resource at a time, every unit that a pod asks for
// costs at least the cheapest price per unit among the groups that can hold
// the pod; the dearest resource gives the bound.
func (p *planning) bound() (cost, bound int64) {
	perResource := map[string]float64{}
	for _, b := range p.fresh {
		cost = addSat(cost, mulSat(b.group.price, b.count))
	}
	for _, it := range p.items() {
		for r, v := range it.shape.Requests {
			cheapest := -1.0
			for _, g := range p.groups {
				c := g.Capacity[r]
				if !g.Managed || c <= 0 || v == 0 || !g.holds(it.shape) {
					continue
				}
				if unit := float64(g.price) / float64(c); cheapest < 0 || unit < cheapest {
					cheapest = unit
				}
			}
			if cheapest > 0 {
				perResource[r] += cheapest * float64(v) * float64(it.left)
			}
		}
	}
	for _, v := range perResource {
		// Rounded down by more than the error of the sums.
		bound = max(bound, int64(v*(1-1e-9)))
	}
	return cost, min(bound, cost)
}
