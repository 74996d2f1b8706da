package packing_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tandem-autoscaler/tandem/pkg/planner/packing"
)

// stocked is a class with so many nodes to be had.
func stocked(name string, cpu, memory, devices, price, stock int64) packing.Class {
	return packing.Class{Name: name, Capacity: []int64{cpu, memory}, Devices: devices, Price: price, Max: stock, Headroom: packing.Unlimited}
}

// TestBindingStock has cases that a plan by price alone cannot place: each
// needs all or nearly all of what there is, in one way or few.
func TestBindingStock(t *testing.T) {
	half, third := packing.Device/2, packing.Device/3
	for name, c := range map[string]struct {
		problem packing.Problem
		cost    int64 // of the best plan
	}{
		"the cheap class is for those that fit nowhere else": {packing.Problem{
			Classes: []packing.Class{stocked("cheap", 8, 64, 0, 10, 2), stocked("dear", 8, 16, 0, 30, 9)},
			Shapes:  []packing.Shape{{Name: "memory", Amounts: []int64{4, 32}, Count: 4}, {Name: "cpu", Amounts: []int64{4, 8}, Count: 8}},
		}, 2*10 + 4*30},
		"no device to spare": {packing.Problem{
			Classes: []packing.Class{stocked("gpu2", 16, 64, 2, 100, 2), stocked("gpu1", 4, 16, 1, 10, 2)},
			Shapes:  []packing.Shape{{Name: "two", Amounts: []int64{8, 8}, GPU: 2 * packing.Device, Count: 1}, {Name: "half", Amounts: []int64{2, 4}, GPU: half, Count: 8}},
		}, 220},
		"thirds and halves": {packing.Problem{
			Classes: []packing.Class{stocked("gpu2", 16, 64, 2, 100, 3)},
			Shapes:  []packing.Shape{{Name: "half", Amounts: []int64{1, 1}, GPU: half, Count: 6}, {Name: "third", Amounts: []int64{1, 1}, GPU: third, Count: 9}},
		}, 300},
		"pods without GPU on the GPU nodes": {packing.Problem{
			Classes: []packing.Class{stocked("gpu1", 12, 48, 1, 100, 4), stocked("cpu", 4, 16, 0, 10, 2)},
			Shapes:  []packing.Shape{{Name: "gpu", Amounts: []int64{4, 16}, GPU: packing.Device, Count: 4}, {Name: "cpu8", Amounts: []int64{8, 16}, Count: 4}, {Name: "cpu4", Amounts: []int64{4, 16}, Count: 2}},
		}, 420},
		"one on each node": {packing.Problem{
			Classes: []packing.Class{stocked("small", 4, 4, 0, 10, 3), stocked("large", 16, 16, 0, 35, 2)},
			Shapes:  []packing.Shape{{Name: "spread", Amounts: []int64{2, 2}, Count: 5, MaxPerNode: 1}, {Name: "fill", Amounts: []int64{2, 2}, Count: 17}},
		}, 100},
	} {
		t.Run(name, func(t *testing.T) {
			r := packing.Solve(c.problem)
			check(t, c.problem, r)
			assert.Zero(t, left(r))
			assert.Equal(t, c.cost, r.Cost)
		})
	}
}

// TestHiddenPlan makes a demand out of full nodes, and the stock of just these
// nodes: nothing may be left out, though every node is needed.
func TestHiddenPlan(t *testing.T) {
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 3)) //nolint:gosec // The cases must be the same every time.
		p := packing.Problem{Classes: []packing.Class{stocked("a", 8, 32, 0, 10, 0), stocked("b", 16, 64, 1, 40, 0), stocked("c", 32, 96, 2, 70, 0)}}
		total := int64(0)
		for range 30 {
			k := r.IntN(len(p.Classes))
			c := &p.Classes[k]
			c.Max++
			total += c.Price
			cpu, memory := c.Capacity[0], c.Capacity[1]
			for range c.Devices {
				share := []int64{packing.Device, packing.Device / 2}[r.IntN(2)]
				for range packing.Device / share {
					p.Shapes = append(p.Shapes, packing.Shape{Name: "gpu", Amounts: []int64{2, 8}, GPU: share, Count: 1})
					cpu, memory = cpu-2, memory-8
				}
			}
			p.Shapes = append(p.Shapes, packing.Shape{Name: "cpu", Amounts: []int64{cpu / 2, memory / 2}, Count: 2})
		}
		result := packing.Solve(p)
		check(t, p, result)
		assert.Zero(t, left(result), "seed %d", seed)
		assert.LessOrEqual(t, result.Cost, total, "seed %d", seed)
	}
}

// TestMoreBudget holds the generated cases to a plan that leaves no more out for
// more work, and costs no more than a search that goes another way can.
func TestMoreBudget(t *testing.T) {
	for _, m := range mixes() {
		p := m.problem()
		var last packing.Result
		for _, budget := range []float64{1, 8, 64} {
			p.Budget = packing.Work(budget)
			r := packing.Solve(p)
			require.GreaterOrEqual(t, r.Cost, last.Bound, m)
			if last.Work > 0 {
				assert.LessOrEqual(t, left(r), left(last), m)
				assert.LessOrEqual(t, r.Cost, last.Cost+last.Cost/1000, "%s at %v ms", m, budget)
			}
			last = r
		}
	}
}

// TestMixesInAnyOrder turns the input of the generated cases around.
func TestMixesInAnyOrder(t *testing.T) {
	for _, m := range mixes()[6:] {
		p := m.problem()
		p.Budget = packing.Work(8)
		want := packing.Solve(p)
		r := rand.New(rand.NewPCG(m.seed, 11)) //nolint:gosec // The cases must be the same every time.
		shapes, classes := r.Perm(len(p.Shapes)), r.Perm(len(p.Classes))
		q := packing.Problem{Budget: p.Budget}
		for _, k := range classes {
			q.Classes = append(q.Classes, p.Classes[k])
		}
		for _, i := range shapes {
			s := p.Shapes[i]
			if s.Refused != nil {
				s.Refused = nil
				for _, k := range classes {
					s.Refused = append(s.Refused, p.Shapes[i].Refused[k])
				}
			}
			q.Shapes = append(q.Shapes, s)
		}
		got := packing.Solve(q)
		// Back to the order of the first.
		for x := range got.Patterns {
			got.Patterns[x].Class = classes[got.Patterns[x].Class]
			for y := range got.Patterns[x].Pods {
				got.Patterns[x].Pods[y].Shape = shapes[got.Patterns[x].Pods[y].Shape]
			}
		}
		assert.Equal(t, want.Patterns, got.Patterns, m)
		assert.Equal(t, [3]int64{want.Cost, want.Bound, want.Work}, [3]int64{got.Cost, got.Bound, got.Work}, m)
	}
}
