package scenario

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// The version and kind that every scenario file must carry.
const (
	APIVersion = "lab.tandem-autoscaler.io/v1"
	Kind       = "Scenario"
)

// Scenario is one file.
type Scenario struct {
	APIVersion  string `json:"apiVersion"`
	Kind        string `json:"kind"`
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`

	// OneAPIServer uses one API server for both roles.
	OneAPIServer bool `json:"oneAPIServer,omitempty"`
	// Deadline of the whole scenario, from the start (default 5m).
	Deadline metav1.Duration `json:"deadline,omitzero"`
	// VM times, image time and how many Ray containers start at a time.
	VM          VM              `json:"vm,omitzero"`
	ImageTime   metav1.Duration `json:"imageTime,omitzero"`
	MaxStarting int             `json:"maxStarting,omitempty"`

	Classes []Class `json:"classes"`
	Hosts   []Host  `json:"hosts,omitempty"`
	Pools   []Pool  `json:"pools"`
	// HeadPool is the pool of the Ray heads (default head). Its Machines are
	// not counted as worker Machines.
	HeadPool string `json:"headPool,omitempty"`

	RayClusters []RayCluster `json:"rayClusters,omitempty"`
	Objects     []Object     `json:"objects,omitempty"`
	Drivers     []Driver     `json:"drivers,omitempty"`
	Faults      []Fault      `json:"faults,omitempty"`
	Coordinator Coordinator  `json:"coordinator,omitzero"`
	Expect      Expect       `json:"expect,omitzero"`
	Finish      Finish       `json:"finish,omitzero"`

	// dir is where the file is: paths in it are relative to this.
	dir string
}

// VM says how long a VM takes.
type VM struct {
	// Boot is the time to power-on, Node the time from there to the Node
	// object. Jitter is the share of each that varies, such as "0.2".
	Boot   metav1.Duration `json:"boot,omitzero"`
	Node   metav1.Duration `json:"node,omitzero"`
	Jitter string          `json:"jitter,omitempty"`
}

// Class is a VM class of the lab's catalogue.
type Class struct {
	Name    string            `json:"name"`
	CPU     int64             `json:"cpu"` // cores
	Memory  resource.Quantity `json:"memory"`
	GPU     int64             `json:"gpu,omitempty"`
	GPUType string            `json:"gpuType,omitempty"`
	// Price per hour, a decimal such as "2.50"; it goes into the coordinator's
	// configuration.
	Price string `json:"price,omitempty"`
}

// Host is a number of equal ESXi hosts. Without hosts there is no bound on VMs.
type Host struct {
	Count   int               `json:"count"`
	CPU     int64             `json:"cpu"`
	Memory  resource.Quantity `json:"memory"`
	GPU     int64             `json:"gpu,omitempty"`
	GPUType string            `json:"gpuType,omitempty"`
}

// Pool is one MachineDeployment.
type Pool struct {
	Name  string `json:"name"`
	Class string `json:"class"`
	// Copies makes so many pools, in whose names {n} is 1, 2 and so on.
	Copies int `json:"copies,omitempty"`
	// Min and Max are the autoscaler annotations; without them the coordinator
	// leaves the pool alone.
	Min *int32 `json:"min,omitempty"`
	Max *int32 `json:"max,omitempty"`
	// Replicas at the start.
	Replicas int32             `json:"replicas,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
	Taints   []corev1.Taint    `json:"taints,omitempty"`
	// Annotations replace or add annotations of the MachineDeployment; an empty
	// value removes one.
	Annotations map[string]string `json:"annotations,omitempty"`
	// Boot overrides vm.boot.
	Boot *metav1.Duration `json:"boot,omitzero"`
}

