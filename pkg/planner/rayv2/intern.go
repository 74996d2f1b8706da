package rayv2

import (
	"cmp"
	"math"
	"slices"
	"strings"
)

// implicitPrefix starts the names of resources of which every node has one
// until something uses it (ray: python/ray/_raylet.pyx).
const implicitPrefix = "node:__internal_implicit_resource_"

// symbols gives every string of the input a small number.
type symbols struct {
	ids      map[string]int
	names    []string
	implicit []bool
	// wanted marks resources, and wantedKey label keys, that some request names.
	wanted    []bool
	wantedKey []bool
}

func (s *symbols) id(name string) int {
	if id, ok := s.ids[name]; ok {
		return id
	}
	id := len(s.names)
	s.ids[name] = id
	s.names = append(s.names, name)
	s.implicit = append(s.implicit, strings.HasPrefix(name, implicitPrefix))
	s.wanted = append(s.wanted, false)
	s.wantedKey = append(s.wantedKey, false)
	return id
}

// amount is an [Amount] with its name as a symbol.
type amount struct {
	name  int
	value float64
}

// amounts reads resources as Ray's dictionary would: a name that comes again
// keeps its place and takes the later value. It appends to out.
func (s *symbols) amounts(out []amount, r Resources) []amount {
	from := len(out)
	for _, a := range r {
		id := s.id(a.Name)
		if i := findAmount(out[from:], id); i >= 0 {
			out[from+i].value = a.Value
			continue
		}
		out = append(out, amount{id, a.Value})
	}
	return out
}

// anonymous renames what no request names by its place in the totals, and
// drops it from the available amounts where the totals lack it. Nothing but
// its share in the score can matter, so nodes that differ only in names such
// as node:<ip> become equal. It changes both lists and returns the second.
func (s *symbols) anonymous(total, avail []amount) []amount {
	for i := range total {
		if s.wanted[total[i].name] {
			continue
		}
		if j := findAmount(avail, total[i].name); j >= 0 {
			avail[j].name = -1 - i
		}
		total[i].name = -1 - i
	}
	return slices.DeleteFunc(avail, func(a amount) bool { return a.name >= 0 && !s.wanted[a.name] })
}

func findAmount(list []amount, name int) int {
	for i := range list {
		if list[i].name == name {
			return i
		}
	}
	return -1
}

// sortByName puts a vector whose order means nothing in the order of the
// symbols.
func sortByName(list []amount) {
	slices.SortFunc(list, func(a, b amount) int { return cmp.Compare(a.name, b.name) })
}

// label is a [Label] in symbols; label sets are sorted by key.
type label struct{ key, value int }

func findLabel(set []label, key int) int {
	for i := range set {
		if set[i].key == key {
			return i
		}
	}
	return -1
}

// putLabel adds or changes a label of the set, in place.
func putLabel(set []label, l label) []label {
	i, found := slices.BinarySearchFunc(set, l.key, func(e label, key int) int { return cmp.Compare(e.key, key) })
	if found {
		set[i] = l
		return set
	}
	return slices.Insert(set, i, l)
}

// labels reads label lists one after the other, the later hiding the earlier.
// Labels that no request names are left out.
func (s *symbols) labels(lists ...Labels) []label {
	var out []label
	for _, list := range lists {
		for _, l := range list {
			if key, ok := s.ids[l.Key]; ok && s.wantedKey[key] {
				out = putLabel(out, label{key, s.id(l.Value)})
			}
		}
	}
	return out
}

// link is one step of a sequence: the number of the sequence so far, and the
// next element of it.
type link struct {
	head int
	item int
	bits uint64
}

// sequences gives equal sequences of elements equal numbers. The empty
// sequence is number zero.
type sequences map[link]int

func (s sequences) append(head, item int, value float64) int {
	l := link{head, item, bitsOf(value)}
	n, ok := s[l]
	if !ok {
		n = len(s) + 1
		s[l] = n
	}
	return n
}

// bitsOf is equal for equal numbers: there is no negative zero.
func bitsOf(v float64) uint64 { return math.Float64bits(v + 0) }

func (s sequences) ints(items ...int) int {
	n := 0
	for _, i := range items {
		n = s.append(n, i, 0)
	}
	return n
}

func (s sequences) amounts(list []amount) int {
	n := 0
	for _, a := range list {
		n = s.append(n, a.name, a.value)
	}
	return n
}

func (s sequences) labels(list []label) int {
	n := 0
	for _, l := range list {
		n = s.append(s.append(n, l.key, 0), l.value, 0)
	}
	return n
}

// stock is memory from which many small slices are cut.
type stock[T any] struct{ left []T }

// cut is an empty slice with room for n.
func (s *stock[T]) cut(n int) []T {
	if cap(s.left)-len(s.left) < n {
		s.left = make([]T, 0, max(n, min(2*cap(s.left), 1024), 16))
	}
	from := len(s.left)
	s.left = s.left[:from+n]
	return s.left[from : from : from+n]
}
