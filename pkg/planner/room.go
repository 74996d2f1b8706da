package planner

import (
	"fmt"
	"math"
	"slices"
)

// fits tells whether a pod of the shape may go to the bin at all, and how many.
func (b *bin) fits(s *PodShape, limit int64) int64 {
	if !s.selects(b.labels) || !s.tolerates(b.taints) {
		return 0
	}
	return s.Requests.times(b.free, limit)
}

func (p *planning) put(b *bin, s *PodShape, demand string, n int64) {
	take := s.Requests.scaled(n)
	for r, v := range take {
		b.free[r] -= v
	}
	b.placed = append(b.placed, placed{demand, s, n})
	p.undo = append(p.undo, func() {
		for r, v := range take {
			b.free[r] += v
		}
		b.placed = b.placed[:len(b.placed)-1]
	})
}

// place puts n pods of a shape where there is room: on nodes that exist, then
// on Machines that are coming or bought already, then on new nodes, cheapest
// first. It returns how many found no room.
func (p *planning) place(s *PodShape, demand string, n int64) int64 {
	n = p.fill(s, demand, n)
	for n > 0 {
		g := p.cheapest(s, n)
		if g == nil {
			break
		}
		b := p.open(g)
		k := b.fits(s, n)
		p.put(b, s, demand, k)
		n -= k
	}
	return n
}

// fill packs up to n pods into the nodes that are there, coming or bought,
// best fit first within each kind. A node that this plan buys ranks like one
// that is coming, so that the next plan, which finds it coming, does the same.
func (p *planning) fill(s *PodShape, demand string, n int64) int64 {
	type option struct {
		b    *bin
		k    int64
		rank [4]int64
	}
	var options []option
	for _, bins := range [][]*bin{p.bins, p.fresh} {
		for _, b := range bins {
			if k := b.fits(s, n); k > 0 {
				options = append(options, option{b, k, [4]int64{int64(min(b.kind, binComing)), gpuWaste(s, b.free), b.slack(s), b.order()}})
			}
		}
	}
	slices.SortStableFunc(options, func(x, y option) int { return slices.Compare(x.rank[:], y.rank[:]) })
	for _, o := range options {
		if n == 0 {
			break
		}
		k := min(o.k, n)
		p.put(o.b, s, demand, k)
		n -= k
	}
	return n
}

// order breaks ties between nodes of different groups.
func (b *bin) order() int64 {
	if b.group == nil {
		return -1
	}
	return b.group.index
}

// gpuWaste is 1 where a pod without GPUs would sit beside free ones.
func gpuWaste(s *PodShape, free Resources) int64 {
	if s.Requests[ResourceGPU] == 0 && free[ResourceGPU] > 0 {
		return 1
	}
	return 0
}

// slack is how much of the bin's emptiest resource stays free, in thousandths
// of what is free now: small for a tight fit.
func (b *bin) slack(s *PodShape) int64 {
	var worst int64
	for r, v := range b.free {
		if v > 0 {
			worst = max(worst, mulDiv(v-min(v, s.Requests[r]), 1000, v))
		}
	}
	return worst
}

// open starts a new node of the group.
func (p *planning) open(g *groupState) *bin {
	b := newBin(binNew, g)
	p.fresh = append(p.fresh, b)
	g.take(1)
	p.bought++
	p.undo = append(p.undo, func() {
		p.fresh = p.fresh[:len(p.fresh)-1]
		g.take(-1)
		p.bought--
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

func newBin(kind binKind, g *groupState) *bin {
	return &bin{kind: kind, group: g, free: g.Capacity.Clone(), labels: g.Labels, taints: g.Taints}
}

// cheapest is the group whose nodes hold n pods of the shape at the lowest
// price, or nil. Groups with GPUs come last for pods without.
func (p *planning) cheapest(s *PodShape, n int64) *groupState {
	var best *groupState
	var bestRank [3]int64
	for _, g := range p.groups {
		if why, _ := p.refuses(g, s); why != "" {
			continue
		}
		k := s.Requests.times(g.Capacity, n)
		nodes := (n + k - 1) / k
		rank := [3]int64{gpuWaste(s, g.Capacity), mulSat(g.price, nodes), g.price}
		if best == nil || slices.Compare(rank[:], bestRank[:]) < 0 {
			best, bestRank = g, rank
		}
	}
	return best
}

// refuses tells why no new node of the group can take a pod of the shape, or
// nothing if one can.
func (p *planning) refuses(g *groupState, s *PodShape) (Reason, string) {
	switch {
	case !g.Managed:
		return ReasonNotManaged, ""
	case g.Invalid != "":
		return ReasonInvalidGroup, g.Invalid
	case len(g.Capacity) == 0:
		return ReasonUnknownSize, g.detail
	case !s.selects(g.Labels):
		return ReasonLabels, "its nodes do not carry the labels of the pod's node selector"
	case !s.tolerates(g.Taints):
		return ReasonTaints, ""
	case s.Requests.times(g.Capacity, 1) == 0:
		return ReasonDoesNotFit, "an empty node has " + g.Capacity.text()
	case g.blocked != "":
		return g.blocked, g.detail
	case g.buy >= g.room:
		return ReasonAtMax, fmt.Sprintf("max size is %d", g.Max)
	case g.class != nil && g.class.Headroom != nil && g.class.buy >= *g.class.Headroom:
		return ReasonNoHeadroom, fmt.Sprintf("room for %d more VMs of class %s", *g.class.Headroom, g.Class)
	case p.s.Policy.MaxMachines > 0 && p.machines()+p.bought >= p.s.Policy.MaxMachines:
		return ReasonGlobalLimit, ""
	case p.s.Policy.MaxGrowPerTick > 0 && p.bought >= p.s.Policy.MaxGrowPerTick:
		return ReasonTickLimit, ""
	}
	return "", ""
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
