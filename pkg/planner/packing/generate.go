package packing

import "math"

// proof is a set of duals with, for each class, a bound on what any filling is
// worth under them. It proves a bound for any demand.
type proof struct{ y, upper []float64 }

// prove keeps the proof if it is the best so far.
func (p *part) prove(y, upper []float64) {
	if v := p.bestBound(y, upper); v > p.bound {
		p.bound = v
		p.proof.y = append(p.proof.y[:0], y[:p.n]...)
		p.proof.upper = append(p.proof.upper[:0], upper...)
	}
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
// any class is worth more than its price, or the work is used up. The duals
// that fillings are made for are smoothed, which saves rounds.
func (m *master) generate(until int64) {
	p := m.p
	g := &generation{m: m, smooth: make([]float64, m.rows), upper: make([]float64, p.K), branches: 60}
	copy(g.smooth, m.y)
	for round := 0; p.work < until; round++ {
		m.release()
		alpha := 0.6
		if round == 0 || g.exactly {
			alpha = 0
		}
		for i := range g.smooth {
			g.smooth[i] = alpha*g.smooth[i] + (1-alpha)*m.y[i]
		}
		added, closed := g.round()
		p.prove(g.smooth, g.upper)
		objective := m.objective()
		if objective-p.bound <= 2e-6*objective {
			return
		}
		switch {
		case added > 0:
			g.exactly = false
		case !g.exactly:
			g.exactly = true
		case closed || g.branches > 1<<22:
			return
		default:
			g.branches *= 8
		}
	}
}

type generation struct {
	m        *master
	smooth   []float64
	upper    []float64
	branches int64
	exactly  bool // the duals are not smoothed
}

// round makes fillings of every class for the smoothed duals and brings in
// those that lower the cost. closed tells that every search went to its end.
func (g *generation) round() (added int, closed bool) {
	m, p := g.m, g.m.p
	closed = true
	for k, s := range p.knap {
		if len(s.items) == 0 || p.limit[k] == 0 {
			g.upper[k] = 0
			continue
		}
		price := p.price[k] - min(0, g.smooth[p.n+k])
		s.value(g.smooth, p.d)
		s.relax(true)
		floor := price * (1 + 1e-6)
		if price == 0 {
			floor = 1e-9 * s.upper
		}
		var fresh []int
		s.search.onBest = func() { fresh = append(fresh, m.add(s, s.search.best)) }
		g.upper[k] = s.search.run(floor, g.branches)
		s.search.onBest = nil
		closed = closed && s.search.left >= 0
		// The best first: it may make the others useless.
		for q := len(fresh) - 1; q >= 0; q-- {
			rc := m.reduced(&m.cols[fresh[q]])
			if rc < -1e-7*max(price, 1e-9*m.big) && m.enter(fresh[q]) {
				added++
			}
		}
	}
	return added, closed
}
