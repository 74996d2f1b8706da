package rayv2

import "slices"

// source tells pending demand from cluster constraints: a node keeps separate
// books for the two, and a constraint is booked on the node's totals.
type source int

const (
	fromDemand source = iota
	fromConstraint
	sources
)

// usage is what was placed on a node from one source, as far as Ray's score
// looks at it.
type usage struct {
	any    bool
	gpu    bool  // something placed here names GPU
	wants  []int // names placed with an amount above zero, sorted
	ranked []*shape
	// kinds counts the wants that the node's totals name.
	kinds int
}

// state is what scheduling sees of a node. States never change once made, and
// equal states are one pointer.
type state struct {
	typ int
	// typeIndex is the type's place in the configuration, or -1.
	typeIndex int
	kind      Kind
	total     []amount // in the order of the input
	avail     [sources][]amount
	labels    []label
	used      [sources]usage

	// The numbers of the parts above, to find equal states.
	totalID, labelsID int
	availID, usedID   [sources]int
	// twin is equal for nodes that Ray takes for one another while Ray is not
	// running on them.
	twin [sources]int

	// What the current call of the packer has noted about the state.
	call  int
	fits  bool
	class *candidate // of the running nodes
	twins *candidate // of the others
	// rest is what every total adds to the score as it is; made when needed.
	rest [sources][]float64
	// avgUtil is the state's use by demand, once it was computed.
	avgUtil   float64
	utilKnown bool
}

// nodeStatus is what the scheduler means to do with a node.
type nodeStatus int

const (
	schedulable nodeStatus = iota
	toLaunch
	toTerminate
)

// node is an instance of the input, or a node to be launched. Ray adds the new
// nodes of a type's minimum size as one object that is listed several times;
// so does this model, because what befalls one of them befalls all.
type node struct {
	instance  int // -1: not in the input
	id        string
	status    nodeStatus
	im        Status
	rayNodeID string
	idle      int64
	hash      string
	cause     Cause
	st        *state
}

// newNode is a node to be launched.
func newNode(st *state) node {
	return node{instance: -1, status: toLaunch, st: st}
}

func (n *node) running() bool { return n.im == StatusRayRunning }

// states finds equal states.
type states struct {
	syms *symbols
	seqs sequences
	all  map[int]*state
}

// intern returns the one state that is equal to the given one, whose numbers
// of changed parts are set to -1.
func (s *states) intern(st state) *state {
	if st.totalID < 0 {
		st.totalID = s.seqs.amounts(st.total)
	}
	if st.labelsID < 0 {
		st.labelsID = s.seqs.labels(st.labels)
	}
	for i := range sources {
		if st.availID[i] < 0 {
			st.availID[i] = s.seqs.amounts(st.avail[i])
		}
		if st.usedID[i] < 0 {
			st.usedID[i] = s.usage(&st.used[i])
		}
	}
	base := s.seqs.ints(st.typ, kindNumber(st.kind), st.labelsID)
	for i := range sources {
		st.twin[i] = s.seqs.append(base, st.availID[i], 0)
	}
	key := s.seqs.append(base, st.totalID, 0)
	for i := range sources {
		key = s.seqs.append(s.seqs.append(key, st.availID[i], 0), st.usedID[i], 0)
	}
	if have, ok := s.all[key]; ok {
		return have
	}
	s.all[key] = st.fresh()
	return s.all[key]
}

// fresh is a copy without the notes about the original.
func (st *state) fresh() *state {
	out := *st
	out.call, out.class, out.twins, out.utilKnown = 0, nil, nil, false
	out.rest = [sources][]float64{}
	return &out
}

func (s *states) usage(u *usage) int {
	if !u.any {
		return 0
	}
	n := s.seqs.ints(boolNumber(u.gpu), len(u.wants))
	for _, w := range u.wants {
		n = s.seqs.append(n, w, 0)
	}
	for _, sh := range u.ranked {
		n = s.seqs.append(n, sh.id, 0)
	}
	return n
}

// fresh is the state of a node on which nothing is placed yet. Its vectors
// are cut from one piece of memory; none of them is ever changed.
func (s *states) fresh(typ, typeIndex int, kind Kind, total, avail Resources, labels []label) *state {
	room := make([]amount, 0, 2*len(total)+len(avail))
	room = s.syms.amounts(room, total)
	t := room[:len(room):len(room)]
	room = s.syms.amounts(room[len(t):], avail)
	a := s.syms.anonymous(t, room)
	sortByName(a)
	all := a[len(a):]
	all = append(all, t...)
	sortByName(all)
	return s.intern(state{
		typ: typ, typeIndex: typeIndex, kind: kind, total: t, labels: labels, totalID: -1, labelsID: -1,
		avail: [sources][]amount{a[:len(a):len(a)], all}, availID: [sources]int{-1, -1},
	})
}

// inUse tells whether anything was placed on the node.
func (st *state) inUse() bool { return st.used[fromDemand].any || st.used[fromConstraint].any }

// averageUse is how much of a node the demand uses, for the order of
// terminations.
func (st *state) averageUse() float64 {
	if st.utilKnown {
		return st.avgUtil
	}
	sum, n := 0.0, 0
	for _, t := range st.total {
		if t.value <= 0 {
			continue
		}
		have := 0.0
		if i := findAmount(st.avail[fromDemand], t.name); i >= 0 {
			have = st.avail[fromDemand][i].value
		}
		sum += (t.value - have) / t.value
		n++
	}
	if n > 0 {
		st.avgUtil = sum / float64(n)
	}
	st.utilKnown = true
	return st.avgUtil
}

func kindNumber(k Kind) int {
	return slices.Index([]Kind{KindUnmanaged, KindHead, KindWorker}, k)
}

func boolNumber(b bool) int {
	if b {
		return 1
	}
	return 0
}
