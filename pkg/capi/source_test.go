package capi

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

func sourceOf(t *testing.T, v View, kind planner.SourceKind) planner.Source {
	t.Helper()
	i := slices.IndexFunc(v.Sources, func(s planner.Source) bool { return s.Kind == kind })
	require.GreaterOrEqual(t, i, 0)
	return v.Sources[i]
}

func TestObserveKeepsToItsCluster(t *testing.T) {
	t.Parallel()
	v := observeAll(t, cluster(),
		deployment("ours", 1), deployment("theirs", 1, func(md *clusterv1.MachineDeployment) { md.Spec.ClusterName = "other" }),
		deployment("elsewhere", 1, func(md *clusterv1.MachineDeployment) { md.Namespace = "other" }),
		machineSet("ours", "ours", 1),
		machine("m", "ours", "n"), machine("t", "theirs", "", func(m *clusterv1.Machine) { m.Spec.ClusterName = "other" }),
		node("n", nil),
		pod("runs", "n"), pod("done", "n", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }), pod("failed", "n", func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }),
	)
	require.Len(t, v.NodeGroups, 1)
	assert.Equal(t, "ours", v.NodeGroups[0].Name)
	require.Len(t, v.Machines, 1)
	assert.Equal(t, testNamespace+"/ours", v.Machines[0].Group)
	require.Len(t, v.Pods, 1)
	assert.Equal(t, "runs", v.Pods[0].Name)
	for _, s := range v.Sources {
		assert.True(t, s.Known, s.Kind)
		assert.Empty(t, s.Error)
	}
}

// Fault 33: min is above max, or an annotation is garbage: that group alone is left out.
func TestOneBadGroupStandsAlone(t *testing.T) {
	t.Parallel()
	v := observeAll(t, cluster(),
		deployment("bad", 1, annotated(clusterv1.AutoscalerMinSizeAnnotation, "9", clusterv1.AutoscalerMaxSizeAnnotation, "1")),
		deployment("good", 1, annotated(annotationCPU, "4", annotationMemory, "8Gi")),
		deployment("odd", 1, annotated(annotationCPU, "four")),
		node("n", amounts("cpu", "-1")), node("m", amounts("cpu", "4")),
	)
	assert.NotEmpty(t, groupOf(t, v, "bad").Invalid)
	assert.Empty(t, groupOf(t, v, "good").Invalid)
	assert.Equal(t, planner.Resources{"CPU": 4000, "memory": 8 * gib}, groupOf(t, v, "good").Capacity)
	assert.Empty(t, groupOf(t, v, "odd").Invalid)
	management, work := sourceOf(t, v, planner.SourceManagement), sourceOf(t, v, planner.SourceWorkload)
	assert.True(t, management.Known)
	assert.Contains(t, management.Error, `MachineDeployment pools/odd: annotation capacity.cluster-autoscaler.kubernetes.io/cpu is "four"`)
	assert.True(t, work.Known)
	assert.Contains(t, work.Error, "Node n: cpu is -1")
	assert.True(t, nodeNamed(t, v, "m").Ready)
}

// TestUnknownIsNotZero: what cannot be read keeps its last content, and says
// that it is not known.
// Fault 39: the right to list one kind is lost.
// Fault 40: one kind of a side is listed and another is not.
func TestUnknownIsNotZero(t *testing.T) {
	t.Parallel()
	var failing atomic.Pointer[string] // a list type that cannot be read
	base := newWorld(t, cluster(), deployment("a", 1), machineSet("a", "a", 1), machine("m", "a", "n"), node("n", amounts("cpu", "4")), pod("p", "n"))
	reader := interceptor.NewClient(base.WithWatch, interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			if f := failing.Load(); f != nil && *f == kindOf(list) {
				return errors.New("forbidden")
			}
			return c.List(ctx, list, opts...)
		},
	})
	var sick error
	s := New(Options{
		Management: reader, Workload: reader, Namespace: testNamespace, ClusterName: testCluster,
		WorkloadHealth: func() error { return sick },
	})

	sick = errors.New("the caches have not synced")
	v := s.Observe(testTime)
	assert.Empty(t, v.Nodes)
	assert.Equal(t, planner.Source{Kind: planner.SourceWorkload, Error: "the caches have not synced"}, sourceOf(t, v, planner.SourceWorkload))
	assert.True(t, sourceOf(t, v, planner.SourceManagement).Known)

	sick = nil
	v = s.Observe(testTime.Add(time.Second))
	assert.Len(t, v.Nodes, 1)
	assert.True(t, sourceOf(t, v, planner.SourceWorkload).Known)

	for kind, source := range map[string]planner.SourceKind{
		"MachineDeploymentList": planner.SourceManagement, "MachineSetList": planner.SourceManagement, "MachineList": planner.SourceManagement,
		"NodeList": planner.SourceWorkload, "PodList": planner.SourceWorkload,
	} {
		failing.Store(&kind)
		v = s.Observe(testTime.Add(11 * time.Second))
		got := sourceOf(t, v, source)
		assert.False(t, got.Known, kind)
		assert.Equal(t, planner.Duration(10*time.Second), got.Age, kind)
		assert.Contains(t, got.Error, "forbidden", kind)
		assert.Len(t, v.NodeGroups, 1, kind)
		assert.Len(t, v.Machines, 1, kind)
		assert.Len(t, v.Nodes, 1, kind)
		assert.Len(t, v.Pods, 1, kind)
		failing.Store(nil)
		v = s.Observe(testTime.Add(time.Second))
		assert.True(t, sourceOf(t, v, source).Known, kind)
	}

	require.NoError(t, base.Delete(t.Context(), cluster()))
	v = s.Observe(testTime.Add(2 * time.Second))
	assert.False(t, sourceOf(t, v, planner.SourceManagement).Known, "without its Cluster nothing is safe")
	assert.Len(t, v.NodeGroups, 1)
}

