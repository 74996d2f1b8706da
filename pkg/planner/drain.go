package planner

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// evictBelow is the share of a node, in percent, up to which its pods are worth
// moving elsewhere.
const evictBelow = 50

// emptyNode takes the next step with a node that is to be emptied: cordon, then
// drain, then wait for the Ray pods to go, then move the others.
func (p *planning) emptyNode(n *nodeState) {
	w := &n.work
	why := ReasonIdle
	if w.ray() == 0 {
		why = ReasonMovable
	}
	if n.machine.Mark != nil { // only a vacant node is marked, or another shrink might take this one
		p.steps = append(p.steps, Step{Kind: StepUnmark, Group: n.group.Key(), Machines: []string{n.Machine}, Reason: why})
	}
	switch {
	case n.Cordon == nil:
		p.cordon(n, why, p.refs(n, func(k work) bool { return k >= workIdle }))
		p.decideNode(n, OutcomeShrink, why, p.idleText(n)+", now cordoned")
	case w.n[workIdle] > 0:
		for _, pod := range n.pods {
			if p.pod[pod].work == workIdle {
				p.drain(n, pod, DrainIdle, time.Time{}, why)
			}
		}
		p.decideNode(n, OutcomeShrink, ReasonDraining, fmt.Sprintf("draining %d Ray nodes, %s", w.n[workIdle], p.idleText(n)))
	case w.n[workDraining] > 0:
		p.decideNode(n, OutcomeShrink, ReasonDraining, p.drainText(n))
	case w.n[workDead] > 0:
		p.decideNode(n, OutcomeShrink, ReasonDrained, fmt.Sprintf("%d Ray nodes have ended, their pods are taken back", w.n[workDead]))
	case w.n[workLeaving] > 0:
		p.decideNode(n, OutcomeShrink, ReasonLeaving, fmt.Sprintf("waits for %d Ray pods to go", w.n[workLeaving]))
	default:
		p.evict(n)
	}
}

func (p *planning) drain(n *nodeState, pod *Pod, why DrainReason, by time.Time, reason Reason) {
	st := p.pod[pod]
	p.steps = append(p.steps, Step{
		Kind: StepDrain, Node: n.Name, NodeUID: n.UID, Group: n.group.Key(), RayCluster: st.cluster.Key(), WorkerGroup: pod.RayGroup,
		RayNode: st.ray.ID, Pods: []PodRef{refOf(pod)}, Drain: why, DrainBy: by, Reason: reason,
	})
}

func (p *planning) idleText(n *nodeState) string {
	var least *RayNode
	for _, pod := range n.pods {
		if st := p.pod[pod]; st.work == workIdle && (least == nil || st.ray.IdleFor < least.IdleFor) {
			least = st.ray
		}
	}
	if n := n.work.n[workMovable]; least == nil && n > 0 {
		return fmt.Sprintf("its %d pods may be moved", n)
	}
	if least == nil {
		return "nothing works on it"
	}
	return "idle for " + time.Duration(least.IdleFor).Round(time.Second).String()
}

// drainText says how long a drain has lasted. A raylet that accepted one for
// idleness ends within a second; one that does not is never given up, because
// nobody knows what it does.
func (p *planning) drainText(n *nodeState) string {
	text := fmt.Sprintf("waits for %d Ray nodes to end", n.work.n[workDraining])
	if d := p.s.At.Sub(n.Cordon.At); p.s.Policy.DrainDeadline > 0 && d > time.Duration(p.s.Policy.DrainDeadline) {
		text += fmt.Sprintf(", which takes longer than it should: %s since the cordon", d.Round(time.Second))
	}
	return text
}

// evict moves the other pods; mayEmpty has found room for them.
func (p *planning) evict(n *nodeState) {
	pods := p.refs(n, func(k work) bool { return k == workMovable })
	if len(pods) > 0 {
		p.steps = append(p.steps, Step{Kind: StepEvict, Node: n.Name, NodeUID: n.UID, Group: n.group.Key(), Pods: pods, Reason: ReasonMovable})
	}
	p.decideNode(n, OutcomeShrink, ReasonMovable, fmt.Sprintf("moves %d pods to other nodes", len(pods)))
}

