package planner

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tandem-autoscaler/tandem/pkg/planner/packing"
)

// leading plans one RayCluster in lead mode: demand into Ray nodes, new Ray
// nodes into pods, pods into VMs, all in one go, so that nothing is asked of
// Ray that no VM can hold.
type leading struct {
	*rayTables

	p       *planning
	c       *clusterState
	bins    []*rayBin
	empty   []*rayBin        // one new Ray node of every worker group
	found   []candidate      // scratch of candidates
	opened  map[string]int64 // new replicas by worker group
	refusal refusal          // the last reason why no Ray node could be added
	// waiting are the pods without a node that replicas ask for already, by
	// worker group. They are Ray nodes that can be had without asking for more;
	// one that no demand takes gets no VM.
	waiting map[string][]*shape
	// wish is how many replicas of a worker group are to be opened before any
	// other, as if they were asked for already.
	wish map[string]int64
	way  way
	// requests are the cluster's, each kind once, rank their indexes by order.
	requests []Request
	rank     [3][]int
	// at has the bin of each Ray node that serves, in the order of the nodes, and
	// coming that of the pods of each worker group that Ray does not know yet.
	at, coming []*rayBin
	// rays is what Ray's own scheduler would do, by the wish that somebody has
	// asked about.
	rays map[string]*raysView
	// held are the Ray nodes that demand is put on because Ray would.
	held map[*RayNode]bool
	// solved has the packing core's answers, also by the wish.
	solved map[string]packing.Result
	// nominal is the price of a replica of each worker group as its share of
	// the cheapest nodes, and dearer what was opened so far beyond the wish.
	nominal []int64
	dearer  int64
	// sure counts the waiting pods that the minimum wants, roomless those of them
	// that no node has room for, surplus those that nothing wants or finds room
	// for.
	sure, roomless, surplus map[string]int64
}

// refusal is why a Ray node could not be added.
type refusal struct {
	why      Reason
	message  string
	rejected []Alternative
	// pod of worker group had no room, if it is set; [leading.resolve] finds
	// out why.
	pod   *shape
	group string
}

// resolve finds the reason of a refusal for want of room. It is asked before
// anything is rolled back, and only once for each unmet demand.
func (l *leading) resolve() {
	s := l.refusal.pod
	if s == nil {
		return
	}
	demand := podsOf(l.c.Key(), l.refusal.group)
	if l.p.ineffective(demand, s) {
		l.refusal = refusal{why: ReasonIneffective, message: l.p.tried(demand, s)}
		return
	}
	mark := l.p.mark()
	if w := l.c.workerGroup(l.refusal.group); w.hosts() > 1 {
		l.p.place(s, demand, w.hosts()) // what has room for some hosts of a replica is not what keeps it out
	}
	why, message, rejected := l.p.whyNot(s.PodShape)
	l.p.rollback(mark)
	l.refusal = refusal{why: why, message: fmt.Sprintf("a pod of worker group %s has no room%s", l.refusal.group, message), rejected: rejected}
}

func newLeading(p *planning, c *clusterState) *leading {
	l := &leading{
		rayTables: newRayTables(c.RayCluster), p: p, c: c,
		opened: map[string]int64{}, waiting: map[string][]*shape{}, sure: map[string]int64{}, roomless: map[string]int64{}, surplus: map[string]int64{},
		rays: map[string]*raysView{}, solved: map[string]packing.Result{},
	}
	for i := range c.WorkerGroups {
		w := &c.WorkerGroups[i]
		l.empty = append(l.empty, l.newBin(w.RayResources, w.Labels, 1))
		l.nominal = append(l.nominal, mulSat(p.nominalPrice(p.shape(&w.Pod)), w.hosts()))
		for range c.uncreated(w) {
			l.waiting[w.Name] = append(l.waiting[w.Name], p.shape(&w.Pod))
		}
	}
	for _, pod := range c.pods {
		if !pod.RayHead && pod.waits() && c.workerGroup(pod.RayGroup) != nil {
			s := p.shape(&pod.Shape)
			l.waiting[pod.RayGroup] = append(l.waiting[pod.RayGroup], s)
			p.waits(podsOf(c.Key(), pod.RayGroup), s, pod.UID)
		}
	}
	return l
}