func kindOf(list client.ObjectList) string {
	switch list.(type) {
	case *clusterv1.MachineDeploymentList:
		return "MachineDeploymentList"
	case *clusterv1.MachineSetList:
		return "MachineSetList"
	case *clusterv1.MachineList:
		return "MachineList"
	case *corev1.NodeList:
		return "NodeList"
	case *corev1.PodList:
		return "PodList"
	}
	return ""
}

// TestViewsDoNotShareLists: completing one view must not reach into the next.
func TestViewsDoNotShareLists(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster(), deployment("a", 1, annotated(VMClassAnnotation, "gpu")), machineSet("a", "a", 1), machine("m", "a", "n"), node("n", amounts("cpu", "4")))
	var sick error
	s := New(Options{Management: w, Workload: w, Namespace: testNamespace, ClusterName: testCluster, WorkloadHealth: func() error { return sick }})
	v := s.Observe(testTime)
	FillFromClasses(&v, []planner.VMClass{{Name: "gpu", Capacity: planner.Resources{"GPU": 10000}}}, Overhead{})
	require.False(t, v.Nodes[0].Ready)
	sick = errors.New("the watch fails") // so the next view is made from what was read before
	assert.True(t, s.Observe(testTime).Nodes[0].Ready)
}

// TestPodIsTranslatedAnew: the memory of translated pods goes by version.
func TestPodIsTranslatedAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster(), pod("p", ""))
	s := New(Options{Management: w, Workload: w, Namespace: testNamespace, ClusterName: testCluster})
	require.Empty(t, s.Observe(testTime).Pods[0].Node)
	change(t, w, pod("p", ""), func(p *corev1.Pod) { p.Spec.NodeName = "n" })
	assert.Equal(t, "n", s.Observe(testTime).Pods[0].Node)
	require.NoError(t, w.Delete(t.Context(), pod("p", "")))
	assert.Empty(t, s.Observe(testTime).Pods)
}

func supervisorTemplate(name, class string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": groupSupervisor + "/v1beta2", "kind": "VSphereMachineTemplate",
		"metadata": map[string]any{"name": name, "namespace": testNamespace},
		"spec":     map[string]any{"template": map[string]any{"spec": map[string]any{"className": class}}},
	}}
	return u
}

func withTemplate(name string) func(*clusterv1.MachineDeployment) {
	return func(md *clusterv1.MachineDeployment) {
		md.Spec.Template.Spec.InfrastructureRef = clusterv1.ContractVersionedObjectReference{APIGroup: groupSupervisor, Kind: "VSphereMachineTemplate", Name: name}
	}
}

// templateWorld is a source whose templates are read by a client of their own.
type templateWorld struct {
	*Source
	templates client.WithWatch
	reads     atomic.Int64
	fault     atomic.Pointer[error]
	changed   chan struct{}
}

func newTemplateWorld(t *testing.T, refresh time.Duration, deployments []client.Object, templates ...client.Object) *templateWorld {
	t.Helper()
	tw := &templateWorld{changed: make(chan struct{}, 100)}
	tw.templates = fake.NewClientBuilder().WithObjects(templates...).WithInterceptorFuncs(interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			tw.reads.Add(1)
			if f := tw.fault.Load(); f != nil {
				return *f
			}
			return c.Get(ctx, key, o, opts...)
		},
	}).Build()
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{{Group: groupSupervisor, Version: "v1beta2"}})
	mapper.Add(schema.GroupVersionKind{Group: groupSupervisor, Version: "v1beta2", Kind: "VSphereMachineTemplate"}, meta.RESTScopeNamespace)
	w := newWorld(t, append(deployments, cluster())...)
	tw.Source = New(Options{
		Management: w, Workload: w, Namespace: testNamespace, ClusterName: testCluster,
		Templates: tw.templates, Mapper: mapper, TemplateRefresh: refresh,
		Changed: func() { tw.changed <- struct{}{} },
	})
	return tw
}

func (tw *templateWorld) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- tw.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
}

