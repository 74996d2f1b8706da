package planner

import (
	"fmt"
	"slices"
	"time"
)

// shrink is phase 8. A node goes through
//
//	Serving ─► vacant ─► Cordoned ─► Marked and shrunk ─► Gone
//	   ▲      for its hold   │             │
//	   └───────── Uncordon ──┘◄── Unmark ──┘ (while the shrink has not happened)
//
// and every arrow is one step, whose precondition the actuator reads again.
// All marks live on API objects, so a plan needs no memory of earlier ones.
func (p *planning) shrink() {
	p.markWanted()
	budget := int64(unbounded)
	if m := p.s.Policy.MaxRemovePerTick; m > 0 {
		budget = m
	}
	for _, g := range p.groups {
		if g.Managed && g.Invalid == "" {
			budget -= p.shrinkGroup(g, budget)
		}
	}
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

// nodesOf lists the group's nodes whose Machine is not being deleted.
func (p *planning) nodesOf(g *groupState) []*nodeState {
	var out []*nodeState
	for _, n := range p.nodes {
		if n.group == g && !n.machine.Deleting {
			out = append(out, n)
		}
	}
	return out
}

// shrinkGroup takes every node of the group one step further, or back, and
// returns how many Machines it removes.
func (p *planning) shrinkGroup(g *groupState, budget int64) int64 {
	hold := p.holdReason(g)
	spare := g.Replicas - g.Min // how many may go
	going := max(0, g.alive-g.Replicas)
	var remove []string
	why := ReasonVacant
	for _, m := range g.failed {
		if hold == nil && spare > 0 && int64(len(remove)) < budget && g.growth() == 0 {
			remove = append(remove, m.Key())
			why = ReasonNeverJoined
			spare--
		}
		p.decideMachine(m, g)
	}
	for _, n := range p.nodesOf(g) {
		if going > 0 && n.machine.Mark != nil {
			going--
			p.decideNode(n, OutcomeShrink, ReasonShrinking, "waits for Cluster API to delete Machine "+n.machine.Name)
			continue
		}
		switch ready, since := p.stage(n, g, hold, &spare); {
		case ready && n.Cordon != nil && int64(len(remove)) < budget:
			remove = append(remove, n.Machine)
			p.decideNode(n, OutcomeShrink, ReasonVacant, fmt.Sprintf("vacant for %s", p.s.At.Sub(since).Round(time.Second)))
		case ready && n.Cordon == nil:
			p.steps = append(p.steps, Step{Kind: StepCordon, Node: n.Name, NodeUID: n.UID, Group: g.Key(), Reason: ReasonVacant})
			p.decideNode(n, OutcomeShrink, ReasonVacant, fmt.Sprintf("vacant for %s, now cordoned", p.s.At.Sub(since).Round(time.Second)))
		}
	}
	if len(remove) == 0 || g.alive > g.Replicas { // one shrink of a group at a time
		return 0
	}
	slices.Sort(remove)
	g.removing = int64(len(remove))
	p.steps = append(p.steps, Step{Kind: StepRemove, Group: g.Key(), Machines: remove, From: g.Replicas, To: g.Replicas - g.removing, Reason: why})
	return g.removing
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
	case g.RollingOut:
		return &Alternative{Reason: ReasonRollout}
	}
	for _, c := range p.clusters {
		if c.Mode == ModeOff || c.Suspended || c.Invalid == "" && c.DemandKnown {
			continue
		}
		for i := range c.WorkerGroups {
			if w := &c.WorkerGroups[i]; g.couldHold(&w.Pod) {
				return &Alternative{Reason: ReasonUnknownDemand, Message: "RayCluster " + c.Key() + " could use this group: " + cmpOr(c.DemandError, c.Invalid)}
			}
		}
	}
	return nil
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// couldHold tells whether an empty node of the group takes a pod of the shape.
func (g *groupState) couldHold(s *PodShape) bool {
	return len(g.Capacity) == 0 || s.selects(g.Labels) && s.tolerates(g.Taints) && s.Requests.times(g.Capacity, 1) > 0
}

// stage decides about one node: whether it may take the next step on its way
// out, and since when it has been vacant. It writes the decision in every case
// in which it may not.
func (p *planning) stage(n *nodeState, g *groupState, hold *Alternative, spare *int64) (ready bool, since time.Time) {
	vacant := len(n.pods) == 0 && n.wanted == ""
	if !vacant {
		p.keep(n, g)
		return false, time.Time{}
	}
	since, ok := p.mem.VacantSince[n.UID]
	if n.Cordon != nil && (!ok || n.Cordon.At.Before(since)) {
		since, ok = n.Cordon.At, true // its hold had passed when it was cordoned
	}
	if !ok || since.After(p.s.At) {
		since = p.s.At
	}
	p.next.VacantSince[n.UID] = since
	switch {
	case hold != nil:
		p.decideNode(n, OutcomeHold, hold.Reason, hold.Message)
	case g.growth() > 0:
		p.back(n, ReasonWanted, "the group is growing")
	case *spare <= 0:
		p.back(n, ReasonAtMin, fmt.Sprintf("min size is %d", g.Min))
	case n.Cordon == nil && p.s.At.Sub(since) < time.Duration(p.s.Policy.VacantHold):
		*spare--
		p.decideNode(n, OutcomeHold, ReasonVacantHold, fmt.Sprintf("vacant for %s of %s", p.s.At.Sub(since).Round(time.Second), time.Duration(p.s.Policy.VacantHold)))
	default:
		*spare--
		return true, since
	}
	return false, since
}

// keep says why a node stays, and takes a removal back that was under way.
func (p *planning) keep(n *nodeState, g *groupState) {
	why, message := ReasonOccupied, fmt.Sprintf("carries %d pods", len(n.pods))
	if n.wanted != "" {
		why, message = ReasonWanted, "wanted by "+n.wanted
	}
	if n.Cordon != nil || n.machine.Mark != nil {
		if u := p.unknown(SourceManagement, SourceWorkload); u != "" || g.Paused {
			return
		}
		p.back(n, why, message)
	}
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
