package planner

import (
	"fmt"
	"slices"
)

// serve puts gangs and requests on the units and notes which were used: on those
// that this plan has a use and room for, and only the rest on pods that wait for
// nothing so far, which may wait on then.
func (n *needs) serve() {
	bins := func(u *unit) []*rayBin { return u.bins }
	trial := n.trial(bins)
	mark := n.p.mark()
	gangs, requests := n.c.demand()
	var whole []Gang
	for _, g := range gangs {
		if !trial.anyOption(g) {
			whole = append(whole, g)
		}
	}
	left := make([]int64, len(requests))
	for i, r := range requests {
		left[i] = trial.serve(r.Resources, r.Selectors, r.Count)
	}
	trial.bins = n.addBins(trial.bins, true, bins)
	for _, g := range whole {
		trial.anyOption(g)
	}
	for i, r := range requests {
		trial.serve(r.Resources, r.Selectors, left[i])
	}
	n.note("demand", bins)
	n.p.rollback(mark)
	// Demand that is put where Ray would have it must find that again (rule I8).
	l := n.p.leads[n.c]
	for _, u := range n.units {
		if u.needed == "" && l != nil && slices.ContainsFunc(u.pods, func(pod *Pod) bool { return l.held[n.p.pod[pod].ray] }) {
			u.needed = "demand"
		}
	}
}

// anyOption places the gang as [leading.gang] does, and says nothing about it.
func (l *leading) anyOption(g Gang) bool {
	for _, o := range g.Options {
		mark := l.p.mark()
		if l.oneType(g, o) {
			return true
		}
		l.p.rollback(mark)
	}
	return false
}

// constrain makes sure that the totals that stay hold request_resources.
func (n *needs) constrain() {
	if len(n.c.Constraints) == 0 {
		return
	}
	totals := func(u *unit) []*rayBin { return u.total }
	trial := n.trial(totals)
	mark := n.p.mark()
	var rest []Request
	for _, r := range sortedRequests(n.c.Constraints) {
		if r.Count = trial.serve(r.Resources, r.Selectors, r.Count); r.Count > 0 {
			rest = append(rest, r)
		}
	}
	trial.bins = n.addBins(trial.bins, true, totals)
	for _, r := range rest {
		trial.serve(r.Resources, r.Selectors, r.Count) // what cannot be had in full is not given back either
	}
	n.note("request_resources", totals)
	n.p.rollback(mark)
}

// trial is a planning of the cluster that can open nothing, on the units that
// this plan has a use and room for.
func (n *needs) trial(of func(*unit) []*rayBin) *leading {
	fixed := *n.c.RayCluster
	fixed.WorkerGroups = nil
	l := &leading{rayTables: n.tables, p: n.p, c: &clusterState{RayCluster: &fixed}}
	for _, r := range n.c.rayNodes {
		if r.Head && (r.Status == RayNodeRunning || r.Status == RayNodeIdle) {
			b := n.tables.newBin(r.Available, r.Labels, 1)
			b.gangs = r.Gangs
			l.bins = append(l.bins, b)
		}
	}
	l.bins = n.addBins(l.bins, false, of)
	return l
}

// addBins adds those of the units that are surplus, or of the others.
func (n *needs) addBins(to []*rayBin, surplus bool, of func(*unit) []*rayBin) []*rayBin {
	for _, u := range n.units {
		for _, b := range of(u) {
			if u.surplus == surplus && (n.tables.asksNothing || !b.full()) {
				to = append(to, b)
			}
		}
	}
	return to
}

func (n *needs) note(why string, of func(*unit) []*rayBin) {
	for _, u := range n.units {
		if u.needed == "" && slices.ContainsFunc(of(u), func(b *rayBin) bool { return b.used > 0 }) {
			u.needed = why
		}
	}
}

// minimum keeps as many units of a group as its minReplicas says.
func (n *needs) minimum() {
	for i := range n.c.WorkerGroups {
		w := &n.c.WorkerGroups[i]
		left := w.Min
		for _, u := range n.units {
			if u.group == w && u.needed != "" {
				left--
			}
		}
		for _, u := range n.units {
			if left > 0 && u.group == w && u.needed == "" {
				u.needed = fmt.Sprintf("minReplicas %d", w.Min)
				left--
			}
		}
	}
}
