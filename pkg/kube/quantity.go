// Package kube translates what every Kubernetes-side adapter reads alike:
// quantities and the shape of a pod, into the planner's integer units. It
// decides nothing and reads no API.
package kube

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// MaxAmount is the largest amount of one resource that adapters let through, in
// the planner's units: 1e12 cores, 1e11 devices, about 900 TiB. No machine is
// that large, and thousands of such amounts still add up within an int64.
const MaxAmount int64 = 1e15

// ResourceNvidiaGPU is the extended resource of the NVIDIA device plugin. It is
// the only one that becomes [planner.ResourceGPU]: kinds of devices that a pod
// asks for by different names must stay apart.
const ResourceNvidiaGPU corev1.ResourceName = "nvidia.com/gpu"

// Name is the planner's name for a Kubernetes resource: cpu is CPU,
// nvidia.com/gpu is GPU, every other name stays as it is.
func Name(name corev1.ResourceName) string {
	switch name { //nolint:exhaustive // The others keep their names.
	case corev1.ResourceCPU:
		return planner.ResourceCPU
	case corev1.ResourceMemory:
		return planner.ResourceMemory
	case ResourceNvidiaGPU:
		return planner.ResourceGPU
	default:
		return string(name)
	}
}

// Resources converts a Kubernetes resource list: cpu to milli-CPU, memory,
// storage and huge pages to bytes, everything else to 1e-4 units. Fractions
// below the unit round up, so that a request is never made smaller. Zero
// amounts are left out. Negative amounts and amounts above [MaxAmount] are left
// out as well and named in the error, which joins one error for each; what is
// well formed is returned beside it.
func Resources(list corev1.ResourceList) (planner.Resources, error) {
	out := make(planner.Resources, len(list))
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(list)) {
		v, err := amount(name, list[name])
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if v > 0 {
			out[Name(name)] = v
		}
	}
	return out, errors.Join(errs...)
}

// amount converts one quantity. It compares before it converts, because the
// conversions of a Quantity wrap around silently.
func amount(name corev1.ResourceName, q resource.Quantity) (int64, error) {
	perOne := planner.Unit
	switch {
	case name == corev1.ResourceCPU:
		perOne = 1000
	case inBytes(name):
		perOne = 1
	}
	if q.Sign() < 0 {
		return 0, fmt.Errorf("%s is %s: amounts must not be negative", name, q.String())
	}
	if q.CmpInt64(MaxAmount/perOne) > 0 {
		return 0, fmt.Errorf("%s is %s: amounts above %d are taken for mistakes", name, q.String(), MaxAmount/perOne)
	}
	switch perOne {
	case 1:
		return q.Value(), nil
	case 1000:
		return q.MilliValue(), nil
	default:
		// Micro is the nearest scale that Quantity offers; 1e-4 is 100 of them.
		micro := q.ScaledValue(resource.Micro)
		return (micro + 99) / 100, nil
	}
}

// inBytes tells which Kubernetes resources are counted in bytes.
func inBytes(name corev1.ResourceName) bool {
	return name == corev1.ResourceMemory || name == corev1.ResourceEphemeralStorage || name == corev1.ResourceStorage ||
		strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}
