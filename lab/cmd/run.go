package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/tandem-autoscaler/tandem/lab/plane"
	"github.com/tandem-autoscaler/tandem/lab/report"
	"github.com/tandem-autoscaler/tandem/lab/scenario"
)

// errScenarioFailed tells that a scenario ran and not everything expected
// happened; what, is printed already.
var errScenarioFailed = errors.New("the scenario failed")

// noCoordinator is the value of --coordinator that runs without one.
const noCoordinator = "none"

type runOptions struct {
	coordinator string
	report      string
	keep        bool
	quiet       bool
	venv        string
	root        string
	assets      string
	dir         string

	// What others hang into a run: a lab to use in place of the plain one,
	// something that goes on beside the scenario, what is printed live, and
	// what is told at the end.
	wrap      func(scenario.Lab) scenario.Lab
	meanwhile func(context.Context, *scenario.Run) error
	live      func(report.Event) bool
	finished  func(io.Writer, report.Report)
}

func newRunCommand() *cobra.Command {
	o := runOptions{}
	c := &cobra.Command{
		Use:   "run SCENARIO.yaml",
		Short: "Run a scenario on a lab of its own, to its end",
		Long: "Run starts a lab, runs the scenario to its end, and ends the lab. The exit code is 0\n" +
			"if and only if everything expected happened. lab/scenario/README.md documents the file.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), args[0], cmd.OutOrStdout())
		},
	}
	f := c.Flags()
	f.StringVar(&o.coordinator, "coordinator", noCoordinator, "`path` of the coordinator's executable, or none")
	f.StringVar(&o.report, "report", "", "`file` to write the report to, as JSON")
	f.BoolVar(&o.keep, "keep", false, "keep the lab and the coordinator running after the end, until interrupted")
	f.BoolVar(&o.quiet, "quiet", false, "print only the result")
	f.StringVar(&o.venv, "venv", "", "`directory` of a Python environment with Ray (default .venv of the repository)")
	f.StringVar(&o.root, "root", "", "`directory` of the repository (default: the one that the executable is in)")
	f.StringVar(&o.assets, "assets", "", "`directory` that lab/assets.sh has filled (default bin/assets of the repository)")
	f.StringVar(&o.dir, "dir", "", "`directory` for logs and configurations, which is then kept (default: a temporary one)")
	return c
}

// fill finds what the flags leave open, and makes every path absolute.
func (o *runOptions) fill() error {
	if o.root == "" {
		root, err := repositoryRoot()
		if err != nil {
			return err
		}
		o.root = root
	}
	if o.venv == "" {
		o.venv = filepath.Join(o.root, ".venv")
	}
	if o.assets == "" {
		o.assets = filepath.Join(o.root, "bin", "assets")
	}
	paths := []*string{&o.root, &o.venv, &o.assets}
	if o.coordinator != noCoordinator {
		paths = append(paths, &o.coordinator)
	}
	for _, p := range paths {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return fmt.Errorf("resolving %s: %w", *p, err)
		}
		*p = abs
	}
	return o.check()
}

// check names what is missing before anything is started.
func (o *runOptions) check() error {
	var errs []error
	need := func(path, what, remedy string) {
		if _, err := os.Stat(path); err != nil {
			errs = append(errs, fmt.Errorf("%s is missing at %s: %s", what, path, remedy))
		}
	}
	need(o.python(), "a Python environment with Ray", "run make ray, or give --venv")
	need(o.assets, "the directory of CRDs", "run lab/assets.sh, or give --assets")
	if o.coordinator != noCoordinator {
		need(o.coordinator, "the coordinator", "run make build, or give --coordinator none")
	}
	if o.report != "" {
		need(filepath.Dir(o.report), "the directory of the report", "make it first")
	}
	return errors.Join(errs...)
}

// directory is where the files of the run go.
func (o *runOptions) directory() (string, error) {
	if o.dir == "" {
		return os.MkdirTemp("", "lab-")
	}
	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o700)
}

func (o *runOptions) python() string { return filepath.Join(o.venv, "bin", "python") }

// run runs one scenario and prints the result.
func (o *runOptions) run(ctx context.Context, file string, out io.Writer) error {
	s, err := scenario.Load(file)
	if err != nil {
		return err
	}
	if err := o.fill(); err != nil {
		return err
	}
	dir, err := o.directory()
	if err != nil {
		return fmt.Errorf("making a directory for the run: %w", err)
	}
	rep, err := o.runScenario(ctx, s, dir, out)
	if err != nil {
		return errors.Join(err, fmt.Errorf("the logs are in %s", dir))
	}
	if !rep.Passed {
		say(out, "logs and configurations: %s\n", dir)
		return errScenarioFailed
	}
	if o.dir == "" {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("removing the directory of the run: %w", err)
		}
	}
	return nil
}

