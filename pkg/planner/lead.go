package planner

import (
	"cmp"
	"fmt"
	"slices"
)

// leading plans one RayCluster in lead mode: demand into Ray nodes, new Ray
// nodes into pods, pods into VMs, all in one go, so that nothing is asked of
// Ray that no VM can hold.
type leading struct {
	p       *planning
	c       *clusterState
	bins    []*rayBin
	opened  map[string]int64 // new replicas by worker group
	refusal refusal          // the last reason why no Ray node could be added
	// waiting are the pods without a node that replicas ask for already, by
	// worker group. They are Ray nodes that can be had without asking for more;
	// one that no demand takes gets no VM.
	waiting map[string][]*PodShape
	// sure counts the waiting pods that the minimum wants.
	sure map[string]int64
}

// refusal is why a Ray node could not be added.
type refusal struct {
	why      Reason
	message  string
	rejected []Alternative
}

func newLeading(p *planning, c *clusterState) *leading {
	l := &leading{p: p, c: c, opened: map[string]int64{}, waiting: map[string][]*PodShape{}, sure: map[string]int64{}}
	for i := range c.WorkerGroups {
		w := &c.WorkerGroups[i]
		for _, pod := range c.pods {
			if pod.RayGroup == w.Name && !pod.RayHead && pod.waits() {
				l.waiting[w.Name] = append(l.waiting[w.Name], &pod.Shape)
			}
		}
		for range c.uncreated(w) {
			l.waiting[w.Name] = append(l.waiting[w.Name], &w.Pod)
		}
	}
	return l
}

// plan serves the gangs first and then the rest, and records targets and unmet
// demand. unplaced are pods that have no room on any node, of whatever cluster.
func (l *leading) plan(unplaced []wantedPods) {
	l.existing(unplaced)
	l.constraints()
	for _, g := range sortedGangs(l.c.Gangs) {
		l.gang(g)
	}
	for _, r := range sortedRequests(l.c.Requests) {
		l.request(r)
	}
	l.reportUnwanted()
	l.targets()
}

// minimum takes from the waiting pods those that minReplicas wants whatever the
// demand is.
func (l *leading) minimum() []wantedPods {
	var out []wantedPods
	for i := range l.c.WorkerGroups {
		w := &l.c.WorkerGroups[i]
		bound := int64(0)
		for _, pod := range l.c.pods {
			if pod.RayGroup == w.Name && !pod.Terminating && !pod.waits() {
				bound++
			}
		}
		n := min(mulSat(w.Min, w.hosts())-bound, int64(len(l.waiting[w.Name])))
		for range max(0, n) {
			out = append(out, wantedPods{podsOf(l.c.Key(), w.Name), l.c.Key(), l.waiting[w.Name][0], 1})
			l.waiting[w.Name] = l.waiting[w.Name][1:]
			l.sure[w.Name]++
		}
	}
	return out
}

// reportUnwanted says which pods wait for nothing.
func (l *leading) reportUnwanted() {
	for i := range l.c.WorkerGroups {
		w := &l.c.WorkerGroups[i]
		if n := int64(len(l.waiting[w.Name])); n > 0 {
			l.p.decideSurplus(l.c, w.Name, n)
		}
	}
}

// uncreated counts the pods of a group that the operator has been asked for
// and has not made yet.
func (c *clusterState) uncreated(w *WorkerGroup) int64 {
	if w.Invalid != "" || w.Suspended {
		return 0
	}
	n := mulSat(w.base(), w.hosts())
	for _, pod := range c.pods {
		if pod.RayGroup == w.Name && !pod.Terminating {
			n--
		}
	}
	return min(max(n, 0), 100_000)
}

// existing lists the Ray nodes that serve and those that are on their way.
func (l *leading) existing(unplaced []wantedPods) {
	known := map[string]bool{}
	for _, n := range sortedRayNodes(l.c.RayNodes) {
		known[n.Pod] = true // a node that does not serve is no capacity, and neither is its pod
		if n.Status == RayNodeRunning || n.Status == RayNodeIdle {
			b := newRayBin(n.Pod, n.Available, n.Labels)
			b.gangs = n.Gangs
			l.bins = append(l.bins, b)
		}
	}
	for i := range l.c.WorkerGroups {
		w := &l.c.WorkerGroups[i]
		coming := l.sure[w.Name]
		for _, pod := range l.c.pods {
			if pod.RayGroup == w.Name && !pod.Terminating && !pod.waits() && !known[pod.Name] {
				coming++
			}
		}
		for _, u := range unplaced {
			if u.demand == podsOf(l.c.Key(), w.Name) {
				coming -= u.count
			}
		}
		for range max(0, coming) {
			l.bins = append(l.bins, newRayBin("", w.RayResources, w.Labels))
		}
	}
}

// base is the number of replicas that KubeRay aims for.
func (w *WorkerGroup) base() int64 { return min(max(w.Replicas, w.Min), max(w.Max, w.Min)) }

func (w *WorkerGroup) hosts() int64 { return max(1, w.NumOfHosts) }

