package demand

import (
	"cmp"
	"slices"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// maxRejected bounds the kinds of rejections that are told apart.
const maxRejected = 100

// tally counts what was left out, by what it was and why.
type tally map[planner.Rejected]int64

func (t tally) add(what, why string, count int64) {
	t[planner.Rejected{What: what, Why: clip(why, maxName)}] += max(count, 1)
}

// list is sorted, and sums up what exceeds maxRejected kinds.
func (t tally) list() []planner.Rejected {
	if len(t) == 0 {
		return nil
	}
	out := make([]planner.Rejected, 0, len(t))
	for r, n := range t {
		r.Count = n
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b planner.Rejected) int {
		return cmp.Or(cmp.Compare(a.What, b.What), cmp.Compare(a.Why, b.Why))
	})
	if len(out) > maxRejected {
		rest := planner.Rejected{What: "other entries", Why: "malformed in more ways than are listed"}
		for _, r := range out[maxRejected:] {
			rest.Count += r.Count
		}
		out = append(out[:maxRejected:maxRejected], rest)
	}
	return out
}
