package capi

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	infrav1 "sigs.k8s.io/cluster-api/test/infrastructure/docker/api/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/tandem-autoscaler/tandem/pkg/kube"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// TestAPIServer runs source and actuator against a real API server with Cluster
// API's own CRDs and its development provider, in one process. It needs the
// binaries kube-apiserver and etcd in the folder that KUBEBUILDER_ASSETS names.
func TestAPIServer(t *testing.T) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		t.Skip("KUBEBUILDER_ASSETS names no folder with kube-apiserver and etcd")
	}
	w := startAPIServer(t)
	t.Run("observe", w.testObserve)
	t.Run("scale", w.testScale)
	t.Run("lost race", w.testLostRace)
	t.Run("cordon", w.testCordon)
	t.Run("evict", w.testEvict)
	t.Run("hook", w.testHook)
	t.Run("remember", w.testRemember)
	t.Run("remove to zero", w.testRemove)
	t.Run("release", w.testRelease)
}

// liveWorld is a real API server with one pool.
type liveWorld struct {
	client.WithWatch
	config *rest.Config
	scheme *runtime.Scheme
}

func startAPIServer(t *testing.T) *liveWorld {
	t.Helper()
	core := filepath.Join(moduleDir(t, "sigs.k8s.io/cluster-api"), "core/config/crd/bases")
	dev := filepath.Join(moduleDir(t, "sigs.k8s.io/cluster-api/test"), "infrastructure/docker/config/crd/bases")
	env := &envtest.Environment{
		CRDDirectoryPaths: []string{
			filepath.Join(core, "cluster.x-k8s.io_clusters.yaml"), filepath.Join(core, "cluster.x-k8s.io_machinedeployments.yaml"),
			filepath.Join(core, "cluster.x-k8s.io_machinesets.yaml"), filepath.Join(core, "cluster.x-k8s.io_machines.yaml"),
			filepath.Join(dev, "infrastructure.cluster.x-k8s.io_devmachinetemplates.yaml"),
		},
		ErrorIfCRDPathMissing:    true,
		ControlPlaneStartTimeout: 2 * time.Minute, ControlPlaneStopTimeout: 2 * time.Minute,
	}
	cfg, err := env.Start()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, env.Stop()) })
	w := &liveWorld{config: cfg, scheme: testScheme(t)}
	require.NoError(t, infrav1.AddToScheme(w.scheme))
	w.WithWatch, err = client.NewWithWatch(cfg, client.Options{Scheme: w.scheme})
	require.NoError(t, err)
	w.createPool(t)
	return w
}

func moduleDir(t *testing.T, module string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", module) //nolint:gosec // a module of ours
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	return strings.TrimSpace(string(out))
}

// machineSpec is the least that the CRDs accept.
func machineSpec() clusterv1.MachineSpec {
	return clusterv1.MachineSpec{
		ClusterName:       testCluster,
		Bootstrap:         clusterv1.Bootstrap{DataSecretName: new("none")},
		InfrastructureRef: clusterv1.ContractVersionedObjectReference{APIGroup: infrav1.GroupVersion.Group, Kind: "DevMachineTemplate", Name: "a"},
	}
}

func (w *liveWorld) create(t *testing.T, o client.Object) {
	t.Helper()
	o.SetUID("")
	require.NoError(t, w.Create(t.Context(), o))
}

func (w *liveWorld) createPool(t *testing.T) {
	t.Helper()
	w.create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: testNamespace}})
	w.create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "jobs"}})
	w.create(t, cluster(func(c *clusterv1.Cluster) {
		c.Spec.Paused = new(false)
		c.Spec.ControlPlaneEndpoint.Host = "127.0.0.1"
		c.Spec.ControlPlaneEndpoint.Port = 6443
	}))
	tpl := &infrav1.DevMachineTemplate{ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: "a"}}
	tpl.Spec.Template.ObjectMeta.Annotations = map[string]string{VMClassAnnotation: "gpu-small"}
	tpl.Spec.Template.Spec.Backend.InMemory = &infrav1.InMemoryMachineBackendSpec{}
	w.create(t, tpl)
	selector := map[string]string{"pool": "a"}
	w.create(t, deployment("a", 0, func(md *clusterv1.MachineDeployment) {
		md.Spec.Selector.MatchLabels = selector
		md.Spec.Template.Labels = selector
		md.Spec.Template.Spec = machineSpec()
		md.Spec.Template.Spec.Taints = []clusterv1.MachineTaint{{Key: "gpu", Effect: corev1.TaintEffectNoSchedule, Propagation: clusterv1.MachineTaintPropagationAlways}}
	}))
	md := w.deployment(t)
	ms := machineSet("a", "a", 0)
	ms.OwnerReferences[0].UID = md.UID
	ms.Spec.Selector.MatchLabels = selector
	ms.Spec.Template.Labels = selector
	ms.Spec.Template.Spec = machineSpec()
	w.create(t, ms)
}

