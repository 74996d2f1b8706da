package rayv2

import (
	"math"
	"math/bits"
)

// A quick trial is a trial where nothing but the amounts of the index matters:
// every run wants some of its resources and no other, and a node has none of
// them in a negative amount. It takes the same requests in the same order as
// the general walk and subtracts them in the same order, but on a few numbers
// that lie next to each other.

// ask is what a quick trial needs to know of a run, apart from the amounts.
type ask struct {
	dims  uint8 // the resources of the index that the run wants, a bit each
	gpu   bool  // it names GPU
	picky bool  // it has selectors
}

// quick is a node for quick trials.
type quick struct {
	ready  bool
	able   bool
	room   room
	placed uint8  // the resources of the index that are placed already
	known  uint8  // those that the node's totals name
	dims   []int8 // by total: its resource in the index, or -1
}

// mayBeQuick tells whether the trials of this call may be quick ones, and reads
// the runs for them.
func (p *packer) mayBeQuick() bool {
	for _, name := range p.index.names {
		if p.syms.implicit[name] {
			return false
		}
	}
	p.asks, p.dims.left = p.asks[:0], p.dims.left[:0]
	for i := range p.runs {
		sh := p.runs[i].shape
		a := ask{gpu: sh.namesGPU, picky: len(sh.selectors) > 0}
		for _, name := range sh.wants {
			k := p.index.dim(name)
			if k < 0 {
				return false
			}
			a.dims |= 1 << k
		}
		p.asks = append(p.asks, a)
	}
	return true
}

// dim is the place of a resource in the index, or -1.
func (x *index) dim(name int) int {
	for k, n := range x.names {
		if n == name {
			return k
		}
	}
	return -1
}

// prepare reads a node for quick trials and tells whether they are possible.
func (p *packer) prepare(q *quick, st *state) bool {
	*q = quick{ready: true, dims: p.dims.cut(len(st.total))}
	var have least
	for _, a := range st.avail[p.src] {
		if a.name < 0 {
			continue
		}
		if a.value < 0 {
			return false
		}
		if k := p.index.dim(a.name); k >= 0 {
			have[k] = a.value
		}
	}
	p.index.reset(&q.room)
	for k := range p.index.names {
		p.index.reduce(&q.room, k, have[k])
	}
	for _, t := range st.total {
		k := p.index.dim(t.name)
		if k >= 0 {
			q.known |= 1 << k
		}
		q.dims = append(q.dims, int8(k)) //nolint:gosec // below the index's width
	}
	for _, w := range st.used[p.src].wants {
		if k := p.index.dim(w); k >= 0 {
			q.placed |= 1 << k
		}
	}
	p.rest(st)
	q.able = true
	return true
}

// tryFirst finds out what the candidate's first node takes of the runs as they
// are, and how good that is.
func (p *packer) tryFirst(c *candidate) error {
	if p.quickly {
		if !c.quick.ready {
			p.prepare(&c.quick, c.st)
		}
		if c.quick.able {
			return p.tryQuickly(c)
		}
	}
	var err error
	if c.taken, err = p.try(c.st, c.taken[:0]); err != nil {
		return err
	}
	c.score, err = p.rate(c.st)
	return err
}

// tryQuickly is a quick trial.
func (p *packer) tryQuickly(c *candidate) error {
	x, q, used := &p.index, &c.quick, &c.st.used[p.src]
	room := q.room
	taken := c.taken[:0]
	sum := ask{gpu: used.gpu}
	rank := 0
	for _, sh := range used.ranked {
		if rank == 0 {
			rank = sh.rank(c.st.labels)
		}
	}
	var w search
	w.begin(x, &room)
	for i := w.next(x, &room); i >= 0; i = w.next(x, &room) {
		a := p.asks[i]
		if a.picky {
			r := p.runs[i].shape.rank(c.st.labels)
			if r == 0 {
				continue
			}
			if rank == 0 {
				rank = r
			}
		}
		n := p.runs[i].left
		if n == 1 || a.dims == 0 {
			w.use(x, &room, i, a.dims)
		} else {
			n = p.useMany(&w, &room, i, a.dims)
		}
		sum.dims |= a.dims
		sum.gpu = sum.gpu || a.gpu
		taken = append(taken, taking{i, n})
	}
	c.taken = taken
	return p.rateQuickly(c, &room, sum, rank)
}

