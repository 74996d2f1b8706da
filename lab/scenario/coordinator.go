package scenario

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/tandem-autoscaler/tandem/lab/report"
)

// errNotRunning tells that there is no coordinator to kill.
var errNotRunning = errors.New("the coordinator does not run")

// coordinator is the process under test. It is started again only after the
// scenario killed it.
type coordinator struct {
	run     *Run
	path    string
	args    []string
	logFile string
	journal string

	// killing is held from a kill to the start after it, so that kills at the
	// same moment come one after the other.
	killing sync.Mutex

	mu     sync.Mutex
	cmd    *exec.Cmd
	asked  bool // the scenario wants it to end
	exited chan struct{}
}

// newCoordinator writes the configuration of one instance.
func (r *Run) newCoordinator(ctx context.Context, instance int) (*coordinator, error) {
	suffix := ""
	if instance > 0 {
		suffix = "-" + strconv.Itoa(instance+1)
	}
	c := &coordinator{
		run: r, path: r.o.Coordinator,
		logFile: filepath.Join(r.o.Dir, "coordinator"+suffix+".log"), journal: filepath.Join(r.o.Dir, "journal"+suffix+".jsonl"),
	}
	config, err := r.coordinatorConfig(ctx, c.journal)
	if err != nil {
		return nil, fmt.Errorf("writing the coordinator's configuration: %w", err)
	}
	file := filepath.Join(r.o.Dir, "coordinator"+suffix+".yaml")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		return nil, fmt.Errorf("writing the coordinator's configuration: %w", err)
	}
	c.args = append([]string{"run", "--config", file}, r.o.Scenario.Coordinator.Args...)
	r.wg.Go(func() {
		if err := report.FollowJournal(r.background, c.journal, r.o.Recorder); err != nil {
			r.fail("%v", err)
		}
	})
	return c, nil
}

// start runs the process until it ends, is killed, or the context ends.
func (c *coordinator) start(ctx context.Context) error {
	log, err := os.OpenFile(c.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening the coordinator's log: %w", err)
	}
	defer func() { _ = log.Close() }()                 // the process has its own
	cmd := exec.CommandContext(ctx, c.path, c.args...) //nolint:gosec // the executable under test
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = c.run.o.Dir
	ownGroup(cmd)
	cmd.WaitDelay = 2 * graceful // it has a lease to give back
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the coordinator: %w", err)
	}
	exited := make(chan struct{})
	c.mu.Lock()
	c.cmd, c.asked, c.exited = cmd, false, exited
	c.mu.Unlock()
	c.run.o.Recorder.CoordinatorStarted(time.Now(), c.path, c.logFile)
	c.run.wg.Go(func() {
		defer close(exited)
		c.wait(ctx, cmd)
	})
	return nil
}

func (c *coordinator) wait(ctx context.Context, cmd *exec.Cmd) {
	waitGroup(cmd)
	c.mu.Lock()
	asked := c.asked || ctx.Err() != nil
	c.cmd = nil
	c.mu.Unlock()
	c.run.o.Recorder.CoordinatorExited(time.Now(), cmd.ProcessState.String(), asked)
	if !asked {
		c.run.fail("the coordinator ended by itself (%s); its log ends with:\n%s", cmd.ProcessState, tailOf(c.logFile))
	}
}

// CoordinatorPID is the process id of the first instance of the coordinator;
// zero if it does not run.
func (r *Run) CoordinatorPID() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.coordinators) == 0 {
		return 0
	}
	c := r.coordinators[0]
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd == nil {
		return 0
	}
	return c.cmd.Process.Pid
}

// kill ends the process with SIGKILL and waits for its end.
func (c *coordinator) kill() error {
	c.mu.Lock()
	if c.cmd == nil {
		c.mu.Unlock()
		return errNotRunning
	}
	c.asked = true
	exited := c.exited
	c.run.o.Recorder.CoordinatorPeak(c.cmd.Process.Pid)
	err := syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
	c.mu.Unlock()
	if err != nil {
		return fmt.Errorf("killing the coordinator: %w", err)
	}
	<-exited
	return nil
}

// killCoordinator kills the first instance and starts it again later. A scenario that runs
// without a coordinator has nothing to kill, which is fine.
func (r *Run) killCoordinator(f *Fault) error {
	if len(r.coordinators) == 0 {
		return nil
	}
	c := r.coordinators[0]
	c.killing.Lock()
	defer c.killing.Unlock()
	if err := c.kill(); err != nil {
		return err
	}
	if !wait(r.background, f.RestartAfter.Duration) {
		return nil
	}
	return c.start(r.background)
}

// collectCoordinator puts the end of the log into the report, and what it tells
// of panics.
func (r *Run) collectCoordinator() {
	if len(r.coordinators) == 0 {
		return
	}
	var panics []string
	for _, c := range r.coordinators {
		panics = append(panics, panicLines(c.logFile)...)
	}
	r.o.Recorder.CoordinatorLog(tailOf(r.coordinators[0].logFile), panics)
}

// panicLines are the lines of a log that tell of a panic.
func panicLines(file string) []string {
	var panics []string
	if f, err := os.Open(file); err == nil { //nolint:gosec // the run's own file
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if l := lines.Text(); strings.HasPrefix(l, "panic:") || strings.HasPrefix(l, "fatal error:") || strings.Contains(l, "Observed a panic") {
				panics = append(panics, l)
			}
		}
		_ = f.Close() // only read
	}
	return panics
}
