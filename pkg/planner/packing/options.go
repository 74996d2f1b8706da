package packing

import (
	"cmp"
	"slices"
)

// option is a filling of one device, or a pod with whole ones.
type option struct {
	devices     int
	loss, value float64
	from, to    int // in content
	at          int // in sizes
	free        bool
}

// mostOptions bounds the fillings of one device that are looked at.
const mostOptions = 2000

// enumerate lists the fillings of a device that lose at most so much, or, if
// they are too many, at most a part of that.
func (c *composer) enumerate(most float64) {
	c.share = min(1, c.share*3)
	for range 12 {
		c.reach = most * c.share
		if c.list() {
			break
		}
		c.reach, c.share = 0, c.share*0.3
	}
	slices.SortFunc(c.options, func(a, b option) int { return cmp.Or(cmp.Compare(a.loss, b.loss), cmp.Compare(a.from, b.from)) })
	c.thin()
}

func (c *composer) list() bool {
	h := c.h
	c.options, c.content, c.pick, c.sizes = c.options[:0], c.content[:0], c.pick[:0], c.sizes[:0]
	for _, q := range h.whole {
		if loss := c.rate*float64(h.size[q]) - h.red[q]; loss <= c.reach && h.s.u[q] > 0 {
			c.pick = append(c.pick, Count{q, 1})
			c.keep(h.size[q], loss, h.s.val[q])
			c.pick = c.pick[:0]
		}
	}
	return len(c.options) <= c.limit && c.device(0, 0, h.parts, c.rate, 0)
}

// keep makes an option of what is picked.
func (c *composer) keep(devices int, loss, value float64) {
	h, at, from := c.h, len(c.sizes), len(c.content)
	c.sizes = append(c.sizes, make([]int64, h.s.p.R)...)
	free := true
	for _, f := range c.pick {
		free = free && h.s.u[f.Shape] >= h.room[f.Shape]
		for r, a := range h.s.p.size[h.s.items[f.Shape]] {
			c.sizes[at+r] += a
		}
	}
	c.content = append(c.content, c.pick...)
	c.options = append(c.options, option{devices, max(0, loss), value, from, len(c.content), at, free})
	h.s.p.work += int64(10 + 4*len(c.pick))
}

// thin drops fillings that take no less than another that is worth no less and
// of whose pods there are enough.
func (c *composer) thin() {
	kept := c.options[:0]
	for _, o := range c.options {
		good := true
		for q := range kept {
			if c.covers(&kept[q], &o) {
				good = false
				break
			}
		}
		c.h.s.p.work += int64(len(kept) / 2)
		if good {
			kept = append(kept, o)
		}
	}
	c.options = kept
}

func (c *composer) covers(a, b *option) bool {
	if !a.free || a.value < b.value || a.devices > b.devices {
		return false
	}
	for r := range c.rem {
		if c.sizes[a.at+r] > c.sizes[b.at+r] {
			return false
		}
	}
	return true
}

// device lists the fillings of one device: items of falling size. loss is that
// of the filling if nothing is added.
func (c *composer) device(at, item, parts int, loss, value float64) bool {
	h := c.h
	if loss <= c.reach && len(c.pick) > 0 {
		if len(c.options) >= c.limit {
			return false
		}
		c.keep(1, loss, value)
	}
	if loss-h.device[parts] > c.reach {
		return true
	}
	h.s.p.work += 4
	for ; at < len(c.shares); at, item = at+1, 0 {
		size := c.shares[at]
		if size > parts {
			continue
		}
		for _, q := range h.bySize[size][item:] {
			h.s.p.work++
			if rest := loss - h.red[q]; rest-h.device[parts-size] <= c.reach && c.one(q) {
				c.pick = append(c.pick, Count{q, 1})
				ok := c.device(at, item, parts-size, rest, value+h.s.val[q])
				c.undo(c.pick[len(c.pick)-1:])
				c.pick = c.pick[:len(c.pick)-1]
				if !ok {
					return false
				}
			}
			item++
		}
	}
	return true
}
