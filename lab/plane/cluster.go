package plane

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	infrav1 "sigs.k8s.io/cluster-api/test/infrastructure/docker/api/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// controlPlaneKind is a stand-in for a control plane that exists already.
const (
	controlPlaneGroup = "controlplane.cluster.x-k8s.io"
	controlPlaneKind  = "GenericControlPlane"
)

// bootstrapSecret holds the bootstrap data of every Machine. Nothing reads
// them, but Cluster API waits for them.
const bootstrapSecret = clusterName + "-bootstrap"

// createCluster creates the Cluster whose workload API server is the lab's,
// and waits until Cluster API has accepted it.
func (p *Plane) createCluster(ctx context.Context) error {
	kubeconfig, err := p.servers[roleWorkload].kubeconfig("cluster-api", "system:masters")
	if err != nil {
		return err
	}
	meta := metav1.ObjectMeta{Namespace: namespace, Name: clusterName}
	controlPlane := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": controlPlaneGroup + "/v1beta2", "kind": controlPlaneKind,
		"metadata": map[string]any{"namespace": namespace, "name": clusterName},
		"spec":     map[string]any{"version": version},
	}}
	infra := &infrav1.DevCluster{ObjectMeta: meta, Spec: infrav1.DevClusterSpec{
		// Set beforehand, so that the provider keeps to it.
		ControlPlaneEndpoint: infrav1.APIEndpoint{Host: "127.0.0.1", Port: int32(p.servers[roleWorkload].port)}, //nolint:gosec // A port.
		Backend:              infrav1.DevClusterBackendSpec{InMemory: &infrav1.InMemoryClusterBackendSpec{}},
	}}
	// The in-memory provider writes to this map without asking whether there
	// is one (cluster-api/test:
	// infrastructure/docker/internal/controllers/backends/inmemory/inmemorycluster_backend.go).
	infra.Annotations = map[string]string{"tandem-autoscaler.io/lab": "true"}
	for _, o := range []client.Object{
		secret(clusterName+"-kubeconfig", map[string][]byte{"value": kubeconfig}),
		secret(bootstrapSecret, map[string][]byte{"value": []byte("#cloud-config"), "format": []byte("cloud-config")}),
		infra,
		controlPlane,
		&clusterv1.Cluster{ObjectMeta: meta, Spec: clusterv1.ClusterSpec{
			InfrastructureRef: clusterv1.ContractVersionedObjectReference{APIGroup: infrav1.GroupVersion.Group, Kind: "DevCluster", Name: clusterName},
			ControlPlaneRef:   clusterv1.ContractVersionedObjectReference{APIGroup: controlPlaneGroup, Kind: controlPlaneKind, Name: clusterName},
		}},
	} {
		if err := p.create(ctx, o); err != nil {
			return err
		}
	}
	// Without externalManagedControlPlane Cluster API looks for control-plane
	// Machines, finds none, and then skips every drain in silence
	// (core/reconcilers/machine/machine_controller.go, isDeleteNodeAllowed).
	controlPlane.Object["status"] = map[string]any{
		"initialization":              map[string]any{"controlPlaneInitialized": true},
		"externalManagedControlPlane": true, "version": version,
	}
	if err := p.management.Status().Update(ctx, controlPlane); err != nil {
		return fmt.Errorf("initializing the control plane: %w", err)
	}
	return p.awaitCluster(ctx)
}

func (p *Plane) awaitCluster(ctx context.Context) error {
	err := waitFor(ctx, 50*time.Millisecond, func(ctx context.Context) error {
		c := &clusterv1.Cluster{}
		if err := p.management.Get(ctx, client.ObjectKey{Namespace: namespace, Name: clusterName}, c); err != nil {
			return fmt.Errorf("reading it: %w", err)
		}
		i := c.Status.Initialization
		if !ptr.Deref(i.InfrastructureProvisioned, false) || !ptr.Deref(i.ControlPlaneInitialized, false) {
			return fmt.Errorf("it is in phase %q", c.Status.Phase)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("waiting for the Cluster to be provisioned: %w", err)
	}
	return nil
}

// create creates an object of the management cluster. It tries again while
// webhooks and types are still becoming known.
func (p *Plane) create(ctx context.Context, o client.Object) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err := waitFor(ctx, 100*time.Millisecond, func(ctx context.Context) error {
		return client.IgnoreAlreadyExists(p.management.Create(ctx, o))
	})
	if err != nil {
		return fmt.Errorf("creating %T %s: %w", o, o.GetName(), err)
	}
	return nil
}

func secret(name string, data map[string][]byte) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{clusterv1.ClusterNameLabel: clusterName}},
		Type:       clusterv1.ClusterSecretType, Data: data,
	}
}
