package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tandem-autoscaler/tandem/lab/chaos"
	"github.com/tandem-autoscaler/tandem/lab/report"
)

var errChaosFailed = errors.New("chaos found something")

type chaosOptions struct {
	run    runOptions
	n      int
	seed   uint64
	report string
}

func newChaosCommand() *cobra.Command {
	o := chaosOptions{}
	c := &cobra.Command{
		Use:   "chaos",
		Short: "Run a coordinator under random faults",
		Long: "Chaos starts a lab with two small RayClusters, one led and one followed, and injects\n" +
			"faults from a seed while drivers work. The exit code is 0 if and only if every fault was\n" +
			"survived, no busy Ray node was lost, no Machine was wrongly deleted and nothing is stuck.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.do(cmd.Context(), cmd.OutOrStdout()) },
	}
	f := c.Flags()
	f.IntVar(&o.n, "n", 10, "how many faults")
	f.Uint64Var(&o.seed, "seed", 1, "from which their order follows")
	f.StringVar(&o.report, "report", "", "`file` to write the result to, as JSON")
	f.StringVar(&o.run.coordinator, "coordinator", "", "`path` of the coordinator's executable")
	f.StringVar(&o.run.venv, "venv", "", "`directory` of a Python environment with Ray (default .venv of the repository)")
	f.StringVar(&o.run.root, "root", "", "`directory` of the repository (default: the one that the executable is in)")
	f.StringVar(&o.run.assets, "assets", "", "`directory` that lab/assets.sh has filled (default bin/assets of the repository)")
	f.StringVar(&o.run.dir, "dir", "", "`directory` for logs and configurations, which is then kept (default: a temporary one)")
	_ = c.MarkFlagRequired("coordinator") // It is defined above.
	return c
}

func (o *chaosOptions) do(ctx context.Context, out io.Writer) error {
	if o.n < 1 || o.n > math.MaxInt16 {
		return fmt.Errorf("%d faults are not between 1 and %d", o.n, math.MaxInt16)
	}
	if err := o.run.fill(); err != nil {
		return err
	}
	dir, err := o.run.directory()
	if err != nil {
		return fmt.Errorf("making a directory for the run: %w", err)
	}
	c := chaos.New(o.n, o.seed, dir, filepath.Join(o.run.root, "lab", "drivers"))
	defer c.Close()
	s, err := c.Scenario()
	if err != nil {
		return err
	}
	var result *chaos.Result
	o.run.wrap, o.run.meanwhile, o.run.live = c.Wrap, c.Meanwhile, chaosLive
	o.run.finished = func(w io.Writer, rep report.Report) {
		result = c.Result(rep)
		result.Summarize(w)
	}
	say(out, "%d faults with seed %d\n", o.n, o.seed)
	if _, err := o.run.runScenario(ctx, s, dir, out); err != nil {
		return errors.Join(err, fmt.Errorf("the logs are in %s", dir))
	}
	if o.report != "" {
		b, err := json.Marshal(result)
		if err != nil {
			return fmt.Errorf("encoding the result: %w", err)
		}
		if err := os.WriteFile(o.report, b, 0o600); err != nil {
			return fmt.Errorf("writing the result: %w", err)
		}
	}
	if !result.Passed {
		say(out, "logs and configurations: %s\n", dir)
		return errChaosFailed
	}
	if o.run.dir == "" {
		return os.RemoveAll(dir)
	}
	return nil
}

// chaosLive tells which events are printed as they happen: there are far more
// of them than anybody can read.
func chaosLive(e report.Event) bool {
	if e.Kind == report.KindNote {
		return !strings.Contains(e.Text, "GCS")
	}
	return slices.Contains([]report.Kind{report.KindFault, report.KindDriver, report.KindCoordinator, report.KindReplicas}, e.Kind)
}
