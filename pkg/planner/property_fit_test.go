package planner_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// TestRulesOfFit is rules I3, I8 and I12 for what runs inside of pods, in wild
// worlds. A plan does not tell on which Ray node a bundle goes, so an exact
// search looks for a place for everything that the plan does not call unmet: on
// the Ray nodes that serve and that it does not take away, and on pods that it
// has found a node for. Gangs go as a whole or not at all, as their strategy and
// their selectors say, and a part of a GPU is on one device.
func TestRulesOfFit(t *testing.T) {
	rapid.Check(t, rulesOfFit)
}

func rulesOfFit(t *rapid.T) {
	s, m := drawWide(t, false)
	canaries(&s)
	plan, _ := planner.Make(s, m)
	l := look(t, s, plan)
	for i := range s.RayClusters {
		if c := &s.RayClusters[i]; l.leads(c.Key()) {
			l.fits(c)
		}
	}
	l.everyPodIsTold()
}

// fits looks for places for the demand of a cluster, and for its totals.
func (l *looking) fits(c *planner.RayCluster) {
	unmet := map[string]int64{} // by what the decision is about
	for _, d := range l.plan.Decisions {
		if d.Outcome == planner.OutcomeUnmet && d.RayCluster == c.Key() {
			unmet[strings.TrimPrefix(d.Subject, c.Key()+" ")] += d.Count
		}
	}
	wants := requestsWanted(c.Requests, "request ", unmet)
	for _, g := range c.Gangs {
		if unmet["placement group "+g.ID] == 0 && len(g.Options) > 0 && len(g.Options[0].Bundles) > 0 {
			wants = append([]wanted{{gang: &g}}, wants...)
		}
	}
	if l.search(c, wants, func(n *planner.RayNode) planner.Resources { return n.Available }) == impossible {
		l.broken("I3: what is not unmet of %s has no room on %+v: %+v, %+v", c.Key(), l.places(c, func(n *planner.RayNode) planner.Resources { return n.Available }), c.Requests, c.Gangs)
	}
	for key := range unmet {
		if strings.HasPrefix(key, "request_resources ") {
			return // the totals are had in full or not at all
		}
	}
	totals := requestsWanted(c.Constraints, "request_resources ", unmet)
	if l.search(c, totals, func(n *planner.RayNode) planner.Resources { return n.Total }) == impossible {
		l.broken("I3: the totals of %s have no room on its Ray nodes", c.Key())
	}
}

// wanted is a request, once, or a gang.
type wanted struct {
	request *planner.Request
	gang    *planner.Gang
}

// requestsWanted lists requests one by one, the hardest first, without those
// that are unmet. Where requests differ in their selectors only, a plan does not
// tell which of them are: these are left out.
func requestsWanted(in []planner.Request, what string, unmet map[string]int64) (out []wanted) {
	kinds := map[string]int{}
	for _, r := range in {
		kinds[r.Resources.Key()]++
	}
	for i := range in {
		r := &in[i]
		n := unmet[what+r.Resources.Key()]
		if kinds[r.Resources.Key()] > 1 && n > 0 {
			continue
		}
		for range r.Count - n {
			out = append(out, wanted{request: r})
		}
	}
	slices.SortStableFunc(out, func(a, b wanted) int {
		x, y := a.request.Resources, b.request.Resources
		return cmp.Or(cmp.Compare(y[planner.ResourceGPU], x[planner.ResourceGPU]), cmp.Compare(len(y), len(x)),
			cmp.Compare(y[planner.ResourceCPU], x[planner.ResourceCPU]), cmp.Compare(x.Key(), y.Key()))
	})
	return out
}

// place is a Ray node of the search, with GPUs as devices.
type place struct {
	free    planner.Resources
	devices []int64
	labels  map[string]string
	gangs   []string
}

func newPlace(free planner.Resources, labels map[string]string, gangs []string) place {
	p := place{free: free.Clone(), labels: labels, gangs: gangs}
	for gpu := free[planner.ResourceGPU]; gpu > 0; gpu -= planner.Unit {
		p.devices = append(p.devices, min(gpu, planner.Unit))
	}
	delete(p.free, planner.ResourceGPU)
	return p
}

// key tells places apart that are not equal.
func (p *place) key() string { return fmt.Sprint(p.free, p.devices, p.labels, p.gangs) }

