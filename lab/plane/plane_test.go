package plane_test

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	vapinamespace "github.com/vmware/govmomi/vapi/namespace"
	"github.com/vmware/govmomi/vapi/rest"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/soap"
	"go.uber.org/zap/zaptest"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tandem-autoscaler/tandem/lab/plane"
)

const gpu = "nvidia.com/gpu"

// start starts a lab with the built binary, which a test binary cannot be.
func start(t *testing.T, o plane.Options) *plane.Plane {
	t.Helper()
	o.Binary = os.Getenv("LAB_BINARY")
	if o.Binary == "" {
		t.Skip("LAB_BINARY is not set: run make lab, and set it to bin/lab")
	}
	o.RepoRoot = filepath.Join("..", "..")
	if o.Assets = os.Getenv("LAB_ASSETS"); o.Assets == "" {
		o.Assets = filepath.Join(filepath.Dir(o.Binary), "assets")
	}
	o.Dir = t.ArtifactDir()
	o.Log = zaptest.NewLogger(t)
	if len(o.Classes) == 0 {
		o.Classes = []plane.Class{
			{Name: "cpu-large", CPU: 16, Memory: resource.MustParse("64Gi")},
			{Name: "gpu-h100x4", CPU: 48, Memory: resource.MustParse("480Gi"), GPU: 4, GPUType: "NVIDIA-H100-80GB-HBM3"},
		}
	}
	o.VM.Boot.Duration, o.VM.Node.Duration = 500*time.Millisecond, 100*time.Millisecond
	p, err := plane.Start(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(p.Stop)
	return p
}

// eventually waits for a condition, long enough for a busy machine.
func eventually(t *testing.T, what string, condition func(*assert.CollectT)) {
	t.Helper()
	require.EventuallyWithT(t, condition, 2*time.Minute, 100*time.Millisecond, what)
}

func scale(t *testing.T, p *plane.Plane, pool string, replicas int32) {
	t.Helper()
	md := &clusterv1.MachineDeployment{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace(), Name: pool}}
	patch := client.MergeFrom(md.DeepCopy())
	md.Spec.Replicas = new(replicas)
	require.NoError(t, p.Management().Patch(t.Context(), md, patch))
}

func machines(ctx context.Context, p *plane.Plane, pool string) ([]clusterv1.Machine, error) {
	l := &clusterv1.MachineList{}
	err := p.Management().List(ctx, l, client.InNamespace(p.Namespace()), client.MatchingLabels{clusterv1.MachineDeploymentNameLabel: pool})
	return l.Items, err
}

func nodes(ctx context.Context, p *plane.Plane) ([]corev1.Node, error) {
	l := &corev1.NodeList{}
	err := p.Workload().List(ctx, l)
	return l.Items, err
}

