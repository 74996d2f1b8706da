package coordinator

import (
	"context"
	"errors"
	"time"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// ErrRefused is wrapped by the errors of an [Actuator] whose precondition did
// not hold: nothing was written, and the next tick plans anew.
var ErrRefused = errors.New("step refused")

// ErrDrainRefused is wrapped, beside [ErrRefused], by the error of a drain that
// the Ray node itself refused because it works again. The loop tells the planner,
// so that the node's removal is cancelled and its idle time starts anew.
var ErrDrainRefused = errors.New("drain refused")

// Observer adds what it knows to a snapshot. It never blocks on a network: it
// reads caches, and says in the snapshot's sources how old they are.
type Observer interface {
	Observe(now time.Time, s *planner.Snapshot)
}

// ObserverFunc makes a function an [Observer].
type ObserverFunc func(now time.Time, s *planner.Snapshot)

// Observe calls f.
func (f ObserverFunc) Observe(now time.Time, s *planner.Snapshot) { f(now, s) }

// Actuator takes one step of a plan. It reads the step's precondition again,
// from the API and not from a cache, and returns an error that wraps
// [ErrRefused] when it does not hold. Taking a step twice does no harm.
type Actuator interface {
	Take(ctx context.Context, plan planner.Plan, step planner.Step) error
}

// Gate tells why nothing may be written now, or nil. It is asked before every
// step. Its error says what stands in the way, in words for people.
type Gate func(ctx context.Context) error
