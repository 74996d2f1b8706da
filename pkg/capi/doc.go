// Package capi is the supply side: it reads MachineDeployments, Machines, Nodes
// and pods into the planner's terms, and writes what the planner decides.
//
// A [Source] answers from informer caches and never waits for the network; what
// a cache cannot tell (the infrastructure template of a MachineDeployment) is
// fetched in the background by [Source.Run]. An [Actuator] works the other way
// round: it trusts no cache, re-reads the precondition of every step on the API
// server, and writes with a resourceVersion, so that a step whose world has moved
// on comes back as [ErrMoved] and harms nothing.
//
// Every group stands for itself: a MachineDeployment with a broken annotation is
// Invalid with a text, and the others go on. A side whose caches are not synced,
// or whose watches fail, is reported as not known; what was last seen of it stays
// in the view for people, and the planner holds still.
//
// # Annotations
//
// The size limits and the capacity hints are those of the Cluster Autoscaler's
// clusterapi provider (kubernetes/autoscaler:
// cluster-autoscaler/cloudprovider/clusterapi/README.md), so that its users need
// not write theirs anew.
package capi
