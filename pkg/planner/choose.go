package planner

import (
	"slices"

	"github.com/tandem-autoscaler/tandem/pkg/planner/packing"
)

// packed asks the packing core which nodes to buy for the items: once by price
// alone and, where that would give pods without GPUs a node with GPUs, once more
// with these nodes kept for GPU demand. Nothing may be bought so far.
func (p *planning) packed(items []*item) []purchase {
	var out []purchase
	for _, keep := range []bool{false, true} {
		in, kept := p.problem(items, keep)
		if keep && !kept {
			break // the same problem again
		}
		r, ok := p.solve(in, nodesBudget)
		if !ok {
			break
		}
		if !keep && !p.ranked {
			p.proven = proof{p.signature(items), r.Bound}
		}
		out = append(out, purchase{r.Nodes, r.Cost})
	}
	return out
}

// problem puts the items in the packing core's terms: a class for every group,
// with what the limits leave of it as its stock. GPUs are a resource like any
// other here, because Kubernetes gives pods whole devices only. It tells whether
// a group was kept from a pod because of its GPUs.
func (p *planning) problem(items []*item, keepGPUs bool) (in packing.Problem, kept bool) {
	// What is bought is up for choice again. Limits for several groups together
	// may give all of it to one, so a bound must let every group have it.
	var bought int64
	for _, g := range p.groups {
		bought = addSat(bought, g.buy)
	}
	for _, g := range p.groups {
		c := packing.Class{Name: g.Key(), Capacity: g.dense, Price: g.price, Headroom: packing.Unlimited}
		if g.Managed && g.Invalid == "" && g.blocked == "" && len(g.Capacity) > 0 {
			now := p.hosts // a VM that is given up may leave room for several smaller ones
			p.hosts = p.hostsFirst
			c.Max = addSat(p.growRoom(g), bought)
			p.hosts = now
		}
		in.Classes = append(in.Classes, c)
	}
	for _, it := range items {
		s := packing.Shape{Name: it.demand, Amounts: it.shape.dense, Count: it.left, Refused: make([]bool, len(p.groups))}
		elsewhere := keepGPUs && !it.shape.gpu && p.heldElsewhere(it.shape)
		for i, g := range p.groups {
			waste := elsewhere && g.Capacity[ResourceGPU] > 0
			s.Refused[i] = waste || !g.holds(it.shape)
			kept = kept || waste && in.Classes[i].Max > 0 && g.holds(it.shape)
		}
		in.Shapes = append(in.Shapes, s)
	}
	return in, kept
}

// What the packing core may spend on a plan, in its units of work: in all for
// all RayClusters, at a time for one choice of replicas and for comparing two
// of them; and beyond that for the choice of nodes. It is some milliseconds
// each, and takes some ten of CPU in all where replicas are opened: a price that
// one more round would find is not worth a tick that is late.
var (
	replicasBudget = packing.Work(6)
	replicaBudget  = packing.Work(0.5)
	costBudget     = packing.Work(0.1)
	nodesBudget    = packing.Work(2)
)

// solve asks the packing core, and counts its work. It does not where all that
// a plan may spend is spent.
func (p *planning) solve(in packing.Problem, most int64) (packing.Result, bool) {
	if p.work <= 0 {
		return packing.Result{}, false
	}
	in.Budget = min(packing.AutoBudget(len(in.Shapes), false), most)
	r := packing.Solve(in)
	p.work -= r.Work
	return r, true
}

// breaksGPUs tells whether a new node with GPUs carries no pod that wants one,
// but pods that another group could still hold: nodes with GPUs are for GPU
// demand, and take other pods only beside it, unless the policy has a price for
// that.
func (p *planning) breaksGPUs() bool {
	return p.s.Policy.GPUNodeFee == nil && slices.ContainsFunc(p.fresh, func(b *bin) bool {
		if b.group.Capacity[ResourceGPU] <= 0 || slices.ContainsFunc(b.placed, func(pl placed) bool { return pl.shape.gpu }) {
			return false
		}
		return slices.ContainsFunc(b.placed, func(pl placed) bool { return p.heldElsewhere(pl.shape) })
	})
}

// fee is what the pods without GPUs on one of the new nodes cost beside the node,
// by the policy.
func (p *planning) fee(b *bin) (fee int64) {
	if p.s.Policy.GPUNodeFee == nil || b.group.Capacity[ResourceGPU] <= 0 {
		return 0
	}
	for _, pl := range b.placed {
		if !pl.shape.gpu {
			fee = addSat(fee, mulSat(max(0, *p.s.Policy.GPUNodeFee), pl.count))
		}
	}
	return fee
}

// proof is a bound on the price of nodes for the items with the signature.
type proof struct {
	signature string
	bound     int64
}

// signature tells sets of items apart.
func (p *planning) signature(items []*item) string {
	var key []byte
	for _, it := range items {
		key = append(append(key, it.demand...), '|')
		key = append(append(key, it.shape.text...), '|')
		key = vector{it.left}.appendTo(key)
	}
	return string(key)
}

// bound is phase 6: what the plan's new nodes cost, and a lower bound on what
// any nodes cost, within the same limits, that hold the pods on them. The
// packing core has proven it when the nodes were chosen, unless other pods are
// on new nodes now.
func (p *planning) bound() (cost, bound int64) {
	for _, b := range p.fresh {
		cost = addSat(cost, mulSat(b.group.money, b.count))
	}
	items := p.items()
	if len(items) == 0 {
		return cost, 0
	}
	if p.proven.signature != p.signature(items) {
		in, _ := p.problem(items, false)
		for i, g := range p.groups {
			in.Classes[i].Price = g.money
		}
		in.Budget = costBudget
		p.proven.bound = packing.Solve(in).Bound
	}
	return cost, min(p.proven.bound, cost)
}
