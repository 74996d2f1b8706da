package rayv2

// Amount is a quantity of one resource in Ray's own unit: cores, bytes,
// devices, or whatever a custom resource counts.
type Amount struct {
	Name  string
	Value float64
}

// Resources is a list of amounts in the order of Ray's dictionary. If a name
// comes twice, the last value counts.
type Resources []Amount

// Label is one label of a Ray node.
type Label struct {
	Key   string
	Value string
}

// Labels is a set of labels. If a key comes twice, the last value counts.
type Labels []Label

// Input is everything that one round of Ray's scheduler depends on.
type Input struct {
	// NodeTypes are the worker groups and the head group, in the order of
	// Ray's configuration.
	NodeTypes []NodeType
	// MaxNodes bounds the nodes of the whole cluster, the head included. Nil:
	// no bound. Zero stops launches but terminates nothing, as in Ray.
	MaxNodes *int64
	// IdleTimeoutSeconds is the cluster's idle timeout. Nil: nodes are never
	// idle for too long, unless their type has its own timeout.
	IdleTimeoutSeconds *float64
	// DisableLaunchConfigCheck keeps nodes whose configuration is outdated.
	// KubeRay's provider sets it.
	DisableLaunchConfigCheck bool
	// DisableGPUConservation is AUTOSCALER_CONSERVE_GPU_NODES=0: GPU nodes are
	// no longer avoided for requests without a GPU.
	DisableGPUConservation bool
	// Availability and RecoverableAvailability score node types from 0 (just
	// failed) to 1. A type that is not listed scores 1.
	Availability            []TypeScore
	RecoverableAvailability []TypeScore
	// Requests are the pending tasks and actors.
	Requests []Demand
	// Gangs are the pending placement groups.
	Gangs []Gang
	// Constraints are the answers to request_resources. Ray has at most one
	// and fails on more.
	Constraints []Constraint
	// Instances are the instances that Ray's instance manager knows.
	Instances []Instance
}

// NodeType is what Ray knows of one worker group, or of the head group.
type NodeType struct {
	Name      string
	Resources Resources
	// Min and Max count nodes, 0 <= Min <= Max.
	Min int64
	Max int64
	// IdleTimeoutSeconds overrides the cluster's if it is not nil.
	IdleTimeoutSeconds *float64
	Labels             Labels
	// LaunchHash is the hash of the launch configuration; empty: not checked.
	LaunchHash string
	// Priority breaks ties, the higher first.
	Priority int64
}

// TypeScore is an availability score of one node type.
type TypeScore struct {
	Type  string
	Score float64
}

// Request asks for resources on one node.
type Request struct {
	Resources Resources
	Placement []PlacementConstraint
	// Selectors are alternatives, the best first. None: any node will do.
	Selectors []Selector
}

// Demand is a number of equal requests. A count below one asks for nothing.
type Demand struct {
	Request Request
	Count   int64
}

// Gang is a placement group: its bundles are placed together or not at all.
// Ray looks at the first bundle selector only; Bundles are its requests.
type Gang struct {
	Bundles []Request
}

// Constraint is a shape that the cluster's totals must be able to hold.
type Constraint struct {
	Requests []Demand
}

// PlacementKind says what a placement constraint means.
type PlacementKind int

// The kinds of placement constraints.
const (
	// AntiAffinity keeps a request from nodes that carry the label; the node
	// that takes the request carries it from then on.
	AntiAffinity PlacementKind = iota
	// Affinity merges the bundles of a gang that share it into one request.
	Affinity
)

// PlacementConstraint ties a request to a label of its node.
type PlacementConstraint struct {
	Kind  PlacementKind
	Label string
	Value string
}

// Selector is a conjunction of requirements on node labels.
type Selector []Requirement

// Operator compares a node's label with a requirement's values.
type Operator int

// The operators (ray: src/ray/protobuf/common.proto, LabelSelectorOperator).
// Any other operator is never satisfied.
const (
	OperatorUnspecified Operator = 0
	OperatorIn          Operator = 1
	// OperatorNotIn is satisfied by a node that lacks the label.
	OperatorNotIn Operator = 2
)

// Requirement is one constraint of a label selector.
type Requirement struct {
	Key      string
	Operator Operator
	Values   []string
}

// Status is the status of an instance in Ray's instance manager
// (ray: src/ray/protobuf/instance_manager.proto, Instance.InstanceStatus).
type Status string

// The statuses of instances that count as capacity. Instances with any other
// status are ignored.
const (
	StatusQueued        Status = "QUEUED"
	StatusRequested     Status = "REQUESTED"
	StatusAllocated     Status = "ALLOCATED"
	StatusRayInstalling Status = "RAY_INSTALLING"
	StatusRayRunning    Status = "RAY_RUNNING"
	StatusStopRequested Status = "RAY_STOP_REQUESTED"
)

// Kind tells the head from the workers.
type Kind string

// The kinds of instances.
const (
	KindUnmanaged Kind = "UNMANAGED"
	KindHead      Kind = "HEAD"
	KindWorker    Kind = "WORKER"
)

// Instance is one instance of Ray's instance manager.
type Instance struct {
	ID     string
	Type   string
	Status Status
	Kind   Kind
	// RayNodeID is the Ray node that the instance manager has noted for the
	// instance; empty while Ray has not started on it.
	RayNodeID string
	// LaunchHash is the hash of the configuration it was launched with.
	LaunchHash string
	// RayNode is the GCS's view of the node. Without it an instance with
	// status RAY_RUNNING is ignored; with any other status it is not looked at.
	RayNode *RayNode
}

// RayNode is what the GCS reports about the node of an instance. To get Ray's
// own scores, Total and Available must hold every name that the GCS reports,
// object_store_memory and node:<ip> included.
type RayNode struct {
	Total     Resources
	Available Resources
	// IdleMillis is how long the node has been idle; zero: it is busy.
	IdleMillis int64
	// DynamicLabels carry the marks of placement groups; they hide Labels of
	// the same key.
	Labels        Labels
	DynamicLabels Labels
}
