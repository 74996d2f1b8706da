package planner

import "time"

// SchemaVersion names the format of a [Snapshot] written to a file.
const SchemaVersion = "tandem-autoscaler.io/snapshot/v1alpha1"

// Duration is a time.Duration that reads and writes as text such as "1m30s".
type Duration time.Duration

// MarshalText writes the duration in the form of [time.Duration.String].
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads the form of [time.ParseDuration].
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// Snapshot is everything that a plan depends on, at one instant. It is plain
// data, and its JSON form is what `coordinator snapshot` writes and
// `coordinator plan` reads. The order of its lists never matters, apart from a
// RayCluster's worker groups: Ray breaks ties by their order, so they stay in
// that of the object.
type Snapshot struct {
	SchemaVersion string       `json:"schemaVersion"`
	At            time.Time    `json:"at"`
	Policy        Policy       `json:"policy"`
	Sources       []Source     `json:"sources,omitempty"`
	RayClusters   []RayCluster `json:"rayClusters,omitempty"`
	Pods          []Pod        `json:"pods,omitempty"`
	Nodes         []Node       `json:"nodes,omitempty"`
	NodeGroups    []NodeGroup  `json:"nodeGroups,omitempty"`
	Machines      []Machine    `json:"machines,omitempty"`
	Classes       []VMClass    `json:"classes,omitempty"`
	// Zones tell what is free on the hosts that VMs run on. None: nothing is known
	// about any.
	Zones []HostZone `json:"zones,omitempty"`
}

// Policy is the part of the configuration that plans depend on.
type Policy struct {
	// RemovalDisabled stops every removal; growth goes on.
	RemovalDisabled bool `json:"removalDisabled,omitempty"`
	// VacantHold is how long a node stays vacant and unwanted before it is
	// cordoned.
	VacantHold Duration `json:"vacantHold"`
	// ProvisionDeadline is how long a Machine may take from its creation to a
	// ready Node with all its resources, before it is given up.
	ProvisionDeadline Duration `json:"provisionDeadline"`
	// BackoffInitial and BackoffMax bound the time for which a NodeGroup is
	// not grown after a Machine of it was given up.
	BackoffInitial Duration `json:"backoffInitial"`
	BackoffMax     Duration `json:"backoffMax"`
	// MaxGrowPerTick bounds the Machines that one plan may ask for in all.
	// Zero: no bound.
	MaxGrowPerTick int64 `json:"maxGrowPerTick,omitempty"`
	// MaxMachines bounds the Machines of all managed groups together. Zero: no
	// bound.
	MaxMachines int64 `json:"maxMachines,omitempty"`
	// MaxRemovePerTick bounds the Machines that one plan may remove. Zero: no
	// bound.
	MaxRemovePerTick int64 `json:"maxRemovePerTick,omitempty"`
	// Paused stops every step; plans are still made and shown. PausedBy tells
	// who asked for it.
	Paused   bool   `json:"paused,omitempty"`
	PausedBy string `json:"pausedBy,omitempty"`
	// MaxGrowPerHour, MaxRemovePerHour bound what all plans of an hour ask for,
	// MaxGrowPerGroup what one plan may add to one group. Zero: no bound.
	MaxGrowPerHour   int64 `json:"maxGrowPerHour,omitempty"`
	MaxRemovePerHour int64 `json:"maxRemovePerHour,omitempty"`
	MaxGrowPerGroup  int64 `json:"maxGrowPerGroup,omitempty"`
	// TenantLimits bound what the RayClusters of one namespace may hold, and say
	// who comes first. The
	// entry with an empty namespace is for those without one of their own.
	TenantLimits []TenantLimit `json:"tenantLimits,omitempty"`
	// FairShareDisabled serves tenants of one priority in the order of their names,
	// each in full, where there is not enough for all.
	FairShareDisabled bool `json:"fairShareDisabled,omitempty"`
	// GPUNodeFee is the price, per hour and in the unit of [VMClass.Price], of each
	// pod without GPUs on a new node with GPUs: it gets there if that is cheaper all
	// the same. Nil: such a node is only bought for a pod that no other group can
	// hold, or that finds room beside GPU demand.
	GPUNodeFee *int64 `json:"gpuNodeFee,omitempty"`
	// SoftTaints herds new pods onto full nodes.
	SoftTaints bool `json:"softTaints,omitempty"`
	// Hooks puts our pre-drain hook on every managed Machine.
	Hooks bool `json:"hooks,omitempty"`
	// DrainDeadline is how long a Ray node has that is drained because somebody
	// else deletes its Machine. UnreachableRelease is how long a deleted
	// Machine's node must have been unreachable before the hook is released.
	DrainDeadline      Duration `json:"drainDeadline,omitempty"`
	UnreachableRelease Duration `json:"unreachableRelease,omitempty"`
	// MaxUnreadyPercent and OKUnready bound the share and number of nodes that
	// may be not ready before nothing is removed any more: it takes both.
	// Zero percent: no such stop.
	MaxUnreadyPercent int64 `json:"maxUnreadyPercent,omitempty"`
	OKUnready         int64 `json:"okUnready,omitempty"`
	// DemandHold keeps a vacant node while the arrivals of the last DemandHold
	// say that it will be wanted within its boot time. Zero: no such hold.
	DemandHold Duration `json:"demandHold,omitempty"`
	// MaxAttempts is how often growth is tried for one demand that it does not
	// help, before that demand counts as ineffective. Zero: no bound.
	MaxAttempts int64 `json:"maxAttempts,omitempty"`
}

