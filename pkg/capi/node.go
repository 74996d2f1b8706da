package capi

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	"github.com/tandem-autoscaler/tandem/pkg/kube"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// translateNode turns a Node into the planner's terms. Machine is filled in when
// the view is joined. A Node with an allocatable that makes no sense is not
// ready, and the note says why.
func translateNode(n *corev1.Node) (node planner.Node, note string) {
	node = planner.Node{
		Name: n.Name, UID: string(n.UID),
		Labels:        n.Labels,
		Ready:         ready(n),
		Unschedulable: n.Spec.Unschedulable,
		UnreadySince:  unreadySince(n),
		Keep:          keep(n),
	}
	for _, t := range n.Spec.Taints {
		node.Taints = append(node.Taints, planner.Taint{Key: t.Key, Value: t.Value, Effect: string(t.Effect)})
		if startupTaint(t.Key) {
			// The node is still coming up: its owner takes the taint away.
			node.Ready = false
		}
		if mark, ok := ParseMark(t.Value); ok && t.Key == planner.CordonTaint {
			node.Cordon = &mark
		} else if ok && softly(t) {
			node.SoftTaint = &mark
		}
	}
	allocatable, err := kube.Resources(n.Status.Allocatable)
	node.Allocatable = allocatable
	if err != nil {
		node.Ready = false
		note = fmt.Sprintf("Node %s: %s", n.Name, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return node, note
}

func ready(n *corev1.Node) bool {
	if !n.DeletionTimestamp.IsZero() {
		return false
	}
	for i := range n.Status.Conditions {
		if n.Status.Conditions[i].Type == corev1.NodeReady {
			return n.Status.Conditions[i].Status == corev1.ConditionTrue
		}
	}
	return false
}

// unreadySince is when the Ready condition turned, zero for a node that is ready
// or has not reported yet.
func unreadySince(n *corev1.Node) (since time.Time) {
	for i := range n.Status.Conditions {
		c := &n.Status.Conditions[i]
		if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue && !c.LastTransitionTime.IsZero() {
			since = c.LastTransitionTime.UTC()
		}
	}
	return since
}

// keep names the mark by which a person forbids to remove the node.
func keep(n *corev1.Node) string {
	for _, key := range []string{annotationNodeKeep, annotationDoNotDisrupt} {
		if n.Annotations[key] == "true" {
			return "annotation " + key
		}
	}
	return ""
}

// startupTaint tells whether a taint is there only until the node is up.
func startupTaint(key string) bool {
	switch key {
	case clusterv1.NodeUninitializedTaint.Key,
		"node.cloudprovider.kubernetes.io/uninitialized",
		corev1.TaintNodeNotReady, corev1.TaintNodeNetworkUnavailable:
		return true
	}
	return strings.HasPrefix(key, startupTaintPrefix) || strings.HasPrefix(key, ignoreTaintPrefix)
}

// passingTaint tells whether a taint says something about one node at one time,
// and nothing about the next node of its group.
func passingTaint(key string) bool {
	switch key {
	case planner.CordonTaint, planner.SoftTaintKey, scalerDeletionTaint, scalerCandidateTaint,
		clusterv1.NodeOutdatedRevisionTaint.Key,
		"node.cloudprovider.kubernetes.io/shutdown":
		return true
	}
	// Kubernetes' own conditions: unreachable, memory-pressure, unschedulable.
	return startupTaint(key) || strings.HasPrefix(key, "node.kubernetes.io/")
}

// commonLabels are the labels that all nodes share, without those that name one
// node; the zone counts only where the group is pinned to it.
func commonLabels(nodes []*planner.Node, zone string) map[string]string {
	out := maps.Clone(nodes[0].Labels)
	for _, n := range nodes[1:] {
		maps.DeleteFunc(out, func(k, v string) bool { return n.Labels[k] != v })
	}
	delete(out, corev1.LabelHostname)
	if zone == "" {
		delete(out, corev1.LabelTopologyZone)
		delete(out, corev1.LabelFailureDomainBetaZone)
	}
	return out
}

// commonTaints are the lasting taints of the nodes: one that any of them has
// may keep a pod away from the next one.
func commonTaints(nodes []*planner.Node) []planner.Taint {
	var out []planner.Taint
	for _, n := range nodes {
		for _, t := range n.Taints {
			if !passingTaint(t.Key) && !slices.Contains(out, t) {
				out = append(out, t)
			}
		}
	}
	slices.SortFunc(out, func(a, b planner.Taint) int {
		return strings.Compare(a.Key+"="+a.Value+":"+a.Effect, b.Key+"="+b.Value+":"+b.Effect)
	})
	return out
}
