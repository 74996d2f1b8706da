package rayv2

import "errors"

// ErrRoundFails is wrapped by [Output].Err when Ray's own scheduler raises an
// exception on this input: Ray then neither launches nor terminates anything
// in this round.
var ErrRoundFails = errors.New("ray's scheduler fails on this input")

// ErrNotModelled is wrapped by [Output].Err when the input is one that Ray
// cannot see and that this package refuses: a negative, infinite or
// not-a-number amount, or a node type with limits out of order.
var ErrNotModelled = errors.New("input is not modelled")

// Output is the answer of one round.
type Output struct {
	// Launches has one entry for each node type to launch, in Ray's order.
	Launches []Launch
	// Terminations are in Ray's order. A node that this round wanted to
	// launch for a minimum size and dropped for the cluster's maximum
	// appears here as well, with an empty Instance, as it does in Ray.
	Terminations []Termination
	// InfeasibleRequests are the requests that found no place, in the order
	// in which Ray tried them.
	InfeasibleRequests []Remainder
	// InfeasibleGangs and InfeasibleConstraints are indexes of the input.
	InfeasibleGangs       []int
	InfeasibleConstraints []int

	// Requests, Gangs and Constraints tell what became of the input's entry
	// with the same index.
	Requests    []Outcome
	Gangs       []Outcome
	Constraints []Outcome
	// Bundles tells for each gang on which of the input's instances each of its
	// bundles is placed, -1 for a node that this round launches. It is nil for a
	// gang that could not be placed.
	Bundles [][]int
	// Instances tells what the input's instance with the same index is for.
	Instances []InstanceUse

	// Err, if not nil, tells why there is no answer; everything else is empty
	// then. It wraps ErrRoundFails or ErrNotModelled.
	Err error
}

// Launch is a number of nodes to launch.
type Launch struct {
	Type  string
	Count int64
}

// Cause says why an instance is terminated
// (ray: src/ray/protobuf/instance_manager.proto, TerminationRequest.Cause).
type Cause string

// The causes of terminations.
const (
	CauseOutdated   Cause = "OUTDATED"
	CauseMaxPerType Cause = "MAX_NUM_NODE_PER_TYPE"
	CauseMaxNodes   Cause = "MAX_NUM_NODES"
	CauseIdle       Cause = "IDLE"
)

// Termination is one instance to terminate.
type Termination struct {
	Instance string
	Type     string
	Cause    Cause
}

// Remainder is a part of one entry of the input's requests.
type Remainder struct {
	Index int
	Count int64
}

// Outcome tells where one entry of the demand went. Bundles of a gang that
// share an affinity count as one.
type Outcome struct {
	// Existing and New count requests placed on instances of the input and on
	// nodes that this round launches.
	Existing int64
	New      int64
	// Unplaced counts the requests that found no place. A gang or constraint
	// that could not be placed whole has all of its requests here.
	Unplaced int64
	// On lists the places, in the order in which they were chosen.
	On []Share
}

// Share is a number of requests placed on one node.
type Share struct {
	// Instance is an index into the input's instances, or -1 for a node that
	// is launched or dropped in this round.
	Instance int
	Type     string
	Count    int64
}

// InstanceUse tells what one instance is for.
type InstanceUse struct {
	ID string
	// Counted is false for an instance that the scheduler ignores.
	Counted bool
	// Demand, Constraint and Min tell that a request or gang was placed on the
	// instance, that it holds a part of a constraint, and that its type needs
	// it for its minimum size. The type's minimum is filled with the used
	// instances first, then with those that Ray would terminate last.
	Demand     bool
	Constraint bool
	Min        bool
	// Terminated tells that the instance is to be terminated. Ray places
	// demand on such instances all the same.
	Terminated bool
}

// Wanted tells whether something still needs the instance.
func (u *InstanceUse) Wanted() bool {
	return !u.Terminated && (u.Demand || u.Constraint || u.Min)
}
