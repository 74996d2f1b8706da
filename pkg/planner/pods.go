package planner

import (
	"cmp"
	"fmt"
	"slices"
)

// wantedPods is a number of equal pods that want a node.
type wantedPods struct {
	demand     string
	rayCluster string
	shape      *PodShape
	count      int64
	oldest     string // UID of the pod that has waited longest, if there is one
}

// admit is phase 1: it reports what is malformed, and what is not planned for.
func (p *planning) admit() {
	for _, c := range p.clusters {
		switch {
		case c.Invalid != "":
			p.decideCluster(c, ReasonInvalidCluster, c.Invalid)
		case c.Suspended:
			p.decideCluster(c, ReasonSuspended, "")
		case c.Mode != ModeOff && !c.DemandKnown:
			p.decideCluster(c, ReasonUnknownDemand, c.DemandError)
		}
		for _, r := range c.Rejected {
			p.decisions = append(p.decisions, Decision{
				Kind: SubjectDemand, Subject: c.Key() + " " + r.What, RayCluster: c.Key(), Outcome: OutcomeUnmet,
				Reason: ReasonInvalidDemand, Message: r.Why, Count: r.Count,
			})
		}
		for i := range c.WorkerGroups {
			if w := &c.WorkerGroups[i]; w.Invalid != "" {
				p.decisions = append(p.decisions, Decision{
					Kind: SubjectRayCluster, Subject: c.Key() + " " + w.Name, RayCluster: c.Key(), Outcome: OutcomeHold,
					Reason: ReasonInvalidCluster, Message: w.Invalid,
				})
			}
		}
	}
}

func (p *planning) decideCluster(c *clusterState, why Reason, message string) {
	p.decisions = append(p.decisions, Decision{
		Kind: SubjectRayCluster, Subject: c.Key(), RayCluster: c.Key(), Outcome: OutcomeHold, Reason: why, Message: message,
	})
}

// decideSurplus says that n pods of a worker group wait for nothing.
func (p *planning) decideSurplus(c *clusterState, group string, n int64) {
	p.decisions = append(p.decisions, Decision{
		Kind: SubjectDemand, Subject: podsOf(c.Key(), group), RayCluster: c.Key(), Outcome: OutcomeHold, Reason: ReasonSurplus,
		Message: fmt.Sprintf("%d pods wait that no demand of the cluster wants; no node is bought for them", n), Count: n,
	})
}

// planned tells whether the cluster's Ray demand can be planned for.
func (c *clusterState) planned() bool {
	return c.Mode != ModeOff && c.Invalid == "" && !c.Suspended && c.DemandKnown
}

// pendingPods are the pods that exist and wait for a node, except for those of
// planned clusters, whose own planning counts them.
func (p *planning) pendingPods() []wantedPods {
	own := map[string]bool{}
	for _, c := range p.clusters {
		own[c.Key()] = c.planned()
	}
	var pods []*Pod
	for i := range p.s.Pods {
		pod := &p.s.Pods[i]
		if !pod.waits() || own[pod.RayCluster] && !pod.RayHead {
			continue
		}
		pods = append(pods, pod)
	}
	slices.SortFunc(pods, nameOrder[*Pod])
	return groupPods(pods)
}

// waits tells whether the pod exists and wants a node. A pod that is not Ray's
// counts once the scheduler has said that it fits nowhere.
func (pod *Pod) waits() bool {
	return pod.Node == "" && !pod.Terminating && !pod.DaemonSet && (pod.Unschedulable || pod.RayCluster != "")
}

func groupPods(pods []*Pod) []wantedPods {
	index := map[string]int{}
	var out []wantedPods
	for _, pod := range pods {
		demand, k := "pod "+pod.Key(), pod.Namespace
		if pod.RayCluster != "" {
			demand = podsOf(pod.RayCluster, pod.RayGroup)
			k = demand
		}
		k += "|" + pod.Shape.key()
		if i, ok := index[k]; ok {
			out[i].count++
			continue
		}
		index[k] = len(out)
		out = append(out, wantedPods{demand: demand, rayCluster: pod.RayCluster, shape: &pod.Shape, count: 1, oldest: pod.UID})
	}
	sortPods(out)
	return out
}

