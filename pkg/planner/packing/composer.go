package packing

import (
	"cmp"
	"slices"
)

// composer puts a node together from fillings of single devices. At the
// multipliers of [sharing] a filling loses what it is worth less than the best
// one; a node whose loss is more than there is to gain needs no look. So few
// fillings are left, and the search is exact where it comes to an end.
type composer struct {
	h       *sharing
	options []option
	content []Count // item and number, of all options
	rate    float64 // worth of one device
	top     float64 // bound at no loss
	reach   float64 // all options that lose no more are known
	share   float64 // of the loss that could be of use, at the last listing
	limit   int     // of options
	yield   float64 // most that lax items bring for what they take, as a share
	floor   float64
	rem     []int64
	price   []float64 // of one unit of a resource
	count   []int64
	best    []int64
	value   float64
	bestVal float64
	open    float64
	left    int64
	lax     []ranked
	pick    []Count
	shares  []int   // sizes of shares, falling
	sizes   []int64 // what each option takes of the resources
	onBest  func()
}

func (c *composer) init(h *sharing) {
	c.h, c.share = h, 1
	c.rem, c.price, c.count, c.best = make([]int64, h.s.p.R), make([]float64, h.s.p.R), make([]int64, len(h.count)), make([]int64, len(h.count))
	for size := h.parts; size > 0; size-- {
		if len(h.bySize[size]) > 0 {
			c.shares = append(c.shares, size)
		}
	}
}

// run looks for fillings worth more than floor, at the multipliers that
// improve has found, and returns a bound on the worth of any.
func (c *composer) run(floor float64, branches int64) float64 {
	h := c.h
	c.prepare()
	c.floor, c.bestVal, c.open, c.left, c.value = floor, 0, 0, branches, 0
	c.limit = int(min(mostOptions, branches/2))
	most := c.top - floor
	for _, q := range h.large {
		if h.s.u[q] > 0 {
			most = max(most, c.top-c.lost(q)-floor)
		}
	}
	if most <= 0 {
		return most + floor
	}
	copy(c.rem, h.s.p.capacity[h.s.k])
	at := 0
	for r, d := range h.s.dim {
		if c.price[r] = 0; d >= 0 {
			c.price[r] = h.lam[at] / float64(c.rem[r])
			at++
		}
	}
	clear(c.count)
	c.enumerate(most)
	for _, q := range h.large {
		if c.top-c.lost(q) > floor && c.one(q) {
			c.value = h.s.val[q]
			c.root(len(h.node)-1-h.size[q], c.lost(q), most)
			c.undo([]Count{{q, 1}})
		}
	}
	c.value = 0
	c.root(len(h.node)-1, 0, most)
	return max(c.bestVal, c.floor, c.open) * (1 + 1e-12)
}

// lost is what a node with a large pod loses by it; it may be less than none.
func (c *composer) lost(q int) float64 { return c.rate*float64(c.h.size[q]) - c.h.red[q] }

// root searches the devices that are left. What needs fillings that are not
// listed is not looked into.
func (c *composer) root(left int, spent, most float64) {
	if c.reach < most && left > 0 {
		c.open = max(c.open, c.top-spent-c.reach)
	}
	c.place(0, left, spent)
}

// prepare finds the worth of a device and the bound at no loss.
func (c *composer) prepare() {
	h := c.h
	c.rate, c.top, c.yield = h.device[h.parts], 0, 0
	for _, q := range h.whole {
		c.rate = max(c.rate, h.red[q]/float64(h.size[q]))
	}
	for _, l := range h.lam {
		c.top += l
	}
	for _, q := range h.few {
		c.top += h.nu[q] * h.s.u[q] / h.room[q]
	}
	c.top += c.rate * float64(len(h.node)-1)
	c.lax = c.lax[:0]
	for _, q := range h.lax {
		v := h.s.val[q]
		if v <= 0 || h.s.u[q] <= 0 {
			continue
		}
		if h.red[q] > 0 {
			c.top += h.red[q] * h.s.u[q]
		}
		ratio := 1.0
		if took := v - h.red[q]; took > v {
			ratio = v / took
		}
		c.yield = max(c.yield, ratio)
		c.lax = append(c.lax, ranked{q, ratio})
	}
	sortRanked(c.lax)
}

