package planner_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// TestRulesOfOnePlan holds one plan of a wild world to the rules that one plan
// can show: I1, I2, I3, I4, I6, I9, I11 and I12. Check says so in the planner's
// own terms; here the same is read off the snapshot once more, in the simplest
// words, so that a mistake in what both the planner and Check build on shows.
func TestRulesOfOnePlan(t *testing.T) {
	rapid.Check(t, rulesOfOnePlan)
}

func FuzzRulesOfOnePlan(f *testing.F) {
	f.Fuzz(rapid.MakeFuzz(rulesOfOnePlan))
}

func rulesOfOnePlan(t *rapid.T) {
	s, m := drawWide(t, false)
	canaries(&s)
	plan, next := planner.Make(s, m)
	if err := planner.Check(s, plan); err != nil {
		t.Fatalf("%v\n%s", err, tell(plan))
	}
	deterministic(t, s, m, plan, next)
	l := look(t, s, plan)
	for _, st := range plan.Steps {
		l.step(st)
	}
	l.limits()
	l.placements()
	l.oneReasonEach()
	if most := 8 * (len(s.Nodes) + len(s.Machines) + len(s.NodeGroups) + len(s.Pods) + 1); len(plan.Steps) > most {
		t.Fatalf("I11: %d steps", len(plan.Steps))
	}
}

// canary is a resource that nobody offers.
const canary = "example.com/canary"

// canaries adds to every cluster a request that cannot be met.
func canaries(s *planner.Snapshot) {
	for i := range s.RayClusters {
		c := &s.RayClusters[i]
		c.Requests = append(c.Requests, planner.Request{Resources: planner.Resources{canary: planner.Unit}, Count: int64(3 + i)})
	}
}

// looking is a snapshot with what is easily found in it, beside a plan.
type looking struct {
	t       *rapid.T
	s       planner.Snapshot
	plan    planner.Plan
	groups  map[string]*planner.NodeGroup
	nodes   map[string]*planner.Node
	machine map[string]*planner.Machine
	pods    map[string]*planner.Pod // by UID
	on      map[string][]*planner.Pod
	cluster map[string]*planner.RayCluster
	unknown map[planner.SourceKind]bool
}

func look(t *rapid.T, s planner.Snapshot, plan planner.Plan) *looking {
	l := &looking{
		t: t, s: s, plan: plan, groups: map[string]*planner.NodeGroup{}, nodes: map[string]*planner.Node{}, machine: map[string]*planner.Machine{},
		pods: map[string]*planner.Pod{}, on: map[string][]*planner.Pod{}, cluster: map[string]*planner.RayCluster{}, unknown: map[planner.SourceKind]bool{},
	}
	for i := range s.NodeGroups {
		l.groups[s.NodeGroups[i].Key()] = &s.NodeGroups[i]
	}
	for i := range s.Nodes {
		l.nodes[s.Nodes[i].Name] = &s.Nodes[i]
	}
	for i := range s.Machines {
		l.machine[s.Machines[i].Key()] = &s.Machines[i]
	}
	for i := range s.Pods {
		p := &s.Pods[i]
		l.pods[p.UID] = p
		l.on[p.Node] = append(l.on[p.Node], p)
	}
	for i := range s.RayClusters {
		l.cluster[s.RayClusters[i].Key()] = &s.RayClusters[i]
	}
	for _, src := range s.Sources {
		l.unknown[src.Kind] = l.unknown[src.Kind] || !src.Known
	}
	return l
}

func (l *looking) broken(format string, a ...any) {
	l.t.Helper()
	l.t.Fatalf(format+"\n%s", append(a, tell(l.plan))...)
}

// rayNode is what the GCS says of a pod, or nil.
func (l *looking) rayNode(p *planner.Pod) *planner.RayNode {
	if c := l.cluster[p.RayCluster]; c != nil {
		for i := range c.RayNodes {
			if c.RayNodes[i].PodUID == p.UID {
				return &c.RayNodes[i]
			}
		}
	}
	return nil
}