func (c *clusterState) workerGroup(name string) *WorkerGroup {
	for i := range c.WorkerGroups {
		if c.WorkerGroups[i].Name == name {
			return &c.WorkerGroups[i]
		}
	}
	return nil
}

// plan serves the demand, and records targets and what is unmet. unplaced are
// pods that have no room on any node, of whatever cluster.
func (l *leading) plan(unplaced []wantedPods) {
	l.p.tenant = l.c.Namespace
	defer func() { l.p.tenant = "" }()
	l.existing(unplaced)
	l.sortRequests()
	l.serveBest()
	clear(l.wish)
	l.reportUnwanted()
	l.targets()
}

// serveAll serves the constraints and the gangs first and then the rest. It
// returns how many of each are unmet: of request_resources, of every gang, and of
// the requests in the order of their kinds.
func (l *leading) serveAll(c choice) (left []int64) {
	l.wish, l.way, l.held = maps.Clone(c.wish), c.way, map[*RayNode]bool{}
	unmet := len(l.p.unmet)
	gangs, _ := l.c.demand()
	of := make([]int64, len(l.requests))
	for i, r := range l.requests {
		of[i] = r.Count
	}
	var done placedAsRay
	if c.asRay {
		done = l.likeRay(of)
	}
	if !done.constraints {
		l.constraints()
	}
	left = append(left, int64(len(l.p.unmet)-unmet))
	for i, g := range gangs {
		unmet = len(l.p.unmet)
		if !done.gangs[i] {
			l.gang(g)
		}
		left = append(left, int64(len(l.p.unmet)-unmet))
	}
	if c.exact {
		l.exactly(of, c.wish)
	}
	for _, i := range l.rank[c.order] {
		r := l.requests[i]
		if of[i] == 0 {
			continue
		}
		if of[i] = l.serve(r.Resources, r.Selectors, of[i]); of[i] > 0 {
			l.resolve()
			l.unmet("request", r.Resources, of[i], l.refusal.why, l.refusal)
		}
	}
	return append(left, of...)
}

