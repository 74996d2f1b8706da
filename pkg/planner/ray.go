package planner

import "time"

// Mode says who decides about the Ray pods of a cluster.
type Mode string

// The modes of a RayCluster.
const (
	// ModeFollow: Ray's in-tree autoscaler decides Ray pods; the planner
	// predicts them and buys their VMs ahead of them.
	ModeFollow Mode = "follow"
	// ModeLead: the planner decides pods and VMs together.
	ModeLead Mode = "lead"
	// ModeOff: the cluster's pods count as ordinary pods.
	ModeOff Mode = "off"
)

// InTree tells what became of Ray's in-tree autoscaler in a RayCluster.
type InTree string

// The states of the in-tree autoscaler.
const (
	InTreeAbsent InTree = "absent"
	InTreeInert  InTree = "inert" // present, with an update interval of years
	InTreeLive   InTree = "live"
)

// RayCluster is one RayCluster object joined with the state that its GCS
// reports.
type RayCluster struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid,omitempty"`
	Mode      Mode   `json:"mode"`
	// Invalid, if not empty, tells why nothing is planned for this cluster:
	// a broken object, lead mode with a live in-tree autoscaler, or pods that Ray
	// may resize in place.
	Invalid string `json:"invalid,omitempty"`
	InTree  InTree `json:"inTree,omitempty"`
	// Advice, if not empty, tells what somebody should set in the object. It is
	// for people; no plan depends on it.
	Advice string `json:"advice,omitempty"`
	// Suspended clusters have no demand.
	Suspended bool `json:"suspended,omitempty"`
	// DemandKnown is false while the GCS cannot be read or its answer is stale
	// or broken: then Requests, Gangs, Constraints and RayNodes say nothing.
	DemandKnown bool   `json:"demandKnown"`
	DemandError string `json:"demandError,omitempty"`
	// DemandSince is when the demand was first read as it is now. It is for
	// people and metrics; no plan depends on it.
	DemandSince time.Time `json:"demandSince,omitzero"`
	// IdleTimeout is spec.autoscalerOptions.idleTimeoutSeconds (60 s if unset).
	IdleTimeout   Duration `json:"idleTimeout,omitempty"`
	UpscalingMode string   `json:"upscalingMode,omitempty"` // Default, Aggressive, Conservative
	// Head is the Ray start configuration of the head group: its resources
	// count as capacity of the Ray cluster, its node is never removed.
	HeadResources Resources     `json:"headResources,omitempty"`
	WorkerGroups  []WorkerGroup `json:"workerGroups,omitempty"`
	RayNodes      []RayNode     `json:"rayNodes,omitempty"`
	Requests      []Request     `json:"requests,omitempty"`
	Gangs         []Gang        `json:"gangs,omitempty"`
	// Constraints are the bundles of request_resources: the cluster's totals
	// must hold them all at once.
	Constraints []Request `json:"constraints,omitempty"`
	// Rejected lists what was dropped from the GCS's answer as malformed.
	Rejected []Rejected `json:"rejected,omitempty"`
}

// Key is namespace/name.
func (c *RayCluster) Key() string { return c.Namespace + "/" + c.Name }

// Rejected is one entry of a demand that was not understood.
type Rejected struct {
	What  string `json:"what"`  // such as "resource request"
	Why   string `json:"why"`   // such as "GPU is NaN"
	Count int64  `json:"count"` // how many of them
}

// WorkerGroup is one entry of spec.workerGroupSpecs.
type WorkerGroup struct {
	Name string `json:"name"`
	// Replicas, Min and Max count replicas; one replica is NumOfHosts pods.
	Replicas   int64 `json:"replicas"`
	Min        int64 `json:"min"`
	Max        int64 `json:"max"`
	NumOfHosts int64 `json:"numOfHosts,omitempty"` // zero reads as 1
	Suspended  bool  `json:"suspended,omitempty"`
	Priority   int64 `json:"priority,omitempty"`
	// IdleTimeout overrides the cluster's when it is not nil.
	IdleTimeout *Duration `json:"idleTimeout,omitempty"`
	// RayResources is what a raylet of this group offers to Ray, Labels are
	// the Ray labels it carries.
	RayResources Resources         `json:"rayResources"`
	Labels       map[string]string `json:"labels,omitempty"`
	// Pod is what Kubernetes sees of a pod of this group.
	Pod             PodShape `json:"pod"`
	WorkersToDelete []string `json:"workersToDelete,omitempty"`
	// Invalid, if not empty, tells why the group is left out of plans.
	Invalid string `json:"invalid,omitempty"`
}

// RayNodeStatus is the status of a raylet as the GCS reports it.
type RayNodeStatus string

// The states of a Ray node (ray: src/ray/protobuf/autoscaler.proto, NodeStatus).
const (
	RayNodeRunning  RayNodeStatus = "RUNNING"
	RayNodeIdle     RayNodeStatus = "IDLE"
	RayNodeDraining RayNodeStatus = "DRAINING"
	RayNodeDead     RayNodeStatus = "DEAD"
	RayNodeUnknown  RayNodeStatus = "UNKNOWN" // unspecified, or a value of a newer Ray
)

// RayNode is one raylet known to the GCS.
type RayNode struct {
	ID     string        `json:"id"` // hex
	Pod    string        `json:"pod,omitempty"`
	PodUID string        `json:"podUID,omitempty"`
	Group  string        `json:"group,omitempty"`
	Head   bool          `json:"head,omitempty"`
	Status RayNodeStatus `json:"status"`
	// Total and Available carry ordinary resources only: node:*, placement
	// group and implicit names are filtered out at the edge.
	Total     Resources         `json:"total,omitempty"`
	Available Resources         `json:"available,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
	// Gangs lists the ids of placement groups with a bundle on this node.
	Gangs    []string `json:"gangs,omitempty"`
	IdleFor  Duration `json:"idleFor,omitempty"`
	Activity []string `json:"activity,omitempty"`
}

// Request is a number of equal resource requests.
type Request struct {
	Resources Resources `json:"resources"`
	Count     int64     `json:"count"`
	// Selectors are ordered fallbacks: the first that can be served is used.
	// None means that any node will do.
	Selectors []Selector `json:"selectors,omitempty"`
}

// Selector is a conjunction of requirements on Ray node labels.
type Selector []Requirement

// Requirement is one constraint of a label selector. NotIn matches a node that
// lacks the label (ray: src/ray/common/scheduling/cluster_resource_data.cc).
type Requirement struct {
	Key    string   `json:"key"`
	NotIn  bool     `json:"notIn,omitempty"`
	Values []string `json:"values"`
}

// Strategy is the placement strategy of a gang.
type Strategy string

// The strategies of Ray's placement groups.
const (
	StrictPack   Strategy = "STRICT_PACK"
	Pack         Strategy = "PACK"
	Spread       Strategy = "SPREAD"
	StrictSpread Strategy = "STRICT_SPREAD"
)

// Gang is a placement group that waits. All its bundles are placed, or none.
type Gang struct {
	ID       string   `json:"id"` // hex
	Strategy Strategy `json:"strategy"`
	// Rescheduling gangs list only the bundles that they miss.
	Rescheduling bool `json:"rescheduling,omitempty"`
	// Options are ordered fallbacks: the first that can be whole is used.
	Options []GangOption `json:"options"`
}

// GangOption is one way to satisfy a gang.
type GangOption struct {
	Bundles []Bundle `json:"bundles"`
}

// Bundle is one member of a gang.
type Bundle struct {
	Resources Resources `json:"resources"`
	Selector  Selector  `json:"selector,omitempty"`
}
