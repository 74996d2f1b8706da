package scenario

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// CountedLabel marks the pods that a scenario wants to be counted.
const CountedLabel = "lab.tandem-autoscaler.io/counted"

// The kinds of faults.
const (
	// FaultKillCoordinator sends SIGKILL and starts it again after RestartAfter.
	FaultKillCoordinator = "killCoordinator"
	// FaultKillHead sends SIGKILL to the processes of a head.
	FaultKillHead = "killHead"
	// FaultKillRaylet sends SIGKILL to the raylet of a worker, FaultKillPod to
	// its container.
	FaultKillRaylet = "killRaylet"
	FaultKillPod    = "killPod"
	// FaultDeletePod deletes a worker pod through the API.
	FaultDeletePod = "deletePod"
	// FaultFailVMs makes the creation of VMs of a class fail with Message,
	// FaultStickVMs lets them come up without ever joining, FaultHealVMs ends
	// both. Count is how many; zero means all from now on.
	FaultFailVMs  = "failVMs"
	FaultStickVMs = "stickVMs"
	FaultHealVMs  = "healVMs"
	// FaultLoseLease gives the coordinator's lease to somebody else for a moment.
	FaultLoseLease = "loseLease"
	// FaultDeleteMachine deletes a Machine of a pool, as a stranger would; with
	// Busy one whose node has Ray work.
	FaultDeleteMachine = "deleteMachine"
	// FaultRestartAPIServer kills an API server and starts it again.
	FaultRestartAPIServer = "restartAPIServer"
	// FaultPatchObject applies a merge patch.
	FaultPatchObject = "patchObject"
	// FaultDeleteRayCluster deletes a RayCluster.
	FaultDeleteRayCluster = "deleteRayCluster"
)

// Fault is something that the scenario does to the lab.
type Fault struct {
	Kind string `json:"kind"`
	// At is the time, or AfterEvent what must have happened; Delay comes on top.
	At         *metav1.Duration `json:"at,omitempty"`
	AfterEvent *AfterEvent      `json:"afterEvent,omitempty"`
	Delay      metav1.Duration  `json:"delay,omitzero"`

	// RestartAfter is for killCoordinator (default 1s).
	RestartAfter metav1.Duration `json:"restartAfter,omitzero"`
	// RayCluster is for faults of a head, a pod or a RayCluster; Group narrows
	// the choice of a pod. The first by name is taken.
	RayCluster string `json:"rayCluster,omitempty"`
	Group      string `json:"group,omitempty"`
	// Class, Count and Message are for VMs.
	Class   string `json:"class,omitempty"`
	Count   int    `json:"count,omitempty"`
	Message string `json:"message,omitempty"`
	// Pool is for deleteMachine.
	Pool string `json:"pool,omitempty"`
	Busy bool   `json:"busy,omitempty"`
	// Cluster is management or workload, for restartAPIServer and patchObject.
	Cluster string `json:"cluster,omitempty"`
	// Object names what patchObject patches: apiVersion, kind, namespace, name;
	// Patch is the merge patch.
	Object *ObjectRef            `json:"object,omitempty"`
	Patch  *runtime.RawExtension `json:"patch,omitempty"`
}

// ObjectRef names an object.
type ObjectRef struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name"`
}

// The events that faults can wait for.
const (
	// EventDriverStarted, EventDriverEnded and EventDriverPrinted (Text) are
	// about Driver.
	EventDriverStarted = "driverStarted"
	EventDriverEnded   = "driverEnded"
	EventDriverPrinted = "driverPrinted"
	// EventDemandVisible: the GCS of RayCluster shows demand.
	EventDemandVisible = "demandVisible"
	// EventPatched and EventShrunk: replicas of Pool (of any, if empty) were
	// raised, lowered Count times.
	EventPatched = "machineDeploymentPatched"
	EventShrunk  = "machineDeploymentShrunk"
	// EventNodesReady: Count nodes of Pool are ready.
	EventNodesReady = "nodesReady"
	// EventPodsReady: Count worker pods of RayCluster are ready.
	EventPodsReady = "podsReady"
	// EventNodeCordoned and EventMachineMarked: the coordinator has cordoned
	// Count nodes, Count Machines were marked for deletion.
	EventNodeCordoned  = "nodeCordoned"
	EventMachineMarked = "machineMarked"
	// EventCountedPods: Count pods with the label [CountedLabel] run.
	EventCountedPods = "countedPodsRunning"
)

// AfterEvent is something that must have happened.
type AfterEvent struct {
	Event      string `json:"event"`
	Driver     string `json:"driver,omitempty"`
	Text       string `json:"text,omitempty"`
	RayCluster string `json:"rayCluster,omitempty"`
	Pool       string `json:"pool,omitempty"`
	Count      int    `json:"count,omitempty"` // default 1
}

