package report

// Kind says what an event is about.
type Kind string

// The kinds of events.
const (
	// KindDemand is a change of what a GCS shows as demand: Subject is the
	// RayCluster, Counts has the number of each shape.
	KindDemand Kind = "demand"
	// KindRayNodes is a change of the Ray nodes of a GCS, Counts by status.
	KindRayNodes Kind = "rayNodes"
	// KindRayReplicas is a change of the replicas of a worker group: Subject is
	// namespace/name/group, From and To are set.
	KindRayReplicas Kind = "rayReplicas"
	// KindPods is a change of the Ray pods of a RayCluster, Counts by
	// group/phase.
	KindPods Kind = "pods"
	// KindReplicas is a write of replicas: Subject is the pool, From and To are
	// set.
	KindReplicas Kind = "replicas"
	// KindMachines is a change of the Machines of a pool, Counts by phase.
	KindMachines Kind = "machines"
	// KindNodes is a change of the Nodes of a pool, Counts by state: Ready,
	// NotReady, Cordoned.
	KindNodes Kind = "nodes"
	// KindStep is a step that the coordinator took, KindDecision a decision of
	// its journal that changed.
	KindStep     Kind = "step"
	KindDecision Kind = "decision"
	// KindDriver, KindFault and KindCoordinator are the scenario's own doings.
	KindDriver      Kind = "driver"
	KindFault       Kind = "fault"
	KindCoordinator Kind = "coordinator"
	// KindNote is anything else worth telling.
	KindNote Kind = "note"
)

// Event is one change.
type Event struct {
	// At is in seconds from the start.
	At      float64 `json:"at"`
	Kind    Kind    `json:"kind"`
	Subject string  `json:"subject,omitempty"`
	// Counts is the new state, where the kind counts something.
	Counts map[string]int64 `json:"counts,omitempty"`
	// From and To are set for changes of a number.
	From *int32 `json:"from,omitempty"`
	To   *int32 `json:"to,omitempty"`
	// Reason is the planner's, for steps and decisions.
	Reason string `json:"reason,omitempty"`
	// Text says it in words.
	Text string `json:"text,omitempty"`
}
