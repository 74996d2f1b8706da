package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const root = "../.."

// The page is made of the tests, so a test that comes or goes changes it.
func TestPageIsUpToDate(t *testing.T) {
	want, err := document(root)
	require.NoError(t, err)
	got, err := os.ReadFile(filepath.Join(root, file))
	require.NoError(t, err)
	assert.Equal(t, want, string(got), "run: go run ./docs/faults")
}

// No row may lose its test.
func TestThereAreSixtyRows(t *testing.T) {
	rows := faults()
	require.Len(t, rows, 60)
	seen := map[string]bool{}
	for i, row := range rows {
		assert.NotEmpty(t, row.what, i+1)
		assert.NotEmpty(t, row.safe, i+1)
		assert.False(t, seen[row.what], "row %d is there twice", i+1)
		seen[row.what] = true
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(name))
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o750))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

func TestScanFindsClaims(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "pkg/a/a_test.go", `package a

// Fault 3: an old state.
// It comes from a reply that was
// late.
func TestOne() {
	for range []int{
		// Fault 1: nobody answers
		// at all.
		1,
		2, // Faulty is another word.
	} {
	}
	_ = "// Fault 2: inside a text"
}

// Fault 2: a table of its own.
// Fault 4: two rows in one comment.
var cases = 1
`)
	write(t, dir, "pkg/a/a.go", "package a\n\n// Fault 5: no test.\nvar x = 1\n")
	write(t, dir, "bin/b_test.go", "package b\n\n// Fault 5: built, not ours.\nfunc TestB() {}\n")
	write(t, dir, ".git/c_test.go", "package c\n\n// Fault 5: hidden.\nfunc TestC() {}\n")
	write(t, dir, "lab/scenarios/x.yaml", "# Fault 5: a person did it.\nname: x\nfaults:\n  # Fault 1: and again.\n")
	write(t, dir, "deploy/y.yaml", "# Fault 5: no scenario.\n")
	write(t, dir, "pkg/a/testdata/s.txtar", "# Fault 2: told as a story.\n-- a --\n")
	got, err := scan(dir, 5)
	require.NoError(t, err)
	assert.Equal(t, []proof{
		{1, "lab/scenarios/x.yaml", "", "and again"},
		{1, "pkg/a/a_test.go", "TestOne", "nobody answers at all"},
		{2, "pkg/a/a_test.go", "cases", "a table of its own"},
		{2, "pkg/a/testdata/s.txtar", "", "told as a story"},
		{3, "pkg/a/a_test.go", "TestOne", "an old state"},
		{4, "pkg/a/a_test.go", "cases", "two rows in one comment"},
		{5, "lab/scenarios/x.yaml", "", "a person did it"},
	}, got)
	assert.Equal(t, []int{6}, missing(make([]fault, 6), got))
	text := render([]fault{{"a", "b"}, {"c", "d"}}, got[:2])
	assert.Contains(t, text, "1 of 2 rows have tests, 2 tests in all")
	assert.Contains(t, text, "| 1 | a | b | [`x`](../lab/scenarios/x.yaml) in lab/scenarios: and again<br>[`TestOne`](../pkg/a/a_test.go) in pkg/a: nobody answers at all |\n")
	assert.Contains(t, text, "| 2 | c | d | none yet |\n")
}

func TestScanRefusesWhatIsNoClaim(t *testing.T) {
	for name, tt := range map[string]struct{ text, err string }{
		"no such row":  {"package a\n\n// Fault 6: of five.\nfunc TestA() {}\n", "no fault of this number"},
		"row zero":     {"package a\n\n// Fault 0: of five.\nfunc TestA() {}\n", "no fault of this number"},
		"two at once":  {"package a\n\n// Fault 1, 2: both.\nfunc TestA() {}\n", "it is written"},
		"plural":       {"package a\n\n// Faults 1: both.\nfunc TestA() {}\n", "it is written"},
		"no words":     {"package a\n\n// Fault 1:\nfunc TestA() {}\n", "it is written"},
		"nothing left": {"package a\n\n// Fault 1: at the end.\n", "outside of any test"},
		"no Go":        {"package a\n\n// Fault 1: broken.\nfunc {", "expected"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "a_test.go", tt.text)
			_, err := scan(dir, 5)
			require.ErrorContains(t, err, tt.err)
		})
	}
}

// A row without a test is a promise that nobody keeps.
func TestEveryRowHasATest(t *testing.T) {
	rows := faults()
	proofs, err := scan(root, len(rows))
	require.NoError(t, err)
	for _, n := range missing(rows, proofs) {
		t.Errorf("no test says that it proves row %d: %s", n, rows[n-1].what)
	}
}
