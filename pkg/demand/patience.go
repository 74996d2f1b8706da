package demand

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// envPatience is how long Ray's own autoscaler waits for the Ray node of a pod
// that it has asked for, in seconds, before it gives the pod up (ray:
// python/ray/autoscaler/v2/instance_manager/config.py).
const envPatience = "RAY_AUTOSCALER_RECONCILE_ALLOCATE_STATUS_TIMEOUT_S"

// What the variable stands at by itself: in Ray up to 2.52, and since 2.56. What
// lies between was not looked at, and counts as short.
const (
	shortPatience = 300 * time.Second
	longPatience  = 3600 * time.Second
	// patienceMargin is what a pod needs on top of its VM's boot: the image, the
	// start of Ray.
	patienceMargin = 2 * time.Minute
)

// patience is how long Ray's own autoscaler waits for a pod of this cluster.
func patience(rayVersion string, env []corev1.EnvVar) time.Duration {
	out := shortPatience
	if atLeast(rayVersion, 2, 56) {
		out = longPatience
	}
	for _, e := range env {
		if e.Name != envPatience {
			continue
		}
		if v, err := strconv.ParseInt(e.Value, 10, 64); err == nil && v > 0 {
			out = time.Duration(seconds(v))
		}
	}
	return out
}

// atLeast compares the first two parts of a version. One that is not understood
// is old.
func atLeast(version string, major, minor int) bool {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return false
	}
	a, errA := strconv.Atoi(parts[0])
	b, errB := strconv.Atoi(parts[1])
	return errA == nil && errB == nil && (a > major || a == major && b >= minor)
}

// advise tells what to set where Ray's own autoscaler, which decides about the
// pods in follow mode, would give them up while their VMs still boot.
func (c *cluster) advise(boot time.Duration) string {
	if c.Mode != planner.ModeFollow || c.Invalid != "" || boot <= 0 {
		return ""
	}
	need := boot + patienceMargin
	if c.patience >= need {
		return ""
	}
	return fmt.Sprintf("Ray's own autoscaler gives a pod up %s after it has asked for it, and a VM may take %s: set %s=%d in spec.autoscalerOptions.env, or it kills pods whose VMs boot",
		c.patience, boot, envPatience, int64((need+time.Second-1)/time.Second))
}
