package capi

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

const gib = int64(1) << 30

func observeAll(t *testing.T, objects ...client.Object) View {
	t.Helper()
	w := newWorld(t, objects...)
	return New(Options{Management: w, Workload: w, Namespace: testNamespace, ClusterName: testCluster}).Observe(testTime)
}

func groupOf(t *testing.T, v View, name string) planner.NodeGroup {
	t.Helper()
	i := slices.IndexFunc(v.NodeGroups, func(g planner.NodeGroup) bool { return g.Name == name })
	require.GreaterOrEqual(t, i, 0, "group %s", name)
	return v.NodeGroups[i]
}

func nodeNamed(t *testing.T, v View, name string) planner.Node {
	t.Helper()
	i := slices.IndexFunc(v.Nodes, func(n planner.Node) bool { return n.Name == name })
	require.GreaterOrEqual(t, i, 0, "node %s", name)
	return v.Nodes[i]
}

// TestTrustOrder: a live node, then annotations, then the class; each case takes
// one of them away.
// Fault 52: a capacity hint is wrong: the first real node corrects it.
func TestTrustOrder(t *testing.T) {
	t.Parallel()
	hinted := annotated(annotationCPU, "8", annotationMemory, "32Gi", annotationGPUCount, "2", annotationTaints, "hint=1:NoSchedule", VMClassAnnotation, "big")
	classes := []planner.VMClass{
		{Name: "big", Capacity: planner.Resources{"CPU": 10000, "memory": 40 * gib, "GPU": 20000}},
		{Name: "broken", Invalid: "it has no cpus", Capacity: planner.Resources{"CPU": 1}},
	}
	live := node("n", amounts("cpu", "7", "memory", "30Gi", "nvidia.com/gpu", "1"), func(n *corev1.Node) {
		n.Labels["seen"], n.Labels[corev1.LabelTopologyZone] = "yes", "z1"
		n.Spec.Taints = []corev1.Taint{{Key: "pool", Effect: corev1.TaintEffectNoSchedule}, {Key: corev1.TaintNodeMemoryPressure, Effect: corev1.TaintEffectNoSchedule}}
		cordoned(n)
	})
	overhead := Overhead{CPUPermille: 100, Fixed: planner.Resources{"memory": gib}}
	for name, c := range map[string]struct {
		objects  []client.Object
		from     string
		capacity planner.Resources
	}{
		"live node": {
			[]client.Object{deployment("a", 1, hinted), machineSet("a", "a", 1), machine("m", "a", "n"), live},
			"node",
			planner.Resources{"CPU": 7000, "memory": 30 * gib, "GPU": 10000},
		},
		"live node going":      {[]client.Object{deployment("a", 1, hinted), machineSet("a", "a", 1), machine("m", "a", "n", deleting), live}, "annotation", planner.Resources{"CPU": 8000, "memory": 32 * gib, "GPU": 20000}},
		"live node of another": {[]client.Object{deployment("a", 1, hinted), live}, "annotation", planner.Resources{"CPU": 8000, "memory": 32 * gib, "GPU": 20000}},
		"annotations":          {[]client.Object{deployment("a", 0, hinted)}, "annotation", planner.Resources{"CPU": 8000, "memory": 32 * gib, "GPU": 20000}},
		"class":                {[]client.Object{deployment("a", 0, annotated(VMClassAnnotation, "big"))}, "class", planner.Resources{"CPU": 9000, "memory": 39 * gib, "GPU": 20000}},
		"class with a hint":    {[]client.Object{deployment("a", 0, annotated(VMClassAnnotation, "big", annotationDisk, "10Gi", annotationGPUCount, "4"))}, "class", planner.Resources{"CPU": 9000, "memory": 39 * gib, "GPU": 40000, "ephemeral-storage": 10 * gib}},
		"class unknown":        {[]client.Object{deployment("a", 0, annotated(VMClassAnnotation, "huge"))}, "", nil},
		"class broken":         {[]client.Object{deployment("a", 0, annotated(VMClassAnnotation, "broken"))}, "", nil},
		"nothing":              {[]client.Object{deployment("a", 0)}, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := observeAll(t, append(c.objects, cluster())...)
			FillFromClasses(&v, classes, overhead)
			g := groupOf(t, v, "a")
			assert.Equal(t, c.from, g.CapacityFrom)
			assert.Equal(t, c.capacity, g.Capacity)
			assert.Empty(t, g.Invalid)
			if c.from == "node" {
				assert.Equal(t, map[string]string{"seen": "yes"}, g.Labels, "what a node shows beats what was promised, and names of one node or zone are no promise")
				assert.Equal(t, []planner.Taint{{Key: "pool", Effect: "NoSchedule"}}, g.Taints)
			}
			before := v.NodeGroups
			FillFromClasses(&v, classes, overhead)
			assert.Equal(t, before, v.NodeGroups, "calling it again changes nothing")
		})
	}
}

// TestSeveralNodes: the smallest counts, by resource, and only what all share.
func TestSeveralNodes(t *testing.T) {
	t.Parallel()
	v := observeAll(t, cluster(), deployment("a", 3), machineSet("a", "a", 3),
		machine("m1", "a", "n1"), machine("m2", "a", "n2"), machine("m3", "a", "n3"),
		node("n1", amounts("cpu", "8", "memory", "30Gi"), func(n *corev1.Node) { n.Labels["pool"], n.Labels["one"] = "a", "1" }),
		node("n2", amounts("cpu", "7", "memory", "32Gi", "example.com/nic", "1"), func(n *corev1.Node) { n.Labels["pool"] = "a" }),
		node("n3", amounts("cpu", "1"), func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionFalse }),
	)
	g := groupOf(t, v, "a")
	assert.Equal(t, planner.Resources{"CPU": 7000, "memory": 30 * gib}, g.Capacity)
	assert.Equal(t, map[string]string{"pool": "a"}, g.Labels)
	assert.Equal(t, testNamespace+"/m2", nodeNamed(t, v, "n2").Machine)
}

