package capi

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	"github.com/tandem-autoscaler/tandem/pkg/kube"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// limits are the size annotations of a MachineDeployment.
type limits struct {
	managed  bool // both are there
	min, max int64
}

// readLimits reads the size annotations. A MachineDeployment with only one of
// them is not managed.
func readLimits(annotations map[string]string) (limits, error) {
	low, hasLow := annotations[clusterv1.AutoscalerMinSizeAnnotation]
	high, hasHigh := annotations[clusterv1.AutoscalerMaxSizeAnnotation]
	if !hasLow || !hasHigh {
		return limits{}, nil
	}
	l := limits{managed: true}
	var err error
	if l.min, err = readSize(clusterv1.AutoscalerMinSizeAnnotation, low); err != nil {
		return limits{managed: true}, err
	}
	if l.max, err = readSize(clusterv1.AutoscalerMaxSizeAnnotation, high); err != nil {
		return limits{managed: true}, err
	}
	if l.min > l.max {
		return l, fmt.Errorf("the minimum size %d is above the maximum size %d", l.min, l.max)
	}
	return l, nil
}

func readSize(name, value string) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
	switch {
	case err != nil:
		return 0, fmt.Errorf("annotation %s is %s, which is no whole number", name, quote(value))
	case n < 0:
		return 0, fmt.Errorf("annotation %s is %d: a size must not be negative", name, n)
	case n > math.MaxInt32:
		return 0, fmt.Errorf("annotation %s is %d: replicas end at %d", name, n, math.MaxInt32)
	}
	return n, nil
}

// readPriority reads our priority of a MachineDeployment.
func readPriority(annotations map[string]string) (int64, error) {
	value, ok := annotations[PriorityAnnotation]
	if !ok {
		return 0, nil
	}
	n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 32)
	if err != nil {
		return 0, fmt.Errorf("annotation %s is %s, which is no whole number of 32 bits: it counts as 0", PriorityAnnotation, quote(value))
	}
	return n, nil
}

// hints are the capacity annotations of a MachineDeployment.
type hints struct {
	// capacity holds what is annotated. complete tells that it has both cpu and
	// memory, so that it describes a whole node; without them the rest only
	// completes what the VM class says.
	capacity planner.Resources
	complete bool
	labels   map[string]string
	taints   []planner.Taint
}

// readHints reads the capacity annotations. What is well formed is returned
// beside the error.
func readHints(annotations map[string]string) (hints, error) {
	var h hints
	list, errs := readAmounts(annotations)
	capacity, err := kube.Resources(list)
	if err != nil {
		errs = append(errs, fmt.Errorf("reading the capacity annotations: %w", err))
	}
	h.capacity = capacity
	cpu, memory := capacity[planner.ResourceCPU] > 0, capacity[planner.ResourceMemory] > 0
	h.complete = cpu && memory
	if cpu != memory {
		errs = append(errs, fmt.Errorf("annotations %s and %s are needed together", annotationCPU, annotationMemory))
	}
	if h.labels, err = readLabels(annotations[annotationLabels]); err != nil {
		errs = append(errs, fmt.Errorf("reading annotation %s: %w", annotationLabels, err))
	}
	if h.taints, err = readTaints(annotations[annotationTaints]); err != nil {
		errs = append(errs, fmt.Errorf("reading annotation %s: %w", annotationTaints, err))
	}
	return h, errors.Join(errs...)
}

// readAmounts reads the annotations that are quantities.
func readAmounts(annotations map[string]string) (corev1.ResourceList, []error) {
	gpu := kube.ResourceNvidiaGPU
	if t := annotations[annotationGPUType]; t != "" {
		gpu = corev1.ResourceName(t)
	}
	names := map[string]corev1.ResourceName{
		annotationCPU:      corev1.ResourceCPU,
		annotationMemory:   corev1.ResourceMemory,
		annotationDisk:     corev1.ResourceEphemeralStorage,
		annotationMaxPods:  corev1.ResourcePods,
		annotationGPUCount: gpu,
	}
	list, errs := corev1.ResourceList{}, []error(nil)
	for _, annotation := range slices.Sorted(maps.Keys(names)) {
		value, ok := annotations[annotation]
		if !ok {
			continue
		}
		q, err := resource.ParseQuantity(strings.TrimSpace(value))
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("annotation %s is %s, which is no quantity", annotation, quote(value)))
		case annotation == annotationGPUCount && q.CmpInt64(q.Value()) != 0:
			errs = append(errs, fmt.Errorf("annotation %s is %s: devices are whole", annotation, quote(value)))
		default:
			list[names[annotation]] = q
		}
	}
	return list, errs
}

// readLabels reads "key=value,key=value".
func readLabels(s string) (map[string]string, error) {
	out := map[string]string{}
	var errs []error
	for _, part := range split(s) {
		key, value, ok := strings.Cut(part, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if !ok || len(validation.IsQualifiedName(key)) > 0 || len(validation.IsValidLabelValue(value)) > 0 {
			errs = append(errs, fmt.Errorf("%s is no key=value of a label", quote(part)))
			continue
		}
		out[key] = value
	}
	return out, errors.Join(errs...)
}

// readTaints reads "key=value:Effect,key:Effect".
func readTaints(s string) ([]planner.Taint, error) {
	var out []planner.Taint
	var errs []error
	for _, part := range split(s) {
		head, effect, _ := strings.Cut(part, ":")
		key, value, _ := strings.Cut(head, "=")
		t := planner.Taint{Key: strings.TrimSpace(key), Value: strings.TrimSpace(value), Effect: strings.TrimSpace(effect)}
		if len(validation.IsQualifiedName(t.Key)) > 0 || len(validation.IsValidLabelValue(t.Value)) > 0 || !validEffect(t.Effect) {
			errs = append(errs, fmt.Errorf("%s is no key=value:Effect of a taint", quote(part)))
			continue
		}
		out = append(out, t)
	}
	return out, errors.Join(errs...)
}

func validEffect(effect string) bool {
	switch corev1.TaintEffect(effect) {
	case corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute:
		return true
	default:
		return false
	}
}

// split cuts a list at its commas and drops empty parts.
func split(s string) []string {
	return slices.DeleteFunc(strings.Split(s, ","), func(part string) bool { return strings.TrimSpace(part) == "" })
}

// quote shows a foreign string in a message: escaped, and cut before it can
// flood a log.
func quote(s string) string {
	const most = 100
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strconv.Quote(s)
}
