package deploy_test

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares text with a file, or writes it with -update.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o600))
		return
	}
	want, err := os.ReadFile(path) //nolint:gosec // the test names the file
	require.NoError(t, err, "run the test with -update to write it")
	assert.Equal(t, string(want), got, "run the test with -update if the change is meant")
}

// kinds are the types of object that the manifests may hold.
func kinds() map[metav1.TypeMeta]func() metav1.Object {
	of := func(apiVersion, kind string) metav1.TypeMeta {
		return metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}
	}
	return map[metav1.TypeMeta]func() metav1.Object{
		of("v1", "Namespace"):                                    func() metav1.Object { return &corev1.Namespace{} },
		of("v1", "ServiceAccount"):                               func() metav1.Object { return &corev1.ServiceAccount{} },
		of("v1", "Service"):                                      func() metav1.Object { return &corev1.Service{} },
		of("apps/v1", "Deployment"):                              func() metav1.Object { return &appsv1.Deployment{} },
		of("policy/v1", "PodDisruptionBudget"):                   func() metav1.Object { return &policyv1.PodDisruptionBudget{} },
		of("networking.k8s.io/v1", "NetworkPolicy"):              func() metav1.Object { return &networkingv1.NetworkPolicy{} },
		of("rbac.authorization.k8s.io/v1", "Role"):               func() metav1.Object { return &rbacv1.Role{} },
		of("rbac.authorization.k8s.io/v1", "RoleBinding"):        func() metav1.Object { return &rbacv1.RoleBinding{} },
		of("rbac.authorization.k8s.io/v1", "ClusterRole"):        func() metav1.Object { return &rbacv1.ClusterRole{} },
		of("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"): func() metav1.Object { return &rbacv1.ClusterRoleBinding{} },
	}
}

// objects decodes every document of a manifest, strictly.
func objects(t *testing.T, path string) []metav1.Object {
	t.Helper()
	b, err := os.ReadFile(path) //nolint:gosec // a file of this folder
	require.NoError(t, err)
	reader := utilyaml.NewDocumentDecoder(io.NopCloser(bytes.NewReader(b)))
	defer func() { assert.NoError(t, reader.Close()) }()
	var out []metav1.Object
	for {
		doc := make([]byte, len(b)+1)
		n, err := reader.Read(doc)
		if errors.Is(err, io.EOF) {
			return out
		}
		require.NoError(t, err, path)
		var tm metav1.TypeMeta
		require.NoError(t, yaml.Unmarshal(doc[:n], &tm), path)
		fresh, known := kinds()[tm]
		require.True(t, known, "%s: unexpected %s %s", path, tm.APIVersion, tm.Kind)
		o := fresh()
		require.NoError(t, yaml.UnmarshalStrict(doc[:n], o), path)
		require.NotEmpty(t, o.GetName(), path)
		out = append(out, o)
	}
}

// only is the one object of type T below a folder.
func only[T metav1.Object](t *testing.T, folder string) T {
	t.Helper()
	var found []T
	for _, path := range manifests(t, folder) {
		for _, o := range objects(t, path) {
			if v, ok := o.(T); ok {
				found = append(found, v)
			}
		}
	}
	require.Len(t, found, 1, folder)
	return found[0]
}

// manifests lists the files of a folder that `kubectl apply -f` would take,
// without what kustomize alone reads.
func manifests(t *testing.T, folder string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("kustomize", folder, "*.yaml"))
	require.NoError(t, err)
	var out []string
	for _, p := range paths {
		if name := filepath.Base(p); name != "kustomization.yaml" && name != "config.yaml" {
			out = append(out, p)
		}
	}
	require.NotEmpty(t, out, folder)
	return out
}
