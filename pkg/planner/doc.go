// Package planner decides, for Ray clusters on Cluster API machines, which
// nodes to buy, which to keep and which to give back.
//
// # One function
//
// [Make] takes a [Snapshot] and a [Memory] and returns a [Plan] and the next
// Memory. It is total, pure and deterministic: it reads no clock, no API and
// no random number, and equal inputs give equal plans whatever the order of
// the lists in them. Adapters fill the snapshot and carry out the plan's
// steps; they decide nothing.
//
// # Quantities
//
// Every amount is an int64 in a fixed unit: milli-CPU, bytes, and 1e-4 of a
// GPU or custom resource. Sums saturate. Prices are millionths of the
// catalogue's unit per hour.
//
// # Rules
//
// [Check] tells whether a plan keeps the rules I1, I2, I3, I6 and I9 of
// docs/design.md; the loop drops a plan that does not.
package planner
