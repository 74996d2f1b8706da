package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := newRoot().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(exitCode(err))
	}
}

// errUsage is wrapped by errors of the command line.
var errUsage = errors.New("usage")

// errBroken tells that our own plan broke a rule.
var errBroken = errors.New("a plan of ours breaks a rule")

// exitCode is 2 for a wrong command line, 3 for a plan of ours that breaks a
// rule, else 1.
func exitCode(err error) int {
	switch {
	case errors.Is(err, errUsage):
		return 2
	case errors.Is(err, errBroken):
		return 3
	}
	return 1
}

const long = `Gives the same pods and node types to the scheduler of Karpenter v1.14.1 and to
the packing of Tandem, and prints time, nodes, cost, pods left, memory
allocated, and whether the stock of a type (its cap) was exceeded.

Planners:
  karpenter        one NodePool for all types; two if GPU nodes are tainted
  karpenter-tuned  one NodePool per type: weight by price per core, and the
                   type's stock as a limit of cores
  tandem           pkg/planner/packing

Every plan is checked independently: resources of each node, pods placed once,
tolerations, stock.

Exit status: 0 done, 1 an error, 2 a wrong command line, 3 a plan of ours
breaks a rule.`

func newRoot() *cobra.Command {
	var cases, planners, output string
	var runs int
	cmd := &cobra.Command{
		Use: "bench", Short: "Compare Karpenter's packing with ours", Long: long,
		Example:       "  bench\n  bench --cases 3000-A-taint,10000-B --runs 3\n  bench --cases all -o json",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("%w: there are no arguments, got %q", errUsage, args)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runs < 1 || output != "table" && output != "json" {
				return fmt.Errorf("%w: --runs must be at least 1 and -o table or json", errUsage)
			}
			list, err := pickCases(cases)
			if err != nil {
				return err
			}
			with, err := pickPlanners(planners)
			if err != nil {
				return err
			}
			return compare(cmd.Context(), comparison{
				cases: list, planners: with, runs: runs, output: output,
				out: cmd.OutOrStdout(), progress: cmd.ErrOrStderr(),
			})
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", errUsage, err) })
	cmd.Flags().StringVar(&cases, "cases", "default", "cases, separated by commas, or default, or all; known: "+strings.Join(caseNames(), ", "))
	cmd.Flags().StringVar(&planners, "planners", strings.Join(plannerNames(), ","), "planners, separated by commas")
	cmd.Flags().IntVar(&runs, "runs", 1, "runs of every planner on every case; the median time is shown")
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}

type comparison struct {
	cases    []benchCase
	planners []planner
	runs     int
	output   string
	out      io.Writer
	progress io.Writer
}

// compare runs every planner on every case and prints what came of it.
func compare(ctx context.Context, c comparison) error {
	var rows []row
	var broken error
	for _, bc := range c.cases {
		w, err := bc.load()
		if err != nil {
			return err
		}
		for _, p := range c.planners {
			_, _ = fmt.Fprintf(c.progress, "== %s: %d pods of %d shapes, %d types: %s\n", bc.name, w.pods(), len(w.shapes), len(w.types), p.name)
			r, err := measure(ctx, bc.name, w, p, c.runs)
			if err != nil {
				return fmt.Errorf("running %s on %s: %w", p.name, bc.name, err)
			}
			_, _ = fmt.Fprintf(c.progress, "   %.4f s, cost %.3f\n", r.Seconds, r.Cost)
			rows = append(rows, r)
			if p.ours && r.broken() {
				broken = errors.Join(broken, fmt.Errorf("%w: %s: caps %v, invalid %q", errBroken, bc.name, r.CapsBroken, r.Invalid))
			}
		}
	}
	relate(rows)
	if err := write(c.out, c.output, rows); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return broken
}
