package main

import (
	"fmt"
	"slices"
)

// filling is a number of equal nodes with the same pods.
type filling struct {
	typ   int
	nodes int64
	pods  map[int]int64 // by shape, on each of the nodes
}

// plan is what a planner buys and where it puts the pods.
type plan struct {
	fillings []filling
	// bound is a proven lower bound on the cost in thousandths; 0: none.
	bound int64
}

// verdict is what an independent look at a plan finds.
type verdict struct {
	nodes  int64
	cost   int64 // in thousandths
	left   int64 // pods without a place
	caps   []string
	faults []string
}

// examine checks a plan against the rules of the work, without regard to how
// it was made.
func examine(w *work, p plan) verdict {
	var v verdict
	bought := make([]int64, len(w.types))
	placed := make([]int64, len(w.shapes))
	for _, f := range p.fillings {
		if f.typ < 0 || f.typ >= len(w.types) || f.nodes < 0 {
			v.faults = append(v.faults, fmt.Sprintf("%d nodes of type %d", f.nodes, f.typ))
			continue
		}
		t := &w.types[f.typ]
		bought[f.typ] += f.nodes
		var cpu, memory, gpu int64
		for i, n := range f.pods {
			if i < 0 || i >= len(w.shapes) || n < 0 {
				v.faults = append(v.faults, fmt.Sprintf("%d pods of shape %d", n, i))
				continue
			}
			s := &w.shapes[i]
			placed[i] += n * f.nodes
			cpu, memory, gpu = cpu+n*s.cpu, memory+n*s.memory, gpu+n*s.gpu
			if n > 0 && w.refuses(t, s) {
				v.faults = append(v.faults, fmt.Sprintf("%s on the tainted %s", s.name, t.name))
			}
		}
		if cpu > t.cpu || memory > t.memory || gpu > t.gpu {
			v.faults = append(v.faults, fmt.Sprintf("a %s holds %d milli-cores, %d MiB, %d GPUs", t.name, cpu, memory, gpu))
		}
	}
	for i, n := range bought {
		v.nodes += n
		v.cost += n * w.types[i].price
		if n > w.types[i].stock {
			v.caps = append(v.caps, fmt.Sprintf("%s %d > %d", w.types[i].name, n, w.types[i].stock))
		}
	}
	for i, n := range placed {
		v.left += max(0, w.shapes[i].count-n)
		if n > w.shapes[i].count {
			v.faults = append(v.faults, fmt.Sprintf("%d of %d pods %s are placed", n, w.shapes[i].count, w.shapes[i].name))
		}
	}
	slices.Sort(v.faults) // a map of pods has no order
	return v
}
