package demand_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tandem-autoscaler/tandem/pkg/demand/gcs/autoscalerpb"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

func bundles(each ...amounts) []*request {
	out := make([]*request, 0, len(each))
	for _, b := range each {
		out = append(out, &request{ResourcesBundle: b})
	}
	return out
}

func constrained(r []*request, c *autoscalerpb.PlacementConstraint) []*request {
	for _, b := range r {
		b.PlacementConstraints = []*autoscalerpb.PlacementConstraint{c}
	}
	return r
}

func TestGangs(t *testing.T) {
	t.Parallel()
	spread := &autoscalerpb.PlacementConstraint{AntiAffinity: &autoscalerpb.AntiAffinityConstraint{LabelName: "_PG_" + pgHex}}
	pack := &autoscalerpb.PlacementConstraint{Affinity: &autoscalerpb.AffinityConstraint{LabelName: "_PG_" + pgHex}}
	cpu := planner.Bundle{Resources: planner.Resources{"CPU": 1000}}
	gpu := planner.Bundle{Resources: planner.Resources{"GPU": 10000}}
	one := []planner.GangOption{{Bundles: []planner.Bundle{cpu}}}
	for name, c := range map[string]struct {
		in   *gang
		want []planner.Gang
		why  string
	}{
		"pending": {
			&gang{Details: pgHex + ":STRICT_SPREAD|PENDING", Requests: constrained(bundles(amounts{"GPU": 1}, amounts{"CPU": 1}), spread)},
			[]planner.Gang{{ID: pgHex, Strategy: planner.StrictSpread, Options: []planner.GangOption{{Bundles: []planner.Bundle{cpu, gpu}}}}},
			"",
		},
		"rescheduling": {
			&gang{Details: pgHex + ":PACK|RESCHEDULING", Requests: bundles(amounts{"CPU": 1})},
			[]planner.Gang{{ID: pgHex, Strategy: planner.Pack, Rescheduling: true, Options: one}},
			"",
		},
		"bundle selectors are preferred": {
			&gang{Details: pgHex + ":SPREAD|PENDING", Requests: bundles(amounts{"CPU": 9}), BundleSelectors: []*autoscalerpb.BundleSelector{
				{ResourceRequests: bundles(amounts{"CPU": 1})}, {}, {ResourceRequests: bundles(amounts{"GPU": 1})},
			}},
			[]planner.Gang{{ID: pgHex, Strategy: planner.Spread, Options: []planner.GangOption{one[0], {Bundles: []planner.Bundle{gpu}}}}},
			"",
		},
		"empty bundle selectors do not hide requests": {
			&gang{Details: pgHex + ":PACK|PENDING", Requests: bundles(amounts{"CPU": 1}), BundleSelectors: []*autoscalerpb.BundleSelector{{}}},
			[]planner.Gang{{ID: pgHex, Strategy: planner.Pack, Options: one}},
			"",
		},
		"empty entries are skipped": {&gang{Details: pgHex + ":PACK|CREATED"}, nil, ""},
		"strategy of the future, affinity": {
			&gang{Details: pgHex + ":RACK_PACK|PENDING", Requests: constrained(bundles(amounts{"CPU": 1}), pack)},
			[]planner.Gang{{ID: pgHex, Strategy: planner.StrictPack, Options: one}},
			"",
		},
		"strategy of the future, anti-affinity": {
			&gang{Details: "whatever", Requests: constrained(bundles(amounts{"CPU": 1}), spread)},
			[]planner.Gang{{ID: pgHex, Strategy: planner.StrictSpread, Options: one}},
			"",
		},
		"no details at all": {
			&gang{Requests: bundles(amounts{"CPU": 1})},
			[]planner.Gang{{ID: "unnamed-1", Strategy: planner.Pack, Options: one}},
			"",
		},
		"a selector of a bundle": {
			&gang{Details: pgHex + ":PACK|PENDING", Requests: []*request{want(1, amounts{"CPU": 1}, labels(in("rack", "r1"))).GetRequest()}},
			[]planner.Gang{{ID: pgHex, Strategy: planner.Pack, Options: []planner.GangOption{{Bundles: []planner.Bundle{
				{Resources: planner.Resources{"CPU": 1000}, Selector: planner.Selector{{Key: "rack", Values: []string{"r1"}}}},
			}}}}},
			"",
		},
		"one malformed bundle spoils the gang": {
			&gang{Details: pgHex + ":PACK|PENDING", Requests: bundles(amounts{"CPU": 1}, amounts{"CPU": -1})},
			nil, `a bundle: "CPU" is negative`,
		},
		"one malformed fallback does not": {
			&gang{Details: pgHex + ":PACK|PENDING", BundleSelectors: []*autoscalerpb.BundleSelector{
				{ResourceRequests: bundles(amounts{"CPU": -1})}, {ResourceRequests: bundles(amounts{"CPU": 1})},
			}},
			[]planner.Gang{{ID: pgHex, Strategy: planner.Pack, Options: one}},
			`a bundle: "CPU" is negative`,
		},
		"locality is named": {
			&gang{Details: pgHex + ":PACK|PENDING", BundleSelectors: []*autoscalerpb.BundleSelector{
				{ResourceRequests: bundles(amounts{"CPU": 1}), LocalityRequirement: &autoscalerpb.LocalityRequirement{}},
			}},
			[]planner.Gang{{ID: pgHex, Strategy: planner.Pack, Options: one}},
			"not modelled",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := convert(&state{PendingGangResourceRequests: []*gang{c.in}})
			assert.Equal(t, c.want, got.Gangs)
			if c.why == "" {
				assert.Empty(t, got.Rejected)
				return
			}
			require.Len(t, got.Rejected, 1)
			assert.Contains(t, got.Rejected[0].Why, c.why)
		})
	}
}

func TestGangsWithTheSameOrNoID(t *testing.T) {
	t.Parallel()
	g := &gang{Details: pgHex + ":PACK|PENDING", Requests: bundles(amounts{"CPU": 1})}
	nameless := &gang{Details: strings.Repeat("Z", 300), Requests: bundles(amounts{"CPU": 2})}
	got := convert(&state{PendingGangResourceRequests: []*gang{g, nameless, g, nameless}})
	var ids []string
	for _, g := range got.Gangs {
		ids = append(ids, g.ID)
	}
	assert.ElementsMatch(t, []string{pgHex, "unnamed-1", "unnamed-2"}, ids)
	assert.Equal(t, []planner.Rejected{{What: "gang request", Why: "its placement group is listed already", Count: 1}}, got.Rejected)
}