func TestTemplatesAreReadInTheBackground(t *testing.T) {
	t.Parallel()
	tw := newTemplateWorld(t, time.Hour, []client.Object{deployment("a", 0, withTemplate("a")), deployment("b", 0, withTemplate("b")), deployment("c", 0, withTemplate("gone"))},
		supervisorTemplate("a", "gpu-large"), supervisorTemplate("b", "cpu-small"))
	v := tw.Observe(testTime)
	assert.Zero(t, tw.reads.Load(), "observing never goes to the wire")
	assert.Empty(t, groupOf(t, v, "a").Class)
	assert.Contains(t, sourceOf(t, v, planner.SourceManagement).Error, "VSphereMachineTemplate pools/a has not been read yet")

	tw.start(t)
	<-tw.changed
	v = tw.Observe(testTime)
	assert.Equal(t, "gpu-large", groupOf(t, v, "a").Class)
	assert.Equal(t, "gpu-large", groupOf(t, v, "a").Labels[corev1.LabelInstanceTypeStable])
	assert.Equal(t, "cpu-small", groupOf(t, v, "b").Class)
	assert.Contains(t, sourceOf(t, v, planner.SourceManagement).Error, "reading VSphereMachineTemplate pools/gone")
	assert.True(t, sourceOf(t, v, planner.SourceManagement).Known)
}

// TestTemplateReadAgain: a change is seen, and a template that cannot be read
// for a while is believed as it was.
func TestTemplateReadAgain(t *testing.T) {
	t.Parallel()
	tw := newTemplateWorld(t, time.Millisecond, []client.Object{deployment("a", 0, withTemplate("a"))}, supervisorTemplate("a", "old"))
	tw.Observe(testTime)
	tw.start(t)
	<-tw.changed
	require.Equal(t, "old", groupOf(t, tw.Observe(testTime), "a").Class)

	edited := supervisorTemplate("a", "new")
	require.NoError(t, tw.templates.Patch(t.Context(), edited, client.Merge))
	<-tw.changed
	require.Equal(t, "new", groupOf(t, tw.Observe(testTime), "a").Class)

	fault := error(apierrors.NewForbidden(schema.GroupResource{Resource: "vspheremachinetemplates"}, "a", errors.New("no right")))
	tw.fault.Store(&fault)
	<-tw.changed
	v := tw.Observe(testTime)
	assert.Equal(t, "new", groupOf(t, v, "a").Class)
	assert.Contains(t, sourceOf(t, v, planner.SourceManagement).Error, "no right")

	tw.fault.Store(nil)
	<-tw.changed
	assert.Empty(t, sourceOf(t, tw.Observe(testTime), planner.SourceManagement).Error)
}

func TestParseTemplate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in   map[string]any
		want template
	}{
		"nothing": {map[string]any{}, template{}},
		"class of another provider": {map[string]any{
			"apiVersion": "infrastructure.cluster.x-k8s.io/v1beta2", "spec": map[string]any{"template": map[string]any{"spec": map[string]any{"className": "x"}}},
		}, template{}},
		"class of the wrong type": {map[string]any{
			"apiVersion": groupSupervisor + "/v1beta1", "spec": map[string]any{"template": map[string]any{"spec": map[string]any{"className": int64(1)}}},
		}, template{}},
		"annotated outside": {map[string]any{"metadata": map[string]any{"annotations": map[string]any{VMClassAnnotation: "out"}}, "spec": map[string]any{"template": map[string]any{"metadata": map[string]any{"annotations": map[string]any{VMClassAnnotation: "in"}}}}}, template{annotated: "out"}},
		"annotated inside":  {map[string]any{"spec": map[string]any{"template": map[string]any{"metadata": map[string]any{"annotations": map[string]any{VMClassAnnotation: "in"}}}}}, template{annotated: "in"}},
		"status": {map[string]any{"status": map[string]any{
			"capacity": map[string]any{"cpu": "4", "memory": "8Gi"}, "nodeInfo": map[string]any{"architecture": "arm64", "operatingSystem": "linux"},
		}}, template{capacity: planner.Resources{"CPU": 4000, "memory": 8 * gib}, arch: "arm64", os: "linux"}},
		"half a capacity": {map[string]any{"status": map[string]any{"capacity": map[string]any{"cpu": int64(4)}}}, template{}},
		"bad capacity":    {map[string]any{"status": map[string]any{"capacity": map[string]any{"cpu": "-4"}}}, template{err: "status.capacity: cpu is -4: amounts must not be negative"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, c.want, parseTemplate(&unstructured.Unstructured{Object: c.in}))
		})
	}
}

func TestCapacityOfTemplate(t *testing.T) {
	t.Parallel()
	tpl := supervisorTemplate("a", "")
	tpl.Object["status"] = map[string]any{"capacity": map[string]any{"cpu": "4", "memory": "8Gi"}}
	tw := newTemplateWorld(t, time.Hour, []client.Object{deployment("a", 0, withTemplate("a"))}, tpl)
	tw.Observe(testTime)
	tw.start(t)
	<-tw.changed
	g := groupOf(t, tw.Observe(testTime), "a")
	assert.Equal(t, "template", g.CapacityFrom)
	assert.Equal(t, planner.Resources{"CPU": 4000, "memory": 8 * gib}, g.Capacity)
}
