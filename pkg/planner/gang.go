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
		if l.oneType(g, o) {
			return
		}
		if i == 0 {
			l.resolve()
			first = l.refusal
		}
		l.p.rollback(mark)
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

// acceleratorLabel is the label by which Ray tells the type of a node's
// accelerators (ray: python/ray/_private/accelerators, label ray.io/accelerator-type).
const acceleratorLabel = "ray.io/accelerator-type"

// oneType places the option on accelerators of one type, the one for which least
// has to be opened. A gang that asks for types itself gets those, and one that no
// single type can hold gets what there is, as from Ray.
func (l *leading) oneType(g Gang, o GangOption) bool {
	best, price := "", int64(-1)
	for _, t := range l.acceleratorTypes(o) {
		mark, before := l.p.mark(), l.dearer
		if l.option(g, o.on(t)) && (price < 0 || l.dearer-before < price) {
			best, price = t, l.dearer-before
		}
		l.p.rollback(mark)
	}
	if price >= 0 {
		o = o.on(best)
	}
	return l.option(g, o)
}

// maxTypes bounds how many types of accelerators are tried for a gang.
const maxTypes = 8

// acceleratorTypes lists the types between which the option leaves a choice: none
// if there are not two, or if it has one bundle with GPUs.
func (l *leading) acceleratorTypes(o GangOption) []string {
	n := 0
	for _, b := range o.Bundles {
		if b.Resources[ResourceGPU] > 0 && !b.asksType() {
			n++
		}
	}
	if n < 2 {
		return nil
	}
	var types []string
	for _, bins := range [][]*rayBin{l.bins, l.empty} {
		for _, b := range bins {
			if t := b.labels.labels[acceleratorLabel]; t != "" && len(b.devices) > 0 && !slices.Contains(types, t) {
				types = append(types, t)
			}
		}
	}
	slices.Sort(types)
	if len(types) < 2 {
		return nil
	}
	return types[:min(len(types), maxTypes)]
}

func (b *Bundle) asksType() bool {
	return slices.ContainsFunc(b.Selector, func(q Requirement) bool { return q.Key == acceleratorLabel })
}

// on is the option with all GPUs of one type.
func (o GangOption) on(accelerator string) GangOption {
	o.Bundles = slices.Clone(o.Bundles)
	for i := range o.Bundles {
		if b := &o.Bundles[i]; b.Resources[ResourceGPU] > 0 && !b.asksType() {
			b.Selector = append(slices.Clone(b.Selector), Requirement{Key: acceleratorLabel, Values: []string{accelerator}})
		}
	}
	return o
}

func (l *leading) option(g Gang, o GangOption) bool {
	bundles := sortedBundles(o.Bundles)
	asks := make([]ask, 0, len(bundles))
	for _, b := range bundles {
		asks = append(asks, l.ask(b.Resources, b.Selector))
	}
	switch g.Strategy {
	case StrictPack:
		return l.together(asks)
	case StrictSpread:
		return l.apart(g.ID, asks)
	case Pack:
		return l.packOrSpread(bundles, asks)
	case Spread:
	}
	return l.anywhere(bundles)
}

// packOrSpread prefers one Ray node for all bundles, but not at a higher price:
// PACK is a wish.
func (l *leading) packOrSpread(bundles []Bundle, asks []ask) bool {
	if l.way.apart {
		return l.anywhere(bundles)
	}
	mark := l.p.mark()
	before := l.dearer
	packed := l.together(asks)
	price := l.dearer - before
	if packed && price == 0 {
		return true
	}
	l.p.rollback(mark)
	spread := l.anywhere(bundles)
	if spread && (!packed || l.dearer-before < price) {
		return true
	}
	l.p.rollback(mark)
	return packed && l.together(asks)
}

// anywhere puts every bundle where it is cheapest.
func (l *leading) anywhere(bundles []Bundle) bool {
	for _, b := range bundles {
		if l.serve(b.Resources, []Selector{b.Selector}, 1) > 0 {
			return false
		}
	}
	return true
}

// sortedBundles puts the bundles that are hardest to place first. Most gangs
// have equal ones, so what tells them apart is written down once for each.
func sortedBundles(in []Bundle) []Bundle {
	type keyed struct {
		Bundle
		key, selector string
	}
	all := make([]keyed, 0, len(in))
	for _, b := range in {
		all = append(all, keyed{b, b.Resources.Key(), selectorKey(b.Selector)})
	}
	slices.SortStableFunc(all, func(a, b keyed) int {
		return cmp.Or(cmp.Compare(b.Resources[ResourceGPU], a.Resources[ResourceGPU]), cmp.Compare(b.Resources[ResourceMemory], a.Resources[ResourceMemory]),
			cmp.Compare(b.Resources[ResourceCPU], a.Resources[ResourceCPU]), cmp.Compare(a.key, b.key), cmp.Compare(a.selector, b.selector))
	})
	out := make([]Bundle, 0, len(in))
	for _, b := range all {
		out = append(out, b.Bundle)
	}
	return out
}

func selectorKey(s Selector) string {
	if len(s) == 0 {
		return ""
	}
	return fmt.Sprintf("%v", s)
}

// together puts all bundles on one Ray node.
func (l *leading) together(bundles []ask) bool {
	if len(bundles) == 0 {
		return false
	}
	for _, b := range l.bins {
		if b.times(&bundles[0], 1) > 0 && l.allOn(b, bundles) {
			return true
		}
	}
	suits := func(empty *rayBin) bool {
		trial := *l
		trial.bins = nil
		mark := l.p.mark()
		ok := trial.allOn(empty, bundles)
		l.p.rollback(mark)
		return ok
	}
	b := l.open(&bundles[0], 1, suits)
	if b == nil && l.refusal.why == ReasonNoWorkerGroup {
		l.refusal.message = "no worker group has a Ray node that holds all of it, labels included"
	}
	return b != nil && l.allOn(b, bundles)
}

// allOn puts all bundles on one node of the bin.
func (l *leading) allOn(b *rayBin, bundles []ask) bool {
	mark := l.p.mark()
	one := l.split(b, 1)
	for i := range bundles {
		if !bundles[i].selector.matches(one.labels.labels) || one.times(&bundles[i], 1) == 0 {
			l.p.rollback(mark)
			return false
		}
		l.take(one, &bundles[i], 1, 1)
	}
	return true
}

// apart puts every bundle on a Ray node of its own, none of which holds a
// bundle of the same gang already.
func (l *leading) apart(id string, bundles []ask) bool {
	used := map[*rayBin]bool{}
	for i := range bundles {
		on := l.unused(id, used, &bundles[i])
		if on == nil && l.open(&bundles[i], 1, nil) != nil {
			on = l.unused(id, used, &bundles[i])
		}
		if on == nil {
			return false
		}
		used[l.take(on, &bundles[i], 1, 1)] = true
	}
	return true
}

// unused finds the first nodes that may still take the bundle.
func (l *leading) unused(id string, used map[*rayBin]bool, bundle *ask) *rayBin {
	for _, b := range l.bins {
		if b.times(bundle, 1) > 0 && !used[b] && !slices.Contains(b.gangs, id) && bundle.selector.matches(b.labels.labels) {
			return b
		}
	}
	return nil
}
