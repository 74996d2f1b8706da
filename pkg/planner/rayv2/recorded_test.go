package rayv2

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// readCases reads a file of cases, compressed or not.
func readCases(t *testing.T, path string) []recorded {
	t.Helper()
	f, err := os.Open(path) //nolint:gosec // a file of cases that the developer names
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, f.Close()) })
	var r io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		r, err = gzip.NewReader(f)
		require.NoError(t, err)
	}
	var cases []recorded
	require.NoError(t, json.NewDecoder(r).Decode(&cases))
	return cases
}

// TestRecordedCases compares the model with answers that Ray 2.60.0 gave.
// TANDEM_RAY_CASES names another file of cases to compare with instead.
func TestRecordedCases(t *testing.T) {
	files := []string{
		filepath.Join("testdata", "ray-scheduler-cases.json.gz"),
		filepath.Join("testdata", "ray-random-cases.json.gz"),
		filepath.Join("testdata", "ray-generated-cases.json.gz"),
	}
	if f := os.Getenv("TANDEM_RAY_CASES"); f != "" {
		files = []string{f}
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			cases := readCases(t, file)
			require.NotEmpty(t, cases)
			var sum tally
			for i := range cases {
				require.NotNil(t, cases[i].Want, "case %d has no answer", i)
				sum.add(t, &cases[i])
			}
			_, err := fmt.Fprintf(os.Stdout, "agree %d of %d\n", sum.agree, len(cases))
			require.NoError(t, err)
			t.Logf("in everything: %d; rounds in which Ray raised an exception: %d", sum.all, sum.raised)
			assert.Equal(t, len(cases), sum.agree)
		})
	}
}

// tally counts how cases came out.
type tally struct {
	agree  int // in launches and terminations
	all    int // in everything
	raised int // in Ray's view
	differ []recorded
}

// add runs a case and compares it with its recorded answer.
func (s *tally) add(t *testing.T, c *recorded) {
	t.Helper()
	in, err := c.input()
	require.NoError(t, err, c.Test)
	out := Schedule(in)
	got := answerOf(c, &out)
	diff := got.compare(c.Want)
	if c.Want.Error != "" {
		s.raised++
	}
	if !actsDiffer(diff) {
		s.agree++
	}
	if len(diff) == 0 {
		s.all++
		return
	}
	s.differ = append(s.differ, *c)
	t.Errorf("%s differs in %v\n got launch %v term %v inf %d infg %d infc %d error %q\nwant launch %v term %v inf %d infg %d infc %d error %q",
		c.Test, diff, got.Launch, got.Term, len(got.Inf), len(got.Infg), got.Infc, got.Error,
		c.Want.Launch, c.Want.Term, len(c.Want.Inf), len(c.Want.Infg), c.Want.Infc, c.Want.Error)
}

func actsDiffer(diff []string) bool {
	for _, d := range diff {
		if d == "launch" || d == "term" || d == "error" {
			return true
		}
	}
	return false
}
