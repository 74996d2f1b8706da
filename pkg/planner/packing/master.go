package packing

import (
	"cmp"
	"math"
	"slices"
)

// column is a filling of one node of class k: cnt[q] pods of shape idx[q].
type column struct {
	k   int
	idx []int32
	cnt []int64
}

// master is the linear program over patterns: how many nodes of each pattern,
// in fractions, hold the demand at the lowest price. One row for each shape
// (at least its count) and one for each class (at most its stock). It is kept
// as an explicit inverse of the basis; patterns are made on demand.
type master struct {
	p     *part
	rows  int
	inv   []float64
	x     []float64 // value of the basic variables
	basis []int     // a column, or a slack: see variable
	y     []float64 // duals
	cols  []column
	big   float64 // price of a pod left out
	// out is the price of a pod left out and in the refund for one too many,
	// by shape: while patterns are few they hold the duals between them.
	out, in []float64
	dir     []float64
	nz      []int32
}

// The variables that are not columns, as basis entries: leaving a pod of shape
// i out is -1-i, more than the demand of it is -1-rows-i, and stock left over
// of class k is -1-(n+k).
func (m *master) surplus(i int) int { return -1 - m.rows - i }

func newMaster(p *part) *master {
	m := &master{p: p, rows: p.n + p.K}
	R := m.rows
	m.inv, m.x, m.basis, m.y, m.dir = make([]float64, R*R), make([]float64, R), make([]int, R), make([]float64, R), make([]float64, R)
	for _, v := range p.price {
		m.big = max(m.big, v)
	}
	m.big = 50*m.big + 1
	m.out, m.in = make([]float64, p.n), make([]float64, p.n)
	for r := range R {
		m.inv[r*R+r], m.basis[r] = 1, -1-r
		if r < p.n {
			m.x[r], m.y[r], m.out[r] = float64(p.d[r]), m.big, m.big
		} else {
			m.x[r] = float64(p.limit[r-p.n])
		}
	}
	return m
}

// box holds the dual of every shape near a centre, or lets it go where there
// is none.
func (m *master) box(centre []float64, width float64) {
	for i := range m.p.n {
		m.out[i], m.in[i] = m.big, 0
		if centre != nil {
			c := max(centre[i], 1e-9*m.big)
			m.out[i], m.in[i] = min(m.big, c*(1+width)), c*max(0, 1-width)
		}
	}
	R := m.rows
	for i := range m.y {
		m.y[i] = 0
	}
	for r, b := range m.basis {
		if c := m.cost(b); c != 0 {
			for i, v := range m.inv[r*R : r*R+R] {
				m.y[i] += c * v
			}
		}
	}
	m.p.work += int64(R*R) / 2
}

// boxed tells whether the box keeps the program from its own optimum.
func (m *master) boxed() bool {
	for r, b := range m.basis {
		if m.x[r] > 1e-9 && (b < 0 && b >= -m.p.n && m.out[-1-b] < m.big || b < -m.rows && m.in[-1-m.rows-b] > 0) {
			return true
		}
	}
	return false
}

// settle solves the program over the patterns that there are.
func (m *master) settle(until int64) {
	for m.p.work < until {
		m.release()
		best, least := -1, -1e-9*m.big
		for j := range m.cols {
			if rc := m.reduced(&m.cols[j]); rc < least {
				best, least = j, rc
			}
			m.p.work += int64(len(m.cols[j].idx))
		}
		if best < 0 || !m.enter(best) {
			return
		}
	}
}

func (m *master) cost(b int) float64 {
	switch {
	case b >= 0:
		return m.p.price[m.cols[b].k]
	case b >= -m.p.n:
		return m.out[-1-b]
	case b < -m.rows:
		return -m.in[-1-m.rows-b]
	}
	return 0
}

// reduced is the reduced cost of a column.
func (m *master) reduced(c *column) float64 {
	v := m.p.price[c.k] - m.y[m.p.n+c.k]
	for q, i := range c.idx {
		v -= m.y[i] * float64(c.cnt[q])
	}
	return v
}

// direction writes how the basis answers to a column.
func (m *master) direction(c *column) {
	R, at := m.rows, m.p.n+c.k
	for r := range R {
		row := m.inv[r*R : r*R+R]
		v := row[at]
		for q, i := range c.idx {
			v += row[i] * float64(c.cnt[q])
		}
		m.dir[r] = v
	}
	m.p.work += int64(R) * int64(len(c.idx)+1) / 2
}

// unit writes the same for a slack: sign times a unit vector.
func (m *master) unit(row int, sign float64) {
	R := m.rows
	for r := range R {
		m.dir[r] = sign * m.inv[r*R+row]
	}
}

// enter brings a column into the basis.
func (m *master) enter(j int) bool {
	rc := m.reduced(&m.cols[j])
	m.direction(&m.cols[j])
	return m.ratio(j, rc)
}

// ratio finds the variable that leaves and pivots.
func (m *master) ratio(j int, rc float64) bool {
	leave, step := -1, math.Inf(1)
	for r, v := range m.dir {
		if v > 1e-9 {
			if t := m.x[r] / v; t < step-1e-12 || t < step+1e-12 && leave >= 0 && v > m.dir[leave] {
				leave, step = r, t
			}
		}
	}
	if leave < 0 {
		return false
	}
	m.pivot(leave, j, max(0, step), rc)
	return true
}

