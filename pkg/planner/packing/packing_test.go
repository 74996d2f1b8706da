package packing_test

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tandem-autoscaler/tandem/pkg/planner/packing"
)

// check holds a result to everything that a plan must keep.
func check(t require.TestingT, p packing.Problem, r packing.Result) {
	require.Len(t, r.Nodes, len(p.Classes))
	require.Len(t, r.Unplaced, len(p.Shapes))
	nodes, placed := make([]int64, len(p.Classes)), make([]int64, len(p.Shapes))
	for _, pattern := range r.Patterns {
		require.Positive(t, pattern.Nodes)
		nodes[pattern.Class] += pattern.Nodes
		c := p.Classes[pattern.Class]
		used := make([]int64, 8)
		var whole int64
		var fractions []int64
		for _, n := range pattern.Pods {
			s := p.Shapes[n.Shape]
			require.Positive(t, n.Count)
			placed[n.Shape] += n.Count * pattern.Nodes
			if s.MaxPerNode > 0 {
				require.LessOrEqual(t, n.Count, s.MaxPerNode)
			}
			require.False(t, len(s.Refused) > pattern.Class && s.Refused[pattern.Class], "a refused class")
			for res, a := range s.Amounts {
				used[res] += max(0, a) * n.Count
			}
			switch {
			case s.GPU >= packing.Device:
				whole += n.Count * ((s.GPU + packing.Device - 1) / packing.Device)
			case s.GPU > 0:
				for range n.Count {
					fractions = append(fractions, s.GPU)
				}
			}
		}
		for res, v := range used {
			room := int64(0)
			if res < len(c.Capacity) {
				room = max(0, c.Capacity[res])
			}
			require.LessOrEqual(t, v, room, "resource %d of %s", res, c.Name)
		}
		slices.SortFunc(fractions, func(a, b int64) int { return cmp.Compare(b, a) })
		require.True(t, fitDevices(fractions, make([]int64, max(0, c.Devices-whole))), "devices of %s", c.Name)
		require.LessOrEqual(t, whole, c.Devices)
	}
	for k, n := range nodes {
		require.Equal(t, n, r.Nodes[k])
		require.LessOrEqual(t, n, min(p.Classes[k].Max, p.Classes[k].Headroom), "stock of %s", p.Classes[k].Name)
	}
	for i, n := range placed {
		require.Equal(t, max(0, p.Shapes[i].Count), n+r.Unplaced[i], "pods of %s", p.Shapes[i].Name)
	}
	require.LessOrEqual(t, r.Bound, r.Cost)
}

// fitDevices tries every device for every fraction.
func fitDevices(fractions, used []int64) bool {
	if len(fractions) == 0 {
		return true
	}
	for d := range used {
		if slices.Contains(used[:d], used[d]) {
			continue // Devices that are as full are alike.
		}
		if used[d]+fractions[0] <= packing.Device {
			used[d] += fractions[0]
			if fitDevices(fractions[1:], used) {
				return true
			}
			used[d] -= fractions[0]
		}
	}
	return false
}

// tiny draws problems that the exact solver below can do.
func tiny(t *rapid.T) packing.Problem {
	var p packing.Problem
	for k := range rapid.IntRange(1, 3).Draw(t, "classes") {
		p.Classes = append(p.Classes, packing.Class{
			Name: fmt.Sprintf("c%d", k), Capacity: []int64{rapid.Int64Range(1, 12).Draw(t, "cpu"), rapid.Int64Range(1, 12).Draw(t, "memory")},
			Devices: rapid.Int64Range(0, 2).Draw(t, "devices"), Price: rapid.Int64Range(1, 20).Draw(t, "price"),
			Max: rapid.Int64Range(0, 4).Draw(t, "max"), Headroom: packing.Unlimited,
		})
	}
	left := 6
	for i := range rapid.IntRange(1, 4).Draw(t, "shapes") {
		s := packing.Shape{
			Name: fmt.Sprintf("s%d", i), Amounts: []int64{rapid.Int64Range(0, 8).Draw(t, "cpu"), rapid.Int64Range(0, 8).Draw(t, "memory")},
			GPU:        rapid.SampledFrom([]int64{0, 0, 3000, 4000, 5000, 6000, 10000, 20000}).Draw(t, "gpu"),
			Count:      int64(rapid.IntRange(0, min(3, left)).Draw(t, "count")),
			MaxPerNode: rapid.SampledFrom([]int64{0, 0, 0, 1, 2}).Draw(t, "most"),
		}
		for range p.Classes {
			s.Refused = append(s.Refused, rapid.IntRange(0, 5).Draw(t, "refused") == 0)
		}
		left -= int(s.Count)
		p.Shapes = append(p.Shapes, s)
	}
	return p
}

