package vsphere

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/tandem-autoscaler/tandem/pkg/config"
	"github.com/tandem-autoscaler/tandem/pkg/kube"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// hardware is what one source says about a class.
type hardware struct {
	cpus        int64
	memoryBytes int64
	gpus        gpus
	// reservedBytes is the memory that its VMs lock on their host; with GPUs they
	// lock all.
	reservedBytes int64
	// problem, if not empty, tells why the class cannot be used.
	problem string
}

// The largest VM that vSphere runs is far below these; what is above is a mistake
// and would only overflow.
const (
	mostCPUs        = 1 << 20
	mostMemoryBytes = 1 << 50
	mostGPUs        = 1 << 10
)

// class turns hardware into a class of the catalogue.
func (h hardware) class(name string) planner.VMClass {
	c := planner.VMClass{Name: name, Invalid: h.problem}
	switch {
	case c.Invalid != "":
	case h.cpus <= 0 || h.cpus > mostCPUs:
		c.Invalid = fmt.Sprintf("it has %d CPUs", h.cpus)
	case h.memoryBytes <= 0 || h.memoryBytes > mostMemoryBytes:
		c.Invalid = fmt.Sprintf("it has %d bytes of memory", h.memoryBytes)
	case h.gpus.count() > mostGPUs:
		c.Invalid = fmt.Sprintf("it has %d GPUs", h.gpus.count())
	}
	if c.Invalid != "" {
		return c
	}
	c.Capacity = planner.Resources{planner.ResourceCPU: h.cpus * 1000, planner.ResourceMemory: h.memoryBytes}
	if n := h.gpus.count(); n > 0 {
		c.Capacity[planner.ResourceGPU] = n * planner.Unit
		c.GPUType = h.gpus.kind()
		c.Devices = c.GPUType
	} else {
		c.ReservedMemory = min(max(0, h.reservedBytes), h.memoryBytes)
	}
	return c
}

// merge builds the catalogue. Sources come in order of trust: the first that
// knows a class decides on its size. The configuration comes last for the size
// and alone decides on the price.
func merge(configured []config.Class, sources ...map[string]hardware) []planner.VMClass {
	byName := map[string]planner.VMClass{}
	for _, source := range sources {
		for name, h := range source {
			if _, ok := byName[name]; !ok {
				byName[name] = h.class(name)
			}
		}
	}
	for i := range configured {
		entry := &configured[i]
		c, known := byName[entry.Name]
		if !known {
			c = configuredClass(entry)
		}
		if err := price(entry, &c); err != nil && c.Invalid == "" {
			c.Invalid = err.Error()
		}
		byName[entry.Name] = c
	}
	out := make([]planner.VMClass, 0, len(byName))
	for _, c := range byName {
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b planner.VMClass) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// price fills in what the configuration says about a class beside its size.
func price(entry *config.Class, c *planner.VMClass) error {
	if entry.GPUType != "" {
		c.GPUType = entry.GPUType
	}
	if entry.Price == "" {
		return nil
	}
	micro, err := config.ParsePrice(entry.Price)
	if err != nil {
		return fmt.Errorf("its configured price %q: %w", entry.Price, err)
	}
	c.Price = micro
	return nil
}

// configuredClass is a class that only the configuration knows.
func configuredClass(entry *config.Class) planner.VMClass {
	c := planner.VMClass{Name: entry.Name}
	if entry.CPU == "" && entry.Memory == "" && entry.GPU == "" {
		c.Invalid = "no source has it, and the configuration does not give its cpu and memory"
		return c
	}
	list := corev1.ResourceList{}
	errs := make([]error, 0, 3)
	for _, f := range []struct {
		field, value string
		name         corev1.ResourceName
	}{{"cpu", entry.CPU, corev1.ResourceCPU}, {"memory", entry.Memory, corev1.ResourceMemory}, {"gpu", entry.GPU, kube.ResourceNvidiaGPU}} {
		if f.value == "" {
			continue
		}
		q, err := resource.ParseQuantity(f.value)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("its configured %s %q is no quantity", f.field, f.value))
		case f.field == "gpu" && q.CmpInt64(q.Value()) != 0:
			errs = append(errs, fmt.Errorf("its configured gpu %q is no whole number", f.value))
		default:
			list[f.name] = q
		}
	}
	capacity, err := kube.Resources(list)
	if err != nil {
		errs = append(errs, err)
	}
	if len(errs) == 0 && (capacity[planner.ResourceCPU] == 0 || capacity[planner.ResourceMemory] == 0) {
		errs = append(errs, errors.New("the configuration must give both its cpu and its memory"))
	}
	if err := errors.Join(errs...); err != nil {
		c.Invalid = strings.ReplaceAll(err.Error(), "\n", "; ")
		return c
	}
	c.Capacity = capacity
	return c
}
