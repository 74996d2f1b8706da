package coordinator

import (
	"fmt"
	"time"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// acceptedFor is how long a step that was accepted is not taken again: several
// times what a cache or a poll of a GCS needs to see what came of it.
const acceptedFor = 15 * time.Second

// accepted are the steps that were granted just now and that nothing takes back:
// a drain of a Ray node, the release of a deleted Machine. What comes of them shows
// in another object and later, and until then every plan has them again.
//
// Only what succeeded is noted, so an answer that was lost is asked for again. It
// holds within one process and for a bounded time: after a restart, or if nothing
// has come of it, each step is taken anew.
type accepted map[string]time.Time

// acceptedKey names what a step does for good, or is empty if it can be taken back.
// Why it is done does not matter, but until when a preempted Ray node may work does.
func acceptedKey(step planner.Step) string {
	switch step.Kind { //nolint:exhaustive // the others can be taken back, or name what they were planned from
	case planner.StepDrain:
		return fmt.Sprintf("%s %q %q %s %d", step.Kind, step.RayCluster, step.RayNode, step.Drain, step.DrainBy.UnixNano())
	case planner.StepReleaseHook:
		return fmt.Sprintf("%s %q", step.Kind, step.Machines)
	}
	return ""
}

// allow tells why a step is not taken now. Such an error wraps [ErrRefused].
func (a accepted) allow(step planner.Step, now time.Time) error {
	at, ok := a[acceptedKey(step)]
	if !ok || now.Sub(at) >= acceptedFor {
		return nil
	}
	return fmt.Errorf("%w: %w: accepted %s ago, and what comes of it is not seen yet", ErrRefused, errHeld, now.Sub(at).Round(time.Millisecond))
}

// note remembers a step that was accepted, and forgets old ones.
func (a accepted) note(step planner.Step, now time.Time) {
	for key, at := range a {
		if now.Sub(at) >= acceptedFor {
			delete(a, key)
		}
	}
	if key := acceptedKey(step); key != "" {
		a[key] = now
	}
}
