package planner

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// MaxUnmetDecisions bounds the decisions about unmet demand that one plan
// lists (rule I11): a tenant's input never decides how long a plan is. What is
// beyond is summed up in one more.
const MaxUnmetDecisions = 500

// explain is phase 9: one decision for every NodeGroup and for every unmet
// demand.
func (p *planning) explain() {
	for _, g := range p.groups {
		p.decisions = append(p.decisions, p.explainGroup(g))
	}
	p.unmet = mergeUnmet(p.unmet)
	if extra := len(p.unmet) - MaxUnmetDecisions; extra > 0 {
		last := Decision{Kind: SubjectDemand, Subject: "and others", Outcome: OutcomeUnmet, Reason: p.unmet[MaxUnmetDecisions].Reason}
		for _, d := range p.unmet[MaxUnmetDecisions:] {
			last.Count = addSat(last.Count, d.Count)
		}
		last.Message = fmt.Sprintf("%d more kinds of demand are unmet", extra)
		p.unmet = append(p.unmet[:MaxUnmetDecisions:MaxUnmetDecisions], last)
	}
	p.decisions = append(p.decisions, p.unmet...)
	slices.SortStableFunc(p.decisions, func(a, b Decision) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Message, b.Message))
	})
	p.plan.Decisions = p.decisions
}

// mergeUnmet makes one decision of equal ones.
func mergeUnmet(in []Decision) []Decision {
	var out []Decision
	index := map[string]int{}
	for _, d := range in {
		k := d.Subject + "|" + string(d.Reason) + "|" + d.Demand.Key()
		if i, ok := index[k]; ok {
			out[i].Count = addSat(out[i].Count, d.Count)
			continue
		}
		index[k] = len(out)
		out = append(out, d)
	}
	return out
}

func (p *planning) explainGroup(g *groupState) Decision {
	d := Decision{Kind: SubjectNodeGroup, Subject: g.Key(), From: g.Replicas, To: g.Replicas, Outcome: OutcomeHold}
	switch {
	case !g.Managed:
		d.Reason = ReasonNotManaged
	case g.Invalid != "":
		d.Reason, d.Message = ReasonInvalidGroup, g.Invalid
	case g.alive > g.Replicas && g.removing == 0:
		d.Reason, d.Message = ReasonShrinking, fmt.Sprintf("%d Machines for %d replicas", g.alive, g.Replicas)
	case g.growth() > 0:
		d.Outcome, d.To = OutcomeGrow, g.Replicas+g.growth()
		d.Reason, d.Message, d.Rejected = p.whyGrow(g)
	case g.removing > 0:
		d.Outcome, d.To = OutcomeShrink, g.Replicas-g.removing
		d.Reason, d.Message = ReasonVacant, fmt.Sprintf("%d fewer", g.removing)
		if len(g.failed) > 0 {
			d.Reason, d.Message = ReasonNeverJoined, p.failure(g.failed[0])
		} else if g.removeFor == ReasonCancelled {
			d.Reason = ReasonCancelled
		}
	case g.blocked != "":
		d.Reason, d.Message = g.blocked, g.detail
	case len(g.Capacity) == 0:
		d.Reason = ReasonUnknownSize
	case g.mismatch != "":
		d.Reason, d.Message = ReasonMismatch, g.mismatch
	case p.inUse(g):
		d.Reason = ReasonInUse
	case g.coming > 0:
		d.Reason, d.Message = ReasonComing, fmt.Sprintf("%d on their way", g.coming)
	default:
		d.Reason = ReasonSteady
	}
	return d
}

func (p *planning) inUse(g *groupState) bool {
	return slices.ContainsFunc(p.nodes, func(n *nodeState) bool { return n.group == g && (len(n.pods) > 0 || n.wanted != "") })
}

// whyGrow names what a group grows for, and why not another group.
func (p *planning) whyGrow(g *groupState) (Reason, string, []Alternative) {
	if len(g.fresh) == 0 {
		return ReasonMinSize, fmt.Sprintf("min size is %d", g.Min), nil
	}
	counts := map[string]int64{}
	var names []string
	var largest *shape
	for _, b := range g.fresh {
		for _, pl := range b.placed {
			if counts[pl.demand] == 0 {
				names = append(names, pl.demand)
			}
			counts[pl.demand] += pl.count * b.count
			if largest == nil || shareOf(g.price, pl.shape.Requests, g.Capacity) > shareOf(g.price, largest.Requests, g.Capacity) {
				largest = pl.shape
			}
		}
	}
	if largest == nil {
		return ReasonDemand, fmt.Sprintf("%d more of class %s at %s each, for demand that is unmet so far", g.growth(), cmp.Or(g.Class, "?"), money(g.money)), nil
	}
	slices.Sort(names)
	for i, n := range names {
		names[i] = fmt.Sprintf("%d %s", counts[n], n)
	}
	if len(names) > 5 {
		names = append(names[:5:5], fmt.Sprintf("%d other kinds", len(names)-5))
	}
	message := fmt.Sprintf("%d more of class %s at %s each, for %s", g.growth(), cmp.Or(g.Class, "?"), money(g.money), strings.Join(names, ", "))
	if g.blind != "" {
		message += "; it is not known whether its hosts have room: " + g.blind
	}
	var rejected []Alternative
	for _, o := range p.groups {
		if o == g || !o.Managed {
			continue
		}
		why := p.refuses(o, largest)
		detail := p.detail(o, why)
		if why == "" {
			why, detail = ReasonDearer, money(o.money)+" each"
			if o.Priority < g.Priority {
				why, detail = ReasonPriority, fmt.Sprintf("has priority %d, below %d", o.Priority, g.Priority)
			}
			if o.buy > 0 {
				continue // it grows as well, and says for what
			}
			if p.gpuWaste(largest, o.dense) == 1 {
				detail += ", and kept for demand with GPUs"
			}
		}
		rejected = append(rejected, Alternative{Name: o.Key(), Reason: why, Message: detail})
	}
	return ReasonDemand, message, rejected
}