// sortPods puts the pods that are hardest to place first.
func sortPods(pods []wantedPods) {
	slices.SortStableFunc(pods, func(a, b wantedPods) int {
		return cmp.Or(cmp.Compare(b.shape.Requests[ResourceGPU], a.shape.Requests[ResourceGPU]),
			cmp.Compare(b.shape.Requests[ResourceMemory], a.shape.Requests[ResourceMemory]),
			cmp.Compare(b.shape.Requests[ResourceCPU], a.shape.Requests[ResourceCPU]),
			cmp.Compare(a.demand, b.demand), cmp.Compare(a.shape.key(), b.shape.key()))
	})
}

func podsOf(cluster, group string) string { return "pods of " + cluster + " " + group }

// placeAll places every pod and returns those that have no room.
func (p *planning) placeAll(pods []wantedPods) (unplaced []wantedPods) {
	for _, w := range pods {
		p.tenant = tenantOf(w.demand)
		s := p.shape(w.shape)
		if w.oldest != "" {
			p.waits(w.demand, s, w.oldest)
		}
		left := p.placeWaiting(s, w.demand, w.count)
		switch {
		case left == 0:
		case p.ineffective(w.demand, s):
			w.count = left
			p.reportIneffective(w)
		default:
			w.count = left
			unplaced = append(unplaced, w)
		}
	}
	p.tenant = ""
	return unplaced
}

// reportIneffective says that no more is bought for pods that growth does not
// help.
func (p *planning) reportIneffective(w wantedPods) {
	p.unmet = append(p.unmet, Decision{
		Kind: SubjectDemand, Subject: w.demand, RayCluster: w.rayCluster, Outcome: OutcomeUnmet, Reason: ReasonIneffective,
		Message: p.tried(w.demand, p.shape(w.shape)) + w.shape.unmodelled(), Demand: w.shape.Requests.Clone(), Count: w.count,
	})
}

func (p *planning) tried(demand string, s *shape) string {
	return fmt.Sprintf("bought Machines %d times, and the pods still wait", p.mem.Attempts[p.oldest[kind{demand, s}]].Tries)
}

// reportUnplaced turns pods without room into decisions.
func (p *planning) reportUnplaced(unplaced []wantedPods) {
	for _, w := range unplaced {
		p.tenant = tenantOf(w.demand)
		why, message, rejected := p.whyNot(w.shape)
		p.tenant = ""
		p.unmet = append(p.unmet, Decision{
			Kind: SubjectDemand, Subject: w.demand, RayCluster: w.rayCluster, Outcome: OutcomeUnmet, Reason: why,
			Message: fmt.Sprintf("no room for %d with %s each%s", w.count, w.shape.Requests.text(), message),
			Demand:  w.shape.Requests.Clone(), Count: w.count, Rejected: rejected,
		})
	}
}

// whyNot finds the one reason why no group takes a pod of the shape: that of
// the group that came nearest to taking it.
func (p *planning) whyNot(s *PodShape) (why Reason, message string, rejected []Alternative) {
	why = ReasonDoesNotFit
	near := -1
	for _, g := range p.groups {
		r := p.refuses(g, p.shape(s))
		detail := p.detail(g, r)
		if r == "" || r == ReasonNotManaged {
			continue
		}
		if rejected == nil {
			rejected = make([]Alternative, 0, len(p.groups))
		}
		rejected = append(rejected, Alternative{Name: g.Key(), Reason: r, Message: detail})
		if n := nearness(r); n > near {
			near, why = n, r
			message = fmt.Sprintf("; nearest is %s: %s", g.Key(), r)
			if detail != "" {
				message += " (" + detail + ")"
			}
		}
	}
	return why, message + s.unmodelled(), rejected
}

// unmodelled names what the pods ask for and the planner ignores.
func (s *PodShape) unmodelled() string {
	if len(s.Unmodelled) == 0 {
		return ""
	}
	return fmt.Sprintf("; not modelled and ignored: %v", s.Unmodelled)
}

// nearness orders refusals by how little stands in the way.
func nearness(r Reason) int {
	return slices.Index([]Reason{
		ReasonInvalidGroup, ReasonUnknownSize, ReasonDoesNotFit, ReasonLabels, ReasonTaints, ReasonClassUnusable, ReasonPaused,
		ReasonContested, ReasonBackoff, ReasonNoHeadroom, ReasonAtMax, ReasonTenantLimit, ReasonFairShare, ReasonGlobalLimit, ReasonSourceUnknown,
		ReasonHourLimit, ReasonTickLimit,
	}, r)
}
