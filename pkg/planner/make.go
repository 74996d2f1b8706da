package planner

import (
	"cmp"
	"fmt"
	"slices"
)

// Make plans. See the package documentation for what it promises.
func Make(s Snapshot, m Memory) (Plan, Memory) {
	p := newPlanning(&s, m)
	p.watchClock()
	p.admit()  // 1: reject what is malformed
	p.credit() // 2: what is there or coming
	p.serve()  // 3 to 5: gangs, then the rest, onto Ray nodes, pods and VMs
	if !p.tenantBound() {
		p.settle() // 5: the nodes for all of it, by pattern and price
	}
	p.dropEmpty()
	p.plan.Cost, p.plan.Bound = p.bound()
	p.grow()
	p.shrink()  // 8
	p.protect() // Machines that somebody else deletes
	p.herd()
	p.attempts()
	p.remember()
	p.explain()
	p.finish()
	return p.plan, p.next
}

// demand places what waits: pods that are wanted whatever the demand of their
// RayCluster is, in one pass, hardest first; then what the demand of each
// RayCluster needs.
func (p *planning) demand() {
	known := p.pendingPods()
	p.twin = p.fork()
	p.leads = map[*clusterState]*leading{}
	for _, c := range p.clusters {
		if c.planned() && c.Mode == ModeLead {
			p.leads[c] = newLeading(p, c)
			known = append(known, p.leads[c].minimum()...)
		}
	}
	known = append(known, p.displaced()...)
	sortPods(known)
	unplaced := p.placeAll(known)
	p.reportUnplaced(unplaced)
	for _, c := range p.byPriority() {
		switch {
		case !c.planned():
		case c.Mode == ModeLead:
			p.leads[c].plan(unplaced)
		default:
			p.follow(c)
		}
	}
}

// byPriority lists the RayClusters in the order in which they are served.
func (p *planning) byPriority() []*clusterState {
	priority := func(c *clusterState) int64 {
		if l := p.tenantLimit(c.Namespace); l != nil {
			return l.Priority
		}
		return 0
	}
	behind := func(c *clusterState) int64 {
		if p.fair == nil {
			return 0
		}
		return p.fair.rank[c.Namespace]
	}
	out := slices.Clone(p.clusters)
	slices.SortStableFunc(out, func(a, b *clusterState) int {
		return cmp.Or(cmp.Compare(priority(b), priority(a)), cmp.Compare(behind(a), behind(b)))
	})
	return out
}

// dropEmpty gives up new nodes on which nothing was put in the end. While some
// demand is unmet, such a node is kept: the next plan puts it there.
func (p *planning) dropEmpty() {
	if len(p.unmet) > 0 {
		return
	}
	p.fresh = slices.DeleteFunc(p.fresh, func(b *bin) bool {
		if len(b.placed) > 0 {
			return false
		}
		b.group.take(-b.count)
		p.bought -= b.count
		return true
	})
}

// grow is phase 7: one absolute target for every group that needs more.
func (p *planning) grow() {
	for _, b := range p.fresh {
		b.group.fresh = append(b.group.fresh, b)
	}
	for _, g := range p.groups {
		// While a shrink is in flight, nobody knows which Machines a larger
		// number would keep: the group grows one tick later, and no dearer one
		// is bought meanwhile.
		if g.growth() == 0 || g.alive > g.Replicas || g.contested() != "" {
			continue
		}
		why := ReasonDemand
		if g.buy == 0 {
			why = ReasonMinSize
		}
		p.steps = append(p.steps, Step{Kind: StepGrow, Group: g.Key(), From: g.Replicas, To: g.Replicas + g.growth(), Reason: why})
	}
}

// finish orders everything that goes out and names the plan.
func (p *planning) finish() {
	// A rest is written down before its Machine goes, which is the only other trace
	// of the failure (rule I15).
	order := []StepKind{
		StepUncordon, StepUnmark, StepSoftUntaint, StepGrow, StepReplaceWorker, StepGrowWorkers, StepHook, StepSoftTaint, StepCordon, StepDrain,
		StepShrinkWorkers, StepClearWorkers, StepEvict, StepReleaseHook, StepRemember, StepRemove,
	}
	slices.SortStableFunc(p.steps, func(a, b Step) int {
		return cmp.Or(cmp.Compare(slices.Index(order, a.Kind), slices.Index(order, b.Kind)), cmp.Compare(a.Group, b.Group),
			cmp.Compare(a.RayCluster, b.RayCluster), cmp.Compare(a.WorkerGroup, b.WorkerGroup), cmp.Compare(a.Node, b.Node),
			cmp.Compare(a.RayNode, b.RayNode), cmp.Compare(firstPod(a), firstPod(b)))
	})
	if p.s.Policy.Paused {
		p.pause()
	}
	p.plan.Steps = p.steps
	p.count()
	for _, g := range p.groups {
		p.plan.Groups = append(p.plan.Groups, GroupTarget{
			Group: g.Key(), Replicas: g.Replicas, Ready: g.ready, Coming: g.coming, Target: g.target(), Max: g.Max, Min: g.Min,
		})
	}
	p.plan.WorkerGroups = p.workers
	p.plan.Nodes = p.nodePlans()
	p.plan.ID = p.id()
}

// pause drops every step; the decisions say what would be done.
func (p *planning) pause() {
	p.steps = nil
	for i := range p.plan.Decisions {
		d := &p.plan.Decisions[i]
		if d.Outcome != OutcomeGrow && d.Outcome != OutcomeShrink && d.Outcome != OutcomeCancel {
			continue
		}
		d.Message = fmt.Sprintf("paused by %s; else %s for %s: %s", cmp.Or(p.s.Policy.PausedBy, "the configuration"), d.Outcome, d.Reason, d.Message)
		d.Outcome, d.Reason = OutcomeHold, ReasonPaused
	}
}

func firstPod(s Step) string {
	if len(s.Pods) == 0 {
		return ""
	}
	return s.Pods[0].Name
}

// nodePlans lists what is placed where; equal new nodes make one entry.
func (p *planning) nodePlans() []NodePlan {
	var out []NodePlan
	index := map[string]int{}
	for _, bins := range [][]*bin{p.bins, p.fresh} {
		for _, b := range bins {
			if len(b.placed) == 0 && b.kind != binNew {
				continue
			}
			n := NodePlan{New: b.kind == binNew, Pods: b.placements()}
			if b.group != nil {
				n.Group = b.group.Key()
			}
			for _, node := range b.nodes {
				n.Node, n.Count = node.Name, 1
				out = append(out, n)
			}
			if len(b.nodes) > 0 {
				continue
			}
			k := fmt.Sprint(n)
			n.Count = b.count
			if i, ok := index[k]; ok {
				out[i].Count += b.count
				continue
			}
			index[k] = len(out)
			out = append(out, n)
		}
	}
	return out
}

func (b *bin) placements() []Placement {
	var out []Placement
	for _, pl := range b.placed {
		same := func(o Placement) bool { return o.Demand == pl.demand && o.Requests.Key() == pl.shape.Requests.Key() }
		if i := slices.IndexFunc(out, same); i >= 0 {
			out[i].Count += pl.count
			continue
		}
		out = append(out, Placement{Demand: pl.demand, Requests: pl.shape.Requests.Clone(), Count: pl.count})
	}
	return out
}

// id is a hash (FNV-1a, 64 bits) of the time and the steps.
func (p *planning) id() string {
	h := uint64(14695981039346656037)
	for _, c := range fmt.Append(nil, p.s.At.UnixNano(), p.steps) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return fmt.Sprintf("p%012x", h&0xffffffffffff)
}
