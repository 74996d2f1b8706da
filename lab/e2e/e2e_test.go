//go:build e2e

package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tandem-autoscaler/tandem/lab/report"
)

// scenarios is what there must be: a file that is lost must fail the tests.
var scenarios = []string{ //nolint:gochecknoglobals // a constant list
	"demo", "a-scale-from-zero", "b-gang-incomplete", "c-request-resources", "d-follow-ahead", "e-lead-grow",
	"f-head-restart", "g-vm-never-comes", "h-coordinator-killed", "i-bad-neighbours", "j-busy-node", "k-two-clusters",
}

// TestScenarios runs one after the other: a lab fills a small machine.
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
		assert.Contains(t, scenarios, strings.TrimSuffix(filepath.Base(f), ".yaml"), "every scenario is run")
	}
	var waits []float64
	for _, name := range scenarios {
		t.Run(name, func(t *testing.T) {
			rep := run(t, lab, coordinator, name, filepath.Join(reports, name+".json"))
			for _, w := range rep.Waves {
				if w.DemandToPatchSeconds != nil {
					waits = append(waits, *w.DemandToPatchSeconds)
				}
			}
		})
	}
	slices.Sort(waits)
	if n := len(waits); n > 0 {
		t.Logf("demand visible to last patch, %d waves: median %.2f s, largest %.2f s", n, waits[n/2], waits[n-1])
	}
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
	cmd := exec.CommandContext(t.Context(), lab, args...) //nolint:gosec // the program under test
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	rep, readErr := report.Read(file)
	if err != nil || readErr != nil {
		t.Logf("the whole account:\n%s", out.String())
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