func (w *liveWorld) deployment(t *testing.T) *clusterv1.MachineDeployment {
	t.Helper()
	md := &clusterv1.MachineDeployment{}
	require.NoError(t, w.Get(t.Context(), client.ObjectKey{Namespace: testNamespace, Name: "a"}, md))
	return md
}

// observed does what the controller of MachineDeployments would: it says that it
// has seen the latest spec.
func (w *liveWorld) observed(t *testing.T) {
	t.Helper()
	md := w.deployment(t)
	md.Status.ObservedGeneration = md.Generation
	require.NoError(t, w.Status().Update(t.Context(), md))
}

func (w *liveWorld) actuator() *Actuator {
	return NewActuator(ActuatorOptions{Management: w, Workload: w, Namespace: testNamespace, ClusterName: testCluster})
}

// testObserve: informer caches, and a template in a version that only the API
// server knows.
func (w *liveWorld) testObserve(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	caches, err := cache.New(w.config, cache.Options{Scheme: w.scheme})
	require.NoError(t, err)
	for _, o := range append(ManagementObjects(), WorkloadObjects()...) {
		_, err := caches.GetInformer(ctx, kube.Required(o), cache.BlockUntilSynced(false))
		require.NoError(t, err)
	}
	changed := make(chan struct{}, 10)
	s := New(Options{
		Management: caches, Workload: caches, Namespace: testNamespace, ClusterName: testCluster,
		Templates: w, Mapper: w.RESTMapper(), Changed: func() { changed <- struct{}{} },
	})
	require.False(t, s.Observe(time.Now()).Sources[0].Known, "the caches have not been started")

	done := make(chan error, 2)
	go func() { done <- caches.Start(ctx) }()
	go func() { done <- s.Run(ctx) }()
	defer func() {
		cancel()
		require.NoError(t, <-done)
		require.NoError(t, <-done)
	}()
	require.True(t, caches.WaitForCacheSync(ctx))
	v := s.Observe(time.Now())
	require.True(t, v.Sources[0].Known, v.Sources[0].Error)
	require.True(t, v.Sources[1].Known, v.Sources[1].Error)
	<-changed
	g := groupOf(t, s.Observe(time.Now()), "a")
	assert.Equal(t, "gpu-small", g.Class)
	assert.Empty(t, g.Invalid)
	assert.True(t, g.Managed)
	assert.EqualValues(t, 10, g.Max)
	assert.True(t, g.RollingOut, "nobody has seen its spec yet")
	assert.Equal(t, []planner.Taint{{Key: "gpu", Effect: "NoSchedule"}}, g.Taints)
}

func (w *liveWorld) testScale(t *testing.T) {
	stale := w.deployment(t)
	writes := NewWrites()
	a := NewActuator(ActuatorOptions{Management: w, Workload: w, Namespace: testNamespace, ClusterName: testCluster, Wrote: writes.Note})
	require.NoError(t, a.Scale(t.Context(), grow(0, 3), testPlan))
	md := w.deployment(t)
	require.Error(t, writes.behind(stale), "the answer tells the new version")
	require.NoError(t, writes.behind(md))
	require.Empty(t, writerOf(md), "that is us")
	require.EqualValues(t, 3, *md.Spec.Replicas)
	var by []string
	for _, f := range md.ManagedFields {
		if f.Subresource == "scale" {
			by = append(by, f.Manager)
		}
	}
	assert.Equal(t, []string{fieldOwner}, by)

	require.ErrorIs(t, w.actuator().writeScale(t.Context(), stale, 5), ErrMoved, "a version that is not the latest")
	require.NoError(t, w.actuator().Scale(t.Context(), grow(0, 3), testPlan), "taken before")
	require.ErrorIs(t, w.actuator().Scale(t.Context(), grow(0, 4), testPlan), ErrMoved)
	assert.Equal(t, md.ResourceVersion, w.deployment(t).ResourceVersion, "nothing was written since")
}

