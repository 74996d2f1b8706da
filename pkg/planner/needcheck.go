package planner

import (
	"cmp"
	"slices"
)

// verify holds back what a plain placement on the rest would miss. Demand was
// put on the units in an order of their own, those that stay first; the next
// plan puts it on the Ray nodes in the order of their names, and it must find
// room there (rule I8). Units are kept one by one, those that would go last
// first.
func (n *needs) verify() {
	gangs, requests := n.c.demand()
	if len(gangs)+len(requests)+len(n.c.Constraints) == 0 {
		return
	}
	var loose []*unit
	for _, u := range n.units {
		if u.needed == "" && u.kind != unitServing && !u.surplus {
			loose = append(loose, u)
		}
	}
	if len(loose) == 0 {
		return
	}
	want := n.unmetOn(func(u *unit) bool { return !u.surplus })
	stays := func(u *unit) bool { return !u.surplus && (u.needed != "" || u.kind == unitServing) }
	for i := 0; i < len(loose) && n.unmetOn(stays) > want; {
		// One, and then as many again as are kept already: the work is bounded by
		// the logarithm of the units.
		for range max(1, i) {
			if i < len(loose) {
				loose[i].needed = "demand"
				i++
			}
		}
	}
}

// unmetOn counts the demand that finds no room on the units that stay, in the
// order of the next plan: constraints and gangs as one each, requests one by
// one.
func (n *needs) unmetOn(stays func(*unit) bool) (left int64) {
	mark := n.p.mark()
	trial := n.trial(func(u *unit) []*rayBin { return u.total })
	trial.bins = n.inOrder(stays, func(r *RayNode) Resources { return r.Total }, func(u *unit) []*rayBin { return u.total })
	for _, r := range sortedRequests(n.c.Constraints) {
		if trial.serve(r.Resources, r.Selectors, r.Count) > 0 {
			left = 1
		}
	}
	n.p.rollback(mark)
	trial.bins = n.inOrder(stays, func(r *RayNode) Resources { return r.Available }, func(u *unit) []*rayBin { return u.bins })
	gangs, requests := n.c.demand()
	for _, g := range gangs {
		if !trial.anyOption(g) {
			left++
		}
	}
	for _, r := range requests {
		left = addSat(left, trial.serve(r.Resources, r.Selectors, r.Count))
	}
	n.p.rollback(mark)
	return left
}

// inOrder lists the bins of the head and of the units that stay: Ray nodes by
// the names of their pods, then those that are to come.
func (n *needs) inOrder(stays func(*unit) bool, head func(*RayNode) Resources, of func(*unit) []*rayBin) []*rayBin {
	type named struct {
		pod string
		bin *rayBin
	}
	var nodes []named
	var coming []*rayBin
	for _, r := range n.c.rayNodes {
		if r.Head && (r.Status == RayNodeRunning || r.Status == RayNodeIdle) {
			b := n.tables.newBin(head(r), r.Labels, 1)
			b.gangs = r.Gangs
			nodes = append(nodes, named{r.Pod, b})
		}
	}
	for _, u := range n.units {
		if !stays(u) {
			continue
		}
		for i, b := range of(u) {
			if i < len(u.pods) && n.p.pod[u.pods[i]].ray != nil {
				nodes = append(nodes, named{u.pods[i].Name, b})
				continue
			}
			coming = append(coming, b)
		}
	}
	slices.SortStableFunc(nodes, func(a, b named) int { return cmp.Compare(a.pod, b.pod) })
	// Equal ones are one bin there, which makes a difference to who is filled
	// first.
	var out []*rayBin
	equal := map[string]*rayBin{}
	for _, x := range nodes {
		key := x.bin.key()
		if equal[key] == nil {
			one := *x.bin
			one.count = 0
			equal[key] = &one
			out = append(out, &one)
		}
		equal[key].count++
	}
	return append(out, coming...)
}

// markSurplus tells apart the waiting pods that this plan finds a use and room
// for from the others.
func (n *needs) markSurplus() {
	l := n.p.leads[n.c]
	if l == nil {
		return
	}
	for i := range n.c.WorkerGroups {
		w := &n.c.WorkerGroups[i]
		left, owed := (l.surplus[w.Name]+l.roomless[w.Name]+w.hosts()-1)/w.hosts(), n.c.uncreated(w)/w.hosts()
		for _, u := range slices.Backward(n.units) {
			if u.group != w || left == 0 {
				continue
			}
			switch {
			case u.kind == unitUncreated && owed > 0:
				owed--
			case u.kind != unitPending:
				continue
			}
			u.surplus = true
			left--
		}
	}
}
