package capi

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tandem-autoscaler/tandem/pkg/kube"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// finished pods hold nothing any more.
func finished(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// translatePod turns a pod into the planner's terms.
func translatePod(p *corev1.Pod) planner.Pod {
	out := planner.Pod{
		Namespace: p.Namespace, Name: p.Name, UID: string(p.UID),
		Node:        p.Spec.NodeName,
		CreatedAt:   p.CreationTimestamp.UTC(),
		Terminating: !p.DeletionTimestamp.IsZero(),
		DaemonSet:   bound(p),
		Shape:       kube.PodShapeNow(p),
	}
	for i := range p.Status.Conditions {
		switch c := &p.Status.Conditions[i]; c.Type { //nolint:exhaustive // The others say nothing about placement.
		case corev1.PodReady:
			out.Ready = c.Status == corev1.ConditionTrue
		case corev1.PodScheduled:
			out.Unschedulable = p.Spec.NodeName == "" && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable
		}
	}
	if name := rayCluster(p); name != "" {
		out.RayCluster = p.Namespace + "/" + name
		out.RayGroup = p.Labels[labelRayGroup]
		out.RayReplica = p.Labels[labelRayReplica]
		out.RayHead = p.Labels[labelRayNodeType] == rayNodeTypeHead
	}
	out.Blocks = blocks(p, out.RayCluster != "")
	return out
}

// bound pods belong to their node: those of DaemonSets, and the mirrors of
// static pods, which the kubelet itself makes.
func bound(p *corev1.Pod) bool {
	if _, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return true
	}
	ref := metav1.GetControllerOfNoCopy(p)
	return ref != nil && ref.Kind == "DaemonSet" && strings.HasPrefix(ref.APIVersion, "apps/")
}

// rayCluster is the name of the RayCluster that the pod belongs to, or empty.
// The owner decides: a label can be put on any pod.
func rayCluster(p *corev1.Pod) string {
	if ref := metav1.GetControllerOfNoCopy(p); ref != nil && ref.Kind == kindRayCluster && strings.HasPrefix(ref.APIVersion, "ray.io/") {
		return ref.Name
	}
	return p.Labels[labelRayCluster]
}

// blocks tells why a pod must not be disturbed, or nothing. The volumes and the
// restarts of Ray pods are Ray's own business: they go only when Ray lets go of
// them.
func blocks(p *corev1.Pod, ofRay bool) string {
	safe := p.Annotations[annotationSafeToEvict]
	switch {
	case bound(p):
		return ""
	case safe == "false":
		return "annotation " + annotationSafeToEvict + " is false"
	case p.Annotations[annotationDoNotDisrupt] == "true":
		return "annotation " + annotationDoNotDisrupt + " is true"
	case ofRay || safe == "true":
		return ""
	case metav1.GetControllerOfNoCopy(p) == nil:
		return "no controller would make it anew"
	}
	return localStorage(p)
}

// localStorage names the first volume that would be lost with the node.
func localStorage(p *corev1.Pod) string {
	allowed := split(p.Annotations[annotationSafeVolumes])
	for i := range allowed {
		allowed[i] = strings.TrimSpace(allowed[i])
	}
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		disk := v.EmptyDir != nil && v.EmptyDir.Medium != corev1.StorageMediumMemory
		if (disk || v.HostPath != nil) && !slices.Contains(allowed, v.Name) {
			return fmt.Sprintf("volume %s is on the node's own disk", quote(v.Name))
		}
	}
	return ""
}

// ray tells whether the pod belongs to a RayCluster.
func ray(p *corev1.Pod) bool { return rayCluster(p) != "" }
