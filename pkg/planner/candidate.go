package planner

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// IdleRead is when a node was first read with all its Ray nodes idle for their
// timeout, and which Ray nodes these were: others start anew, as after a
// restart of the head.
type IdleRead struct {
	RayNodes string    `json:"rayNodes"`
	First    time.Time `json:"first"`
}

// stays tells what on a node holds it, whatever else could be removed, and
// which work does so, if it is work. Most nodes are held on every tick and say
// nothing about it, so the text is made apart, by staysText.
func (p *planning) stays(n *nodeState) (Reason, work) {
	for _, h := range holders {
		if n.work.n[h.kind] > 0 {
			return h.why, h.kind
		}
	}
	switch {
	case !n.Ready && n.work.ray() > 0:
		return ReasonRayUnknown, workKinds
	case p.booting(n):
		return ReasonComing, workKinds
	case n.Keep != "":
		return ReasonKept, workKinds
	case n.wanted != "" || n.receives != "":
		return ReasonWanted, workKinds
	}
	return "", workKinds
}

// holders are the kinds of work that hold a node, the gravest first.
var holders = [...]struct {
	kind work
	why  Reason
	text string
}{
	{workHead, ReasonHead, "carries the head pod %s"},
	{workBlocking, ReasonBlockingPod, "pod %s must not be disturbed"},
	{workBusy, ReasonBusy, "the Ray node of pod %s works"},
	{workUnknown, ReasonRayUnknown, "the GCS does not know pod %s"},
	{workFollow, ReasonFollow, "Ray decides about pod %s"},
}

// staysText explains to people what stays has found.
func (p *planning) staysText(n *nodeState, why Reason, by work) string {
	for _, h := range holders {
		if h.kind != by {
			continue
		}
		first, of := p.first(n, by), n.work.n[by]
		text := fmt.Sprintf(h.text, first.Key())
		if by == workBlocking {
			text += ": " + first.Blocks
		}
		if of > 1 {
			text += fmt.Sprintf(", and %d more", of-1)
		}
		return text
	}
	switch {
	case why == ReasonRayUnknown:
		return "the node is not ready, so nobody knows what its Ray pods do"
	case why == ReasonComing:
		return "the node has not come up yet"
	case why == ReasonKept:
		return n.Keep
	case n.wanted != "":
		return "wanted by " + n.wanted
	}
	return "the pods of node " + n.receives + " are to move here"
}

// held deals with a node that something on it holds. It tells whether that is
// so. A removal under way is taken back, unless it cannot be known whether it
// should be, or the group is not to be touched.
func (p *planning) held(n *nodeState) bool {
	why, by := p.stays(n)
	if why == "" {
		return false
	}
	ours := n.Cordon != nil || n.machine.Mark != nil
	if !ours && why != ReasonKept && why != ReasonBlockingPod && n.work.n[workIdle] == 0 {
		return true // it would serve in any case, which needs no words
	}
	message := p.staysText(n, why, by)
	if at, ok := p.refused(n); ok && why != ReasonKept {
		why, message = ReasonDrainRefused, "Ray refused the drain at "+at.UTC().Format(time.RFC3339)+": "+message
	}
	switch {
	case ours && (p.unknown(SourceManagement, SourceWorkload) != "" || n.group.Paused || n.group.contested() != ""):
	case ours && why == ReasonRayUnknown && (!n.Ready || p.unknownCluster(n)):
		p.decideNode(n, OutcomeHold, why, message) // nothing is known, so nothing is undone
	case ours:
		p.back(n, why, message)
	default:
		p.decideNode(n, OutcomeHold, why, message)
	}
	return true
}

// unknownCluster tells whether a pod of the node is of a cluster in lead mode
// whose GCS cannot be read at the moment.
func (p *planning) unknownCluster(n *nodeState) bool {
	return slices.ContainsFunc(n.pods, func(pod *Pod) bool {
		c := p.pod[pod].cluster
		return c != nil && c.Mode == ModeLead && !c.planned()
	})
}

// readIdle notes which nodes are idle in this read of the GCS. A node counts as
// idle in two reads when an earlier read, in the plan before this one, found
// the same Ray nodes idle.
func (p *planning) readIdle() {
	for _, n := range p.nodes {
		if r, had := p.mem.Refused[n.UID]; had && p.s.At.Sub(r) < 24*time.Hour {
			p.next.Refused[n.UID] = r
		}
		ids, at, ok := p.idleRead(n)
		if !ok {
			continue
		}
		r, had := p.mem.Idle[n.UID]
		if !had || r.RayNodes != ids || r.First.After(p.s.At) || p.frozen != "" {
			r = IdleRead{RayNodes: ids, First: at}
		}
		n.idleTwice = at.After(r.First)
		p.next.Idle[n.UID] = r
	}
}

// idleRead names the Ray nodes of a node if all of them are idle for their
// timeout, and tells when the oldest of the reads that say so was made.
func (p *planning) idleRead(n *nodeState) (ids string, at time.Time, ok bool) {
	var names []string
	for _, pod := range n.pods {
		st := p.pod[pod]
		switch st.work {
		case workIdle:
			if p.idleLeft(pod) > 0 {
				return "", at, false
			}
			names = append(names, st.cluster.UID+"/"+st.ray.ID)
			if r := p.readAt(st.cluster); at.IsZero() || r.Before(at) {
				at = r
			}
		case workMovable, workBlocking, workDraining, workDead, workLeaving:
		case workHead, workFollow, workUnknown, workBusy, workKinds:
			return "", at, false
		}
	}
	slices.Sort(names)
	return strings.Join(names, ","), at, len(names) > 0
}

