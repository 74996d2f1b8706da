package planner

import (
	"cmp"
	"fmt"
	"slices"
)

// maxHerd bounds how many nodes get our soft taint in one plan.
const maxHerd = 10

// herd asks new pods to prefer fuller nodes, so that the emptiest become
// vacant: a node gets the soft taint when all its pods would fit on others that
// keep none. Nothing is moved, and nothing of Ray's is touched; Ray's own idle
// termination does the rest.
func (p *planning) herd() {
	if p.unknown(SourceManagement, SourceWorkload, SourceRay) != "" {
		return
	}
	var nodes []*nodeState
	spare := map[*groupState]int64{}
	for _, n := range p.nodes {
		if n.group == nil || n.machine.Deleting || !n.group.Managed || n.group.Invalid != "" || n.group.Paused || n.group.contested() != "" {
			continue
		}
		if p.herdable(n) {
			n.share = p.shareUsed(n)
			nodes = append(nodes, n)
			spare[n.group] = n.group.Replicas - n.group.Min
		} else if n.SoftTaint != nil {
			p.soft(n, StepSoftUntaint, n.herdWhy)
		}
	}
	first := func(n *nodeState) int {
		if n.SoftTaint != nil {
			return 0 // it stays chosen
		}
		return 1
	}
	slices.SortStableFunc(nodes, func(a, b *nodeState) int {
		return cmp.Or(cmp.Compare(first(a), first(b)), cmp.Compare(a.share, b.share),
			cmp.Compare(b.group.price, a.group.price), cmp.Compare(a.Name, b.Name))
	})
	chosen := map[*nodeState]bool{}
	mark, added := p.mark(), 0
	for _, n := range nodes {
		may := spare[n.group] > 0 && !n.herdTo && (n.SoftTaint != nil || added < maxHerd && !n.cordoning) && p.fitsElsewhere(n, chosen)
		switch {
		case may:
			chosen[n] = true
			spare[n.group]--
			if n.SoftTaint == nil {
				added++
				p.soft(n, StepSoftTaint, ReasonHerd)
				p.decideNode(n, OutcomeHold, ReasonHerd, fmt.Sprintf("carries %d pods that would fit on others; new pods are asked to prefer those", len(n.pods)))
			}
		case n.SoftTaint != nil:
			p.soft(n, StepSoftUntaint, ReasonNoRoom)
		}
	}
	p.rollback(mark)
}

// herdable tells whether the node might become vacant by itself.
func (p *planning) herdable(n *nodeState) bool {
	w := &n.work
	switch {
	case !p.s.Policy.SoftTaints || p.s.Policy.RemovalDisabled:
		n.herdWhy = ReasonRemovalDisabled
	case n.group.RollingOut:
		n.herdWhy = ReasonRollout
	case n.wanted != "" || n.receives != "" || n.group.growth() > 0: // pods are to come here
		n.herdWhy = ReasonWanted
	case n.Keep != "":
		n.herdWhy = ReasonKept
	case w.n[workHead] > 0:
		n.herdWhy = ReasonHead
	case w.n[workBlocking] > 0:
		n.herdWhy = ReasonBlockingPod
	case n.Cordon != nil || n.Unschedulable || !n.Ready || !n.credited:
		n.herdWhy = ReasonComing
	default:
		return true
	}
	return false
}

// fitsElsewhere puts the node's pods on others that are not chosen. Ray workers
// that are idle in lead mode end where they are. What it puts stays until herd
// is done, so that no two nodes count on the same room.
func (p *planning) fitsElsewhere(n *nodeState, chosen map[*nodeState]bool) bool {
	mark := p.mark()
	var onto []*nodeState
	for _, pod := range n.pods {
		if k := p.pod[pod].work; k >= workIdle {
			continue
		}
		s := p.shape(&pod.Shape)
		b, i := p.fullest(s, func(o *nodeState) bool { return o != n && !chosen[o] && !o.cordoning && len(o.pods) > 0 })
		if b == nil {
			p.rollback(mark)
			return false
		}
		onto = append(onto, b.nodes[i])
		p.put(p.alone(b, i), s, "pod "+pod.Key(), 1, 1)
	}
	for _, o := range onto {
		o.herdTo = true
	}
	return true
}

// fullest finds the node that a pod of the shape fills best among those that may
// take it: its bin and its index in it.
func (p *planning) fullest(s *shape, may func(*nodeState) bool) (*bin, int) {
	var best *bin
	at := 0
	for _, bins := range p.roomFor(s) {
		for _, b := range bins {
			if b.kind != binNode && b.kind != binSoft || b.fits(s, 1) == 0 {
				continue
			}
			for i, o := range b.nodes {
				if !may(o) {
					continue
				}
				if best == nil || cmp.Or(cmp.Compare(b.slack(s), best.slack(s)), cmp.Compare(o.Name, best.nodes[at].Name)) < 0 {
					best, at = b, i
				}
			}
		}
	}
	return best, at
}

func (p *planning) soft(n *nodeState, kind StepKind, why Reason) {
	p.steps = append(p.steps, Step{Kind: kind, Node: n.Name, NodeUID: n.UID, Group: n.group.Key(), Reason: why})
}