// runScenario starts a lab, runs the scenario on it and ends the lab.
func (o *runOptions) runScenario(ctx context.Context, s *scenario.Scenario, dir string, out io.Writer) (report.Report, error) {
	began := time.Now()
	live := out
	if o.quiet {
		live = io.Discard
	}
	say(live, "scenario %s: %s\nstarting the lab, logs in %s\n", s.Name, s.Description, dir)
	p, err := plane.Start(ctx, o.planeOptions(s, dir))
	if err != nil {
		return report.Report{}, fmt.Errorf("starting the lab: %w", err)
	}
	defer p.Stop()
	start := time.Now()
	say(live, "the lab is up after %.1f s\n", start.Sub(began).Seconds())

	recorder := report.NewRecorder(recorderOptions(s, start))
	printer := report.NewPrinter(live, start)
	recorder.Subscribe(func(e report.Event) {
		if o.live == nil || o.live(e) {
			printer.Print(e)
		}
	})
	watchers, stop := newWatchers(ctx)
	defer stop()
	management, workload := p.Kubeconfigs()
	if err := report.Watch(watchers.ctx, management, workload, recorder); err != nil {
		return report.Report{}, err
	}
	lab := labOf(p)
	if o.wrap != nil {
		lab = o.wrap(lab)
	}
	r, err := scenario.New(ctx, scenario.Options{
		Meanwhile: o.meanwhile,
		Scenario:  s, Lab: lab, Recorder: recorder, Dir: dir, Python: o.python(), Coordinator: o.coordinatorPath(),
	})
	if err != nil {
		return report.Report{}, err
	}
	defer r.Close()
	watchers.Go(func() { report.SampleMemory(watchers.ctx, recorder, r.CoordinatorPID) })
	if o.live == nil {
		watchers.Go(func() { printer.Progress(watchers.ctx, r.Waiting) })
	}

	rep, err := r.Do(ctx)
	rep.LabStartSeconds = start.Sub(began).Round(time.Millisecond).Seconds()
	if err := errors.Join(err, o.write(rep)); err != nil {
		return rep, err
	}
	if !o.keep {
		r.Close() // its last words come before the result
	}
	if o.finished != nil {
		o.finished(out, rep)
		return rep, nil
	}
	report.Summarize(out, rep)
	if o.keep {
		say(out, "\nThe lab stays until you interrupt it.\n  management: kubectl --kubeconfig %s\n  workload:   kubectl --kubeconfig %s\n", management, workload)
		printRayAddresses(out, p, s, o.python())
		<-ctx.Done()
	}
	return rep, nil
}

// say writes to the terminal, whose errors are nobody's business.
func say(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }

func (o *runOptions) write(rep report.Report) error {
	if o.report == "" {
		return nil
	}
	return report.Write(o.report, rep)
}

func (o *runOptions) coordinatorPath() string {
	if o.coordinator == noCoordinator {
		return ""
	}
	return o.coordinator
}

func (o *runOptions) planeOptions(s *scenario.Scenario, dir string) plane.Options {
	po := plane.Options{
		One: s.OneAPIServer, Dir: dir, Venv: o.venv, RepoRoot: o.root, Assets: o.assets,
		VM:          plane.VMTimes{Boot: s.VM.Boot, Node: s.VM.Node, Jitter: s.VM.Jitter},
		MaxStarting: s.MaxStarting, ImageTime: s.ImageTime, Log: zap.NewNop(),
	}
	for _, c := range s.Classes {
		po.Classes = append(po.Classes, plane.Class{Name: c.Name, CPU: c.CPU, Memory: c.Memory, GPU: c.GPU, GPUType: c.GPUType})
	}
	for _, h := range s.Hosts {
		po.Hosts = append(po.Hosts, plane.Host(h))
	}
	return po
}

func recorderOptions(s *scenario.Scenario, start time.Time) report.Options {
	o := report.Options{Scenario: s.Name, Description: s.Description, Start: start}
	for _, p := range s.Pools {
		o.Pools = append(o.Pools, report.PoolInfo{Name: p.Name, Class: p.Class, Initial: p.Replicas, Worker: p.Name != s.HeadPool})
	}
	return o
}
