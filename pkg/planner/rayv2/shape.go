package rayv2

import (
	"cmp"
	"slices"
)

// requirement is a [Requirement] in symbols.
type requirement struct {
	key      int
	operator Operator
	values   []int
}

func (r *requirement) satisfiedBy(labels []label) bool {
	i := findLabel(labels, r.key)
	has := i >= 0 && slices.Contains(r.values, labels[i].value)
	switch r.operator {
	case OperatorIn:
		return has
	case OperatorNotIn:
		return !has
	case OperatorUnspecified:
	}
	return false
}

// placement is a [PlacementConstraint] in symbols.
type placement struct {
	kind PlacementKind
	label
}

// shape is what all equal requests have in common. Equal shapes are one
// pointer.
type shape struct {
	id        int
	amounts   []amount
	wants     []int // names with an amount above zero, sorted
	namesGPU  bool  // also with an amount of zero, as in Ray
	placement []placement
	anti      []label
	selectors [][]requirement
}

// rank says how good the best selector is that the labels satisfy: the number
// of selectors for the first, one for the last, zero for none.
func (sh *shape) rank(labels []label) int {
	for i, selector := range sh.selectors {
		ok := true
		for j := range selector {
			if !selector[j].satisfiedBy(labels) {
				ok = false
				break
			}
		}
		if ok {
			return len(sh.selectors) - i
		}
	}
	return 0
}

// request is one entry of a demand, ready to be sorted.
type request struct {
	shape *shape
	// sum is the sum of the amounts in the order of the request.
	sum   float64
	index int
	count int64
}

// shapes holds every distinct shape of the input.
type shapes struct {
	syms *symbols
	seqs sequences
	gpu  int
	// plain is a hash table of the shapes with amounts only: an entry is the
	// shape's place in list, plus one, and lies at the hash of its amounts or in
	// the next free place after it.
	plain  []int32
	plains int
	byID   map[int]*shape
	list   []*shape
	// ranks is the largest number of selectors of any shape.
	ranks int

	made    stock[shape]
	wants   stock[int]
	amounts stock[amount]
}

// request reads one entry of a demand.
func (s *shapes) request(r *Request, index int, count int64) request {
	list := s.syms.amounts(s.amounts.cut(len(r.Resources)), r.Resources)
	sum := 0.0
	for _, a := range list {
		sum += a.value
	}
	sortByName(list)
	return request{shape: s.shape(list, s.placement(r.Placement), r.Selectors), sum: sum, index: index, count: count}
}

func (s *shapes) placement(list []PlacementConstraint) []placement {
	if len(list) == 0 {
		return nil
	}
	out := make([]placement, 0, len(list))
	for _, c := range list {
		out = append(out, placement{c.Kind, label{s.syms.id(c.Label), s.syms.id(c.Value)}})
	}
	return out
}

// shape finds or makes the shape of a request, whose amounts are sorted.
func (s *shapes) shape(list []amount, placements []placement, selectors []Selector) *shape {
	if len(placements) == 0 && len(selectors) == 0 {
		return s.plainShape(list)
	}
	key := s.seqs.ints(s.seqs.amounts(list), len(placements))
	for _, c := range placements {
		key = s.seqs.append(s.seqs.append(s.seqs.append(key, int(c.kind), 0), c.key, 0), c.value, 0)
	}
	reqs := make([][]requirement, 0, len(selectors))
	for _, selector := range selectors {
		rs, id := s.selector(selector, false)
		reqs = append(reqs, rs)
		key = s.seqs.append(key, id, 0)
	}
	sh, ok := s.byID[key]
	if !ok {
		sh = s.add(shape{amounts: list, placement: placements, selectors: reqs})
		s.byID[key] = sh
	}
	return sh
}

// plainShape finds or makes the shape of a request for amounts alone.
func (s *shapes) plainShape(list []amount) *shape {
	if 2*(s.plains+1) > len(s.plain) {
		s.growPlain()
	}
	at := s.plainPlace(list)
	if n := s.plain[at]; n > 0 {
		return s.list[n-1]
	}
	sh := s.add(shape{amounts: list})
	s.plain[at] = int32(len(s.list)) //nolint:gosec // fewer shapes than memory has bytes for
	s.plains++
	return sh
}

// plainPlace is where the table has the shape of some amounts, or has room for it.
func (s *shapes) plainPlace(list []amount) int {
	mask := len(s.plain) - 1
	at := int(hashOf(list)>>1) & mask
	for ; s.plain[at] > 0; at = (at + 1) & mask {
		if sameAmounts(s.list[s.plain[at]-1].amounts, list) {
			break
		}
	}
	return at
}

