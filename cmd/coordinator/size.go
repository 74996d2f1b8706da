package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tandem-autoscaler/tandem/pkg/planner/packing"
	"github.com/tandem-autoscaler/tandem/pkg/sizing"
)

// sizeResult is what `coordinator size` prints.
type sizeResult struct {
	Cost       float64          `json:"cost"`
	Bound      float64          `json:"bound"`
	GapPercent float64          `json:"gap_percent"`
	Nodes      map[string]int64 `json:"nodes"`
	Unplaced   map[string]int64 `json:"unplaced,omitempty"`
	PlanMS     float64          `json:"plan_ms"`
}

type sizeFlags struct {
	demand, classes, output string
	taint                   bool
	budget                  time.Duration
}

func newSize() *cobra.Command {
	var f sizeFlags
	cmd := &cobra.Command{
		Use:   "size --demand FILE --classes FILE",
		Short: "Choose VMs for a demand at the lowest price, with a proven bound; nothing is contacted",
		Long: `size packs a demand on VM classes by the planner's own packer and prints how many VMs
of each class to buy, what they cost, and a lower bound that no plan can beat.

The classes are CSV with the columns name,cpu_milli,mem_mib,gpu,price,max; max may be
absent or empty (no limit), and 0 means that none is to be had. The demand is CSV with
the columns name,count,cpu_milli,mem_mib,gpu, where gpu below 1 is a share of one
device, or a trace in the format demandtrace/v1, all of it at once. Files that end in
.gz are unpacked, and "-" reads standard input.

The budget is counted in steps of work, so the same input always gives the same plan;
its time is what these steps take on one core of a machine of 2024. Without it, the
budget grows with the number of distinct shapes.

Where stock or size leave pods unplaced, they are listed, and the bound is one for the
pods that are placed.`,
		Example: "  coordinator size --demand pods.csv --classes classes.csv --gpu-taint\n  gunzip -c trace.csv.gz | coordinator size --demand - --classes classes.csv --budget 500ms -o json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := f.run(cmd)
			if err != nil {
				return err
			}
			if f.output == "table" {
				return r.table(cmd.OutOrStdout())
			}
			return write(cmd.OutOrStdout(), f.output, r)
		},
	}
	cmd.Flags().StringVar(&f.demand, "demand", "", `CSV file with the demand, or "-"`)
	cmd.Flags().StringVar(&f.classes, "classes", "", `CSV file with the VM classes, or "-"`)
	cmd.Flags().BoolVar(&f.taint, "gpu-taint", false, "VMs with GPUs refuse pods without")
	cmd.Flags().DurationVar(&f.budget, "budget", 0, "work to spend, as the time that it takes about, such as 50ms")
	outputFlag(cmd, &f.output)
	return cmd
}

func (f *sizeFlags) run(cmd *cobra.Command) (*sizeResult, error) {
	switch {
	case f.demand == "":
		return nil, usageError{errors.New("which demand? name the file with --demand")}
	case f.classes == "":
		return nil, usageError{errors.New("which classes? name the file with --classes")}
	case f.demand == "-" && f.classes == "-":
		return nil, usageError{errors.New("only one of --demand and --classes can be standard input")}
	case f.budget < 0 || cmd.Flags().Changed("budget") && f.budget == 0:
		return nil, usageError{fmt.Errorf("budget %s is not above zero", f.budget)}
	case f.output != "table" && f.output != "json" && f.output != "yaml":
		return nil, usageError{fmt.Errorf("output %q is not one of table, json, yaml", f.output)}
	}
	classes, err := readWith(f.classes, cmd.InOrStdin(), sizing.ReadClasses)
	if err != nil {
		return nil, err
	}
	demand, err := readWith(f.demand, cmd.InOrStdin(), sizing.ReadDemand)
	if err != nil {
		return nil, err
	}
	problem := sizing.Problem(classes, demand, f.taint)
	if f.budget > 0 {
		problem.Budget = packing.Work(float64(f.budget) / float64(time.Millisecond))
	}
	start := time.Now()
	plan := packing.Solve(problem)
	took := time.Since(start)
	r := &sizeResult{
		Cost: float64(plan.Cost) / sizing.PriceUnit, Bound: float64(plan.Bound) / sizing.PriceUnit, GapPercent: round(100*plan.Gap(), 1e4),
		Nodes: map[string]int64{}, PlanMS: round(float64(took)/float64(time.Millisecond), 1e3),
	}
	for k, n := range plan.Nodes {
		if n > 0 {
			r.Nodes[classes[k].Name] = n
		}
	}
	for i, n := range plan.Unplaced {
		if n > 0 {
			if r.Unplaced == nil {
				r.Unplaced = map[string]int64{}
			}
			r.Unplaced[demand[i].Name] += n
		}
	}
	return r, nil
}

// readWith opens a file, or takes standard input for "-", and reads it.
func readWith[T any](file string, stdin io.Reader, read func(string, io.Reader) ([]T, error)) ([]T, error) {
	if file == "-" {
		v, err := read("standard input", stdin)
		if err != nil {
			return nil, invalidError{err}
		}
		return v, nil
	}
	r, err := os.Open(file) //nolint:gosec // The user names the file.
	if err != nil {
		return nil, invalidError{fmt.Errorf("reading %s: %w", file, err)}
	}
	v, err := read(file, r)
	if err := errors.Join(err, r.Close()); err != nil {
		return nil, invalidError{err}
	}
	return v, nil
}

func round(v, scale float64) float64 { return float64(int64(v*scale+0.5)) / scale }

func (r *sizeResult) table(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	p := &printer{w: t}
	p.linef("CLASS\tNODES")
	for _, name := range slices.Sorted(maps.Keys(r.Nodes)) {
		p.linef("%s\t%d", name, r.Nodes[name])
	}
	if len(r.Unplaced) > 0 {
		p.linef("\nUNPLACED\tPODS")
		for _, name := range slices.Sorted(maps.Keys(r.Unplaced)) {
			p.linef("%s\t%d", name, r.Unplaced[name])
		}
	}
	p.linef("\nCost %.4f an hour; no plan for these pods costs less than %.4f (%.4f %% apart). Planned in %.1f ms.", r.Cost, r.Bound, r.GapPercent, r.PlanMS)
	return errors.Join(p.err, t.Flush())
}
