package metrics

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

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
		"Kubernetes Events, in logs and in the label `reason` of [metrics](metrics.md).\n\n" +
		"| reason | meaning | what to do |\n|---|---|---|\n")
	for _, r := range planner.Reasons() {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", r.Reason, r.Meaning, r.Advice)
	}
	golden(t, "../../docs/reasons.md", b.String())
}
