package container_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/tandem-autoscaler/tandem/lab/container"
)

// runtimeName is the name under which the test binary becomes the runtime
// process.
const runtimeName = "lab-runtime"

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == runtimeName {
		os.Exit(container.Serve(os.Stdin, os.Stdout))
	}
	goleak.VerifyTestMain(m)
}

type fixture struct {
	*container.Runtime

	dir, scratch string
}

func start(t *testing.T) fixture {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	f := fixture{dir: t.TempDir()}
	f.scratch = filepath.Join(f.dir, "scratch")
	require.NoError(t, os.Mkdir(f.scratch, 0o700))
	path := filepath.Join(f.dir, runtimeName)
	require.NoError(t, os.Symlink(self, path))
	f.Runtime, err = container.Start(container.Options{
		Path: path, Lab: filepath.Base(f.dir) + strconv.Itoa(os.Getpid()), Scratch: f.scratch,
		Log: zap.NewNop(), LogFile: filepath.Join(f.dir, "log"),
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, f.Close(ctx))
	})
	return f
}

// run runs a shell script that writes a line per process it starts to the
// file "pids".
func (f fixture) run(t *testing.T, name, script string) *container.Task {
	t.Helper()
	task, err := f.Run(t.Context(), name, container.Spec{
		Args: []string{"sh", "-c", script}, Env: []string{"PATH=" + os.Getenv("PATH")},
		Dir: f.dir, Log: filepath.Join(f.dir, "out"),
	})
	require.NoError(t, err)
	return task
}

// pids waits until a script has written so many process ids.
func (f fixture) pids(t *testing.T, n int) []int {
	t.Helper()
	var out []int
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		b, err := os.ReadFile(filepath.Join(f.dir, "pids"))
		require.NoError(c, err)
		out = nil
		for s := range strings.FieldsSeq(string(b)) {
			pid, err := strconv.Atoi(s)
			require.NoError(c, err)
			out = append(out, pid)
		}
		assert.Len(c, out, n)
	}, time.Minute, 10*time.Millisecond)
	return out
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func wait(t *testing.T, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(time.Minute):
		require.Fail(t, "it takes too long")
	}
}

// daemons are a child in its group, one with a session of its own, and one that
// also lost its parent.
const daemons = `
sleep 1000 & echo $! >> pids
setsid sh -c 'echo $$ >> pids; exec sleep 1000' &
sh -c 'setsid sh -c "echo \$\$ >> pids; exec sleep 1000" &'
`

func TestAllThatATaskForkedEndsWithIt(t *testing.T) {
	for name, tt := range map[string]struct {
		script string
		end    func(*container.Task)
		code   int
	}{
		"stopped at once":          {daemons + "wait", func(k *container.Task) { k.Stop(0) }, 137},
		"stopped with a grace":     {daemons + "wait", func(k *container.Task) { k.Stop(time.Minute) }, 143},
		"deaf to being asked":      {"trap '' TERM\n" + daemons + "wait", func(k *container.Task) { k.Stop(10 * time.Millisecond) }, 137},
		"killed":                   {daemons + "wait", func(k *container.Task) { k.Kill("") }, 137},
		"ended by itself":          {daemons + "read _ < fifo; exit 7", nil, 7},
		"one process of it killed": {daemons + "wait $!; read _ < fifo; exit 8", func(k *container.Task) { k.Kill("sleep") }, 8},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t)
			require.NoError(t, syscall.Mkfifo(filepath.Join(f.dir, "fifo"), 0o600))
			task := f.run(t, "a", tt.script)
			pids := f.pids(t, 3)
			if tt.end != nil {
				tt.end(task)
			}
			if strings.Contains(tt.script, "fifo") {
				go func() { _ = os.WriteFile(filepath.Join(f.dir, "fifo"), []byte("\n"), 0o600) }()
			}
			wait(t, task.Exited())
			assert.Equal(t, tt.code, task.Code())
			wait(t, task.Gone())
			for _, pid := range pids {
				assert.False(t, alive(pid), "process %d", pid)
			}
		})
	}
}

func TestTasksAreApart(t *testing.T) {
	f := start(t)
	a := f.run(t, "a", "sleep 1000")
	b := f.run(t, "b", "echo $$ >> pids; exec sleep 1000")
	pid := f.pids(t, 1)[0]
	a.Stop(0)
	wait(t, a.Gone())
	assert.True(t, alive(pid))
	_, err := f.Run(t.Context(), "b", container.Spec{Args: []string{"true"}})
	require.ErrorContains(t, err, "exists")
	b.Stop(0)
	wait(t, b.Gone())
	f.run(t, "b", "true")
}

func TestWhatCannotStart(t *testing.T) {
	f := start(t)
	for name, spec := range map[string]container.Spec{
		"no command":      {},
		"unknown command": {Args: []string{"no-such-command"}, Env: []string{"PATH=/bin"}},
		"no log":          {Args: []string{"/bin/true"}, Log: "/nonexistent/log"},
		"no directory":    {Args: []string{"/bin/true"}, Log: filepath.Join(f.dir, "out"), Dir: "/nonexistent"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := f.Run(t.Context(), name, spec)
			require.ErrorContains(t, err, "starting task")
		})
	}
}

// A lab that is killed closes the pipe, as Close does.
func TestNothingSurvivesTheLab(t *testing.T) {
	f := start(t)
	task := f.run(t, "a", daemons+"wait")
	// One that hides: no parent, no group, no environment.
	f.run(t, "b", `env -i /bin/sh -c 'setsid sh -c "echo \$\$ >> pids; exec sleep 1000" &'; sleep 1000`)
	pids := f.pids(t, 4)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, f.Close(ctx))
	wait(t, task.Gone())
	for _, pid := range pids {
		assert.False(t, alive(pid), "process %d", pid)
	}
	assert.NoDirExists(t, f.scratch)
	_, err := f.Run(t.Context(), "c", container.Spec{Args: []string{"true"}})
	require.ErrorIs(t, err, container.ErrRuntimeEnded)
}
