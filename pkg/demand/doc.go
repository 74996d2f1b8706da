// Package demand is the Ray side of the coordinator: it finds RayClusters, reads
// the demand and the Ray nodes of each from its GCS, joins them with pods, and
// hands them over in the planner's types; and it raises the replicas of worker
// groups when the planner leads. It translates and validates, and decides
// nothing.
//
// What arrives from a GCS belongs to a tenant, so every byte of it may be
// hostile: [Convert] is total, checks every name and amount, and names what it
// leaves out. A GCS that cannot be read makes the demand of its cluster unknown,
// never empty.
package demand
