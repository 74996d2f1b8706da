package plane

import (
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Class is a VM class of the lab's catalogue.
type Class struct {
	// Name of the class, as Nodes show it in node.kubernetes.io/instance-type.
	Name string `json:"name"`
	// CPU cores.
	CPU int64 `json:"cpu"`
	// Memory as a Kubernetes quantity.
	Memory resource.Quantity `json:"memory"`
	// GPU devices.
	GPU int64 `json:"gpu,omitempty"`
	// GPUType is the product name that Nodes show in nvidia.com/gpu.product.
	GPUType string `json:"gpuType,omitempty"`
}

// Host is a number of equal ESXi hosts in the simulated vCenter. Their
// capacity bounds how many VMs exist at once; a lab without hosts has no bound.
type Host struct {
	// Count of such hosts.
	Count int `json:"count"`
	// CPU cores of one host.
	CPU int64 `json:"cpu"`
	// Memory of one host.
	Memory resource.Quantity `json:"memory"`
	// GPU devices of one host.
	GPU int64 `json:"gpu,omitempty"`
	// GPUType of its devices; a class fits only on hosts of its own type.
	GPUType string `json:"gpuType,omitempty"`
}

// VMTimes says how long the VM of a Machine takes. The zero value means
// defaults: two seconds, one second, no jitter.
type VMTimes struct {
	// Boot is the time until the VM is powered on.
	Boot metav1.Duration `json:"boot,omitzero"`
	// Node is the time from power-on until the Node object appears.
	Node metav1.Duration `json:"node,omitzero"`
	// Jitter is the share of each time that varies, a decimal such as "0.2".
	Jitter string `json:"jitter,omitempty"`
}

// Pool is one MachineDeployment and its machine template.
type Pool struct {
	// Name of the MachineDeployment.
	Name string `json:"name"`
	// Class is the name of the VM class of its Machines.
	Class string `json:"class"`
	// Min and Max become the autoscaler annotations; nil leaves them out.
	Min *int32 `json:"min,omitempty"`
	Max *int32 `json:"max,omitempty"`
	// Replicas at the start.
	Replicas int32 `json:"replicas,omitempty"`
	// Labels and Taints of the nodes.
	Labels map[string]string `json:"labels,omitempty"`
	Taints []corev1.Taint    `json:"taints,omitempty"`
	// Annotations of the MachineDeployment, over the lab's own; an empty value
	// removes one.
	Annotations map[string]string `json:"annotations,omitempty"`
	// Boot overrides VMTimes.Boot.
	Boot *metav1.Duration `json:"boot,omitempty"`
}

// Options of a lab.
type Options struct {
	// One API server for both roles, instead of two.
	One bool `json:"one,omitempty"`
	// Dir receives kubeconfigs and logs; it must exist. Empty: a directory of
	// the lab's own, which is removed with the lab.
	Dir string `json:"-"`
	// Venv is a Python environment with Ray. Empty: pods only pretend to run.
	Venv string `json:"-"`
	// RepoRoot is where deploy/ is.
	RepoRoot string `json:"-"`
	// Assets is the directory with CRDs and webhook manifests that
	// lab/assets.sh fills.
	Assets string `json:"-"`
	// Binary is the lab's executable, which also is etcd, kube-apiserver and
	// the rest. Empty: the running program.
	Binary string `json:"-"`

	// Classes is the catalogue.
	Classes []Class `json:"classes,omitempty"`
	// Hosts bound the VMs; empty means no bound.
	Hosts []Host `json:"hosts,omitempty"`
	// VM times of every Machine, unless a pool overrides them.
	VM VMTimes `json:"vm,omitzero"`

	// MaxStarting bounds how many Ray containers start at a time (default 3).
	MaxStarting int `json:"maxStarting,omitempty"`
	// ImageTime passes before a pod's containers start.
	ImageTime metav1.Duration `json:"imageTime,omitempty"`
	// Log receives the lab's own few lines; nil drops them. The controllers
	// log to files in Dir.
	Log *zap.Logger `json:"-"`
}

// VCenter says how to reach the simulated vCenter.
type VCenter struct {
	// URL ends in /sdk.
	URL string
	// UsernameFile and PasswordFile are paths.
	UsernameFile string
	PasswordFile string
	// CAFile holds the certificate that the server shows.
	CAFile string
	// Insecure is true if the certificate cannot be verified with CAFile.
	Insecure bool
}