// useMany takes as many requests of a run as fit, of which there is one at
// least.
func (p *packer) useMany(w *search, room *room, run int, dims uint8) int64 {
	x, r := &p.index, &p.runs[run]
	for k, name := range x.names {
		p.cells[name].value = room.least[k]
	}
	n, ok := p.takeExact(r.shape, r.left)
	if !ok {
		n = p.takeOneByOne(r.shape, r.left)
	}
	w.used |= dims
	for k, name := range x.names {
		if dims&(1<<k) != 0 {
			room.least[k] = p.cells[name].value
		}
	}
	return n
}

// rateQuickly scores the node with what a quick trial has put on it.
func (p *packer) rateQuickly(c *candidate, room *room, sum ask, rank int) error {
	st, q := c.st, &c.quick
	out := p.typeScore(st)
	out.rank, out.gpuOK = rank, true
	out.kinds = st.used[p.src].kinds + bits.OnesCount8(sum.dims&q.known&^q.placed)
	total, n := 0.0, 0
	for i := range st.total {
		t := &st.total[i]
		v := st.rest[p.src][i]
		if t.name == p.shapes.gpu && t.value > 0 && !p.ignoreGPU {
			out.gpuOK = sum.gpu
		}
		if k := q.dims[i]; k >= 0 && sum.dims&(1<<k) != 0 && t.value != 0 {
			v = contribution(t.value, room.least[k])
		}
		if v > math.MaxFloat64 {
			continue
		}
		if v != v {
			return errUtilisation
		}
		if n == 0 || v < out.least {
			out.least = v
		}
		total += v
		n++
	}
	if n > 0 {
		out.mean = total / float64(n)
	}
	c.score = out
	return nil
}

// search finds the runs that fit, in order, while room is used up.
type search struct {
	at   int             // the word of the sets
	set  uint64          // what may fit of the word and is not behind
	more uint64          // the words that are not behind and may have something, 64 of them
	used uint8           // the resources of which there is less since the sets were made
	rows [indexWidth]int // where the sets of the levels begin
	sums [indexWidth]int // where their sums begin
}

func (w *search) begin(x *index, r *room) {
	for k := range x.names {
		w.level(x, k, r.level[k]) // the first set, which the others have, changes nothing
	}
	w.at = -1
	w.more = w.sum(x, 0)
}

// level notes how much there is of a resource.
func (w *search) level(x *index, k, level int) {
	set := x.dims[k].from + level
	w.rows[k], w.sums[k] = set*x.words, set*x.sumWords
}

func (w *search) sum(x *index, i int) uint64 {
	return x.sums[i] & x.sums[w.sums[0]+i] & x.sums[w.sums[1]+i] & x.sums[w.sums[2]+i] & x.sums[w.sums[3]+i]
}

// next is the next run that fits, or -1.
func (w *search) next(x *index, r *room) int {
	for {
		for w.set != 0 {
			i := w.at*64 + bits.TrailingZeros64(w.set)
			w.set &= w.set - 1
			v := &x.wants[i]
			if v[0] <= r.least[0] && v[1] <= r.least[1] && v[2] <= r.least[2] && v[3] <= r.least[3] {
				return i
			}
			if w.used != 0 {
				w.tighten(x, r)
			}
		}
		if w.used != 0 {
			w.tighten(x, r)
		}
		if !w.step(x) {
			return -1
		}
	}
}

// step goes to the next word.
func (w *search) step(x *index) bool {
	block := max(w.at, 0) / 64
	for w.more == 0 {
		if block++; block >= x.sumWords {
			return false
		}
		w.more = w.sum(x, block)
	}
	at := block*64 + bits.TrailingZeros64(w.more)
	w.more &= w.more - 1
	w.at = at
	w.set = x.sets[at] & x.sets[w.rows[0]+at] & x.sets[w.rows[1]+at] & x.sets[w.rows[2]+at] & x.sets[w.rows[3]+at]
	return true
}

// use takes one request of a run.
func (w *search) use(x *index, r *room, run int, dims uint8) {
	v := &x.wants[run]
	w.used |= dims
	for ; dims != 0; dims &= dims - 1 {
		k := bits.TrailingZeros8(dims)
		r.least[k] -= v[k]
	}
}

// tighten brings the sets up to date with what is left.
func (w *search) tighten(x *index, r *room) {
	for ; w.used != 0; w.used &= w.used - 1 {
		k := bits.TrailingZeros8(w.used)
		before := r.level[k]
		if level := x.dims[k].level(r.least[k], before); level < before {
			r.level[k] = level
			w.level(x, k, level)
			w.set &= x.sets[w.rows[k]+w.at]
			w.more &= x.sums[w.sums[k]+w.at/64]
		}
	}
}