// leads tells whether the pod is of a cluster that the planner leads and whose
// demand it knows.
func (l *looking) leads(cluster string) bool {
	c := l.cluster[cluster]
	return c != nil && c.Mode == planner.ModeLead && c.Invalid == "" && !c.Suspended && c.DemandKnown
}

func (l *looking) workerGroup(cluster, name string) *planner.WorkerGroup {
	if c := l.cluster[cluster]; c != nil {
		for i := range c.WorkerGroups {
			if c.WorkerGroups[i].Name == name {
				return &c.WorkerGroups[i]
			}
		}
	}
	return nil
}

// ours tells whether nothing forbids writing to the group's replicas.
func ours(g *planner.NodeGroup) bool {
	return g != nil && g.Managed && g.Invalid == "" && !g.Paused && g.Contested == ""
}

// step is rules I1, I2 and I9 for one step.
func (l *looking) step(st planner.Step) {
	foreign := false // it concerns a Machine that somebody else deletes
	if n := l.nodes[st.Node]; n != nil {
		if m := l.machine[n.Machine]; m != nil {
			foreign = m.Deleting
		}
	}
	// GrowWorkers needs no more than fresh demand: pods without a node cost nothing.
	needsAll := slices.Contains([]planner.StepKind{planner.StepGrow, planner.StepDrain, planner.StepShrinkWorkers, planner.StepReplaceWorker, planner.StepEvict, planner.StepRemove}, st.Kind)
	if needsAll || st.Kind == planner.StepCordon && !foreign {
		if l.unknown[planner.SourceManagement] || l.unknown[planner.SourceWorkload] || l.unknown[planner.SourceRay] {
			l.broken("I9: %s while a source is unknown", tellStep(st))
		}
	}
	if c := l.cluster[st.RayCluster]; st.RayCluster != "" && (c == nil || !c.DemandKnown || c.Suspended || c.Invalid != "") {
		l.broken("I9: %s, of which nothing is known", tellStep(st))
	}
	switch st.Kind {
	case planner.StepGrow:
		if g := l.groups[st.Group]; !ours(g) || st.From != g.Replicas || st.To <= st.From || st.To > g.Max {
			l.broken("I2: %s", tellStep(st))
		}
	case planner.StepGrowWorkers:
		if w := l.workerGroup(st.RayCluster, st.WorkerGroup); w == nil || !l.leads(st.RayCluster) || st.To <= w.Replicas || st.To > max(w.Max, w.Min) {
			l.broken("I2: %s", tellStep(st))
		}
	case planner.StepRemove:
		l.remove(st)
	case planner.StepCordon:
		if !foreign {
			for _, p := range l.on[st.Node] {
				l.mayGo(st, p)
			}
		}
	case planner.StepDrain:
		l.drain(st, foreign)
	case planner.StepShrinkWorkers, planner.StepReplaceWorker:
		l.endWorkers(st)
	case planner.StepEvict:
		for _, r := range st.Pods {
			if p := l.pods[r.UID]; p.Blocks != "" || p.RayHead || p.RayCluster != "" && l.cluster[p.RayCluster].Mode != planner.ModeOff || l.nodes[p.Node].Cordon == nil {
				l.broken("I1: evicting %s", p.Name)
			}
		}
	case planner.StepReleaseHook:
		l.release(st)
	case planner.StepUncordon, planner.StepUnmark, planner.StepSoftTaint, planner.StepSoftUntaint, planner.StepClearWorkers, planner.StepHook, planner.StepRemember:
	}
}

// mayGo says which pods may be on a node that is cordoned: no head, none that
// must not be disturbed, no Ray worker but idle or ended ones of led clusters.
func (l *looking) mayGo(st planner.Step, p *planner.Pod) {
	c := l.cluster[p.RayCluster]
	switch {
	case p.DaemonSet, p.Terminating && !p.RayHead:
		return
	case p.Blocks != "" || p.RayHead:
		l.broken("I1: %s with pod %s on it", tellStep(st), p.Name)
	case p.RayCluster == "" || c != nil && c.Mode == planner.ModeOff:
		return
	}
	w, r := l.workerGroup(p.RayCluster, p.RayGroup), l.rayNode(p)
	if w != nil && l.leads(p.RayCluster) && slices.Contains(w.WorkersToDelete, p.Name) {
		return
	}
	if !l.leads(p.RayCluster) || r == nil || !l.idleLongEnough(p, r) && r.Status != planner.RayNodeDead && r.Status != planner.RayNodeDraining {
		l.broken("I1: %s with Ray pod %s on it: %+v", tellStep(st), p.Name, r)
	}
}

