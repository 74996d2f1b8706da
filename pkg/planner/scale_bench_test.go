package planner_test

import (
	"fmt"
	"math"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// BenchmarkMake prints what a plan costs as shapes, nodes and requests grow,
// with and without equal nodes. The budgets are those of the design.
func BenchmarkMake(b *testing.B) {
	for _, c := range []struct {
		w      scale
		budget float64 // of CPU, in ms; zero: none
	}{
		{scale{0, 150, 1_000, 0, false}, 5},
		{scale{100, 150, 1_000, 0, false}, 0},
		{scale{1000, 150, 10_000, 20, false}, 0},
		{scale{1000, 150, 10_000, 20, true}, 0},
		{scale{1000, 300, 10_000, 20, false}, 0},
		{scale{5000, 1000, 1_000_000, 200, false}, 50},
		{scale{5000, 1000, 1_000_000, 200, true}, 0},
	} {
		b.Run(c.w.String(), func(b *testing.B) { plan(b, c.w.snapshot(), c.budget, false) })
	}
}

// BenchmarkTick prints what the planner's part of a tick of the daemon costs:
// a plan and the check of its rules.
func BenchmarkTick(b *testing.B) {
	for _, w := range []daemon{{1000, 20}, {1000, 200}, {1000, 1000}} {
		b.Run(fmt.Sprintf("nodes=%d/pods=%d/clusters=%d", w.nodes, 10*w.nodes, w.clusters), func(b *testing.B) { plan(b, w.snapshot(), 100, true) })
	}
}

// plan measures one plan: its CPU time, the garbage collector included, as a
// mean and as the least of all rounds, which a busy machine disturbs least; and
// what it allocates.
func plan(b *testing.B, s planner.Snapshot, budget float64, check bool) {
	b.Helper()
	var before, after runtime.MemStats
	least, sum := time.Duration(math.MaxInt64), time.Duration(0)
	runtime.ReadMemStats(&before)
	n := 0
	for b.Loop() {
		start := cpuTime()
		plan, _ := planner.Make(s, planner.Memory{})
		if check {
			if err := planner.Check(s, plan); err != nil {
				b.Fatal(err)
			}
		}
		d := cpuTime() - start
		least, sum = min(least, d), sum+d
		n++
		b.ReportMetric(float64(len(plan.Steps)), "steps")
	}
	runtime.ReadMemStats(&after)
	b.ReportMetric(least.Seconds()*1000, "least-cpu-ms")
	b.ReportMetric(sum.Seconds()*1000/float64(n), "mean-cpu-ms")
	if budget > 0 {
		b.ReportMetric(budget, "budget-cpu-ms")
	}
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(n)/(1<<20), "MiB")
}

// cpuTime is what the process has used so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // no such call: there is nothing to measure
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
