package demand

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tandem-autoscaler/tandem/pkg/demand/gcs/autoscalerpb"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// What the rejections of gangs are filed under.
const (
	whatGang     = "gang request"
	whatFallback = "fallback of a gang request"
	whatLocality = "locality requirement of a gang request"
)

// gangs converts placement groups that wait. Entries without bundles stand for
// groups that miss nothing, and are passed over.
func gangs(in []*autoscalerpb.GangResourceRequest, l Limits, left tally) []planner.Gang {
	var out []planner.Gang
	for _, g := range in {
		alternatives := alternativesOf(g)
		if len(alternatives) == 0 {
			continue
		}
		gang, err := gangOf(g, alternatives, l, left)
		if err != nil {
			left.add(whatGang, err.Error(), 1)
			continue
		}
		out = append(out, gang)
	}
	slices.SortStableFunc(out, func(a, b planner.Gang) int { return strings.Compare(gangKey(a), gangKey(b)) })
	out = distinct(out, left)
	if len(out) > l.Gangs {
		left.add(whatGang, fmt.Sprintf("truncated: more than %d", l.Gangs), int64(len(out)-l.Gangs))
		out = out[:l.Gangs]
	}
	return out
}

// alternativesOf lists the ways to place a gang that have bundles. Servers
// before Ray 2.49 fill only the older field.
func alternativesOf(g *autoscalerpb.GangResourceRequest) []*autoscalerpb.BundleSelector {
	var out []*autoscalerpb.BundleSelector
	for _, b := range g.GetBundleSelectors() {
		if len(b.GetResourceRequests()) > 0 {
			out = append(out, b)
		}
	}
	if len(out) == 0 && len(g.GetRequests()) > 0 {
		out = []*autoscalerpb.BundleSelector{{ResourceRequests: g.GetRequests()}}
	}
	return out
}

func gangOf(g *autoscalerpb.GangResourceRequest, alternatives []*autoscalerpb.BundleSelector, l Limits, left tally) (planner.Gang, error) {
	id, strategy, state := details(g.GetDetails())
	label, constrained := constraintOf(alternatives[0].GetResourceRequests())
	if id == "" {
		id = label
	}
	if strategy == "" {
		strategy = constrained
	}
	out := planner.Gang{ID: id, Strategy: strategy, Rescheduling: state == "RESCHEDULING"}
	var first error
	for _, a := range alternatives {
		option, err := optionOf(a, l)
		if err != nil {
			if first == nil {
				first = err
			}
			continue
		}
		if a.GetLocalityRequirement() != nil {
			left.add(whatLocality, "not modelled: planned as if it were absent", 1)
		}
		out.Options = append(out.Options, option)
	}
	if len(out.Options) == 0 {
		return out, first
	}
	if dropped := len(alternatives) - len(out.Options); dropped > 0 {
		left.add(whatFallback, first.Error(), int64(dropped))
	}
	return out, nil
}

func optionOf(a *autoscalerpb.BundleSelector, l Limits) (planner.GangOption, error) {
	requests := a.GetResourceRequests()
	if len(requests) > l.Bundles {
		return planner.GangOption{}, fmt.Errorf("more than %d bundles", l.Bundles)
	}
	out := planner.GangOption{Bundles: make([]planner.Bundle, 0, len(requests))}
	for _, r := range requests {
		resources, err := bundle(r.GetResourcesBundle())
		if err != nil {
			return out, fmt.Errorf("a bundle: %w", err)
		}
		b := planner.Bundle{Resources: resources}
		if s := r.GetLabelSelectors(); len(s) > 0 {
			// A bundle has one selector; the fallbacks are whole alternatives.
			selector, err := selectorOf(s[0])
			if err != nil {
				return out, fmt.Errorf("a bundle: %w", err)
			}
			if len(selector) > 0 {
				b.Selector = selector
			}
		}
		out.Bundles = append(out.Bundles, b)
	}
	slices.SortStableFunc(out.Bundles, func(a, b planner.Bundle) int { return strings.Compare(bundleKey(a), bundleKey(b)) })
	return out, nil
}

// details takes "<hex>:<STRATEGY>|<STATE>" apart. What it does not recognise is
// empty.
func details(s string) (id string, strategy planner.Strategy, state string) {
	id, rest, _ := strings.Cut(s, ":")
	if !isGangID(id) {
		id = ""
	}
	name, state, _ := strings.Cut(rest, "|")
	switch known := planner.Strategy(name); known {
	case planner.StrictPack, planner.Pack, planner.Spread, planner.StrictSpread:
		return id, known, state
	default:
		return id, "", state
	}
}

// constraintOf reads the id and the strategy of a gang from the constraints of
// its bundles, which only the strict strategies have.
func constraintOf(bundles []*autoscalerpb.ResourceRequest) (id string, strategy planner.Strategy) {
	for _, b := range bundles {
		for _, c := range b.GetPlacementConstraints() {
			label, found := c.GetAffinity().GetLabelName(), planner.StrictPack
			if c.GetAntiAffinity() != nil {
				label, found = c.GetAntiAffinity().GetLabelName(), planner.StrictSpread
			}
			if c.GetAffinity() == nil && c.GetAntiAffinity() == nil {
				continue
			}
			if id := strings.TrimPrefix(label, gangLabel); isGangID(id) {
				return id, found
			}
			return "", found
		}
	}
	return "", planner.Pack
}

// distinct drops gangs whose id was seen already, and gives those without an id
// one that depends on what they ask for. It expects equal gangs side by side.
func distinct(in []planner.Gang, left tally) []planner.Gang {
	seen := make(map[string]bool, len(in))
	out := in[:0]
	nameless := 0
	for _, g := range in {
		if g.ID == "" {
			nameless++
			g.ID = fmt.Sprintf("unnamed-%d", nameless)
		}
		if seen[g.ID] {
			left.add(whatGang, errDuplicate.Error(), 1)
			continue
		}
		seen[g.ID] = true
		out = append(out, g)
	}
	return out
}

var errDuplicate = errors.New("its placement group is listed already")

func gangKey(g planner.Gang) string {
	var b strings.Builder
	b.WriteString(g.ID + "|" + string(g.Strategy))
	for _, o := range g.Options {
		b.WriteByte('|')
		for _, m := range o.Bundles {
			b.WriteString(bundleKey(m))
			b.WriteByte('&')
		}
	}
	return b.String()
}

func bundleKey(b planner.Bundle) string {
	return b.Resources.Key() + ";" + selectorsKey([]planner.Selector{b.Selector})
}
