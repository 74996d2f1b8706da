package planner

import "time"

// Plan is what is to be done now, and why. It is plain data; everything that a
// person sees is a rendering of its decisions.
type Plan struct {
	// ID names the plan in marks, logs and events: equal plans of equal
	// snapshots have equal ids.
	ID    string    `json:"id"`
	At    time.Time `json:"at"`
	Steps []Step    `json:"steps,omitempty"`
	// Groups has one entry for every NodeGroup, WorkerGroups one for every
	// worker group of a cluster that is planned, in order of their names.
	Groups       []GroupTarget  `json:"groups,omitempty"`
	WorkerGroups []WorkerTarget `json:"workerGroups,omitempty"`
	Decisions    []Decision     `json:"decisions,omitempty"`
	// Nodes tells what is expected on which node: placements on nodes that
	// exist, on Machines that are coming, and on nodes that the plan buys.
	Nodes []NodePlan `json:"nodes,omitempty"`
	// Cost is the price of the nodes that the plan buys, and Bound a proven
	// lower bound on the price of any plan for the same demand, in millionths
	// of the catalogue's unit per hour.
	Cost  int64 `json:"cost"`
	Bound int64 `json:"bound"`
}

// StepKind is a verb of the actuators.
type StepKind string

// The steps. The order in which a plan lists its steps is the order in which
// they are taken.
const (
	// StepGrow raises the replicas of Group to To.
	StepGrow StepKind = "Grow"
	// StepGrowWorkers raises the replicas of WorkerGroup of RayCluster to To.
	StepGrowWorkers StepKind = "GrowWorkers"
	// StepCordon keeps new pods from Node.
	StepCordon StepKind = "Cordon"
	// StepUncordon takes our cordon back from Node: a removal is cancelled.
	StepUncordon StepKind = "Uncordon"
	// StepRemove marks Machines of Group and lowers its replicas from From to
	// To = From - len(Machines). Only cordoned nodes without pods, and
	// Machines that never joined, may be named.
	StepRemove StepKind = "Remove"
	// StepUnmark takes our delete mark back from Machines: the shrink that it
	// was for did not happen and is not wanted any more.
	StepUnmark StepKind = "Unmark"
)

// Step is one action. It names absolute values, so taking it twice does no
// harm, and what it was planned from, so an actuator refuses it when the world
// has moved on.
type Step struct {
	Kind StepKind `json:"kind"`
	// Group is namespace/name of a MachineDeployment.
	Group string `json:"group,omitempty"`
	// Node is the name of a Kubernetes Node, NodeUID its UID.
	Node    string `json:"node,omitempty"`
	NodeUID string `json:"nodeUID,omitempty"`
	// Machines are namespace/name.
	Machines []string `json:"machines,omitempty"`
	// RayCluster is namespace/name.
	RayCluster  string `json:"rayCluster,omitempty"`
	WorkerGroup string `json:"workerGroup,omitempty"`
	// From is the value that the plan was made from, To the one wanted.
	From   int64  `json:"from"`
	To     int64  `json:"to"`
	Reason Reason `json:"reason"`
}

// GroupTarget sums up one NodeGroup.
type GroupTarget struct {
	Group    string `json:"group"`
	Replicas int64  `json:"replicas"`
	Ready    int64  `json:"ready"`
	Coming   int64  `json:"coming"`
	Target   int64  `json:"target"`
	Max      int64  `json:"max"`
	Min      int64  `json:"min"`
}

// WorkerTarget sums up one worker group of a RayCluster.
type WorkerTarget struct {
	RayCluster string `json:"rayCluster"`
	Group      string `json:"group"`
	Replicas   int64  `json:"replicas"`
	// Target is what the planner wants (lead) or expects Ray to ask for
	// (follow).
	Target int64 `json:"target"`
}

// NodePlan is what the plan puts on Count equal nodes of a group.
type NodePlan struct {
	// Node is the name of a Node that exists, or empty for a coming or new one.
	Node  string `json:"node,omitempty"`
	Group string `json:"group,omitempty"`
	// New nodes are bought by this plan; the others exist or are coming.
	New   bool        `json:"new,omitempty"`
	Count int64       `json:"count"`
	Pods  []Placement `json:"pods"`
}

// Placement is a number of equal pods on one node.
type Placement struct {
	// Demand names what the pods are for, such as "default/demo gpu1".
	Demand   string    `json:"demand"`
	Requests Resources `json:"requests"`
	Count    int64     `json:"count"`
}

// SubjectKind says what a decision is about.
type SubjectKind string

// The subjects of decisions.
const (
	SubjectNodeGroup  SubjectKind = "NodeGroup"
	SubjectNode       SubjectKind = "Node"
	SubjectMachine    SubjectKind = "Machine"
	SubjectRayCluster SubjectKind = "RayCluster"
	SubjectDemand     SubjectKind = "Demand"
)

// Outcome is what a decision comes to.
type Outcome string

// The outcomes.
const (
	OutcomeGrow   Outcome = "grow"
	OutcomeShrink Outcome = "shrink"
	OutcomeHold   Outcome = "hold"
	OutcomeCancel Outcome = "cancel"
	OutcomeUnmet  Outcome = "unmet"
)

// Decision says what was decided about one subject and why: one for every
// NodeGroup, one for every unmet demand, one for every node on its way out.
type Decision struct {
	Kind    SubjectKind `json:"kind"`
	Subject string      `json:"subject"`
	// RayCluster is namespace/name where the subject belongs to one.
	RayCluster string  `json:"rayCluster,omitempty"`
	Outcome    Outcome `json:"outcome"`
	Reason     Reason  `json:"reason"`
	// Message is one sentence with the numbers, for people.
	Message string `json:"message,omitempty"`
	From    int64  `json:"from,omitempty"`
	To      int64  `json:"to,omitempty"`
	// Demand and Count describe what is unmet.
	Demand Resources `json:"demand,omitempty"`
	Count  int64     `json:"count,omitempty"`
	// Rejected lists the alternatives that were not taken, each with its reason.
	Rejected []Alternative `json:"rejected,omitempty"`
}

// Alternative is an option that was looked at and not taken.
type Alternative struct {
	Name    string `json:"name"`
	Reason  Reason `json:"reason"`
	Message string `json:"message,omitempty"`
}