// optimum is the most pods that can be placed and the lowest price for that,
// by trying every node for every pod.
func optimum(p packing.Problem) (unplaced, cost int64) {
	type node struct {
		class     int
		used      [2]int64
		whole     int64
		fractions []int64
		count     map[int]int64
	}
	var pods []int
	for i, s := range p.Shapes {
		for range s.Count {
			pods = append(pods, i)
		}
	}
	unplaced, cost = math.MaxInt64, math.MaxInt64
	var nodes []*node
	stock := make([]int64, len(p.Classes))
	var try func(at int, out, spent int64)
	put := func(n *node, i int, next func()) {
		s, c := p.Shapes[i], p.Classes[n.class]
		if s.Refused[n.class] || s.MaxPerNode > 0 && n.count[i] >= s.MaxPerNode {
			return
		}
		for r := range n.used {
			if n.used[r]+s.Amounts[r] > c.Capacity[r] {
				return
			}
		}
		whole, fractions := n.whole, n.fractions
		switch {
		case s.GPU >= packing.Device:
			whole += s.GPU / packing.Device
		case s.GPU > 0:
			fractions = append(append([]int64{}, fractions...), s.GPU)
		}
		if whole > c.Devices || !fitDevices(fractions, make([]int64, c.Devices-whole)) {
			return
		}
		save := *n
		n.whole, n.fractions = whole, fractions
		for r := range n.used {
			n.used[r] += s.Amounts[r]
		}
		n.count[i]++
		next()
		n.count[i]--
		n.used, n.whole, n.fractions = save.used, save.whole, save.fractions
	}
	try = func(at int, out, spent int64) {
		if out > unplaced || out == unplaced && spent >= cost {
			return
		}
		if at == len(pods) {
			unplaced, cost = out, spent
			return
		}
		for _, n := range nodes {
			put(n, pods[at], func() { try(at+1, out, spent) })
		}
		for k, c := range p.Classes {
			if stock[k] == min(c.Max, c.Headroom) {
				continue
			}
			n := &node{class: k, count: map[int]int64{}}
			stock[k]++
			nodes = append(nodes, n)
			put(n, pods[at], func() { try(at+1, out, spent+c.Price) })
			nodes = nodes[:len(nodes)-1]
			stock[k]--
		}
		try(at+1, out+1, spent)
	}
	try(0, 0, 0)
	return unplaced, cost
}

// TestTinyAgainstOptimum compares with an exact solver: the bound is one, all
// that could be placed is, and nearly always at the lowest price.
func TestTinyAgainstOptimum(t *testing.T) {
	var cases, exact, left int
	rapid.Check(t, func(t *rapid.T) {
		p := tiny(t)
		p.Budget = packing.Work(3)
		r := packing.Solve(p)
		check(t, p, r)
		unplaced, cost := optimum(p)
		var out int64
		for _, v := range r.Unplaced {
			out += v
		}
		require.GreaterOrEqual(t, out, unplaced)
		if out == 0 {
			require.LessOrEqual(t, r.Bound, cost, "a bound above the optimum")
			require.GreaterOrEqual(t, r.Cost, cost, "a cost below the optimum")
		}
		cases++
		if out > unplaced {
			left++
		}
		if out == unplaced && r.Cost <= cost {
			exact++
		}
	})
	t.Logf("%d cases, %d at the optimum, %d with more left out", cases, exact, left)
	assert.GreaterOrEqual(t, exact*100, cases*95)
	assert.LessOrEqual(t, left*100, cases)
}

