package demand

import (
	"reflect"
	"slices"
	"time"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// verdict says what becomes of a state that was just read.
type verdict int

const (
	hold    verdict = iota // it is changing: read again soon
	publish                // it is what is known from now on
	forget                 // it begins a new session: what was known is void
)

// loadPeriod is a little more than the time between two looks of a GCS at its
// raylets' queues (ray: gcs_pull_resource_loads_period_milliseconds, 1 s).
// Measured on Ray 2.60: placement groups and constraints, which the GCS holds
// itself, show within 0.1 s of the call, and tasks that were submitted with them
// up to 1 s later, all at once.
const loadPeriod = 1100 * time.Millisecond

// settler holds a state that changes until it has stayed the same for a while,
// so that the burst of a job that starts becomes one demand. New placement groups
// and constraints without new requests are waited on for loadPeriod, in which
// the requests of the same job must show. A state that never stops changing is
// let through every 3 x settle + 1 s.
//
//	        unchanged, or settled, or long enough
//	published ◄──────────────────────────── moving ◄─┐
//	    │ ▲ same                              │ ▲    │ differs, or
//	    └─┘            differs                │ │    │ not yet settled
//	    └─────────────────────────────────────┘ └────┘
type settler struct {
	settle time.Duration

	published *State
	latest    *State
	due       time.Time // when latest is settled, if it does not change again
	movingAt  time.Time // when reads began to differ from published; zero: they do not
}

func (s *settler) read(state *State, at time.Time) verdict {
	void := false
	if s.latest != nil && state.newSessionSince(s.latest) {
		void = s.published != nil
		s.published, s.latest = nil, nil
	}
	if s.latest == nil || !state.sameAs(s.latest) {
		s.due = at.Add(s.quiet(state))
	}
	s.latest = state
	if s.published != nil && state.sameAs(s.published) {
		return s.publish(state, s.published.Since)
	}
	if s.movingAt.IsZero() || void {
		s.movingAt = at
	}
	if latest := s.movingAt.Add(3*s.settle + time.Second); s.due.After(latest) {
		s.due = latest
	}
	if !at.Before(s.due) {
		return s.publish(state, s.movingAt)
	}
	if void {
		return forget
	}
	return hold
}

// quiet is how long a state that just changed must stay as it is.
func (s *settler) quiet(state *State) time.Duration {
	if s.settle <= 0 {
		return 0
	}
	if s.latest != nil && reflect.DeepEqual(state.Requests, s.latest.Requests) &&
		(!reflect.DeepEqual(state.Gangs, s.latest.Gangs) || !reflect.DeepEqual(state.Constraints, s.latest.Constraints)) {
		return max(s.settle, loadPeriod)
	}
	return s.settle
}

// remaining is the time until the state that was read last is settled.
func (s *settler) remaining(at time.Time) time.Duration { return max(0, s.due.Sub(at)) }

func (s *settler) publish(state *State, since time.Time) verdict {
	state.Since = since
	s.published, s.movingAt = state, time.Time{}
	return publish
}

// newSessionSince tells whether the GCS has restarted between two reads: its
// name has changed, or its version has gone back, which counts from zero at each
// start.
func (s *State) newSessionSince(before *State) bool {
	return s.Session != before.Session || s.Version < before.Version
}

// sameAs tells whether two states ask for the same and offer the same. Clocks
// and explanations do not count.
func (s *State) sameAs(o *State) bool {
	return reflect.DeepEqual(s.Requests, o.Requests) &&
		reflect.DeepEqual(s.Gangs, o.Gangs) &&
		reflect.DeepEqual(s.Constraints, o.Constraints) &&
		slices.EqualFunc(s.RayNodes, o.RayNodes, sameNode)
}

func sameNode(a, b planner.RayNode) bool {
	a.IdleFor, b.IdleFor = 0, 0
	a.Activity, b.Activity = nil, nil
	return reflect.DeepEqual(a, b)
}