// constraints makes sure that the cluster's totals hold the bundles of
// request_resources, all of them or none.
func (l *leading) constraints() {
	if len(l.c.Constraints) == 0 {
		return
	}
	mark := l.p.mark()
	before := len(l.bins)
	totals := &leading{p: l.p, c: l.c, opened: l.opened, waiting: l.waiting}
	for _, n := range sortedRayNodes(l.c.RayNodes) {
		if n.Status == RayNodeRunning || n.Status == RayNodeIdle {
			totals.bins = append(totals.bins, newRayBin(n.Pod, n.Total, n.Labels))
		}
	}
	for _, b := range l.bins {
		if b.name == "" { // coming: its totals are free
			totals.bins = append(totals.bins, b.clone())
		}
	}
	known := len(totals.bins)
	for _, r := range sortedRequests(l.c.Constraints) {
		if left := totals.serve(r.Resources, r.Selectors, r.Count); left > 0 {
			l.p.rollback(mark)
			l.bins = l.bins[:before]
			l.unmet("request_resources", r.Resources, r.Count, ReasonGangIncomplete, totals.refusal)
			return
		}
	}
	// What was opened for the totals is free for gangs and tasks.
	l.bins = append(l.bins, totals.fresh(known)...)
}

// fresh lists the bins opened since, empty again.
func (l *leading) fresh(since int) []*rayBin {
	out := make([]*rayBin, 0, len(l.bins)-since)
	for _, b := range l.bins[since:] {
		for i := range l.c.WorkerGroups {
			if w := &l.c.WorkerGroups[i]; w.Name == b.name {
				out = append(out, newRayBin("", w.RayResources, w.Labels))
			}
		}
	}
	return out
}

func (b *rayBin) clone() *rayBin {
	return &rayBin{name: b.name, free: b.free.Clone(), labels: b.labels, gangs: b.gangs, devices: slices.Clone(b.devices)}
}

func (l *leading) request(r Request) {
	if left := l.serve(r.Resources, r.Selectors, r.Count); left > 0 {
		l.unmet("request", r.Resources, left, l.refusal.why, l.refusal)
	}
}

func (l *leading) unmet(what string, r Resources, n int64, why Reason, ref refusal) {
	message := fmt.Sprintf("%d with %s each", n, r.text())
	if ref.message != "" {
		message += ": " + ref.message
	}
	l.p.unmet = append(l.p.unmet, Decision{
		Kind: SubjectDemand, Subject: l.c.Key() + " " + what + " " + r.Key(), RayCluster: l.c.Key(), Outcome: OutcomeUnmet,
		Reason: why, Message: message, Demand: r.Clone(), Count: n, Rejected: ref.rejected,
	})
}

// serve puts n requests on Ray nodes, new ones where there is no room, in the
// order of the selectors. It returns how many it could not.
func (l *leading) serve(r Resources, selectors []Selector, n int64) int64 {
	if len(selectors) == 0 {
		selectors = []Selector{nil}
	}
	l.refusal = refusal{}
	for _, sel := range selectors {
		for _, b := range l.bins {
			if n == 0 {
				return 0
			}
			if sel.matches(b.labels) {
				n -= l.take(b, r, n)
			}
		}
		for n > 0 {
			known := len(l.bins)
			if l.open(r, sel, n, nil) == nil {
				break
			}
			for _, nb := range l.bins[known:] {
				n -= l.take(nb, r, n)
			}
		}
	}
	return n
}

func (l *leading) take(b *rayBin, r Resources, n int64) int64 {
	k := b.times(r, n)
	if k > 0 {
		l.p.undo = append(l.p.undo, b.take(r, k))
	}
	return k
}

// open adds one replica of the worker group that serves the requests at the
// lowest price. fits, if given, narrows the groups further. It returns nil and
// sets the refusal when none can be added.
func (l *leading) open(r Resources, sel Selector, n int64, fits func(*rayBin) bool) *WorkerGroup {
	type candidate struct {
		w    *WorkerGroup
		rank [5]int64
	}
	var found []candidate
	l.refusal = refusal{why: ReasonNoWorkerGroup, message: "no worker group is large enough"}
	for i := range l.c.WorkerGroups {
		w := &l.c.WorkerGroups[i]
		empty := newRayBin("", w.RayResources, w.Labels)
		k := empty.times(r, n)
		if w.Invalid != "" || w.Suspended || k == 0 || fits != nil && !fits(empty) {
			continue
		}
		if !sel.matches(w.Labels) {
			l.refuse(ReasonLabels, "worker group "+w.Name+" does not carry the labels")
			continue
		}
		waits := len(l.waiting[w.Name]) > 0
		if !waits && w.base()+l.opened[w.Name] >= w.Max {
			l.refuse(ReasonWorkersAtMax, fmt.Sprintf("worker group %s is at maxReplicas %d", w.Name, w.Max))
			continue
		}
		served := min(n, mulSat(k, w.hosts()))
		waste := gpuWaste(&PodShape{Requests: r}, w.RayResources)
		asked := int64(1) // pods that wait already come before pods to ask for
		if waits {
			asked = 0
		}
		price := mulSat(l.p.podPrice(&w.Pod), w.hosts()) / max(1, served)
		found = append(found, candidate{w, [5]int64{waste, asked, price, -w.Priority, int64(i)}})
	}
	slices.SortFunc(found, func(a, b candidate) int { return slices.Compare(a.rank[:], b.rank[:]) })
	var first refusal // of the group that would have been best
	for i, c := range found {
		if l.openReplica(c.w) {
			return c.w
		}
		if i == 0 {
			first = l.refusal
		}
	}
	if len(found) > 0 {
		l.refusal = first
	}
	return nil
}

