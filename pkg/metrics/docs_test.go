package metrics

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/tools/txtar"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

const made = "<!-- Made by go test ./pkg/metrics -update. Do not edit. -->\n\n"

// docs/metrics.md is made of the table that the collectors are made of.
func TestMetricsReference(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Metrics\n\n" + made +
		"The coordinator serves these at `/metrics`. Labels never carry a tenant's text: names of custom resources read `custom`,\n" +
		"and values of no list read `other`. `node_group` is namespace/name of a MachineDeployment; its series go when it goes.\n" +
		"Histograms have classic and native buckets. Reasons are listed in [reasons.md](reasons.md).\n\n" +
		"| series | type | labels | meaning |\n|---|---|---|---|\n")
	all := seriesOf()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		s := all[name]
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", s.fullName(), s.kind, strings.Join(s.labels, ", "), s.help)
	}
	golden(t, "../../docs/metrics.md", b.String())
}

// docs/reasons.md is made of the planner's own list.
func TestReasonsReference(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Reasons\n\n" + made +
		"Every decision carries exactly one of these. The same word stands in the output of `coordinator plan`, in the journal, in\n" +
		"Kubernetes Events, in logs and in the label `reason` of [metrics](metrics.md). A story is a situation and the plan for it;\n" +
		"there are [more](../pkg/planner/testdata).\n\n" +
		"| reason | meaning | what to do | stories |\n|---|---|---|---|\n")
	plans := storyPlans(t)
	for _, r := range planner.Reasons() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", r.Reason, r.Meaning, r.Advice, strings.Join(storiesOf(plans, r.Reason), ", "))
	}
	golden(t, "../../docs/reasons.md", b.String())
}

// storyPlans has what the plans of each of the planner's stories say.
func storyPlans(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../planner/testdata/*.txtar")
	require.NoError(t, err)
	plans := map[string]string{}
	for _, f := range files {
		ar, err := txtar.ParseFile(f)
		require.NoError(t, err)
		for _, part := range ar.Files {
			if part.Name == "plan" {
				plans[strings.TrimSuffix(filepath.Base(f), ".txtar")] += string(part.Data)
			}
		}
	}
	return plans
}

// storiesOf links the two stories in which a reason stands out most: those in
// whose plans it has the largest share of the lines.
func storiesOf(plans map[string]string, r planner.Reason) []string {
	given := regexp.MustCompile(`(?m)(?: for |^\S+ .*: [a-z]+, |^    not \S+: )` + string(r) + `\b`)
	share := map[string]int{}
	for name, plan := range plans {
		if n := len(given.FindAllString(plan, -1)); n > 0 {
			share[name] = 1000 * n / strings.Count(plan, "\n")
		}
	}
	names := slices.SortedFunc(maps.Keys(share), func(a, b string) int {
		return cmp.Or(cmp.Compare(share[b], share[a]), cmp.Compare(a, b))
	})
	var links []string
	for _, name := range names[:min(2, len(names))] {
		links = append(links, fmt.Sprintf("[%s](../pkg/planner/testdata/%s.txtar)", name, name))
	}
	return links
}
