package planner

import (
	"slices"
	"strings"
	"time"
)

// Count is a number of Machines at a time.
type Count struct {
	At time.Time `json:"at"`
	N  int64     `json:"n"`
}

// lastHour sums up the counts of the last hour.
func (p *planning) lastHour(counts []Count) (n int64) {
	for _, c := range counts {
		if p.s.At.Sub(c.At) < time.Hour {
			n = addSat(n, c.N)
		}
	}
	return n
}

// grownLately is how many Machines were asked for in the last hour: what is
// remembered, or what can be seen, whichever is more.
func (p *planning) grownLately() int64 {
	var seen int64
	for _, g := range p.groups {
		if !g.Managed {
			continue
		}
		alive := int64(0)
		for _, m := range g.machines {
			if !m.Deleting {
				alive++
			}
			if p.s.At.Sub(m.CreatedAt) < time.Hour {
				seen++
			}
		}
		seen = addSat(seen, max(0, g.Replicas-alive))
	}
	return max(seen, p.lastHour(p.mem.Grown))
}

// removedLately is the same for removals.
func (p *planning) removedLately() int64 {
	var seen int64
	for _, g := range p.groups {
		for _, m := range g.machines {
			if g.Managed && m.Mark != nil && m.Deleting && p.s.At.Sub(m.DeletingSince) < time.Hour {
				seen++
			}
		}
	}
	return max(seen, p.lastHour(p.mem.Removed))
}

// count remembers what this plan asks for and gives back.
func (p *planning) count() {
	keep := func(in []Count) (out []Count) {
		for _, c := range in {
			if p.s.At.Sub(c.At) < time.Hour && !c.At.After(p.s.At) {
				out = append(out, c)
			}
		}
		return out
	}
	p.next.Grown, p.next.Removed = keep(p.mem.Grown), keep(p.mem.Removed)
	var grown, removed int64
	for _, st := range p.steps {
		switch st.Kind { //nolint:exhaustive // only these two change the number of Machines
		case StepGrow:
			grown += st.To - st.From
		case StepRemove:
			removed += st.From - st.To
		}
	}
	if grown > 0 {
		p.next.Grown = append(p.next.Grown, Count{p.s.At, grown})
	}
	if removed > 0 {
		p.next.Removed = append(p.next.Removed, Count{p.s.At, removed})
	}
}

// removeBudget is what this plan may still remove.
func (p *planning) removeBudget() removal {
	r := removal{machines: unbounded, start: unbounded, why: ReasonTickLimit}
	if m := p.s.Policy.MaxRemovePerTick; m > 0 {
		r.machines, r.start = m, m
	}
	if m := p.s.Policy.MaxRemovePerHour; m > 0 {
		left := max(0, m-p.removedLately())
		if left < r.machines {
			r.machines, r.why = left, ReasonHourLimit
		}
		r.start = min(r.start, left)
	}
	return r
}

// caps tells limit what the policy still lets the group have.
func (p *planning) caps(g *groupState, limit func(int64, Reason)) {
	limit(p.hourLeft-p.bought, ReasonHourLimit)
	if m := p.s.Policy.MaxGrowPerGroup; m > 0 {
		limit(m-g.growth(), ReasonTickLimit)
	}
	l := p.tenantLimit(p.tenant)
	if l == nil {
		return
	}
	machines, gpus := p.tenantHolds(p.tenant)
	if l.MaxMachines > 0 {
		limit(l.MaxMachines-machines, ReasonTenantLimit)
	}
	if each := g.Capacity[ResourceGPU]; l.MaxGPUs > 0 && each > 0 {
		limit((l.MaxGPUs-gpus)/each, ReasonTenantLimit)
	}
}

