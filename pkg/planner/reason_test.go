package planner_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/tools/txtar"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// reasonsInCode lists the constants of type Reason, so that a reason which
// somebody adds and documents nowhere is found.
func reasonsInCode(t *testing.T) []planner.Reason {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, 0)
	require.NoError(t, err)
	var out []planner.Reason
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if typ, ok := spec.Type.(*ast.Ident); !ok || typ.Name != "Reason" {
			return true
		}
		for _, v := range spec.Values {
			text, err := strconv.Unquote(v.(*ast.BasicLit).Value) //nolint:forcetypeassert // a constant of the list is a literal
			require.NoError(t, err)
			out = append(out, planner.Reason(text))
		}
		return true
	})
	require.NotEmpty(t, out)
	return out
}

// Every reason says what it means and what a person can do.
func TestEveryReasonIsDocumented(t *testing.T) {
	var documented []planner.Reason
	meanings := map[string]planner.Reason{}
	for _, d := range planner.Reasons() {
		documented = append(documented, d.Reason)
		assert.Regexp(t, `^[A-Z].{15,}\.$`, d.Meaning, "the meaning of %s is a sentence", d.Reason)
		assert.Regexp(t, `^[A-Z].*\.$`, d.Advice, "the advice for %s is a sentence", d.Reason)
		assert.Empty(t, meanings[d.Meaning], "%s means the same", d.Reason)
		meanings[d.Meaning] = d.Reason
	}
	assert.ElementsMatch(t, reasonsInCode(t), documented)
}

// Every reason has a story in which a plan gives it.
func TestEveryReasonHasAStory(t *testing.T) {
	told := map[planner.Reason]bool{}
	for _, f := range storyFiles(t) {
		ar, err := txtar.ParseFile(f)
		require.NoError(t, err)
		for _, r := range readStory(t, ar) {
			for _, st := range r.plan.Steps {
				told[st.Reason] = true
			}
			for _, d := range r.plan.Decisions {
				told[d.Reason] = true
				for _, a := range d.Rejected {
					told[a.Reason] = true
				}
			}
		}
	}
	var missing []planner.Reason
	for _, r := range reasonsInCode(t) {
		if !told[r] {
			missing = append(missing, r)
		}
	}
	assert.Empty(t, missing, "reasons without a story in testdata")
}
