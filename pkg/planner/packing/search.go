package packing

import "slices"

// search is the branch and bound of a knapsack. The state of a branch is what
// it has lost of the relaxation's bound: every pod less of a shape that the
// relaxation wants, or more of one that it does not, costs its reduced value.
type search struct {
	s     *knapsack
	order []ranked
	rem   []int64
	least [][]int64 // smallest demand from a position on, by resource
	gpu   devices
	undo  []int64
	count []int64
	// best is the best filling found, as a count for each item.
	best      []int64
	bestValue float64
	floor     float64 // branches that cannot be worth more are cut
	open      float64 // bound of the branches that were not looked into
	unsure    bool    // the devices were not searched to the end
	left      int64   // branches that may still be looked into
	// onBest, if set, sees every filling that is better than the last.
	onBest func()
}

func (b *search) init(s *knapsack) {
	n := len(s.items)
	b.s, b.count, b.best = s, make([]int64, n), make([]int64, n)
	b.rem = make([]int64, s.p.R)
}

// run looks for a filling worth more than floor, in at most so many branches,
// and returns a bound on the value of any filling. relax has been called.
func (b *search) run(floor float64, branches int64) float64 {
	s := b.s
	b.bestValue, b.floor, b.open, b.left = 0, floor, 0, branches
	if s.upper <= floor {
		return s.upper
	}
	b.order = b.order[:0]
	for q := range s.items {
		b.count[q] = 0
		if s.u[q] > 0 && s.val[q] > 0 && s.upper+min(0, s.rc[q]) > floor {
			b.order = append(b.order, ranked{q, s.val[q] / (s.weight(q) + 1e-9*s.spread(q)*s.upper + 1e-300)})
		}
	}
	sortRanked(b.order)
	copy(b.rem, s.p.capacity[s.k])
	b.gpu = devices{total: s.p.devices[s.k], free: b.gpu.free[:0]}
	b.smallest()
	s.p.work += int64(len(b.order)) * int64(8+s.p.R)
	b.branch(0, s.upper, 0)
	return max(b.bestValue, b.floor, b.open)
}

// smallest writes least: where no remaining shape fits, a branch is done.
func (b *search) smallest() {
	n, R := len(b.order), b.s.p.R
	for len(b.least) < n+1 {
		b.least = append(b.least, make([]int64, R))
	}
	for pos := n - 1; pos >= 0; pos-- {
		i := b.s.items[b.order[pos].q]
		for r, v := range b.s.p.size[i] {
			b.least[pos][r] = v
			if pos < n-1 {
				b.least[pos][r] = min(v, b.least[pos+1][r])
			}
		}
	}
}

func (b *search) exhausted(pos int) bool {
	for r, v := range b.least[pos] {
		if v > b.rem[r] {
			return true
		}
	}
	return false
}

// branch tries every count of the shapes from a position on. bound is what the
// filling can still be worth, value what it is worth.
func (b *search) branch(pos int, bound, value float64) {
	s := b.s
	cut := max(b.floor, b.bestValue)
	if bound <= cut {
		return
	}
	if b.left--; b.left < 0 || s.p.work > s.p.until {
		b.left = -1
		b.open = max(b.open, bound)
		return
	}
	s.p.work += 12
	for ; pos < len(b.order); pos++ {
		if b.exhausted(pos) {
			break
		}
		q := b.order[pos].q
		n := b.room(q)
		s.p.work += 4
		if n > 0 {
			b.counts(pos, q, n, bound, value)
			return
		}
		if s.rc[q] > 0 {
			if bound -= s.u[q] * s.rc[q]; bound <= cut {
				return
			}
		}
	}
	if value > b.bestValue*(1+1e-12) {
		b.bestValue = value
		copy(b.best, b.count)
		if b.onBest != nil && value > b.floor {
			b.onBest()
		}
	}
}

