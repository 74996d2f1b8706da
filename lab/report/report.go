package report

import "time"

// Report is the record of one scenario. It is written as JSON.
type Report struct {
	// Scenario is the name of the scenario, Description its own sentence.
	Scenario    string `json:"scenario"`
	Description string `json:"description,omitempty"`
	// Passed is true if everything expected happened; otherwise Failures has
	// one sentence for each thing that did not.
	Passed   bool     `json:"passed"`
	Failures []string `json:"failures,omitempty"`
	// StartedAt is second zero of the timeline.
	StartedAt time.Time `json:"startedAt"`
	// Seconds from the start to the end, and LabStartSeconds that the control
	// plane took before that.
	Seconds         float64 `json:"seconds"`
	LabStartSeconds float64 `json:"labStartSeconds,omitempty"`

	// Drivers, in the order in which they started.
	Drivers []Driver `json:"drivers,omitempty"`
	// Waves of demand, in the order in which they became visible.
	Waves []Wave `json:"waves,omitempty"`
	// Pools and Classes sum up the Machines; Machines has each of them.
	Pools    []Pool    `json:"pools,omitempty"`
	Classes  []Class   `json:"classes,omitempty"`
	Machines []Machine `json:"machines,omitempty"`
	// WorkerMachinesAtEnd counts the Machines of all pools but the head's.
	WorkerMachinesAtEnd int `json:"workerMachinesAtEnd"`
	// RemovedWhileBusy must be empty: Machines deleted under running Ray work.
	RemovedWhileBusy []BusyNode `json:"removedWhileBusy"`
	// RemovedUnmarked lists Machines that were deleted without a delete mark,
	// although the scenario did not do it: another than the chosen one went.
	// Before the replicas of its pool were lowered for the first time nothing
	// counts: Cluster API may make a Machine too many and take it back.
	RemovedUnmarked []string `json:"removedUnmarked"`
	// HoldSeconds is how long the scenario keeps idle nodes on purpose: the
	// longest idle timeout and the hold of a vacant node. It is what the idle
	// times of the Machines compare with.
	HoldSeconds float64 `json:"holdSeconds,omitempty"`
	// CountedPodsAtEnd is the number of pods that run at the end, of those that
	// the scenario wants to be counted.
	CountedPodsAtEnd int `json:"countedPodsAtEnd,omitempty"`
	// TouchedWhileBusy lists cordons and delete marks on nodes whose Ray node
	// was running work at that moment. A cordon that crosses a task on its way
	// is allowed if it is taken back.
	TouchedWhileBusy []BusyNode `json:"touchedWhileBusy"`
	// HeadEnds lists the ends of head containers; those of heads that were
	// ready and that nobody asked to end count as crashes of the GCS.
	HeadEnds []HeadEnd `json:"headEnds,omitempty"`
	// Faults that were injected.
	Faults []Fault `json:"faults,omitempty"`
	// Coordinator is absent if the scenario ran without one.
	Coordinator *Coordinator `json:"coordinator,omitempty"`
	Memory      Memory       `json:"memory"`
	// Timeline has every change that was seen, in order.
	Timeline []Event `json:"timeline"`
}

// Driver is one Python program that was run against a RayCluster.
type Driver struct {
	Name       string `json:"name"`
	RayCluster string `json:"rayCluster"` // namespace/name
	// StartedAt and EndedAt are seconds from the start. EndedAt is absent while
	// it runs.
	StartedAt float64  `json:"startedAt"`
	EndedAt   *float64 `json:"endedAt,omitempty"`
	// FirstWorkerReadyAt is when the first Ray worker pod was ready at or after
	// StartedAt, WaitSeconds the time until then, RunSeconds the time to the end.
	FirstWorkerReadyAt *float64 `json:"firstWorkerReadyAt,omitempty"`
	WaitSeconds        *float64 `json:"waitSeconds,omitempty"`
	RunSeconds         *float64 `json:"runSeconds,omitempty"`
	// ExitCode is absent while it runs; −1 tells that it was killed.
	ExitCode *int `json:"exitCode,omitempty"`
	// TimedOut tells that the lab killed it because its time was up.
	TimedOut bool `json:"timedOut,omitempty"`
	// OutputTail is the end of what it printed, OutputFile where all of it is.
	OutputTail string `json:"outputTail,omitempty"`
	OutputFile string `json:"outputFile,omitempty"`
}

