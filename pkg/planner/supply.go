package planner

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// CordonTaint is the key of the taint that keeps new pods from a node that is
// about to be removed.
const CordonTaint = "tandem-autoscaler.io/cordon"

// SoftTaintKey is the key of the taint (PreferNoSchedule) that herds new pods
// away from a node that should become vacant.
const SoftTaintKey = "tandem-autoscaler.io/candidate"

// credit is phase 2: it lists the room that exists or is on its way. Coming
// capacity is computed from Machines and replicas, never remembered, so a
// restart cannot buy it twice.
func (p *planning) credit() {
	for i := range p.s.Classes {
		p.class[p.s.Classes[i].Name] = &classState{VMClass: &p.s.Classes[i]}
	}
	p.hourLeft = unbounded
	if m := p.s.Policy.MaxGrowPerHour; m > 0 {
		p.hourLeft = max(0, m-p.grownLately())
	}
	for _, g := range p.groups {
		p.creditGroup(g)
	}
	p.creditHosts()
	for _, g := range p.groups {
		p.backOff(g)
		p.block(g)
		p.minimum(g)
	}
	p.prefer()
	p.hostsFirst = p.hosts
	p.learnBoots()
	equal := map[string]*bin{}
	for _, n := range p.nodes {
		p.creditNode(n, equal)
	}
	for _, g := range p.groups {
		p.creditComing(g)
	}
	p.noteRoom()
}

func (p *planning) creditGroup(g *groupState) {
	g.class = p.class[g.Class]
	g.money = p.price(g)
	g.price = g.money
	for _, m := range g.machines {
		if m.Deleting {
			continue
		}
		g.alive++
		switch {
		case p.readyNode(m) != nil:
			g.ready++
		case m.Node == "" && (m.Failure != "" || p.overdue(m) || p.hopeless(m)):
			g.failed = append(g.failed, m)
		case p.overdue(m) && p.lacksGPU(m):
			g.broken = append(g.broken, m)
		case !p.overdue(m):
			g.coming++
		}
	}
	// Replicas that have no Machine yet are coming. Machines that the replicas
	// do not cover are going: the marked ones, and for the rest Cluster API
	// takes those without a ready Node first.
	g.coming += max(0, g.Replicas-g.alive)
	marked, markedUnjoined := p.marked(g)
	unmarked := max(0, g.alive-g.Replicas-marked)
	g.doubtful = max(0, unmarked-max(0, g.coming-markedUnjoined))
	g.coming = max(0, g.coming-markedUnjoined-unmarked)
	g.room = max(0, g.Max-g.Replicas)
	p.mismatch(g)
	g.profile, g.dense = p.profile(g.Labels, g.Taints), p.vector(g.Capacity)
	p.fail(g)
}

// minimum adds what the group lacks to its minimum size. Demand may use it like
// any node that is coming.
func (p *planning) minimum(g *groupState) {
	if !g.Managed || g.Invalid != "" || g.blocked != "" {
		return
	}
	g.lack = max(0, min(g.Min-g.Replicas, g.room))
	if m := p.s.Policy.MaxMachines; m > 0 {
		g.lack = max(0, min(g.lack, m-p.machines()-p.bought))
	}
	if m := p.s.Policy.MaxGrowPerTick; m > 0 {
		g.lack = max(0, min(g.lack, m-p.bought))
	}
	if m := p.s.Policy.MaxGrowPerGroup; m > 0 {
		g.lack = min(g.lack, m)
	}
	g.lack = max(0, min(g.lack, p.hourLeft-p.bought))
	if c := g.class; c != nil {
		if c.Headroom != nil { // a min size makes no room on the hosts (rule I2)
			g.lack = max(0, min(g.lack, *c.Headroom-c.buy))
		}
	}
	g.lack = min(g.lack, p.roomOnHosts(g))
	if c := g.class; c != nil {
		c.buy += g.lack
	}
	p.occupy(g, g.lack)
	g.room -= g.lack
	g.coming += g.lack
	p.bought += g.lack
}

// marked counts the Machines that a shrink in flight will take because they
// carry a delete mark, and those of them without a ready Node.
func (p *planning) marked(g *groupState) (all, unjoined int64) {
	for _, m := range g.machines {
		if all < g.alive-g.Replicas && !m.Deleting && (m.Mark != nil || m.ForeignMark) {
			all++
			if p.readyNode(m) == nil {
				unjoined++
			}
		}
	}
	return all, unjoined
}

func (p *planning) readyNode(m *Machine) *nodeState {
	if n := p.node[m.Node]; m.Node != "" && n != nil && n.Ready && !p.lacksGPU(m) {
		return n
	}
	return nil
}

// lacksGPU tells whether the Machine's Node is ready but does not offer the
// GPUs that its group promises (yet): the driver comes later than the kubelet.
func (p *planning) lacksGPU(m *Machine) bool {
	n, g := p.node[m.Node], p.group[m.Group]
	return n != nil && n.Ready && g != nil && g.Capacity[ResourceGPU] > 0 && n.Allocatable[ResourceGPU] == 0
}

// booting tells whether the node has not come up yet and still may.
func (p *planning) booting(n *nodeState) bool {
	return n.machine != nil && p.readyNode(n.machine) == nil && !p.overdue(n.machine)
}

func (p *planning) overdue(m *Machine) bool {
	d := p.deadline(p.group[m.Group])
	return d > 0 && p.frozen == "" && p.age(m.CreatedAt) > d
}

