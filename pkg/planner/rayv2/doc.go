// Package rayv2 predicts what Ray's autoscaler v2 will ask for.
//
// # One function
//
// [Schedule] takes the state that Ray's autoscaler sees in one round and
// returns what its scheduler would launch and terminate, and what it would
// call infeasible, as Ray 2.60.0 does (ray: python/ray/autoscaler/v2/scheduler.py).
// It also tells what Ray keeps to itself: on which instances every request
// and gang was placed, and which instances something still wants. [Throttle]
// is the limit that Ray puts on launches afterwards.
//
// Both functions are pure and total: they read no clock and no random number,
// and a strange input gives an error in the answer, never a panic.
//
// # Fidelity
//
// The order of the lists in [Input] stands for the order of the dictionaries
// and lists in Ray's process and is part of the input. Amounts are float64, as
// in Ray, and are added, subtracted and compared in the same order, so that
// ties fall the same way. docs/rayv2.md says what is modelled, what is not,
// and how the agreement is measured.
//
// # Speed
//
// Work is done by distinct shape: equal requests form runs, equal nodes form
// classes, and what a class can take is computed again only when a run that
// it relies on has become too short.
package rayv2
