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

// trial is what a node would take of the runs as they are now, and how Ray
// scores it.
type trial struct {
	taken  []taking
	score  score
	result *state // made when it is needed
}

// errLabelTaken is Ray's assertion that a label keeps its value.
var errLabelTaken = errors.New("a node's label would change its value")

// try walks through the runs in order and takes from each what fits, without
// going back, as Ray does on a copy of the node. It leaves what becomes of the
// node in the packer's scratch fields.
func (p *packer) try(st *state) (*trial, error) {
	p.avail = append(p.avail[:0], st.avail[p.src]...)
	p.labels = append(p.labels[:0], st.labels...)
	used := &st.used[p.src]
	p.used = usage{
		any: used.any, gpu: used.gpu, kinds: used.kinds,
		wants: append(p.used.wants[:0], used.wants...), ranked: append(p.used.ranked[:0], used.ranked...),
	}
	from := len(p.takings)
	p.tick++
	for i := range p.runs {
		r := &p.runs[i]
		if r.left == 0 || p.failed[r.shape.id] == p.tick {
			continue
		}
		n := p.take(r.shape, r.left)
		if n > 0 {
			p.takings = append(p.takings, taking{i, n})
			grew, err := p.book(r.shape, st.total)
			if err != nil {
				return nil, err
			}
			if grew {
				p.tick++ // a new label may make room for what failed before
			}
		}
		if n < r.left {
			p.failed[r.shape.id] = p.tick
		}
	}
	rating, err := p.rate(st)
	if err != nil {
		return nil, err
	}
	return &trial{taken: p.takings[from:len(p.takings):len(p.takings)], score: rating}, nil
}

// after is the state of a node on which the trial's requests are placed. The
// trial must be valid: it is gone through once more.
func (p *packer) after(st *state, t *trial) (*state, error) {
	if t.result != nil {
		return t.result, nil
	}
	if _, err := p.try(st); err != nil {
		return nil, err
	}
	next := *st
	next.avail[p.src], next.availID[p.src] = slices.Clone(p.avail), -1
	next.used[p.src], next.usedID[p.src] = p.used, -1
	next.used[p.src].wants = slices.Clone(p.used.wants)
	next.used[p.src].ranked = slices.Clone(p.used.ranked)
	if len(p.labels) != len(st.labels) {
		next.labels, next.labelsID = slices.Clone(p.labels), -1
	}
	t.result = p.states.intern(next)
	return t.result, nil
}

// book notes that the node took requests of a shape. It tells whether a label
// was added.
func (p *packer) book(sh *shape, total []amount) (bool, error) {
	u := &p.used
	u.any = true
	u.gpu = u.gpu || sh.namesGPU
	for _, w := range sh.wants {
		i, found := slices.BinarySearch(u.wants, w)
		if found {
			continue
		}
		u.wants = slices.Insert(u.wants, i, w)
		if findAmount(total, w) >= 0 {
			u.kinds++
		}
	}
	if len(sh.selectors) > 0 && !slices.Contains(u.ranked, sh) {
		u.ranked = append(u.ranked, sh)
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

// take subtracts as many requests of a shape as fit, up to left, from the
// packer's scratch vector.
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
	if n, ok := p.takeExact(sh, left); ok {
		return n
	}
	return p.takeOneByOne(sh, left)
}

// fitsOnce tells whether one request of the shape fits. If so, the scratch
// vector names everything that the shape wants, and p.at tells where.
func (p *packer) fitsOnce(sh *shape) bool {
	p.at = p.at[:0]
	missing := false
	for _, a := range sh.amounts {
		i := findAmount(p.avail, a.name)
		have := 0.0
		switch {
		case i >= 0:
			have = p.avail[i].value
		case p.syms.implicit[a.name]:
			have = 1
		}
		if a.value > have {
			return false
		}
		missing = missing || i < 0 && a.value > 0
		p.at = append(p.at, i)
	}
	if !missing {
		return true
	}
	for _, a := range sh.amounts {
		if a.value > 0 && findAmount(p.avail, a.name) < 0 {
			i, _ := slices.BinarySearchFunc(p.avail, a, func(e, x amount) int { return e.name - x.name })
			p.avail = slices.Insert(p.avail, i, amount{a.name, 1})
		}
	}
	for i, a := range sh.amounts {
		p.at[i] = findAmount(p.avail, a.name)
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
	for i, a := range sh.amounts {
		if a.value == 0 {
			continue
		}
		have := p.avail[p.at[i]].value
		if !exact(a.value) || !exact(have) {
			return 0, false
		}
		n = min(n, int64(have*grain)/int64(a.value*grain))
	}
	for i, a := range sh.amounts {
		if a.value != 0 {
			p.avail[p.at[i]].value -= float64(n) * a.value
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
		for i, a := range sh.amounts {
			if a.value > 0 && a.value > p.avail[p.at[i]].value {
				return n
			}
		}
		for i, a := range sh.amounts {
			if a.value > 0 {
				p.avail[p.at[i]].value -= a.value
			}
		}
		n++
	}
	more := left - n
	for i, a := range sh.amounts {
		if a.value > 0 {
			if fit := math.Floor(p.avail[p.at[i]].value / a.value); fit < float64(more) {
				more = int64(fit)
			}
		}
	}
	for i, a := range sh.amounts {
		if a.value > 0 {
			have := &p.avail[p.at[i]].value
			*have = max(0, *have-float64(more)*a.value)
		}
	}
	return n + more
}

// roundFails wraps an assertion of Ray's.
func roundFails(err error) error { return fmt.Errorf("%w: %w", ErrRoundFails, err) }
