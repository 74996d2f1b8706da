// Package vsim is a simulated vCenter with GPU hosts and VM classes, for tests and
// for the lab: govmomi's vcsim, set up in a few lines.
//
// vcsim keeps its VM classes in one map for the whole process, without a lock.
// So one [Server] runs at a time, and [Server.Close] empties the map.
package vsim
