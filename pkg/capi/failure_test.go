package capi

import (
	"testing"

	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

func notYet(kind, reason, message string) func(*clusterv1.Machine) {
	return func(m *clusterv1.Machine) {
		m.Status.Conditions = append(m.Status.Conditions, metav1.Condition{Type: kind, Status: metav1.ConditionFalse, Reason: reason, Message: message})
	}
}

func infraUp(m *clusterv1.Machine) {
	m.Status.Conditions = append(m.Status.Conditions, metav1.Condition{Type: clusterv1.MachineInfrastructureReadyCondition, Status: metav1.ConditionTrue})
}

// TestFailureKind: what providers say, and which kind it is.
// Fault 29: a Machine that is stuck while it is made says why.
// Fault 51: no quota, no room on a host, no storage policy.
func TestFailureKind(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reason, message string
		want            planner.FailureKind
	}{
		{"VirtualMachineProvisioned", "The operation is not allowed: insufficient resources in the cluster", planner.FailureNoCapacity},
		{"Error", "No compatible host has sufficient resources to satisfy the reservation", planner.FailureNoCapacity},
		{"Error", "The amount of graphics resources available in the parent resource pool is insufficient", planner.FailureNoCapacity},
		{"Error", "Insufficient resources to satisfy configured failover level for vSphere HA", planner.FailureNoCapacity},
		{"VirtualMachineConditionPlacementReady", "no placement recommendations", planner.FailureNoCapacity},
		{"Error", "admission webhook denied the request: exceeded quota: pools, requested: requests.memory=64Gi", planner.FailureQuota},
		{"StoragePolicyQuotaExceeded", "the storage quota of policy gold is used up", planner.FailureQuota},
		{"VirtualMachineClassReady", "not ready", planner.FailureClass},
		{"VirtualMachineClassBindingNotFound", "VirtualMachineClassBinding for gpu-4 not found in namespace pools", planner.FailureClass},
		{"VirtualMachineImageReady", "not synced", planner.FailureImage},
		{"Error", "unable to find template \"ubuntu\"", planner.FailureImage},
		{"WaitingForIPAddress", "IPAddressClaim is pending", planner.FailureAddress},
		{"Error", "the address pool: no addresses available", planner.FailureAddress},
		{"Error", "Insufficient disk space on datastore 'vsanDatastore'", planner.FailureStorage},
		{"VirtualMachineStorageReady", "policy gold is missing", planner.FailureStorage},
		{"Error", "cloud-init status: error", planner.FailureBootstrap},
		{"ContainerNotRunning", "Container a is not running anymore", planner.FailureOther},
		{"Error", "Please check controller logs for errors", planner.FailureOther},
		{"NotProvisioned", "Creating container a", ""},
		{"NotProvisioned", "Cloning the VM", ""},
	} {
		m := machine("m", "a", "", notYet(clusterv1.MachineInfrastructureReadyCondition, c.reason, c.message))
		assert.Equal(t, c.want, translateMachine(m, nil).FailureKind, c.message)
	}
	assert.Equal(t, planner.FailureBootstrap, failureKind(machine("m", "a", "", notYet(clusterv1.MachineBootstrapConfigReadyCondition, "", "kubeadm config is not ready"))))
	assert.Equal(t, planner.FailureNeverJoined, failureKind(machine("m", "a", "", infraUp)))
	assert.Empty(t, failureKind(machine("m", "a", "n", infraUp)))
	assert.Empty(t, failureKind(machine("m", "a", "", infraUp, deleting)))
	assert.Empty(t, failureKind(machine("m", "a", "")), "nobody has said anything yet")
	assert.Equal(t, planner.FailureOther, failureKind(machine("m", "a", "n", func(m *clusterv1.Machine) { m.Status.Phase = "Failed" })))
}

// TestNoGPU: the Machine of a Node whose device plugin has not come says so.
// Fault 53: a new node never becomes schedulable, because its GPU driver is late.
func TestNoGPU(t *testing.T) {
	t.Parallel()
	v := observeAll(t, cluster(), deployment("a", 2, annotated(annotationCPU, "4", annotationMemory, "8Gi", annotationGPUCount, "1")), machineSet("a", "a", 2),
		machine("late", "a", "n1"), machine("up", "a", "n2"),
		node("n1", amounts("cpu", "4", "memory", "8Gi")), node("n2", amounts("cpu", "4", "memory", "8Gi", "nvidia.com/gpu", "1")))
	kinds := map[string]planner.FailureKind{}
	for _, m := range v.Machines {
		kinds[m.Name] = m.FailureKind
	}
	assert.Equal(t, map[string]planner.FailureKind{"late": planner.FailureNoGPU, "up": ""}, kinds)
	assert.False(t, nodeNamed(t, v, "n1").Ready)
}
