package rayv2

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// repository is the root of the repository, from which make runs.
const repository = "../../.."

// openCases opens a file of cases. A relative path is looked for from here,
// where go test runs, and from the root of the repository.
func openCases(path string) (*os.File, error) {
	f, err := os.Open(path) //nolint:gosec // a file of cases that the developer names
	if errors.Is(err, fs.ErrNotExist) && !filepath.IsAbs(path) {
		fromRoot, rootErr := os.Open(filepath.Join(repository, path)) //nolint:gosec // the same
		if rootErr == nil {
			return fromRoot, nil
		}
		err = fmt.Errorf("%w, nor in the root of the repository", err)
	}
	return f, err
}

// readCases reads a file of cases, compressed or not.
func readCases(path string) ([]recorded, error) {
	f, err := openCases(path)
	if err != nil {
		return nil, fmt.Errorf("opening the file of cases: %w", err)
	}
	defer f.Close() //nolint:errcheck // It was only read.
	cases, err := decodeCases(f)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return cases, nil
}

// decodeCases reads a list of cases, each with its answer. What is compressed
// shows by its first two bytes.
func decodeCases(r io.Reader) ([]recorded, error) {
	buffered := bufio.NewReader(r)
	r = buffered
	if magic, err := buffered.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, fmt.Errorf("decompressing: %w", err)
		}
		r = z
	}
	d := json.NewDecoder(r)
	var list []json.RawMessage
	if err := d.Decode(&list); err != nil {
		return nil, fmt.Errorf("decoding a list of cases: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is something after the list of cases")
	}
	if len(list) == 0 {
		return nil, errors.New("the list of cases is empty")
	}
	cases := make([]recorded, len(list))
	for i := range list {
		c := &cases[i]
		if err := json.Unmarshal(list[i], c); err != nil {
			return nil, fmt.Errorf("decoding case %d (%s): %w", i, c.Test, err)
		}
		if err := c.check(); err != nil {
			return nil, fmt.Errorf("case %d (%s): %w", i, c.Test, err)
		}
	}
	return cases, nil
}

// check tells what keeps the case from being run.
func (c *recorded) check() error {
	if c.Types == nil {
		return errors.New("it has no node types")
	}
	if c.Want == nil {
		return errors.New("it has no answer under want")
	}
	for i := range c.Inst {
		if s := &c.Inst[i]; s.St == "" || s.Kind == "" {
			return fmt.Errorf("instance %d (%q) lacks st or kind", i, s.ID)
		}
	}
	_, err := c.input()
	return err
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
			cases, err := readCases(file)
			require.NoError(t, err)
			var sum tally
			for i := range cases {
				sum.add(t, &cases[i])
			}
			_, err = fmt.Fprintf(os.Stdout, "agree %d of %d\n", sum.agree, len(cases))
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

func TestMalformedCasesAreNamed(t *testing.T) {
	const types = `"types": {"a": {"res": {"CPU": 1}, "min": 0, "max": 1}}`
	tests := []struct{ name, file, want string }{
		{"nothing", ``, "decoding a list of cases: EOF"},
		{"no list", `{"types": {}}`, "decoding a list of cases: json: cannot unmarshal object"},
		{"empty", `[]`, "the list of cases is empty"},
		{"more", `[{` + types + `, "want": {}}] x`, "something after the list"},
		{"compressed badly", "\x1f\x8b nothing", "decompressing"},
		{"no types", `[{"want": {}}]`, "case 0 (): it has no node types"},
		{"no answer", `[{"test": "x", ` + types + `}]`, "case 0 (x): it has no answer under want"},
		{"a bundle without count", `[{` + types + `, "reqs": [[{"CPU": 1}]], "want": {}}]`, "decoding case 0 (): a counted bundle has 1 elements, not 2"},
		{"an amount that is a text", `[{` + types + `, "reqs": [[{"CPU": "1"}, 1]], "want": {}}]`, `reading amount "CPU"`},
		{"a placement that is no text", `[{` + types + `, "gangs": [[{"CPU": 1, "_pc": [1]}]], "want": {}}]`, "reading placement constraints"},
		{"an unknown placement", `[{` + types + `, "gangs": [[{"CPU": 1, "_pc": ["near:x"]}]], "want": {}}]`, `reading placement constraint "near:x"`},
		{"a selector with too little", `[{` + types + `, "reqs": [[{"_ls": [[["a", 1]]]}, 1]], "want": {}}]`, "reading label selectors"},
		{"an instance without status", `[{` + types + `, "inst": [{"id": "i"}], "want": {}}]`, `instance 0 ("i") lacks st or kind`},
		{"a type that is a number", `[{"types": {"a": 1}, "want": {}}]`, `reading type "a"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := decodeCases(strings.NewReader(tt.file))
			require.ErrorContains(t, err, tt.want)
		})
	}
	_, err := readCases("there-is-no-such-file.json")
	require.ErrorContains(t, err, "there-is-no-such-file.json: no such file or directory, nor in the root")
}
