package plane

import (
	"context"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// createClasses creates one VirtualMachineClass object per class, as a
// Supervisor has them in the namespaces that may use them.
func (p *Plane) createClasses(ctx context.Context) error {
	for _, c := range p.options.Classes {
		if err := p.create(ctx, virtualMachineClass(c)); err != nil {
			return err
		}
	}
	return nil
}

func virtualMachineClass(c Class) *unstructured.Unstructured {
	hardware := map[string]any{"cpus": c.CPU, "memory": c.Memory.String()}
	devices := make([]any, 0, c.GPU)
	for range c.GPU {
		d := map[string]any{"vendorID": int64(pciVendor), "deviceID": int64(pciDevice)}
		if c.GPUType != "" {
			d["customLabel"] = c.GPUType
		}
		devices = append(devices, d)
	}
	if len(devices) > 0 {
		hardware["devices"] = map[string]any{"dynamicDirectPathIODevices": devices}
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "vmoperator.vmware.com/v1alpha5", "kind": "VirtualMachineClass",
		"metadata": map[string]any{"namespace": namespace, "name": c.Name},
		"spec":     map[string]any{"hardware": hardware},
	}}
}
