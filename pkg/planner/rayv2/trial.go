package rayv2

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// taking is a number of requests of one run that a node would take.
type taking struct {
	run   int
	count int64
}

// errLabelTaken is Ray's assertion that a label keeps its value.
var errLabelTaken = errors.New("a node's label would change its value")

// cell is what the node on trial has of one resource. A field that was not
// set in the current trial is out of date and means nothing.
type cell struct {
	value  float64
	named  int // the trial in which the node's available amounts name it
	moved  int // ... in which value has changed
	total  int // ... in which the node's totals name it
	placed int // ... in which something that wants it is placed
}

// bench is the node on trial.
type bench struct {
	trial  int
	cells  []cell // by symbol
	room   room
	added  []int // implicit resources that are named from now on
	wants  []int // newly placed
	kinds  int
	any    bool
	gpu    bool
	ranked []*shape
	labels []label
	// For quick trials: what they need to know of every run, and memory.
	asks []ask
	dims stock[int8]
}

// load puts a node on trial.
func (p *packer) load(st *state) {
	b := &p.bench
	b.trial++
	for _, a := range st.avail[p.src] {
		if a.name >= 0 {
			c := &b.cells[a.name]
			c.value, c.named = a.value, b.trial
		}
	}
	for _, a := range st.total {
		if a.name >= 0 {
			b.cells[a.name].total = b.trial
		}
	}
	used := &st.used[p.src]
	for _, w := range used.wants {
		b.cells[w].placed = b.trial
	}
	b.any, b.gpu, b.kinds = used.any, used.gpu, used.kinds
	b.added, b.wants = b.added[:0], b.wants[:0]
	b.ranked = append(b.ranked[:0], used.ranked...)
	b.labels = append(b.labels[:0], st.labels...)
	p.index.reset(&b.room)
	p.measure()
}

// measure brings the room up to date.
func (p *packer) measure() {
	for k, name := range p.index.names {
		if has := max(0, p.has(name)); has != p.room.least[k] {
			p.index.reduce(&p.room, k, has)
		}
	}
}

// has is how much the node on trial has of a resource.
func (p *packer) has(name int) float64 {
	switch c := &p.cells[name]; {
	case c.named == p.trial:
		return c.value
	case p.syms.implicit[name]:
		return 1
	}
	return 0
}

// next is the first run from the given one on that is not used up and may fit,
// or -1.
func (p *packer) next(run int) int {
	if len(p.index.wants) > 0 {
		return p.index.next(run, &p.room)
	}
	for ; run < len(p.runs); run++ {
		if p.runs[run].left > 0 {
			return run
		}
	}
	return -1
}

// try walks through the runs in order and takes from each what fits, without
// going back, as Ray does on a copy of the node. It appends what it takes and
// leaves what becomes of the node on the bench.
func (p *packer) try(st *state, taken []taking) ([]taking, error) {
	p.load(st)
	p.tick++
	for i := p.next(0); i >= 0; i = p.next(i + 1) {
		r := &p.runs[i]
		if p.failed[r.shape.id] == p.tick {
			continue
		}
		n := p.take(r.shape, r.left)
		if n > 0 {
			taken = append(taken, taking{i, n})
			grew, err := p.book(r.shape)
			if err != nil {
				return taken, err
			}
			if grew {
				p.tick++ // a new label may make room for what failed before
			}
			p.measure()
		}
		if n < r.left {
			p.failed[r.shape.id] = p.tick
		}
	}
	return taken, nil
}

// after is the state of a node that takes the given requests, which a trial
// has found to fit.
func (p *packer) after(st *state, taken []taking) (*state, error) {
	p.load(st)
	for _, k := range taken {
		p.take(p.runs[k.run].shape, k.count)
		if _, err := p.book(p.runs[k.run].shape); err != nil {
			return nil, err
		}
	}
	next := *st
	avail := make([]amount, 0, len(st.avail[p.src])+len(p.added))
	for _, a := range st.avail[p.src] {
		if a.name >= 0 {
			a.value = p.cells[a.name].value
		}
		avail = append(avail, a)
	}
	for _, name := range p.added {
		avail = append(avail, amount{name, p.cells[name].value})
	}
	if len(p.added) > 0 {
		sortByName(avail)
	}
	next.avail[p.src], next.availID[p.src] = avail, -1
	next.used[p.src], next.usedID[p.src] = p.usage(st), -1
	if len(p.labels) != len(st.labels) {
		next.labels, next.labelsID = slices.Clone(p.labels), -1
	}
	if p.final {
		return next.fresh(), nil
	}
	return p.states.intern(next), nil
}

// usage is what is placed on the node on trial.
func (p *packer) usage(st *state) usage {
	old := &st.used[p.src]
	u := usage{any: p.any, gpu: p.gpu, kinds: p.kinds, wants: old.wants, ranked: old.ranked}
	if len(p.wants) > 0 {
		u.wants = slices.Concat(old.wants, p.wants)
		slices.Sort(u.wants)
	}
	if len(p.ranked) > len(old.ranked) {
		u.ranked = slices.Clone(p.ranked)
	}
	return u
}

