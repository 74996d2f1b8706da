package planner

import (
	"fmt"
	"time"
)

// protect deals with Machines that somebody else deletes, and keeps our
// pre-drain hook on all that could be. Cluster API waits for the hook before it
// drains; meanwhile the node is cordoned and its Ray nodes are told that they
// are preempted. The hook goes when nothing of Ray's is left, or when holding on
// would help nobody.
func (p *planning) protect() {
	for _, g := range p.groups {
		var bare []string
		for _, m := range g.machines {
			switch {
			case m.Deleting && (m.WaitsForHook || m.Release && m.Hook):
				p.foreign(g, m)
			case p.s.Policy.Hooks && g.Managed && g.Invalid == "" && !g.Paused && !m.Deleting && !m.Hook && !m.Release:
				bare = append(bare, m.Key())
			}
		}
		if len(bare) > 0 && p.unknown(SourceManagement) == "" {
			p.steps = append(p.steps, Step{Kind: StepHook, Group: g.Key(), Machines: bare, Reason: ReasonHooked})
		}
	}
}

// foreign takes a Machine that is being deleted one step further. A shrink of
// our own comes here as well: its node is cordoned and empty by then.
func (p *planning) foreign(g *groupState, m *Machine) {
	if u := p.unknown(SourceManagement); u != "" {
		p.decideForeign(m, OutcomeHold, ReasonSourceUnknown, u)
		return
	}
	n := p.node[m.Node]
	known := p.unknown(SourceWorkload) == ""
	switch {
	case m.Release:
		p.release(g, m, n, ReasonBreakGlass, "a person asked to let go of it", nil)
	case m.Node == "" || known && n == nil:
		p.release(g, m, nil, ReasonNoNode, "it has no Node", nil)
	case !known:
		p.decideForeign(m, OutcomeHold, ReasonSourceUnknown, p.unknown(SourceWorkload))
	case p.outOfReach(n):
		p.release(g, m, n, ReasonUnreachable, fmt.Sprintf("its Node has been unreachable for %s", p.s.At.Sub(n.UnreadySince).Round(time.Second)), nil)
	default:
		p.preempt(g, m, n)
	}
}

// preempt empties the node of a deleted Machine of Ray's work.
func (p *planning) preempt(g *groupState, m *Machine, n *nodeState) {
	var left int
	var offPods []PodRef
	var drains []*Pod
	for _, pod := range n.pods {
		switch k := p.pod[pod].work; {
		case p.off(pod):
			offPods = append(offPods, refOf(pod))
		case k == workMovable || k == workBlocking:
		default:
			left++
			if r := p.pod[pod].ray; r != nil && !pod.RayHead && r.Status != RayNodeDead && r.Status != RayNodeDraining && k != workLeaving {
				drains = append(drains, pod)
			}
		}
	}
	if n.Cordon == nil {
		p.cordon(n, ReasonForeignDelete, p.refs(n, func(work) bool { return true }))
		p.decideForeign(m, OutcomeShrink, ReasonForeignDelete, fmt.Sprintf("somebody else deletes it; its Node is cordoned, %d Ray pods are on it", left))
		return
	}
	if left == 0 {
		p.release(g, m, n, ReasonVacant, "nothing of Ray's is on its Node", offPods)
		return
	}
	by := time.Time{}
	if d := time.Duration(p.s.Policy.DrainDeadline); d > 0 && !m.DeletingSince.IsZero() {
		by = m.DeletingSince.Add(d)
	}
	if p.unknown(SourceRay) == "" {
		for _, pod := range drains {
			p.drain(n, pod, DrainPreemption, by, ReasonForeignDelete)
		}
	}
	text := fmt.Sprintf("somebody else deletes it; the hook holds it while %d Ray pods are on its Node", left)
	if w := &n.work; w.n[workHead] > 0 {
		text += fmt.Sprintf(", the head pod %s among them", p.first(n, workHead).Key())
	}
	if !by.IsZero() && p.s.At.After(by) {
		text += fmt.Sprintf("; they were to end %s ago", p.s.At.Sub(by).Round(time.Second))
	}
	p.decideForeign(m, OutcomeHold, ReasonForeignDelete, text)
}

func (p *planning) release(g *groupState, m *Machine, n *nodeState, why Reason, message string, off []PodRef) {
	st := Step{Kind: StepReleaseHook, Group: g.Key(), Machines: []string{m.Key()}, Pods: off, Reason: why}
	if n != nil {
		st.Node, st.NodeUID = n.Name, n.UID
	}
	p.steps = append(p.steps, st)
	p.decideForeign(m, OutcomeShrink, why, message)
}

func (p *planning) decideForeign(m *Machine, o Outcome, why Reason, message string) {
	p.decisions = append(p.decisions, Decision{Kind: SubjectMachine, Subject: m.Key(), Outcome: o, Reason: why, Message: message})
}

// displaced lists the Ray workers that work, or hold a minimum, on nodes that
// somebody else deletes: each needs room elsewhere before it ends.
func (p *planning) displaced() []wantedPods {
	var pods []*Pod
	for _, n := range p.nodes {
		if n.machine == nil || !n.machine.Deleting {
			continue
		}
		for _, pod := range n.pods {
			st := p.pod[pod]
			// A pod that leaves comes back as a fresh one, if at all, which waits itself.
			if st.cluster == nil || !st.cluster.planned() || st.group == nil || pod.RayHead || st.ray == nil || st.work == workLeaving {
				continue
			}
			if st.ray.Status == RayNodeRunning || st.ray.Status == RayNodeDraining || st.group.Min >= st.group.base() {
				pods = append(pods, pod)
			}
		}
	}
	return groupPods(pods)
}