// testLostRace: another writer comes between the check and the write.
func (w *liveWorld) testLostRace(t *testing.T) {
	raced := interceptor.NewClient(w.WithWatch, interceptor.Funcs{
		SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, o client.Object, opts ...client.SubResourceUpdateOption) error {
			md := w.deployment(t)
			md.Spec.Replicas = new(int32(1))
			require.NoError(t, w.Update(ctx, md))
			return c.SubResource(sub).Update(ctx, o, opts...)
		},
	})
	a := NewActuator(ActuatorOptions{Management: raced, Workload: raced, Namespace: testNamespace, ClusterName: testCluster})
	err := a.Scale(t.Context(), grow(3, 4), testPlan)
	require.ErrorIs(t, err, ErrMoved)
	assert.EqualValues(t, 1, *w.deployment(t).Spec.Replicas)
}

func (w *liveWorld) testCordon(t *testing.T) {
	n := node("n1", nil)
	n.Spec.Taints = []corev1.Taint{{Key: "gpu", Effect: corev1.TaintEffectNoSchedule}}
	w.create(t, n)
	p := pod("busy", "n1", requesting(nil))
	p.Spec.Containers[0].Image = "none"
	w.create(t, p)
	step := planner.Step{Kind: planner.StepCordon, Node: "n1", NodeUID: string(n.UID)}
	require.ErrorIs(t, w.actuator().Cordon(t.Context(), step, testPlan, testTime), ErrMoved)

	require.NoError(t, w.Delete(t.Context(), p, client.GracePeriodSeconds(0)))
	require.NoError(t, w.actuator().Cordon(t.Context(), step, testPlan, testTime))
	require.NoError(t, w.Get(t.Context(), client.ObjectKeyFromObject(n), n))
	taint, ok := cordonOf(n)
	require.True(t, ok)
	assert.Equal(t, "plan-7.1790000000", taint.Value)
	keys := make([]string, 0, len(n.Spec.Taints))
	for _, taint := range n.Spec.Taints {
		keys = append(keys, taint.Key)
	}
	assert.Contains(t, keys, "gpu")

	require.NoError(t, w.actuator().Uncordon(t.Context(), step))
	require.NoError(t, w.actuator().Cordon(t.Context(), step, testPlan, testTime))
}

// testRemove: the last Machine goes, so that a zero has to reach the API server.
func (w *liveWorld) testRemove(t *testing.T) {
	ms := &clusterv1.MachineSet{}
	require.NoError(t, w.Get(t.Context(), client.ObjectKey{Namespace: testNamespace, Name: "a"}, ms))
	m := machine("m1", "a", "")
	m.OwnerReferences[0].UID = ms.UID
	m.Spec = machineSpec()
	w.create(t, m)
	m.Status.NodeRef.Name = "n1"
	require.NoError(t, w.Status().Update(t.Context(), m))

	step := removal(1, 0, "m1")
	err := w.actuator().Remove(t.Context(), step, testPlan, testTime)
	require.ErrorIs(t, err, ErrMoved)
	require.ErrorContains(t, err, "is rolling out")
	w.observed(t)
	require.NoError(t, w.actuator().Remove(t.Context(), step, testPlan, testTime))
	md := w.deployment(t)
	require.NotNil(t, md.Spec.Replicas)
	assert.Zero(t, *md.Spec.Replicas)
	require.NoError(t, w.Get(t.Context(), client.ObjectKeyFromObject(m), m))
	assert.True(t, carriesBoth(m))

	// The shrink is under way: the mark may not be taken back.
	later := testTime.Add(time.Minute)
	require.ErrorIs(t, w.actuator().Unmark(t.Context(), step, later), ErrMoved)
	md.Spec.Replicas = new(int32(1))
	require.NoError(t, w.Update(t.Context(), md))
	require.NoError(t, w.actuator().Unmark(t.Context(), step, later))
	require.NoError(t, w.Get(t.Context(), client.ObjectKeyFromObject(m), m))
	assert.NotContains(t, m.Annotations, clusterv1.DeleteMachineAnnotation)
	assert.NotContains(t, m.Annotations, DeleteMarkAnnotation)
}

