package planner

import (
	"slices"
	"strings"
	"time"
)

// planning is the working state of one call of [Make]. Every list in it is
// sorted, so nothing depends on the order of the snapshot's lists or of a map.
type planning struct {
	*tables

	s    *Snapshot
	mem  Memory
	next Memory
	plan Plan

	groups  []*groupState
	group   map[string]*groupState // by namespace/name
	nodes   []*nodeState
	node    map[string]*nodeState // by name
	machine map[string]*Machine   // by namespace/name
	class   map[string]*classState
	// hosts is what is free on the hosts now, hostsFirst before anything was bought.
	hosts, hostsFirst hostRooms
	hostVersions      int64
	// hostsEmpty is what is free without any VM to come, hostOrder the groups, by
	// index, whose VMs are counted on hosts.
	hostsEmpty []hostRoom
	hostOrder  []int64
	clusters   []*clusterState
	cluster    map[string]*clusterState // by namespace/name
	pod        map[*Pod]*podState
	podNames   map[PodRef]bool // of all pods, once somebody has asked; without UIDs

	// bins are the nodes that exist and the Machines that are coming; fresh
	// are the nodes that this plan would buy.
	bins  []*bin
	fresh []*bin
	rooms rooms
	// tenants caches what tenants hold.
	tenants tenantCache
	// undo holds how to take back every placement since a mark.
	undo    []func()
	undone  int      // how often something was taken back
	options []option // scratch of fill
	key     []byte   // scratch of those who look for equals
	// noRoom has the shapes of which not one more pod of the tenant finds room.
	noRoom map[wanting]bool

	// leads and needs are the planning of clusters in lead mode.
	leads map[*clusterState]*leading
	led   int // how many of them have chosen their replicas
	needs map[*clusterState]*needs

	// frozen tells about a jump of the clock, unhealthy about too many nodes
	// that are not ready: nothing is removed then.
	frozen, unhealthy string

	// hourLeft is how many Machines may still be asked for in this hour, tenant
	// the namespace whose Ray pods are being placed, or empty.
	hourLeft int64
	// waiting has the UIDs of the pods that wait, oldest that of the first of
	// equal ones.
	waiting map[string]bool
	oldest  map[kind]string
	tenant  string
	fair    *fairness // nil where there is enough for all

	ranked bool  // groups differ in priority, so that prices are not money
	proven proof // the last bound from the packing core
	work   int64 // what the packing core may still spend
	// twin is a copy, without anything placed, on which choices of nodes are
	// tried.
	twin *planning

	bought    int64 // Machines asked for by this plan, growth to min included
	unmet     []Decision
	decisions []Decision
	workers   []WorkerTarget
	steps     []Step
}

// groupState is a NodeGroup with what is known of its Machines.
type groupState struct {
	*NodeGroup
	index    int64
	machines []*Machine
	nodes    []*nodeState // in order of their names
	// alive Machines are not being deleted; coming ones have no ready Node
	// yet and still may get one; failed ones never will.
	alive, coming, ready int64
	// doubtful is how many ready Nodes a shrink in flight may still take.
	doubtful int64
	failed   []*Machine
	broken   []*Machine // ready, without their GPUs, and too late
	// price is what a node counts where choices are compared, money what it costs.
	price, money int64
	class        *classState
	// vm is what a VM takes of its host, if that and the hosts are known, flying how
	// many are to come and on no host yet, stuck how many of these no host seems to
	// have room for; fits is how many more there is room for at the version fitAt.
	// blind tells why it is not known, if it should be.
	vm                         *vmNeed
	flying, stuck, fits, fitAt int64
	blind                      string
	// blocked, if not empty, tells why no Machine may be added.
	blocked Reason
	detail  string
	// lack is how many Machines the plan adds to reach the minimum, buy how many
	// for demand beyond that, room how many it may buy.
	lack, buy, room int64
	// removing is how many the plan takes away.
	removing int64
	// hold tells why nothing of the group may be removed, spare how many nodes
	// may; remove are the Machines that go now.
	hold *Alternative
	// rests are those that the group earned itself, mismatch tells how its nodes
	// differ from its template. use is how many nodes are in use, expected how
	// many more will be within a boot, vacant how many vacant ones are left.
	rests                 []Backoff
	mismatch              string
	use, expected, vacant int64
	spare                 int64
	remove                []string
	removeFor             Reason
	fresh                 []*bin // the new nodes of this group
	// profile and dense are the labels, taints and capacity of an empty node.
	profile *profile
	dense   vector
	size    string // says how large that is, once somebody has asked
}

