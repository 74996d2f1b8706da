package scenario

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Lab is what a scenario needs of a running lab.
type Lab interface {
	// Management and Workload are clients with all rights.
	Management() client.Client
	Workload() client.Client
	// Namespace and ClusterName say where the MachineDeployments are.
	Namespace() string
	ClusterName() string
	// Identity returns kubeconfig files with the coordinator's own rights.
	Identity(ctx context.Context) (management, workload string, err error)
	VCenter() VCenter
	AddPool(ctx context.Context, p Pool) error

	// FailVMs and StickVMs act on the next n VMs of a class; zero heals.
	FailVMs(class string, n int, message string)
	StickVMs(class string, n int)
	// RestartAPIServer kills the API server of "management" or "workload" and
	// starts it again.
	RestartAPIServer(ctx context.Context, which string) error

	// RayAddress is host:port of the GCS, once the head is ready.
	RayAddress(namespace, rayCluster string) (string, bool)
	// KillContainer sends SIGKILL to the first container of a pod, KillRaylet
	// to its raylet alone.
	KillContainer(namespace, pod string) error
	KillRaylet(namespace, pod string) error
}

// VCenter says how to reach the simulated vCenter. Secrets are paths of files.
type VCenter struct {
	URL          string
	UsernameFile string
	PasswordFile string
	CAFile       string
	Insecure     bool
}