// Wave is demand of one RayCluster that grew, from the moment at which the GCS
// showed it. Growth within two seconds of earlier growth belongs to the same
// wave.
type Wave struct {
	RayCluster string `json:"rayCluster"` // namespace/name
	// VisibleAt is the first growth, SettledAt the last one of the wave.
	VisibleAt float64 `json:"visibleAt"`
	SettledAt float64 `json:"settledAt"`
	// GoneAt is when the GCS showed no demand any more.
	GoneAt *float64 `json:"goneAt,omitempty"`
	// Demand has the largest number of each shape that was seen in the wave.
	Demand map[string]int64 `json:"demand"`
	// Raises are the writes that raised the replicas of a MachineDeployment
	// while the wave was the latest of its RayCluster and not gone.
	Raises []Raise `json:"raises,omitempty"`
	// PatchedAt is the last raise, DemandToPatchSeconds the time from VisibleAt
	// to it, SettledToPatchSeconds the time from SettledAt;
	// DemandToFirstPatchSeconds is the time from VisibleAt to the first raise.
	// They can be below zero by one poll of the GCS, because the coordinator
	// reads on its own.
	PatchedAt                 *float64 `json:"patchedAt,omitempty"`
	DemandToPatchSeconds      *float64 `json:"demandToPatchSeconds,omitempty"`
	SettledToPatchSeconds     *float64 `json:"settledToPatchSeconds,omitempty"`
	DemandToFirstPatchSeconds *float64 `json:"demandToFirstPatchSeconds,omitempty"`
	// FirstPodAt is when the first Ray worker pod object of the wave appeared.
	FirstPodAt *float64 `json:"firstPodAt,omitempty"`
}

// Raise is one write that raised a MachineDeployment.
type Raise struct {
	Pool string  `json:"pool"`
	From int32   `json:"from"`
	To   int32   `json:"to"`
	At   float64 `json:"at"`
}

// Pool sums up one MachineDeployment.
type Pool struct {
	Name  string `json:"name"`
	Class string `json:"class"`
	// Worker is false for the pool of the Ray heads.
	Worker bool `json:"worker"`
	// Bought counts the Machines beyond those that the scenario began with.
	Bought int `json:"bought"`
	// Raises and Lowers count the writes of replicas in each direction.
	Raises int `json:"raises"`
	Lowers int `json:"lowers"`
	// FirstLowerAt is when replicas were lowered first, in seconds.
	FirstLowerAt *float64 `json:"firstLowerAt,omitempty"`
	// MaxReplicas is the highest value of replicas seen.
	MaxReplicas    int32 `json:"maxReplicas"`
	ReplicasAtEnd  int32 `json:"replicasAtEnd"`
	MachinesAtEnd  int   `json:"machinesAtEnd"`
	MaxAtSameTime  int   `json:"maxMachinesAtSameTime"`
	initialReplica int32
}

// Class sums up the Machines of one VM class.
type Class struct {
	Name string `json:"name"`
	// Bought counts the Machines beyond those that the scenario began with.
	Bought int `json:"bought"`
	// VMSeconds adds up, for all Machines, the time from being asked for to
	// being gone or to the end of the scenario. BoughtVMSeconds counts only the
	// bought ones.
	VMSeconds       float64 `json:"vmSeconds"`
	BoughtVMSeconds float64 `json:"boughtVMSeconds"`
}

