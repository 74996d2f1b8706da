package main

import (
	"context"

	"github.com/tandem-autoscaler/tandem/pkg/planner/packing"
)

// tandem packs with the product's own packing, with its default budget.
func tandem(_ context.Context, w *work) (plan, error) {
	out := packing.Solve(problem(w))
	p := plan{bound: out.Bound}
	for _, pattern := range out.Patterns {
		f := filling{typ: pattern.Class, nodes: pattern.Nodes, pods: map[int]int64{}}
		for _, c := range pattern.Pods {
			f.pods[c.Shape] += c.Count
		}
		p.fillings = append(p.fillings, f)
	}
	return p, nil
}

// problem puts the work in the packing's terms.
func problem(w *work) packing.Problem {
	var in packing.Problem
	for i := range w.types {
		t := &w.types[i]
		in.Classes = append(in.Classes, packing.Class{
			Name: t.name, Capacity: []int64{t.cpu, t.memory}, Devices: t.gpu, Price: t.price,
			Max: t.stock, Headroom: packing.Unlimited,
		})
	}
	for i := range w.shapes {
		s := &w.shapes[i]
		out := packing.Shape{Name: s.name, Amounts: []int64{s.cpu, s.memory}, GPU: s.gpu * packing.Device, Count: s.count}
		for j := range w.types {
			out.Refused = append(out.Refused, w.refuses(&w.types[j], s))
		}
		in.Shapes = append(in.Shapes, out)
	}
	return in
}
