package scenario

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/tandem-autoscaler/tandem/lab/report"
)

const (
	// tailBytes is how much of a driver's output goes into the report.
	tailBytes = 4096
	// graceful is how long a driver has to end after SIGTERM.
	graceful = 3 * time.Second
)

// driver is the state of a Driver of the scenario.
type driver struct {
	*Driver

	file string // its output

	mu      sync.Mutex
	started bool
	ended   bool
}

func newDriver(d *Driver) *driver { return &driver{Driver: d} }

func (d *driver) hasStarted() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.started
}

func (d *driver) hasEnded() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ended
}

// printed tells whether a text is part of the output so far.
func (d *driver) printed(text string) bool {
	d.mu.Lock()
	file := d.file
	d.mu.Unlock()
	if file == "" {
		return false
	}
	b, err := os.ReadFile(file) //nolint:gosec // the run's own file
	return err == nil && strings.Contains(string(b), text)
}

// runDriver waits for a driver's time, for the head and for the one round of an
// inert autoscaler, and runs it to its end.
func (r *Run) runDriver(ctx context.Context, d *driver) {
	if !wait(ctx, d.At.Duration) {
		return
	}
	if d.After != "" {
		if !waitUntil(ctx, r.drivers[d.After].hasEnded) || !wait(ctx, d.AfterDelay.Duration) {
			return
		}
	}
	if err := r.drive(ctx, d); err != nil {
		r.fail("driver %s: %v", d.Name, err)
	}
}

// RunDriver runs a driver that is not in the scenario, as soon as the head of
// its RayCluster is ready. An error tells that it did not end as it should.
func (r *Run) RunDriver(ctx context.Context, d *Driver) error { return r.drive(ctx, newDriver(d)) }

func (r *Run) drive(ctx context.Context, d *driver) error {
	cluster := r.o.Scenario.rayCluster(d.RayCluster)
	address := ""
	if !waitUntil(ctx, func() (ok bool) {
		address, ok = r.o.Lab.RayAddress(cluster.Namespace, cluster.Name)
		return ok
	}) {
		return nil // the end of the scenario, which is told already
	}
	// An inert autoscaler runs one round when it starts. A driver that came
	// before it would have two planners answer its first demand.
	if cluster.InTree == inTreeInert && !waitUntil(ctx, func() bool { return r.o.AutoscalerRan(ctx, r.gcs(cluster)) }) {
		return nil
	}
	return r.runProgram(ctx, d, address)
}

// runProgram runs the Python program of a driver. An error tells that it did
// not run, or not as expected.
func (r *Run) runProgram(ctx context.Context, d *driver, address string) error {
	script, err := r.script(d)
	if err != nil {
		return err
	}
	file := filepath.Join(r.o.Dir, "drivers", d.Name+".log")
	out, err := os.OpenFile(file, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600) //nolint:gosec // the run's own file
	if err != nil {
		return fmt.Errorf("creating the output file: %w", err)
	}
	defer func() { _ = out.Close() }() // only the program writes to it
	runCtx, cancel := context.WithTimeout(ctx, d.Timeout.Duration)
	defer cancel()
	cmd := exec.CommandContext(runCtx, r.o.Python, append([]string{script, address}, d.Args...)...) //nolint:gosec // the scenario's own program
	cmd.Env = r.driverEnv(d)
	cmd.Dir = filepath.Join(r.o.Dir, "drivers")
	cmd.Stdout, cmd.Stderr = out, out
	ownGroup(cmd)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting: %w", err)
	}
	d.mu.Lock()
	d.started, d.file = true, file
	d.mu.Unlock()
	r.o.Recorder.DriverStarted(time.Now(), d.Name, d.RayCluster, file)
	waitGroup(cmd)
	timedOut := errors.Is(runCtx.Err(), context.DeadlineExceeded) && ctx.Err() == nil
	problem := r.driverEnded(d, cmd.ProcessState.ExitCode(), timedOut)
	if ctx.Err() != nil {
		return nil // the end of the scenario ended it, and that is told already
	}
	return problem
}

func (r *Run) driverEnded(d *driver, code int, timedOut bool) error {
	tail := tailOf(d.file)
	text := fmt.Sprintf("ended with exit code %d", code)
	if timedOut {
		text = fmt.Sprintf("killed after its timeout of %s", d.Timeout.Duration)
	}
	problem := d.unexpected(code, timedOut)
	r.o.Recorder.DriverEnded(time.Now(), d.Name, report.DriverEnd{ExitCode: code, TimedOut: timedOut, Tail: tail, Text: text})
	if problem == nil && d.ExpectOutput != "" && !d.printed(d.ExpectOutput) {
		problem = fmt.Errorf("did not print %q; it printed:\n%s", d.ExpectOutput, tail)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = true
	return problem
}

func (d *driver) unexpected(code int, timedOut bool) error {
	switch {
	case d.AnyExit:
		return nil
	case timedOut:
		return fmt.Errorf("did not end within %s; it printed:\n%s", d.Timeout.Duration, tailOf(d.file))
	case code != d.ExpectExit:
		return fmt.Errorf("exit code %d, want %d; it printed:\n%s", code, d.ExpectExit, tailOf(d.file))
	}
	return nil
}

// script is the path of the driver's program.
func (r *Run) script(d *driver) (string, error) {
	if d.Script != "" {
		return r.o.Scenario.path(d.Script), nil
	}
	path := filepath.Join(r.o.Dir, "drivers", d.Name+".py")
	if err := os.WriteFile(path, []byte(d.Code), 0o600); err != nil {
		return "", fmt.Errorf("writing the program: %w", err)
	}
	return path, nil
}

func (r *Run) driverEnv(d *driver) []string {
	env := []string{
		"PATH=" + filepath.Dir(r.o.Python) + string(os.PathListSeparator) + "/usr/local/bin:/usr/bin:/bin",
		"HOME=" + r.o.Dir, "LANG=C.UTF-8", "PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1",
		"RAY_USAGE_STATS_ENABLED=0", "RAY_COLOR_PREFIX=0", "OPENBLAS_NUM_THREADS=1",
	}
	if token := r.tokens[d.RayCluster]; token != "" {
		env = append(env, "RAY_AUTH_MODE=token", "RAY_AUTH_TOKEN="+token)
	}
	for k, v := range d.Env {
		env = append(env, k+"="+v)
	}
	return env
}

// ownGroup puts a command into a process group of its own, which ends with its
// context, and with this process however that ends.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = graceful
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
}

// waitGroup waits for a command of ownGroup and ends what it leaves behind.
func waitGroup(cmd *exec.Cmd) {
	_ = cmd.Wait() // the process state says it all
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
}

// tailOf is the end of a file; what cannot be read is empty.
func tailOf(path string) string {
	b, err := os.ReadFile(path) //nolint:gosec // the run's own file
	if err != nil {
		return ""
	}
	return string(b[max(0, len(b)-tailBytes):])
}