// place adds fillings from a position on to the devices that are left.
func (c *composer) place(from, left int, spent float64) {
	if c.left--; c.left < 0 || c.h.s.p.work > c.h.s.p.until {
		c.left = -1
		c.open = max(c.open, c.top-spent)
		return
	}
	for at := from; at < len(c.options) && left > 0; at++ {
		o := &c.options[at]
		cut := max(c.floor, c.bestVal)
		if c.top-spent-o.loss <= cut {
			break
		}
		c.h.s.p.work += 3
		if o.devices > left || !c.take(o) {
			continue
		}
		c.place(at, left-o.devices, spent+o.loss)
		c.giveBack(o)
		if c.left < 0 {
			c.open = max(c.open, c.top-spent-o.loss)
			return
		}
	}
	c.leaf(spent + float64(left)*c.rate)
}

// take adds a filling if it fits.
func (c *composer) take(o *option) bool {
	for r, a := range c.sizes[o.at : o.at+len(c.rem)] {
		if c.rem[r] < a {
			return false
		}
	}
	for n, f := range c.content[o.from:o.to] {
		if !c.one(f.Shape) {
			c.undo(c.content[o.from : o.from+n])
			return false
		}
	}
	c.value += o.value
	c.h.s.p.work += int64(2 * (o.to - o.from))
	return true
}

// one adds a pod if it fits.
func (c *composer) one(q int) bool {
	size := c.h.s.p.size[c.h.s.items[q]]
	if float64(c.count[q]) >= c.h.s.u[q] {
		return false
	}
	for r, a := range size {
		if c.rem[r] < a {
			return false
		}
	}
	for r, a := range size {
		c.rem[r] -= a
	}
	c.count[q]++
	return true
}

func (c *composer) giveBack(o *option) {
	c.undo(c.content[o.from:o.to])
	c.value -= o.value
}

func (c *composer) undo(content []Count) {
	h := c.h
	for _, f := range content {
		for r, a := range h.s.p.size[h.s.items[f.Shape]] {
			c.rem[r] += a
		}
		c.count[f.Shape]--
	}
}

// leaf fills the room with what needs no device.
func (c *composer) leaf(spent float64) {
	p, slack := c.h.s.p, 0.0
	for r, v := range c.price {
		slack += v * float64(c.rem[r])
	}
	slack *= 1 - c.yield
	for _, q := range c.h.few {
		slack += c.h.nu[q] * (c.h.s.u[q] - float64(c.count[q])) / c.h.room[q]
	}
	cut := max(c.floor, c.bestVal)
	bound := c.top - spent - slack
	if bound <= cut {
		return
	}
	value := c.value
	for _, o := range c.lax {
		n := int64(c.h.s.u[o.q])
		for r, a := range p.size[c.h.s.items[o.q]] {
			if a > 0 {
				n = min(n, c.rem[r]/a)
			}
		}
		c.some(o.q, n)
		value += float64(n) * c.h.s.val[o.q]
	}
	p.work += int64(len(c.lax)*2 + 2)
	if value > cut*(1+1e-12) {
		c.bestVal = value
		copy(c.best, c.count)
		if c.onBest != nil && c.sure() {
			c.onBest()
		}
	}
	if len(c.lax) > 0 {
		c.open = max(c.open, bound)
	}
	for _, o := range c.lax {
		c.some(o.q, -c.count[o.q])
	}
}

// some adds pods that need no device.
func (c *composer) some(q int, n int64) {
	if n == 0 {
		return
	}
	for r, a := range c.h.s.p.size[c.h.s.items[q]] {
		c.rem[r] -= a * n
	}
	c.count[q] += n
}

// sure tells whether the pods fit on the devices where the grid is too coarse
// to know.
func (c *composer) sure() bool {
	h := c.h
	var fractions []int64
	bins := int64(len(h.node) - 1)
	for q, n := range c.best {
		g := h.s.p.gpu[h.s.items[q]]
		if g >= Device {
			bins -= wholeDevices(g) * n
			continue
		}
		if h.exact {
			continue
		}
		for range n {
			if g > 0 {
				fractions = append(fractions, g)
			}
		}
	}
	if h.exact {
		return true
	}
	slices.SortFunc(fractions, func(a, b int64) int { return cmp.Compare(b, a) })
	free, _, steps := pack(fractions, bins)
	h.s.p.work += 6 * steps
	return free != nil
}
