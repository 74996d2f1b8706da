package plane

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	infrav1 "sigs.k8s.io/cluster-api/test/infrastructure/docker/api/v1beta2"
)

// Annotations that users of the Cluster Autoscaler have on their
// MachineDeployments (kubernetes/autoscaler:
// cluster-autoscaler/cloudprovider/clusterapi/clusterapi_utils.go).
const (
	annotationMin    = clusterv1.AutoscalerMinSizeAnnotation
	annotationMax    = clusterv1.AutoscalerMaxSizeAnnotation
	annotationLabels = "capacity.cluster-autoscaler.kubernetes.io/labels"
	annotationTaints = "capacity.cluster-autoscaler.kubernetes.io/taints"
)

// poolLabel is synchronized to Nodes by Cluster API, because of its domain.
const poolLabel = clusterv1.ManagedNodeLabelDomain + "/pool"

// ErrUnknownClass says that a class is not in the lab's catalogue.
var ErrUnknownClass = errors.New("plane: unknown VM class")

// AddPool creates a MachineDeployment and its machine template, both of the
// pool's name. A pool of fewer replicas than Min is left as it is.
func (p *Plane) AddPool(ctx context.Context, pool Pool) error {
	if _, err := p.class(pool.Class); err != nil {
		return fmt.Errorf("adding pool %q: %w", pool.Name, err)
	}
	p.mu.Lock()
	p.pools[pool.Name] = pool
	p.mu.Unlock()
	if err := p.create(ctx, p.machineTemplate(pool)); err != nil {
		return fmt.Errorf("adding pool %q: %w", pool.Name, err)
	}
	if err := p.create(ctx, machineDeployment(pool)); err != nil {
		return fmt.Errorf("adding pool %q: %w", pool.Name, err)
	}
	return nil
}

func (p *Plane) class(name string) (Class, error) {
	i := slices.IndexFunc(p.options.Classes, func(c Class) bool { return c.Name == name })
	if i < 0 {
		return Class{}, fmt.Errorf("%w: %q", ErrUnknownClass, name)
	}
	return p.options.Classes[i], nil
}

func (p *Plane) pool(name string) Pool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pools[name]
}

func (p *Plane) machineTemplate(pool Pool) *infrav1.DevMachineTemplate {
	boot := p.options.VM.Boot
	if pool.Boot != nil {
		boot = *pool.Boot
	}
	in := func(d metav1.Duration) infrav1.CommonProvisioningSettings {
		return infrav1.CommonProvisioningSettings{StartupDuration: d, StartupJitter: p.options.VM.Jitter}
	}
	return &infrav1.DevMachineTemplate{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: pool.Name},
		Spec: infrav1.DevMachineTemplateSpec{Template: infrav1.DevMachineTemplateResource{
			ObjectMeta: clusterv1.ObjectMeta{Annotations: map[string]string{classAnnotation: pool.Class}},
			Spec: infrav1.DevMachineSpec{Backend: infrav1.DevMachineBackendSpec{InMemory: &infrav1.InMemoryMachineBackendSpec{
				VM: &infrav1.InMemoryVMSpec{Provisioning: in(boot)}, Node: &infrav1.InMemoryNodeSpec{Provisioning: in(p.options.VM.Node)},
			}}},
		}},
	}
}

func machineDeployment(pool Pool) *clusterv1.MachineDeployment {
	labels := map[string]string{poolLabel: pool.Name}
	maps.Copy(labels, pool.Labels)
	return &clusterv1.MachineDeployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: pool.Name, Annotations: poolAnnotations(pool)},
		Spec: clusterv1.MachineDeploymentSpec{
			ClusterName: clusterName, Replicas: new(pool.Replicas),
			Template: clusterv1.MachineTemplateSpec{
				ObjectMeta: clusterv1.ObjectMeta{Labels: labels},
				Spec: clusterv1.MachineSpec{
					ClusterName: clusterName, Version: version,
					Bootstrap: clusterv1.Bootstrap{DataSecretName: new(bootstrapSecret)},
					Deletion:  clusterv1.MachineDeletionSpec{NodeDrainTimeoutSeconds: ptr.To[int32](30)},
					InfrastructureRef: clusterv1.ContractVersionedObjectReference{
						APIGroup: infrav1.GroupVersion.Group, Kind: "DevMachineTemplate", Name: pool.Name,
					},
				},
			},
		},
	}
}

// poolAnnotations declares limits, and what a first Node cannot tell before it
// exists: labels and taints. Capacity is left to the VM class.
func poolAnnotations(pool Pool) map[string]string {
	out := map[string]string{}
	if pool.Min != nil {
		out[annotationMin] = strconv.Itoa(int(*pool.Min))
	}
	if pool.Max != nil {
		out[annotationMax] = strconv.Itoa(int(*pool.Max))
	}
	if len(pool.Labels) > 0 {
		kv := make([]string, 0, len(pool.Labels))
		for _, k := range slices.Sorted(maps.Keys(pool.Labels)) {
			kv = append(kv, k+"="+pool.Labels[k])
		}
		out[annotationLabels] = strings.Join(kv, ",")
	}
	if len(pool.Taints) > 0 {
		out[annotationTaints] = taintList(pool.Taints)
	}
	for k, v := range pool.Annotations {
		out[k] = v
		if v == "" {
			delete(out, k)
		}
	}
	return out
}

// taintList is "key=value:effect,...".
func taintList(taints []corev1.Taint) string {
	out := make([]string, 0, len(taints))
	for _, t := range taints {
		out = append(out, fmt.Sprintf("%s=%s:%s", t.Key, t.Value, t.Effect))
	}
	return strings.Join(out, ",")
}
