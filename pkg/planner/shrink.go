package planner

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// shrink is phase 8: it takes every node one step further on its way out, or
// back (see [Stage]). All marks live on API objects, so a plan needs no memory
// of earlier ones.
func (p *planning) shrink() {
	p.markWanted()
	p.watchDemand()
	p.readIdle()
	budget := p.removeBudget()
	var nodes []*nodeState
	for _, g := range p.groups {
		if g.Managed && g.Invalid == "" {
			nodes = append(nodes, p.shrinkable(g, &budget)...)
		}
	}
	p.rank(nodes)
	for _, n := range nodes {
		if n.leavable && len(n.pods) == 0 {
			n.group.vacant++
		}
	}
	p.needs = map[*clusterState]*needs{}
	for _, c := range p.clusters {
		if c.planned() && c.Mode == ModeLead {
			p.needs[c] = p.need(c)
		}
	}
	var emptying []*nodeState
	for _, n := range nodes {
		switch {
		case p.held(n):
		case len(n.pods) == 0:
			p.stageVacant(n, &budget)
		case p.mayEmpty(n, &budget):
			emptying = append(emptying, n)
		}
	}
	for _, n := range p.wholeReplicas(emptying) {
		p.emptyNode(n)
	}
	for _, g := range p.groups {
		p.removeMachines(g)
	}
	for _, c := range p.clusters {
		if n := p.needs[c]; n != nil {
			n.act()
		}
	}
}

// removal is what this plan may still remove.
type removal struct {
	machines int64 // by Remove steps
	start    int64 // nodes that may be cordoned while their Ray nodes still live
	why      Reason
}

// markWanted notes which nodes the plan puts something on.
func (p *planning) markWanted() {
	for _, b := range p.bins {
		for _, n := range b.nodes {
			if len(b.placed) > 0 {
				n.wanted = b.placed[0].demand
			}
		}
	}
}

// shrinkable begins with a group: it gives up failed Machines, and lists the
// nodes that are not on their way already.
func (p *planning) shrinkable(g *groupState, budget *removal) []*nodeState {
	g.hold = p.holdReason(g)
	g.spare = g.Replicas - g.Min
	going := max(0, g.alive-g.Replicas)
	g.removeFor = ReasonVacant
	for _, m := range g.failed {
		if g.hold == nil && g.spare > 0 && budget.machines > 0 && g.growth() == 0 {
			g.remove = append(g.remove, m.Key())
			g.removeFor = ReasonNeverJoined
			g.spare--
			budget.machines--
		}
		p.decideMachine(m, g)
	}
	p.cancelComing(g, budget)
	var out []*nodeState
	for _, n := range g.nodes {
		switch {
		case n.machine.Deleting:
		case going > 0 && n.machine.Mark != nil:
			going--
			p.decideNode(n, OutcomeShrink, ReasonShrinking, "waits for Cluster API to delete Machine "+n.machine.Name)
		default:
			out = append(out, n)
		}
	}
	return out
}

// rank sorts nodes by who goes first: those under way, then empty ones, then
// the dearest, then those that have been idle longest.
func (p *planning) rank(nodes []*nodeState) {
	first := func(yes bool) int {
		if yes {
			return 0
		}
		return 1
	}
	idle := func(n *nodeState) (d time.Duration) {
		for _, pod := range n.pods {
			if r := p.pod[pod].ray; r != nil {
				d = max(d, time.Duration(r.IdleFor))
			}
		}
		return d
	}
	for _, n := range nodes {
		why, _ := p.stays(n)
		n.leavable = why == "" && n.group.hold == nil && p.movableShare(n) <= evictBelow
		n.idle = idle(n)
	}
	slices.SortFunc(nodes, func(a, b *nodeState) int {
		return cmp.Or(cmp.Compare(first(a.Cordon != nil), first(b.Cordon != nil)), cmp.Compare(len(a.pods), len(b.pods)),
			cmp.Compare(b.group.price, a.group.price), cmp.Compare(b.idle, a.idle), cmp.Compare(a.Name, b.Name))
	})
	for i, n := range nodes {
		n.order = i + 1
	}
}

// stageVacant takes a node without pods to the cordon and to its removal.
func (p *planning) stageVacant(n *nodeState, budget *removal) {
	g := n.group
	since := p.quietSince(n)
	if n.Cordon != nil && n.Cordon.At.Before(since) {
		since = n.Cordon.At // its hold had passed when it was cordoned
		p.next.VacantSince[n.UID] = since
	}
	quiet := p.s.At.Sub(since)
	hold := p.holdFor(n)
	switch {
	case g.hold != nil:
		p.holdNode(n, g.hold)
	case g.growth() > 0:
		p.back(n, ReasonWanted, "the group is growing")
	case g.spare <= 0:
		p.back(n, ReasonAtMin, fmt.Sprintf("min size is %d", g.Min))
	case hold != nil:
		g.spare--
		p.back(n, hold.Reason, hold.Message)
	case n.Cordon == nil && quiet < time.Duration(p.s.Policy.VacantHold):
		g.spare--
		p.decideNode(n, OutcomeHold, ReasonVacantHold, fmt.Sprintf("vacant for %s of %s", quiet.Round(time.Second), time.Duration(p.s.Policy.VacantHold)))
	case budget.machines <= 0:
		g.spare--
		p.decideNode(n, OutcomeHold, budget.why, "no more may be removed now")
	case n.Cordon == nil:
		g.spare--
		p.cordon(n, ReasonVacant, nil)
		p.decideNode(n, OutcomeShrink, ReasonVacant, fmt.Sprintf("vacant for %s, now cordoned", quiet.Round(time.Second)))
	default:
		g.spare--
		budget.machines--
		g.remove = append(g.remove, n.Machine)
		p.decideNode(n, OutcomeShrink, ReasonVacant, fmt.Sprintf("vacant for %s", quiet.Round(time.Second)))
	}
}

