package planner

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tandem-autoscaler/tandem/pkg/planner/rayv2"
)

// headGroup is Ray's name for the head's node type on KubeRay.
const headGroup = "headgroup"

// following plans one RayCluster in follow mode: Ray's own autoscaler decides
// about Ray pods, and the planner asks a model of it what it will decide, so
// that the VMs are bought before the pods exist.
type following struct {
	p         *planning
	c         *clusterState
	types     []rayv2.NodeType
	instances []rayv2.Instance
	// pods has the pod of each instance; nil for the head and for pods that
	// the operator has not made yet.
	pods []*Pod
}

// prediction is what Ray is expected to do about a demand.
type prediction struct {
	out      rayv2.Output
	requests []Request
	gangs    []Gang
}

func (p *planning) follow(c *clusterState) {
	f := &following{p: p, c: c}
	f.nodeTypes()
	f.known()
	gangs, requests := c.demand()
	all := f.predict(gangs, requests)
	if all.out.Err != nil {
		p.decideCluster(c, ReasonInvalidCluster, "predicting Ray's autoscaler: "+all.out.Err.Error())
	}
	mark := p.mark()
	final := all
	unplaced := f.place(all)
	if len(unplaced) > 0 && len(gangs) > 0 {
		p.rollback(mark)
		final = f.predict(f.whole(gangs), requests)
		unplaced = f.place(final)
	}
	p.reportUnplaced(unplaced)
	f.reportUnwanted(final)
	f.report(final)
	f.targets(final)
}

// whole keeps the gangs for which every pod that Ray would ask for has room; a
// gang that cannot be whole buys nothing.
func (f *following) whole(gangs []Gang) []Gang {
	var kept []Gang
	failed := map[string]refusal{}
	for _, g := range gangs {
		k := gangKey(g)
		ref, known := failed[k]
		if !known {
			trial := f.predict(append(slices.Clone(kept), g), nil)
			if slices.Contains(trial.out.InfeasibleGangs, len(kept)) {
				kept = append(kept, g) // Ray asks for nothing for it, and report says so
				continue
			}
			mark := f.p.mark()
			unplaced := f.place(trial)
			if len(unplaced) == 0 {
				f.p.rollback(mark)
				kept = append(kept, g)
				continue
			}
			f.p.tenant = f.c.Namespace
			why, message, rejected := f.p.whyNot(unplaced[0].shape)
			f.p.tenant = ""
			f.p.rollback(mark)
			ref = refusal{
				why: why, rejected: rejected,
				message: fmt.Sprintf("%d of the pods that Ray would ask for (%s) have no room%s", unplaced[0].count, unplaced[0].demand, message),
			}
			failed[k] = ref
		}
		f.p.unmet = append(f.p.unmet, gangDecision(f.c.Key(), g, ref))
	}
	return kept
}

func gangKey(g Gang) string {
	var s strings.Builder
	s.WriteString(string(g.Strategy))
	for _, o := range g.Options[:min(1, len(g.Options))] {
		for _, b := range o.Bundles {
			fmt.Fprintf(&s, "|%s%v", b.Resources.Key(), b.Selector)
		}
	}
	return s.String()
}

// place puts the pods that Ray has asked for, and those that it will, on nodes.
// A pod that nothing wants any more (the demand that it was made for is gone,
// or is a gang that cannot be whole) gets no node: Ray does not take pods back
// that still wait, and a VM for one of them would only be idle.
func (f *following) place(pr prediction) []wantedPods {
	var exist []*Pod
	missing := map[string]int64{}
	for i, in := range f.instances {
		switch {
		case in.Kind == rayv2.KindHead || !pr.wants(i):
		case f.pods[i] == nil:
			missing[in.Type]++
		case f.pods[i].waits():
			exist = append(exist, f.pods[i])
		}
	}
	for _, l := range pr.out.Launches {
		missing[l.Type] += l.Count
	}
	wanted := groupPods(exist)
	for i := range f.c.WorkerGroups {
		if w := &f.c.WorkerGroups[i]; missing[w.Name] > 0 {
			wanted = append(wanted, wantedPods{demand: podsOf(f.c.Key(), w.Name), rayCluster: f.c.Key(), shape: &w.Pod, count: missing[w.Name]})
		}
	}
	sortPods(wanted)
	return f.p.placeAll(wanted)
}

// wants tells whether demand, a constraint or a minimum wants instance i. If
// Ray's own round fails on this input, every instance counts as wanted.
func (pr prediction) wants(i int) bool {
	return pr.out.Err != nil || pr.out.Instances[i].Wanted()
}