// hopeless tells whether the provider says of a Machine without a Node what
// more waiting will not mend, and has said so for a tenth of the deadline: it
// still tries, but the demand is better served by another class.
func (p *planning) hopeless(m *Machine) bool {
	switch m.FailureKind { //nolint:exhaustive // With the others, the Machine may come any moment.
	case FailureNoCapacity, FailureQuota, FailureClass, FailureImage:
		d := p.deadline(p.group[m.Group])
		return d > 0 && p.frozen == "" && p.age(m.CreatedAt) > d/10
	}
	return false
}

func (p *planning) failure(m *Machine) string {
	if m.Failure != "" {
		return fmt.Sprintf("Machine %s: %s", m.Name, m.Failure)
	}
	if p.lacksGPU(m) {
		return fmt.Sprintf("Machine %s has a Node without its GPUs after %s", m.Name, p.s.At.Sub(m.CreatedAt).Round(time.Second))
	}
	text := fmt.Sprintf("Machine %s had no Node after %s", m.Name, p.s.At.Sub(m.CreatedAt).Round(time.Second))
	if m.Trouble != "" {
		text += ": " + m.Trouble
	}
	return text
}

// block decides whether the group may grow at all.
func (p *planning) block(g *groupState) {
	b, resting := p.next.Backoff[g.UID]
	unknown := p.unknown(SourceManagement, SourceWorkload, SourceRay)
	switch {
	case unknown != "":
		g.blocked, g.detail = ReasonSourceUnknown, unknown
	case g.Paused:
		g.blocked = ReasonPaused
	case g.contested() != "":
		g.blocked, g.detail = ReasonContested, g.contested()
	case g.class != nil && g.class.Invalid != "":
		g.blocked, g.detail = ReasonClassUnusable, g.class.Invalid
	case resting && p.s.At.Before(b.Until):
		g.blocked = ReasonBackoff
		g.detail = fmt.Sprintf("rests until %s: %s", b.Until.UTC().Format(time.RFC3339), b.Why)
	case len(g.failed) > 0:
		g.blocked, g.detail = ReasonBackoff, p.failure(g.failed[0])
	}
}

// unknown describes the first source of the given kinds that is not known, or
// is empty. A kind that no source speaks for is known: a snapshot written by
// hand need not list them.
func (p *planning) unknown(kinds ...SourceKind) string {
	var out []string
	for _, s := range p.s.Sources {
		if !s.Known && slices.Contains(kinds, s.Kind) {
			out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s", s.Kind, s.Name))+": "+s.Error)
		}
	}
	if len(out) == 0 {
		return ""
	}
	return slices.Min(out)
}

// creditNode adds the node's room to that of equal nodes.
func (p *planning) creditNode(n *nodeState, equal map[string]*bin) {
	if !n.Ready || n.Unschedulable || n.machine != nil && (n.machine.Deleting || p.lacksGPU(n.machine)) {
		return
	}
	kind := binNode
	if n.SoftTaint != nil {
		kind = binSoft
	}
	var taints []Taint
	for _, t := range n.Taints {
		if t.Key == CordonTaint {
			kind = binCordoned
			continue
		}
		taints = append(taints, t)
	}
	if n.machine != nil && (n.machine.Mark != nil || n.machine.ForeignMark) && n.group != nil && n.group.alive > n.group.Replicas {
		return // its shrink has been asked for: Cluster API takes it any moment
	}
	if n.group != nil && n.group.doubtful > 0 {
		n.group.doubtful-- // a shrink in flight may take it
		return
	}
	free := p.vector(n.Allocatable)
	for i, v := range n.used {
		free[i] = max(0, free[i]-v)
	}
	like := bin{kind: kind, group: n.group, profile: p.profile(n.Labels, taints), free: free}
	p.key = free.appendTo(vector{int64(kind), like.order(), int64(like.profile.number)}.appendTo(p.key[:0]))
	b := equal[string(p.key)]
	if b == nil {
		b = new(like)
		equal[string(p.key)] = b
		p.bins = append(p.bins, b)
	}
	b.nodes = append(b.nodes, n)
	b.count++
	n.credited = true
}

func (p *planning) creditComing(g *groupState) {
	if len(g.Capacity) == 0 {
		return
	}
	if g.coming > 0 {
		p.bins = append(p.bins, newBin(binComing, g, g.coming))
	}
}

// prefer makes a node of a group with a lower priority count for more than a
// thousand of any with a higher one, so that choices of nodes prefer those.
func (p *planning) prefer() {
	var levels []int64
	most := int64(1)
	for _, g := range p.groups {
		if g.Managed && g.Invalid == "" {
			levels, most = append(levels, g.Priority), max(most, g.money)
		}
	}
	slices.SortFunc(levels, func(a, b int64) int { return cmp.Compare(b, a) })
	levels = slices.Compact(levels)
	if p.ranked = len(levels) > 1; !p.ranked {
		return
	}
	for _, g := range p.groups {
		if level := slices.Index(levels, g.Priority); level > 0 {
			g.price = addSat(g.money, mulSat(mulSat(most, 1000), int64(level)))
		}
	}
}

// price of one node: of the group, else of its class, else a formula that
// grows with what the node has, so that classes without prices still compare.
func (p *planning) price(g *groupState) int64 {
	if g.Price > 0 {
		return g.Price
	}
	capacity := g.Capacity
	if g.class != nil {
		if g.class.Price > 0 {
			return g.class.Price
		}
		capacity = g.class.Capacity
	}
	cpu := mulSat(capacity[ResourceCPU], 30)
	mem := mulDiv(capacity[ResourceMemory], 4000, 1<<30)
	gpu := mulSat(capacity[ResourceGPU], 120)
	return addSat(20_000, addSat(cpu, addSat(mem, gpu)))
}
