package planner

import (
	"fmt"
	"slices"

	"github.com/tandem-autoscaler/tandem/pkg/planner/packing"
)

// pricing is how a pod is priced by the node that it will need.
type pricing int

// The ways: its part of an empty node by the number of such pods that the node
// holds, its dominant share of it, or all of it.
const (
	perPod pricing = iota
	perShare
	perNode
)

// packed asks the packing core for replicas, once with each way to price them.
func (l *leading) packed(rests []rest) []map[string]int64 {
	var out []map[string]int64
	var last packing.Problem
	for _, price := range []pricing{perPod, perShare, perNode} {
		in, of := l.replicaProblem(rests, price)
		if len(in.Classes) == 0 {
			break
		}
		if samePrices(in, last) {
			continue
		}
		last = in
		r, ok := l.p.solve(in, replicaBudget)
		if !ok {
			break
		}
		wish := map[string]int64{}
		for i, n := range r.Nodes {
			if n > 0 && of[i].adds {
				wish[of[i].name] += n
			}
		}
		out = append(out, wish)
	}
	return out
}

func samePrices(a, b packing.Problem) bool {
	return slices.EqualFunc(a.Classes, b.Classes, func(x, y packing.Class) bool { return x.Price == y.Price })
}

// replicaClass names the worker group that a class stands for, and tells whether
// it adds to what waits already.
type replicaClass struct {
	name string
	adds bool
}

// replicaProblem puts the rest in the packing core's terms: a worker group is a
// class. What waits of it already, or is a wish, costs next to nothing, and more
// of it is only asked for once that is used.
func (l *leading) replicaProblem(rests []rest, by pricing) (in packing.Problem, of []replicaClass) {
	groups := make([]*WorkerGroup, 0, len(l.c.WorkerGroups))
	for i := range l.c.WorkerGroups {
		w := &l.c.WorkerGroups[i]
		price := l.p.podCost(l.p.shape(&w.Pod), by)
		c := packing.Class{Name: w.Name, Capacity: l.empty[i].free, Devices: int64(len(l.empty[i].devices)), Price: price, Headroom: packing.Unlimited}
		waits := int64(len(l.waiting[w.Name]))
		switch {
		case w.Invalid != "" || w.Suspended || w.hosts() > 1:
			continue
		case waits > 0:
			c.Price, c.Max = 1, waits
		case l.wish[w.Name] > 0:
			c.Price, c.Max = 1, l.wish[w.Name]
		case price == unbounded:
			continue
		default:
			c.Max = max(0, w.Max-w.base()-l.opened[w.Name])
		}
		in.Classes = append(in.Classes, c)
		of, groups = append(of, replicaClass{w.Name, waits == 0}), append(groups, w)
	}
	for _, r := range rests {
		s := packing.Shape{Name: r.Resources.Key(), Amounts: l.vector(r.Resources), GPU: r.Resources[ResourceGPU], Count: r.left, Refused: make([]bool, len(groups))}
		for i, w := range groups {
			s.Refused[i] = len(r.Selectors) > 0 && !r.Selectors[0].matches(w.Labels)
		}
		in.Shapes = append(in.Shapes, s)
	}
	return in, of
}

// podCost prices a pod of the shape on the group that may grow and holds it
// most cheaply.
func (p *planning) podCost(s *shape, by pricing) int64 {
	best := int64(unbounded)
	for _, g := range p.groups {
		if p.refuses(g, s) != "" {
			continue
		}
		price := g.price
		switch by {
		case perPod:
			price /= max(1, s.need.times(g.dense, unbounded))
		case perShare:
			price = s.shareOn(g)
		case perNode:
		}
		best = min(best, max(1, price))
	}
	return best
}

// exactly puts the requests where the packing core puts them, as far as it can,
// and counts those that are left in of. Wish is what the trial began with: the
// same wish makes the same problem.
func (l *leading) exactly(of []int64, wish map[string]int64) {
	var rests []rest
	for i, r := range l.requests {
		of[i] = r.Count
		if len(r.Selectors) <= 1 {
			a := l.ask(r.Resources, onlySelector(r))
			if of[i] = l.fill(l.bins, &a, r.Count); of[i] > 0 {
				rests = append(rests, rest{r, of[i], i})
			}
		}
	}
	if len(rests) == 0 {
		return
	}
	in, classes := l.replicaProblem(rests, perShare)
	// What was solved in a trial is not solved again when it is carried out: the
	// budget may be spent by then.
	key := fmt.Sprint(wish)
	r, known := l.solved[key]
	if !known {
		var ok bool
		if r, ok = l.p.solve(in, replicaBudget); !ok {
			return
		}
		l.solved[key] = r
	}
	for _, pattern := range r.Patterns {
		i := slices.IndexFunc(l.c.WorkerGroups, func(w WorkerGroup) bool { return w.Name == classes[pattern.Class].name })
		for n := pattern.Nodes; n > 0; {
			b := l.openReplicas(i, n)
			if b == nil {
				break
			}
			n -= b.count
			for _, pod := range pattern.Pods {
				a := l.ask(rests[pod.Shape].Resources, nil)
				l.take(b, &a, pod.Count, b.count)
				of[rests[pod.Shape].index] -= pod.Count * b.count
			}
		}
	}
}
