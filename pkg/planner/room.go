package planner

import (
	"fmt"
	"math"
	"slices"
)

// bin is room for pods on a number of equal nodes: nodes that exist, that are
// coming, or new ones. A put that takes some of them splits it, so that work
// grows with what differs and not with how many there are.
type bin struct {
	kind    binKind
	group   *groupState
	profile *profile
	free    vector
	count   int64
	nodes   []*nodeState // those that exist, in order of their names
	placed  []placed     // on each of them; shared between bins, never changed in place
}

type binKind int

// The kinds of bins, in the order in which they are filled.
const (
	binNode binKind = iota
	binSoft
	binCordoned
	binComing
	binNew
)

type placed struct {
	demand string
	shape  *shape
	count  int64
}

// newBin is n empty nodes of the group.
func newBin(kind binKind, g *groupState, n int64) *bin {
	return &bin{kind: kind, group: g, profile: g.profile, free: g.dense, count: n}
}

// fits tells how many pods of the shape go on each node of the bin, at most
// limit.
func (b *bin) fits(s *shape, limit int64) int64 {
	n := s.need.times(b.free, limit)
	if n <= 0 || !b.profile.lets(s) {
		return 0
	}
	return n
}

// put puts k pods on each of m nodes of the bin.
func (p *planning) put(b *bin, s *shape, demand string, k, m int64) {
	if p.fair != nil {
		p.charge(b.group, s, mulSat(k, m))
	}
	free := b.free.minus(s.need, k)
	on := append(slices.Clip(b.placed), placed{demand, s, k})
	if m == b.count {
		old := *b
		b.free, b.placed = free, on
		p.undo = append(p.undo, func() { b.free, b.placed = old.free, old.placed })
		return
	}
	nb := &bin{kind: b.kind, group: b.group, profile: b.profile, free: free, count: m, placed: on}
	all := b.nodes
	if all != nil {
		nb.nodes, b.nodes = all[:m:m], all[m:]
	}
	b.count -= m
	list := &p.bins
	if b.kind == binNew {
		list = &p.fresh
	}
	*list = append(*list, nb)
	p.undo = append(p.undo, func() {
		*list = (*list)[:len(*list)-1]
		b.count += m
		b.nodes = all
	})
}

// alone makes a bin of its own of the bin's node with index i.
func (p *planning) alone(b *bin, i int) *bin {
	if b.count == 1 {
		return b
	}
	all := b.nodes
	nb := *b
	nb.nodes, nb.count = all[i:i+1:i+1], 1
	b.nodes = slices.Delete(slices.Clone(all), i, i+1)
	b.count--
	p.bins = append(p.bins, &nb)
	p.undo = append(p.undo, func() {
		p.bins = p.bins[:len(p.bins)-1]
		b.nodes = all
		b.count++
	})
	return &nb
}

// place puts n pods of a shape where there is room: on nodes that exist, then
// on Machines that are coming or bought already, then on new nodes, cheapest
// first. It returns how many found no room.
func (p *planning) place(s *shape, demand string, n int64) int64 {
	if p.noRoom[wanting{p.tenant, s}] {
		return n
	}
	n = p.fill(s, demand, n)
	for n > 0 {
		g := p.cheapest(s, n)
		if g == nil {
			p.noRoom[wanting{p.tenant, s}] = true
			break
		}
		may := min(n, p.fairRoom(s, g))
		k := s.need.times(g.dense, may)
		m := min(may/k, p.growRoom(g))
		b := p.open(g, m)
		p.put(b, s, demand, k, m)
		n -= k * m
	}
	return n
}

// option is a bin that takes k pods on each node; fill takes them in order of
// rank, which ends with the order of the bins: no two are equal.
type option struct {
	b    *bin
	k    int64
	rank [5]int64
}