// counts branches on how many pods of item q are taken, the most first.
func (b *search) counts(pos, q int, n int64, bound, value float64) {
	s := b.s
	i := s.items[q]
	mark := len(b.undo)
	for x := n; x >= 0; x-- {
		lost := float64(x) * -s.rc[q]
		if s.rc[q] > 0 {
			lost = (s.u[q] - float64(x)) * s.rc[q]
		}
		if bound-lost <= max(b.floor, b.bestValue) {
			if s.rc[q] > 0 {
				return
			}
			if b.left < 0 {
				return
			}
			// Fewer lose less: go straight to the count that is still good.
			if good := int64((bound - max(b.floor, b.bestValue)) / -s.rc[q]); good < x {
				x = good + 1
			}
			continue
		}
		if b.left < 0 {
			b.open = max(b.open, bound-lost)
			if s.rc[q] > 0 {
				return
			}
			b.open = max(b.open, bound)
			return
		}
		b.take(i, x)
		if b.gpu.whole >= 0 {
			b.count[q] = x
			b.branch(pos+1, bound-lost, value+float64(x)*s.val[q])
			b.count[q] = 0
		} else if b.unsure {
			// Not looked into: the bound must allow for it.
			b.open = max(b.open, bound-lost)
		}
		b.giveBack(i, x, mark)
	}
}

// room is how many pods of an item may still fit, by sums.
func (b *search) room(q int) int64 {
	s := b.s
	i := s.items[q]
	n := int64(s.u[q])
	for r, a := range s.p.size[i] {
		if a > 0 {
			n = min(n, b.rem[r]/a)
		}
	}
	if g := s.p.gpu[i]; g > 0 {
		sum := (b.gpu.total - b.gpu.whole - int64(len(b.gpu.free))) * Device
		for _, f := range b.gpu.free {
			sum += f
		}
		n = min(n, sum/g)
	}
	return n
}

// take places x pods of shape i; it leaves gpu.whole negative if the devices
// do not hold them.
func (b *search) take(i int, x int64) {
	p := b.s.p
	for r, a := range p.size[i] {
		b.rem[r] -= a * x
	}
	if p.gpu[i] == 0 {
		return
	}
	b.undo = append(b.undo, b.gpu.free...)
	b.undo = append(b.undo, b.gpu.whole, int64(len(b.gpu.free)))
	if b.gpu.room(p.gpu[i], x) >= x {
		b.gpu.put(p.gpu[i], x)
		return
	}
	b.again(p.gpu[i], x)
}

func (b *search) giveBack(i int, x int64, mark int) {
	p := b.s.p
	for r, a := range p.size[i] {
		b.rem[r] += a * x
	}
	if len(b.undo) == mark {
		return
	}
	n := len(b.undo)
	k := int(b.undo[n-1])
	b.gpu.whole = b.undo[n-2]
	b.gpu.free = append(b.gpu.free[:0], b.undo[n-2-k:n-2]...)
	b.undo = b.undo[:mark]
}

// again places all fractions anew, with x more pods.
func (b *search) again(gpu, x int64) {
	s := b.s
	whole, fractions := int64(0), []int64{}
	add := func(g, n int64) {
		if g >= Device {
			whole += n * wholeDevices(g)
			return
		}
		for range min(n, b.gpu.total*(Device/max(1, g))+1) {
			fractions = append(fractions, g)
		}
	}
	for _, o := range b.order {
		if c := b.count[o.q]; c > 0 && s.p.gpu[s.items[o.q]] > 0 {
			add(s.p.gpu[s.items[o.q]], c)
		}
	}
	add(gpu, x)
	s.p.work += int64(len(fractions)) * 12
	bins := b.gpu.total - whole
	b.unsure = false
	if bins < 0 {
		b.gpu.whole = -1
		return
	}
	slices.SortFunc(fractions, func(a, b int64) int { return int(b - a) })
	d := devices{total: bins}
	for _, f := range fractions {
		if d.room(f, 1) == 0 {
			b.exact(fractions, bins, whole)
			return
		}
		d.put(f, 1)
	}
	b.gpu.whole, b.gpu.free = whole, append(b.gpu.free[:0], d.free...)
}

// exact decides what best fit by falling size could not.
func (b *search) exact(fractions []int64, bins, whole int64) {
	free, sure, steps := pack(fractions, bins)
	b.s.p.work += int64(len(fractions)) + 6*steps
	if free == nil {
		b.unsure, b.gpu.whole = !sure, -1
		return
	}
	b.gpu.whole, b.gpu.free = whole, append(b.gpu.free[:0], free...)
}
