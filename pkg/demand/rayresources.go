package demand

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/tandem-autoscaler/tandem/pkg/kube"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// resourceTPU is a custom resource that Kubernetes knows by another name.
const resourceTPU = "TPU"

// errNoCPU is Ray's own condition for a group that it can plan for.
var errNoCPU = errors.New("nothing tells its CPUs: set a CPU limit on the first container, or rayStartParams.num-cpus")

// rayResources is what a raylet of the group will offer, by the rules with which
// KubeRay starts it and Ray's own autoscaler reads it (ray:
// python/ray/autoscaler/_private/kuberay/autoscaling_config.py): the group's
// resources come before its start parameters, those before the first container's
// limits, those before its requests. The memory of a container without a limit
// is a guess, since the raylet then counts its own. What is known is returned
// beside [errNoCPU] as well.
func (g *groupSpec) rayResources() (planner.Resources, error) {
	out, err := g.customResources()
	if err != nil {
		return planner.Resources{}, err
	}
	var container corev1.ResourceRequirements
	if cs := g.Template.Spec.Containers; len(cs) > 0 {
		container = cs[0].Resources
	}
	var missing error
	for _, r := range []struct {
		name, param string
		container   *resource.Quantity
		perOne      int64
	}{
		{planner.ResourceCPU, "num-cpus", quantityOf(container, corev1.ResourceCPU), 1000},
		{planner.ResourceMemory, "memory", quantityOf(container, corev1.ResourceMemory), 1},
		{planner.ResourceGPU, "num-gpus", gpuOf(container), planner.Unit},
		{resourceTPU, "", quantityOf(container, "google.com/tpu"), planner.Unit},
	} {
		if _, set := out[r.name]; set {
			continue // rayStartParams.resources names it
		}
		v, found, err := g.whole(r.name, r.param, r.container, kube.MaxAmount/r.perOne)
		if err != nil {
			return planner.Resources{}, err
		}
		if !found && r.name == planner.ResourceCPU {
			missing = errNoCPU
		}
		if v > 0 {
			out[r.name] = v * r.perOne
		}
	}
	return out, missing
}

// whole is an amount of one of the resources that Ray knows by name, rounded up
// to an integer as KubeRay does, and whether anything told it.
func (g *groupSpec) whole(name, param string, container *resource.Quantity, most int64) (v int64, found bool, err error) {
	q, where := container, "the first container's "+name
	if text, set := g.RayStartParams[param]; set && param != "" {
		if q, err = parseQuantity(text); err != nil {
			return 0, false, fmt.Errorf("rayStartParams.%s: %w", param, err)
		}
		where = "rayStartParams." + param
	}
	if text, set := g.Resources[name]; set {
		if q, err = parseQuantity(text); err != nil {
			return 0, false, fmt.Errorf("resources.%s: %w", name, err)
		}
		where = "resources." + name
	}
	if q == nil {
		return 0, false, nil
	}
	v, err = wholeOf(q, most)
	if err != nil {
		return 0, false, fmt.Errorf("%s: %w", where, err)
	}
	return v, true, nil
}

// customResources are those that Ray knows nothing about: from the group's
// resources, which then are the only source, or from the JSON text in the start
// parameters.
func (g *groupSpec) customResources() (planner.Resources, error) {
	out := planner.Resources{}
	if len(g.Resources) == 0 {
		return out, g.startResources(out)
	}
	for _, name := range slices.Sorted(maps.Keys(g.Resources)) {
		switch name {
		case planner.ResourceCPU, planner.ResourceGPU, planner.ResourceMemory, resourceTPU:
			continue
		}
		q, err := parseQuantity(g.Resources[name])
		if err == nil {
			err = checkCustom(name)
		}
		var v int64
		if err == nil {
			v, err = wholeOf(q, kube.MaxAmount/planner.Unit)
		}
		if err != nil {
			return nil, fmt.Errorf("resources.%s: %w", clip(name, 80), err)
		}
		if v > 0 {
			out[name] = v * planner.Unit
		}
	}
	return out, nil
}

// startResources reads rayStartParams.resources: a JSON object, most often
// wrapped in one more pair of quotes with backslashes, for the shell.
func (g *groupSpec) startResources(out planner.Resources) error {
	text, set := g.RayStartParams["resources"]
	if !set {
		return nil
	}
	const where = "rayStartParams.resources"
	if t := strings.TrimSpace(text); len(t) >= 2 && (t[0] == '"' || t[0] == '\'') && t[len(t)-1] == t[0] {
		text = t[1 : len(t)-1]
	}
	var amounts map[string]float64
	if err := json.Unmarshal([]byte(strings.ReplaceAll(text, `\`, "")), &amounts); err != nil {
		return fmt.Errorf("%s is no JSON object of numbers: %w", where, err)
	}
	for _, name := range slices.Sorted(maps.Keys(amounts)) {
		if err := checkCustom(name); err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
		v, err := amount(name, amounts[name], down)
		if err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
		if v > 0 || name == resourceTPU {
			out[name] = v
		}
	}
	return nil
}

// checkCustom refuses names that Ray refuses for a custom resource, or that mean
// something else.
func checkCustom(name string) error {
	switch {
	case !validName(name) || kindOfName(name) != nameOrdinary:
		return fmt.Errorf("%q is no name for a custom resource", clip(name, 80))
	case name == planner.ResourceCPU || name == planner.ResourceGPU || name == planner.ResourceMemory || name == resourceObjectStoreMemory:
		return fmt.Errorf("%s is no custom resource: it has a start parameter of its own", name)
	}
	return nil
}

// quantityOf is the limit, or else the request.
func quantityOf(r corev1.ResourceRequirements, name corev1.ResourceName) *resource.Quantity {
	for _, list := range []corev1.ResourceList{r.Limits, r.Requests} {
		if q, set := list[name]; set {
			return &q
		}
	}
	return nil
}

// gpuOf is the first amount above zero of a resource whose name ends in "gpu".
func gpuOf(r corev1.ResourceRequirements) *resource.Quantity {
	for _, list := range []corev1.ResourceList{r.Limits, r.Requests} {
		for _, name := range slices.Sorted(maps.Keys(list)) {
			if q := list[name]; strings.HasSuffix(string(name), "gpu") && !q.IsZero() {
				return &q
			}
		}
	}
	return nil
}

func parseQuantity(s string) (*resource.Quantity, error) {
	q, err := resource.ParseQuantity(s)
	if err != nil {
		return nil, fmt.Errorf("%q is no quantity", clip(s, 40))
	}
	return &q, nil
}

// wholeOf rounds up to an integer.
func wholeOf(q *resource.Quantity, most int64) (int64, error) {
	if q.Sign() < 0 || q.CmpInt64(most) > 0 {
		return 0, fmt.Errorf("%s is not between 0 and %d", clip(q.String(), 40), most)
	}
	return q.Value(), nil
}

func valueOr(p *int64, otherwise int64) int64 {
	if p == nil {
		return otherwise
	}
	return *p
}