// Coordinator adds to the configuration of the coordinator and to its command
// line.
type Coordinator struct {
	// Config is merged into the generated configuration, key by key.
	Config map[string]any `json:"config,omitempty"`
	// Args are added to `run --config FILE`.
	Args []string `json:"args,omitempty"`
	// Instances is how many run at once (default 1); AfterEvent is what must
	// have happened before they start.
	Instances  int         `json:"instances,omitempty"`
	AfterEvent *AfterEvent `json:"afterEvent,omitempty"`
}

// Expect is checked on the finished report. What is not given is not checked,
// except for the last group, which is checked always.
type Expect struct {
	WorkerMachinesAtEnd *int `json:"workerMachinesAtEnd,omitempty"`
	// BoughtPerPool is the exact number of Machines bought, NeverBought are
	// pools of which none was.
	BoughtPerPool map[string]int `json:"boughtPerPool,omitempty"`
	NeverBought   []string       `json:"neverBought,omitempty"`
	// PatchesPerPool is the exact number of writes that raised replicas,
	// MaxReplicasPerPool the highest value that replicas may have had.
	PatchesPerPool     map[string]int   `json:"patchesPerPool,omitempty"`
	MaxReplicasPerPool map[string]int32 `json:"maxReplicasPerPool,omitempty"`
	// DecisionReasons must occur in the coordinator's journal.
	DecisionReasons []string `json:"decisionReasons,omitempty"`
	// VMRequestedBeforePods: in every wave that raised a pool and saw new Ray
	// worker pods, each raise came before the first of these pods existed; and
	// there was such a wave.
	VMRequestedBeforePods bool `json:"vmRequestedBeforePods,omitempty"`
	// DemandToPatchSeconds bounds the time from demand to the last patch, for
	// every wave.
	DemandToPatchSeconds *float64 `json:"demandToPatchSeconds,omitempty"`
	// CoordinatorRestarts is the exact number of restarts.
	CoordinatorRestarts *int `json:"coordinatorRestarts,omitempty"`
	// RemovedBeforeDriverEnd is, by driver, how many Machines at least were
	// deleted before it ended.
	RemovedBeforeDriverEnd map[string]int `json:"removedBeforeDriverEnd,omitempty"`
	// RemovedAfterDriverEnd is, by driver, how many Machines exactly were
	// deleted after it ended.
	RemovedAfterDriverEnd map[string]int `json:"removedAfterDriverEnd,omitempty"`
	// RemovedPerPool is the exact number of Machines deleted by the end, and
	// CountedPodsAtEnd that of running pods with [CountedLabel].
	RemovedPerPool   map[string]int `json:"removedPerPool,omitempty"`
	CountedPodsAtEnd *int           `json:"countedPodsAtEnd,omitempty"`
	// StepsSeen is, by kind, how often at least a step was taken, StepsNeverSeen
	// lists kinds that must not have been.
	StepsSeen      map[string]int `json:"stepsSeen,omitempty"`
	StepsNeverSeen []string       `json:"stepsNeverSeen,omitempty"`
	// StepsDecided: every step that was taken carried a reason, and each that
	// is about a node came with a decision about that node.
	StepsDecided bool `json:"stepsDecided,omitempty"`
	// RemovedInOrder lists kinds of steps that every removed node went through,
	// in this order.
	RemovedInOrder []string `json:"removedInOrder,omitempty"`
	// IdleToDeletedSeconds bounds the time from the last Ray work on a node to
	// the deletion of its Machine. The report has it in any case.
	IdleToDeletedSeconds *float64 `json:"idleToDeletedSeconds,omitempty"`
	// BusyNodesTouched is the number of cordons and delete marks on nodes with
	// running Ray work.
	BusyNodesTouched *int `json:"busyNodesTouched,omitempty"`

	// BusyNodesRemoved is the number of Machines removed under Ray work, and
	// GCSCrashes that of ready heads whose container ended without being asked
	// (default 0). CoordinatorNeverPanics (default true) also means that it
	// never exits by itself.
	BusyNodesRemoved *int `json:"busyNodesRemoved,omitempty"`
	// UnmarkedRemoved is the number of Machines that were deleted without a
	// delete mark (default 0), except by the scenario itself.
	UnmarkedRemoved        *int  `json:"unmarkedRemoved,omitempty"`
	GCSCrashes             *int  `json:"gcsCrashes,omitempty"`
	CoordinatorNeverPanics *bool `json:"coordinatorNeverPanics,omitempty"`
}
