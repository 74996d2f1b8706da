package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// planner is one of those that are compared.
type planner struct {
	name string
	ours bool
	run  func(context.Context, *work) (plan, error)
}

var planners = []planner{
	{"karpenter", false, karpenter},
	{"karpenter-tuned", false, karpenterTuned},
	{"tandem", true, tandem},
}

func plannerNames() []string {
	out := make([]string, 0, len(planners))
	for _, p := range planners {
		out = append(out, p.name)
	}
	return out
}

// pickPlanners reads the flag --planners.
func pickPlanners(list string) ([]planner, error) {
	var out []planner
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(planners, func(p planner) bool { return p.name == strings.TrimSpace(name) })
		if i < 0 {
			return nil, fmt.Errorf("%w: there is no planner %q; known: %s", errUsage, name, strings.Join(plannerNames(), ", "))
		}
		out = append(out, planners[i])
	}
	return out, nil
}

// row is what a planner made of a case.
type row struct {
	Case    string `json:"case"`
	Planner string `json:"planner"`
	// Seconds and CPUSeconds are medians of the runs; CPU time counts the
	// garbage collector and all threads.
	Seconds    float64 `json:"seconds"`
	CPUSeconds float64 `json:"cpuSeconds"`
	Runs       int     `json:"runs"`
	Nodes      int64   `json:"nodes"`
	Cost       float64 `json:"cost"`
	// OverCheapest is how far the cost is above the cheapest plan of the run
	// that is allowed and leaves the fewest pods, in percent. It means nothing
	// for a plan that is not allowed or leaves more.
	OverCheapest *float64 `json:"overCheapestPercent,omitempty"`
	// Bound is a proven lower bound on the cost, if the planner has one.
	Bound float64 `json:"bound,omitempty"`
	Left  int64   `json:"podsLeft"`
	// AllocatedBytes and Allocations are of one run.
	AllocatedBytes uint64   `json:"allocatedBytes"`
	Allocations    uint64   `json:"allocations"`
	CapsBroken     []string `json:"capsBroken,omitempty"`
	Invalid        []string `json:"invalid,omitempty"`
}

func (r *row) broken() bool { return len(r.CapsBroken) > 0 || len(r.Invalid) > 0 }

// measure runs a planner on a work a number of times.
func measure(ctx context.Context, name string, w *work, p planner, runs int) (row, error) {
	r := row{Case: name, Planner: p.name, Runs: runs}
	var wall, cpu []float64
	for range runs {
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		cpuBefore, start := cpuSeconds(), time.Now()
		made, err := p.run(ctx, w)
		wall, cpu = append(wall, time.Since(start).Seconds()), append(cpu, cpuSeconds()-cpuBefore)
		runtime.ReadMemStats(&after)
		if err != nil {
			return r, err
		}
		v := examine(w, made)
		r.Nodes, r.Cost, r.Left = v.nodes, float64(v.cost)/1000, v.left
		r.Bound = float64(made.bound) / 1000
		r.CapsBroken, r.Invalid = v.caps, v.faults
		r.AllocatedBytes, r.Allocations = after.TotalAlloc-before.TotalAlloc, after.Mallocs-before.Mallocs
	}
	r.Seconds, r.CPUSeconds = median(wall), median(cpu)
	return r, nil
}

func median(list []float64) float64 {
	slices.Sort(list)
	n := len(list)
	return (list[n/2] + list[(n-1)/2]) / 2
}

// cpuSeconds is what the process has used so far.
func cpuSeconds() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// relate compares the costs of the plans that are allowed, case by case.
func relate(rows []row) {
	best := map[string]*row{}
	better := func(a, b *row) bool {
		return a.Left < b.Left || a.Left == b.Left && a.Cost < b.Cost
	}
	for i := range rows {
		r := &rows[i]
		if b := best[r.Case]; !r.broken() && (b == nil || better(r, b)) {
			best[r.Case] = r
		}
	}
	for i := range rows {
		r := &rows[i]
		if b := best[r.Case]; b != nil && !r.broken() && r.Left == b.Left && b.Cost > 0 {
			r.OverCheapest = new((r.Cost/b.Cost - 1) * 100)
		}
	}
}

// write prints the rows.
func write(out io.Writer, format string, rows []row) error {
	if format == "json" {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(rows)
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "case\tplanner\ttime s\tCPU s\tnodes\tcost\tover cheapest\tpods left\tallocated MB\tallocations\tcaps broken")
	for i := range rows {
		r := &rows[i]
		over := "-"
		if r.OverCheapest != nil {
			over = fmt.Sprintf("%+.3f %%", *r.OverCheapest)
		}
		caps := "no"
		if r.broken() {
			caps = "YES: " + strings.Join(append(r.CapsBroken, r.Invalid...), ", ")
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%.4f\t%.4f\t%d\t%.3f\t%s\t%d\t%.1f\t%d\t%s\n", r.Case, r.Planner, r.Seconds, r.CPUSeconds,
			r.Nodes, r.Cost, over, r.Left, float64(r.AllocatedBytes)/1e6, r.Allocations, caps)
	}
	return t.Flush()
}
