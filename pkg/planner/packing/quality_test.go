package packing_test

import (
	"testing"
	"time"

	"github.com/tandem-autoscaler/tandem/pkg/planner/packing"
)

// BenchmarkMixes prints the distance from the proven bound, in percent, beside
// the time.
func BenchmarkMixes(b *testing.B) {
	for _, m := range mixes() {
		p := m.problem()
		for _, budget := range []time.Duration{50 * time.Millisecond, 500 * time.Millisecond} {
			b.Run(m.String()+" "+budget.String(), func(b *testing.B) {
				p.Budget = packing.Work(float64(budget.Milliseconds()))
				for b.Loop() {
					r := packing.Solve(p)
					b.ReportMetric(100*r.Gap(), "gap%")
					b.ReportMetric(float64(left(r)), "unplaced")
					b.ReportMetric(float64(r.Work), "work")
					b.ReportMetric(float64(r.Bound), "bound")
				}
			})
		}
	}
}

func left(r packing.Result) (n int64) {
	for _, v := range r.Unplaced {
		n += v
	}
	return n
}
