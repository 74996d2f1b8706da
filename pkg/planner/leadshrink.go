package planner

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// cancelAfter is how long a pod without a node must have been wanted by nothing
// before it is taken back: a demand that moves from one raylet to another is
// missing from the GCS's answer for a moment.
const cancelAfter = 10 * time.Second

// act settles what becomes of the pods of each worker group: those whose Ray
// node has ended go or are replaced, those that wait for nothing go, names of
// pods that are gone are cleared.
func (n *needs) act() {
	if n.p.unknown(SourceManagement, SourceWorkload, SourceRay) != "" {
		return
	}
	for i := range n.c.WorkerGroups {
		w := &n.c.WorkerGroups[i]
		if w.Invalid != "" {
			continue
		}
		n.clear(w)
		if w.Suspended {
			continue // the operator takes all its pods
		}
		n.replace(w)
		n.shrink(w)
	}
}

// clear takes names out of workersToDelete whose pods are gone.
func (n *needs) clear(w *WorkerGroup) {
	var gone []PodRef
	for _, name := range w.WorkersToDelete {
		if !n.p.podExists(n.c.Namespace, name) {
			gone = append(gone, PodRef{Namespace: n.c.Namespace, Name: name})
		}
	}
	if len(gone) > 0 {
		sortRefs(gone)
		n.step(StepClearWorkers, w, gone, ReasonGone)
	}
}

// podExists tells whether there is a pod of the name, of whatever kind. Few ask.
func (p *planning) podExists(namespace, name string) bool {
	if p.podNames == nil {
		p.podNames = make(map[PodRef]bool, len(p.s.Pods))
		for i := range p.s.Pods {
			p.podNames[PodRef{Namespace: p.s.Pods[i].Namespace, Name: p.s.Pods[i].Name}] = true
		}
	}
	return p.podNames[PodRef{Namespace: namespace, Name: name}]
}

// replace deletes ended pods whose replicas are still wanted, so that the
// operator makes fresh ones. The pods on a node that is being emptied wait
// until it is clear whether it goes.
func (n *needs) replace(w *WorkerGroup) {
	for _, u := range n.dead[w.Name][:n.replaced[w.Name]] {
		if n.touchable(u) {
			n.step(StepReplaceWorker, w, []PodRef{refOf(u.pods[0])}, ReasonDrained)
			n.decide(w, OutcomeHold, ReasonDrained, "pod "+podNames(u.pods)+" has ended; "+n.reason[u.pods[0]])
		}
	}
}

// touchable units may be told apart from others, and no node of theirs waits
// for the rest of its Ray nodes to end.
func (n *needs) touchable(u *unit) bool {
	for _, pod := range u.pods {
		if n.partly[pod] {
			return false
		}
		node := n.p.node[pod.Node]
		if node == nil || !node.emptying {
			continue
		}
		if w := &node.work; node.Cordon == nil || w.n[workIdle]+w.n[workDraining]+w.n[workBusy]+w.n[workUnknown] > 0 {
			return false
		}
	}
	return u.group.hosts() == int64(len(u.pods)) || u.group.hosts() == 1
}

// shrink takes ended pods and pods that wait for nothing back, in one write.
func (n *needs) shrink(w *WorkerGroup) {
	unwanted := n.unwanted(w)
	if l := n.p.leads[n.c]; n.p.s.Policy.RemovalDisabled || n.p.frozen != "" || l != nil && l.opened[w.Name] > 0 {
		return // growing and shrinking are never in one plan (rule I6)
	}
	var units []*unit
	why := ReasonCancelled
	for _, u := range n.dead[w.Name][n.replaced[w.Name]:] {
		if n.touchable(u) {
			units, why = append(units, u), ReasonDrained
		}
	}
	units = append(units, unwanted...)
	again := n.overwritten(w)
	if len(units) == 0 && len(again) == 0 {
		return
	}
	live := int64(0) // replicas that the operator counts
	for _, r := range n.replicas(w) {
		if n.p.pod[r.pods[0]].work != workLeaving {
			live++
		}
	}
	beyond := max(0, live-w.base()) // those go without lowering anything
	to := w.base() - max(0, int64(len(units))-beyond)
	var pods []PodRef
	for _, u := range units {
		for _, pod := range u.pods {
			pods = append(pods, refOf(pod))
		}
	}
	if len(units) == 0 { // somebody has overwritten the replicas: lower them again
		pods, why = again, ReasonLeaving
		to = w.base() - min(n.excess[w.Name], int64(len(again))/w.hosts())
	}
	to = max(to, min(w.Min, w.Max), 0)
	sortRefs(pods)
	n.p.steps = append(n.p.steps, Step{
		Kind: StepShrinkWorkers, RayCluster: n.c.Key(), WorkerGroup: w.Name, Pods: pods, From: w.Replicas, To: to, Reason: why,
	})
	n.decide(w, OutcomeShrink, why, fmt.Sprintf("takes back %d pods", len(pods)))
	n.target(w, to)
}

// unwanted lists the replicas without a node that nothing has wanted for a
// while, and remembers since when.
func (n *needs) unwanted(w *WorkerGroup) []*unit {
	var out []*unit
	read := n.p.readAt(n.c)
	for _, u := range n.units {
		if u.group != w || u.kind != unitPending || u.needed != "" || !n.touchable(u) {
			continue
		}
		since, ok := n.p.mem.Unwanted[u.pods[0].UID]
		if !ok || since.After(read) || n.p.frozen != "" {
			since = read
		}
		n.p.next.Unwanted[u.pods[0].UID] = since
		if read.Sub(since) >= cancelAfter {
			out = append(out, u)
		}
	}
	return out
}

// overwritten lists pods that are named already although the replicas ask for
// fresh ones that nothing needs: the names are ours, and somebody has written
// an older number over the lower one.
func (n *needs) overwritten(w *WorkerGroup) []PodRef {
	if n.excess[w.Name] == 0 {
		return nil
	}
	var out []PodRef
	for _, pod := range n.c.byGroup[w.Name] {
		if !pod.Terminating && slices.Contains(w.WorkersToDelete, pod.Name) {
			out = append(out, refOf(pod))
		}
	}
	if int64(len(out))%w.hosts() != 0 {
		return nil
	}
	return out
}

func (n *needs) step(kind StepKind, w *WorkerGroup, pods []PodRef, why Reason) {
	n.p.steps = append(n.p.steps, Step{
		Kind: kind, RayCluster: n.c.Key(), WorkerGroup: w.Name, Pods: pods, From: w.Replicas, To: w.Replicas, Reason: why,
	})
}

func (n *needs) decide(w *WorkerGroup, o Outcome, why Reason, message string) {
	n.p.decisions = append(n.p.decisions, Decision{
		Kind: SubjectRayCluster, Subject: n.c.Key() + " " + w.Name, RayCluster: n.c.Key(), Outcome: o, Reason: why, Message: message,
	})
}

// target notes the lower number where the plan tells about worker groups.
func (n *needs) target(w *WorkerGroup, to int64) {
	for i := range n.p.workers {
		if t := &n.p.workers[i]; t.RayCluster == n.c.Key() && t.Group == w.Name {
			t.Target = to
		}
	}
}

func sortRefs(refs []PodRef) {
	slices.SortFunc(refs, func(a, b PodRef) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.UID, b.UID))
	})
}
