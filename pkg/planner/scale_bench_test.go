package planner_test

import (
	"fmt"
	"runtime"
	"slices"
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
		{scale{nodes: 0, shapes: 150, requests: 1_000}, 5},
		{scale{nodes: 100, shapes: 150, requests: 1_000}, 0},
		{scale{nodes: 1000, shapes: 150, requests: 10_000, gangs: 20}, 0},
		{scale{nodes: 1000, shapes: 150, requests: 10_000, gangs: 20, mixed: true}, 0},
		{scale{nodes: 1000, shapes: 300, requests: 10_000, gangs: 20}, 0},
		{scale{nodes: 5000, shapes: 1000, requests: 1_000_000, gangs: 200}, 50},
		{scale{nodes: 5000, shapes: 1000, requests: 1_000_000, gangs: 200, endless: true}, 50},
		{scale{nodes: 5000, shapes: 1000, requests: 1_000_000, gangs: 200, mixed: true}, 0},
		{scale{nodes: 5000, shapes: 1000, requests: 1_000_000, gangs: 200, mixed: true, endless: true}, 0},
	} {
		b.Run(c.w.String(), func(b *testing.B) { measure(b, c.w.snapshot(), planner.Memory{}, c.budget, false) })
	}
}

// BenchmarkTick prints what the planner's part of a tick of the daemon costs: a
// plan that remembers the one before it, and the check of its rules.
func BenchmarkTick(b *testing.B) {
	for _, w := range []daemon{{1000, 20}, {1000, 200}, {1000, 1000}} {
		b.Run(fmt.Sprintf("nodes=%d/pods=%d/clusters=%d", w.nodes, 10*w.nodes, w.clusters), func(b *testing.B) {
			s := w.snapshot()
			_, m := planner.Make(s, planner.Memory{})
			s.At = s.At.Add(5 * time.Second)
			measure(b, s, m, 100, true)
		})
	}
}

// measure takes one plan again and again: its CPU time, the garbage collector
// included, as a mean, the 99th percentile, and the 10th, which a busy machine
// disturbs least; and what it allocates. The very least says too little: what
// other threads used is sometimes counted a round later.
func measure(b *testing.B, s planner.Snapshot, m planner.Memory, budget float64, check bool) {
	b.Helper()
	var before, after runtime.MemStats
	var rounds []float64
	sum, steps := 0.0, 0
	runtime.ReadMemStats(&before)
	for b.Loop() {
		start := cpuTime()
		plan, _ := planner.Make(s, m)
		if check {
			if err := planner.Check(s, plan); err != nil {
				b.Fatal(err)
			}
		}
		ms := (cpuTime() - start).Seconds() * 1000
		rounds, sum, steps = append(rounds, ms), sum+ms, len(plan.Steps)
	}
	runtime.ReadMemStats(&after)
	slices.Sort(rounds)
	b.ReportMetric(float64(steps), "steps")
	b.ReportMetric(percentile(rounds, 10), "p10-cpu-ms")
	b.ReportMetric(sum/float64(len(rounds)), "mean-cpu-ms")
	b.ReportMetric(percentile(rounds, 99), "p99-cpu-ms")
	if budget > 0 {
		b.ReportMetric(budget, "budget-cpu-ms")
	}
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(len(rounds))/(1<<20), "MiB")
}

// percentile of values that are sorted.
func percentile(sorted []float64, p int) float64 { return sorted[max(0, (len(sorted)*p-1)/100)] }

// cpuTime is what the process has used so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // no such call: there is nothing to measure
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