// refs names the pods of the node with work of some kind, apart from those that
// terminate already and are not Ray's.
func (p *planning) refs(n *nodeState, want func(work) bool) []PodRef {
	var out []PodRef
	for _, pod := range n.pods {
		if k := p.pod[pod].work; want(k) && (k != workMovable || !pod.Terminating) {
			out = append(out, refOf(pod))
		}
	}
	return out
}

func refOf(pod *Pod) PodRef { return PodRef{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID} }

// cannotMove tells why the pods that are not Ray's cannot move to other nodes.
// If they can, they are put there, so that no two nodes count on the same room.
func (p *planning) cannotMove(n *nodeState) (Reason, string) {
	w := &n.work
	if w.n[workMovable] == 0 {
		return "", ""
	}
	if d := time.Duration(p.s.Policy.DrainDeadline); n.Cordon != nil && d > 0 && p.s.At.Sub(n.Cordon.At) > d && w.ray() == 0 {
		p.next.Refused[n.UID] = p.s.At
		return ReasonNoRoom, fmt.Sprintf("its pods could not be moved within %s of the cordon", d)
	}
	if at, ok := p.mem.Refused[n.UID]; ok && w.ray() == 0 && p.s.At.Sub(at) < time.Duration(p.s.Policy.BackoffInitial) {
		return ReasonNoRoom, "its pods could not be moved at " + at.UTC().Format(time.RFC3339)
	}
	mark := p.mark()
	var onto []*nodeState
	for _, pod := range n.pods {
		if p.pod[pod].work != workMovable || pod.Terminating {
			continue
		}
		if len(pod.Shape.Unmodelled) > 0 {
			p.rollback(mark)
			return ReasonNoRoom, fmt.Sprintf("pod %s asks for what is not modelled: %v", pod.Key(), pod.Shape.Unmodelled)
		}
		to := p.move(n, pod)
		if to == nil {
			p.rollback(mark)
			return ReasonNoRoom, "pod " + pod.Key() + " fits on no other node"
		}
		onto = append(onto, to)
	}
	if used := p.movableShare(n); used > evictBelow {
		p.rollback(mark)
		return ReasonNoRoom, fmt.Sprintf("its pods use %d %% of it", used)
	}
	for _, o := range onto {
		o.receives = n.Name
	}
	return "", ""
}

// movableShare is how much of the node, in percent, the pods use that would have
// to move. A node that was found to be little used enough goes on.
func (p *planning) movableShare(n *nodeState) int64 {
	sum := Resources{}
	for _, pod := range n.pods {
		if n.Cordon == nil && p.pod[pod].work == workMovable && !pod.Terminating {
			sum.Add(pod.Shape.Requests)
		}
	}
	return shareOf(100, sum, n.Allocatable)
}

// move puts one pod on a node that stays, and returns that node or nil.
func (p *planning) move(from *nodeState, pod *Pod) *nodeState {
	s := p.shape(&pod.Shape)
	var best *bin
	var bestRank [4]int64
	at := 0
	for _, bins := range p.roomFor(s) {
		for _, b := range bins {
			if b.kind != binNode || b.fits(s, 1) == 0 {
				continue
			}
			for i, o := range b.nodes {
				if o == from || o.leavable && o.order <= from.order {
					continue
				}
				empty := int64(0) // not onto an empty node while another has room
				if len(o.pods) == 0 {
					empty = 1
				}
				rank := [4]int64{empty, p.gpuWaste(s, b.free), b.slack(s), b.order()}
				if best == nil || cmp.Or(slices.Compare(rank[:], bestRank[:]), cmp.Compare(o.Name, best.nodes[at].Name)) < 0 {
					best, bestRank, at = b, rank, i
				}
			}
		}
	}
	if best == nil {
		return nil
	}
	to := best.nodes[at]
	p.put(p.alone(best, at), s, "pod "+pod.Key(), 1, 1)
	return to
}
