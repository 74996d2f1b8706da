package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

func newPlan() *cobra.Command {
	var file, output string
	cmd := &cobra.Command{
		Use:   "plan --snapshot FILE",
		Short: "Plan on a snapshot file and explain every decision; nothing is contacted",
		Long: `plan reads a snapshot, as "coordinator snapshot" writes it, and prints what the
coordinator would do and why. It is the same planner that runs in the daemon, it needs
no cluster, and the same file always gives the same plan.`,
		Example: "  coordinator plan --snapshot examples/snapshot.yaml\n  coordinator snapshot --config config.yaml | coordinator plan --snapshot -",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return usageError{errors.New("which snapshot? name the file with --snapshot")}
			}
			s, err := readSnapshot(file, cmd.InOrStdin())
			if err != nil {
				return invalidError{err}
			}
			plan, _ := planner.Make(s, planner.Memory{})
			if err := planner.Check(s, plan); err != nil {
				return fmt.Errorf("the plan breaks a rule, please report this with the snapshot: %w", err)
			}
			if output == "table" {
				return explain(cmd.OutOrStdout(), s, plan)
			}
			return write(cmd.OutOrStdout(), output, plan)
		},
	}
	cmd.Flags().StringVarP(&file, "snapshot", "s", "", "the snapshot file, JSON or YAML; - is standard input")
	outputFlag(cmd, &output)
	return cmd
}

// readSnapshot reads strictly: an unknown key is an error, not silence.
func readSnapshot(file string, stdin io.Reader) (planner.Snapshot, error) {
	var b []byte
	var err error
	if file == "-" {
		b, err = io.ReadAll(stdin)
	} else {
		b, err = os.ReadFile(file) //nolint:gosec // the user names the file
	}
	if err != nil {
		return planner.Snapshot{}, fmt.Errorf("reading the snapshot: %w", err)
	}
	var s planner.Snapshot
	if err := yaml.UnmarshalStrict(b, &s); err != nil {
		return s, fmt.Errorf("reading the snapshot %s: %w", file, err)
	}
	if s.SchemaVersion != planner.SchemaVersion {
		return s, fmt.Errorf("reading the snapshot %s: schemaVersion is %q, this program reads %q", file, s.SchemaVersion, planner.SchemaVersion)
	}
	return s, planner.Validate(s)
}

// printer remembers the first error, so that a page is written line by line and
// checked once.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) linef(format string, a ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", a...)
	}
}

// explain prints a plan for people.
func explain(w io.Writer, s planner.Snapshot, plan planner.Plan) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	p := &printer{w: t}
	p.linef("Plan %s for %s", plan.ID, s.At.Format(time.RFC3339))
	p.linef("New nodes cost %s an hour; no plan for this demand costs less than %s.\n", money(plan.Cost), money(plan.Bound))
	p.steps(plan)
	p.linef("NODE GROUP\tMIN\tMAX\tREADY\tCOMING\tREPLICAS\tTARGET")
	for _, g := range plan.Groups {
		p.linef("%s\t%d\t%d\t%d\t%d\t%d\t%d", g.Group, g.Min, g.Max, g.Ready, g.Coming, g.Replicas, g.Target)
	}
	if len(plan.WorkerGroups) > 0 {
		p.linef("\nRAYCLUSTER\tWORKER GROUP\tREPLICAS\tEXPECTED")
		for _, g := range plan.WorkerGroups {
			p.linef("%s\t%s\t%d\t%d", g.RayCluster, g.Group, g.Replicas, g.Target)
		}
	}
	if err := errors.Join(p.err, t.Flush()); err != nil {
		return err
	}
	p = &printer{w: w}
	p.decisions(plan)
	return p.err
}

func (p *printer) steps(plan planner.Plan) {
	if len(plan.Steps) == 0 {
		p.linef("Nothing to do.\n")
		return
	}
	p.linef("STEP\tOBJECT\tFROM\tTO\tREASON")
	for _, s := range plan.Steps {
		object := strings.Join(strings.Fields(s.Group+" "+s.Node+" "+s.RayCluster+" "+s.WorkerGroup+" "+strings.Join(s.Machines, " ")), " ")
		if s.From == s.To {
			p.linef("%s\t%s\t\t\t%s", s.Kind, object, s.Reason)
			continue
		}
		p.linef("%s\t%s\t%d\t%d\t%s", s.Kind, object, s.From, s.To, s.Reason)
	}
	p.linef("")
}

func (p *printer) decisions(plan planner.Plan) {
	p.linef("\nDECISIONS")
	for _, d := range plan.Decisions {
		p.linef("  %s %s: %s, %s%s", d.Kind, d.Subject, d.Outcome, d.Reason, after(": ", d.Message))
		for _, r := range d.Rejected {
			p.linef("      not %s: %s%s", r.Name, r.Reason, after(": ", r.Message))
		}
	}
}

// after puts a separator before a text that is not empty.
func after(separator, text string) string {
	if text == "" {
		return ""
	}
	return separator + text
}

func money(v int64) string { return fmt.Sprintf("%.2f", float64(v)/1e6) }
