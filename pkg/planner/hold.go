package planner

import (
	"fmt"
	"slices"
	"time"
)

// maxSamples bounds what is remembered of one class or group.
const maxSamples = 32

// watchDemand counts how many more nodes of each group are in use than in the
// plan before: the arrivals. A gang that needs eight nodes counts as eight.
func (p *planning) watchDemand() {
	window := time.Duration(p.s.Policy.DemandHold)
	for _, g := range p.groups {
		g.use = int64(len(g.fresh))
		for _, n := range g.nodes {
			if w := &n.work; n.wanted != "" || len(n.pods) > w.n[workIdle]+w.n[workDead]+w.n[workLeaving]+w.n[workDraining] {
				g.use++
			}
		}
		for _, b := range p.bins {
			if b.group == g && b.kind == binComing && len(b.placed) > 0 {
				g.use++
			}
		}
		if window <= 0 || g.UID == "" {
			continue
		}
		var kept []Count
		for _, c := range p.mem.Arrivals[g.UID] {
			if p.s.At.Sub(c.At) < window && !c.At.After(p.s.At) {
				kept = append(kept, c)
			}
		}
		if last, ok := p.mem.Use[g.UID]; ok && g.use > last {
			kept = append(kept, Count{p.s.At, g.use - last})
		}
		if len(kept) > maxSamples { // the oldest two become one
			kept[1].N = addSat(kept[0].N, kept[1].N)
			kept = slices.Clone(kept[1:])
		}
		p.next.Use[g.UID] = g.use
		if len(kept) > 0 {
			p.next.Arrivals[g.UID] = kept
		}
		var sum int64
		for _, c := range kept {
			sum = addSat(sum, c.N)
		}
		// The expected arrivals within one boot, rounded.
		g.expected = mulDiv(mulSat(sum, 2), int64(p.bootTime(g)), int64(window))/2 + mulDiv(mulSat(sum, 2), int64(p.bootTime(g)), int64(window))%2
	}
}

// holdFor tells why a vacant node is kept although nothing wants it, or nil.
// Of the vacant nodes of a group, the last to go are kept.
func (p *planning) holdFor(n *nodeState) *Alternative {
	g := n.group
	g.vacant--
	if g.expected == 0 || g.vacant >= g.expected {
		return nil
	}
	return &Alternative{Reason: ReasonDemandHold, Message: fmt.Sprintf("at the rate of the last %s, %d nodes of the group will be wanted within %s",
		time.Duration(p.s.Policy.DemandHold), g.expected, p.bootTime(g).Round(time.Second))}
}

// contested tells who else changes the replicas of the group, or is empty.
func (g *groupState) contested() string { return g.Contested }

// bootTime is how long nearly all Machines of the group's class took of late to
// become nodes, or a third of the deadline as long as that is not known.
func (p *planning) bootTime(g *groupState) time.Duration {
	if t, ok := p.learned(g); ok {
		return t
	}
	return time.Duration(p.s.Policy.ProvisionDeadline) / 3
}

// learned is the 95th percentile of the boot times of the group's class.
func (p *planning) learned(g *groupState) (time.Duration, bool) {
	boots := slices.Clone(p.mem.Boots[g.bootKey()])
	if len(boots) < 3 {
		return 0, false
	}
	slices.Sort(boots)
	return time.Duration(boots[(len(boots)*95-1)/100]), true
}

func (g *groupState) bootKey() string {
	if g.Class != "" {
		return g.Class
	}
	return g.Key()
}

// learnBoots notes how long Machines took that were seen booting before.
func (p *planning) learnBoots() {
	for class, boots := range p.mem.Boots {
		p.next.Boots[class] = slices.Clone(boots)
	}
	for _, g := range p.groups {
		for _, m := range g.machines {
			switch ready := p.readyNode(m) != nil; {
			case m.Deleting || m.UID == "":
			case !ready:
				p.next.Booting[m.UID] = true
			case p.mem.Booting[m.UID] && p.frozen == "":
				k := g.bootKey()
				p.next.Boots[k] = append(p.next.Boots[k], Duration(max(0, p.age(m.CreatedAt))))
				if extra := len(p.next.Boots[k]) - maxSamples; extra > 0 {
					p.next.Boots[k] = p.next.Boots[k][extra:]
				}
			}
		}
	}
}

// deadline is how long a Machine of the group may take to become a node: three
// times what nearly all took of late, but neither less than a third of the
// configured deadline nor more than all of it.
func (p *planning) deadline(g *groupState) time.Duration {
	limit := time.Duration(p.s.Policy.ProvisionDeadline)
	if g == nil {
		return limit
	}
	if t, ok := p.learned(g); ok {
		return min(limit, max(3*t, limit/3))
	}
	return limit
}
