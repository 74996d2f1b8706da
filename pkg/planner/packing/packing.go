// Package packing chooses how many nodes of which class to buy for a demand
// that is given by shape: variable-sized vector bin packing with prices, stock
// and GPUs that are devices. It is pure: no clock, no randomness, no order of
// its input matters, and equal input gives equal output.
package packing

import (
	"math"
	"slices"
)

const (
	// Device is the amount of GPU that stands for one whole device.
	Device int64 = 10000
	// Unlimited is a stock without end.
	Unlimited int64 = math.MaxInt64
	// MaxDevices is the most devices that are looked at on one node; a class
	// with more counts as one with this many.
	MaxDevices int64 = 1024
)

// Shape is a number of equal pods.
type Shape struct {
	// Name tells shapes apart; it breaks ties, so it should be unique.
	Name string
	// Amounts asked for by one pod, in the order of [Class.Capacity]. Missing
	// ones are zero, negative ones count as zero.
	Amounts []int64
	// GPU in units of 1/Device. Less than Device must sit on one device; more
	// takes whole devices, rounded up.
	GPU int64
	// Count is the number of pods.
	Count int64
	// MaxPerNode is the most pods of the shape on one node. Zero: no cap.
	MaxPerNode int64
	// Refused marks the classes, by their index in the problem, whose taints,
	// labels or zone rule the shape out. Nil: none.
	Refused []bool
}

// Class is a kind of node that can be bought.
type Class struct {
	// Name tells classes apart; it breaks ties, so it should be unique.
	Name string
	// Capacity of one empty node; missing ones are zero.
	Capacity []int64
	// Devices is the number of whole GPU devices on a node.
	Devices int64
	// Price of one node, in any unit.
	Price int64
	// Max is the stock: the most nodes that may be bought. Headroom is how many
	// the hosts have room for; the lower of the two holds.
	Max, Headroom int64
}

// Problem is what [Solve] is given.
type Problem struct {
	Shapes  []Shape
	Classes []Class
	// Budget in work units; see [Work]. Zero: [AutoBudget], and up to eight
	// times that where stock is short. A fifth more is spent on the bound where
	// pods are left out.
	Budget int64
}

// Count is a number of pods of one shape on one node.
type Count struct {
	Shape int   // index in Problem.Shapes
	Count int64 // at least 1
}

// Pattern is what a number of equal nodes hold.
type Pattern struct {
	Class int   // index in Problem.Classes
	Nodes int64 // how many nodes
	Pods  []Count
}

// Result is a plan for a [Problem].
type Result struct {
	// Nodes to buy, by the index of the class.
	Nodes []int64
	// Patterns fill these nodes.
	Patterns []Pattern
	// Unplaced pods, by the index of the shape.
	Unplaced []int64
	// Cost of the nodes, and a proven lower bound: no plan that places the same
	// pods costs less. Both saturate.
	Cost, Bound int64
	// Work is the work units that were spent.
	Work int64
}

// Gap is how far the cost is above the bound, as a share of the bound.
func (r *Result) Gap() float64 {
	if r.Cost <= r.Bound {
		return 0
	}
	if r.Bound <= 0 {
		return 1
	}
	return float64(r.Cost-r.Bound) / float64(r.Bound)
}

// Work is the budget that takes about so many milliseconds on one core of a
// machine of 2024. It is a count of elementary steps, never a time, so that the
// plan does not depend on how busy the machine is.
func Work(milliseconds float64) int64 {
	if math.IsNaN(milliseconds) || milliseconds <= 0 {
		return 1
	}
	return max(1, int64(min(milliseconds*unitsPerMillisecond, 1e15)))
}

const unitsPerMillisecond = 2.2e5

// AutoBudget is what a problem of many pods gets: it grows with the number of
// distinct shapes, to 6 ms for 150 and 50 ms for 300. Where pods share devices
// good fillings are rare, and it takes longer.
func AutoBudget(shapes int, shared bool) int64 {
	n := float64(shapes)
	if shared {
		return Work(0.1 + min(n*n*n/400, n*n/16, 500))
	}
	return Work(min(1+n/20+n*n/2800, max(5.5, 1+n*n*n/6e5), 1000))
}

// autoBudget is the same for any number of pods: few are soon packed.
func autoBudget(shapes int, pods int64, shared bool) int64 {
	n := float64(pods)
	if shared {
		return min(AutoBudget(shapes, shared), Work(0.1+n*n/100))
	}
	return min(AutoBudget(shapes, shared), Work(0.1+n*n/4000))
}

// Solve packs the problem. It is total: what no class can hold, or no stock is
// left for, is reported as unplaced.
func Solve(in Problem) Result {
	c := canonical(in)
	out := Result{Nodes: make([]int64, len(in.Classes)), Unplaced: make([]int64, len(in.Shapes))}
	for i := range in.Shapes {
		out.Unplaced[i] = max(0, in.Shapes[i].Count)
	}
	budget := in.Budget
	if budget <= 0 {
		budget = autoBudget(len(c.shapes), c.pods(), slices.ContainsFunc(in.Shapes, func(s Shape) bool { return s.GPU > 0 && s.GPU < Device }))
	}
	parts := c.components()
	total := 0.0
	for _, p := range parts {
		total += p.weight()
	}
	left := budget
	for _, p := range parts {
		// What an easier part leaves of its share goes to those after it.
		share := int64(float64(left) * p.weight() / max(total, 1))
		total -= p.weight()
		p.try(share, in.Budget <= 0)
		left -= min(left, share, p.work)
	}
	var bound float64
	for _, p := range parts {
		before := p.work
		p.resume(left)
		left -= min(left, p.work-before)
		p.settle(p.budget / 5)
		out.Work += p.work
		bound += p.bound
		c.report(p, &out)
	}
	slices.SortFunc(out.Patterns, c.comparePatterns)
	for k, n := range out.Nodes {
		out.Cost = addSat(out.Cost, mulSat(n, max(0, in.Classes[k].Price)))
	}
	out.Bound = min(out.Cost, wholeBound(bound))
	return out
}

// wholeBound takes more off v than the error of the sums that made it, and
// rounds up: prices are whole numbers, so costs are.
func wholeBound(v float64) int64 {
	v = math.Ceil(v * (1 - 1e-10))
	if !(v > 0) {
		return 0
	}
	if v >= math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(v)
}

func addSat(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

func mulSat(a, b int64) int64 {
	if a != 0 && b > math.MaxInt64/a {
		return math.MaxInt64
	}
	return a * b
}