// classState is a VM class with what the plan takes of its headroom.
type classState struct {
	*VMClass
	buy int64
}

// nodeState is a Node with the pods on it.
type nodeState struct {
	*Node
	group   *groupState
	machine *Machine
	pods    []*Pod // not DaemonSets'
	work    nodeWork
	used    vector // by all its pods, DaemonSets' too
	wanted  string // the demand that the plan puts here, if any
	// leavable nodes carry nothing that holds them; order is their place among
	// those that may go, the first to go at 1.
	leavable bool
	credited bool // its room counts
	order    int
	idle     time.Duration // of its Ray node that has been idle longest
	// idleTwice: all its Ray nodes were idle for their timeout in two reads;
	// emptying: this plan goes on with its removal; cordoning: it begins with it.
	idleTwice, emptying, cordoning bool
	receives                       string // the node whose pods are to move here
	herdWhy                        Reason // why the node gets no soft taint
	share                          int64  // of it that its pods use, in thousandths
	herdTo                         bool   // pods of a node with our soft taint are to fit here
}

// clusterState is a RayCluster with its pods.
type clusterState struct {
	*RayCluster
	pods     []*Pod
	byGroup  map[string][]*Pod // the same by worker group
	rayNodes []*RayNode        // by pod, then by id
	// gangs and requests are the demand, hardest first, once somebody has asked.
	gangs    []Gang
	requests []Request
	sorted   bool
}

// demand lists what the cluster asks for, hardest to place first, equal
// requests as one.
func (c *clusterState) demand() ([]Gang, []Request) {
	if !c.sorted {
		c.gangs, c.requests, c.sorted = sortedGangs(c.Gangs), sortedRequests(c.Requests), true
	}
	return c.gangs, c.requests
}

// nameOrder orders namespaced objects.
func nameOrder[T interface {
	name() (namespace, name string)
}](a, b T) int {
	an, a1 := a.name()
	bn, b1 := b.name()
	if c := strings.Compare(an, bn); c != 0 {
		return c
	}
	return strings.Compare(a1, b1)
}

func (p *Pod) name() (namespace, name string)        { return p.Namespace, p.Name }
func (g *NodeGroup) name() (namespace, name string)  { return g.Namespace, g.Name }
func (m *Machine) name() (namespace, name string)    { return m.Namespace, m.Name }
func (c *RayCluster) name() (namespace, name string) { return c.Namespace, c.Name }

func newPlanning(s *Snapshot, m Memory) *planning {
	p := &planning{
		tables: newTables(s), s: s, mem: m, noRoom: map[wanting]bool{},
		next: newMemory(), work: replicasBudget, waiting: map[string]bool{}, oldest: map[kind]string{},
		group: map[string]*groupState{}, class: map[string]*classState{},
	}
	p.machine, p.node = make(map[string]*Machine, len(s.Machines)), make(map[string]*nodeState, len(s.Nodes))
	p.plan.At = s.At
	p.indexMachines()
	p.indexClusters()
	p.joinRay()
	p.indexNodes()
	return p
}

