package rayv2

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// envNumber reads a number from the environment.
func envNumber(t *testing.T, name string, fallback int) int {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return fallback
	}
	n, err := strconv.Atoi(s)
	require.NoError(t, err, name)
	return n
}

// TestAgainstRay compares the model with the scheduler of an installed Ray on
// generated cases. TANDEM_RAY_PYTHON is a Python with ray[default] 2.60.0,
// TANDEM_RAY_N the number of cases (1000), TANDEM_RAY_SEED the first seed (1),
// TANDEM_RAY_KEEP a file for the cases that differ and TANDEM_RAY_RECORD one for
// all of them, with Ray's answers.
func TestAgainstRay(t *testing.T) {
	python := os.Getenv("TANDEM_RAY_PYTHON")
	if python == "" {
		t.Skip("TANDEM_RAY_PYTHON is not set")
	}
	n := envNumber(t, "TANDEM_RAY_N", 1000)
	seed := envNumber(t, "TANDEM_RAY_SEED", 1)
	var sum tally
	var all []recorded
	for from := 0; from < n; from += batch {
		cases := make([]recorded, 0, batch)
		for i := from; i < min(n, from+batch); i++ {
			cases = append(cases, newGenerator(uint64(seed+i)).next(seed+i)) //nolint:gosec // a seed
		}
		answers := askRay(t, python, cases)
		require.Len(t, answers, len(cases))
		for i := range cases {
			cases[i].Want = &answers[i]
			sum.add(t, &cases[i])
		}
		t.Logf("%d cases done, %d agree", from+len(cases), sum.agree)
		if os.Getenv("TANDEM_RAY_RECORD") != "" {
			all = append(all, cases...)
		}
	}
	_, err := fmt.Fprintf(os.Stdout, "agree %d of %d\n", sum.agree, n)
	require.NoError(t, err)
	t.Logf("in everything: %d; rounds in which Ray raised an exception: %d", sum.all, sum.raised)
	writeCases(t, os.Getenv("TANDEM_RAY_KEEP"), sum.differ)
	writeCases(t, os.Getenv("TANDEM_RAY_RECORD"), all)
	assert.Equal(t, n, sum.all)
}

// writeCases writes cases to a file, if there is a file and there are cases.
func writeCases(t *testing.T, file string, cases []recorded) {
	t.Helper()
	if file == "" || len(cases) == 0 {
		return
	}
	b, err := json.Marshal(cases)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, b, 0o600)) //nolint:gosec // The caller of the test names the file.
}

// batch is the number of cases that one Python process answers.
const batch = 1000

// askRay has the cases answered by Ray's own scheduler.
func askRay(t *testing.T, python string, cases []recorded) []answer {
	t.Helper()
	b, err := json.Marshal(cases)
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), python, filepath.Join("testdata", "oracle.py")) //nolint:gosec // the developer's own Python
	cmd.Stdin = bytes.NewReader(b)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	var answers []answer
	require.NoError(t, json.Unmarshal(out, &answers))
	return answers
}
