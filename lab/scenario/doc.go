// Package scenario reads scenario files and runs them on a lab: pools,
// RayClusters, Python drivers and faults at their times, the coordinator as a
// process of its own, and at the end a judgement of what was expected.
//
// README.md documents the file format.
package scenario
