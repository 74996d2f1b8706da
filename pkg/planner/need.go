package planner

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// unit is one replica of a worker group, with as many pods as the group has
// hosts, or what will become of one.
type unit struct {
	group *WorkerGroup
	kind  unitKind
	order int // among equals of a kind: the last goes first
	name  string
	pods  []*Pod
	bins  []*rayBin
	total []*rayBin
	// surplus units have been asked for, and this plan puts nothing on them.
	surplus bool
	// needed tells what holds the unit, if anything.
	needed string
}

// unitKind orders units by how gladly demand is put on them.
type unitKind int

const (
	unitServing   unitKind = iota // it stays whatever the demand is
	unitCandidate                 // idle for its timeout, on a node that may go
	unitCordoned                  // the same, and its node is cordoned already
	unitPending                   // its pods have no node
	unitUncreated                 // the operator has been asked for it
	unitOpened                    // this plan asks for it, or has an ended one replaced
	unitEnded                     // its Ray nodes have ended: it could be replaced
)

// needs is what a cluster in lead mode needs of its Ray nodes. It answers one
// question: which of the Ray nodes, pods and replicas could go, so that all
// current and pending demand, every minimum and request_resources still fit on
// the rest (rule I8). Demand is put on what stays anyway first, and on what is
// next to go last.
type needs struct {
	p      *planning
	c      *clusterState
	tables *rayTables
	units  []*unit
	// dead are replicas all of whose Ray nodes have ended; the first replaced
	// ones of a group get fresh pods, the others go.
	dead map[string][]*unit
	// partly holds the pods of replicas of which only some hosts have ended,
	// and of replicas that cannot be told apart.
	partly map[*Pod]bool
	// replaced counts the ended replicas of a group that are still wanted.
	replaced map[string]int
	// uncreated and excess count replicas that no pod stands for, and those of
	// them that nothing needs.
	uncreated, excess map[string]int64
	reason            map[*Pod]string
}

// need finds out what the cluster needs.
func (p *planning) need(c *clusterState) *needs {
	n := &needs{
		p: p, c: c, tables: p.leads[c].rayTables, dead: map[string][]*unit{}, partly: map[*Pod]bool{}, replaced: map[string]int{},
		uncreated: map[string]int64{}, excess: map[string]int64{}, reason: map[*Pod]string{},
	}
	for i := range c.WorkerGroups {
		switch w := &c.WorkerGroups[i]; {
		case w.Suspended: // the operator takes all its pods
		case w.Invalid != "":
			n.keep(w)
		default:
			n.list(w)
		}
	}
	n.markSurplus()
	last := map[bool]int{true: 1}
	slices.SortStableFunc(n.units, func(a, b *unit) int {
		return cmp.Or(cmp.Compare(last[a.surplus], last[b.surplus]), cmp.Compare(a.kind, b.kind), cmp.Compare(a.order, b.order), cmp.Compare(a.group.Name, b.group.Name), cmp.Compare(a.name, b.name))
	})
	n.constrain()
	n.serve()
	n.minimum()
	for _, u := range n.units { // what this plan finds room for is not taken back by it
		if u.kind == unitPending && !u.surplus && u.needed == "" {
			u.needed = "demand"
		}
	}
	n.verify()
	n.settle()
	return n
}

// keep lists the Ray nodes of a worker group that is left out of plans: they
// serve, and nobody could take their pods back.
func (n *needs) keep(w *WorkerGroup) {
	for i, pod := range n.c.byGroup[w.Name] {
		st := n.p.pod[pod]
		if pod.RayHead || st.ray == nil || st.work != workIdle && st.work != workBusy {
			continue
		}
		u := &unit{group: w, name: pod.Name, pods: n.c.byGroup[w.Name][i : i+1 : i+1], order: -1}
		n.place(u, [workKinds]int{})
		u.needed = leftOut + w.Invalid
	}
}

// leftOut begins the reason why Ray nodes stay that no plan is made for.
const leftOut = "left out of plans: "

