package capi

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// owners finds the MachineDeployment behind a Machine.
type owners struct {
	deployments map[string]*clusterv1.MachineDeployment // by name
	sets        map[string]*clusterv1.MachineSet        // by name
}

// index keys the objects of one namespace.
func index(deployments []clusterv1.MachineDeployment, sets []clusterv1.MachineSet) owners {
	o := owners{
		deployments: make(map[string]*clusterv1.MachineDeployment, len(deployments)),
		sets:        make(map[string]*clusterv1.MachineSet, len(sets)),
	}
	for i := range deployments {
		o.deployments[deployments[i].Name] = &deployments[i]
	}
	for i := range sets {
		o.sets[sets[i].Name] = &sets[i]
	}
	return o
}

// ofMachine follows the owner references; where a MachineSet is not seen yet the
// label says it, as long as the MachineDeployment exists. Links are checked by
// UID, so that a namesake of a deleted object is not taken for it.
func (o owners) ofMachine(m *clusterv1.Machine) *clusterv1.MachineDeployment {
	if ref := metav1.GetControllerOfNoCopy(m); ref != nil && ref.Kind == "MachineSet" {
		if ms := o.sets[ref.Name]; ms != nil && ms.UID == ref.UID {
			return o.ofSet(ms)
		}
	}
	return o.deployments[m.Labels[clusterv1.MachineDeploymentNameLabel]]
}

func (o owners) ofSet(ms *clusterv1.MachineSet) *clusterv1.MachineDeployment {
	ref := metav1.GetControllerOfNoCopy(ms)
	if ref == nil || ref.Kind != "MachineDeployment" {
		return nil
	}
	if md := o.deployments[ref.Name]; md != nil && md.UID == ref.UID {
		return md
	}
	return nil
}

// translateMachine turns a Machine of the group into the planner's terms.
func translateMachine(m *clusterv1.Machine, group *clusterv1.MachineDeployment) planner.Machine {
	out := planner.Machine{
		Namespace: m.Namespace, Name: m.Name, UID: string(m.UID),
		Node:      m.Status.NodeRef.Name,
		CreatedAt: m.CreationTimestamp.UTC(),
		Deleting:  !m.DeletionTimestamp.IsZero(),
		Failure:   failure(m),
		Phase:     m.Status.Phase,
		Hook:      hooked(m),
		Release:   released(m),
	}
	if m.DeletionTimestamp != nil {
		out.DeletingSince = m.DeletionTimestamp.UTC()
		out.WaitsForHook = waitsForHook(m)
	}
	out.FailureKind = failureKind(m)
	if group != nil {
		out.Group = group.Namespace + "/" + group.Name
	}
	out.Mark, out.ForeignMark = deleteMark(m)
	return out
}

// waitsForHook tells whether Cluster API has come to the pre-drain hooks of the
// Machine (kubernetes-sigs/cluster-api: api/core/v1beta2/machine_types.go).
func waitsForHook(m *clusterv1.Machine) bool {
	for i := range m.Status.Conditions {
		if c := &m.Status.Conditions[i]; c.Type == clusterv1.MachineDeletingCondition {
			return c.Status == metav1.ConditionTrue && c.Reason == clusterv1.MachineDeletingWaitingForPreDrainHookReason
		}
	}
	return false
}

// deleteMark tells whether the Machine carries Cluster API's delete mark, and
// whose it is. Ours alone, without Cluster API's, still counts as ours: it is
// half of a write that has to be finished or taken back.
func deleteMark(m *clusterv1.Machine) (ours *planner.Mark, foreign bool) {
	if mark, ok := ParseMark(m.Annotations[DeleteMarkAnnotation]); ok {
		return &mark, false
	}
	_, marked := m.Annotations[clusterv1.DeleteMachineAnnotation]
	return nil, marked
}

// failure is the terminal failure that Cluster API reports, if any. Conditions
// that are False are no such failure: the provider still tries.
//
//nolint:staticcheck // Providers of the v1beta1 contract report their failures in the deprecated fields only.
func failure(m *clusterv1.Machine) string {
	if d := m.Status.Deprecated; d != nil && d.V1Beta1 != nil {
		switch old := d.V1Beta1; {
		case old.FailureMessage != nil && *old.FailureMessage != "":
			return cut(*old.FailureMessage)
		case old.FailureReason != nil && *old.FailureReason != "":
			return cut(string(*old.FailureReason))
		}
	}
	if m.Status.GetTypedPhase() != clusterv1.MachinePhaseFailed {
		return ""
	}
	if t := trouble(m); t != "" {
		return t
	}
	return "the Machine is in phase Failed"
}

// trouble is what keeps a Machine without a Node from getting one, in the
// words of its provider, such as "insufficient resources".
func trouble(m *clusterv1.Machine) string {
	for _, kind := range []string{clusterv1.MachineInfrastructureReadyCondition, clusterv1.MachineBootstrapConfigReadyCondition} {
		for i := range m.Status.Conditions {
			c := &m.Status.Conditions[i]
			if c.Type == kind && c.Status == metav1.ConditionFalse && c.Message != "" {
				return cut(kind + ": " + strings.TrimSpace(c.Message))
			}
		}
	}
	return ""
}

// cut bounds a foreign text, on a rune.
func cut(s string) string {
	const most = 512
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}
