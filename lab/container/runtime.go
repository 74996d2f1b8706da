package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// ErrRuntimeEnded says that the runtime process is gone.
var ErrRuntimeEnded = errors.New("container: the runtime process ended")

// Options of a [Runtime].
type Options struct {
	// Path of the binary under its name of the runtime process.
	Path string
	// Lab is the lab's name, unique on the machine.
	Lab string
	// Scratch is removed when the runtime ends.
	Scratch string
	// Log receives the runtime's own messages.
	Log *zap.Logger
	// LogFile receives what the runtime process prints.
	LogFile string
}

// Runtime is the lab's end of the runtime process.
type Runtime struct {
	log   *zap.Logger
	cmd   *exec.Cmd
	ended chan struct{}

	mu    sync.Mutex
	in    io.WriteCloser
	tasks map[string]*Task
}

// Task is a running process with all that it forked.
type Task struct {
	runtime *Runtime
	name    string

	started chan struct{}
	exited  chan struct{}
	gone    chan struct{}

	// Written before the channels above close.
	refused error
	code    int
}

// Start starts the runtime process.
func Start(o Options) (*Runtime, error) {
	logFile, err := os.OpenFile(o.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the log of the container runtime: %w", err)
	}
	defer logFile.Close() //nolint:errcheck // The child has its own descriptor.
	// It must outlive every context: it cleans up at the end.
	cmd := exec.Command(o.Path) //nolint:noctx,gosec // As above; it is this program itself.
	cmd.Env = []string{envRuntimeLab + "=" + o.Lab, envRuntimeScratch + "=" + o.Scratch, "GOGC=50", "GOMAXPROCS=2"}
	cmd.Stderr = logFile
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("opening the pipe to the container runtime: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("opening the pipe from the container runtime: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the container runtime: %w", err)
	}
	r := &Runtime{log: o.Log, cmd: cmd, ended: make(chan struct{}), in: in, tasks: map[string]*Task{}}
	go r.receive(out)
	return r, nil
}

// receive reads events until the runtime ends; then every task counts as gone.
func (r *Runtime) receive(out io.Reader) {
	for dec := json.NewDecoder(out); ; {
		var e event
		if err := dec.Decode(&e); err != nil {
			break
		}
		r.take(e)
	}
	err := r.cmd.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.in != nil {
		r.log.Error("container runtime ended by itself", zap.Error(err))
	}
	for _, t := range r.tasks {
		t.refused = ErrRuntimeEnded
		for _, c := range []chan struct{}{t.started, t.exited, t.gone} {
			shut(c)
		}
	}
	clear(r.tasks)
	close(r.ended)
}

func (r *Runtime) take(e event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.tasks[e.Task]
	if t == nil {
		return
	}
	switch e.Event {
	case eventStarted:
		shut(t.started)
	case eventRefused:
		t.refused = fmt.Errorf("container: %s", e.Error)
		t.code = -1
		delete(r.tasks, e.Task)
		for _, c := range []chan struct{}{t.started, t.exited, t.gone} {
			shut(c)
		}
	case eventExited:
		t.code = e.Code
		shut(t.exited)
	case eventGone:
		delete(r.tasks, e.Task)
		shut(t.gone)
	}
}

// shut closes a channel once. The caller holds the lock of the runtime.
func shut(c chan struct{}) {
	select {
	case <-c:
	default:
		close(c)
	}
}

// Run starts a task under a name that no living task has.
func (r *Runtime) Run(ctx context.Context, name string, spec Spec) (*Task, error) {
	t := &Task{
		runtime: r, name: name,
		started: make(chan struct{}), exited: make(chan struct{}), gone: make(chan struct{}),
	}
	r.mu.Lock()
	if _, ok := r.tasks[name]; ok {
		r.mu.Unlock()
		return nil, fmt.Errorf("container: task %s exists", name)
	}
	r.tasks[name] = t
	err := r.send(request{Op: opStart, Task: name, Spec: &spec})
	if err != nil {
		delete(r.tasks, name)
	}
	r.mu.Unlock()
	if err != nil {
		return nil, err
	}
	select {
	case <-t.started:
	case <-ctx.Done():
		t.Stop(0)
		return nil, fmt.Errorf("starting task %s: %w", name, ctx.Err())
	}
	if t.refused != nil {
		return nil, fmt.Errorf("starting task %s: %w", name, t.refused)
	}
	return t, nil
}

// send writes one request. The caller holds the lock.
func (r *Runtime) send(q request) error {
	if r.in == nil {
		return ErrRuntimeEnded
	}
	if err := json.NewEncoder(r.in).Encode(q); err != nil {
		return fmt.Errorf("asking the container runtime: %w", err)
	}
	return nil
}

// Close ends every task and process of the lab and removes the scratch
// directory. It returns when all that is done, or with the context's error.
func (r *Runtime) Close(ctx context.Context) error {
	r.mu.Lock()
	if r.in != nil {
		_ = r.in.Close()
		r.in = nil
	}
	r.mu.Unlock()
	select {
	case <-r.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the container runtime to end: %w", ctx.Err())
	}
}

// Exited is closed when the task's first process ended.
func (t *Task) Exited() <-chan struct{} { return t.exited }

// Gone is closed when the first process and all that it forked ended.
func (t *Task) Gone() <-chan struct{} { return t.gone }

// Code is the exit code, 128 plus the signal where one ended the process. It
// means something only after Exited is closed.
func (t *Task) Code() int { return t.code }

// Stop asks the task to end and kills it after the grace; zero kills at once.
// It does not wait.
func (t *Task) Stop(grace time.Duration) {
	t.request(request{Op: opStop, Task: t.name, Grace: grace})
}

// Kill sends SIGKILL to the task's process group, or only to its processes of
// that command name.
func (t *Task) Kill(command string) {
	t.request(request{Op: opKill, Task: t.name, Name: command})
}

func (t *Task) request(q request) {
	t.runtime.mu.Lock()
	defer t.runtime.mu.Unlock()
	// A runtime that ended took the task with it.
	_ = t.runtime.send(q)
}
