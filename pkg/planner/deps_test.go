package planner_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestPlannerIsPure holds the planner to the standard library and itself: it
// can reach no API, no clock of a client and no logger.
func TestPlannerIsPure(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "./...").Output()
	require.NoError(t, err)
	for pkg := range strings.Lines(string(out)) {
		pkg = strings.TrimSpace(pkg)
		if first, _, _ := strings.Cut(pkg, "/"); strings.Contains(first, ".") {
			assert.True(t, strings.HasPrefix(pkg, "github.com/tandem-autoscaler/tandem/pkg/planner"), "the planner must not import %s", pkg)
		}
		assert.NotContains(t, []string{"net", "net/http", "os/exec", "math/rand", "math/rand/v2", "log", "log/slog"}, pkg)
	}
}