// testEvict: the real eviction API, with a budget that its controller has not
// opened.
func (w *liveWorld) testEvict(t *testing.T) {
	for _, name := range []string{"held", "free"} {
		p := pod(name, "n1", requesting(nil), controlledBy("apps/v1", "ReplicaSet", "web"), func(p *corev1.Pod) { p.Labels = map[string]string{"app": name} })
		p.Spec.Containers[0].Image = "none"
		w.create(t, p)
		p.Status.Phase = corev1.PodRunning
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		require.NoError(t, w.Status().Update(t.Context(), p))
	}
	b := pdb("held", 0, map[string]string{"app": "held"})
	w.create(t, b)
	b.Status = policyv1.PodDisruptionBudgetStatus{ObservedGeneration: b.Generation, ExpectedPods: 1, CurrentHealthy: 1, DesiredHealthy: 1}
	require.NoError(t, w.Status().Update(t.Context(), b))
	step := planner.Step{Kind: planner.StepEvict, Node: "n1"}
	for _, name := range []string{"held", "free"} {
		p := &corev1.Pod{}
		require.NoError(t, w.Get(t.Context(), client.ObjectKey{Namespace: "jobs", Name: name}, p))
		step.Pods = append(step.Pods, planner.PodRef{Namespace: "jobs", Name: name, UID: string(p.UID)})
	}
	err := w.actuator().Evict(t.Context(), step, testPlan)
	require.ErrorIs(t, err, ErrMoved)
	require.ErrorContains(t, err, "a disruption budget holds pod jobs/held")
	require.NotContains(t, err.Error(), "jobs/free")
	free := &corev1.Pod{}
	if err := w.Get(t.Context(), client.ObjectKey{Namespace: "jobs", Name: "free"}, free); err == nil {
		require.NotNil(t, free.DeletionTimestamp)
		require.NoError(t, w.Delete(t.Context(), free, client.GracePeriodSeconds(0)))
	}
	held := pod("held", "")
	require.NoError(t, w.Delete(t.Context(), held, client.GracePeriodSeconds(0)))
	require.NoError(t, w.actuator().Evict(t.Context(), step, testPlan), "both are gone")
}

func (w *liveWorld) testHook(t *testing.T) {
	ms := &clusterv1.MachineSet{}
	require.NoError(t, w.Get(t.Context(), client.ObjectKey{Namespace: testNamespace, Name: "a"}, ms))
	m := machine("h1", "a", "")
	m.OwnerReferences[0].UID = ms.UID
	m.Spec = machineSpec()
	m.Finalizers = []string{"test/hold"}
	w.create(t, m)
	require.NoError(t, w.actuator().Hook(t.Context(), hookStep(planner.StepHook, "h1"), testPlan))
	release := hookStep(planner.StepReleaseHook, "h1")
	require.ErrorIs(t, w.actuator().ReleaseHook(t.Context(), release, testPlan, testTime), ErrMoved)
	require.NoError(t, w.Delete(t.Context(), m))
	require.NoError(t, w.Get(t.Context(), client.ObjectKeyFromObject(m), m))
	require.True(t, hooked(m))
	require.NoError(t, w.actuator().ReleaseHook(t.Context(), release, testPlan, testTime))
	require.NoError(t, w.Get(t.Context(), client.ObjectKeyFromObject(m), m))
	assert.False(t, hooked(m))
	m.Finalizers = nil
	require.NoError(t, w.Update(t.Context(), m))
}

// testRemember: the note changes no generation, so it looks like no rollout.
func (w *liveWorld) testRemember(t *testing.T) {
	before := w.deployment(t)
	step := planner.Step{Group: testNamespace + "/a", Backoffs: []planner.Backoff{{Kind: planner.FailureQuota, Until: testTime}}}
	require.NoError(t, w.actuator().Remember(t.Context(), step, testPlan))
	after := w.deployment(t)
	assert.Equal(t, before.Generation, after.Generation)
	got, err := readBackoffs(after.Annotations)
	require.NoError(t, err)
	assert.Equal(t, step.Backoffs, got)
}

// testRelease: what the other tests have left is taken.
func (w *liveWorld) testRelease(t *testing.T) {
	o := ReleaseOptions{Management: w, Workload: w, Namespace: testNamespace, ClusterName: testCluster}
	got, err := Release(t.Context(), o)
	require.NoError(t, err)
	assert.Equal(t, []string{"Node n1 " + planner.CordonTaint, "MachineDeployment pools/a " + BackoffAnnotation}, taken(got))
	got, err = Release(t.Context(), o)
	require.NoError(t, err)
	assert.Empty(t, got)
}
