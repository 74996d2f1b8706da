// Package coordinator is the loop: observe, plan, check, act, record.
//
// One goroutine ticks, and nothing else writes to any cluster. Events only wake
// the loop; what it does depends on the snapshot alone. A plan is checked
// against the rules of [planner.Check] before anything is done, and every step
// is refused by its actuator when the world has moved on since the snapshot.
package coordinator