// book notes that the node took requests of a shape. It tells whether a label
// was added.
func (p *packer) book(sh *shape) (bool, error) {
	p.any = true
	p.gpu = p.gpu || sh.namesGPU
	for _, w := range sh.wants {
		c := &p.cells[w]
		if c.placed == p.trial {
			continue
		}
		c.placed = p.trial
		p.wants = append(p.wants, w)
		if c.total == p.trial {
			p.kinds++
		}
	}
	if len(sh.selectors) > 0 && !slices.Contains(p.ranked, sh) {
		p.ranked = append(p.ranked, sh)
	}
	before := len(p.labels)
	for _, a := range sh.anti {
		i := findLabel(p.labels, a.key)
		if i < 0 {
			p.labels = putLabel(p.labels, a)
			continue
		}
		if p.labels[i].value != a.value {
			return false, errLabelTaken
		}
	}
	return len(p.labels) > before, nil
}

// take subtracts as many requests of a shape as fit, up to left, from what the
// node on trial has.
func (p *packer) take(sh *shape, left int64) int64 {
	if len(sh.selectors) > 0 && sh.rank(p.labels) == 0 {
		return 0
	}
	for _, a := range sh.anti {
		if i := findLabel(p.labels, a.key); i >= 0 && p.labels[i].value == a.value {
			return 0
		}
	}
	if len(sh.anti) > 0 {
		left = 1 // the first one's label keeps the second away
	}
	if !p.fitsOnce(sh) {
		return 0
	}
	if len(sh.wants) == 0 {
		return left
	}
	if left == 1 {
		for _, a := range sh.amounts {
			if a.value > 0 {
				p.use(a.name, a.value)
			}
		}
		return 1
	}
	if n, ok := p.takeExact(sh, left); ok {
		return n
	}
	return p.takeOneByOne(sh, left)
}

func (p *packer) use(name int, value float64) {
	c := &p.cells[name]
	c.value -= value
	c.moved = p.trial
}

// fitsOnce tells whether one request of the shape fits. If so, the node's
// available amounts name everything that the shape wants from now on.
func (p *packer) fitsOnce(sh *shape) bool {
	missing := false
	for _, a := range sh.amounts {
		if a.value > p.has(a.name) {
			return false
		}
		missing = missing || a.value > 0 && p.cells[a.name].named != p.trial
	}
	if !missing {
		return true
	}
	for _, a := range sh.amounts {
		if c := &p.cells[a.name]; a.value > 0 && c.named != p.trial {
			c.value, c.named, c.moved = 1, p.trial, p.trial
			p.added = append(p.added, a.name)
		}
	}
	return true
}

// grain and grainMax bound the amounts whose sums and multiples are exact in a
// float64: multiples of 1/1024 below 2^42.
const (
	grain    = 1024
	grainMax = 1 << 42
)

func exact(v float64) bool {
	return math.Abs(v) < grainMax && v*grain == math.Trunc(v*grain)
}

// takeExact takes all that fits in one step. It does nothing and says so where
// repeated subtraction would round.
func (p *packer) takeExact(sh *shape, left int64) (int64, bool) {
	n := left
	for _, a := range sh.amounts {
		if a.value == 0 {
			continue
		}
		have := p.cells[a.name].value
		if !exact(a.value) || !exact(have) {
			return 0, false
		}
		n = min(n, int64(have*grain)/int64(a.value*grain))
	}
	for _, a := range sh.amounts {
		if a.value != 0 {
			p.use(a.name, float64(n)*a.value)
		}
	}
	return n, true
}

// maxSteps bounds the subtractions of one request after the other; beyond it
// one node would hold more requests than Ray could be asked for, and the rest
// is taken in one step.
const maxSteps = 1 << 16

func (p *packer) takeOneByOne(sh *shape, left int64) int64 {
	n := int64(0)
	for n < left && n < maxSteps {
		for _, a := range sh.amounts {
			if a.value > 0 && a.value > p.cells[a.name].value {
				return n
			}
		}
		for _, a := range sh.amounts {
			if a.value > 0 {
				p.use(a.name, a.value)
			}
		}
		n++
	}
	more := left - n
	for _, a := range sh.amounts {
		if a.value > 0 {
			if fit := math.Floor(p.cells[a.name].value / a.value); fit < float64(more) {
				more = int64(fit)
			}
		}
	}
	for _, a := range sh.amounts {
		if a.value > 0 {
			have := &p.cells[a.name].value
			*have = max(0, *have-float64(more)*a.value)
		}
	}
	return n + more
}

// roundFails wraps an assertion of Ray's.
func roundFails(err error) error { return fmt.Errorf("%w: %w", ErrRoundFails, err) }
