package demand

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// Fault 55: Ray's own autoscaler gives up pods for which VMs boot.
func TestAdviceOnThePatienceOfRay(t *testing.T) {
	t.Parallel()
	env := func(v string) []corev1.EnvVar { return []corev1.EnvVar{{Name: envPatience, Value: v}} }
	for name, c := range map[string]struct {
		version string
		env     []corev1.EnvVar
		boot    time.Duration
		want    string
	}{
		"2.52 and slow VMs":         {"2.52.1", nil, 15 * time.Minute, envPatience + "=1020 in"},
		"2.52 and fast VMs":         {"2.52.1", nil, 3 * time.Minute, ""},
		"2.52, at the edge":         {"2.52.1", nil, 3*time.Minute + time.Second, envPatience + "=301 in"},
		"2.56 waits an hour":        {"2.56.0", nil, 15 * time.Minute, ""},
		"2.56 and an hour to boot":  {"2.60.0", nil, time.Hour, envPatience + "=3720 in"},
		"3.0":                       {"3.0.0", nil, 15 * time.Minute, ""},
		"between counts as short":   {"2.54.0", nil, 15 * time.Minute, "gives a pod up 5m0s after"},
		"no version":                {"", nil, 15 * time.Minute, envPatience},
		"a version that is none":    {"nightly", nil, 15 * time.Minute, envPatience},
		"set well":                  {"2.52.1", env("1200"), 15 * time.Minute, ""},
		"set too short":             {"2.60.0", env("60"), 15 * time.Minute, "gives a pod up 1m0s after"},
		"set to nonsense":           {"2.60.0", env("long"), 15 * time.Minute, ""},
		"nothing known of the boot": {"2.52.1", nil, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := cluster{RayCluster: planner.RayCluster{Mode: planner.ModeFollow}, patience: patience(c.version, c.env)}
			got := cl.advise(c.boot)
			if c.want == "" {
				assert.Empty(t, got)
				return
			}
			assert.Contains(t, got, c.want)
			cl.Mode = planner.ModeLead
			assert.Empty(t, cl.advise(c.boot), "in lead mode Ray's own autoscaler decides nothing")
		})
	}
}