// TenantLimit bounds the Machines that the RayClusters of one namespace may
// make the planner buy, and their GPUs in 1e-4 units. Zero: no bound. Where there
// is not enough for all, namespaces with a higher Priority are served first; those
// of one priority have parts by their Weight (zero counts as 1). Neither takes
// anything away that is in use.
type TenantLimit struct {
	Namespace   string `json:"namespace,omitempty"`
	MaxMachines int64  `json:"maxMachines,omitempty"`
	MaxGPUs     int64  `json:"maxGPUs,omitempty"`
	Priority    int64  `json:"priority,omitempty"`
	Weight      int64  `json:"weight,omitempty"`
}

// SourceKind says what a source is read for.
type SourceKind string

// The sources of a snapshot.
const (
	SourceGCS        SourceKind = "gcs"        // one for each RayCluster
	SourceRay        SourceKind = "ray"        // RayClusters
	SourceWorkload   SourceKind = "workload"   // Nodes and Pods
	SourceManagement SourceKind = "management" // MachineDeployments and Machines
	SourceCatalogue  SourceKind = "catalogue"  // VM classes
)

// Source tells how well one source was read. A source that is not Known makes
// what it feeds unknown, never empty (rule I9).
type Source struct {
	Kind SourceKind `json:"kind"`
	// Name is empty for the one source of its kind, else namespace/name.
	Name  string   `json:"name,omitempty"`
	Known bool     `json:"known"`
	Age   Duration `json:"age"`
	Error string   `json:"error,omitempty"`
}

// PodShape is what the Kubernetes scheduler would look at.
type PodShape struct {
	Requests     Resources         `json:"requests"`
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	Tolerations  []Toleration      `json:"tolerations,omitempty"`
	// NodeAffinity is what the pod requires of a node's labels: one of the
	// terms must match. None: any node.
	NodeAffinity []NodeTerm `json:"nodeAffinity,omitempty"`
	// Unmodelled names fields that would narrow placement and that the planner
	// does not model, such as "podAntiAffinity". Such a pod is planned as if
	// they were absent, and the decision says so.
	Unmodelled []string `json:"unmodelled,omitempty"`
}

// NodeTerm is a conjunction of requirements on a node's labels. An empty term
// matches nothing, as in Kubernetes.
type NodeTerm []NodeRequirement

// NodeRequirement is one requirement of a node affinity.
type NodeRequirement struct {
	Key string `json:"key"`
	// Operator is In, NotIn, Exists, DoesNotExist, Gt or Lt. NotIn and
	// DoesNotExist match a node that lacks the label; any other word matches
	// nothing.
	Operator string   `json:"operator"`
	Values   []string `json:"values,omitempty"`
}

// Toleration is a Kubernetes toleration; an empty Effect matches all, an empty
// Key with operator Exists matches every taint.
type Toleration struct {
	Key      string `json:"key,omitempty"`
	Operator string `json:"operator,omitempty"` // Equal (the default) or Exists
	Value    string `json:"value,omitempty"`
	Effect   string `json:"effect,omitempty"`
}

// Taint is a Kubernetes taint.
type Taint struct {
	Key    string `json:"key"`
	Value  string `json:"value,omitempty"`
	Effect string `json:"effect"`
}