func TestPoolBecomesNodes(t *testing.T) {
	p := start(t, plane.Options{})
	taint := corev1.Taint{Key: "gpu-only", Value: "yes", Effect: corev1.TaintEffectNoSchedule}
	require.NoError(t, p.AddPool(t.Context(), plane.Pool{
		Name: "gpu4", Class: "gpu-h100x4", Min: ptr.To[int32](0), Max: ptr.To[int32](10),
		Labels: map[string]string{"team": "ml"}, Taints: []corev1.Taint{taint},
	}))
	md := &clusterv1.MachineDeployment{}
	require.NoError(t, p.Management().Get(t.Context(), client.ObjectKey{Namespace: p.Namespace(), Name: "gpu4"}, md))
	assert.Equal(t, "0", md.Annotations[clusterv1.AutoscalerMinSizeAnnotation])
	assert.Equal(t, "10", md.Annotations[clusterv1.AutoscalerMaxSizeAnnotation])

	checkIdentity(t, p)
	checkCatalogue(t, p)

	scale(t, p, "gpu4", 2)
	eventually(t, "two ready nodes without the taints of new ones", func(c *assert.CollectT) {
		ns, err := nodes(t.Context(), p)
		require.NoError(c, err)
		require.Len(c, ns, 2)
		for _, n := range ns {
			assert.Equal(c, []corev1.Taint{taint}, n.Spec.Taints)
		}
	})
	ns, err := nodes(t.Context(), p)
	require.NoError(t, err)
	for _, n := range ns {
		assert.Equal(t, int64(48), n.Status.Allocatable.Cpu().Value())
		assert.Equal(t, int64(480)<<30, n.Status.Allocatable.Memory().Value())
		assert.Equal(t, int64(4), new(n.Status.Allocatable[gpu]).Value())
		for k, v := range map[string]string{
			corev1.LabelInstanceTypeStable: "gpu-h100x4", corev1.LabelTopologyZone: "lab-zone-1", corev1.LabelHostname: n.Name,
			gpu + ".product": "NVIDIA-H100-80GB-HBM3", "team": "ml", "node.cluster.x-k8s.io/pool": "gpu4",
		} {
			assert.Equal(t, v, n.Labels[k], k)
		}
	}

	marked := ns[0].Name
	m := &clusterv1.Machine{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace(), Name: marked}}
	patch := client.MergeFrom(m.DeepCopy())
	m.Annotations = map[string]string{clusterv1.DeleteMachineAnnotation: "yes"}
	require.NoError(t, p.Management().Patch(t.Context(), m, patch))
	scale(t, p, "gpu4", 1)
	eventually(t, "exactly the marked machine is gone", func(c *assert.CollectT) {
		left, err := nodes(t.Context(), p)
		require.NoError(c, err)
		require.Len(c, left, 1)
		assert.Equal(c, ns[1].Name, left[0].Name)
	})
	eventually(t, "its machine, too", func(c *assert.CollectT) {
		ms, err := machines(t.Context(), p, "gpu4")
		require.NoError(c, err)
		require.Len(c, ms, 1)
		assert.Equal(c, ns[1].Name, ms[0].Name)
	})
}

// checkIdentity shows that the coordinator's kubeconfigs have the rights of the
// deployment, and no more.
func checkIdentity(t *testing.T, p *plane.Plane) {
	t.Helper()
	for range 2 { // Asking again changes nothing.
		management, workload, err := p.Identity(t.Context())
		require.NoError(t, err)
		connect := func(kubeconfig string, scheme client.Client) client.Client {
			cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
			require.NoError(t, err)
			c, err := client.New(cfg, client.Options{Scheme: scheme.Scheme()})
			require.NoError(t, err)
			return c
		}
		m, w := connect(management, p.Management()), connect(workload, p.Workload())
		require.NoError(t, m.List(t.Context(), &clusterv1.MachineDeploymentList{}, client.InNamespace(p.Namespace())))
		require.NoError(t, w.List(t.Context(), &corev1.NodeList{}))
		md := &clusterv1.MachineDeployment{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace(), Name: "gpu4"}}
		assert.True(t, apierrors.IsForbidden(m.Delete(t.Context(), md)))
		assert.True(t, apierrors.IsForbidden(w.List(t.Context(), &corev1.SecretList{})))
	}
}

// checkCatalogue shows that both sources have the VM classes.
func checkCatalogue(t *testing.T, p *plane.Plane) {
	t.Helper()
	l := &unstructured.UnstructuredList{}
	l.SetGroupVersionKind(schema.GroupVersionKind{Group: "vmoperator.vmware.com", Version: "v1alpha5", Kind: "VirtualMachineClassList"})
	require.NoError(t, p.Management().List(t.Context(), l, client.InNamespace(p.Namespace())))
	require.Len(t, l.Items, 2)
	for _, o := range l.Items {
		devices, _, err := unstructured.NestedSlice(o.Object, "spec", "hardware", "devices", "dynamicDirectPathIODevices")
		require.NoError(t, err)
		assert.Len(t, devices, map[string]int{"cpu-large": 0, "gpu-h100x4": 4}[o.GetName()], o.GetName())
	}

	v := p.VCenter()
	read := func(file string) string {
		b, err := os.ReadFile(file) //nolint:gosec // The lab names it.
		require.NoError(t, err)
		return string(b)
	}
	u, err := url.Parse(v.URL)
	require.NoError(t, err)
	u.User = url.UserPassword(read(v.UsernameFile), read(v.PasswordFile))
	sc := soap.NewClient(u, v.Insecure)
	require.NoError(t, sc.SetRootCAs(v.CAFile))
	vc, err := vim25.NewClient(t.Context(), sc)
	require.NoError(t, err)
	rc := rest.NewClient(vc)
	require.NoError(t, rc.Login(t.Context(), u.User))
	classes, err := vapinamespace.NewManager(rc).ListVmClasses(t.Context())
	require.NoError(t, err)
	require.Len(t, classes, 2)
	for _, c := range classes {
		assert.Equal(t, map[string]int64{"cpu-large": 16, "gpu-h100x4": 48}[c.Id], c.CpuCount)
		assert.Len(t, c.Devices.DirectPathIoDevices, map[string]int{"cpu-large": 0, "gpu-h100x4": 4}[c.Id])
	}
	require.Error(t, rc.Login(t.Context(), url.UserPassword("nobody", "nothing")))
}