// fill packs up to n pods into the nodes that are there, coming or bought,
// best fit first within each kind. A node that this plan buys ranks like one
// that is coming, so that the next plan, which finds it coming, does the same.
func (p *planning) fill(s *shape, demand string, n int64) int64 {
	options := p.options[:0]
	for _, bins := range p.roomFor(s) {
		for _, b := range bins {
			if k := b.fits(s, n); k > 0 {
				options = append(options, option{b, k, [5]int64{int64(min(b.kind, binComing)), p.gpuWaste(s, b.free), b.slack(s), b.order(), int64(len(options))}})
			}
		}
	}
	p.options = options
	p.work -= int64(20 + 10*len(options)) // about what this takes
	for i := len(options)/2 - 1; i >= 0; i-- {
		sink(options, i)
	}
	for n > 0 && len(options) > 0 {
		o := options[0]
		last := len(options) - 1
		options[0] = options[last]
		options = options[:last]
		sink(options, 0)
		all, may := o.b.count, min(n, p.fairRoom(s, o.b.group))
		m := min(all, may/o.k)
		if m > 0 {
			p.put(o.b, s, demand, o.k, m)
			n -= o.k * m
			may -= o.k * m
		}
		if may > 0 && m < all {
			p.put(o.b, s, demand, may, 1)
			n -= may
		}
	}
	return n
}

// sink restores the heap of options below i, the best of which is the first. A
// few pods take a few of the nodes, so sorting all of them would be a waste.
func sink(options []option, i int) {
	for {
		c := 2*i + 1
		if c+1 < len(options) && slices.Compare(options[c+1].rank[:], options[c].rank[:]) < 0 {
			c++
		}
		if c >= len(options) || slices.Compare(options[i].rank[:], options[c].rank[:]) < 0 {
			return
		}
		options[i], options[c] = options[c], options[i]
		i = c
	}
}

// order breaks ties between nodes of different groups.
func (b *bin) order() int64 {
	if b.group == nil {
		return -1
	}
	return b.group.index
}

// gpuWaste is 1 where a pod without GPUs would sit beside free ones.
func (p *planning) gpuWaste(s *shape, free vector) int64 {
	if !s.gpu && free[p.gpu] > 0 {
		return 1
	}
	return 0
}

// slack is how much of the bin's emptiest resource stays free, in thousandths
// of what is free now: small for a tight fit.
func (b *bin) slack(s *shape) int64 {
	var worst int64
	for i, v := range b.free {
		switch {
		case v <= 0:
		case s.dense[i] == 0:
			return 1000 // all of it, and there is no more than that
		default:
			worst = max(worst, mulDiv(v-min(v, s.dense[i]), 1000, v))
		}
	}
	return worst
}

// open starts n new nodes of the group.
func (p *planning) open(g *groupState, n int64) *bin {
	b := newBin(binNew, g, n)
	p.fresh = append(p.fresh, b)
	g.take(n)
	p.bought += n
	hosts := p.hosts
	p.occupy(g, n)
	p.undo = append(p.undo, func() {
		p.hosts = hosts
		p.fresh = p.fresh[:len(p.fresh)-1]
		g.take(-n)
		p.bought -= n
	})
	return b
}

// growth is how many Machines the plan adds in all.
func (g *groupState) growth() int64 { return g.lack + g.buy }

// target is the number of replicas that the plan asks for.
func (g *groupState) target() int64 {
	if g.alive > g.Replicas {
		return g.Replicas - g.removing
	}
	return g.Replicas + g.growth() - g.removing
}

func (g *groupState) take(n int64) {
	g.buy += n
	if g.class != nil {
		g.class.buy += n
	}
}

