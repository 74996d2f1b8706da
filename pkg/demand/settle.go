package demand

import (
	"errors"
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
	stale                  // it is older than what was read before: it is passed over
)

// errStale says that a GCS answered with an older state than it had before, as a
// proxy or a former head may. What was known before grows old meanwhile.
var errStale = errors.New("the state is older than one that was read before")

const (
	// restartReads is how many answers in a row, each newer than the one before
	// but all older than what was known, show that the GCS has restarted under the
	// name of its former session, as one with fault tolerance does. A GCS counts
	// its answers, so old ones that are served again do not grow.
	restartReads = 3
	// youth is how long the first states of a new session are not believed: nodes
	// that have not been asked yet look free, and the demand looks gone.
	youth = 5 * time.Second
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

	// constraints are those that were published last, and since when.
	constrained   bool
	constraints   []planner.Request
	constraintsAt time.Time

	// young makes the first session count as one that has just begun.
	young bool
	// sessionAt is when the session was first read, believedAt when it has passed
	// its youth.
	sessionAt, believedAt time.Time
	// behind counts the answers of a possible restart, behindVersion is the last.
	behind        int
	behindVersion int64
}

func (s *settler) read(state *State, at time.Time) verdict {
	void := false
	switch {
	case s.latest == nil:
		if s.sessionAt.IsZero() {
			s.begin(at, s.young)
		}
	case state.Session != s.latest.Session, s.restarted(state):
		void = s.published != nil
		s.published, s.latest = nil, nil
		s.begin(at, true)
	case state.Version < s.latest.Version:
		return stale
	}
	s.behind = 0
	if s.latest == nil || !state.sameAs(s.latest) {
		s.due = at.Add(s.quiet(state))
	}
	s.latest = state
	if s.published != nil && state.sameAs(s.published) {
		return s.publish(state, s.published.Since, at)
	}
	if s.movingAt.IsZero() || void {
		s.movingAt = at
	}
	if latest := s.movingAt.Add(3*s.settle + time.Second); s.due.After(latest) {
		s.due = latest
	}
	if s.due.Before(s.believedAt) {
		s.due = s.believedAt
	}
	if !at.Before(s.due) {
		return s.publish(state, s.movingAt, at)
	}
	if void {
		return forget
	}
	return hold
}

// begin is the first read of a session.
func (s *settler) begin(at time.Time, young bool) {
	s.sessionAt, s.believedAt = at, at
	s.constrained = false
	if young {
		s.believedAt = at.Add(youth)
	}
}

// restarted counts answers that are older than what was read before, and tells
// when they show that the GCS has restarted.
func (s *settler) restarted(state *State) bool {
	if state.Version >= s.latest.Version {
		return false
	}
	switch {
	case s.behind == 0 || state.Version < s.behindVersion:
		s.behind = 1
	case state.Version > s.behindVersion:
		s.behind++
	}
	s.behindVersion = state.Version
	return s.behind >= restartReads
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

// publish lets a state through. No Ray node has been idle for longer than its
// session is known: ids, drains and idle times of another session say nothing.
func (s *settler) publish(state *State, since, at time.Time) verdict {
	for i := range state.RayNodes {
		n := &state.RayNodes[i]
		n.IdleFor = min(n.IdleFor, planner.Duration(max(0, at.Sub(s.sessionAt))))
	}
	state.Since = since
	if !s.constrained || !reflect.DeepEqual(state.Constraints, s.constraints) {
		s.constrained, s.constraints, s.constraintsAt = true, state.Constraints, at
	}
	state.ConstraintsSince = s.constraintsAt
	s.published, s.movingAt = state, time.Time{}
	return publish
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
