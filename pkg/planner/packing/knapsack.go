package packing

import (
	"math"
	"slices"
)

// knapsack finds the filling of one node of a class that is worth most. Its
// relaxation (amounts may be split) gives multipliers, an upper bound and the
// order in which the exact search of search.go tries the shapes.
type knapsack struct {
	p      *part
	k      int
	items  []int // the shapes that fit on an empty node
	shared bool  // some of them are fractions of a device
	m      int   // dimensions of the relaxation
	// w is what one pod takes of each dimension, as a share of the node: m
	// numbers for each item. Every dimension has room 1.
	w    []float64
	full []int64 // most pods of the item on an empty node

	val, u, rc []float64 // value, most pods and reduced value of each item
	lam        []float64 // multipliers of the dimensions
	upper      float64   // bound on the value of any filling

	state []itemState
	basis []int // an item, or -1-dimension for its slack
	inv   []float64
	xb    []float64
	col   []float64

	// dim is the dimension of each resource, or -1.
	dim    []int
	search search
	share  *sharing // where pods share devices
}

type itemState int8

const (
	atLower itemState = iota
	atUpper
	inBasis
)

func newKnapsack(p *part, k int, refused func(int) bool) *knapsack {
	s := &knapsack{p: p, k: k}
	for i := range p.n {
		if n := p.fitEmpty(i, k); n > 0 && !refused(i) {
			s.items = append(s.items, i)
			s.full = append(s.full, n)
			s.shared = s.shared || p.gpu[i] > 0 && p.gpu[i] < Device
		}
	}
	s.measure()
	n := len(s.items)
	s.val, s.u, s.rc, s.state = make([]float64, n), make([]float64, n), make([]float64, n), make([]itemState, n)
	s.lam, s.basis, s.xb, s.col = make([]float64, s.m), make([]int, s.m), make([]float64, s.m), make([]float64, s.m)
	s.inv = make([]float64, s.m*s.m)
	s.search.init(s)
	if s.shared {
		s.share = newSharing(s)
	}
	return s
}

// fitEmpty is how many pods of shape i an empty node of class k takes.
func (p *part) fitEmpty(i, k int) int64 { return min(p.most[i], p.d[i], p.roomFor(i, k)) }

// roomFor is how many it would, were there any number.
func (p *part) roomFor(i, k int) int64 {
	n := int64(math.MaxInt64)
	for r, a := range p.size[i] {
		if a > 0 {
			n = min(n, p.capacity[k][r]/a)
		}
	}
	d := devices{total: p.devices[k]}
	return d.room(p.gpu[i], n)
}

// measure writes w. Beside the resources, the devices give one dimension for
// their sum and, where pods share devices, some for dual feasible functions:
// weights whose sum over one device is at most 1 for whatever fits on it.
func (s *knapsack) measure() {
	p, k := s.p, s.k
	var dims [][]float64
	add := func(share func(i int) float64) bool {
		v, found := make([]float64, len(s.items)), false
		for q, i := range s.items {
			v[q] = share(i)
			found = found || v[q] > 0
		}
		if found {
			dims = append(dims, v)
		}
		return found
	}
	s.dim = make([]int, p.R)
	for r := range p.R {
		s.dim[r] = -1
		if add(func(i int) float64 {
			if p.size[i][r] == 0 {
				return 0
			}
			return float64(p.size[i][r]) / float64(p.capacity[k][r])
		}) {
			s.dim[r] = len(dims) - 1
		}
	}
	functions := 1
	if s.shared {
		functions = 5
	}
	for f := range functions {
		add(func(i int) float64 {
			if p.gpu[i] == 0 {
				return 0
			}
			return dualFeasible(p.gpu[i], int64(f)) / float64(p.devices[k])
		})
	}
	s.m = len(dims)
	for q := range s.items {
		for _, v := range dims {
			s.w = append(s.w, v[q])
		}
	}
}

// dualFeasible is the f-th weight of an amount of GPU in devices: the amount
// itself for 0, else it is rounded down to multiples of 1/f of a grid of f+1.
func dualFeasible(gpu, f int64) float64 {
	if gpu >= Device {
		return float64(wholeDevices(gpu))
	}
	if f == 0 || (f+1)*gpu%Device == 0 {
		return float64(gpu) / float64(Device)
	}
	return float64((f+1)*gpu/Device) / float64(f)
}

// value sets what a pod of each shape is worth and how many there are.
func (s *knapsack) value(y []float64, res []int64) {
	for q, i := range s.items {
		s.val[q], s.u[q] = max(0, y[i]), float64(min(s.full[q], res[i]))
	}
}

func (s *knapsack) reset() {
	for q := range s.state {
		s.state[q] = atLower
	}
	for i := range s.inv {
		s.inv[i] = 0
	}
	for r := range s.basis {
		s.basis[r], s.xb[r], s.inv[r*s.m+r] = -1-r, 1, 1
	}
}

