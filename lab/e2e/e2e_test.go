//go:build e2e

package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tandem-autoscaler/tandem/lab/report"
)

// alone are scenarios that need the machine for themselves: they bound times,
// or fill it. The others run two at a time, since most of their time they wait.
// Both lists are what there must be: a file that is lost must fail the tests.
var alone = []string{"a-scale-from-zero", "d-follow-ahead", "p-by-name"} //nolint:gochecknoglobals // a constant list

var paired = []string{ //nolint:gochecknoglobals // a constant list
	"f-head-restart", "demo", "l-lead-removal", "h-coordinator-killed", "m-follow-removal", "b-gang-incomplete", "n-foreign-delete", "g-vm-never-comes",
	"k-two-clusters", "c-request-resources", "o-two-coordinators", "e-lead-grow", "i-bad-neighbours", "q-follow-demo",
}

// waits collects the times from demand to patch of all scenarios.
type waits struct {
	mu  sync.Mutex
	all []float64
}

func (w *waits) add(rep report.Report) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, wave := range rep.Waves {
		if wave.DemandToPatchSeconds != nil {
			w.all = append(w.all, *wave.DemandToPatchSeconds)
		}
	}
}

// TestScenarios runs each scenario on a lab of its own.
func TestScenarios(t *testing.T) {
	lab, coordinator := programs(t)
	reports := os.Getenv("LAB_REPORTS")
	if reports == "" {
		reports = t.TempDir()
	}
	reports, err := filepath.Abs(reports)
	require.NoError(t, err)
	files, err := filepath.Glob("../scenarios/*.yaml")
	require.NoError(t, err)
	for _, f := range files {
		assert.Contains(t, slices.Concat(alone, paired), strings.TrimSuffix(filepath.Base(f), ".yaml"), "every scenario is run")
	}
	var w waits
	for _, name := range alone {
		t.Run(name, func(t *testing.T) { w.add(run(t, lab, coordinator, name, filepath.Join(reports, name+".json"))) })
	}
	t.Run("paired", func(t *testing.T) {
		places := make(chan struct{}, 2)
		for _, name := range paired {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				places <- struct{}{}
				defer func() { <-places }()
				w.add(run(t, lab, coordinator, name, filepath.Join(reports, name+".json")))
			})
		}
	})
	slices.Sort(w.all)
	if n := len(w.all); n > 0 {
		t.Logf("demand visible to last patch, %d waves: median %.2f s, largest %.2f s", n, w.all[n/2], w.all[n-1])
	}
}

// Fault 21: pods are deleted and made again on whatever node there is.
// Fault 36: the API server answers with conflicts.
// Fault 37: writes fail, or are done and nobody says so.
// Fault 44: the lease is taken away, and the coordinator resumes.
//
// TestChaos is a small number of random faults; make chaos runs more. The seed
// is always the same, so that the order of the faults is.
func TestChaos(t *testing.T) {
	lab, coordinator := programs(t)
	args := []string{"chaos", "--n", "10", "--seed", "1", "--coordinator", coordinator}
	if venv := os.Getenv("LAB_VENV"); venv != "" {
		args = append(args, "--venv", venv)
	}
	out, err := execute(t, lab, args...)
	if err != nil {
		t.Logf("the whole account:\n%s", out)
	}
	require.NoError(t, err)
	_, result, _ := strings.Cut(out, "\nPASSED ")
	t.Log(result)
}

func programs(t *testing.T) (lab, coordinator string) {
	t.Helper()
	paths := []string{os.Getenv("LAB_BINARY"), os.Getenv("COORDINATOR_BINARY")}
	for i, p := range paths {
		if p == "" {
			t.Skip("LAB_BINARY and COORDINATOR_BINARY name the programs to test")
		}
		abs, err := filepath.Abs(p)
		require.NoError(t, err)
		_, err = os.Stat(abs)
		require.NoError(t, err)
		paths[i] = abs
	}
	return paths[0], paths[1]
}

// run runs one scenario and logs the key figures of its report.
func run(t *testing.T, lab, coordinator, name, file string) report.Report {
	t.Helper()
	args := []string{"run", filepath.Join("..", "scenarios", name+".yaml"), "--coordinator", coordinator, "--report", file}
	if venv := os.Getenv("LAB_VENV"); venv != "" {
		args = append(args, "--venv", venv)
	}
	out, err := execute(t, lab, args...)
	rep, readErr := report.Read(file)
	if err != nil || readErr != nil {
		t.Logf("the whole account:\n%s", out)
	}
	require.NoError(t, err)
	require.NoError(t, readErr)
	var summary strings.Builder
	report.Summarize(&summary, rep)
	t.Log(summary.String())
	assert.True(t, rep.Passed)
	assert.Empty(t, rep.RemovedWhileBusy)
	assert.NotEmpty(t, rep.Timeline)
	return rep
}

// execute runs the lab to its end and returns what it printed.
func execute(t *testing.T, lab string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), lab, args...) //nolint:gosec // the program under test
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}
