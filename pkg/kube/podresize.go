package kube

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// PodShapeNow is [PodShape] with what the pod holds at the moment. While a
// container is being resized in place, the scheduler counts the largest of what
// its spec asks for, what the kubelet has set aside and what the container
// really has; a resize that its node can never grant does not count. So a node
// seems to have no room that a container has yet to give up.
func PodShapeNow(p *corev1.Pod) planner.PodShape {
	spec := &p.Spec
	refused := slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodResizePending && c.Reason == corev1.PodReasonInfeasible
	})
	containers, resized := holdNow(spec.Containers, p.Status.ContainerStatuses, refused)
	sidecars, resizedToo := holdNow(spec.InitContainers, p.Status.InitContainerStatuses, refused)
	if resized || resizedToo {
		now := *spec
		now.Containers, now.InitContainers = containers, sidecars
		spec = &now
	}
	return PodShape(spec)
}

// holdNow lists the containers with what they hold, and tells whether that is
// other than what they ask for. Then the list is a new one.
func holdNow(in []corev1.Container, statuses []corev1.ContainerStatus, refused bool) (out []corev1.Container, resized bool) {
	out = in
	for i := range in {
		k := slices.IndexFunc(statuses, func(s corev1.ContainerStatus) bool { return s.Name == in[i].Name })
		if k < 0 {
			continue
		}
		held := heldNow(in[i].Resources.Requests, &statuses[k], refused)
		if held == nil {
			continue
		}
		if !resized {
			out, resized = slices.Clone(in), true
		}
		out[i].Resources.Requests = held
	}
	return out, resized
}

// heldNow is what a container holds if that differs from what it asks for, or
// nil.
func heldNow(asked corev1.ResourceList, s *corev1.ContainerStatus, refused bool) (held corev1.ResourceList) {
	for name, want := range asked {
		most, known := s.AllocatedResources[name]
		if s.Resources != nil {
			if has, ok := s.Resources.Requests[name]; ok && (!known || has.Cmp(most) > 0) {
				most, known = has, true
			}
		}
		if more := most.Cmp(want); !known || more == 0 || more < 0 && !refused {
			continue
		}
		if held == nil {
			held = maps.Clone(asked)
		}
		held[name] = most
	}
	return held
}