// TestOrderDoesNotMatter permutes shapes and classes.
func TestOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := tiny(t)
		p.Budget = packing.Work(1)
		r := packing.Solve(p)
		shapes := rapid.Permutation(indexes(len(p.Shapes))).Draw(t, "shapes")
		classes := rapid.Permutation(indexes(len(p.Classes))).Draw(t, "classes")
		q := packing.Problem{Budget: p.Budget}
		for _, k := range classes {
			q.Classes = append(q.Classes, p.Classes[k])
		}
		for _, i := range shapes {
			s := p.Shapes[i]
			refused := make([]bool, len(classes))
			for at, k := range classes {
				refused[at] = s.Refused[k]
			}
			s.Refused = refused
			q.Shapes = append(q.Shapes, s)
		}
		o := packing.Solve(q)
		require.Equal(t, [3]int64{r.Cost, r.Bound, r.Work}, [3]int64{o.Cost, o.Bound, o.Work})
		require.Len(t, o.Patterns, len(r.Patterns))
		for x, a := range r.Patterns {
			b := o.Patterns[x]
			require.Equal(t, a.Class, classes[b.Class])
			require.Equal(t, a.Nodes, b.Nodes)
			for y := range a.Pods {
				require.Equal(t, a.Pods[y].Shape, shapes[b.Pods[y].Shape])
				require.Equal(t, a.Pods[y].Count, b.Pods[y].Count)
			}
		}
	})
}

func indexes(n int) []int {
	v := make([]int, n)
	for i := range v {
		v[i] = i
	}
	return v
}

// TestScaleDoesNotMatter doubles every amount and capacity (rule I13), and
// solves twice.
func TestScaleDoesNotMatter(t *testing.T) {
	for _, m := range mixes()[:3] {
		p := m.problem()
		p.Budget = packing.Work(5)
		r := packing.Solve(p)
		assert.Equal(t, r, packing.Solve(p))
		double := m.problem()
		double.Budget = p.Budget
		for i := range double.Shapes {
			for x := range double.Shapes[i].Amounts {
				double.Shapes[i].Amounts[x] *= 2
			}
		}
		for k := range double.Classes {
			double.Classes[k].Capacity = []int64{2 * double.Classes[k].Capacity[0], 2 * double.Classes[k].Capacity[1]}
		}
		assert.Equal(t, r, packing.Solve(double), m)
	}
}

// TestMixes keeps the generated cases within their goal; those whose pods share
// devices have it wider.
func TestMixes(t *testing.T) {
	for _, m := range mixes() {
		for _, goal := range []struct{ budget, gap, shared float64 }{{50, 0.2, 2.5}, {500, 0.1, 0.25}} {
			p := m.problem()
			p.Budget = packing.Work(goal.budget)
			r := packing.Solve(p)
			check(t, p, r)
			assert.Zero(t, left(r), m)
			most := goal.gap
			if m.shared {
				most = goal.shared
			}
			assert.LessOrEqual(t, 100*r.Gap(), most, "%s at %v ms", m, goal.budget)
		}
	}
}