func (p *planning) indexMachines() {
	for i := range p.s.NodeGroups {
		g := &groupState{NodeGroup: &p.s.NodeGroups[i]}
		p.groups = append(p.groups, g)
		p.group[g.Key()] = g
	}
	slices.SortFunc(p.groups, nameOrder[*groupState])
	for i, g := range p.groups {
		g.index = int64(i)
	}
	for i := range p.s.Machines {
		m := &p.s.Machines[i]
		p.machine[m.Key()] = m
		if g := p.group[m.Group]; g != nil {
			g.machines = append(g.machines, m)
		}
	}
	for _, g := range p.groups {
		slices.SortFunc(g.machines, nameOrder[*Machine])
	}
}

func (p *planning) indexNodes() {
	all := make([]nodeState, len(p.s.Nodes))
	used := make(vector, len(all)*len(p.names))
	p.nodes = make([]*nodeState, len(all))
	for i := range all {
		n := &all[i]
		n.Node, n.used = &p.s.Nodes[i], used[:len(p.names):len(p.names)]
		used = used[len(p.names):]
		if m := p.machine[n.Machine]; m != nil {
			n.machine, n.group = m, p.group[m.Group]
		}
		p.nodes[i] = n
		p.node[n.Name] = n
	}
	slices.SortFunc(p.nodes, func(a, b *nodeState) int { return strings.Compare(a.Name, b.Name) })
	for i := range p.s.Pods {
		pod := &p.s.Pods[i]
		if n := p.node[pod.Node]; n != nil {
			if p.pod[pod].work != workDead { // it goes in any case, or is replaced
				p.add(n.used, pod.Shape.Requests)
			}
			if !pod.DaemonSet {
				n.pods = append(n.pods, pod)
			}
		}
	}
	for _, n := range p.nodes {
		slices.SortFunc(n.pods, nameOrder[*Pod])
		n.work = p.workOf(n.pods)
		if n.group != nil {
			n.group.nodes = append(n.group.nodes, n)
		}
	}
}

// add adds what a pod asks for; every name that one asks for has a number.
func (d *dims) add(v vector, r Resources) {
	for name, n := range r {
		i := d.index[name]
		v[i] = addSat(v[i], n)
	}
}

// shareUsed is the dominant share of the node that its pods use, in thousandths.
func (p *planning) shareUsed(n *nodeState) int64 {
	var most int64
	for i, v := range n.used {
		if c := n.Allocatable[p.names[i]]; c > 0 && v > 0 {
			most = max(most, mulDiv(1000, v, c))
		}
	}
	return max(1, most)
}

func (p *planning) indexClusters() {
	p.cluster = map[string]*clusterState{}
	for i := range p.s.RayClusters {
		c := &clusterState{RayCluster: &p.s.RayClusters[i]}
		c.rayNodes = sortedRayNodes(c.RayNodes)
		p.clusters = append(p.clusters, c)
		p.cluster[c.Key()] = c
	}
	slices.SortFunc(p.clusters, nameOrder[*clusterState])
	for i := range p.s.Pods {
		pod := &p.s.Pods[i]
		if c := p.cluster[pod.RayCluster]; c != nil {
			c.pods = append(c.pods, pod)
		}
	}
	for _, c := range p.clusters {
		slices.SortFunc(c.pods, nameOrder[*Pod])
		c.byGroup = make(map[string][]*Pod, len(c.WorkerGroups))
		for _, pod := range c.pods {
			c.byGroup[pod.RayGroup] = append(c.byGroup[pod.RayGroup], pod)
		}
	}
}

// placementState tells apart what is placed at one time from what is placed at
// another.
type placementState struct{ undone, done int }

func (p *planning) state() placementState { return placementState{p.undone, len(p.undo)} }

// mark and rollback bracket a trial: everything placed since the mark is taken
// back.
func (p *planning) mark() int { return len(p.undo) }

func (p *planning) rollback(mark int) {
	if len(p.undo) > mark {
		clear(p.noRoom) // some may be free again
		p.undone++
	}
	for i := len(p.undo) - 1; i >= mark; i-- {
		p.undo[i]()
	}
	p.undo = p.undo[:mark]
	p.rooms.rollback(mark)
}
