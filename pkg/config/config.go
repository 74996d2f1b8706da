// Package config reads the coordinator's configuration file: one typed,
// versioned document, decoded strictly, with every problem reported at once.
package config

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The version and kind that every configuration file must carry.
const (
	APIVersion = "tandem-autoscaler.io/v1alpha1"
	Kind       = "Configuration"
)

// Configuration is the whole file. Start from [Default].
type Configuration struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`

	Management     Management     `json:"management"`
	Workload       Workload       `json:"workload"`
	RayClusters    RayClusters    `json:"rayClusters"`
	Demand         Demand         `json:"demand"`
	Catalogue      Catalogue      `json:"catalogue"`
	Loop           Loop           `json:"loop"`
	Growth         Growth         `json:"growth"`
	Removal        Removal        `json:"removal"`
	Tenants        []Tenant       `json:"tenants,omitempty"`
	LeaderElection LeaderElection `json:"leaderElection"`
	Server         Server         `json:"server"`
	Journal        Journal        `json:"journal"`
}

// Management says where Cluster API's objects are.
type Management struct {
	// Kubeconfig is a path; empty means the service account of the pod.
	Kubeconfig string `json:"kubeconfig,omitempty"`
	// Namespace and ClusterName select the MachineDeployments: both are needed.
	Namespace   string `json:"namespace"`
	ClusterName string `json:"clusterName"`
}

// Workload says where Ray runs.
type Workload struct {
	// Kubeconfig is a path; empty means the same cluster as management.
	Kubeconfig string `json:"kubeconfig,omitempty"`
}

// RayClusters selects the RayClusters and how each is treated.
type RayClusters struct {
	// Namespaces to look in. Empty: all that the identity may list.
	Namespaces []string `json:"namespaces,omitempty"`
	// DefaultMode is auto, follow, lead or off. The annotation
	// tandem-autoscaler.io/mode on a RayCluster overrides it. auto: follow when
	// the in-tree autoscaler is live, otherwise off.
	DefaultMode string `json:"defaultMode"`
	// Credentials for GCS servers that ask for them.
	Credentials []GCSCredentials `json:"credentials,omitempty"`
}

// GCSCredentials are paths of files that may change at any time. Name "*"
// matches every RayCluster of the namespace that has no entry of its own.
type GCSCredentials struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	TokenFile string `json:"tokenFile,omitempty"`
	CAFile    string `json:"caFile,omitempty"`
	CertFile  string `json:"certFile,omitempty"`
	KeyFile   string `json:"keyFile,omitempty"`
}

// Demand says how the GCS servers are read.
type Demand struct {
	PollInterval metav1.Duration `json:"pollInterval"`
	// Settle is how long a demand that just changed must stay as it is before
	// it is acted on, so that one burst becomes one purchase.
	Settle metav1.Duration `json:"settle"`
	// Timeout of one call.
	Timeout metav1.Duration `json:"timeout"`
	// StaleAfter is the age at which an answer stops counting as known.
	StaleAfter metav1.Duration `json:"staleAfter"`
	// ConstraintTTL is how long request_resources counts unchanged. Zero: for ever.
	ConstraintTTL metav1.Duration `json:"constraintTTL"`
}

// Catalogue says where VM classes come from.
type Catalogue struct {
	// VirtualMachineClasses reads vmoperator.vmware.com objects in the
	// management namespace.
	VirtualMachineClasses bool     `json:"virtualMachineClasses"`
	VCenter               *VCenter `json:"vcenter,omitempty"`
	// RefreshInterval of the catalogue.
	RefreshInterval metav1.Duration `json:"refreshInterval"`
	// Classes adds prices to classes, or whole classes where no source has them.
	Classes []Class `json:"classes,omitempty"`
}

// VCenter is a vCenter whose VM classes are read. Secrets are paths of files.
type VCenter struct {
	URL          string `json:"url"` // https://host/sdk
	UsernameFile string `json:"usernameFile"`
	PasswordFile string `json:"passwordFile"`
	CAFile       string `json:"caFile,omitempty"`
	Thumbprint   string `json:"thumbprint,omitempty"`
	Insecure     bool   `json:"insecure,omitempty"`
	// Hosts reads what is free on its hosts, by zone.
	Hosts bool `json:"hosts,omitempty"`
}

// Class overrides or adds one VM class.
type Class struct {
	Name string `json:"name"`
	// Price per hour in the unit of your choice, as a decimal such as "2.50".
	Price string `json:"price,omitempty"`
	// CPU, Memory (Kubernetes quantities) and GPU are needed only for a class
	// that no source has.
	CPU     string `json:"cpu,omitempty"`
	Memory  string `json:"memory,omitempty"`
	GPU     string `json:"gpu,omitempty"`
	GPUType string `json:"gpuType,omitempty"`
}

// Loop sets the pace.
type Loop struct {
	// Interval between ticks when nothing happens; events wake it earlier.
	Interval metav1.Duration `json:"interval"`
	// DryRun plans and records but writes nothing.
	DryRun bool `json:"dryRun,omitempty"`
	// Paused plans and records, and takes no step until it is taken back.
	Paused bool `json:"paused,omitempty"`
}

// Growth bounds buying.
type Growth struct {
	ProvisionDeadline metav1.Duration `json:"provisionDeadline"`
	BackoffInitial    metav1.Duration `json:"backoffInitial"`
	BackoffMax        metav1.Duration `json:"backoffMax"`
	// MaxPerTick, MaxPerGroup, MaxPerHour, MaxMachines and MaxAttempts: zero
	// means no bound.
	MaxPerTick  int64 `json:"maxPerTick,omitempty"`
	MaxPerGroup int64 `json:"maxPerGroup,omitempty"`
	MaxPerHour  int64 `json:"maxPerHour,omitempty"`
	MaxMachines int64 `json:"maxMachines,omitempty"`
	MaxAttempts int64 `json:"maxAttempts,omitempty"`
	// FairShare gives tenants of one priority parts by their weights where there
	// is not enough for all.
	FairShare bool `json:"fairShare"`
	// GPUNodeFee is the price per hour of a pod without GPUs on a new node with
	// GPUs. Empty: such nodes are kept for GPU demand.
	GPUNodeFee string `json:"gpuNodeFee,omitempty"`
}

// Removal bounds giving back.
type Removal struct {
	Enabled    bool            `json:"enabled"`
	VacantHold metav1.Duration `json:"vacantHold"`
	// DemandHold looks back for arrivals of demand. Zero: no such hold.
	DemandHold metav1.Duration `json:"demandHold"`
	SoftTaints bool            `json:"softTaints"`
	// MaxPerTick and MaxPerHour: zero means no bound.
	MaxPerTick int64 `json:"maxPerTick,omitempty"`
	MaxPerHour int64 `json:"maxPerHour,omitempty"`
	// MaxUnreadyPercent and OKUnready stop all removals together.
	MaxUnreadyPercent int64 `json:"maxUnreadyPercent"`
	OKUnready         int64 `json:"okUnready"`
	// Hooks, DrainDeadline and UnreachableRelease are about Machines that
	// somebody else deletes.
	Hooks              bool            `json:"hooks"`
	DrainDeadline      metav1.Duration `json:"drainDeadline"`
	UnreachableRelease metav1.Duration `json:"unreachableRelease"`
}

// Tenant bounds what the RayClusters of one namespace may have bought. The entry
// with namespace "*" is for every namespace without one of its own. Zero: no bound.
type Tenant struct {
	Namespace   string `json:"namespace"`
	MaxMachines int64  `json:"maxMachines,omitempty"`
	// MaxGPUs counts whole GPUs.
	MaxGPUs int64 `json:"maxGPUs,omitempty"`
	// Priority orders tenants where there is not enough for all.
	Priority int64 `json:"priority,omitempty"`
	// Weight is how much a tenant gets beside others of the same priority. Zero
	// counts as 1.
	Weight int64 `json:"weight,omitempty"`
}

// LeaderElection uses a Lease of the workload cluster.
type LeaderElection struct {
	Enabled       bool            `json:"enabled"`
	Namespace     string          `json:"namespace"`
	Name          string          `json:"name"`
	LeaseDuration metav1.Duration `json:"leaseDuration"`
	RenewDeadline metav1.Duration `json:"renewDeadline"`
	RetryPeriod   metav1.Duration `json:"retryPeriod"`
}

// Server serves health, metrics and snapshots.
type Server struct {
	// Address, such as 127.0.0.1:8080; "0" switches the server off.
	Address string `json:"address"`
}

// Journal is the JSON-lines record of decisions.
type Journal struct {
	// Path of a file; "-" is standard output, empty switches it off.
	Path string `json:"path,omitempty"`
}

// Default is the configuration of an empty file, apart from what has no
// default: management.namespace and management.clusterName.
func Default() Configuration {
	d := func(v time.Duration) metav1.Duration { return metav1.Duration{Duration: v} }
	return Configuration{
		APIVersion:  APIVersion,
		Kind:        Kind,
		RayClusters: RayClusters{DefaultMode: "auto"},
		Demand:      Demand{PollInterval: d(time.Second), Settle: d(400 * time.Millisecond), Timeout: d(5 * time.Second), StaleAfter: d(15 * time.Second)},
		Catalogue:   Catalogue{VirtualMachineClasses: true, RefreshInterval: d(time.Minute)},
		Loop:        Loop{Interval: d(5 * time.Second)},
		Growth:      Growth{ProvisionDeadline: d(15 * time.Minute), BackoffInitial: d(5 * time.Minute), BackoffMax: d(30 * time.Minute), MaxAttempts: 3, FairShare: true},
		Removal: Removal{
			Enabled: true, VacantHold: d(time.Minute), DemandHold: d(10 * time.Minute), SoftTaints: true, MaxPerTick: 10,
			MaxUnreadyPercent: 45, OKUnready: 3, Hooks: true, DrainDeadline: d(10 * time.Minute), UnreachableRelease: d(15 * time.Minute),
		},
		LeaderElection: LeaderElection{
			Enabled: true, Namespace: "tandem-system", Name: "tandem-coordinator",
			LeaseDuration: d(15 * time.Second), RenewDeadline: d(10 * time.Second), RetryPeriod: d(2 * time.Second),
		},
		Server:  Server{Address: "127.0.0.1:8080"},
		Journal: Journal{Path: "-"},
	}
}
