package deploy_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/utils/ptr"

	"github.com/tandem-autoscaler/tandem/pkg/config"
)

// restricted tells what keeps a pod from the Pod Security Standard
// "restricted" (https://kubernetes.io/docs/concepts/security/pod-security-standards/),
// and from what is asked for beyond it: a read-only root, a user without a
// name, and bounds on what it uses.
func restricted(p *corev1.PodSpec) error {
	var errs []error
	want := func(ok bool, what string) {
		if !ok {
			errs = append(errs, errors.New(what))
		}
	}
	want(!p.HostNetwork && !p.HostPID && !p.HostIPC, "host namespaces")
	sc := ptr.Deref(p.SecurityContext, corev1.PodSecurityContext{})
	want(ptr.Deref(sc.RunAsNonRoot, false), "runAsNonRoot")
	want(ptr.Deref(sc.RunAsUser, 0) == 65532, "runAsUser")
	want(sc.SeccompProfile != nil && sc.SeccompProfile.Type == corev1.SeccompProfileTypeRuntimeDefault, "seccompProfile")
	want(len(sc.Sysctls) == 0, "sysctls")
	for _, v := range p.Volumes {
		want(v.ConfigMap != nil || v.Secret != nil || v.EmptyDir != nil || v.Projected != nil, "type of volume "+v.Name)
	}
	for _, c := range slices.Concat(p.InitContainers, p.Containers) {
		errs = append(errs, restrictedContainer(&c))
	}
	return errors.Join(errs...)
}

func restrictedContainer(c *corev1.Container) error {
	var errs []error
	want := func(ok bool, what string) {
		if !ok {
			errs = append(errs, fmt.Errorf("container %s: %s", c.Name, what))
		}
	}
	sc := ptr.Deref(c.SecurityContext, corev1.SecurityContext{})
	want(!ptr.Deref(sc.AllowPrivilegeEscalation, true), "allowPrivilegeEscalation")
	want(!ptr.Deref(sc.Privileged, false), "privileged")
	want(ptr.Deref(sc.ReadOnlyRootFilesystem, false), "readOnlyRootFilesystem")
	want(sc.Capabilities != nil && slices.Equal(sc.Capabilities.Drop, []corev1.Capability{"ALL"}) && len(sc.Capabilities.Add) == 0, "capabilities")
	want(ptr.Deref(sc.RunAsNonRoot, true), "runAsNonRoot")
	want(ptr.Deref(sc.RunAsUser, 65532) == 65532, "runAsUser")
	want(sc.SeccompProfile == nil && sc.ProcMount == nil, "overrides of the pod's security context")
	for _, p := range c.Ports {
		want(p.HostPort == 0, "hostPort")
	}
	for _, r := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		request, limit := c.Resources.Requests[r], c.Resources.Limits[r]
		want(!request.IsZero() && request.Equal(limit), "requests and limits of "+string(r)+" are not the same")
	}
	want(!strings.HasSuffix(c.Image, ":latest") && strings.Contains(filepath.Base(c.Image), ":"), "version of the image")
	return errors.Join(errs...)
}

func TestDeploymentIsRestricted(t *testing.T) {
	assert.NoError(t, restricted(&only[*appsv1.Deployment](t, "base").Spec.Template.Spec))
}

func TestRestrictedFinds(t *testing.T) {
	for name, plant := range map[string]func(*corev1.PodSpec, *corev1.Container){
		"host network": func(p *corev1.PodSpec, _ *corev1.Container) { p.HostNetwork = true },
		"no context":   func(p *corev1.PodSpec, _ *corev1.Container) { p.SecurityContext = nil },
		"root allowed": func(p *corev1.PodSpec, _ *corev1.Container) { p.SecurityContext.RunAsNonRoot = nil },
		"root":         func(p *corev1.PodSpec, _ *corev1.Container) { p.SecurityContext.RunAsUser = new(int64) },
		"no seccomp":   func(p *corev1.PodSpec, _ *corev1.Container) { p.SecurityContext.SeccompProfile = nil },
		"host path": func(p *corev1.PodSpec, _ *corev1.Container) {
			p.Volumes = append(p.Volumes, corev1.Volume{Name: "h", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}})
		},
		"escalation":    func(_ *corev1.PodSpec, c *corev1.Container) { c.SecurityContext.AllowPrivilegeEscalation = nil },
		"privileged":    func(_ *corev1.PodSpec, c *corev1.Container) { c.SecurityContext.Privileged = new(true) },
		"writable root": func(_ *corev1.PodSpec, c *corev1.Container) { c.SecurityContext.ReadOnlyRootFilesystem = nil },
		"capability": func(_ *corev1.PodSpec, c *corev1.Container) {
			c.SecurityContext.Capabilities.Add = []corev1.Capability{"SYS_ADMIN"}
		},
		"capabilities":    func(_ *corev1.PodSpec, c *corev1.Container) { c.SecurityContext.Capabilities = nil },
		"host port":       func(_ *corev1.PodSpec, c *corev1.Container) { c.Ports[0].HostPort = 80 },
		"no limit":        func(_ *corev1.PodSpec, c *corev1.Container) { delete(c.Resources.Limits, corev1.ResourceMemory) },
		"latest":          func(_ *corev1.PodSpec, c *corev1.Container) { c.Image = "coordinator:latest" },
		"init container":  func(p *corev1.PodSpec, _ *corev1.Container) { p.InitContainers = []corev1.Container{{Name: "i"}} },
		"container's own": func(_ *corev1.PodSpec, c *corev1.Container) { c.SecurityContext.RunAsUser = new(int64) },
	} {
		t.Run(name, func(t *testing.T) {
			spec := only[*appsv1.Deployment](t, "base").Spec.Template.Spec
			plant(&spec, &spec.Containers[0])
			assert.Error(t, restricted(&spec))
		})
	}
}