// Pod is a pod of the workload cluster that is not finished.
type Pod struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid,omitempty"`
	// Node is empty while the pod is not bound.
	Node          string    `json:"node,omitempty"`
	CreatedAt     time.Time `json:"createdAt,omitzero"`
	Terminating   bool      `json:"terminating,omitempty"`
	Unschedulable bool      `json:"unschedulable,omitempty"`
	Ready         bool      `json:"ready,omitempty"`
	// DaemonSet and mirror pods never hold a node.
	DaemonSet bool `json:"daemonSet,omitempty"`
	// RayCluster is namespace/name of the owning RayCluster, or empty.
	RayCluster string `json:"rayCluster,omitempty"`
	RayGroup   string `json:"rayGroup,omitempty"`
	RayHead    bool   `json:"rayHead,omitempty"`
	// RayReplica names the replica of a multi-host group that the pod belongs
	// to (the label ray.io/worker-group-replica-name), or is empty.
	RayReplica string `json:"rayReplica,omitempty"`
	// Blocks, if not empty, tells why this pod must not be disturbed.
	Blocks string   `json:"blocks,omitempty"`
	Shape  PodShape `json:"shape"`
}

// Key is namespace/name.
func (p *Pod) Key() string { return p.Namespace + "/" + p.Name }

// Node is a Kubernetes Node of the workload cluster.
type Node struct {
	Name string `json:"name"`
	UID  string `json:"uid,omitempty"`
	// Machine is namespace/name of the Machine behind it, or empty.
	Machine       string            `json:"machine,omitempty"`
	Labels        map[string]string `json:"labels,omitempty"`
	Taints        []Taint           `json:"taints,omitempty"`
	Allocatable   Resources         `json:"allocatable"`
	Ready         bool              `json:"ready"`
	Unschedulable bool              `json:"unschedulable,omitempty"`
	// Cordon is our own mark on the node, if it carries one, and SoftTaint
	// that of a node whose pods should move to fuller ones.
	Cordon    *Mark `json:"cordon,omitempty"`
	SoftTaint *Mark `json:"softTaint,omitempty"`
	// UnreadySince is when the node's Ready condition turned, zero if it is
	// ready.
	UnreadySince time.Time `json:"unreadySince,omitzero"`
	// Keep, if not empty, tells which mark of a person forbids removal, such as
	// "annotation cluster-autoscaler.kubernetes.io/scale-down-disabled".
	Keep string `json:"keep,omitempty"`
}

// Mark is what the coordinator writes on an object that it is about to remove,
// so that a restarted coordinator can finish or cancel.
type Mark struct {
	PlanID string    `json:"planID"`
	At     time.Time `json:"at"`
}

// NodeGroup is one MachineDeployment.
type NodeGroup struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid,omitempty"`
	// ResourceVersion is the version of the scale that Replicas was read from.
	ResourceVersion string `json:"resourceVersion,omitempty"`
	Class           string `json:"class,omitempty"`
	Zone            string `json:"zone,omitempty"`
	Min             int64  `json:"min"`
	Max             int64  `json:"max"`
	Replicas        int64  `json:"replicas"`
	// Capacity is the allocatable room of one new node, for pods that are not
	// DaemonSets'. CapacityFrom says where it was learned.
	Capacity     Resources         `json:"capacity,omitempty"`
	CapacityFrom string            `json:"capacityFrom,omitempty"` // node, class, annotation
	Labels       map[string]string `json:"labels,omitempty"`
	Taints       []Taint           `json:"taints,omitempty"`
	// Price of one node in millionths of the catalogue's unit per hour. Zero:
	// the class's price, or one derived from the capacity.
	Price int64 `json:"price,omitempty"`
	// Managed groups carry both limits; the others are only seen.
	Managed bool `json:"managed"`
	Paused  bool `json:"paused,omitempty"`
	// Priority decides before the price: a node of a group with a lower one is
	// only bought where none of a higher one will do.
	Priority int64 `json:"priority,omitempty"`
	// RollingOut groups are not shrunk.
	RollingOut bool `json:"rollingOut,omitempty"`
	// Contested, if not empty, tells which other writer changes replicas, such
	// as a Cluster Autoscaler: the group is not written to.
	Contested string `json:"contested,omitempty"`
	// Backoffs are the rests that an earlier coordinator wrote on the object.
	Backoffs []Backoff `json:"backoffs,omitempty"`
	// Invalid, if not empty, tells why the group is left out of plans.
	Invalid string `json:"invalid,omitempty"`
}

// Key is namespace/name.
func (g *NodeGroup) Key() string { return g.Namespace + "/" + g.Name }

