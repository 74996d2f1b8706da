package coordinator

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// The first pause after a step has failed, and the longest one.
const (
	firstPause   = time.Second
	longestPause = time.Minute
	// mostHurries is how often in a row a refused step makes the loop come back
	// soon. Caches see what was written meanwhile within that time; what is refused
	// still, such as an eviction by a disruption budget, waits for the interval.
	mostHurries = 4
)

// pauses are the steps that keep failing or are refused, by kind and subject. They
// hold within one process only: after a restart each step is tried at once.
type pauses map[string]pause

type pause struct {
	length  time.Duration
	until   time.Time
	err     string
	refused int // in a row
}

// pauseKey names what a step does to what. Counts are left out, so that a step
// that fails stays the same one when the plan moves on by one.
func pauseKey(step planner.Step) string {
	var b strings.Builder
	for _, s := range []string{string(step.Kind), step.Group, cmp.Or(step.NodeUID, step.Node), step.RayCluster, step.WorkerGroup, step.RayNode, strings.Join(step.Machines, ",")} {
		fmt.Fprintf(&b, "%q ", s)
	}
	for _, p := range step.Pods {
		fmt.Fprintf(&b, "%q/%q/%q ", p.Namespace, p.Name, p.UID)
	}
	return b.String()
}

// protects tells of steps that keep work alive. They are tried on every tick: to
// wait with them may cost what they are there for.
func protects(step planner.Step) bool {
	return step.Kind == planner.StepUncordon || step.Kind == planner.StepUnmark ||
		step.Kind == planner.StepDrain && step.Drain == planner.DrainPreemption
}

// allow tells why a step is not tried now. Such an error wraps [ErrRefused].
func (p pauses) allow(step planner.Step, now time.Time) error {
	last, ok := p[pauseKey(step)]
	if !ok || !now.Before(last.until) {
		return nil
	}
	return fmt.Errorf("%w: %w: paused, backing off for another %s after: %s", ErrRefused, errHeld, last.until.Sub(now).Round(time.Millisecond), last.err)
}

// failed makes the pause of a step twice as long as it was.
func (p pauses) failed(step planner.Step, now time.Time, err error) {
	if protects(step) {
		return
	}
	key := pauseKey(step)
	length := min(max(firstPause, 2*p[key].length), longestPause)
	p[key] = pause{length: length, until: now.Add(length), err: err.Error()}
}

// hurries counts a refusal, and tells whether it makes the loop come back soon.
func (p pauses) hurries(step planner.Step) bool {
	key := pauseKey(step)
	x := p[key]
	x.refused++
	p[key] = x
	return x.refused <= mostHurries
}

// succeeded forgets a step.
func (p pauses) succeeded(step planner.Step) { delete(p, pauseKey(step)) }

// keep forgets what the plan no longer has.
func (p pauses) keep(steps []planner.Step) {
	if len(p) == 0 {
		return
	}
	has := make(map[string]bool, len(steps))
	for _, s := range steps {
		has[pauseKey(s)] = true
	}
	for key := range p {
		if !has[key] {
			delete(p, key)
		}
	}
}