// The parts of the base name each other: labels, ports, files.
func TestBaseFitsTogether(t *testing.T) {
	d := only[*appsv1.Deployment](t, "base")
	labels := d.Spec.Template.Labels
	c := d.Spec.Template.Spec.Containers[0]
	fits := func(selector map[string]string, what string) {
		require.NotEmpty(t, selector, what)
		for k, v := range selector {
			assert.Equal(t, v, labels[k], what)
		}
	}
	service := only[*corev1.Service](t, "base")
	fits(d.Spec.Selector.MatchLabels, "Deployment")
	fits(service.Spec.Selector, "Service")
	fits(only[*policyv1.PodDisruptionBudget](t, "base").Spec.Selector.MatchLabels, "PodDisruptionBudget")
	fits(only[*networkingv1.NetworkPolicy](t, "base").Spec.PodSelector.MatchLabels, "NetworkPolicy")
	assert.EqualValues(t, 2, *d.Spec.Replicas)
	assert.Equal(t, account, d.Spec.Template.Spec.ServiceAccountName)
	assert.Equal(t, account, only[*corev1.ServiceAccount](t, "identity").Name)
	assert.Equal(t, namespace, only[*corev1.Namespace](t, "identity").Name)
	for _, folder := range []string{"identity", "base"} {
		for _, path := range manifests(t, folder) {
			for _, o := range objects(t, path) {
				if _, ok := o.(*corev1.Namespace); !ok {
					assert.Equal(t, namespace, o.GetNamespace(), path)
				}
			}
		}
	}
	assert.Equal(t, "http", c.Ports[0].Name)
	assert.Equal(t, "http", service.Spec.Ports[0].TargetPort.StrVal)
	assert.Equal(t, "/livez", c.LivenessProbe.HTTPGet.Path)
	assert.Equal(t, "/readyz", c.ReadinessProbe.HTTPGet.Path)
	assert.Equal(t, "http", c.LivenessProbe.HTTPGet.Port.StrVal)
	assert.Equal(t, "http", c.ReadinessProbe.HTTPGet.Port.StrVal)
}

// The program knows the arguments, and the file that they name is mounted.
func TestArguments(t *testing.T) {
	d := only[*appsv1.Deployment](t, "base")
	c := d.Spec.Template.Spec.Containers[0]
	require.Equal(t, []string{"run", "--config=/etc/tandem/config.yaml"}, c.Args)
	assert.Empty(t, c.Command, "the image's own")
	assert.Equal(t, "/etc/tandem", c.VolumeMounts[0].MountPath)
	assert.Equal(t, c.VolumeMounts[0].Name, d.Spec.Template.Spec.Volumes[0].Name)
	assert.Equal(t, "tandem-coordinator-config", d.Spec.Template.Spec.Volumes[0].ConfigMap.Name)

	sources, err := filepath.Glob("../cmd/coordinator/*.go")
	require.NoError(t, err)
	require.NotEmpty(t, sources)
	var all strings.Builder
	for _, path := range sources {
		b, err := os.ReadFile(path) //nolint:gosec // a file of this repository
		require.NoError(t, err)
		all.Write(b)
	}
	assert.Regexp(t, `Use: +"run[ "]`, all.String(), "no command run")
	assert.Regexp(t, `String(Var)?P?\((&[\w.]+, )?"config"`, all.String(), "no flag --config")
}

// Every configuration that is shipped is valid, and is served where the
// Deployment looks for it.
func TestConfigurations(t *testing.T) {
	paths, err := filepath.Glob("kustomize/overlays/*/config.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	port := only[*appsv1.Deployment](t, "base").Spec.Template.Spec.Containers[0].Ports[0].ContainerPort
	for _, path := range append(paths, "kustomize/base/config.yaml") {
		c, err := config.Load(path)
		require.NoError(t, err)
		host, text, err := net.SplitHostPort(c.Server.Address)
		require.NoError(t, err)
		assert.Empty(t, host, "%s: probes come from other machines", path)
		assert.Equal(t, strconv.Itoa(int(port)), text, path)
		assert.True(t, c.LeaderElection.Enabled, path)
		assert.Equal(t, "-", c.Journal.Path, "%s: the root is read-only", path)
	}
}

// The kubeconfig of the overlay is mounted where its configuration says.
func TestManagementClusterOverlay(t *testing.T) {
	c, err := config.Load("kustomize/overlays/management-cluster/config.yaml")
	require.NoError(t, err)
	mount := only[*appsv1.Deployment](t, "overlays/management-cluster").Spec.Template.Spec.Containers[0].VolumeMounts[0]
	assert.Equal(t, mount.MountPath+"/kubeconfig", c.Workload.Kubeconfig)
}