// tenantDetail explains to people what the tenant holds, beside its limit.
func (p *planning) tenantDetail() string {
	l := p.tenantLimit(p.tenant)
	if l == nil {
		return ""
	}
	machines, gpus := p.tenantHolds(p.tenant)
	text := "namespace " + p.tenant + " has " + decimal(machines, 1) + " Machines"
	if l.MaxMachines > 0 {
		text += " of " + decimal(l.MaxMachines, 1)
	}
	if l.MaxGPUs > 0 {
		text += ", " + decimal(gpus, Unit) + " GPUs of " + decimal(l.MaxGPUs, Unit)
	}
	return text
}

// tenantLimit is the limit of a namespace, or nil.
func (p *planning) tenantLimit(namespace string) *TenantLimit {
	var rest *TenantLimit
	for i := range p.s.Policy.TenantLimits {
		switch l := &p.s.Policy.TenantLimits[i]; l.Namespace {
		case namespace:
			if namespace != "" {
				return l
			}
		case "":
			rest = l
		}
	}
	if namespace == "" {
		return nil
	}
	return rest
}

// holding is a number of Machines, with their GPUs.
type holding struct{ machines, gpus int64 }

func (h *holding) add(capacity Resources, n int64) {
	h.machines = addSat(h.machines, n)
	h.gpus = addSat(h.gpus, mulSat(capacity[ResourceGPU], n))
}

// tenantHolds counts the Machines, and their GPUs, that carry or will carry
// Ray pods of the namespace. It is asked for every group that might grow, so
// what it finds is kept until something else is placed.
func (p *planning) tenantHolds(namespace string) (machines, gpus int64) {
	t := &p.tenants
	if t.standing == nil {
		t.standing = p.tenantsOnNodes()
	}
	if state := p.state(); t.namespace != namespace || t.at != state || t.all == nil {
		all := t.standing[namespace]
		for _, bins := range [][]*bin{p.bins, p.fresh} {
			for _, b := range bins {
				if b.kind >= binComing && slices.ContainsFunc(b.placed, func(pl placed) bool { return tenantOf(pl.demand) == namespace }) {
					all.add(b.group.Capacity, b.count)
				}
			}
		}
		t.namespace, t.at, t.all = namespace, state, &all
	}
	return t.all.machines, t.all.gpus
}

// tenantCache is what tenants hold on nodes that exist, which no placement
// changes, and what the last one that was asked about holds in all.
type tenantCache struct {
	standing  map[string]holding
	namespace string
	at        placementState
	all       *holding
}

// tenantsOnNodes counts the nodes with Ray pods of each namespace.
func (p *planning) tenantsOnNodes() map[string]holding {
	out := map[string]holding{}
	var here []string // the namespaces on one node
	for _, n := range p.nodes {
		if n.group == nil || !n.group.Managed {
			continue
		}
		here = here[:0]
		for _, pod := range n.pods {
			if c := p.pod[pod].cluster; c != nil && !slices.Contains(here, c.Namespace) {
				here = append(here, c.Namespace)
			}
		}
		for _, namespace := range here {
			h := out[namespace]
			h.add(n.Allocatable, 1)
			out[namespace] = h
		}
	}
	return out
}

// tenantOf is the namespace of the RayCluster whose pods a demand names, or
// empty.
func tenantOf(demand string) string {
	cluster, ok := strings.CutPrefix(demand, "pods of ")
	if !ok {
		return ""
	}
	namespace, _, _ := strings.Cut(cluster, "/")
	return namespace
}

// tenantBound tells whether a limit of some tenant concerns what is placed: the
// choice of nodes must not be made again then, for it does not know whose pods
// it places, and one that is on its way to one tenant's pods may get another's.
func (p *planning) tenantBound() bool {
	for _, bins := range [][]*bin{p.bins, p.fresh} {
		for _, b := range bins {
			for _, pl := range b.placed {
				if l := p.tenantLimit(tenantOf(pl.demand)); l != nil && (l.MaxMachines > 0 || l.MaxGPUs > 0) {
					return true
				}
			}
		}
	}
	return false
}
