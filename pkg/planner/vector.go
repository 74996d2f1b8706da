package planner

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// dims numbers the names of resources, so that the hot paths work on vectors.
type dims struct {
	names []string
	index map[string]int
	gpu   int // the number of [ResourceGPU], or -1
}

func newDims(names map[string]bool) *dims {
	d := &dims{names: slices.Sorted(maps.Keys(names)), index: make(map[string]int, len(names)), gpu: -1}
	for i, n := range d.names {
		d.index[n] = i
	}
	if i, ok := d.index[ResourceGPU]; ok {
		d.gpu = i
	}
	return d
}

// vector is an amount for every dimension.
type vector []int64

// vector drops names that have no number: nothing asks for them.
func (d *dims) vector(r Resources) vector {
	v := make(vector, len(d.names))
	for name, n := range r {
		if i, ok := d.index[name]; ok {
			v[i] = n
		}
	}
	return v
}

// need is what one pod or request asks for: the dimensions that are not zero.
type need []amount

type amount struct {
	dim int
	v   int64
}

func (v vector) need() need {
	var out need
	for i, n := range v {
		if n > 0 {
			out = append(out, amount{i, n})
		}
	}
	return out
}

// times tells how often the need fits in free, at most limit.
func (n need) times(free vector, limit int64) int64 {
	for _, a := range n {
		if free[a.dim] < a.v {
			return 0
		}
	}
	for _, a := range n {
		limit = min(limit, free[a.dim]/a.v)
	}
	return limit
}

// minus is v without k times the need, which must fit.
func (v vector) minus(n need, k int64) vector {
	out := slices.Clone(v)
	for _, a := range n {
		out[a.dim] -= mulSat(a.v, k)
	}
	return out
}

// appendTo writes v for use as the key of a map.
func (v vector) appendTo(key []byte) []byte {
	for _, n := range v {
		key = append(strconv.AppendInt(key, n, 36), ',')
	}
	return key
}

// shape is a [PodShape] in the terms of the hot paths; pods of equal shapes share
// one.
type shape struct {
	*PodShape

	text  string // its key
	need  need
	dense vector
	gpu   bool
	// admits caches by number of profile whether its labels and taints let a
	// pod in: 1 yes, 2 no.
	admits []int8
	// shares caches by number of group what [shape.shareOn] tells.
	shares []int64
}

// wanting is a shape that pods of a tenant have.
type wanting struct {
	tenant string
	shape  *shape
}

// profile is a set of labels and taints; nodes that no pod could tell apart by
// theirs share one.
type profile struct {
	number int
	labels map[string]string
	taints []Taint
}

// tables intern what many nodes and pods have in common.
type tables struct {
	*dims

	shapes   map[*PodShape]*shape
	byKey    map[string]*shape
	profiles map[string]*profile
	// labelKeys are the keys of node labels that a pod could ask for.
	labelKeys []string
}

// newTables numbers the resources of everything in the snapshot that a pod may
// ask for.
func newTables(s *Snapshot) *tables {
	names, keys := map[string]bool{}, map[string]bool{}
	seen := func(p *PodShape) {
		for n := range p.Requests {
			names[n] = true
		}
		for k := range p.NodeSelector {
			keys[k] = true
		}
		for _, t := range p.NodeAffinity {
			for _, r := range t {
				keys[r.Key] = true
			}
		}
	}
	for i := range s.Pods {
		seen(&s.Pods[i].Shape)
	}
	for i := range s.RayClusters {
		for j := range s.RayClusters[i].WorkerGroups {
			seen(&s.RayClusters[i].WorkerGroups[j].Pod)
		}
	}
	names[ResourceGPU] = true // a pod without GPUs looks at it as well
	return &tables{
		dims: newDims(names), shapes: map[*PodShape]*shape{}, byKey: map[string]*shape{}, profiles: map[string]*profile{},
		labelKeys: slices.Sorted(maps.Keys(keys)),
	}
}

func (t *tables) shape(s *PodShape) *shape {
	if sh := t.shapes[s]; sh != nil {
		return sh
	}
	key := s.key()
	sh := t.byKey[key]
	if sh == nil {
		dense := t.vector(s.Requests)
		sh = &shape{PodShape: s, text: key, need: dense.need(), dense: dense, gpu: s.Requests[ResourceGPU] > 0}
		t.byKey[key] = sh
	}
	t.shapes[s] = sh
	return sh
}

// profile interns labels and taints, as far as a pod could ask for them.
func (t *tables) profile(labels map[string]string, taints []Taint) *profile {
	var b strings.Builder
	for _, k := range t.labelKeys {
		if v, ok := labels[k]; ok {
			b.WriteString(k + "\x00" + v + "\x00")
		}
	}
	b.WriteByte('|')
	for _, x := range taints {
		b.WriteString(x.Key + "\x00" + x.Value + "\x00" + x.Effect + "\x00")
	}
	key := b.String()
	p := t.profiles[key]
	if p == nil {
		p = &profile{number: len(t.profiles), labels: labels, taints: taints}
		t.profiles[key] = p
	}
	return p
}

// lets tells whether a pod of the shape may go where the profile is.
func (p *profile) lets(s *shape) bool {
	for len(s.admits) <= p.number {
		s.admits = append(s.admits, 0)
	}
	if s.admits[p.number] == 0 {
		s.admits[p.number] = 2
		if s.selects(p.labels) && s.tolerates(p.taints) {
			s.admits[p.number] = 1
		}
	}
	return s.admits[p.number] == 1
}