// quietSince tells since when a node has had nothing that holds it, and
// remembers it.
func (p *planning) quietSince(n *nodeState) time.Time {
	since, ok := p.mem.VacantSince[n.UID]
	if !ok || since.After(p.s.At) || p.frozen != "" {
		since = p.s.At
	}
	p.next.VacantSince[n.UID] = since
	return since
}

// holdNode says why a node that could go does not. Where nothing of the kind
// is to be expected, a removal under way is taken back.
func (p *planning) holdNode(n *nodeState, hold *Alternative) {
	if hold.Reason == ReasonRemovalDisabled && n.Cordon != nil {
		p.back(n, hold.Reason, hold.Message)
		return
	}
	p.decideNode(n, OutcomeHold, hold.Reason, hold.Message)
}

func (p *planning) cordon(n *nodeState, why Reason, pods []PodRef) {
	n.cordoning = true
	p.steps = append(p.steps, Step{Kind: StepCordon, Node: n.Name, NodeUID: n.UID, Group: n.group.Key(), Pods: pods, Reason: why})
}

// removeMachines is the one Remove step of a group: one shrink at a time, and
// none while a Machine with pods carries a delete mark, for Cluster API might take
// that one (rule I1).
func (p *planning) removeMachines(g *groupState) {
	if len(g.remove) == 0 || g.alive > g.Replicas || p.markedInUse(g) != nil {
		return
	}
	slices.Sort(g.remove)
	g.removing = int64(len(g.remove))
	p.steps = append(p.steps, Step{Kind: StepRemove, Group: g.Key(), Machines: g.remove, From: g.Replicas, To: g.Replicas - g.removing, Reason: g.removeFor})
}

// markedInUse finds a Machine of the group that carries a delete mark, by whomever,
// and pods.
func (p *planning) markedInUse(g *groupState) *nodeState {
	for _, n := range g.nodes {
		if m := n.machine; !m.Deleting && (m.Mark != nil || m.ForeignMark) && len(n.pods) > 0 {
			return n
		}
	}
	return nil
}

// holdReason tells why nothing of the group may be removed now, or nil.
func (p *planning) holdReason(g *groupState) *Alternative {
	if u := p.unknown(SourceManagement, SourceWorkload, SourceRay); u != "" {
		return &Alternative{Reason: ReasonSourceUnknown, Message: u}
	}
	switch {
	case p.s.Policy.RemovalDisabled:
		return &Alternative{Reason: ReasonRemovalDisabled}
	case g.Paused:
		return &Alternative{Reason: ReasonPaused}
	case g.contested() != "":
		return &Alternative{Reason: ReasonContested, Message: g.contested()}
	case g.RollingOut:
		return &Alternative{Reason: ReasonRollout}
	case p.frozen != "":
		return &Alternative{Reason: ReasonClockJump, Message: p.frozen}
	case p.unhealthy != "":
		return &Alternative{Reason: ReasonUnhealthy, Message: p.unhealthy}
	}
	if n := p.markedInUse(g); n != nil && n.machine.ForeignMark {
		return &Alternative{Reason: ReasonContested, Message: "somebody else has marked Machine " + n.machine.Name + ", which is in use, to be deleted: a shrink might take it"}
	}
	for _, c := range p.clusters {
		if c.Mode == ModeOff || c.Suspended || c.Invalid == "" && c.DemandKnown {
			continue
		}
		for i := range c.WorkerGroups {
			if w := &c.WorkerGroups[i]; g.couldHold(&w.Pod) {
				return &Alternative{Reason: ReasonUnknownDemand, Message: "RayCluster " + c.Key() + " could use this group: " + cmp.Or(c.DemandError, c.Invalid)}
			}
		}
	}
	return nil
}

// couldHold tells whether an empty node of the group takes a pod of the shape.
func (g *groupState) couldHold(s *PodShape) bool {
	return len(g.Capacity) == 0 || s.selects(g.Labels) && s.tolerates(g.Taints) && s.Requests.times(g.Capacity, 1) > 0
}

// back cancels the removal of a node.
func (p *planning) back(n *nodeState, why Reason, message string) {
	outcome := OutcomeHold
	if n.machine.Mark != nil {
		outcome = OutcomeCancel
		p.steps = append(p.steps, Step{Kind: StepUnmark, Group: n.group.Key(), Machines: []string{n.Machine}, Reason: why})
	}
	if n.Cordon != nil {
		outcome = OutcomeCancel
		p.steps = append(p.steps, Step{Kind: StepUncordon, Node: n.Name, NodeUID: n.UID, Group: n.group.Key(), Reason: why})
	}
	p.decideNode(n, outcome, why, message)
}

func (p *planning) decideNode(n *nodeState, o Outcome, why Reason, message string) {
	p.decisions = append(p.decisions, Decision{Kind: SubjectNode, Subject: n.Name, Outcome: o, Reason: why, Message: message})
}

func (p *planning) decideMachine(m *Machine, g *groupState) {
	p.decisions = append(p.decisions, Decision{
		Kind: SubjectMachine, Subject: m.Key(), Outcome: OutcomeShrink, Reason: ReasonNeverJoined,
		Message: p.failure(m) + "; group " + g.Key() + " rests",
	})
}
