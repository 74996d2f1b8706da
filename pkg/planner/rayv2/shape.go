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
	place int // in the demand, which decides between those that compare equal
}

// shapes holds every distinct shape of the input.
type shapes struct {
	syms *symbols
	seqs sequences
	gpu  int
	// plain has the shapes with amounts only, by the bytes of the amounts.
	plain map[string]*shape
	bytes []byte
	byID  map[int]*shape
	list  []*shape
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
	s.bytes = s.bytes[:0]
	for _, a := range list {
		s.bytes = appendBits(appendBits(s.bytes, uint64(a.name)), bitsOf(a.value)) //nolint:gosec // names are numbered from zero
	}
	if sh, ok := s.plain[string(s.bytes)]; ok {
		return sh
	}
	sh := s.add(shape{amounts: list})
	s.plain[string(s.bytes)] = sh
	return sh
}

func appendBits(b []byte, v uint64) []byte {
	return append(b, byte(v), byte(v>>8), byte(v>>16), byte(v>>24), byte(v>>32), byte(v>>40), byte(v>>48), byte(v>>56)) //nolint:gosec // byte by byte
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

// compareRequests orders requests as Ray tries them: the more constrained and
// the larger first, and in their own order if they compare equal.
func (s *shapes) compareRequests(a, b request) int {
	if c := cmp.Compare(len(b.shape.placement), len(a.shape.placement)); c != 0 {
		return c
	}
	if c := cmp.Compare(b.shape.firstSelector(), a.shape.firstSelector()); c != 0 {
		return c
	}
	if c := cmp.Compare(len(b.shape.amounts), len(a.shape.amounts)); c != 0 {
		return c
	}
	if c := cmp.Compare(b.sum, a.sum); c != 0 {
		return c
	}
	return cmp.Or(s.compareAmounts(b.shape, a.shape), cmp.Compare(a.place, b.place))
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
