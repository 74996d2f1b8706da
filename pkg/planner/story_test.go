package planner_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

var update = flag.Bool("update", false, "write what the planner says into the stories")

// TestStories runs every story in testdata: a paragraph that tells what the
// situation is and why the answer is right, a situation (a snapshot in YAML, in
// which r(CPU 8, memory 64Gi, GPU 1) stands for resources), perhaps a memory,
// and the plan that is expected. A story of several rounds goes on with what is
// different then and the plan of that round; the memory of each round is what
// the one before left.
func TestStories(t *testing.T) {
	for _, f := range storyFiles(t) {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(f)
			require.NoError(t, err)
			assert.Regexp(t, `(?s)^\S.{40,}\.\n$`, string(ar.Comment), "a story begins with a paragraph")
			rounds := readStory(t, ar)
			if *update {
				for _, r := range rounds {
					r.want.Data = []byte(tell(r.plan))
				}
				require.NoError(t, os.WriteFile(f, txtar.Format(ar), 0o600))
				return
			}
			for i, r := range rounds {
				assert.Equal(t, string(r.want.Data), tell(r.plan), "round %d", i+1)
			}
		})
	}
}

func storyFiles(tb testing.TB) []string {
	tb.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	require.NoError(tb, err)
	require.NotEmpty(tb, files)
	return files
}

// told is one plan of a story.
type told struct {
	plan planner.Plan
	want *txtar.File
}

// readStory makes the plans of a story. What a later round says replaces the
// same parts of the situation as a whole: a list of pods is all of the pods.
func readStory(tb testing.TB, ar *txtar.Archive) []told {
	tb.Helper()
	var rounds []told
	var memory planner.Memory
	situation := map[string]json.RawMessage{"at": json.RawMessage(`"` + noon.Format(time.RFC3339) + `"`)}
	for i, f := range ar.Files {
		switch f.Name {
		case "situation", "then":
			require.NoError(tb, yaml.UnmarshalStrict(expand(tb, f.Data), &situation))
		case "memory":
			require.NoError(tb, yaml.UnmarshalStrict(f.Data, &memory))
		case "plan":
			s := planner.Snapshot{Policy: testPolicy()}
			whole, err := json.Marshal(situation)
			require.NoError(tb, err)
			require.NoError(tb, yaml.UnmarshalStrict(whole, &s))
			require.NoError(tb, planner.Validate(s))
			r := told{want: &ar.Files[i]}
			before := memory
			r.plan, memory = planner.Make(s, before)
			require.NoError(tb, planner.Check(s, r.plan))
			again, _ := planner.Make(shuffled(s, rand.New(rand.NewPCG(7, 7))), before) //nolint:gosec // A shuffle that can be repeated is wanted.
			require.Equal(tb, r.plan, again, "I4: the order of the lists changes the plan")
			rounds = append(rounds, r)
		default:
			require.Fail(tb, "no part of a story", f.Name)
		}
	}
	require.NotEmpty(tb, rounds, "the story has no plan; add an empty one, run with -update and read it")
	return rounds
}

// tell writes a plan the way a person would read it.
func tell(p planner.Plan) string {
	var b bytes.Buffer
	for _, s := range p.Steps {
		fmt.Fprintln(&b, strings.Join(strings.Fields(tellStep(s)), " "))
	}
	for _, n := range p.Nodes {
		tellPlacement(&b, n)
	}
	for _, w := range p.WorkerGroups {
		if w.Target != w.Replicas {
			fmt.Fprintf(&b, "workers %s %s %d→%d\n", w.RayCluster, w.Group, w.Replicas, w.Target)
		}
	}
	if p.Cost > 0 {
		fmt.Fprintf(&b, "cost %.2f bound %.2f\n", float64(p.Cost)/1e6, float64(p.Bound)/1e6)
	}
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

// tellStep says all of a step but what only the API needs.
func tellStep(s planner.Step) string {
	words := []string{"step", string(s.Kind), s.Group, s.Node, s.RayCluster, s.WorkerGroup}
	words = append(words, s.Machines...)
	for _, p := range s.Pods {
		words = append(words, p.Namespace+"/"+p.Name)
	}
	words = append(words, string(s.Drain))
	if !s.DrainBy.IsZero() {
		words = append(words, "by", s.DrainBy.Format(time.TimeOnly))
	}
	for _, b := range s.Backoffs {
		words = append(words, string(b.Kind), "until", b.Until.Format(time.TimeOnly))
	}
	if s.From != s.To {
		words = append(words, fmt.Sprintf("%d→%d", s.From, s.To))
	}
	return strings.Join(append(words, "for", string(s.Reason)), " ")
}

func tellPlacement(b *bytes.Buffer, n planner.NodePlan) {
	on := n.Node
	switch {
	case n.New:
		on = fmt.Sprintf("%d new %s", n.Count, n.Group)
	case n.Node == "":
		on = fmt.Sprintf("%d coming %s", n.Count, n.Group)
	}
	var pods []string
	for _, p := range n.Pods {
		pods = append(pods, fmt.Sprintf("%d × %s", p.Count, p.Demand))
	}
	fmt.Fprintf(b, "on %s: %s\n", on, strings.Join(pods, ", "))
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
