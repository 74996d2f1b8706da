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
	// Cost is the price of the nodes that the plan buys for demand (those that
	// fill a group up to its minimum have no choice), and Bound a proven lower
	// bound on the price of any nodes for the same pods, in millionths of the
	// catalogue's unit per hour.
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
	// StepSoftTaint puts our PreferNoSchedule taint on Node, so that new pods
	// fill other nodes first; StepSoftUntaint takes it back.
	StepSoftTaint   StepKind = "SoftTaint"
	StepSoftUntaint StepKind = "SoftUntaint"
	// StepDrain asks the GCS of RayCluster to drain RayNode, whose pod is
	// Pods[0], for the reason Drain. A refusal for IDLE_TERMINATION cancels
	// the removal of its node. Acceptance cannot be taken back.
	StepDrain StepKind = "Drain"
	// StepShrinkWorkers names Pods of WorkerGroup in workersToDelete, beside the
	// names that are there, and lowers its replicas from From to To, in one
	// write. The pods' Ray nodes are DEAD, or the pods have never been bound to
	// a Node. From is what the object says; To is that, within the group's
	// limits, less one for every replica that goes. Pods may be named already:
	// then somebody has overwritten the replicas, and they are lowered again.
	StepShrinkWorkers StepKind = "ShrinkWorkers"
	// StepClearWorkers takes the names Pods, which are gone, out of
	// workersToDelete of WorkerGroup.
	StepClearWorkers StepKind = "ClearWorkers"
	// StepReplaceWorker deletes Pods[0], whose Ray node is DEAD, without
	// lowering replicas, so that the operator makes a fresh one.
	StepReplaceWorker StepKind = "ReplaceWorker"
	// StepEvict asks the API server to evict Pods, which are not Ray's and do
	// not block, from Node, which is cordoned. Disruption budgets hold.
	StepEvict StepKind = "Evict"
	// StepHook puts our pre-drain hook on Machines; StepReleaseHook takes it
	// off a Machine that is being deleted, so that Cluster API goes on. Its
	// reason tells which of the conditions holds: Vacant (Node is cordoned and
	// carries no Ray pod but those in Pods, whose clusters are in mode off),
	// Unreachable, BreakGlass or NoNode.
	StepHook        StepKind = "Hook"
	StepReleaseHook StepKind = "ReleaseHook"
	// StepRemember writes Backoffs on the MachineDeployment of Group, so that a
	// restart does not forget them. None: takes the note away.
	StepRemember StepKind = "Remember"
)

// DrainReason is why a Ray node is drained, in Ray's words (ray:
// src/ray/protobuf/autoscaler.proto, DrainNodeReason). There is none for
// "unspecified": it would abort the raylet.
type DrainReason string

// The reasons of a drain. An idle termination is refused by a raylet that
// works; a preemption is never refused and has a deadline.
const (
	DrainIdle       DrainReason = "IDLE_TERMINATION"
	DrainPreemption DrainReason = "PREEMPTION"
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
	// Pods are the pods that the step is about, sorted by name. For a cordon
	// they are the Ray pods that may still be on the node: in lead mode an
	// idle node is cordoned before its Ray nodes are drained.
	Pods []PodRef `json:"pods,omitempty"`
	// RayNode is the hex id of a raylet.
	RayNode string `json:"rayNode,omitempty"`
	// Drain and DrainBy are for StepDrain; DrainBy is the time at which a
	// preempted node goes, zero without.
	Drain   DrainReason `json:"drain,omitempty"`
	DrainBy time.Time   `json:"drainBy,omitzero"`
	// Backoffs are for StepRemember.
	Backoffs []Backoff `json:"backoffs,omitempty"`
	// From is the value that the plan was made from, To the one wanted.
	From   int64  `json:"from"`
	To     int64  `json:"to"`
	Reason Reason `json:"reason"`
}

// PodRef names one pod of the workload cluster for sure: a namesake that was
// made later has another UID.
type PodRef struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid,omitempty"`
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
