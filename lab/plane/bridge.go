package plane

import (
	"context"
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	infrav1 "sigs.k8s.io/cluster-api/test/infrastructure/docker/api/v1beta2"
	cloudv1 "sigs.k8s.io/cluster-api/test/infrastructure/inmemory/pkg/cloud/api/v1alpha1"
	inmemoryclient "sigs.k8s.io/cluster-api/test/infrastructure/inmemory/pkg/runtime/client"
	inmemorymanager "sigs.k8s.io/cluster-api/test/infrastructure/inmemory/pkg/runtime/manager"
	inmemoryrg "sigs.k8s.io/cluster-api/test/infrastructure/inmemory/pkg/runtime/resourcegroup"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// classAnnotation names the VM class of a DevMachine, which has no field for
// it.
const classAnnotation = "tandem-autoscaler.io/vm-class"

// gpuResource is what NVIDIA's device plugin calls its devices.
const gpuResource = "nvidia.com/gpu"

// bridge is the cloud of Cluster API's in-memory provider, except that Nodes
// live in the real workload API server and that VMs need a host with room.
type bridge struct {
	inmemorymanager.Manager
	plane      *Plane
	management client.Client
}

// GetResourceGroup wraps the group "NAMESPACE/CLUSTER".
func (b *bridge) GetResourceGroup(name string) inmemoryrg.ResourceGroup {
	return bridgeGroup{bridge: b, name: name, inner: b.Manager.GetResourceGroup(name)}
}

type bridgeGroup struct {
	bridge *bridge
	name   string
	inner  inmemoryrg.ResourceGroup
}

// GetClient wraps the client of the group.
func (g bridgeGroup) GetClient() inmemoryclient.Client {
	ns, _, _ := strings.Cut(g.name, "/")
	return bridgeClient{Client: g.inner.GetClient(), bridge: g.bridge, namespace: ns}
}

type bridgeClient struct {
	inmemoryclient.Client
	bridge    *bridge
	namespace string
}

// Get reads Nodes from the workload API server.
func (c bridgeClient) Get(ctx context.Context, key client.ObjectKey, obj client.Object) error {
	if n, ok := obj.(*corev1.Node); ok {
		return c.bridge.plane.workload.Get(ctx, key, n)
	}
	return c.Client.Get(ctx, key, obj)
}

// Create places a VM on a host, or creates a Node in the workload API server.
func (c bridgeClient) Create(ctx context.Context, obj client.Object) error {
	switch o := obj.(type) {
	case *cloudv1.CloudMachine:
		class, _, err := c.machine(ctx, o.Name)
		if err != nil {
			return c.bridge.plane.vms.refuse(o.Name, err)
		}
		if err := c.bridge.plane.vms.create(o.Name, class); err != nil {
			return err
		}
	case *corev1.Node:
		return c.createNode(ctx, o)
	}
	return c.Client.Create(ctx, obj)
}

// Delete frees the VM's room, or deletes the Node.
func (c bridgeClient) Delete(ctx context.Context, obj client.Object) error {
	switch o := obj.(type) {
	case *cloudv1.CloudMachine:
		c.bridge.plane.vms.delete(o.Name)
	case *corev1.Node:
		return c.bridge.plane.workload.Delete(ctx, o)
	}
	return c.Client.Delete(ctx, obj)
}

// machine finds the class and the pool of a DevMachine. Machines that belong to
// no pool of the lab have the zero one.
func (c bridgeClient) machine(ctx context.Context, name string) (Class, Pool, error) {
	m := &infrav1.DevMachine{}
	if err := c.bridge.management.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: name}, m); err != nil {
		return Class{}, Pool{}, fmt.Errorf("reading DevMachine %s: %w", name, err)
	}
	class, err := c.bridge.plane.class(m.Annotations[classAnnotation])
	if err != nil {
		return Class{}, Pool{}, err
	}
	return class, c.bridge.plane.pool(m.Labels[clusterv1.MachineDeploymentNameLabel]), nil
}

// createNode creates the Node with its whole status in one call, as a kubelet
// registers: a second call would race with the Machine controller's labels,
// and the provider never repeats it.
func (c bridgeClient) createNode(ctx context.Context, bare *corev1.Node) error {
	class, pool, err := c.machine(ctx, bare.Name)
	if err != nil {
		return err
	}
	if c.bridge.plane.vms.stuck(bare.Name) {
		return nil // Powered on, but it never joins.
	}
	return c.bridge.plane.workload.Create(ctx, newNode(bare, class, pool))
}

// newNode is the Node that a VM of the class registers.
func newNode(bare *corev1.Node, class Class, pool Pool) *corev1.Node {
	n := bare.DeepCopy()
	n.Labels = map[string]string{
		corev1.LabelHostname:           n.Name,
		corev1.LabelInstanceTypeStable: class.Name,
		corev1.LabelArchStable:         "amd64",
		corev1.LabelOSStable:           "linux",
		corev1.LabelTopologyZone:       "lab-zone-1",
		corev1.LabelTopologyRegion:     "lab",
	}
	has := corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewQuantity(class.CPU, resource.DecimalSI),
		corev1.ResourceMemory: class.Memory.DeepCopy(),
		corev1.ResourcePods:   *resource.NewQuantity(110, resource.DecimalSI),
	}
	if class.GPU > 0 {
		has[gpuResource] = *resource.NewQuantity(class.GPU, resource.DecimalSI)
		if class.GPUType != "" {
			n.Labels[gpuResource+".product"] = class.GPUType
		}
	}
	maps.Copy(n.Labels, pool.Labels)
	n.Spec.Taints = append(n.Spec.Taints, pool.Taints...)
	// The Machine controller takes it away when it has set its labels.
	n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: clusterv1.NodeUninitializedTaint.Key, Effect: clusterv1.NodeUninitializedTaint.Effect})
	n.Status.Capacity, n.Status.Allocatable = has, has.DeepCopy()
	for i := range n.Status.Conditions {
		n.Status.Conditions[i].LastHeartbeatTime = metav1.Now()
	}
	return n
}
