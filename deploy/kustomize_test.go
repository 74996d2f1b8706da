package deploy_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// kustomization is the part of kustomize's format that is used here.
type kustomization struct {
	metav1.TypeMeta    `json:",inline"`
	Resources          []string    `json:"resources"`
	Patches            []patch     `json:"patches,omitempty"`
	ConfigMapGenerator []generator `json:"configMapGenerator,omitempty"`
}

type patch struct {
	Path string `json:"path"`
}

type generator struct {
	Name      string   `json:"name"`
	Namespace string   `json:"namespace"`
	Behavior  string   `json:"behavior,omitempty"`
	Files     []string `json:"files"`
}

// kustomizations finds every kustomization by its folder.
func kustomizations(t *testing.T) map[string]kustomization {
	t.Helper()
	found := map[string]kustomization{}
	require.NoError(t, filepath.WalkDir("kustomize", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() != "kustomization.yaml" && d.Name() != "Kustomization" {
			return err
		}
		b, err := os.ReadFile(path) //nolint:gosec // a file of this folder
		if err != nil {
			return err
		}
		var k kustomization
		assert.NoError(t, yaml.UnmarshalStrict(b, &k), path)
		assert.Equal(t, metav1.TypeMeta{APIVersion: "kustomize.config.k8s.io/v1beta1", Kind: "Kustomization"}, k.TypeMeta, path)
		found[filepath.Dir(path)] = k
		return nil
	}))
	require.GreaterOrEqual(t, len(found), 7)
	return found
}

// Every file that is named is there, and every file that is there is named.
func TestKustomizationsAreWhole(t *testing.T) {
	all := kustomizations(t)
	for folder, k := range all {
		var named []string
		for _, r := range k.Resources {
			path := filepath.Join(folder, r)
			if _, isFolder := all[path]; !isFolder {
				named = append(named, path)
			}
		}
		for _, p := range k.Patches {
			named = append(named, filepath.Join(folder, p.Path))
		}
		for _, g := range k.ConfigMapGenerator {
			for _, f := range g.Files {
				named = append(named, filepath.Join(folder, f))
			}
		}
		there, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
		require.NoError(t, err)
		there = slices.DeleteFunc(there, func(p string) bool { return filepath.Base(p) == "kustomization.yaml" })
		assert.ElementsMatch(t, there, named, folder)
	}
}

// An object that two resources of one overlay bring would make kustomize fail.
func TestOverlaysHoldNoObjectTwice(t *testing.T) {
	all := kustomizations(t)
	var collect func(folder string, into map[string]string)
	collect = func(folder string, into map[string]string) {
		for _, r := range all[folder].Resources {
			path := filepath.Join(folder, r)
			if _, isFolder := all[path]; isFolder {
				collect(path, into)
				continue
			}
			for _, o := range objects(t, path) {
				id := filepath.Base(filepath.Dir(path)) + "/" + filepath.Base(path)
				key := kindOf(o) + " " + o.GetNamespace() + "/" + o.GetName()
				assert.Empty(t, into[key], "%s brings %s again: %s", folder, key, id)
				into[key] = id
			}
		}
	}
	overlays := 0
	for folder := range all {
		if filepath.Base(filepath.Dir(folder)) != "overlays" {
			continue
		}
		overlays++
		into := map[string]string{}
		collect(folder, into)
		assert.NotEmpty(t, into, folder)
	}
	assert.Equal(t, 3, overlays)
}

func kindOf(o metav1.Object) string {
	for tm, fresh := range kinds() {
		if reflect.TypeOf(fresh()) == reflect.TypeOf(o) {
			return tm.Kind
		}
	}
	return ""
}

// The folders that are applied as they are hold nothing that is no object.
func TestRightsApplyAsTheyAre(t *testing.T) {
	for _, folder := range []string{"rbac-management", "rbac-workload"} {
		paths, err := filepath.Glob(filepath.Join("kustomize", folder, "*.yaml"))
		require.NoError(t, err)
		assert.Equal(t, manifests(t, folder), paths)
		for _, path := range paths {
			assert.NotEmpty(t, objects(t, path), path)
		}
	}
}