// TestDaemonSets: their pods take room on every node, also on one that does not
// have them all yet, and on one that does not exist yet.
func TestDaemonSets(t *testing.T) {
	t.Parallel()
	daemon := func(name, of, on, cpu string) *corev1.Pod {
		return pod(name, on, controlledBy("apps/v1", "DaemonSet", of), requesting(amounts("cpu", cpu)))
	}
	v := observeAll(t, cluster(), deployment("a", 2), machineSet("a", "a", 2), machine("m1", "a", "n1"),
		deployment("b", 0, annotated(annotationCPU, "4", annotationMemory, "8Gi")),
		node("n1", amounts("cpu", "8", "memory", "8Gi")), node("n2", amounts("cpu", "8")), node("n3", amounts("cpu", "8")),
		daemon("proxy-2", "proxy", "n2", "200m"), daemon("proxy-3", "proxy", "n3", "300m"), // not on n1 yet
		daemon("rare-3", "rare", "n3", "2"),
		daemon("own-1", "own", "n1", "1"),
	)
	assert.Equal(t, planner.Resources{"CPU": 7000, "memory": 8 * gib}, groupOf(t, v, "a").Capacity, "its own take more than the usual ones")
	assert.Equal(t, planner.Resources{"CPU": 3700, "memory": 8 * gib}, groupOf(t, v, "b").Capacity)
}

// TestLateDevices: a node that was promised GPUs is not ready before it shows
// one, whoever promised them.
// Fault 53: a device plugin comes late, or never.
func TestLateDevices(t *testing.T) {
	t.Parallel()
	classes := []planner.VMClass{{Name: "gpu", Capacity: planner.Resources{"CPU": 8000, "memory": 8 * gib, "GPU": 20000}}}
	byClass := annotated(VMClassAnnotation, "gpu")
	for name, c := range map[string]struct {
		md    func(*clusterv1.MachineDeployment)
		shows corev1.ResourceList
		ready bool
		from  string
	}{
		"class, none":           {byClass, amounts("cpu", "8", "memory", "8Gi"), false, "class"},
		"class, zero":           {byClass, amounts("cpu", "8", "memory", "8Gi", "nvidia.com/gpu", "0"), false, "class"},
		"class, all":            {byClass, amounts("cpu", "8", "memory", "8Gi", "nvidia.com/gpu", "2"), true, "node"},
		"class, fewer":          {byClass, amounts("cpu", "8", "memory", "8Gi", "nvidia.com/gpu", "1"), true, "node"},
		"class, sliced":         {byClass, amounts("cpu", "8", "memory", "8Gi", "nvidia.com/mig-1g.5gb", "7"), true, "node"},
		"annotation, none":      {annotated(annotationCPU, "8", annotationMemory, "8Gi", annotationGPUCount, "2"), amounts("cpu", "8", "memory", "8Gi"), false, "annotation"},
		"annotation, by a name": {annotated(annotationCPU, "8", annotationMemory, "8Gi", annotationGPUCount, "2", annotationGPUType, "amd.com/gpu"), amounts("cpu", "8", "memory", "8Gi", "nvidia.com/gpu", "2"), false, "annotation"},
		"nothing promised":      {annotated(), amounts("cpu", "8", "memory", "8Gi"), true, "node"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := observeAll(t, cluster(), deployment("a", 1, c.md), machineSet("a", "a", 1), machine("m", "a", "n"), node("n", c.shows))
			FillFromClasses(&v, classes, Overhead{})
			assert.Equal(t, c.ready, nodeNamed(t, v, "n").Ready)
			g := groupOf(t, v, "a")
			assert.Equal(t, c.from, g.CapacityFrom)
			if c.from != "node" {
				assert.EqualValues(t, 20000, max(g.Capacity["GPU"], g.Capacity["amd.com/gpu"]))
			}
		})
	}
}

// TestClaims: a Node that several Machines claim belongs to the one it names
// itself, or to none.
func TestClaims(t *testing.T) {
	t.Parallel()
	named := node("named", nil, func(n *corev1.Node) {
		n.Annotations = map[string]string{clusterv1.MachineAnnotation: "m2", clusterv1.ClusterNamespaceAnnotation: testNamespace}
	})
	v := observeAll(t, cluster(), deployment("a", 4), machineSet("a", "a", 4), named, node("unnamed", nil),
		machine("m1", "a", "named"), machine("m2", "a", "named"), machine("m3", "a", "unnamed"), machine("m4", "a", "unnamed"))
	assert.Equal(t, testNamespace+"/m2", nodeNamed(t, v, "named").Machine)
	assert.Empty(t, nodeNamed(t, v, "unnamed").Machine)
}

func TestOverheadKeepsWithinBounds(t *testing.T) {
	t.Parallel()
	hardware := planner.Resources{"CPU": 8000, "memory": 1 << 60}
	assert.Equal(t, hardware, Overhead{CPUPermille: -5}.room(hardware))
	got := Overhead{CPUPermille: 5000, MemoryPermille: 50, Fixed: planner.Resources{"CPU": 1}}.room(hardware)
	assert.Zero(t, got["CPU"])
	assert.InEpsilon(t, 0.95*float64(int64(1)<<60), float64(got["memory"]), 1e-9)
}
