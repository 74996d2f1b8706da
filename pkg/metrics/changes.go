package metrics

import (
	"cmp"
	"slices"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// DecisionKey is what makes a decision the same as one of an earlier tick. Its
// message and amounts may differ.
type DecisionKey struct {
	Kind       planner.SubjectKind `json:"kind"`
	Subject    string              `json:"subject"`
	RayCluster string              `json:"rayCluster,omitempty"`
	Outcome    planner.Outcome     `json:"outcome"`
	Reason     planner.Reason      `json:"reason"`
	To         int64               `json:"to,omitempty"`
}

func keyOf(d *planner.Decision) DecisionKey {
	return DecisionKey{d.Kind, d.Subject, d.RayCluster, d.Outcome, d.Reason, d.To}
}

// changes remembers the decisions of the last tick. The zero value remembers
// none.
type changes struct {
	last map[DecisionKey]bool
}

// next returns the decisions that the last tick did not have, and the keys of
// those of the last tick that are not there any more, sorted.
func (c *changes) next(decisions []planner.Decision) (begun []planner.Decision, ended []DecisionKey) {
	now := make(map[DecisionKey]bool, len(decisions))
	for i := range decisions {
		k := keyOf(&decisions[i])
		if !c.last[k] {
			begun = append(begun, decisions[i])
		}
		now[k] = true
	}
	for k := range c.last {
		if !now[k] {
			ended = append(ended, k)
		}
	}
	slices.SortFunc(ended, func(a, b DecisionKey) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.RayCluster, b.RayCluster),
			cmp.Compare(a.Outcome, b.Outcome), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.To, b.To))
	})
	c.last = now
	return begun, ended
}
