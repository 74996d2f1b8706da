package demand

import (
	"errors"
	"fmt"
	"math"

	corev1 "k8s.io/api/core/v1"

	"github.com/tandem-autoscaler/tandem/pkg/kube"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// groupSpec is what head and worker groups have in common.
type groupSpec struct {
	// Resources are those of KubeRay 1.5 and newer, as Kubernetes quantities.
	Resources      map[string]string      `json:"resources"`
	Labels         map[string]string      `json:"labels"`
	RayStartParams map[string]string      `json:"rayStartParams"`
	Template       corev1.PodTemplateSpec `json:"template"`
}

// workerSpec is one entry of spec.workerGroupSpecs.
type workerSpec struct {
	groupSpec `json:",inline"`

	GroupName          string `json:"groupName"`
	Replicas           *int64 `json:"replicas"`
	MinReplicas        *int64 `json:"minReplicas"`
	MaxReplicas        *int64 `json:"maxReplicas"`
	NumOfHosts         *int64 `json:"numOfHosts"`
	IdleTimeoutSeconds *int64 `json:"idleTimeoutSeconds"`
	Priority           *int64 `json:"priority"`
	Suspend            *bool  `json:"suspend"`
	ScaleStrategy      struct {
		WorkersToDelete []string `json:"workersToDelete"`
	} `json:"scaleStrategy"`
}

// workerGroup translates one entry. It never fails: Invalid tells why the group
// is left out.
func workerGroup(raw any) planner.WorkerGroup {
	object, ok := raw.(map[string]any)
	if !ok {
		return planner.WorkerGroup{Invalid: "the entry is no object"}
	}
	var spec workerSpec
	if err := decode(object, &spec); err != nil {
		name, _ := object["groupName"].(string)
		return planner.WorkerGroup{Name: name, Invalid: "reading the entry: " + clip(err.Error(), maxName)}
	}
	out := planner.WorkerGroup{
		Name:            spec.GroupName,
		Replicas:        valueOr(spec.Replicas, 0),
		Min:             valueOr(spec.MinReplicas, 0),
		Max:             valueOr(spec.MaxReplicas, defaultMaxReplicas),
		NumOfHosts:      valueOr(spec.NumOfHosts, 1),
		Suspended:       isTrue(spec.Suspend),
		Priority:        valueOr(spec.Priority, 0),
		Labels:          spec.Labels,
		WorkersToDelete: spec.ScaleStrategy.WorkersToDelete,
		Pod:             kube.PodShape(&spec.Template.Spec),
	}
	for name, v := range startInit() {
		out.Pod.Requests[name] = max(out.Pod.Requests[name], v)
	}
	if spec.IdleTimeoutSeconds != nil {
		idle := seconds(*spec.IdleTimeoutSeconds)
		out.IdleTimeout = &idle
	}
	if err := spec.check(); err != nil {
		out.Invalid = err.Error()
	}
	resources, err := spec.rayResources()
	if err != nil && out.Invalid == "" {
		out.Invalid = err.Error()
	}
	out.RayResources = resources
	return out
}

// startInit is what the init container needs that KubeRay puts before every
// worker to wait for the GCS (kuberay:
// ray-operator/controllers/ray/common/pod.go). A smaller worker still takes as
// much room.
func startInit() planner.Resources {
	return planner.Resources{planner.ResourceCPU: 200, planner.ResourceMemory: 256 << 20}
}

func (s *workerSpec) check() error {
	low, high, hosts := valueOr(s.MinReplicas, 0), valueOr(s.MaxReplicas, defaultMaxReplicas), valueOr(s.NumOfHosts, 1)
	switch {
	case len(s.Template.Spec.Containers) == 0:
		return errors.New("the template has no containers")
	case valueOr(s.Replicas, 0) < 0 || low < 0 || high < 0:
		return errors.New("replicas, minReplicas and maxReplicas must not be negative")
	case low > high:
		return fmt.Errorf("minReplicas %d is above maxReplicas %d", low, high)
	case hosts < 1 || hosts > math.MaxInt32:
		return fmt.Errorf("numOfHosts %d is not a number of hosts", hosts)
	case valueOr(s.IdleTimeoutSeconds, 0) < 0:
		return errors.New("idleTimeoutSeconds is negative")
	}
	for k, v := range s.Labels {
		if !validName(k) || !validText(v) {
			return fmt.Errorf("label %q is too long or has characters that are not allowed", clip(k, 40))
		}
	}
	if _, err := kube.PodRequests(&s.Template.Spec); err != nil {
		return fmt.Errorf("the template's resources: %w", err)
	}
	return nil
}