// TestDegenerate holds Solve to being total.
func TestDegenerate(t *testing.T) {
	huge := int64(math.MaxInt64)
	class := packing.Class{Name: "c", Capacity: []int64{4, 4}, Devices: 1, Price: 3, Max: packing.Unlimited, Headroom: packing.Unlimited}
	for name, p := range map[string]packing.Problem{
		"nothing":        {},
		"no shapes":      {Classes: []packing.Class{class}},
		"no classes":     {Shapes: []packing.Shape{{Name: "s", Amounts: []int64{1}, Count: 2}}},
		"zero size":      {Classes: []packing.Class{class}, Shapes: []packing.Shape{{Name: "s", Count: 1_000_000_000}}},
		"negative":       {Classes: []packing.Class{{Name: "c", Capacity: []int64{-4}, Devices: -1, Price: -3, Max: -1, Headroom: -2}}, Shapes: []packing.Shape{{Name: "s", Amounts: []int64{-1}, GPU: -5, Count: -2, MaxPerNode: -1}, {Name: "t", Amounts: []int64{0}, Count: 3}}},
		"huge count":     {Classes: []packing.Class{class}, Shapes: []packing.Shape{{Name: "s", Amounts: []int64{1, 1}, Count: huge}, {Name: "t", Amounts: []int64{1, 2}, Count: huge}}},
		"huge amounts":   {Classes: []packing.Class{{Name: "c", Capacity: []int64{huge, huge}, Devices: huge, Price: huge, Max: huge, Headroom: huge}}, Shapes: []packing.Shape{{Name: "s", Amounts: []int64{huge, huge}, GPU: huge, Count: 5}, {Name: "t", Amounts: []int64{huge / 2, huge}, GPU: 1, Count: 7}}},
		"free nodes":     {Classes: []packing.Class{{Name: "c", Capacity: []int64{4}, Max: 9, Headroom: 9}}, Shapes: []packing.Shape{{Name: "s", Amounts: []int64{1}, Count: 30}, {Name: "t", Amounts: []int64{3}, Count: 2}}},
		"crumbs of GPUs": {Classes: []packing.Class{class}, Shapes: []packing.Shape{{Name: "s", GPU: 1, Count: 1_000_000}, {Name: "t", GPU: 3, Amounts: []int64{1}, Count: 1_000_000}}},
		"a million":      {Classes: []packing.Class{class}, Shapes: []packing.Shape{{Name: "s", Amounts: []int64{1, 0}, Count: 1_000_000}, {Name: "t", Amounts: []int64{1, 2}, GPU: 4000, Count: 1_234_567}, {Name: "u", Amounts: []int64{3, 1}, GPU: 10000, Count: 3_000_001}}},
	} {
		t.Run(name, func(t *testing.T) {
			p.Budget = packing.Work(5)
			r := packing.Solve(p)
			assert.LessOrEqual(t, r.Bound, r.Cost)
			if name == "a million" || name == "zero size" || name == "free nodes" || name == "crumbs of GPUs" {
				assert.Zero(t, left(r))
			}
			if name == "a million" {
				check(t, p, r)
				assert.Less(t, r.Gap(), 0.01)
			}
		})
	}
}

// TestStockLeavesNothingOut has one plan only: the large pods need the few
// large nodes, and the small ones must stay off them.
func TestStockLeavesNothingOut(t *testing.T) {
	p := packing.Problem{
		Classes: []packing.Class{
			{Name: "small", Capacity: []int64{4, 4}, Price: 100, Max: 10, Headroom: packing.Unlimited},
			{Name: "large", Capacity: []int64{16, 16}, Price: 101, Max: 100, Headroom: 4},
		},
		Shapes: []packing.Shape{{Name: "big", Amounts: []int64{12, 12}, Count: 4}, {Name: "mid", Amounts: []int64{4, 4}, Count: 10}, {Name: "low", Amounts: []int64{1, 4}, Count: 4}},
	}
	r := packing.Solve(p)
	check(t, p, r)
	assert.Zero(t, left(r))
	assert.Equal(t, []int64{10, 4}, r.Nodes)
	assert.Equal(t, int64(1404), r.Cost)
}

// TestHeadroomAndRefusal are hard.
func TestHeadroomAndRefusal(t *testing.T) {
	p := packing.Problem{
		Classes: []packing.Class{{Name: "a", Capacity: []int64{4}, Price: 1, Max: 3, Headroom: 2}, {Name: "b", Capacity: []int64{4}, Price: 5, Max: packing.Unlimited, Headroom: packing.Unlimited}},
		Shapes:  []packing.Shape{{Name: "s", Amounts: []int64{2}, Count: 5, MaxPerNode: 1}, {Name: "t", Amounts: []int64{4}, Count: 1, Refused: []bool{true, true}}},
	}
	r := packing.Solve(p)
	check(t, p, r)
	assert.Equal(t, []int64{2, 3}, r.Nodes)
	assert.Equal(t, []int64{0, 1}, r.Unplaced)
	assert.Equal(t, r.Cost, r.Bound)
}