func (l *leading) refuse(why Reason, message string) {
	if l.refusal.why == ReasonNoWorkerGroup || why == ReasonWorkersAtMax {
		l.refusal = refusal{why: why, message: message}
	}
}

// openReplica adds a replica if all its pods find room on nodes: of the pods
// that wait already, else one more.
func (l *leading) openReplica(w *WorkerGroup) bool {
	mark := l.p.mark()
	shapes := l.waiting[w.Name]
	asked := len(shapes) > 0
	if asked {
		shapes = shapes[:min(w.hosts(), int64(len(shapes)))]
	} else {
		shapes = slices.Repeat([]*PodShape{&w.Pod}, int(w.hosts()))
	}
	for _, s := range shapes {
		if l.p.place(s, podsOf(l.c.Key(), w.Name), 1) > 0 {
			l.p.rollback(mark)
			why, message, rejected := l.p.whyNot(s)
			l.refusal = refusal{why, fmt.Sprintf("a pod of worker group %s has no room%s", w.Name, message), rejected}
			return false
		}
	}
	waiting, n := l.waiting[w.Name], len(l.bins)
	if asked {
		l.waiting[w.Name] = waiting[len(shapes):]
	} else {
		l.opened[w.Name]++
	}
	for range shapes {
		l.bins = append(l.bins, newRayBin(w.Name, w.RayResources, w.Labels))
	}
	l.p.undo = append(l.p.undo, func() {
		if !asked {
			l.opened[w.Name]--
		}
		l.waiting[w.Name] = waiting
		l.bins = l.bins[:n]
	})
	return true
}

// podPrice estimates what one more pod of the shape costs: nothing where it
// fits on a node that is there or already bought, else its share of the
// cheapest new node.
func (p *planning) podPrice(s *PodShape) int64 {
	for _, bins := range [][]*bin{p.bins, p.fresh} {
		for _, b := range bins {
			if b.fits(s, 1) > 0 {
				return 1
			}
		}
	}
	best := int64(unbounded)
	for _, g := range p.groups {
		if why, _ := p.refuses(g, s); why == "" {
			best = min(best, shareOf(g.price, s.Requests, g.Capacity))
		}
	}
	return best
}

func (l *leading) targets() {
	for i := range l.c.WorkerGroups {
		w := &l.c.WorkerGroups[i]
		t := WorkerTarget{RayCluster: l.c.Key(), Group: w.Name, Replicas: w.Replicas, Target: max(w.Replicas, w.base())}
		if n := l.opened[w.Name]; n > 0 {
			t.Target = w.base() + n
			l.p.steps = append(l.p.steps, Step{
				Kind: StepGrowWorkers, RayCluster: l.c.Key(), WorkerGroup: w.Name, From: w.Replicas, To: t.Target, Reason: ReasonDemand,
			})
		}
		l.p.workers = append(l.p.workers, t)
	}
}

func sortedRayNodes(in []RayNode) []RayNode {
	out := slices.Clone(in)
	slices.SortFunc(out, func(a, b RayNode) int { return cmp.Or(cmp.Compare(a.Pod, b.Pod), cmp.Compare(a.ID, b.ID)) })
	return out
}

// sortedRequests puts the requests that are hardest to place first, and makes
// one of equal ones.
func sortedRequests(in []Request) []Request {
	out := slices.Clone(in)
	selectors := func(r Request) string { return fmt.Sprintf("%v", r.Selectors) }
	slices.SortFunc(out, func(a, b Request) int {
		return cmp.Or(cmp.Compare(b.Resources[ResourceGPU], a.Resources[ResourceGPU]), cmp.Compare(len(b.Resources.Names()), len(a.Resources.Names())),
			cmp.Compare(b.Resources[ResourceMemory], a.Resources[ResourceMemory]), cmp.Compare(b.Resources[ResourceCPU], a.Resources[ResourceCPU]),
			cmp.Compare(a.Resources.Key(), b.Resources.Key()), cmp.Compare(selectors(a), selectors(b)))
	})
	merged := out[:0]
	for _, r := range out {
		if n := len(merged); n > 0 && merged[n-1].Resources.Key() == r.Resources.Key() && selectors(merged[n-1]) == selectors(r) {
			merged[n-1].Count = addSat(merged[n-1].Count, r.Count)
			continue
		}
		merged = append(merged, r)
	}
	return merged
}