// places lists the Ray nodes of a cluster that serve after the plan and those
// that come, each as large as its worker group says.
func (l *looking) places(c *planner.RayCluster, room func(*planner.RayNode) planner.Resources) (out []place) {
	gone, known, fresh := map[string]bool{}, map[string]bool{}, map[string]int64{}
	for _, st := range l.plan.Steps {
		ends := st.Kind == planner.StepCordon || st.Kind == planner.StepDrain && st.Drain == planner.DrainIdle || st.Kind == planner.StepShrinkWorkers
		for _, p := range st.Pods {
			gone[p.UID] = gone[p.UID] || ends && !l.foreign(l.pods[p.UID])
		}
	}
	for i := range c.RayNodes {
		n := &c.RayNodes[i]
		known[n.Pod] = true
		if (n.Status == planner.RayNodeIdle || n.Status == planner.RayNodeRunning) && !gone[n.PodUID] && !l.leaves(c, n) {
			out = append(out, newPlace(room(n), n.Labels, n.Gangs))
		}
	}
	for _, n := range l.plan.Nodes {
		for _, p := range n.Pods {
			fresh[p.Demand] += n.Count * p.Count
		}
	}
	for i := range c.WorkerGroups {
		w := &c.WorkerGroups[i]
		k := fresh["pods of "+c.Key()+" "+w.Name]
		for _, p := range l.pods {
			if p.RayCluster == c.Key() && p.RayGroup == w.Name && p.Node != "" && !p.Terminating && !known[p.Name] {
				k++ // it has a node, and Ray does not know it yet
			}
		}
		for range k {
			out = append(out, newPlace(w.RayResources, w.Labels, nil))
		}
	}
	return out
}

// leaves tells whether the pod of a Ray node is on its way out, or another of
// its replica.
func (l *looking) leaves(c *planner.RayCluster, n *planner.RayNode) bool {
	p := l.pods[n.PodUID]
	if p == nil {
		return false
	}
	w := l.workerGroup(c.Key(), p.RayGroup)
	for _, o := range l.pods {
		same := o == p || p.RayReplica != "" && o.RayReplica == p.RayReplica && o.RayGroup == p.RayGroup && o.RayCluster == p.RayCluster
		r := l.rayNode(o)
		ends := o != p && r != nil && (r.Status == planner.RayNodeDead || r.Status == planner.RayNodeDraining)
		if same && (ends || o.Terminating || w != nil && (w.Suspended || slices.Contains(w.WorkersToDelete, o.Name))) {
			return true
		}
	}
	return false
}

// foreign tells whether somebody else deletes the Machine that the pod is on.
func (l *looking) foreign(p *planner.Pod) bool {
	if p == nil || l.nodes[p.Node] == nil {
		return false
	}
	m := l.machine[l.nodes[p.Node].Machine]
	return m != nil && m.Deleting
}

// found is what came of a search.
type found int

const (
	possible found = iota
	impossible
	unknown // it was given up
)

// search tells whether all that is wanted has room at once.
func (l *looking) search(c *planner.RayCluster, wants []wanted, room func(*planner.RayNode) planner.Resources) found {
	if len(wants) == 0 {
		return possible
	}
	x := &searching{places: l.places(c, room), wants: wants, left: 20_000, dead: map[string]bool{}}
	switch {
	case x.from(0):
		return possible
	case x.left <= 0:
		return unknown
	}
	return impossible
}

// searching goes through all ways to place what is wanted, one after the other.
type searching struct {
	places []place
	wants  []wanted
	left   int             // steps until it gives up
	dead   map[string]bool // states from which there is no way on
}

// from places what is wanted from the i-th on.
func (x *searching) from(i int) bool {
	if i == len(x.wants) {
		return true
	}
	key := strconv.Itoa(i) + x.state()
	if x.left--; x.left <= 0 || x.dead[key] {
		return false
	}
	w := x.wants[i]
	ok := false
	if w.request != nil {
		ok = x.request(w.request, func() bool { return x.from(i + 1) })
	} else {
		for _, o := range w.gang.Options {
			ok = ok || x.bundles(w.gang, o.Bundles, nil, func() bool { return x.from(i + 1) })
		}
	}
	if !ok {
		x.dead[key] = true
	}
	return ok
}

func (x *searching) state() string {
	keys := make([]string, 0, len(x.places))
	for i := range x.places {
		keys = append(keys, x.places[i].key())
	}
	slices.Sort(keys)
	return strings.Join(keys, "|")
}