// list makes the units of one worker group.
func (n *needs) list(w *WorkerGroup) {
	live := int64(0)
	for _, r := range n.replicas(w) {
		u := &unit{group: w, name: r.name, pods: r.pods, order: -1}
		kinds := [workKinds]int{}
		for _, pod := range r.pods {
			kinds[n.p.pod[pod].work]++
		}
		switch {
		case kinds[workLeaving] > 0:
			continue
		case kinds[workDead] == len(r.pods):
			n.dead[w.Name] = append(n.dead[w.Name], u)
			continue
		case kinds[workDead] > 0 || kinds[workDraining] > 0:
			for _, pod := range r.pods {
				if w.hosts() > 1 {
					n.partly[pod] = true
				}
			}
			live++
			continue
		}
		live++
		n.place(u, kinds)
	}
	n.uncreated[w.Name] = max(0, w.base()-live)
	opened := int64(0)
	if l := n.p.leads[n.c]; l != nil {
		opened = l.opened[w.Name]
	}
	ended := min(n.uncreated[w.Name], int64(len(n.dead[w.Name]))) // replicas that are asked for and have ended
	n.room(w, unitUncreated, n.uncreated[w.Name]-ended)
	n.room(w, unitOpened, opened)
	n.room(w, unitEnded, ended-opened)
}

// room adds replicas of a worker group that no pod stands for.
func (n *needs) room(w *WorkerGroup, kind unitKind, count int64) {
	for i := range min(max(count, 0), 100_000) {
		u := &unit{group: w, kind: kind, order: int(i)}
		for range w.hosts() {
			u.add(n.tables, n.tables.newBin(w.RayResources, w.Labels, 1), w.RayResources)
		}
		n.units = append(n.units, u)
	}
}

func (u *unit) add(t *rayTables, b *rayBin, total Resources) {
	u.bins = append(u.bins, b)
	if t.constrained {
		u.total = append(u.total, t.newBin(total, b.labels.labels, 1))
	}
}

// place finds the kind of a unit with pods, and its room.
func (n *needs) place(u *unit, kinds [workKinds]int) {
	pending := 0
	for _, pod := range u.pods {
		if pod.Node == "" {
			pending++
		}
	}
	for _, pod := range u.pods {
		st := n.p.pod[pod]
		switch {
		case st.ray != nil && st.ray.Status == RayNodeUnknown: // it stays, but nobody knows whether it serves
			u.add(n.tables, n.tables.newBin(nil, u.group.Labels, 1), nil)
		case st.ray != nil:
			b := n.tables.newBin(st.ray.Available, st.ray.Labels, 1)
			b.gangs = st.ray.Gangs
			u.add(n.tables, b, st.ray.Total)
		case pod.Node == "" && pending < len(u.pods): // nobody knows when the rest of a replica gets a node
			u.add(n.tables, n.tables.newBin(nil, u.group.Labels, 1), nil)
		default:
			u.add(n.tables, n.tables.newBin(u.group.RayResources, u.group.Labels, 1), u.group.RayResources)
		}
	}
	switch {
	case pending == len(u.pods):
		u.kind = unitPending
	case kinds[workIdle] == len(u.pods):
		u.kind, u.order = n.idleKind(u)
	}
	n.units = append(n.units, u)
}

// idleKind tells whether idle Ray nodes are on nodes that may go.
func (n *needs) idleKind(u *unit) (kind unitKind, order int) {
	kind = unitCordoned
	for _, pod := range u.pods {
		node := n.p.node[pod.Node]
		if node == nil || !node.leavable || n.p.idleLeft(pod) > 0 {
			return unitServing, -1
		}
		if node.Cordon == nil {
			kind = unitCandidate
		}
		order = max(order, node.order)
	}
	return kind, -order
}

// replica is the pods of one replica.
type replica struct {
	name string
	pods []*Pod
}