// reportUnwanted says which pods wait for nothing.
func (f *following) reportUnwanted(pr prediction) {
	count := map[string]int64{}
	for i, in := range f.instances {
		if f.pods[i] != nil && f.pods[i].waits() && !pr.wants(i) {
			count[in.Type]++
		}
	}
	for i := range f.c.WorkerGroups {
		w := &f.c.WorkerGroups[i]
		if n := count[w.Name]; n > 0 {
			f.p.decideSurplus(f.c, w.Name, n)
		}
	}
}

// report records what Ray itself cannot serve.
func (f *following) report(pr prediction) {
	for _, i := range pr.out.InfeasibleGangs {
		f.p.unmet = append(f.p.unmet, gangDecision(f.c.Key(), pr.gangs[i], refusal{message: "Ray finds no worker group with room for it"}))
	}
	l := &leading{p: f.p, c: f.c}
	for _, r := range pr.out.InfeasibleRequests {
		req := pr.requests[r.Index]
		ref := f.c.refusal(req)
		l.unmet("request", req.Resources, r.Count, ref.why, ref)
	}
	if len(pr.out.InfeasibleConstraints) > 0 {
		l.unmet("request_resources", f.c.constraintSum(), 1, ReasonWorkersAtMax, refusal{message: "Ray finds no room for the constraint within the worker groups' limits"})
	}
}

func (c *clusterState) constraintSum() Resources {
	sum := Resources{}
	for _, r := range c.Constraints {
		sum.Add(r.Resources.scaled(r.Count))
	}
	return sum
}

// refusal tells why no worker group of the cluster serves the request.
func (c *clusterState) refusal(r Request) refusal {
	ref := refusal{why: ReasonNoWorkerGroup, message: "no worker group is large enough"}
	for i := range c.WorkerGroups {
		w := &c.WorkerGroups[i]
		if !fitsOn(w.RayResources, r.Resources) {
			continue
		}
		if len(r.Selectors) > 0 && !slices.ContainsFunc(r.Selectors, func(s Selector) bool { return s.matches(w.Labels) }) {
			if ref.why == ReasonNoWorkerGroup {
				ref = refusal{why: ReasonLabels, message: "worker group " + w.Name + " does not carry the labels"}
			}
			continue
		}
		ref = refusal{why: ReasonWorkersAtMax, message: fmt.Sprintf("worker group %s is at maxReplicas %d", w.Name, w.Max)}
	}
	return ref
}

func (f *following) targets(pr prediction) {
	launches := map[string]int64{}
	for _, l := range pr.out.Launches {
		launches[l.Type] += l.Count
	}
	for i := range f.c.WorkerGroups {
		w := &f.c.WorkerGroups[i]
		f.p.workers = append(f.p.workers, WorkerTarget{
			RayCluster: f.c.Key(), Group: w.Name, Replicas: w.Replicas,
			Target: w.base() + (launches[w.Name]+w.hosts()-1)/w.hosts(),
		})
	}
}

// nodeTypes describes the worker groups in Ray's words.
func (f *following) nodeTypes() {
	f.types = append(f.types, rayv2.NodeType{Name: headGroup, Resources: rayResources(f.c.HeadResources)})
	for i := range f.c.WorkerGroups {
		w := &f.c.WorkerGroups[i]
		if w.Invalid != "" || w.Suspended {
			continue
		}
		f.types = append(f.types, rayv2.NodeType{
			Name: w.Name, Resources: rayResources(w.RayResources), Min: mulSat(min(w.Min, w.Max), w.hosts()), Max: mulSat(w.Max, w.hosts()),
			Labels: rayLabels(w.Labels), Priority: w.Priority,
		})
	}
}

// known lists the instances that Ray counts: the head, the pods, and the pods
// that the operator has been asked for.
func (f *following) known() {
	byPod := map[string]*RayNode{}
	for _, n := range f.c.rayNodes {
		if n.Head {
			f.add(headGroup, rayv2.KindHead, n, nil)
			continue
		}
		byPod[n.Pod] = n
	}
	for i := range f.c.WorkerGroups {
		w := &f.c.WorkerGroups[i]
		if w.Invalid != "" || w.Suspended {
			continue
		}
		var have int64
		for _, pod := range f.c.byGroup[w.Name] {
			if pod.Terminating {
				continue
			}
			have++
			n := byPod[pod.Name]
			if n != nil && (n.Status == RayNodeDead || n.Status == RayNodeDraining) {
				continue
			}
			f.add(w.Name, rayv2.KindWorker, n, pod)
		}
		for range min(mulSat(w.base(), w.hosts())-have, 10_000) {
			f.add(w.Name, rayv2.KindWorker, nil, nil)
		}
	}
}

