package planner

import (
	"cmp"
	"fmt"
	"slices"
)

// sortedGangs puts the gangs that are hardest to place first: by constraint,
// then by size.
func sortedGangs(in []Gang) []Gang {
	out := slices.Clone(in)
	strict := func(g Gang) int {
		if g.Strategy == StrictSpread || g.Strategy == StrictPack {
			return 0
		}
		return 1
	}
	size := func(g Gang) int {
		if len(g.Options) == 0 {
			return 0
		}
		return len(g.Options[0].Bundles)
	}
	slices.SortFunc(out, func(a, b Gang) int {
		return cmp.Or(cmp.Compare(strict(a), strict(b)), cmp.Compare(size(b), size(a)), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// gang places all bundles of one option, or nothing.
func (l *leading) gang(g Gang) {
	var first refusal
	for i, o := range g.Options {
		mark := l.p.mark()
		if l.option(g, o) {
			return
		}
		l.p.rollback(mark)
		if i == 0 {
			first = l.refusal
		}
	}
	if len(g.Options) == 0 || len(g.Options[0].Bundles) == 0 {
		return
	}
	l.p.unmet = append(l.p.unmet, gangDecision(l.c.Key(), g, first))
}

// gangDecision says why a gang gets nothing.
func gangDecision(cluster string, g Gang, ref refusal) Decision {
	bundles := g.Options[0].Bundles
	sum := Resources{}
	for _, b := range bundles {
		sum.Add(b.Resources)
	}
	message := fmt.Sprintf("%s placement group of %d bundles, %s in all, gets nothing because it cannot be whole", g.Strategy, len(bundles), sum.text())
	if ref.message != "" {
		message += ": " + ref.message
	}
	return Decision{
		Kind: SubjectDemand, Subject: cluster + " placement group " + g.ID, RayCluster: cluster, Outcome: OutcomeUnmet,
		Reason: ReasonGangIncomplete, Message: message, Demand: sum, Count: int64(len(bundles)), Rejected: ref.rejected,
	}
}

func (l *leading) option(g Gang, o GangOption) bool {
	bundles := slices.Clone(o.Bundles)
	slices.SortStableFunc(bundles, func(a, b Bundle) int {
		return cmp.Or(cmp.Compare(b.Resources[ResourceGPU], a.Resources[ResourceGPU]), cmp.Compare(b.Resources[ResourceMemory], a.Resources[ResourceMemory]),
			cmp.Compare(b.Resources[ResourceCPU], a.Resources[ResourceCPU]), cmp.Compare(a.Resources.Key(), b.Resources.Key()),
			cmp.Compare(fmt.Sprintf("%v", a.Selector), fmt.Sprintf("%v", b.Selector)))
	})
	switch g.Strategy {
	case StrictPack:
		return l.together(bundles)
	case StrictSpread:
		return l.apart(g.ID, bundles)
	case Pack:
		mark := l.p.mark()
		if l.together(bundles) {
			return true
		}
		l.p.rollback(mark)
	case Spread:
	}
	for _, b := range bundles {
		if l.serve(b.Resources, []Selector{b.Selector}, 1) > 0 {
			return false
		}
	}
	return true
}

// together puts all bundles on one Ray node.
func (l *leading) together(bundles []Bundle) bool {
	for _, b := range l.bins {
		if l.allOn(b, bundles) {
			return true
		}
	}
	holds := func(empty *rayBin) bool {
		trial := &leading{p: l.p, c: l.c}
		mark := l.p.mark()
		ok := trial.allOn(empty, bundles)
		l.p.rollback(mark)
		return ok
	}
	if len(bundles) == 0 || l.open(bundles[0].Resources, bundles[0].Selector, 1, holds) == nil {
		return false
	}
	return l.allOn(l.bins[len(l.bins)-1], bundles)
}

func (l *leading) allOn(b *rayBin, bundles []Bundle) bool {
	mark := l.p.mark()
	for _, bundle := range bundles {
		if !bundle.Selector.matches(b.labels) || l.take(b, bundle.Resources, 1) == 0 {
			l.p.rollback(mark)
			return false
		}
	}
	return true
}

// apart puts every bundle on a Ray node of its own, none of which holds a
// bundle of the same gang already.
func (l *leading) apart(id string, bundles []Bundle) bool {
	used := map[*rayBin]bool{}
	for _, b := range l.bins {
		used[b] = slices.Contains(b.gangs, id)
	}
	for _, bundle := range bundles {
		on := l.free(used, bundle)
		if on == nil && l.open(bundle.Resources, bundle.Selector, 1, nil) != nil {
			on = l.free(used, bundle)
		}
		if on == nil {
			return false
		}
		l.take(on, bundle.Resources, 1)
		used[on] = true
	}
	return true
}

// free finds the first node that may still take the bundle.
func (l *leading) free(used map[*rayBin]bool, bundle Bundle) *rayBin {
	for _, b := range l.bins {
		if !used[b] && bundle.Selector.matches(b.labels) && b.times(bundle.Resources, 1) > 0 {
			return b
		}
	}
	return nil
}