// replicas groups the pods of a worker group. Pods of a multi-host group that
// do not tell their replica stand alone, and are never touched.
func (n *needs) replicas(w *WorkerGroup) []replica {
	all := n.c.byGroup[w.Name]
	out := make([]replica, 0, len(all))
	index := map[string]int{}
	for i, pod := range all {
		if pod.RayHead {
			continue
		}
		if w.hosts() == 1 || pod.RayReplica == "" {
			if w.hosts() > 1 {
				n.partly[pod] = true
			}
			out = append(out, replica{pod.Name, all[i : i+1 : i+1]})
			continue
		}
		i, ok := index[pod.RayReplica]
		if !ok {
			i = len(out)
			index[pod.RayReplica] = i
			out = append(out, replica{name: pod.RayReplica})
		}
		out[i].pods = append(out[i].pods, pod)
	}
	return out
}

// settle sums up: which pods are needed, and which ended ones are replaced.
func (n *needs) settle() {
	wanted := map[string]int64{} // units without pods that something needs
	for _, u := range n.units {
		for _, pod := range u.pods {
			switch {
			case strings.HasPrefix(u.needed, leftOut):
				n.reason[pod] = fmt.Sprintf("worker group %s of %s is %s", u.group.Name, n.c.Key(), u.needed)
			case u.needed != "":
				n.reason[pod] = fmt.Sprintf("%s of %s needs worker group %s", u.needed, n.c.Key(), u.group.Name)
			}
		}
		if (u.kind == unitUncreated || u.kind == unitEnded) && u.needed != "" {
			wanted[u.group.Name]++
		}
	}
	for i := range n.c.WorkerGroups {
		w := &n.c.WorkerGroups[i]
		dead := n.dead[w.Name]
		// Those on nodes that stay anyway are replaced first.
		slices.SortStableFunc(dead, func(a, b *unit) int {
			return cmp.Or(cmp.Compare(n.lastOrder(a), n.lastOrder(b)), cmp.Compare(a.name, b.name))
		})
		ended := min(n.uncreated[w.Name], int64(len(dead)))
		owed := n.uncreated[w.Name] - ended
		replaced := max(0, wanted[w.Name]-owed)
		if l := n.p.leads[n.c]; l != nil { // the plan counts on fresh ones in their place
			replaced += min(ended, l.opened[w.Name])
		}
		n.replaced[w.Name] = int(min(int64(len(dead)), replaced))
		for _, u := range dead[:n.replaced[w.Name]] {
			for _, pod := range u.pods {
				n.reason[pod] = fmt.Sprintf("%s needs a fresh pod of worker group %s in its place", n.c.Key(), w.Name)
			}
		}
		n.excess[w.Name] = max(0, owed-wanted[w.Name])
	}
}

// lastOrder is larger for units whose nodes go sooner.
func (n *needs) lastOrder(u *unit) int {
	order := -1
	for _, pod := range u.pods {
		if node := n.p.node[pod.Node]; node != nil && node.leavable {
			order = max(order, 1_000_000-node.order)
		}
	}
	return order
}

// idleLeft is how long the pod's Ray node must still stay idle before it may
// go: zero for one that has been idle for longer than its group's timeout.
func (p *planning) idleLeft(pod *Pod) time.Duration {
	st := p.pod[pod]
	if st.ray == nil || st.work != workIdle {
		return 0
	}
	limit := st.idleTimeout()
	if idle := time.Duration(st.ray.IdleFor); idle <= limit {
		return max(limit-idle, time.Millisecond)
	}
	return 0
}

// idleTimeout of the pod's worker group; a cluster that does not say has Ray's
// own default.
func (st *podState) idleTimeout() time.Duration {
	if st.group != nil && st.group.IdleTimeout != nil {
		return time.Duration(*st.group.IdleTimeout)
	}
	return cmp.Or(time.Duration(st.cluster.IdleTimeout), time.Minute)
}

// readAt is when the cluster's GCS was read.
func (p *planning) readAt(c *clusterState) time.Time {
	for _, s := range p.s.Sources {
		if s.Kind == SourceGCS && s.Name == c.Key() {
			return p.s.At.Add(-time.Duration(s.Age))
		}
	}
	return p.s.At
}

func podNames(pods []*Pod) string {
	names := make([]string, 0, len(pods))
	for _, pod := range pods {
		names = append(names, pod.Key())
	}
	return strings.Join(names, ", ")
}
