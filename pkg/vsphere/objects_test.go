package vsphere

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

func object(version, kind, namespace, name string, fields map[string]any) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: fields}
	u.SetAPIVersion(groupVMOperator + "/" + version)
	u.SetKind(kind)
	u.SetNamespace(namespace)
	u.SetName(name)
	return u
}

func vmClass(version, namespace, name string, spec map[string]any) *unstructured.Unstructured {
	return object(version, "VirtualMachineClass", namespace, name, map[string]any{"spec": spec})
}

func sized(cpus int64, memory string, devices map[string]any) map[string]any {
	h := map[string]any{"cpus": cpus, "memory": memory}
	if devices != nil {
		h["devices"] = devices
	}
	return map[string]any{"hardware": h}
}

// supervisor is a fake API server that serves the kinds in one version.
func supervisor(version string, scope meta.RESTScope, kinds []string, list ...client.Object) (client.WithWatch, meta.RESTMapper) {
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{{Group: groupVMOperator, Version: version}})
	scheme := runtime.NewScheme()
	for _, kind := range kinds {
		gvk := schema.GroupVersionKind{Group: groupVMOperator, Version: version, Kind: kind}
		if kind == "VirtualMachineClass" {
			mapper.Add(gvk, scope)
		} else {
			mapper.Add(gvk, meta.RESTScopeNamespace)
		}
		scheme.AddKnownTypeWithName(gvk, &unstructured.Unstructured{})
		scheme.AddKnownTypeWithName(gvk.GroupVersion().WithKind(kind+"List"), &unstructured.UnstructuredList{})
	}
	return fake.NewClientBuilder().WithScheme(scheme).WithRESTMapper(mapper).WithObjects(list...).Build(), mapper
}

func TestClassObjects(t *testing.T) {
	t.Parallel()
	device := func(backing map[string]any) any {
		return map[string]any{"operation": "add", "device": map[string]any{"_typeName": "VirtualPCIPassthrough", "backing": backing}}
	}
	vgpu := device(map[string]any{"_typeName": "VirtualPCIPassthroughVmiopBackingInfo", "vgpu": "grid_a100-40c"})
	direct := device(map[string]any{"_typeName": "VirtualPCIPassthroughDynamicBackingInfo", "customLabel": "h100", "allowedDevice": []any{map[string]any{"vendorId": int64(4318), "deviceId": int64(9008)}}})
	withSpec := sized(8, "32Gi", map[string]any{"vgpuDevices": []any{map[string]any{"profileName": "ignored"}}})
	withSpec["configSpec"] = map[string]any{"_typeName": "VirtualMachineConfigSpec", "deviceChange": []any{vgpu, vgpu, direct}}
	reader, mapper := supervisor("v1alpha5", meta.RESTScopeNamespace, []string{"VirtualMachineClass"},
		vmClass("v1alpha5", "pools", "small", sized(2, "4Gi", nil)),
		vmClass("v1alpha5", "pools", "spec", withSpec),
		vmClass("v1alpha5", "pools", "hardware", sized(4, "8Gi", map[string]any{
			"vgpuDevices":                []any{map[string]any{"profileName": "grid_t4-16c"}},
			"dynamicDirectPathIODevices": []any{map[string]any{"vendorID": int64(4318), "deviceID": int64(7864)}, map[string]any{"vendorID": int64(5555), "deviceID": int64(1)}},
		})),
		vmClass("v1alpha5", "pools", "odd", sized(2, "lots", nil)),
		vmClass("v1alpha5", "pools", "huge", sized(2, "1e30", nil)),
		vmClass("v1alpha5", "other", "elsewhere", sized(2, "4Gi", nil)),
	)
	got, err := (&objects{reader, mapper, "pools"}).read(t.Context())
	require.NoError(t, err)
	assert.Len(t, got, 5, "those of another namespace are none of ours")
	assert.Equal(t, hardware{cpus: 2, memoryBytes: 4 * gib}, got["small"])
	assert.Equal(t, hardware{cpus: 8, memoryBytes: 32 * gib, gpus: gpus{"grid_a100-40c", "grid_a100-40c", "h100"}}, got["spec"])
	assert.Equal(t, hardware{cpus: 4, memoryBytes: 8 * gib, gpus: gpus{"grid_t4-16c", "10de:1eb8"}}, got["hardware"])
	assert.Contains(t, got["odd"].problem, "reading its spec")
	assert.NotEmpty(t, got["huge"].class("huge").Invalid)
}

// TestOldSupervisor: classes of the whole cluster, bound to namespaces.
// Fault 50: a class that is not bound to the namespace cannot be used.
func TestOldSupervisor(t *testing.T) {
	t.Parallel()
	reader, mapper := supervisor("v1alpha1", meta.RESTScopeRoot, []string{"VirtualMachineClass", "VirtualMachineClassBinding"},
		vmClass("v1alpha1", "", "bound", sized(2, "4Gi", nil)),
		vmClass("v1alpha1", "", "unbound", sized(2, "4Gi", nil)),
		object("v1alpha1", "VirtualMachineClassBinding", "pools", "x", map[string]any{"classRef": map[string]any{"name": "bound"}}),
		object("v1alpha1", "VirtualMachineClassBinding", "other", "y", map[string]any{"classRef": map[string]any{"name": "unbound"}}),
	)
	got, err := (&objects{reader, mapper, "pools"}).read(t.Context())
	require.NoError(t, err)
	assert.Empty(t, got["bound"].problem)
	assert.Contains(t, got["unbound"].problem, "no VirtualMachineClassBinding in namespace pools names it")

	reader, mapper = supervisor("v1alpha3", meta.RESTScopeRoot, []string{"VirtualMachineClass"}, vmClass("v1alpha3", "", "all", sized(2, "4Gi", nil)))
	got, err = (&objects{reader, mapper, "pools"}).read(t.Context())
	require.NoError(t, err)
	assert.Empty(t, got["all"].problem)
}

func TestObjectsCannotBeRead(t *testing.T) {
	t.Parallel()
	_, mapper := supervisor("v1alpha5", meta.RESTScopeNamespace, nil)
	_, err := (&objects{nil, mapper, "pools"}).read(t.Context())
	require.ErrorAs(t, err, &errNoKind{})

	reader, mapper := supervisor("v1alpha5", meta.RESTScopeNamespace, []string{"VirtualMachineClass"})
	broken := interceptor.NewClient(reader, interceptor.Funcs{
		List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
			return errors.New("forbidden")
		},
	})
	_, err = (&objects{broken, mapper, "pools"}).read(t.Context())
	require.EqualError(t, err, "listing VirtualMachineClass: forbidden")
}
