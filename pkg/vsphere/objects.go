package vsphere

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const groupVMOperator = "vmoperator.vmware.com"

// objects reads VirtualMachineClass objects in whichever version is served
// (vmware-tanzu/vm-operator: api/v1alpha6/virtualmachineclass_types.go).
type objects struct {
	reader    client.Reader
	mapper    meta.RESTMapper
	namespace string
}

// errNoKind says that the API server does not serve a kind: not a trouble, but a
// cluster without a Supervisor.
type errNoKind struct{ error }

// read lists the classes that the namespace may use; the others are listed with
// the problem.
//
// Old Supervisors have classes for the whole cluster, and a namespace may use
// those that a VirtualMachineClassBinding in it names. New ones copy the class
// itself into every namespace that may use it.
func (o *objects) read(ctx context.Context) (map[string]hardware, error) {
	mapping, err := o.mapping("VirtualMachineClass")
	if err != nil {
		return nil, err
	}
	var in []client.ListOption
	namespaced := mapping.Scope.Name() == meta.RESTScopeNameNamespace
	if namespaced {
		in = append(in, client.InNamespace(o.namespace))
	}
	list, err := o.list(ctx, mapping, in...)
	if err != nil {
		return nil, err
	}
	out := make(map[string]hardware, len(list.Items))
	for i := range list.Items {
		out[list.Items[i].GetName()] = parseObject(&list.Items[i])
	}
	if namespaced {
		return out, nil
	}
	return out, o.unbind(ctx, out)
}

// unbind marks the classes that no binding in the namespace names.
func (o *objects) unbind(ctx context.Context, classes map[string]hardware) error {
	mapping, err := o.mapping("VirtualMachineClassBinding")
	if err != nil {
		if _, none := errors.AsType[errNoKind](err); none {
			return nil
		}
		return err
	}
	bindings, err := o.list(ctx, mapping, client.InNamespace(o.namespace))
	if err != nil {
		return err
	}
	bound := map[string]bool{}
	for i := range bindings.Items {
		name, _, _ := unstructured.NestedString(bindings.Items[i].Object, "classRef", "name")
		bound[name] = true
	}
	for name, h := range classes {
		if !bound[name] {
			h.problem = "no VirtualMachineClassBinding in namespace " + o.namespace + " names it"
			classes[name] = h
		}
	}
	return nil
}

func (o *objects) mapping(kind string) (*meta.RESTMapping, error) {
	mapping, err := o.mapper.RESTMapping(schema.GroupKind{Group: groupVMOperator, Kind: kind})
	if meta.IsNoMatchError(err) {
		return nil, errNoKind{err}
	}
	if err != nil {
		return nil, fmt.Errorf("finding the served version of %s: %w", kind, err)
	}
	return mapping, nil
}

func (o *objects) list(ctx context.Context, mapping *meta.RESTMapping, opts ...client.ListOption) (*unstructured.UnstructuredList, error) {
	list := &unstructured.UnstructuredList{}
	gvk := mapping.GroupVersionKind
	list.SetGroupVersionKind(schema.GroupVersionKind{Group: gvk.Group, Version: gvk.Version, Kind: gvk.Kind + "List"})
	if err := o.reader.List(ctx, list, opts...); err != nil {
		return nil, fmt.Errorf("listing %s: %w", gvk.Kind, err)
	}
	return list, nil
}

// objectClass is the part of a VirtualMachineClass that is read.
type objectClass struct {
	Hardware struct {
		CPUs    int64             `json:"cpus"`
		Memory  resource.Quantity `json:"memory"`
		Devices struct {
			VGPU []struct {
				Profile string `json:"profileName"`
			} `json:"vgpuDevices"`
			DirectPath []struct {
				Vendor int64  `json:"vendorID"`
				Device int64  `json:"deviceID"`
				Label  string `json:"customLabel"`
			} `json:"dynamicDirectPathIODevices"`
		} `json:"devices"`
	} `json:"hardware"`
	Policies struct {
		Resources struct {
			Requests struct {
				Memory resource.Quantity `json:"memory"`
			} `json:"requests"`
		} `json:"resources"`
	} `json:"policies"`
	ConfigSpec json.RawMessage `json:"configSpec"`
}

func parseObject(u *unstructured.Unstructured) hardware {
	raw, err := json.Marshal(u.Object["spec"])
	if err != nil {
		return hardware{problem: fmt.Sprintf("reading its spec: %v", err)}
	}
	var spec objectClass
	if err := json.Unmarshal(raw, &spec); err != nil {
		return hardware{problem: fmt.Sprintf("reading its spec: %v", err)}
	}
	h := hardware{cpus: spec.Hardware.CPUs, memoryBytes: wholeBytes(spec.Hardware.Memory)}
	devices, reserved, present, err := devicesOfSpec(spec.ConfigSpec)
	if err != nil {
		h.problem = err.Error()
	}
	h.reserve(reserved, wholeBytes(spec.Policies.Resources.Requests.Memory))
	if present {
		h.gpus = devices
		return h
	}
	for _, d := range spec.Hardware.Devices.VGPU {
		h.gpus = append(h.gpus, d.Profile)
	}
	for _, d := range spec.Hardware.Devices.DirectPath {
		if kind, ok := directPath(d.Vendor, d.Device, d.Label); ok {
			h.gpus = append(h.gpus, kind)
		}
	}
	return h
}

// reserve notes the larger of what a config spec and what a class reserve of the
// memory; -1 stands for all in a config spec, and for nonsense in a class.
func (h *hardware) reserve(spec, class int64) {
	h.reservedBytes = max(spec, class)
	if spec < 0 {
		h.reservedBytes = h.memoryBytes
	}
}

// wholeBytes is the quantity in bytes, or -1 if it is out of range.
func wholeBytes(q resource.Quantity) int64 {
	if q.Sign() < 0 || q.CmpInt64(mostMemoryBytes) > 0 {
		return -1
	}
	return q.Value()
}
