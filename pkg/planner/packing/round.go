package packing

import (
	"math"
	"slices"
)

// index is a shape's index in the width that columns keep.
func index(i int) int32 { return int32(i) } //nolint:gosec // There are fewer shapes than 2^31.

// filler fills single nodes for a rest of the demand.
type filler struct {
	p     *part
	rem   []int64
	gpu   devices
	count []int64 // by shape
	used  []int32 // shapes with a count
}

func newFiller(p *part) *filler {
	return &filler{p: p, rem: make([]int64, p.R), count: make([]int64, p.n)}
}

func (f *filler) start(k int) {
	copy(f.rem, f.p.capacity[k])
	f.gpu = devices{total: f.p.devices[k], free: f.gpu.free[:0]}
	for _, i := range f.used {
		f.count[i] = 0
	}
	f.used = f.used[:0]
}

// add puts up to n pods of shape i on the node.
func (f *filler) add(i int, n int64) int64 {
	p := f.p
	n = min(n, p.most[i]-f.count[i])
	for r, a := range p.size[i] {
		if a > 0 {
			n = min(n, f.rem[r]/a)
		}
	}
	if n = f.gpu.room(p.gpu[i], n); n <= 0 {
		return 0
	}
	f.gpu.put(p.gpu[i], n)
	for r, a := range p.size[i] {
		f.rem[r] -= a * n
	}
	if f.count[i] == 0 {
		f.used = append(f.used, index(i))
	}
	f.count[i] += n
	return n
}

func (f *filler) column(k int) column {
	c := column{k: k, idx: slices.Clone(f.used)}
	slices.Sort(c.idx)
	for _, i := range c.idx {
		c.cnt = append(c.cnt, f.count[i])
	}
	return c
}

// plan is a solution in the making: what is left of demand and stock.
type plan struct {
	p         *part
	res, left []int64
	solution
}

func (p *part) newPlan() *plan {
	return &plan{p: p, res: p.clone(p.d), left: p.clone(p.limit)}
}

// take buys up to n nodes with a pattern, clipped to what is left of the
// demand, and returns how many.
func (s *plan) take(c *column, n int64) int64 {
	var done int64
	for n = min(n, s.left[c.k]); n > 0; {
		d := column{k: c.k}
		times := n
		for q, i := range c.idx {
			if x := min(c.cnt[q], s.res[i]); x > 0 {
				d.idx, d.cnt = append(d.idx, i), append(d.cnt, x)
				times = min(times, s.res[i]/x)
			}
		}
		if len(d.idx) == 0 {
			break
		}
		for q, i := range d.idx {
			s.res[i] -= d.cnt[q] * times
		}
		s.left[c.k] -= times
		s.cost += s.p.price[c.k] * float64(times)
		s.runs = append(s.runs, run{d, times})
		n, done = n-times, done+times
	}
	return done
}

func (s *plan) finish() solution {
	for _, v := range s.res {
		s.unplaced = addSat(s.unplaced, v)
	}
	return s.solution
}

// greedy places a rest of the demand, all of it if s is nil: again and again
// the node whose filling is worth most for its price.
func (p *part) greedy(y, prices []float64, large float64, s *plan) solution {
	if s == nil {
		s = p.newPlan()
	}
	order := make([][]ranked, p.K)
	for k, kn := range p.knap {
		for q, i := range kn.items {
			if s.res[i] > 0 && s.left[k] > 0 {
				w := kn.weight(q) + 1e-3*kn.spread(q)*max(prices[k], 1e-9)
				order[k] = append(order[k], ranked{q, y[i] / (w + 1e-300) * (1 + large*kn.spread(q))})
			}
		}
		sortRanked(order[k])
		p.work += int64(len(order[k]) * 12)
	}
	f := newFiller(p)
	for {
		var best column
		bestValue := -1.0
		for k := range p.knap {
			if s.left[k] == 0 {
				continue
			}
			value := p.fillOrdered(f, s, k, order, y)
			if len(f.used) == 0 {
				continue
			}
			if value /= max(prices[k], 1e-9); value > bestValue {
				best, bestValue = f.column(k), value
			}
		}
		if bestValue < 0 {
			return s.finish()
		}
		times := s.left[best.k]
		for q, i := range best.idx {
			times = min(times, s.res[i]/best.cnt[q])
		}
		s.take(&best, times)
	}
}

// fillOrdered fills one node of class k in an order, dropping from it what the
// demand has no more of.
func (p *part) fillOrdered(f *filler, s *plan, k int, order [][]ranked, y []float64) float64 {
	f.start(k)
	var value float64
	kept := order[k][:0]
	for _, o := range order[k] {
		i := p.knap[k].items[o.q]
		if s.res[i] == 0 {
			continue
		}
		kept = append(kept, o)
		value += y[i] * float64(f.add(i, s.res[i]))
	}
	order[k] = kept
	p.work += int64(len(kept) * 6)
	return value
}

// floors takes the whole part of every pattern of the linear program.
func (m *master) floors(s *plan) {
	for r, b := range m.basis {
		if b >= 0 && m.x[r] >= 1-1e-6 {
			s.take(&m.cols[b], int64(m.x[r]+1e-6))
		}
	}
}

func (m *master) floorGreedy(y, prices []float64) solution {
	s := m.p.newPlan()
	m.floors(s)
	return m.p.greedy(y, prices, 1, s)
}

// dive rounds the linear program pattern by pattern: the one nearest to a
// whole node is bought, and the rest is solved again from the same basis. What
// is left in the end is placed greedily. Noise makes it another one each time.
func (m *master) dive(y, prices []float64, noise float64, wander *random, until int64) solution {
	p := m.p
	s := p.newPlan()
	for p.work < until {
		m.demand(s.res, s.left)
		if !m.repair(until) {
			break
		}
		whole := false
		for r, b := range m.basis {
			if b >= 0 && m.x[r] >= 1-1e-6 && s.take(&m.cols[b], int64(m.x[r]+1e-6)) > 0 {
				whole = true
			}
		}
		if whole {
			continue
		}
		best, score := -1, 0.05
		for r, b := range m.basis {
			if b < 0 || m.x[r] <= 0.05 || s.left[m.cols[b].k] == 0 {
				continue
			}
			if v := m.x[r] * (1 + noise*(wander.share()-0.5)); v > score {
				best, score = b, v
			}
		}
		if best < 0 || s.take(&m.cols[best], 1) == 0 {
			break
		}
	}
	return p.greedy(y, prices, 1, s)
}

// prune drops the patterns that are far from being of use: it keeps those of
// the basis and as many of the cheapest others, by their reduced cost, as there
// are few of.
func (m *master) prune() {
	most := 4 * m.rows * int(1+m.p.budget/Work(1000)) // much work goes far with many
	if len(m.cols) <= most {
		return
	}
	order := make([]ranked, len(m.cols))
	for j := range m.cols {
		order[j] = ranked{j, -m.reduced(&m.cols[j])}
		m.p.work += int64(len(m.cols[j].idx))
	}
	for _, b := range m.basis {
		if b >= 0 {
			order[b].key = math.Inf(1)
		}
	}
	sortRanked(order)
	m.p.work += int64(8 * len(order))
	at := make(map[int]int, m.rows)
	kept := make([]column, 0, most)
	for to, o := range order[:most] {
		kept = append(kept, m.cols[o.q])
		at[o.q] = to
	}
	for r, b := range m.basis {
		if b >= 0 {
			m.basis[r] = at[b]
		}
	}
	m.cols = kept
}