// minimum takes from the waiting pods those that minReplicas wants whatever the
// demand is.
func (l *leading) minimum() []wantedPods {
	var out []wantedPods
	for i := range l.c.WorkerGroups {
		w := &l.c.WorkerGroups[i]
		bound := int64(0)
		for _, pod := range l.c.byGroup[w.Name] {
			if !pod.Terminating && !pod.waits() {
				bound++
			}
		}
		n := min(mulSat(w.Min, w.hosts())-bound, int64(len(l.waiting[w.Name])))
		for range max(0, n) {
			out = append(out, wantedPods{demand: podsOf(l.c.Key(), w.Name), rayCluster: l.c.Key(), shape: l.waiting[w.Name][0].PodShape, count: 1})
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
			l.surplus[w.Name] = n
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
	for _, pod := range c.byGroup[w.Name] {
		if !pod.Terminating {
			n--
		}
	}
	return min(max(n, 0), 100_000)
}

// existing lists the Ray nodes that serve and those that are on their way.
func (l *leading) existing(unplaced []wantedPods) {
	known := map[string]bool{}
	for _, n := range l.c.rayNodes {
		known[n.Pod] = true // a node that does not serve is no capacity, and neither is its pod
	}
	l.bins, l.at = l.serving(func(n *RayNode) Resources { return n.Available })
	l.coming = make([]*rayBin, len(l.c.WorkerGroups))
	bound := map[string]int64{} // pods that are on a node and that Ray does not know yet
	for _, pod := range l.c.pods {
		if !pod.Terminating && !pod.waits() && !known[pod.Name] {
			bound[pod.RayGroup]++
		}
	}
	for i := range l.c.WorkerGroups {
		w := &l.c.WorkerGroups[i]
		coming := l.sure[w.Name] + bound[w.Name]
		for _, u := range unplaced {
			if u.demand == podsOf(l.c.Key(), w.Name) {
				coming -= u.count
				l.roomless[w.Name] += u.count
			}
		}
		if coming > 0 {
			b := l.newBin(w.RayResources, w.Labels, coming)
			b.coming = true
			l.bins, l.coming[i] = append(l.bins, b), b
		}
	}
}

// serving makes bins of the Ray nodes that serve, equal ones together. What is
// free on each is told by room. At has the bin of each Ray node, nil for one that
// does not serve.
func (l *leading) serving(room func(*RayNode) Resources) (out, at []*rayBin) {
	at = make([]*rayBin, len(l.c.rayNodes))
	equal, leaving := map[string]*rayBin{}, l.leaving()
	for i, n := range l.c.rayNodes {
		if n.Status != RayNodeRunning && n.Status != RayNodeIdle || leaving[n.Pod] {
			continue
		}
		b := l.newBin(room(n), n.Labels, 0)
		for _, id := range n.Gangs {
			if l.gangs[id] {
				b.gangs = append(b.gangs, id)
			}
		}
		key := b.key()
		if equal[key] == nil {
			equal[key] = b
			out = append(out, b)
		}
		equal[key].count++
		at[i] = equal[key]
	}
	return out, at
}

// leaving names the pods whose Ray nodes serve nothing new, whatever the GCS
// says: they are on their way out, or a pod of the same replica is.
func (l *leading) leaving() map[string]bool {
	out, replicas := map[string]bool{}, map[string]bool{}
	replica := func(pod *Pod) string { return pod.RayGroup + "/" + pod.RayReplica }
	for _, pod := range l.c.pods {
		st := l.p.pod[pod]
		if st.work == workLeaving || st.group != nil && st.group.Suspended {
			out[pod.Name] = true
		}
		if st.work == workLeaving || st.work == workDead || st.work == workDraining {
			replicas[replica(pod)] = true
		}
	}
	for _, pod := range l.c.pods {
		if pod.RayReplica != "" && replicas[replica(pod)] {
			out[pod.Name] = true
		}
	}
	return out
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
	totals := *l
	totals.bins, _ = l.serving(func(n *RayNode) Resources { return n.Total })
	for _, b := range l.bins {
		if b.coming { // its totals are free
			known := new(*b)
			known.group = nil // what was opened before is not opened for the totals
			totals.bins = append(totals.bins, known)
		}
	}
	for _, r := range sortedRequests(l.c.Constraints) {
		if left := totals.serve(r.Resources, r.Selectors, r.Count); left > 0 {
			totals.resolve()
			l.p.rollback(mark)
			l.unmet("request_resources", r.Resources, r.Count, ReasonGangIncomplete, totals.refusal)
			return
		}
	}
	// What was opened for the totals is free for gangs and tasks.
	for i := range l.c.WorkerGroups {
		w := &l.c.WorkerGroups[i]
		var n int64
		for _, b := range totals.bins {
			if b.group == w {
				n += b.count
			}
		}
		if n > 0 {
			l.bins = append(l.bins, l.fresh(i, n))
			known := len(l.bins)
			l.p.undo = append(l.p.undo, func() { l.bins = l.bins[:known-1] })
		}
	}
}

// fresh is n empty Ray nodes of the worker group with index i.
func (l *leading) fresh(i int, n int64) *rayBin {
	b := *l.empty[i]
	b.count, b.coming, b.group = n, true, &l.c.WorkerGroups[i]
	return &b
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

func sortedRayNodes(in []RayNode) []*RayNode {
	out := make([]*RayNode, len(in))
	for i := range in {
		out[i] = &in[i]
	}
	slices.SortFunc(out, func(a, b *RayNode) int {
		if c := strings.Compare(a.Pod, b.Pod); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out
}