// RayCluster is one RayCluster object.
type RayCluster struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace,omitempty"` // default: default
	// At is when it is created.
	At metav1.Duration `json:"at,omitzero"`
	// Mode is follow, lead, off, or empty for no annotation.
	Mode string `json:"mode,omitempty"`
	// InTree is live (the default), inert or absent.
	InTree string `json:"inTree,omitempty"`
	// UpdateInterval of the live in-tree autoscaler (Ray's own default is 5s).
	UpdateInterval metav1.Duration `json:"updateInterval,omitzero"`
	// IdleTimeout of workers (KubeRay's own default is 60s).
	IdleTimeout metav1.Duration `json:"idleTimeout,omitzero"`
	// Port of the GCS (default 6379). All heads share one host, so each
	// RayCluster needs its own; the ports of the Ray client server and of the
	// dashboard follow from it.
	Port int32 `json:"port,omitempty"`
	// Token switches token authentication on.
	Token bool `json:"token,omitempty"`
	// Unreachable gives the head pod a node selector that no node has, so that
	// its GCS never answers.
	Unreachable bool    `json:"unreachable,omitempty"`
	Head        Head    `json:"head,omitzero"`
	Groups      []Group `json:"groups,omitempty"`
}

// Head is the head group.
type Head struct {
	CPU    resource.Quantity `json:"cpu,omitzero"`    // default 2
	Memory resource.Quantity `json:"memory,omitzero"` // default 8Gi
	// RayCPU is what the head offers to Ray (default 0).
	RayCPU int64 `json:"rayCPU,omitempty"`
}

// Group is one worker group.
type Group struct {
	Name     string            `json:"name"`
	CPU      resource.Quantity `json:"cpu"`
	Memory   resource.Quantity `json:"memory"`
	GPU      int64             `json:"gpu,omitempty"`
	Min      int32             `json:"min,omitempty"`
	Max      int32             `json:"max,omitempty"` // default 10
	Replicas int32             `json:"replicas,omitempty"`
	// Resources are custom Ray resources, Labels Ray labels of the group.
	Resources map[string]string `json:"resources,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
	// NodeSelector of the pods.
	NodeSelector map[string]string   `json:"nodeSelector,omitempty"`
	Tolerations  []corev1.Toleration `json:"tolerations,omitempty"`
	IdleTimeout  metav1.Duration     `json:"idleTimeout,omitzero"`
}

// Object is any object, created as it stands.
type Object struct {
	At metav1.Duration `json:"at,omitzero"`
	// Cluster is management (the default) or workload.
	Cluster string               `json:"cluster,omitempty"`
	Object  runtime.RawExtension `json:"object"`
	// Copies makes so many objects, in whose text {n} is 1, 2 and so on.
	Copies int `json:"copies,omitempty"`
}

// Driver is a Python program that connects to a RayCluster.
type Driver struct {
	Name       string `json:"name"`
	RayCluster string `json:"rayCluster"` // name, or namespace/name
	// At is the earliest time; the driver also waits until the head is ready.
	At metav1.Duration `json:"at,omitzero"`
	// After names a driver that must have ended, AfterDelay the time from then.
	After      string          `json:"after,omitempty"`
	AfterDelay metav1.Duration `json:"afterDelay,omitzero"`
	// Script is a path relative to the scenario file, Code the program itself:
	// one of the two. It is called with the address of the GCS and Args.
	Script string   `json:"script,omitempty"`
	Code   string   `json:"code,omitempty"`
	Args   []string `json:"args,omitempty"`
	// Env is added to its environment.
	Env map[string]string `json:"env,omitempty"`
	// Timeout ends it (default: the scenario's deadline).
	Timeout metav1.Duration `json:"timeout,omitzero"`
	// ExpectExit is the exit code that is wanted (default 0), AnyExit accepts
	// every end, also by the timeout.
	ExpectExit int  `json:"expectExit,omitempty"`
	AnyExit    bool `json:"anyExit,omitempty"`
	// ExpectOutput must be part of what it prints.
	ExpectOutput string `json:"expectOutput,omitempty"`
}

// Finish says when the scenario is over: all drivers have ended, all faults
// were injected, and this is so.
type Finish struct {
	// WorkerMachines is the number of Machines outside the head's pool.
	WorkerMachines *int `json:"workerMachines,omitempty"`
	// Hold is how long that must last (default 2s).
	Hold metav1.Duration `json:"hold,omitzero"`
}
