package deploy_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/tandem-autoscaler/tandem/pkg/config"
)

const (
	account   = "tandem-coordinator"
	namespace = "tandem-system"
)

// grant is one role with where it holds.
type grant struct {
	folder, scope string
	rules         []rbacv1.PolicyRule
}

func grants(t *testing.T) []grant {
	t.Helper()
	var out []grant
	for _, folder := range []string{"rbac-management", "rbac-workload"} {
		for _, path := range manifests(t, folder) {
			for _, o := range objects(t, path) {
				switch r := o.(type) {
				case *rbacv1.Role:
					out = append(out, grant{folder, "namespace " + r.Namespace, r.Rules})
				case *rbacv1.ClusterRole:
					assert.Nil(t, r.AggregationRule)
					out = append(out, grant{folder, "cluster", r.Rules})
				}
			}
		}
	}
	return out
}

// writes are the verbs that change something, by resource. Pods are deleted in
// lead mode only, and evicted; nothing else is ever deleted.
var writes = map[string][]string{
	"events":                   {"create", "patch"},
	"leases":                   {"create", "update"},
	"machinedeployments":       {"patch"},
	"machinedeployments/scale": {"update", "patch"},
	"machines":                 {"patch"},
	"nodes":                    {"patch"},
	"pods":                     {"delete"},
	"pods/eviction":            {"create"},
	"rayclusters":              {"patch"},
}

// forbidden tells why a rule is more than the coordinator may have.
func forbidden(r rbacv1.PolicyRule) error {
	var errs []error
	for _, v := range r.Verbs {
		if v == "get" || v == "list" || v == "watch" {
			continue
		}
		for _, res := range r.Resources {
			if !slices.Contains(writes[res], v) {
				errs = append(errs, fmt.Errorf("verb %s on %s", v, res))
			}
		}
	}
	if slices.Contains(r.Resources, "configmaps") && len(r.ResourceNames) == 0 {
		errs = append(errs, errors.New("configmaps without a name"))
	}
	for _, text := range slices.Concat(r.APIGroups, r.Resources, r.ResourceNames, r.Verbs) {
		if strings.Contains(text, "*") {
			errs = append(errs, fmt.Errorf("wildcard %s", text))
		}
	}
	if slices.Contains(r.Resources, "secrets") {
		errs = append(errs, errors.New("secrets"))
	}
	if len(r.NonResourceURLs) > 0 {
		errs = append(errs, errors.New("URLs"))
	}
	return errors.Join(errs...)
}

func TestRulesAreLeast(t *testing.T) {
	all := grants(t)
	require.Len(t, all, 4)
	for _, g := range all {
		for _, r := range g.rules {
			assert.NoError(t, forbidden(r), "%s, %s", g.folder, g.scope)
		}
	}
}

func TestForbiddenFinds(t *testing.T) {
	for name, r := range map[string]rbacv1.PolicyRule{
		"delete":       {APIGroups: []string{"cluster.x-k8s.io"}, Resources: []string{"machines"}, Verbs: []string{"delete"}},
		"collection":   {Resources: []string{"pods"}, Verbs: []string{"deletecollection"}},
		"any verb":     {Resources: []string{"pods"}, Verbs: []string{"*"}},
		"any resource": {Resources: []string{"*"}, Verbs: []string{"get"}},
		"any group":    {APIGroups: []string{"*"}, Resources: []string{"pods"}, Verbs: []string{"get"}},
		"secrets":      {Resources: []string{"secrets"}, Verbs: []string{"get"}},
		"pods":         {Resources: []string{"pods"}, Verbs: []string{"patch"}},
		"nodes":        {Resources: []string{"nodes"}, Verbs: []string{"delete"}},
		"clusters":     {Resources: []string{"rayclusters"}, Verbs: []string{"delete"}},
		"config maps":  {Resources: []string{"configmaps"}, Verbs: []string{"get"}},
		"spec":         {Resources: []string{"machinedeployments"}, Verbs: []string{"update"}},
		"escalation":   {Resources: []string{"roles"}, Verbs: []string{"bind"}},
		"URLs":         {NonResourceURLs: []string{"/"}, Verbs: []string{"get"}},
	} {
		assert.Error(t, forbidden(r), name)
	}
}

// Every right that is granted, one a line, so that a change is seen.
func TestRulesGolden(t *testing.T) {
	var lines []string
	for _, g := range grants(t) {
		for _, r := range g.rules {
			for _, group := range r.APIGroups {
				for _, res := range r.Resources {
					line := fmt.Sprintf("%s: %s: %s.%s: %s", g.folder, g.scope, res, group, strings.Join(r.Verbs, ","))
					if len(r.ResourceNames) > 0 {
						line += " only " + strings.Join(r.ResourceNames, ",")
					}
					lines = append(lines, line)
				}
			}
		}
	}
	slices.Sort(lines)
	assert.Equal(t, slices.Compact(slices.Clone(lines)), lines, "granted twice")
	golden(t, "testdata/rules.golden.txt", strings.Join(lines, "\n")+"\n")
}

func TestBindings(t *testing.T) {
	roles, bound := map[string]bool{}, map[string]bool{}
	check := func(path, ns string, ref rbacv1.RoleRef, subjects []rbacv1.Subject) {
		bound[filepath.Dir(path)+" "+ref.Kind+" "+ns+"/"+ref.Name] = true
		assert.Equal(t, "rbac.authorization.k8s.io", ref.APIGroup, path)
		assert.Equal(t, []rbacv1.Subject{{Kind: "ServiceAccount", Name: account, Namespace: namespace}}, subjects, path)
	}
	for _, folder := range []string{"rbac-management", "rbac-workload"} {
		for _, path := range manifests(t, folder) {
			for _, o := range objects(t, path) {
				switch v := o.(type) {
				case *rbacv1.Role:
					roles[filepath.Dir(path)+" Role "+v.Namespace+"/"+v.Name] = true
				case *rbacv1.ClusterRole:
					roles[filepath.Dir(path)+" ClusterRole /"+v.Name] = true
				case *rbacv1.RoleBinding:
					check(path, v.Namespace, v.RoleRef, v.Subjects)
				case *rbacv1.ClusterRoleBinding:
					check(path, "", v.RoleRef, v.Subjects)
				}
			}
		}
	}
	assert.Equal(t, roles, bound)
}

// What the default configuration needs is what the roles give.
func TestRulesFitTheConfiguration(t *testing.T) {
	c, err := config.Load("kustomize/base/config.yaml")
	require.NoError(t, err)
	role := only[*rbacv1.Role](t, "rbac-management")
	assert.Equal(t, c.Management.Namespace, role.Namespace)
	var lease *rbacv1.Role
	for _, path := range manifests(t, "rbac-workload") {
		for _, o := range objects(t, path) {
			if r, ok := o.(*rbacv1.Role); ok && r.Name == "tandem-coordinator-leader-election" {
				lease = r
			}
		}
	}
	require.NotNil(t, lease)
	assert.Equal(t, c.LeaderElection.Namespace, lease.Namespace)
	for _, r := range lease.Rules {
		if !slices.Contains(r.Verbs, "create") {
			assert.Equal(t, []string{c.LeaderElection.Name}, r.ResourceNames)
		}
	}
}