// relax solves the relaxation by the simplex method with bounds on the
// variables, from the last basis if warm: only values may have changed since.
// The bound is computed from the multipliers, so it holds even where the
// iterations were cut short.
func (s *knapsack) relax(warm bool) {
	if !warm {
		s.reset()
	}
	n, m := len(s.items), s.m
	top := 0.0
	for q := range s.val {
		top = max(top, s.val[q])
	}
	eps := 1e-10 * top
	for range 3*n + 40 {
		s.multipliers()
		s.p.work += int64(n*(m+1))/2 + 20
		enter, best, sign := s.entering(eps)
		if best <= eps {
			break
		}
		if !s.pivot(enter, sign) {
			break
		}
	}
	s.finish()
}

// multipliers is the basis's price of each dimension.
func (s *knapsack) multipliers() {
	m := s.m
	for c := range m {
		s.lam[c] = 0
	}
	for r, b := range s.basis {
		if b >= 0 && s.val[b] != 0 {
			for c := range m {
				s.lam[c] += s.val[b] * s.inv[r*m+c]
			}
		}
	}
}

// entering is the variable whose change gains most: an item, or -1-dimension.
func (s *knapsack) entering(eps float64) (enter int, best, sign float64) {
	m := s.m
	for q := range s.items {
		rc := s.val[q]
		w := s.w[q*m : q*m+m]
		for r, v := range w {
			rc -= v * s.lam[r]
		}
		s.rc[q] = rc
		switch {
		case s.state[q] == atLower && rc > eps && rc > best && s.u[q] > 0:
			enter, best, sign = q, rc, 1
		case s.state[q] == atUpper && rc < -eps && -rc > best:
			enter, best, sign = q, -rc, -1
		}
	}
	for r, l := range s.lam {
		if -l > best && !slices.Contains(s.basis, -1-r) {
			enter, best, sign = -1-r, -l, 1
		}
	}
	return enter, best, sign
}

// pivot moves the entering variable as far as it goes.
func (s *knapsack) pivot(enter int, sign float64) bool {
	m := s.m
	step := math.Inf(1)
	for r := range m {
		if enter < 0 {
			s.col[r] = s.inv[r*m-1-enter]
			continue
		}
		s.col[r] = 0
		for c := range m {
			s.col[r] += s.inv[r*m+c] * s.w[enter*m+c]
		}
	}
	if enter >= 0 {
		step = s.u[enter]
	}
	leave, toUpper := -1, false
	for r := range m {
		a := s.col[r] * sign
		switch {
		case a > 1e-11:
			if t := s.xb[r] / a; t < step {
				step, leave, toUpper = t, r, false
			}
		case a < -1e-11 && s.basis[r] >= 0:
			if t := (s.u[s.basis[r]] - s.xb[r]) / -a; t < step {
				step, leave, toUpper = t, r, true
			}
		}
	}
	if math.IsInf(step, 1) {
		return false
	}
	step = max(0, step)
	for r := range m {
		s.xb[r] = max(0, s.xb[r]-step*sign*s.col[r])
	}
	if leave < 0 {
		s.state[enter] = map[bool]itemState{true: atUpper, false: atLower}[sign > 0]
		return true
	}
	if b := s.basis[leave]; b >= 0 {
		s.state[b] = atLower
		if toUpper {
			s.state[b] = atUpper
		}
	}
	s.basis[leave], s.xb[leave] = enter, step
	if enter >= 0 {
		if sign < 0 {
			s.xb[leave] = s.u[enter] - step
		}
		s.state[enter] = inBasis
	}
	s.invert(leave)
	return true
}

// invert brings the inverse up to date for the column that took a row.
func (s *knapsack) invert(leave int) {
	m := s.m
	pv := 1 / s.col[leave]
	for c := range m {
		s.inv[leave*m+c] *= pv
	}
	for r := range m {
		if f := s.col[r]; r != leave && f != 0 {
			for c := range m {
				s.inv[r*m+c] -= f * s.inv[leave*m+c]
			}
		}
	}
}

// finish makes the multipliers usable and computes the bound that they prove.
func (s *knapsack) finish() {
	s.multipliers()
	s.upper = 0
	for r := range s.lam {
		s.lam[r] = max(0, s.lam[r])
		s.upper += s.lam[r]
	}
	for q := range s.items {
		rc := s.val[q]
		for r, v := range s.w[q*s.m : q*s.m+s.m] {
			rc -= v * s.lam[r]
		}
		s.rc[q] = rc
		if rc > 0 {
			s.upper += rc * s.u[q]
		}
	}
}

// weight is what one pod of the item takes, priced by the multipliers.
func (s *knapsack) weight(q int) float64 {
	var v float64
	for r, w := range s.w[q*s.m : q*s.m+s.m] {
		v += w * s.lam[r]
	}
	return v
}

// spread is what one pod takes with every dimension priced alike.
func (s *knapsack) spread(q int) float64 {
	var v float64
	for _, w := range s.w[q*s.m : q*s.m+s.m] {
		v += w
	}
	return v / float64(max(1, s.m))
}

type ranked struct {
	q   int
	key float64
}

// sortRanked sorts by falling key, then by index.
func sortRanked(v []ranked) {
	slices.SortFunc(v, func(a, b ranked) int {
		switch {
		case a.key > b.key:
			return -1
		case a.key < b.key:
			return 1
		}
		return a.q - b.q
	})
}
