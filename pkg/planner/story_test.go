package planner_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

var update = flag.Bool("update", false, "write what the planner says into the stories")

// TestStories runs every story in testdata: a comment that tells what it is
// about, a situation (a snapshot in YAML, in which r(CPU 8, memory 64Gi, GPU 1)
// stands for resources), perhaps a memory, and the plan that is expected.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txtar"), func(t *testing.T) { story(t, f) })
	}
}

func story(t *testing.T, file string) {
	t.Helper()
	ar, err := txtar.ParseFile(file)
	require.NoError(t, err)
	s := planner.Snapshot{Policy: testPolicy()}
	var m planner.Memory
	var want *txtar.File
	for i, f := range ar.Files {
		switch f.Name {
		case "situation":
			require.NoError(t, yaml.UnmarshalStrict(expand(t, f.Data), &s))
		case "memory":
			require.NoError(t, yaml.UnmarshalStrict(f.Data, &m))
		case "plan":
			want = &ar.Files[i]
		}
	}
	plan, _ := planner.Make(s, m)
	require.NoError(t, planner.Check(s, plan))
	got := tell(plan)
	if *update {
		if want == nil {
			ar.Files = append(ar.Files, txtar.File{Name: "plan"})
			want = &ar.Files[len(ar.Files)-1]
		}
		want.Data = []byte(got)
		require.NoError(t, os.WriteFile(file, txtar.Format(ar), 0o600))
		return
	}
	require.NotNil(t, want, "the story has no plan; run with -update and read it")
	assert.Equal(t, string(want.Data), got)
}

// tell writes a plan the way a person would read it.
func tell(p planner.Plan) string {
	var b bytes.Buffer
	for _, s := range p.Steps {
		fmt.Fprintf(&b, "step %s %s\n", s.Kind, strings.Join(strings.Fields(fmt.Sprintf("%s %s %s %s %s %d→%d", s.Group, s.Node, s.RayCluster, s.WorkerGroup, strings.Join(s.Machines, " "), s.From, s.To)), " "))
	}
	for _, w := range p.WorkerGroups {
		fmt.Fprintf(&b, "workers %s %s %d→%d\n", w.RayCluster, w.Group, w.Replicas, w.Target)
	}
	fmt.Fprintf(&b, "cost %.2f bound %.2f\n", float64(p.Cost)/1e6, float64(p.Bound)/1e6)
	for _, d := range p.Decisions {
		fmt.Fprintf(&b, "%s %s: %s, %s", d.Kind, d.Subject, d.Outcome, d.Reason)
		if d.Count > 0 {
			fmt.Fprintf(&b, " ×%d", d.Count)
		}
		if d.Message != "" {
			fmt.Fprintf(&b, ": %s", d.Message)
		}
		b.WriteByte('\n')
		for _, r := range d.Rejected {
			fmt.Fprintf(&b, "    not %s: %s %s\n", r.Name, r.Reason, r.Message)
		}
	}
	return regexp.MustCompile(` +\n`).ReplaceAllString(b.String(), "\n")
}

var resourcesRE = regexp.MustCompile(`r\(([^)]*)\)`)

// expand turns r(CPU 8, memory 64Gi, GPU 0.5) into the planner's units.
func expand(tb testing.TB, in []byte) []byte {
	tb.Helper()
	return resourcesRE.ReplaceAllFunc(in, func(m []byte) []byte {
		parts := make([]string, 0, 4)
		for f := range strings.SplitSeq(string(m[2:len(m)-1]), ",") {
			name, amount, ok := strings.Cut(strings.TrimSpace(f), " ")
			require.True(tb, ok, "resource %q", f)
			parts = append(parts, fmt.Sprintf("%q: %d", name, units(tb, name, amount)))
		}
		return []byte("{" + strings.Join(parts, ", ") + "}")
	})
}

func units(tb testing.TB, name, amount string) int64 {
	tb.Helper()
	if name == planner.ResourceMemory {
		q, err := resource.ParseQuantity(amount)
		require.NoError(tb, err)
		return q.Value()
	}
	f, err := strconv.ParseFloat(amount, 64)
	require.NoError(tb, err)
	if name == planner.ResourceCPU {
		return int64(f*1000 + 0.5)
	}
	return int64(f*float64(planner.Unit) + 0.5)
}