func (x *searching) request(r *planner.Request, next func() bool) bool {
	if len(r.Selectors) == 0 {
		return x.anywhere(r.Resources, nil, nil, func(int) bool { return next() })
	}
	return slices.ContainsFunc(r.Selectors, func(s planner.Selector) bool {
		return x.anywhere(r.Resources, s, nil, func(int) bool { return next() })
	})
}

// bundles places the bundles of a gang; on are the places of those before.
func (x *searching) bundles(g *planner.Gang, bundles []planner.Bundle, on []int, next func() bool) bool {
	if len(bundles) == 0 {
		return next()
	}
	may := func(i int) bool {
		switch g.Strategy {
		case planner.StrictPack:
			return len(on) == 0 || i == on[0]
		case planner.StrictSpread:
			return !slices.Contains(on, i) && !slices.Contains(x.places[i].gangs, g.ID)
		case planner.Pack, planner.Spread:
		}
		return true
	}
	return x.anywhere(bundles[0].Resources, bundles[0].Selector, may, func(i int) bool {
		return x.bundles(g, bundles[1:], append(slices.Clone(on), i), next)
	})
}

// anywhere tries every place, but of equal ones only the first.
func (x *searching) anywhere(r planner.Resources, sel planner.Selector, may func(int) bool, next func(int) bool) bool {
	tried := map[string]bool{}
	for i := range x.places {
		p := &x.places[i]
		if may != nil && !may(i) || !selected(sel, p.labels) {
			continue
		}
		// Where places of a gang matter, equal ones are not the same.
		if key := p.key(); may != nil || !tried[key] {
			tried[key] = true
			if x.on(p, r, func() bool { return next(i) }) {
				return true
			}
		}
	}
	return false
}

// on puts an amount on a place, its GPUs on every device that differs.
func (x *searching) on(p *place, r planner.Resources, next func() bool) bool {
	if x.left--; x.left <= 0 {
		return false
	}
	rest := r.Clone()
	delete(rest, planner.ResourceGPU)
	if !rest.FitsIn(p.free) {
		return false
	}
	free, devices := p.free, p.devices
	defer func() { p.free, p.devices = free, devices }()
	p.free = free.Clone()
	p.free.Sub(rest)
	gpu := r[planner.ResourceGPU]
	if gpu >= planner.Unit || gpu <= 0 {
		p.devices = slices.Clone(devices)
		for ; gpu > 0; gpu -= planner.Unit {
			i := slices.Index(p.devices, planner.Unit)
			if i < 0 {
				return false
			}
			p.devices[i] = 0
		}
		return next()
	}
	tried := map[int64]bool{}
	for i, d := range devices {
		if d < gpu || tried[d] {
			continue
		}
		tried[d] = true
		p.devices = slices.Clone(devices)
		p.devices[i] -= gpu
		if next() {
			return true
		}
	}
	return false
}

// selected says in Ray's words whether labels satisfy a selector.
func selected(s planner.Selector, labels map[string]string) bool {
	for _, q := range s {
		v, has := labels[q.Key]
		if in := has && slices.Contains(q.Values, v); in == q.NotIn {
			return false
		}
	}
	return true
}

// everyPodIsTold is rule I12 for pods that wait and are not of a cluster that is
// planned: each of them has a place in the plan or is unmet.
func (l *looking) everyPodIsTold() {
	waits, told := map[string]int64{}, map[string]int64{}
	name := func(p *planner.Pod) string {
		if p.RayCluster != "" {
			return "pods of " + p.RayCluster + " " + p.RayGroup
		}
		return p.Namespace + " " + p.Shape.Requests.Key()
	}
	of := map[string]string{} // what a demand is about
	for _, p := range l.pods {
		c := l.cluster[p.RayCluster]
		planned := c != nil && c.Mode != planner.ModeOff && c.Invalid == "" && !c.Suspended && c.DemandKnown
		if p.Node == "" && !p.Terminating && !planned {
			waits[name(p)]++
			of["pod "+p.Key()], of[name(p)] = name(p), name(p)
		}
	}
	for _, n := range l.plan.Nodes {
		for _, p := range n.Pods {
			told[of[p.Demand]] += n.Count * p.Count
		}
	}
	for _, d := range l.plan.Decisions {
		if d.Outcome == planner.OutcomeUnmet {
			told[of[d.Subject]] += d.Count
		}
	}
	for _, k := range slices.Sorted(maps.Keys(waits)) {
		if told[k] != waits[k] {
			l.broken("I12: %d of %s wait, and %d are placed or unmet", waits[k], k, told[k])
		}
	}
}