// Machine is one Cluster API Machine. Times are seconds from the start and
// absent as long as they have not come.
type Machine struct {
	Name  string `json:"name"`
	Pool  string `json:"pool"`
	Class string `json:"class"`
	Node  string `json:"node,omitempty"`
	// Initial Machines belong to the replicas that the pool began with.
	Initial     bool     `json:"initial,omitempty"`
	RequestedAt float64  `json:"requestedAt"`
	NodeReadyAt *float64 `json:"nodeReadyAt,omitempty"`
	// DeletingAt is when it got its deletion timestamp, DeletedAt when the
	// object was gone.
	DeletingAt *float64 `json:"deletingAt,omitempty"`
	DeletedAt  *float64 `json:"deletedAt,omitempty"`
	// LastBusyAt is when a Ray node on it was last seen to work,
	// IdleToDeletedSeconds the time from then to DeletedAt.
	LastBusyAt           *float64 `json:"lastBusyAt,omitempty"`
	IdleToDeletedSeconds *float64 `json:"idleToDeletedSeconds,omitempty"`
	// Excused tells that the scenario itself deleted it.
	Excused bool `json:"excused,omitempty"`
	// Surplus tells that Cluster API took it back by itself.
	Surplus bool `json:"surplus,omitempty"`
}

// BusyNode is a node that was touched although Ray used it.
type BusyNode struct {
	At      float64 `json:"at"`
	What    string  `json:"what"` // removed, cordoned, marked
	Machine string  `json:"machine,omitempty"`
	Node    string  `json:"node"`
	// Pods are the Ray pods on it, each with what the GCS last said about it.
	Pods []string `json:"pods"`
}

// HeadEnd is the end of the container of a Ray head.
type HeadEnd struct {
	At         float64 `json:"at"`
	RayCluster string  `json:"rayCluster"`
	Pod        string  `json:"pod"`
	// WasReady tells that the head had been ready; one that was not failed to
	// start, and nobody can have talked to its GCS.
	WasReady bool `json:"wasReady"`
	// Asked is true if the scenario killed it or deleted its pod.
	Asked  bool   `json:"asked"`
	Detail string `json:"detail,omitempty"`
}

// Fault is one thing that the scenario did to the lab.
type Fault struct {
	Kind   string  `json:"kind"`
	At     float64 `json:"at"`
	Target string  `json:"target,omitempty"`
	Error  string  `json:"error,omitempty"`
}

// Coordinator tells about the process under test.
type Coordinator struct {
	Path string `json:"path"`
	// Starts counts how often it was started, Restarts those after the first.
	Starts   int `json:"starts"`
	Restarts int `json:"restarts"`
	// UnexpectedExits lists ends that the scenario did not ask for.
	UnexpectedExits []string `json:"unexpectedExits,omitempty"`
	// Panics has the lines of its log that tell of a panic.
	Panics []string `json:"panics,omitempty"`
	// PeakRSSBytes is the largest resident set of any of its processes.
	PeakRSSBytes int64 `json:"peakRSSBytes"`
	// Reasons counts the decisions of the journal by reason; a decision that
	// stays the same is counted once.
	Reasons map[string]int `json:"reasons,omitempty"`
	// Steps counts the steps that were taken, by kind; Undecided lists those
	// without a reason, or about a node about which nothing was decided.
	Steps     map[string]int `json:"steps,omitempty"`
	Undecided []string       `json:"undecided,omitempty"`
	// NodeSteps has, by node, the kinds of steps that were taken on it or on its
	// Machine, in order.
	NodeSteps map[string][]string `json:"nodeSteps,omitempty"`
	// JournalErrors counts lines of the journal that could not be read.
	JournalErrors int    `json:"journalErrors,omitempty"`
	LogFile       string `json:"logFile,omitempty"`
	LogTail       string `json:"logTail,omitempty"`
}

// Memory has the highest sums of resident sets of the lab's processes, sampled
// once a second. Pages that processes share are counted in each of them.
type Memory struct {
	// LabPeakBytes counts the lab's own processes (control plane and
	// controllers), WithRayPeakBytes those and Ray's and the drivers'. The
	// coordinator is in neither.
	LabPeakBytes     int64 `json:"labPeakBytes"`
	WithRayPeakBytes int64 `json:"withRayPeakBytes"`
}
