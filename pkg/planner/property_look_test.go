package planner_test

import (
	"slices"
	"strings"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// placements is rule I3: what is put on a node fits beside what is there, may
// be there, and is not more than there is to place.
func (l *looking) placements() {
	placed := map[string]int64{}
	for _, n := range l.plan.Nodes {
		room, labels, taints := planner.Resources{}, map[string]string{}, []planner.Taint(nil)
		if g := l.groups[n.Group]; g != nil {
			room, labels, taints = g.Capacity.Clone(), g.Labels, g.Taints
		}
		if n.Node != "" {
			room, labels, taints = l.free(l.nodes[n.Node]), l.nodes[n.Node].Labels, l.nodes[n.Node].Taints
			if node := l.nodes[n.Node]; !node.Ready || node.Unschedulable || l.machine[node.Machine].Deleting {
				l.broken("I3: placing pods on node %s, which takes none", n.Node)
			}
		}
		for _, p := range n.Pods {
			placed[p.Demand] += p.Count * n.Count
			if s := l.shape(p.Demand); s != nil && (!suits(s, labels, taints) || s.Requests.Key() != p.Requests.Key()) {
				l.broken("I3: %s may not be on %s%s", p.Demand, n.Node, n.Group)
			}
			for range p.Count {
				if !p.Requests.FitsIn(room) {
					l.broken("I3: no room for %s on %s%s", p.Demand, n.Node, n.Group)
				}
				room.Sub(p.Requests)
			}
		}
	}
	for _, w := range l.plan.WorkerGroups {
		l.notTwice(w, placed)
	}
}

// notTwice: for a worker group in lead mode there is at most one place for each
// replica that it shall have and has no node for. Groups with pods of which it is
// not clear whether they stay are left out.
func (l *looking) notTwice(t planner.WorkerTarget, placed map[string]int64) {
	w := l.workerGroup(t.RayCluster, t.Group)
	hosts, bound, waiting := max(1, w.NumOfHosts), int64(0), int64(0)
	for _, p := range l.pods {
		if p.RayCluster != t.RayCluster || p.RayGroup != t.Group {
			continue
		}
		n, r := l.nodes[p.Node], l.rayNode(p)
		switch {
		case p.Terminating || slices.Contains(w.WorkersToDelete, p.Name):
			return
		case n == nil:
			waiting++
		case !n.Ready || l.machine[n.Machine].Deleting || r == nil || r.Status != planner.RayNodeIdle && r.Status != planner.RayNodeRunning:
			return
		default:
			bound++
		}
	}
	if bound+waiting > max(t.Replicas, w.Min)*hosts {
		return // somebody has lowered the replicas below what is there
	}
	want := max(0, max(t.Target, t.Replicas, w.Min)*hosts-bound)
	if got := placed["pods of "+t.RayCluster+" "+t.Group]; l.leads(t.RayCluster) && got > max(want, waiting) {
		l.broken("I3: %d places for pods of %s %s, %d are to come and %d wait", got, t.RayCluster, t.Group, want, waiting)
	}
}

// free is what the pods on a node leave of it. Those whose Ray node has ended go
// in any case.
func (l *looking) free(n *planner.Node) planner.Resources {
	room := n.Allocatable.Clone()
	for _, p := range l.on[n.Name] {
		if r := l.rayNode(p); r == nil || r.Status != planner.RayNodeDead || !l.leads(p.RayCluster) {
			room.Sub(p.Shape.Requests)
		}
	}
	return room
}

// shape is what a placement is for, or nil.
func (l *looking) shape(demand string) *planner.PodShape {
	if key, ok := strings.CutPrefix(demand, "pod "); ok {
		for _, p := range l.pods {
			if p.Key() == key {
				return &p.Shape
			}
		}
	}
	if rest, ok := strings.CutPrefix(demand, "pods of "); ok {
		cluster, group, _ := strings.Cut(rest, " ")
		if w := l.workerGroup(cluster, group); w != nil {
			return &w.Pod
		}
	}
	return nil
}

// oneReasonEach is rule I12: one decision with a known reason for every group,
// at most one for every node and Machine that goes, none for more than was asked,
// and one for all canaries of each cluster that is planned.
func (l *looking) oneReasonEach() {
	reasons(l.t, l.s, l.plan)
	told, unmet := map[string]planner.Outcome{}, map[string]int64{}
	for _, d := range l.plan.Decisions {
		key := string(d.Kind) + " " + d.Subject
		if d.Kind == planner.SubjectDemand { // requests that differ in their selectors have one name
			key += " " + d.Demand.Key() + " " + string(d.Reason)
		}
		// A node or Machine that stays may have several things that hold it.
		before, twice := told[key]
		several := d.Kind == planner.SubjectRayCluster || before == planner.OutcomeHold && d.Outcome == planner.OutcomeHold
		if twice && !several {
			l.broken("I12: %s is decided twice", key)
		}
		told[key] = d.Outcome
		if d.Outcome == planner.OutcomeUnmet && strings.Contains(d.Subject, " request ") {
			unmet[d.RayCluster+" "+d.Demand.Key()] += d.Count
		}
	}
	for i, c := range l.s.RayClusters {
		asked := map[string]int64{}
		for _, r := range c.Requests {
			asked[r.Resources.Key()] += r.Count
		}
		if c.Mode == planner.ModeOff || c.Suspended || c.Invalid != "" || !c.DemandKnown {
			clear(asked)
		}
		lonely := planner.Resources{canary: planner.Unit}.Key()
		if got := unmet[c.Key()+" "+lonely]; got != asked[lonely] {
			l.broken("I12: %d canaries of %s are unmet, not %d", got, c.Key(), 3+i)
		}
		for _, r := range c.Requests {
			if got := unmet[c.Key()+" "+r.Resources.Key()]; got > asked[r.Resources.Key()] {
				l.broken("I12: %d of %s are unmet, more than are asked for", got, r.Resources.Key())
			}
		}
	}
}
