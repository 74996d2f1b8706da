package sizing_test

import (
	"math"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/tandem-autoscaler/tandem/pkg/planner/packing"
	"github.com/tandem-autoscaler/tandem/pkg/sizing"
)

// configurationBound is the bound of the configuration program on the pods of
// openb, where dual feasible functions stand for the devices.
const configurationBound = 11996.7

// TestOpenb holds the pods of openb, all at once, to their goal: the devices
// are shared, so this rests on exact prices of what fits on one.
func TestOpenb(t *testing.T) {
	p := problem(t, "openb", "openb_classes", false)
	r := packing.Solve(p)
	cost, bound := float64(r.Cost)/sizing.PriceUnit, float64(r.Bound)/sizing.PriceUnit
	assert.LessOrEqual(t, cost, 1.01*configurationBound)
	assert.GreaterOrEqual(t, bound, 0.998*configurationBound)
	for _, n := range r.Unplaced {
		assert.Zero(t, n)
	}
}

// ticks are the windows of so many pods.
func ticks(tb testing.TB, size string) (all []packing.Problem) {
	tb.Helper()
	p := problem(tb, "openb_ticks", "openb_classes", false)
	window := ""
	for _, s := range p.Shapes {
		name := strings.Split(s.Name, "/")
		if name[0] != size {
			continue
		}
		if name[1] != window {
			window = name[1]
			all = append(all, packing.Problem{Classes: p.Classes})
		}
		at := &all[len(all)-1]
		at.Shapes = append(at.Shapes, s)
	}
	return all
}

// TestTicks holds the mean cost of the windows near the bound that a large
// budget proves for them.
func TestTicks(t *testing.T) {
	for size, goal := range map[string]float64{"20": 1.05, "50": 1.04} {
		var cost, bound float64
		for _, p := range ticks(t, size) {
			r := packing.Solve(p)
			cost += float64(r.Cost)
			p.Budget = packing.Work(100)
			bound += float64(packing.Solve(p).Bound)
		}
		assert.LessOrEqual(t, cost, goal*bound, size)
	}
}

// BenchmarkOpenb prints the cost, the proven gap and the least CPU time.
func BenchmarkOpenb(b *testing.B) {
	for _, budget := range []float64{0, 50, 500} {
		for _, size := range []string{"20", "50", "200", "all"} {
			problems := []packing.Problem{problem(b, "openb", "openb_classes", false)}
			if size != "all" {
				problems = ticks(b, size)
			}
			b.Run(size+"/"+map[float64]string{0: "auto", 50: "50ms", 500: "500ms"}[budget], func(b *testing.B) {
				least := time.Duration(math.MaxInt64)
				var cost, gap float64
				for b.Loop() {
					cost, gap = 0, 0
					before := cpuTime(b)
					for _, p := range problems {
						if budget > 0 {
							p.Budget = packing.Work(budget)
						}
						r := packing.Solve(p)
						cost += float64(r.Cost) / sizing.PriceUnit
						gap += 100 * r.Gap() / float64(len(problems))
					}
					least = min(least, (cpuTime(b)-before)/time.Duration(len(problems)))
				}
				b.ReportMetric(least.Seconds()*1000, "least-cpu-ms/plan")
				b.ReportMetric(cost, "cost")
				b.ReportMetric(gap, "gap%")
			})
		}
	}
}

// cpuTime is what the process has used so far.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
