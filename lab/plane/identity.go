package plane

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The coordinator's service account.
const (
	coordinatorNamespace = "tandem-system"
	coordinatorAccount   = "tandem-coordinator"
)

// Identity applies the coordinator's RBAC objects to both API servers and
// returns the paths of kubeconfigs with exactly its rights: client
// certificates in the name of its service account. Namespaced objects without
// a namespace go to [Plane.Namespace] of the management cluster and to
// tandem-system of the workload cluster.
func (p *Plane) Identity(ctx context.Context) (management, workload string, err error) {
	user := "system:serviceaccount:" + coordinatorNamespace + ":" + coordinatorAccount
	groups := []string{"system:serviceaccounts", "system:serviceaccounts:" + coordinatorNamespace, "system:authenticated"}
	paths := map[string]string{}
	for role, target := range map[string]struct {
		client    client.Client
		namespace string
	}{
		roleManagement: {p.management, namespace},
		roleWorkload:   {p.workload, coordinatorNamespace},
	} {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: coordinatorNamespace}}
		if err := client.IgnoreAlreadyExists(target.client.Create(ctx, ns)); err != nil {
			return "", "", fmt.Errorf("creating namespace %s: %w", coordinatorNamespace, err)
		}
		pattern := filepath.Join(p.options.RepoRoot, "deploy", "kustomize", "rbac-"+role, "*.yaml")
		if err := apply(ctx, target.client, pattern, target.namespace); err != nil {
			return "", "", err
		}
		b, err := p.servers[role].kubeconfig(user, groups...)
		if err != nil {
			return "", "", err
		}
		paths[role] = p.path("coordinator-" + role + ".kubeconfig")
		if err := os.WriteFile(paths[role], b, 0o600); err != nil {
			return "", "", fmt.Errorf("writing the coordinator's kubeconfig: %w", err)
		}
	}
	return paths[roleManagement], paths[roleWorkload], nil
}

// apply creates or replaces the objects of the files, except those that are
// instructions for kustomize.
func apply(ctx context.Context, c client.Client, pattern, namespace string) error {
	objects, err := readObjects(pattern)
	if err != nil {
		return err
	}
	for _, o := range objects {
		if o.GroupVersionKind().Group == "kustomize.config.k8s.io" || o.GetKind() == "Kustomization" {
			continue
		}
		namespaced, err := c.IsObjectNamespaced(o)
		if err != nil {
			return fmt.Errorf("looking up %s: %w", o.GroupVersionKind(), err)
		}
		if namespaced && o.GetNamespace() == "" {
			o.SetNamespace(namespace)
		}
		if err := createOrUpdate(ctx, c, o); err != nil {
			return fmt.Errorf("applying %s %s: %w", o.GetKind(), o.GetName(), err)
		}
	}
	return nil
}

func createOrUpdate(ctx context.Context, c client.Client, o *unstructured.Unstructured) error {
	err := c.Create(ctx, o)
	if client.IgnoreAlreadyExists(err) != nil || err == nil {
		return err
	}
	old := &unstructured.Unstructured{}
	old.SetGroupVersionKind(o.GroupVersionKind())
	if err := c.Get(ctx, client.ObjectKeyFromObject(o), old); err != nil {
		return err
	}
	o.SetResourceVersion(old.GetResourceVersion())
	return c.Update(ctx, o)
}
