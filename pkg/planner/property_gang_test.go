package planner_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// TestRulesForGangs is rule I3 for gangs in wild worlds: one that cannot be whole
// takes nothing. Without those that are unmet, the plan asks for the same nodes
// and the same replicas.
func TestRulesForGangs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, m := drawWide(t, false)
		plan, _ := planner.Make(s, m)
		unmet := map[string]bool{}
		for _, d := range plan.Decisions {
			unmet[d.Subject] = unmet[d.Subject] || d.Outcome == planner.OutcomeUnmet
		}
		s.RayClusters = slices.Clone(s.RayClusters)
		for i := range s.RayClusters {
			c := &s.RayClusters[i]
			c.Gangs = slices.DeleteFunc(slices.Clone(c.Gangs), func(g planner.Gang) bool { return unmet[c.Key()+" placement group "+g.ID] })
		}
		without, _ := planner.Make(s, m)
		if a, b := asksFor(plan), asksFor(without); a != b {
			t.Fatalf("I3: with the gangs that get nothing:\n%s\nwithout them:\n%s", tell(plan), tell(without))
		}
	})
}

// asksFor lists the steps that ask for more.
func asksFor(plan planner.Plan) string {
	var out []string
	for _, st := range plan.Steps {
		if st.Kind == planner.StepGrow || st.Kind == planner.StepGrowWorkers {
			out = append(out, tellStep(st))
		}
	}
	return strings.Join(out, "\n")
}
