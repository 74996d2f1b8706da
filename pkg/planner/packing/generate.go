package packing

import (
	"math"
	"slices"
)

// proof is a set of duals with, for each class, a bound on what any filling is
// worth under them. It proves a bound for any demand.
type proof struct {
	y, upper []float64
	factor   float64 // by which the duals are scaled
}

// prove keeps the proof if it is the best so far, and tells so.
func (p *part) prove(y, upper []float64) bool {
	v, factor := p.bestBound(y, upper)
	if v <= p.bound {
		return false
	}
	p.bound, p.proof.factor = v, factor
	p.proof.y = append(p.proof.y[:0], y[:p.n]...)
	p.proof.upper = append(p.proof.upper[:0], upper...)
	return true
}

// fluid proves a first bound and gives first duals: a pod costs at least its
// share of a node, by one resource or by a mean of them.
func (p *part) fluid() []float64 {
	y, best := make([]float64, p.n), make([]float64, p.n)
	upper := make([]float64, p.K)
	most := 0
	for k := range p.knap {
		upper[k] = p.price[k] * (1 + 1e-12)
		most = max(most, p.knap[k].m)
	}
	top := -1.0
	for dim := -1; dim < most; dim++ {
		for i := range y {
			y[i] = math.Inf(1)
		}
		for k, s := range p.knap {
			for q, i := range s.items {
				share := s.spread(q)
				if dim >= 0 {
					share = 0
					if dim < s.m {
						share = s.w[q*s.m+dim]
					}
				}
				y[i] = min(y[i], p.price[k]*share)
			}
		}
		for i := range y {
			if math.IsInf(y[i], 1) {
				y[i] = 0
			}
		}
		p.prove(y, upper)
		if dim < 0 || p.bound > top {
			top = p.bound
			copy(best, y)
		}
		p.work += int64(p.n * p.K * most)
	}
	return best
}

// generate solves the linear program by column generation until no filling of
// any class is worth more than its price, or the work is used up. While it
// knows few patterns its duals jump about, so they are held in a box around
// those that have proven the best bound; the box grows as it is exhausted.
func (m *master) generate(until int64) {
	p := m.p
	p.until = until
	g := &generation{m: m, upper: make([]float64, p.K), branches: fewBranches, fills: 4, duals: make([]float64, m.rows), f: newFiller(p), random: newRandom()}
	width := 0.1
	centre := p.centre()
	m.box(centre, width)
	for p.work < until {
		m.release()
		added, closed := g.round()
		better := p.prove(g.duals, g.upper)
		objective := m.objective()
		near := objective-p.bound <= 2e-6*objective
		switch {
		case near && !m.boxed():
			return
		case (near || added == 0) && m.boxed():
			// The box is exhausted: a wider one around where it led to.
			width *= 1.3
			for i := range centre {
				centre[i] = max(0, m.y[i])
			}
			m.box(centre, width)
		case near || added == 0 && closed:
			return
		case better:
			centre = p.centre()
			m.box(centre, width)
		case added > 0:
		case g.branches > 1<<22:
			return
		default:
			g.branches *= 8
		}
	}
}

// centre is the best proven duals of the shapes.
func (p *part) centre() []float64 {
	c := make([]float64, p.n)
	for i, v := range p.proof.y {
		c[i] = v * p.proof.factor
	}
	return c
}

// fewBranches is how far a search goes while there are other ways to a filling.
const fewBranches = 60

type generation struct {
	m        *master
	duals    []float64
	upper    []float64
	branches int64
	fills    int
	f        *filler
	order    []ranked
	random   random
}

// steps of the multipliers: more where few ways are left.
func (g *generation) steps() int {
	if g.branches == fewBranches {
		return 12
	}
	return 60
}

// draw fills nodes of the class in orders that are shaken: by value for room,
// large pods first to some degree.
func (g *generation) draw(s *knapsack, price float64) (fresh []int) {
	p, m := g.m.p, g.m
	fills := g.fills
	if s.share != nil {
		fills /= 2
	}
	for t := range fills {
		noise, large := 0.1*float64(t%4), [...]float64{0, 0.3, 3}[t%3]
		g.order = g.order[:0]
		for q := range s.items {
			if s.val[q] > 0 && s.rc[q] > -0.3*price {
				key := s.val[q] / (s.weight(q) + 1e-3*s.spread(q)*price + 1e-300) * (1 + large*s.spread(q)) * (1 + noise*(g.random.share()-0.5))
				g.order = append(g.order, ranked{q, key})
			}
		}
		sortRanked(g.order)
		g.f.start(s.k)
		value := 0.0
		for _, o := range g.order {
			i := s.items[o.q]
			value += s.val[o.q] * float64(g.f.add(i, p.d[i]))
		}
		p.work += int64(len(g.order)*20 + 3*len(s.items))
		if value > price*(1+1e-6) {
			m.cols = append(m.cols, g.f.column(s.k))
			fresh = append(fresh, len(m.cols)-1)
		}
	}
	return fresh
}

// round makes fillings of every class for the duals and brings in those
// that lower the cost. closed tells that every search went to its end.
func (g *generation) round() (added int, closed bool) {
	m, p := g.m, g.m.p
	closed = true
	for r, v := range m.y {
		g.duals[r] = max(0, v)
		if r >= p.n {
			g.duals[r] = min(0, v)
		}
	}
	for k, s := range p.knap {
		if len(s.items) == 0 || p.limit[k] == 0 {
			g.upper[k] = 0
			continue
		}
		price := p.price[k] - g.duals[p.n+k]
		s.value(g.duals, p.d)
		s.relax(true)
		floor := price * (1 + 1e-6)
		if price == 0 {
			floor = 1e-9 * s.upper
		}
		var fresh []int
		var exact bool
		fresh, g.upper[k], exact = g.exact(s, floor, g.draw(s, price))
		closed = closed && exact
		// The best first: it may make the others useless.
		for _, j := range slices.Backward(fresh) {
			rc := m.reduced(&m.cols[j])
			if rc < -1e-7*max(price, 1e-9*m.big) && m.enter(j) {
				added++
			}
		}
	}
	return added, closed
}

// exact looks for fillings worth more than the floor, and returns them beside
// those that are known, with a bound on what any is worth. closed tells that
// the search went to its end.
func (g *generation) exact(s *knapsack, floor float64, known []int) (fresh []int, upper float64, closed bool) {
	m, bound := g.m, math.Inf(1)
	fresh = known
	branches := g.branches
	if s.share != nil {
		s.share.improve(floor, g.steps())
		if value := s.share.column(g.f); value > floor {
			m.cols = append(m.cols, g.f.column(s.k))
			fresh = append(fresh, len(m.cols)-1)
		}
		c := &s.share.composer
		c.onBest = func() { fresh = append(fresh, m.add(s, c.best)) }
		bound = c.run(floor, 5*branches)
		c.onBest = nil
		if branches == fewBranches {
			branches = 0
		}
	}
	s.search.onBest = func() { fresh = append(fresh, m.add(s, s.search.best)) }
	upper = s.search.run(floor, branches)
	s.search.onBest = nil
	return fresh, min(upper, bound), s.search.left >= 0 || bound <= floor
}