// mayEmpty decides whether a node that only carries Ray workers that could end,
// and pods that could move, may be emptied now. It writes the decision if not.
func (p *planning) mayEmpty(n *nodeState, budget *removal) bool {
	g := n.group
	if g.hold != nil {
		if n.Cordon != nil || n.work.n[workIdle] > 0 {
			p.holdNode(n, g.hold)
		}
		return false
	}
	if why, message := p.notYet(n, budget); why != "" {
		p.back(n, why, message)
		return false
	}
	g.spare--
	budget.machines--
	if n.Cordon == nil {
		budget.start--
	}
	return true
}

// notYet tells why a node may not be emptied.
func (p *planning) notYet(n *nodeState, budget *removal) (Reason, string) {
	g, w := n.group, &n.work
	if at, ok := p.refused(n); ok {
		return ReasonDrainRefused, "Ray refused the drain at " + at.UTC().Format(time.RFC3339)
	}
	for _, pod := range n.pods {
		st := p.pod[pod]
		if st.group != nil && st.group.hosts() > 1 && pod.RayReplica == "" {
			return ReasonReplica, "pod " + pod.Key() + " does not tell its replica"
		}
		if st.cluster != nil {
			if need := p.needs[st.cluster]; need != nil && need.reason[pod] != "" {
				return needReason(need.reason[pod]), need.reason[pod]
			}
		}
		if left := p.idleLeft(pod); left > 0 {
			return ReasonIdleHold, fmt.Sprintf("the Ray node of pod %s is idle for %s of %s", pod.Key(), time.Duration(st.ray.IdleFor).Round(time.Second), st.idleTimeout())
		}
	}
	switch {
	case g.growth() > 0:
		return ReasonWanted, "the group is growing"
	case g.spare <= 0:
		return ReasonAtMin, fmt.Sprintf("min size is %d", g.Min)
	case n.Cordon != nil:
		return p.cannotMove(n)
	}
	if at, ok := p.mem.Refused[n.UID]; ok && p.s.At.Sub(at) < p.restAfterRefusal(n) {
		return ReasonDrainRefused, "Ray refused the drain at " + at.UTC().Format(time.RFC3339) + "; the idle time starts anew"
	}
	if w.n[workIdle] > 0 && !n.idleTwice {
		return ReasonIdleHold, "seen idle in one read so far"
	}
	if w.ray() == 0 || w.n[workIdle]+w.n[workDead]+w.n[workDraining] == 0 {
		if quiet := p.s.At.Sub(p.quietSince(n)); quiet < time.Duration(p.s.Policy.VacantHold) {
			return ReasonVacantHold, fmt.Sprintf("movable for %s of %s", quiet.Round(time.Second), time.Duration(p.s.Policy.VacantHold))
		}
	}
	if budget.start <= 0 || budget.machines <= 0 {
		return budget.why, "no more may be removed now"
	}
	return p.cannotMove(n)
}

// refused tells whether a drain was refused since the node was cordoned.
func (p *planning) refused(n *nodeState) (time.Time, bool) {
	at, ok := p.mem.Refused[n.UID]
	return at, ok && n.Cordon != nil && !at.Before(n.Cordon.At)
}

// needReason tells a minimum from a demand, and both from a worker group that no
// plan is made for.
func needReason(text string) Reason {
	if strings.HasPrefix(text, "worker group ") {
		return ReasonInvalidCluster
	}
	if strings.HasPrefix(text, "demand") || strings.Contains(text, "fresh pod") {
		return ReasonWanted
	}
	return ReasonWorkersAtMin
}

// restAfterRefusal is the longest idle timeout on the node.
func (p *planning) restAfterRefusal(n *nodeState) time.Duration {
	var d time.Duration
	for _, pod := range n.pods {
		if st := p.pod[pod]; st.cluster != nil {
			d = max(d, st.idleTimeout())
		}
	}
	return d
}

// wholeReplicas leaves out the nodes of multi-host replicas that could not go
// as a whole: those with a pod elsewhere that stays.
func (p *planning) wholeReplicas(nodes []*nodeState) []*nodeState {
	going := map[*nodeState]bool{}
	for _, n := range nodes {
		going[n] = true
	}
	for changed := true; changed; {
		changed = false
		for _, n := range nodes {
			if going[n] && p.torn(n, going) {
				delete(going, n)
				changed = true
			}
		}
	}
	out := make([]*nodeState, 0, len(nodes))
	for _, n := range nodes {
		if going[n] {
			n.emptying = true
			out = append(out, n)
			continue
		}
		n.group.spare++
		p.back(n, ReasonReplica, "other pods of its replicas are on nodes that stay")
	}
	return out
}

// torn tells whether the node's removal would tear a replica apart.
func (p *planning) torn(n *nodeState, going map[*nodeState]bool) bool {
	for _, pod := range n.pods {
		st := p.pod[pod]
		if st.group == nil || st.group.hosts() == 1 || st.work == workLeaving {
			continue
		}
		for _, o := range st.cluster.pods {
			if o.RayGroup == pod.RayGroup && o.RayReplica == pod.RayReplica && p.pod[o].work != workLeaving && !going[p.node[o.Node]] {
				return true
			}
		}
	}
	return false
}
