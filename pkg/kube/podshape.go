package kube

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// PodShape is what the Kubernetes scheduler would look at in a pod of this
// spec. It is total: an amount that [PodRequests] would refuse counts as zero
// and is named in Unmodelled. The pod's own slot ("pods") is not counted.
func PodShape(spec *corev1.PodSpec) planner.PodShape {
	requests, err := PodRequests(spec)
	shape := planner.PodShape{
		Requests:     requests,
		NodeSelector: maps.Clone(spec.NodeSelector),
		Tolerations:  tolerations(spec.Tolerations),
		NodeAffinity: nodeAffinity(spec),
		Unmodelled:   unmodelled(spec),
	}
	if err != nil {
		shape.Unmodelled = append(shape.Unmodelled, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return shape
}

// PodRequests is the room that a pod takes on a node, as the Kubernetes
// scheduler counts it: the sum over its containers, sidecars included, or the
// largest need while its init containers run one after the other, if that is
// more; then what the pod asks for as a whole in place of that sum; then the
// overhead of its runtime class. A limit stands in for a missing request, as the
// API server would fill it in. Malformed amounts count as zero and are named in
// the error, which joins one for each.
func PodRequests(spec *corev1.PodSpec) (planner.Resources, error) {
	total := planner.Resources{}
	var errs []error
	read := func(what string, r corev1.ResourceRequirements) planner.Resources {
		out, err := requirements(r)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
		}
		return out
	}
	for i := range spec.Containers {
		total.Add(read("container "+spec.Containers[i].Name, spec.Containers[i].Resources))
	}
	sidecars, starting := planner.Resources{}, planner.Resources{}
	for i := range spec.InitContainers {
		c := &spec.InitContainers[i]
		need := read("init container "+c.Name, c.Resources)
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			total.Add(need)
			sidecars.Add(need)
			need = sidecars.Clone()
		} else {
			need.Add(sidecars)
		}
		atLeast(starting, need)
	}
	atLeast(total, starting)
	if spec.Resources != nil {
		maps.Copy(total, podLevel(spec.Resources, total, &errs))
	}
	overhead, err := Resources(spec.Overhead)
	if err != nil {
		errs = append(errs, fmt.Errorf("overhead: %w", err))
	}
	total.Add(overhead)
	return total, errors.Join(errs...)
}

// requirements is what one container asks for.
func requirements(r corev1.ResourceRequirements) (planner.Resources, error) {
	list := maps.Clone(r.Limits)
	if list == nil {
		list = make(corev1.ResourceList, len(r.Requests))
	}
	maps.Copy(list, r.Requests)
	return Resources(list)
}

// podLevel is what replaces the containers' sum: the requests of the pod as a
// whole, and its limits where no container asked for that resource.
func podLevel(r *corev1.ResourceRequirements, sum planner.Resources, errs *[]error) planner.Resources {
	out, err := Resources(r.Requests)
	if err != nil {
		*errs = append(*errs, fmt.Errorf("pod resources: %w", err))
	}
	limits, err := Resources(r.Limits)
	if err != nil {
		*errs = append(*errs, fmt.Errorf("pod resources: %w", err))
	}
	for name, v := range limits {
		if out[name] == 0 && sum[name] == 0 {
			out[name] = v
		}
	}
	return out
}

// atLeast raises every amount of r to that of o.
func atLeast(r, o planner.Resources) {
	for name, v := range o {
		r[name] = max(r[name], v)
	}
}

func tolerations(in []corev1.Toleration) []planner.Toleration {
	if len(in) == 0 {
		return nil
	}
	out := make([]planner.Toleration, 0, len(in))
	for _, t := range in {
		out = append(out, planner.Toleration{
			Key: t.Key, Operator: string(t.Operator), Value: t.Value, Effect: string(t.Effect),
		})
	}
	return out
}

// nodeAffinity is what the pod requires of the labels of a node. A requirement
// on a field (the only one is the node's name) is named by [unmodelled]; beside
// it the term's labels still count, and a term of nothing else becomes one that
// every node meets, as if it were absent.
func nodeAffinity(spec *corev1.PodSpec) []planner.NodeTerm {
	if spec.Affinity == nil || spec.Affinity.NodeAffinity == nil || spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil
	}
	terms := spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	out := make([]planner.NodeTerm, 0, len(terms))
	for _, t := range terms {
		if len(t.MatchExpressions) == 0 && len(t.MatchFields) > 0 {
			return nil
		}
		term := make(planner.NodeTerm, 0, len(t.MatchExpressions))
		for _, r := range t.MatchExpressions {
			term = append(term, planner.NodeRequirement{Key: r.Key, Operator: string(r.Operator), Values: slices.Clone(r.Values)})
		}
		out = append(out, term)
	}
	return out
}

func matchesFields(a *corev1.Affinity) bool {
	if a.NodeAffinity == nil || a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return false
	}
	return slices.ContainsFunc(a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms,
		func(t corev1.NodeSelectorTerm) bool { return len(t.MatchFields) > 0 })
}

// unmodelled names the fields that can keep a pod off a node that would have
// room for it, and that the planner does not look at. Preferences are no such
// fields.
func unmodelled(spec *corev1.PodSpec) []string {
	var out []string
	if a := spec.Affinity; a != nil {
		if matchesFields(a) {
			out = append(out, "nodeAffinity matchFields")
		}
		if a.PodAffinity != nil && len(a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution) > 0 {
			out = append(out, "podAffinity")
		}
		if a.PodAntiAffinity != nil && len(a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution) > 0 {
			out = append(out, "podAntiAffinity")
		}
	}
	for i := range spec.TopologySpreadConstraints {
		if spec.TopologySpreadConstraints[i].WhenUnsatisfiable != corev1.ScheduleAnyway {
			out = append(out, "topologySpreadConstraints")
			break
		}
	}
	for i := range spec.Volumes {
		if v := &spec.Volumes[i]; v.PersistentVolumeClaim != nil || v.Ephemeral != nil {
			out = append(out, "persistentVolumeClaims")
			break
		}
	}
	if len(spec.SchedulingGates) > 0 {
		out = append(out, "schedulingGates")
	}
	if len(spec.ResourceClaims) > 0 {
		out = append(out, "resourceClaims")
	}
	if hostPorts(spec) {
		out = append(out, "hostPorts")
	}
	return out
}

func hostPorts(spec *corev1.PodSpec) bool {
	for i := range spec.Containers {
		for _, p := range spec.Containers[i].Ports {
			if p.HostPort != 0 {
				return true
			}
		}
	}
	return false
}