func (l *looking) idleLongEnough(p *planner.Pod, r *planner.RayNode) bool {
	limit := l.cluster[p.RayCluster].IdleTimeout
	if own := l.workerGroup(p.RayCluster, p.RayGroup).IdleTimeout; own != nil {
		limit = *own
	}
	return r.Status == planner.RayNodeIdle && r.IdleFor >= limit
}

func (l *looking) drain(st planner.Step, foreign bool) {
	p := l.pods[st.Pods[0].UID]
	r := l.rayNode(p)
	if r == nil || r.ID != st.RayNode || p.RayHead || l.nodes[p.Node].Cordon == nil {
		l.broken("I1: %s", tellStep(st))
	}
	if st.Drain == planner.DrainPreemption && foreign {
		return
	}
	if st.Drain != planner.DrainIdle || !l.leads(p.RayCluster) || !l.idleLongEnough(p, r) {
		l.broken("I1: %s, which is %s for %s", tellStep(st), r.Status, time.Duration(r.IdleFor))
	}
}

// endWorkers may hit pods whose Ray nodes have ended; to be taken back also
// those without a node, those that leave, and those that are named already.
func (l *looking) endWorkers(st planner.Step) {
	w := l.workerGroup(st.RayCluster, st.WorkerGroup)
	if w == nil || !l.leads(st.RayCluster) || st.From != w.Replicas || st.To < min(w.Min, w.Max) && st.Kind == planner.StepShrinkWorkers {
		l.broken("I2: %s", tellStep(st))
	}
	for _, ref := range st.Pods {
		p := l.pods[ref.UID]
		r := l.rayNode(p)
		ended := r != nil && r.Status == planner.RayNodeDead
		if st.Kind == planner.StepShrinkWorkers {
			ended = ended || p.Node == "" || p.Terminating || slices.Contains(w.WorkersToDelete, p.Name)
		}
		if !ended || p.RayHead {
			l.broken("I1: %s of pod %s: %+v", tellStep(st), p.Name, r)
		}
	}
}

// remove may hit cordoned nodes without pods, and Machines without a node.
func (l *looking) remove(st planner.Step) {
	g := l.groups[st.Group]
	if !ours(g) || g.RollingOut || l.s.Policy.RemovalDisabled || st.From != g.Replicas || st.To != st.From-int64(len(st.Machines)) || st.To < g.Min {
		l.broken("I2: %s", tellStep(st))
	}
	for _, other := range l.plan.Steps {
		if other.Kind == planner.StepGrow && other.Group == st.Group {
			l.broken("I6: %s and %s", tellStep(st), tellStep(other))
		}
	}
	for _, m := range l.machine {
		if marked := m.Mark != nil || m.ForeignMark; m.Group == st.Group && !m.Deleting && marked && m.Node != "" && slices.ContainsFunc(l.on[m.Node], func(p *planner.Pod) bool { return !p.DaemonSet }) {
			l.broken("I1: %s, while %s carries pods and a delete mark", tellStep(st), m.Name)
		}
	}
	for _, key := range st.Machines {
		m := l.machine[key]
		if m == nil || m.Group != st.Group || m.Deleting {
			l.broken("I1: removing %s", key)
		}
		if m.Node == "" {
			continue
		}
		if n := l.nodes[m.Node]; n == nil || n.Cordon == nil || n.Keep != "" {
			l.broken("I1: removing %s, whose node is %+v", key, n)
		}
		for _, p := range l.on[m.Node] {
			if !p.DaemonSet {
				l.broken("I1: removing %s with pod %s on it", key, p.Name)
			}
		}
	}
}