// cheapest is the group whose nodes hold n pods of the shape at the lowest
// price, or nil. Groups with GPUs come last for pods without, or cost the fee of
// the policy more.
func (p *planning) cheapest(s *shape, n int64) *groupState {
	var best *groupState
	var bestRank [3]int64
	for _, g := range p.groups {
		if p.refuses(g, s) != "" {
			continue
		}
		k := s.need.times(g.dense, n)
		nodes := (n + k - 1) / k
		rank := [3]int64{p.gpuWaste(s, g.dense), mulSat(g.price, nodes), g.price}
		if fee := p.s.Policy.GPUNodeFee; fee != nil && rank[0] > 0 {
			rank = [3]int64{0, addSat(rank[1], mulSat(max(0, *fee), n)), g.price}
		}
		if best == nil || slices.Compare(rank[:], bestRank[:]) < 0 {
			best, bestRank = g, rank
		}
	}
	return best
}

// holds tells whether an empty node of the group takes a pod of the shape.
func (g *groupState) holds(s *shape) bool { return s.need.times(g.dense, 1) > 0 && g.profile.lets(s) }

// refuses tells why no new node of the group can take a pod of the shape, or
// nothing if one can.
func (p *planning) refuses(g *groupState, s *shape) Reason {
	switch {
	case !g.Managed:
		return ReasonNotManaged
	case g.Invalid != "":
		return ReasonInvalidGroup
	case len(g.Capacity) == 0:
		return ReasonUnknownSize
	case !g.holds(s):
		switch {
		case !s.selects(g.Labels):
			return ReasonLabels
		case !s.tolerates(g.Taints):
			return ReasonTaints
		}
		return ReasonDoesNotFit
	case g.blocked != "":
		return g.blocked
	case p.fairRoom(s, g) == 0:
		return ReasonFairShare
	}
	_, why := p.growLimit(g)
	return why
}

// detail explains a refusal to people.
func (p *planning) detail(g *groupState, why Reason) string {
	switch why { //nolint:exhaustive // The others say it all, or carry the detail of the group.
	case ReasonInvalidGroup:
		return g.Invalid
	case ReasonLabels:
		return "its nodes do not carry the labels that the pod selects"
	case ReasonDoesNotFit:
		if g.size == "" {
			g.size = "an empty node has " + g.Capacity.text()
		}
		return g.size
	case ReasonAtMax:
		return fmt.Sprintf("max size is %d", g.Max)
	case ReasonTenantLimit:
		return p.tenantDetail()
	case ReasonFairShare:
		return p.fairDetail(g)
	case ReasonNoHeadroom:
		if p.roomOnHosts(g) == 0 {
			return p.hostsDetail(g)
		}
		return fmt.Sprintf("room for %d more VMs of class %s", *g.class.Headroom, g.Class)
	case ReasonUnknownSize, g.blocked:
		return g.detail
	}
	return ""
}

// growRoom is how many Machines the plan may still add to the group.
func (p *planning) growRoom(g *groupState) int64 {
	n, _ := p.growLimit(g)
	return n
}

// growLimit is growRoom and, where it is zero, the reason.
func (p *planning) growLimit(g *groupState) (int64, Reason) {
	n, why := int64(unbounded), Reason("")
	limit := func(room int64, r Reason) {
		if room < n {
			n = max(0, room)
			if n == 0 {
				why = r
			}
		}
	}
	limit(g.room-g.buy, ReasonAtMax)
	if g.class != nil && g.class.Headroom != nil {
		limit(*g.class.Headroom-g.class.buy, ReasonNoHeadroom)
	}
	limit(p.roomOnHosts(g), ReasonNoHeadroom)
	if m := p.s.Policy.MaxMachines; m > 0 {
		limit(m-p.machines()-p.bought, ReasonGlobalLimit)
	}
	if m := p.s.Policy.MaxGrowPerTick; m > 0 {
		limit(m-p.bought, ReasonTickLimit)
	}
	p.caps(g, limit)
	return n, why
}

// machines counts what the managed groups ask for already.
func (p *planning) machines() int64 {
	var n int64
	for _, g := range p.groups {
		if g.Managed {
			n = addSat(n, g.Replicas)
		}
	}
	return n
}

const unbounded = math.MaxInt64