// Machine is a Cluster API Machine.
type Machine struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid,omitempty"`
	// Group is namespace/name of the MachineDeployment, or empty.
	Group     string    `json:"group,omitempty"`
	Node      string    `json:"node,omitempty"`
	CreatedAt time.Time `json:"createdAt"`
	// Deleting Machines are no capacity and are never chosen again.
	Deleting bool `json:"deleting,omitempty"`
	// Mark is our delete mark, if it carries one; ForeignMark tells that
	// somebody else marked it.
	Mark        *Mark `json:"mark,omitempty"`
	ForeignMark bool  `json:"foreignMark,omitempty"`
	// DeletingSince is when the deletion was asked for.
	DeletingSince time.Time `json:"deletingSince,omitzero"`
	// Hook tells that it carries our pre-drain hook, WaitsForHook that Cluster
	// API has come to it and waits, Release that a person asked to let go of
	// the Machine whatever is on it (the break-glass annotation).
	Hook         bool `json:"hook,omitempty"`
	WaitsForHook bool `json:"waitsForHook,omitempty"`
	Release      bool `json:"release,omitempty"`
	// Failure is a terminal trouble that the provider reports, as text.
	Failure string `json:"failure,omitempty"`
	// FailureKind classifies Failure and Trouble.
	FailureKind FailureKind `json:"failureKind,omitempty"`
	// Trouble is what the provider says keeps it from getting a Node; it still
	// tries. For people only.
	Trouble string `json:"trouble,omitempty"`
	// Phase is Cluster API's own word, for people only.
	Phase string `json:"phase,omitempty"`
	// OnHost tells that its VM was on a host when the hosts were read, so that what
	// is free there is less by it already.
	OnHost bool `json:"onHost,omitempty"`
}

// Key is namespace/name.
func (m *Machine) Key() string { return m.Namespace + "/" + m.Name }

// HostZone is what is free on the hosts of one zone.
type HostZone struct {
	// Name is that of the failure domain, as in [NodeGroup.Zone]. Empty: these hosts
	// are there for every group.
	Name string `json:"name,omitempty"`
	// ReadAt is when the hosts were read: Machines made since are on none of them.
	ReadAt time.Time  `json:"readAt,omitzero"`
	Hosts  []HostRoom `json:"hosts,omitempty"`
	// Unknown, if not empty, tells why it is not known what is free there. That is
	// not zero and not without end.
	Unknown string `json:"unknown,omitempty"`
}

// HostRoom is what is free on each of Count equal hosts that take VMs.
type HostRoom struct {
	Count int64 `json:"count"`
	// Memory is how many bytes may still be reserved.
	Memory int64 `json:"memory"`
	// GPUs counts whole devices that no VM holds, Devices names what they can be
	// given to a VM as, in the words of [VMClass.Devices].
	GPUs    int64    `json:"gpus,omitempty"`
	Devices []string `json:"devices,omitempty"`
}

// FailureKind says what kept a Machine from becoming a Node, as far as the
// words of its provider tell.
type FailureKind string

// The kinds of failures. What is not recognised is FailureOther.
const (
	FailureNoCapacity  FailureKind = "NoCapacity" // no host has room, or no GPU is free
	FailureQuota       FailureKind = "Quota"      // of the namespace
	FailureImage       FailureKind = "Image"
	FailureAddress     FailureKind = "Address" // no IP address
	FailureClass       FailureKind = "Class"   // the VM class is missing or not bound
	FailureStorage     FailureKind = "Storage"
	FailureBootstrap   FailureKind = "Bootstrap"
	FailureNeverJoined FailureKind = "NeverJoined" // the VM runs, no Node came
	FailureNoGPU       FailureKind = "NoGPU"       // the Node is there, its GPUs are not
	FailureOther       FailureKind = "Other"
)

// VMClass is one entry of the catalogue.
type VMClass struct {
	Name string `json:"name"`
	// Capacity is the hardware of the class, before any kubelet reserve.
	Capacity Resources `json:"capacity"`
	GPUType  string    `json:"gpuType,omitempty"`
	// Devices is what its GPUs are to vSphere: the vGPU profile or the PCI ids, or
	// several with commas between.
	Devices string `json:"devices,omitempty"`
	// ReservedMemory is how many bytes a VM without GPUs locks on its host; one with
	// GPUs locks all that it has. Zero: none, or not known.
	ReservedMemory int64 `json:"reservedMemory,omitempty"`
	// Price in millionths of the catalogue's unit per hour. Zero: derived from
	// the capacity.
	Price int64 `json:"price,omitempty"`
	// Headroom is how many more VMs of this class fit right now; nil is
	// unknown, which is not zero and not without end.
	Headroom *int64 `json:"headroom,omitempty"`
	// Invalid, if not empty, tells why the class cannot be used.
	Invalid string `json:"invalid,omitempty"`
}