// release lets go of a deleted Machine without Ray pods, or out of reach, or on
// a person's word.
func (l *looking) release(st planner.Step) {
	for _, key := range st.Machines {
		m := l.machine[key]
		if !m.Deleting {
			l.broken("I1: releasing %s, which nobody deletes", key)
		}
		n := l.nodes[m.Node]
		if m.Release || n == nil || !n.Ready && l.s.At.Sub(n.UnreadySince) > time.Duration(l.s.Policy.UnreachableRelease) {
			continue
		}
		for _, p := range l.on[m.Node] {
			if c := l.cluster[p.RayCluster]; p.RayCluster != "" && (c == nil || c.Mode != planner.ModeOff) {
				l.broken("I1: releasing %s with Ray pod %s on it", key, p.Name)
			}
		}
	}
}

// limits is rule I2 for the plan as a whole.
func (l *looking) limits() {
	grown, removed, machines := int64(0), int64(0), int64(0)
	class := map[string]int64{}
	for _, st := range l.plan.Steps {
		switch st.Kind { //nolint:exhaustive // Only these two change the number of Machines.
		case planner.StepGrow:
			grown += st.To - st.From
			class[l.groups[st.Group].Class] += st.To - st.From
			l.within("group", st.To-st.From, l.s.Policy.MaxGrowPerGroup)
		case planner.StepRemove:
			removed += int64(len(st.Machines))
		}
	}
	for _, g := range l.groups {
		if g.Managed {
			machines += g.Replicas
		}
	}
	if grown > 0 {
		l.within("all groups", machines+grown, l.s.Policy.MaxMachines)
	}
	l.within("growth in one round", grown, l.s.Policy.MaxGrowPerTick)
	l.within("growth in one hour", grown, l.s.Policy.MaxGrowPerHour)
	l.within("removal in one round", removed, l.s.Policy.MaxRemovePerTick)
	l.within("removal in one hour", removed, l.s.Policy.MaxRemovePerHour)
	for _, c := range l.s.Classes {
		if c.Headroom != nil && class[c.Name] > *c.Headroom || c.Invalid != "" && class[c.Name] > 0 {
			l.broken("I2: %d of class %s are bought", class[c.Name], c.Name)
		}
	}
	if l.s.Policy.Paused && len(l.plan.Steps) > 0 {
		l.broken("I2: steps while paused")
	}
	for _, tenant := range []string{"t0", "t1"} {
		l.tenant(tenant)
	}
}

func (l *looking) within(what string, n, limit int64) {
	if limit > 0 && n > limit {
		l.broken("I2: %s: %d, where %d are allowed", what, n, limit)
	}
}

// tenant counts the nodes that are bought for pods of one namespace alone, and
// the managed ones that carry such pods.
func (l *looking) tenant(tenant string) {
	limit := planner.TenantLimit{}
	for _, t := range l.s.Policy.TenantLimits {
		if t.Namespace == "" && limit.Namespace == "" || t.Namespace == tenant {
			limit = t
		}
	}
	bought, gpus, has := int64(0), int64(0), int64(0)
	for _, n := range l.plan.Nodes {
		alone := n.New && len(n.Pods) > 0
		for _, p := range n.Pods {
			alone = alone && strings.HasPrefix(p.Demand, "pods of "+tenant+"/")
		}
		if alone {
			bought += n.Count
			gpus += n.Count * l.groups[n.Group].Capacity[planner.ResourceGPU]
		}
	}
	for _, n := range l.nodes {
		if m := l.machine[n.Machine]; m != nil && l.groups[m.Group].Managed && slices.ContainsFunc(l.on[n.Name], func(p *planner.Pod) bool {
			c := l.cluster[p.RayCluster]
			return c != nil && c.Namespace == tenant && !p.DaemonSet
		}) {
			has++
		}
	}
	if bought > 0 {
		l.within("Machines of "+tenant, bought+has, limit.MaxMachines)
		l.within("GPUs of "+tenant, gpus, limit.MaxGPUs)
	}
}