// pivot replaces the basic variable of a row by j.
func (m *master) pivot(leave, j int, step, rc float64) {
	R := m.rows
	pr := m.inv[leave*R : leave*R+R]
	pv := 1 / m.dir[leave]
	m.nz = m.nz[:0]
	for c, v := range pr {
		if v != 0 {
			if v *= pv; math.Abs(v) < 1e-13 {
				v = 0
			} else {
				m.nz = append(m.nz, int32(c))
			}
			pr[c] = v
		}
	}
	touched := 0
	for r, v := range m.dir {
		if r == leave || v == 0 {
			continue
		}
		touched++
		m.x[r] -= step * v
		if m.x[r] < 0 && m.x[r] > -1e-9 {
			m.x[r] = 0
		}
		row := m.inv[r*R : r*R+R]
		for _, c := range m.nz {
			row[c] -= v * pr[c]
		}
	}
	for _, c := range m.nz {
		m.y[c] += rc * pr[c]
	}
	m.x[leave], m.basis[leave] = step, j
	m.p.work += int64(touched*len(m.nz)) + int64(3*R)
}

// release brings in the slacks that lower the cost.
func (m *master) release() {
	for range 4 {
		again := false
		for i := range m.p.n {
			if rc := m.y[i] - m.in[i]; rc < -1e-9*m.big {
				m.unit(i, -1)
				again = m.ratio(m.surplus(i), rc) || again
			} else if rc := m.out[i] - m.y[i]; rc < -1e-9*m.big {
				m.unit(i, 1)
				again = m.ratio(-1-i, rc) || again
			}
		}
		for k := range m.p.K {
			if r := m.p.n + k; m.y[r] > 1e-9*m.big {
				rc := -m.y[r]
				m.unit(r, 1)
				again = m.ratio(-1-r, rc) || again
			}
		}
		if !again {
			return
		}
	}
}

func (m *master) objective() float64 {
	var v float64
	for r, b := range m.basis {
		v += m.cost(b) * m.x[r]
	}
	return v
}

// demand sets the right-hand sides anew.
func (m *master) demand(res, left []int64) {
	R := m.rows
	for r := range R {
		row, v := m.inv[r*R:r*R+R], 0.0
		for i, d := range res {
			v += row[i] * float64(d)
		}
		for k, l := range left {
			v += row[m.p.n+k] * float64(l)
		}
		if math.Abs(v) < 1e-9 {
			v = 0
		}
		m.x[r] = v
	}
	m.p.work += int64(R*R) / 2
}

// repair is the dual simplex method: the duals stay good while the right-hand
// sides have changed. It tells whether it came to an end.
func (m *master) repair(until int64) bool {
	for range 4*m.rows + 20 {
		leave, worst := -1, -1e-7
		for r, v := range m.x {
			if v < worst {
				leave, worst = r, v
			}
		}
		if leave < 0 {
			return true
		}
		j, rc := m.dualEntering(leave)
		if j == none {
			return false
		}
		switch {
		case j >= 0:
			m.direction(&m.cols[j])
		case j >= -m.rows:
			m.unit(-1-j, 1)
		default:
			m.unit(-1-m.rows-j, -1)
		}
		m.pivot(leave, j, m.x[leave]/m.dir[leave], rc)
		if m.p.work > until {
			return false
		}
	}
	return false
}

const none = math.MinInt

// dualEntering is the variable whose reduced cost allows the leaving row's dual
// to move least.
func (m *master) dualEntering(leave int) (enter int, rc float64) {
	p, R := m.p, m.rows
	row := m.inv[leave*R : leave*R+R]
	enter, best, size := none, math.Inf(1), 0.0
	try := func(j int, a, r float64) {
		if a > -1e-9 {
			return
		}
		r = max(0, r)
		if t := r / -a; t < best-1e-12 || t < best+1e-12 && -a > size {
			enter, rc, best, size = j, r, t, -a
		}
	}
	var work int
	for j := range m.cols {
		c := &m.cols[j]
		a := row[p.n+c.k]
		v := p.price[c.k] - m.y[p.n+c.k]
		for q, i := range c.idx {
			f := float64(c.cnt[q])
			a += row[i] * f
			v -= m.y[i] * f
		}
		work += len(c.idx) + 2
		try(j, a, v)
	}
	for i := range p.n {
		try(m.surplus(i), -row[i], m.y[i]-m.in[i])
		try(-1-i, row[i], m.out[i]-m.y[i])
	}
	for k := range p.K {
		try(-1-(p.n+k), row[p.n+k], -m.y[p.n+k])
	}
	p.work += int64(work + 3*p.n)
	return enter, rc
}

// add keeps a filling of a knapsack as a column.
func (m *master) add(s *knapsack, count []int64) int {
	c := column{k: s.k}
	for q, n := range count {
		if n > 0 {
			c.idx, c.cnt = append(c.idx, index(s.items[q])), append(c.cnt, n)
		}
	}
	m.cols = append(m.cols, c)
	return len(m.cols) - 1
}

// bestBound is the best bound that duals prove when upper[k] bounds what a
// filling of class k is worth under them: the duals may be scaled by any
// factor, and a filling that is worth more than its price costs the stock of
// its class. It is piecewise linear in the factor.
func (p *part) bestBound(y, upper []float64) (bound, factor float64) {
	var worth float64
	for i, d := range p.d {
		worth += max(0, y[i]) * float64(d)
	}
	type knee struct{ at, slope float64 }
	var knees []knee
	for k, u := range upper {
		if u > 0 {
			knees = append(knees, knee{p.price[k] / u, u * float64(p.limit[k])})
		}
	}
	slices.SortFunc(knees, func(a, b knee) int { return cmp.Compare(a.at, b.at) })
	slope := worth
	for _, k := range knees {
		bound += slope * (k.at - factor)
		factor = k.at
		if slope -= k.slope; slope <= 0 {
			break
		}
	}
	return bound, factor
}
