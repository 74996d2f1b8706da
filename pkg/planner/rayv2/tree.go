package rayv2

import (
	"cmp"
	"math"
	"slices"
)

// treeWidth is how many resources the tree tells apart. The others are only
// compared where a run is tried.
const treeWidth = 4

// treeRuns is the number of runs from which on a tree is worth its making.
const treeRuns = 12

// least is what the runs below a node of the tree want at least.
type least [treeWidth]float64

// dead is more than any node can have.
var dead = least{math.Inf(1)}

// tree finds the next run that may fit into what a node has left, without
// going through those in between. Runs that are used up are never found.
type tree struct {
	// names are the resources that the most runs want.
	names []int
	// nodes has its root at 1 and the children of i at 2i and 2i+1; the leaf
	// of run i is at size+i. It is empty while there are few runs.
	nodes []least
	size  int
}

// build makes the tree of the runs; all of them are alive.
func (t *tree) build(runs []run) {
	t.nodes = t.nodes[:0]
	if len(runs) < treeRuns {
		return
	}
	t.choose(runs)
	t.size = 1
	for t.size < len(runs) {
		t.size *= 2
	}
	t.nodes = slices.Grow(t.nodes, 2*t.size)[:2*t.size]
	for i := range t.size {
		leaf := &t.nodes[t.size+i]
		if i >= len(runs) {
			*leaf = dead
			continue
		}
		*leaf = least{}
		for _, a := range runs[i].shape.amounts {
			if k := slices.Index(t.names, a.name); k >= 0 {
				leaf[k] = a.value
			}
		}
	}
	for i := t.size - 1; i > 0; i-- {
		t.join(i)
	}
}

// choose picks the resources that the most runs want.
func (t *tree) choose(runs []run) {
	count := map[int]int{}
	for i := range runs {
		for _, w := range runs[i].shape.wants {
			count[w]++
		}
	}
	t.names = t.names[:0]
	for name := range count {
		t.names = append(t.names, name)
	}
	slices.SortFunc(t.names, func(a, b int) int {
		return cmp.Or(cmp.Compare(count[b], count[a]), cmp.Compare(a, b))
	})
	t.names = t.names[:min(len(t.names), treeWidth)]
}

func (t *tree) join(i int) {
	a, b, out := &t.nodes[2*i], &t.nodes[2*i+1], &t.nodes[i]
	for k := range out {
		out[k] = min(a[k], b[k])
	}
}

// kill takes a run out.
func (t *tree) kill(run int) {
	if len(t.nodes) == 0 {
		return
	}
	i := t.size + run
	t.nodes[i] = dead
	for i /= 2; i > 0; i /= 2 {
		t.join(i)
	}
}

// next is the first run from the given one on that may fit into the room, or
// -1.
func (t *tree) next(run int, room *least) int {
	if run >= t.size {
		return -1
	}
	i := t.size + run
	for {
		n := &t.nodes[i]
		if n[0] <= room[0] && n[1] <= room[1] && n[2] <= room[2] && n[3] <= room[3] {
			if i >= t.size {
				return i - t.size
			}
			i *= 2
			continue
		}
		for i&1 == 1 {
			if i >>= 1; i == 0 {
				return -1
			}
		}
		i++
	}
}
