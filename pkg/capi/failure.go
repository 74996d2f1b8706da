package capi

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// words recognise kinds of failures in the words of providers: those of vCenter's
// faults as Cluster API's vSphere provider and VM Operator pass them on
// (kubernetes-sigs/cluster-api-provider-vsphere, vmware-tanzu/vm-operator), and
// of the development provider. The first match counts, so the more specific
// come first: a storage policy without room is storage, not capacity.
var words = []struct {
	kind planner.FailureKind
	any  []string
}{
	{planner.FailureQuota, []string{"quota", "exceeds limit of", "limit exceeded"}},
	{planner.FailureClass, []string{"virtualmachineclass", "vm class", "vmclass", "classbinding", "classnotfound", "class not found"}},
	{planner.FailureImage, []string{"virtualmachineimage", "imagenotfound", "image not found", "vm image", "content library", "template not found", "unable to find template", "ova ", "contentlibrary"}},
	{planner.FailureAddress, []string{"ipaddress", "ip address", "ippool", "no addresses available", "address pool", "waitingforstaticip", "waitingfornetworkaddress", "dhcp"}},
	{planner.FailureStorage, []string{"storage", "datastore", "disk space", "no space left", "persistentvolumeclaim"}},
	{planner.FailureNoCapacity, []string{
		"insufficient", "not enough", "no compatible host", "no host is compatible", "nohost", "no suitable host", "noplacement", "placement failed",
		"out of resources", "no capacity", "vgpu", "passthrough device", "no gpu", "graphics resources", "failover level",
	}},
	{planner.FailureBootstrap, []string{"bootstrap", "cloud-init", "cloudinit", "kubeadm", "bootstrapdata"}},
}

// prerequisites are conditions of VM Operator whose name as a reason tells the
// kind by itself (vmware-tanzu/vm-operator: api/v1alpha6/virtualmachine_types.go).
var prerequisites = map[string]planner.FailureKind{
	"VirtualMachineClassReady":              planner.FailureClass,
	"VirtualMachineImageReady":              planner.FailureImage,
	"VirtualMachineStorageReady":            planner.FailureStorage,
	"VirtualMachineBootstrapReady":          planner.FailureBootstrap,
	"VirtualMachineNetworkReady":            planner.FailureAddress,
	"VirtualMachineConditionPlacementReady": planner.FailureNoCapacity,
}

// failureKind classifies what keeps a Machine from becoming a Node, or is empty:
// then nothing is wrong as far as anybody says, and only a deadline can tell.
// FailureNeverJoined is no failure before that deadline either: it says that the
// VM runs, so that what is missing is the kubelet.
func failureKind(m *clusterv1.Machine) planner.FailureKind {
	text := failure(m)
	if text == "" {
		if m.Status.NodeRef.Name != "" {
			return ""
		}
		text = trouble(m)
	}
	if text != "" {
		return classifyFailure(text, reasonOf(m))
	}
	if conditionTrue(m.Status.Conditions, clusterv1.MachineInfrastructureReadyCondition) && m.DeletionTimestamp.IsZero() {
		return planner.FailureNeverJoined
	}
	return ""
}

// reasonOf is the reason of the condition that [trouble] quotes.
func reasonOf(m *clusterv1.Machine) string {
	for _, kind := range []string{clusterv1.MachineInfrastructureReadyCondition, clusterv1.MachineBootstrapConfigReadyCondition} {
		for i := range m.Status.Conditions {
			if c := &m.Status.Conditions[i]; c.Type == kind && c.Status == metav1.ConditionFalse {
				return c.Reason
			}
		}
	}
	return ""
}

// progress is what providers say while all goes well: a kind for it would end
// the patience with a Machine that only boots.
var progress = []string{"creating", "provisioning", "in progress", "waiting for bootstrap data", "powering on", "cloning", "starting"}

// classifyFailure looks for the kind in a reason and a text. A text that only
// says that work is under way has none.
func classifyFailure(text, reason string) planner.FailureKind {
	for name, kind := range prerequisites {
		if reason == name || strings.Contains(text, name) {
			return kind
		}
	}
	low := strings.ToLower(reason + " " + text)
	// The names of the conditions that trouble puts in front say nothing.
	for _, name := range []string{clusterv1.MachineInfrastructureReadyCondition, clusterv1.MachineBootstrapConfigReadyCondition} {
		low = strings.ReplaceAll(low, strings.ToLower(name)+":", "")
	}
	has := func(part string) bool { return strings.Contains(low, part) }
	if slices.ContainsFunc(progress, has) && !slices.ContainsFunc([]string{"fail", "error", "insufficient", "exceed", "not found"}, has) {
		return ""
	}
	for _, w := range words {
		if slices.ContainsFunc(w.any, has) {
			return w.kind
		}
	}
	return planner.FailureOther
}
