package kube_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"

	"github.com/tandem-autoscaler/tandem/pkg/kube"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

func TestPodShapeNow(t *testing.T) {
	t.Parallel()
	refused := corev1.PodCondition{Type: corev1.PodResizePending, Status: corev1.ConditionTrue, Reason: corev1.PodReasonInfeasible}
	for name, c := range map[string]struct {
		allocated, has corev1.ResourceList
		conditions     []corev1.PodCondition
		want           planner.Resources
	}{
		"nothing is known yet":              {want: planner.Resources{"CPU": 2000, "memory": 100}},
		"nothing is resized":                {allocated: list("cpu", "2", "memory", "100"), has: list("cpu", "2", "memory", "100"), want: planner.Resources{"CPU": 2000, "memory": 100}},
		"smaller soon, but not yet":         {allocated: list("cpu", "2", "memory", "100"), has: list("cpu", "3", "memory", "100"), want: planner.Resources{"CPU": 3000, "memory": 100}},
		"smaller as soon as the node says":  {allocated: list("cpu", "4"), has: list("cpu", "4"), want: planner.Resources{"CPU": 4000, "memory": 100}},
		"larger counts from now on":         {allocated: list("cpu", "1", "memory", "50"), has: list("cpu", "1", "memory", "50"), want: planner.Resources{"CPU": 2000, "memory": 100}},
		"larger than its node never counts": {allocated: list("cpu", "1"), has: list("cpu", "1"), conditions: []corev1.PodCondition{refused}, want: planner.Resources{"CPU": 1000, "memory": 100}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asks := container("a", "cpu", "2", "memory", "100")
			p := corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{asks}}}
			p.Status.Conditions = c.conditions
			if c.allocated != nil {
				p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "a", AllocatedResources: c.allocated, Resources: &corev1.ResourceRequirements{Requests: c.has}}}
			}
			assert.Equal(t, c.want, kube.PodShapeNow(&p).Requests)
			assert.Equal(t, list("cpu", "2", "memory", "100"), p.Spec.Containers[0].Resources.Requests, "the pod itself was changed")
		})
	}
	t.Run("a sidecar", func(t *testing.T) {
		t.Parallel()
		p := corev1.Pod{Spec: corev1.PodSpec{InitContainers: []corev1.Container{sidecar("s", "cpu", "1")}, Containers: []corev1.Container{container("a", "cpu", "1")}}}
		p.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "s", AllocatedResources: list("cpu", "5")}}
		assert.Equal(t, planner.Resources{"CPU": 6000}, kube.PodShapeNow(&p).Requests)
	})
}