func (f *following) add(group string, kind rayv2.Kind, n *RayNode, pod *Pod) {
	in := rayv2.Instance{ID: fmt.Sprintf("i-%d", len(f.instances)), Type: group, Kind: kind, Status: rayv2.StatusRequested}
	if pod != nil {
		in.Status = rayv2.StatusAllocated
	}
	if n != nil {
		in.Status, in.RayNodeID = rayv2.StatusRayRunning, n.ID
		in.RayNode = &rayv2.RayNode{Total: rayResources(n.Total), Available: rayResources(n.Available), Labels: rayLabels(n.Labels)}
		if n.Status == RayNodeIdle {
			in.RayNode.IdleMillis = int64(n.IdleFor) / 1_000_000
		}
		for _, g := range n.Gangs {
			in.RayNode.DynamicLabels = append(in.RayNode.DynamicLabels, rayv2.Label{Key: "_PG_" + g})
		}
	}
	f.instances = append(f.instances, in)
	f.pods = append(f.pods, pod)
}

// predict asks the model for one round of Ray's scheduler.
func (f *following) predict(gangs []Gang, requests []Request) prediction {
	in := rayv2.Input{NodeTypes: f.types, DisableLaunchConfigCheck: true, Instances: f.instances}
	for _, r := range requests {
		in.Requests = append(in.Requests, rayv2.Demand{Request: rayRequest(r.Resources, r.Selectors), Count: r.Count})
	}
	for _, g := range gangs {
		in.Gangs = append(in.Gangs, rayGang(g))
	}
	if len(f.c.Constraints) > 0 {
		var con rayv2.Constraint
		for _, r := range sortedRequests(f.c.Constraints) {
			con.Requests = append(con.Requests, rayv2.Demand{Request: rayRequest(r.Resources, r.Selectors), Count: r.Count})
		}
		in.Constraints = append(in.Constraints, con)
	}
	return prediction{out: rayv2.Schedule(in), requests: requests, gangs: gangs}
}

// rayGang states the strategy the way the GCS does: by constraints on a label
// that carries the placement group's id.
func rayGang(g Gang) rayv2.Gang {
	var out rayv2.Gang
	if len(g.Options) == 0 {
		return out
	}
	for _, b := range g.Options[0].Bundles {
		var sel []Selector
		if len(b.Selector) > 0 {
			sel = []Selector{b.Selector}
		}
		r := rayRequest(b.Resources, sel)
		label := "_PG_" + g.ID
		switch g.Strategy {
		case StrictSpread:
			r.Placement = []rayv2.PlacementConstraint{{Kind: rayv2.AntiAffinity, Label: label}}
		case StrictPack:
			r.Placement = []rayv2.PlacementConstraint{{Kind: rayv2.Affinity, Label: label}}
		case Pack, Spread:
		}
		out.Bundles = append(out.Bundles, r)
	}
	return out
}

func rayRequest(r Resources, selectors []Selector) rayv2.Request {
	out := rayv2.Request{Resources: rayResources(r)}
	for _, s := range selectors {
		sel := make(rayv2.Selector, 0, len(s))
		for _, q := range s {
			op := rayv2.OperatorIn
			if q.NotIn {
				op = rayv2.OperatorNotIn
			}
			sel = append(sel, rayv2.Requirement{Key: q.Key, Operator: op, Values: q.Values})
		}
		out.Selectors = append(out.Selectors, sel)
	}
	return out
}

// rayResources writes amounts in Ray's own units.
func rayResources(r Resources) rayv2.Resources {
	out := make(rayv2.Resources, 0, len(r))
	for _, n := range r.Names() {
		v := float64(r[n])
		switch n {
		case ResourceCPU:
			v /= 1000
		case ResourceMemory, "object_store_memory":
		default:
			v /= float64(Unit)
		}
		out = append(out, rayv2.Amount{Name: n, Value: v})
	}
	return out
}

func rayLabels(labels map[string]string) rayv2.Labels {
	out := make(rayv2.Labels, 0, len(labels))
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		out = append(out, rayv2.Label{Key: k, Value: labels[k]})
	}
	return out
}
