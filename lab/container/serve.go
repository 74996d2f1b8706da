package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The environment of the runtime process itself.
const (
	envRuntimeLab     = "TANDEM_LAB_RUNTIME_OF"
	envRuntimeScratch = "TANDEM_LAB_SCRATCH"
)

// shutdownGrace is the time that tasks have between SIGTERM and SIGKILL when
// the lab ends.
const shutdownGrace = 2 * time.Second

// server is the runtime process.
type server struct {
	lab string

	out   sync.Mutex // guards the pipe to the lab
	write *json.Encoder

	mu     sync.Mutex
	tasks  map[string]*task
	leads  map[int]*task      // by pid of a task's first process
	owners map[identity]*task // every process that was ever seen below a task
}

type identity struct {
	pid   int
	start uint64
}

type task struct {
	name string
	pid  int
	over bool // the first process ended
}

// Serve is the runtime process: it serves requests until in ends, then ends
// everything of the lab. It returns the exit code.
func Serve(in io.Reader, out io.Writer) int {
	// Orphaned grandchildren become children of this process and stay in sight.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "becoming the reaper of orphans:", err)
		return 1
	}
	// Signals meant for the lab must not end the one who cleans up after it.
	// They are caught and dropped, since tasks would inherit ignored ones.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	s := &server{
		lab: os.Getenv(envRuntimeLab), write: json.NewEncoder(out),
		tasks: map[string]*task{}, leads: map[int]*task{}, owners: map[identity]*task{},
	}
	done := make(chan struct{})
	go s.reap(done)
	for dec := json.NewDecoder(in); ; {
		var r request
		if err := dec.Decode(&r); err != nil {
			if !errors.Is(err, io.EOF) {
				fmt.Fprintln(os.Stderr, "reading a request:", err)
			}
			break
		}
		s.handle(r)
	}
	s.shutdown()
	close(done)
	if d := os.Getenv(envRuntimeScratch); d != "" {
		if err := removeAll(d); err != nil {
			fmt.Fprintln(os.Stderr, "removing the scratch directory:", err)
			return 1
		}
	}
	return 0
}

func (s *server) handle(r request) {
	switch r.Op {
	case opStart:
		if err := s.start(r.Task, r.Spec); err != nil {
			s.emit(event{Event: eventRefused, Task: r.Task, Error: err.Error()})
		}
	case opKill:
		s.kill(r.Task, r.Name)
	case opStop:
		go s.stop(r.Task, r.Grace)
	}
}

func (s *server) emit(e event) {
	s.out.Lock()
	defer s.out.Unlock()
	_ = s.write.Encode(e) // The lab may be gone; then nobody needs it.
}

// start forks a task. The lock is held until its pid is known, so that the
// reaper cannot see its end before.
func (s *server) start(name string, spec *Spec) error {
	if spec == nil || len(spec.Args) == 0 {
		return errors.New("container: a task without a command")
	}
	path, err := lookPath(spec.Args[0], spec.Env)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(spec.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	defer log.Close() //nolint:errcheck // The child has its own descriptor.
	null, err := os.Open(os.DevNull)
	if err != nil {
		return fmt.Errorf("opening the null device: %w", err)
	}
	defer null.Close() //nolint:errcheck // Opened for reading.
	env := append(append([]string{}, spec.Env...), EnvLab+"="+s.lab, envTask+"="+name)

	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.tasks[name]; ok {
		return fmt.Errorf("container: task %s exists", name)
	}
	pid, err := syscall.ForkExec(path, spec.Args, &syscall.ProcAttr{ //nolint:gosec // To run what a pod says is its purpose.
		Dir: spec.Dir, Env: env, Files: []uintptr{null.Fd(), log.Fd(), log.Fd()},
		Sys: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return fmt.Errorf("starting %s: %w", path, err)
	}
	t := &task{name: name, pid: pid}
	s.tasks[name], s.leads[pid] = t, t
	s.emit(event{Event: eventStarted, Task: name, PID: pid})
	return nil
}

// lookPath finds a command in the PATH of the environment it will run in.
func lookPath(command string, env []string) (string, error) {
	if strings.Contains(command, "/") {
		return command, nil
	}
	for _, kv := range env {
		path, ok := strings.CutPrefix(kv, "PATH=")
		if !ok {
			continue
		}
		for _, dir := range filepath.SplitList(path) {
			p := filepath.Join(dir, command)
			if st, err := os.Stat(p); err == nil && !st.IsDir() && st.Mode()&0o111 != 0 {
				return p, nil
			}
		}
	}
	return "", fmt.Errorf("looking up %s: %w", command, exec.ErrNotFound)
}
