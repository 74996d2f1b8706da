package capi

import (
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	capiannotations "sigs.k8s.io/cluster-api/util/annotations"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// group is one MachineDeployment with what its capacity can be learned from.
type group struct {
	planner.NodeGroup
	facts facts
}

// facts is what the objects of the management cluster promise of a new node.
type facts struct {
	hints hints
	// template is what the infrastructure template itself reports, if anything.
	template planner.Resources
	labels   map[string]string
	taints   []planner.Taint
	// notes are problems that do not keep the group out of plans.
	notes []string
}

// translateGroup turns a MachineDeployment into a NodeGroup. cluster is its
// Cluster, sets are the MachineSets that it controls, tpl its infrastructure
// template as far as it is known.
func translateGroup(md *clusterv1.MachineDeployment, cluster *clusterv1.Cluster, sets []*clusterv1.MachineSet, tpl template) group {
	g := group{NodeGroup: planner.NodeGroup{
		Namespace: md.Namespace, Name: md.Name, UID: string(md.UID), ResourceVersion: md.ResourceVersion,
		Class:      className(md, tpl),
		Zone:       md.Spec.Template.Spec.FailureDomain,
		Paused:     paused(md, cluster),
		RollingOut: rollingOut(md, sets),
		Invalid:    refuse(md, cluster),
	}}
	if md.Spec.Replicas != nil {
		g.Replicas = int64(*md.Spec.Replicas)
	}
	l, err := readLimits(md.Annotations)
	g.Managed, g.Min, g.Max = l.managed, l.min, l.max
	if err != nil && g.Invalid == "" {
		g.Invalid = err.Error()
	}
	if g.Backoffs, err = readBackoffs(md.Annotations); err != nil {
		g.facts.notes = append(g.facts.notes, err.Error())
	}
	if g.Priority, err = readPriority(md.Annotations); err != nil {
		g.facts.notes = append(g.facts.notes, err.Error())
	}
	h, err := readHints(md.Annotations)
	if err != nil {
		g.facts.notes = append(g.facts.notes, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	if tpl.err != "" {
		g.facts.notes = append(g.facts.notes, tpl.err)
	}
	g.facts.hints, g.facts.template = h, tpl.capacity
	g.facts.labels = promisedLabels(md, g.Class, tpl, h)
	g.facts.taints = promisedTaints(md, h)
	g.Labels, g.Taints = g.facts.labels, g.facts.taints
	return g
}

// refuse tells why a MachineDeployment cannot be planned for, whatever its
// annotations say.
func refuse(md *clusterv1.MachineDeployment, cluster *clusterv1.Cluster) string {
	switch {
	case !md.DeletionTimestamp.IsZero():
		return "the MachineDeployment is being deleted"
	case !cluster.DeletionTimestamp.IsZero():
		return "the Cluster is being deleted"
	case md.Spec.Replicas == nil:
		return "spec.replicas is not set, so the size is unknown"
	case *md.Spec.Replicas < 0:
		return fmt.Sprintf("spec.replicas is %d", *md.Spec.Replicas)
	}
	return topologyOwns(md, cluster)
}

// topologyOwns tells what to do when the Cluster's managed topology sets the
// replicas of the MachineDeployment: the topology controller takes every other
// value back (kubernetes-sigs/cluster-api: exp/topology/desiredstate).
func topologyOwns(md *clusterv1.MachineDeployment, cluster *clusterv1.Cluster) string {
	name, ok := md.Labels[clusterv1.ClusterTopologyMachineDeploymentNameLabel]
	if _, owned := md.Labels[clusterv1.ClusterTopologyOwnedLabel]; !ok || !owned {
		return ""
	}
	workers := cluster.Spec.Topology.Workers.MachineDeployments
	for i := range workers {
		if workers[i].Name == name && workers[i].Replicas != nil {
			return fmt.Sprintf("the topology of Cluster %s sets replicas of %q and takes other values back: "+
				"remove spec.topology.workers.machineDeployments[%d].replicas", cluster.Name, name, i)
		}
	}
	return ""
}

func paused(md *clusterv1.MachineDeployment, cluster *clusterv1.Cluster) bool {
	own := md.Spec.Paused != nil && *md.Spec.Paused
	_, byUs := pausedBy(md, cluster)
	return own || byUs || capiannotations.HasPaused(cluster) || capiannotations.IsPaused(cluster, md)
}

// pausedBy finds our own pause annotation on one of the objects.
func pausedBy(objects ...metav1.Object) (text string, paused bool) {
	for _, o := range objects {
		if v, ok := o.GetAnnotations()[PausedAnnotation]; ok && v != "false" {
			return cut(v), true
		}
	}
	return "", false
}

// pausedText tells for people who paused everything.
func pausedText(cluster *clusterv1.Cluster) string {
	text, ok := pausedBy(cluster)
	if !ok {
		return ""
	}
	by := "annotation " + PausedAnnotation + " of Cluster " + cluster.Namespace + "/" + cluster.Name
	if text != "" {
		by += ": " + text
	}
	return by
}

// rollingOut is careful: while the controller has not seen the latest spec, or
// more than one MachineSet has Machines, a shrink could take another Machine
// than the one that was marked.
func rollingOut(md *clusterv1.MachineDeployment, sets []*clusterv1.MachineSet) bool {
	if md.Status.ObservedGeneration < md.Generation {
		return true
	}
	populated := 0
	for _, ms := range sets {
		wanted := ms.Spec.Replicas != nil && *ms.Spec.Replicas > 0
		have := ms.Status.Replicas != nil && *ms.Status.Replicas > 0
		if wanted || have {
			populated++
		}
	}
	return populated > 1 || conditionTrue(md.Status.Conditions, clusterv1.MachineDeploymentRollingOutCondition)
}

func conditionTrue(conditions []metav1.Condition, kind string) bool {
	for i := range conditions {
		if conditions[i].Type == kind {
			return conditions[i].Status == metav1.ConditionTrue
		}
	}
	return false
}

// className prefers the provider's own word to an annotation.
func className(md *clusterv1.MachineDeployment, tpl template) string {
	switch {
	case tpl.class != "":
		return tpl.class
	case md.Annotations[VMClassAnnotation] != "":
		return md.Annotations[VMClassAnnotation]
	default:
		return tpl.annotated
	}
}

// promisedLabels are the labels that a new node of the group will carry: those
// that Cluster API carries over from the Machine, the ones of its instance type
// and zone, and what the annotation adds or corrects.
func promisedLabels(md *clusterv1.MachineDeployment, class string, tpl template, h hints) map[string]string {
	out := map[string]string{corev1.LabelOSStable: tpl.os, corev1.LabelArchStable: tpl.arch}
	if tpl.os == "" {
		out[corev1.LabelOSStable] = "linux"
	}
	if tpl.arch == "" {
		out[corev1.LabelArchStable] = "amd64"
	}
	if class != "" {
		out[corev1.LabelInstanceTypeStable] = class
	}
	if zone := md.Spec.Template.Spec.FailureDomain; zone != "" {
		out[corev1.LabelTopologyZone] = zone
	}
	for k, v := range md.Spec.Template.Labels {
		if propagated(k) {
			out[k] = v
		}
	}
	maps.Copy(out, h.labels)
	return out
}

// propagated tells whether Cluster API carries a Machine's label over to its
// Node (kubernetes-sigs/cluster-api: docs/book, metadata propagation).
func propagated(key string) bool {
	domain, _, ok := strings.Cut(key, "/")
	if !ok {
		return false
	}
	return domain == clusterv1.NodeRoleLabelPrefix ||
		inDomain(domain, clusterv1.NodeRestrictionLabelDomain) || inDomain(domain, clusterv1.ManagedNodeLabelDomain)
}

func inDomain(domain, parent string) bool {
	return domain == parent || strings.HasSuffix(domain, "."+parent)
}

// promisedTaints are the taints of the Machine template and of the annotation.
// One of the annotation replaces one of the template with the same key and
// effect.
func promisedTaints(md *clusterv1.MachineDeployment, h hints) []planner.Taint {
	var out []planner.Taint
	for _, t := range md.Spec.Template.Spec.Taints {
		if startupTaint(t.Key) {
			continue // gone by the time that pods come
		}
		out = setTaint(out, planner.Taint{Key: t.Key, Value: t.Value, Effect: string(t.Effect)})
	}
	for _, t := range h.taints {
		out = setTaint(out, t)
	}
	return out
}

func setTaint(list []planner.Taint, t planner.Taint) []planner.Taint {
	for i := range list {
		if list[i].Key == t.Key && list[i].Effect == t.Effect {
			list[i] = t
			return list
		}
	}
	return append(list, t)
}