// messages are those of the conditions of a pool's Machines.
func messages(ctx context.Context, c *assert.CollectT, p *plane.Plane, pool string) string {
	ms, err := machines(ctx, p, pool)
	require.NoError(c, err)
	var out strings.Builder
	for _, m := range ms {
		for _, cond := range m.Status.Conditions {
			out.WriteString(cond.Message + "\n")
		}
	}
	return out.String()
}

func TestVMsThatDoNotCome(t *testing.T) {
	p := start(t, plane.Options{
		One:   true,
		Hosts: []plane.Host{{Count: 1, CPU: 100, Memory: resource.MustParse("1Ti"), GPU: 4}},
	})
	for _, pool := range []plane.Pool{{Name: "gpu4", Class: "gpu-h100x4"}, {Name: "cpu", Class: "cpu-large"}} {
		require.NoError(t, p.AddPool(t.Context(), pool))
	}
	ready := func(want int) func(*assert.CollectT) {
		return func(c *assert.CollectT) {
			ns, err := nodes(t.Context(), p)
			require.NoError(c, err)
			assert.Len(c, ns, want)
		}
	}
	told := func(pool, text string) func(*assert.CollectT) {
		return func(c *assert.CollectT) { assert.Contains(c, messages(t.Context(), c, p, pool), text) }
	}
	scale(t, p, "gpu4", 2)
	eventually(t, "one node", ready(1))
	eventually(t, "the other machine says why", told("gpu4", "insufficient resources: no host has room for a VM of class gpu-h100x4"))

	p.FailVMs("cpu-large", -1, "datastore is full")
	scale(t, p, "cpu", 1)
	eventually(t, "the injected failure is told", told("cpu", "datastore is full"))
	p.FailVMs("cpu-large", 0, "")
	eventually(t, "it heals", ready(2))

	p.StickVMs("cpu-large", 1)
	scale(t, p, "cpu", 3)
	eventually(t, "one of two becomes a node", ready(3))
	eventually(t, "the other has a VM and no node", func(c *assert.CollectT) {
		ms, err := machines(t.Context(), p, "cpu")
		require.NoError(c, err)
		var phases []string
		for _, m := range ms {
			phases = append(phases, m.Status.Phase)
		}
		assert.ElementsMatch(c, []string{"Running", "Running", "Provisioned"}, phases)
	})

	// The room of a VM that is gone is room again.
	scale(t, p, "gpu4", 0)
	eventually(t, "its room is free", ready(2))
	scale(t, p, "gpu4", 1)
	eventually(t, "and used", ready(3))

	require.NoError(t, p.RestartAPIServer(t.Context(), "workload"))
	scale(t, p, "gpu4", 0)
	eventually(t, "the lab goes on after a restart of its API server", ready(2))
	require.Error(t, p.RestartAPIServer(t.Context(), "nonsense"))
}

func TestBadOptions(t *testing.T) {
	_, err := plane.Start(t.Context(), plane.Options{
		Binary:  os.Args[0],
		Classes: []plane.Class{{Name: "Bad Name", CPU: -1}, {Name: "a", CPU: 1, Memory: resource.MustParse("1Gi")}, {Name: "a", CPU: 1, Memory: resource.MustParse("1Gi")}},
		Hosts:   []plane.Host{{}},
		VM:      plane.VMTimes{Jitter: "much"},
		Venv:    "/nonexistent",
	})
	require.Error(t, err)
	for _, want := range []string{"classes[0].name", "classes[0] (Bad Name)", `"a" is there twice`, "hosts[0]", "vm.jitter", "without Ray"} {
		assert.ErrorContains(t, err, want)
	}
}