// growPlain doubles the table.
func (s *shapes) growPlain() {
	old := s.plain
	s.plain = make([]int32, max(64, 2*len(old)))
	for _, n := range old {
		if n > 0 {
			s.plain[s.plainPlace(s.list[n-1].amounts)] = n
		}
	}
}

func sameAmounts(a, b []amount) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].name != b[i].name || bitsOf(a[i].value) != bitsOf(b[i].value) {
			return false
		}
	}
	return true
}

// hashOf mixes names and bits of amounts by multiplication with a large odd
// number, whose upper half depends on all of them.
func hashOf(list []amount) uint64 {
	const odd = 0x9e3779b97f4a7c15
	h := uint64(len(list))
	for _, a := range list {
		h = (h ^ uint64(a.name)) * odd //nolint:gosec // only mixed
		h ^= h >> 32
		h = (h ^ bitsOf(a.value)) * odd
		h ^= h >> 32
	}
	return h
}

// add completes a new shape.
func (s *shapes) add(made shape) *shape {
	sh := &s.made.cut(1)[:1][0]
	*sh = made
	sh.id = len(s.list)
	sh.wants = s.wants.cut(len(sh.amounts))
	for _, a := range sh.amounts {
		if a.value > 0 {
			sh.wants = append(sh.wants, a.name)
		}
		sh.namesGPU = sh.namesGPU || a.name == s.gpu
	}
	for _, c := range sh.placement {
		if c.kind == AntiAffinity {
			sh.anti = append(sh.anti, c.label)
		}
	}
	s.ranks = max(s.ranks, len(sh.selectors))
	s.list = append(s.list, sh)
	return sh
}

// selector reads a selector and numbers it. With sortValues two selectors that
// differ in the order of their values only have the same number.
func (s *shapes) selector(selector Selector, sortValues bool) ([]requirement, int) {
	out := make([]requirement, 0, len(selector))
	id := s.seqs.ints(len(selector))
	for _, r := range selector {
		req := requirement{key: s.syms.id(r.Key), operator: r.Operator, values: make([]int, 0, len(r.Values))}
		for _, v := range r.Values {
			req.values = append(req.values, s.syms.id(v))
		}
		out = append(out, req)
		values := req.values
		if sortValues {
			values = slices.Sorted(slices.Values(values))
		}
		id = s.seqs.append(s.seqs.append(s.seqs.append(id, req.key, 0), int(r.Operator), 0), s.seqs.ints(values...), 0)
	}
	return out, id
}

// ranked is a request in its order.
type ranked struct {
	kinds uint64 // how many placements, requirements and resources it has
	sum   float64
	place int32 // in the demand
}

// sorted orders requests as Ray tries them: the more constrained and the larger
// first, and in their own order if they compare equal.
func (s *shapes) sorted(list []request) []ranked {
	out := make([]ranked, 0, len(list))
	for i := range list {
		if r := &list[i]; r.count > 0 {
			kinds := uint64(len(r.shape.placement))<<42 | uint64(r.shape.firstSelector())<<21 | uint64(len(r.shape.amounts)) //nolint:gosec // lengths
			out = append(out, ranked{kinds, r.sum, int32(i)})
		}
	}
	slices.SortFunc(out, func(a, b ranked) int {
		switch {
		case a.kinds != b.kinds:
			return sign(a.kinds < b.kinds)
		case a.sum != b.sum:
			return sign(a.sum < b.sum)
		}
		return cmp.Or(s.compareAmounts(list[b.place].shape, list[a.place].shape), cmp.Compare(a.place, b.place))
	})
	return out
}

func (sh *shape) firstSelector() int {
	if len(sh.selectors) == 0 {
		return 0
	}
	return len(sh.selectors[0])
}

// compareAmounts compares the amounts in the order of their names.
func (s *shapes) compareAmounts(a, b *shape) int {
	if a == b {
		return 0
	}
	return slices.CompareFunc(s.spelled(a), s.spelled(b), func(x, y Amount) int {
		return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.Value, y.Value))
	})
}

func (s *shapes) spelled(sh *shape) []Amount {
	out := make([]Amount, 0, len(sh.amounts))
	for _, a := range sh.amounts {
		out = append(out, Amount{s.syms.names[a.name], a.value})
	}
	slices.SortFunc(out, func(x, y Amount) int { return cmp.Compare(x.Name, y.Name) })
	return out
}
