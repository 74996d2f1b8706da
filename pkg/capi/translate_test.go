package capi

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

func TestGroupRefusals(t *testing.T) {
	t.Parallel()
	topology := func(replicas *int32) func(*clusterv1.Cluster) {
		return func(c *clusterv1.Cluster) {
			c.Spec.Topology.Workers.MachineDeployments = []clusterv1.MachineDeploymentTopology{{Name: "other", Replicas: new(int32(1))}, {Name: "workers", Replicas: replicas}}
		}
	}
	owned := func(md *clusterv1.MachineDeployment) {
		md.Labels = map[string]string{clusterv1.ClusterTopologyOwnedLabel: "", clusterv1.ClusterTopologyMachineDeploymentNameLabel: "workers"}
	}
	for name, c := range map[string]struct {
		md      *clusterv1.MachineDeployment
		cluster *clusterv1.Cluster
		want    string // empty: valid
	}{
		"plain":                    {deployment("a", 2), cluster(), ""},
		"min above max":            {deployment("a", 2, annotated(clusterv1.AutoscalerMinSizeAnnotation, "11")), cluster(), "the minimum size 11 is above the maximum size 10"},
		"garbage":                  {deployment("a", 2, annotated(clusterv1.AutoscalerMaxSizeAnnotation, "many")), cluster(), "no whole number"},
		"replicas unknown":         {deployment("a", 2, func(md *clusterv1.MachineDeployment) { md.Spec.Replicas = nil }), cluster(), "spec.replicas is not set"},
		"being deleted":            {deployment("a", 2, func(md *clusterv1.MachineDeployment) { md.DeletionTimestamp = new(metav1.NewTime(testTime)) }), cluster(), "the MachineDeployment is being deleted"},
		"cluster being deleted":    {deployment("a", 2), cluster(func(c *clusterv1.Cluster) { c.DeletionTimestamp = new(metav1.NewTime(testTime)) }), "the Cluster is being deleted"},
		"topology owns replicas":   {deployment("a", 2, owned), cluster(topology(new(int32(2)))), "remove spec.topology.workers.machineDeployments[1].replicas"},
		"topology leaves replicas": {deployment("a", 2, owned), cluster(topology(nil)), ""},
		"not of the topology":      {deployment("a", 2), cluster(topology(new(int32(2)))), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := translateGroup(c.md, c.cluster, nil, template{})
			if c.want == "" {
				assert.Empty(t, g.Invalid)
				assert.EqualValues(t, 2, g.Replicas)
				return
			}
			assert.Contains(t, g.Invalid, c.want)
			assert.True(t, g.Managed)
		})
	}
}

func TestGroupPausedAndRollingOut(t *testing.T) {
	t.Parallel()
	populated := func(name string, want, have int32) *clusterv1.MachineSet {
		ms := machineSet(name, "a", want)
		ms.Status.Replicas = new(have)
		return ms
	}
	pausedByAnnotation := map[string]string{clusterv1.PausedAnnotation: ""}
	for name, c := range map[string]struct {
		md              *clusterv1.MachineDeployment
		cluster         *clusterv1.Cluster
		sets            []*clusterv1.MachineSet
		paused, rolling bool
	}{
		"neither":           {deployment("a", 1), cluster(), []*clusterv1.MachineSet{populated("x", 1, 1), populated("y", 0, 0)}, false, false},
		"own annotation":    {deployment("a", 1, annotated(clusterv1.PausedAnnotation, "")), cluster(), nil, true, false},
		"own field":         {deployment("a", 1, func(md *clusterv1.MachineDeployment) { md.Spec.Paused = new(true) }), cluster(), nil, true, false},
		"cluster's field":   {deployment("a", 1), cluster(func(c *clusterv1.Cluster) { c.Spec.Paused = new(true) }), nil, true, false},
		"cluster's note":    {deployment("a", 1), cluster(func(c *clusterv1.Cluster) { c.Annotations = pausedByAnnotation }), nil, true, false},
		"not observed":      {deployment("a", 1, func(md *clusterv1.MachineDeployment) { md.Generation = 3; md.Status.ObservedGeneration = 2 }), cluster(), nil, false, true},
		"two MachineSets":   {deployment("a", 1), cluster(), []*clusterv1.MachineSet{populated("x", 1, 1), populated("y", 0, 1)}, false, true},
		"one to be created": {deployment("a", 1), cluster(), []*clusterv1.MachineSet{populated("x", 1, 1), populated("y", 1, 0)}, false, true},
		"condition": {deployment("a", 1, func(md *clusterv1.MachineDeployment) {
			md.Status.Conditions = []metav1.Condition{{Type: clusterv1.MachineDeploymentRollingOutCondition, Status: metav1.ConditionTrue}}
		}), cluster(), nil, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := translateGroup(c.md, c.cluster, c.sets, template{})
			assert.Equal(t, c.paused, g.Paused, "paused")
			assert.Equal(t, c.rolling, g.RollingOut, "rolling out")
			assert.Empty(t, g.Invalid)
		})
	}
}

func TestGroupPromises(t *testing.T) {
	t.Parallel()
	md := deployment("a", 1, annotated(
		annotationLabels, "pool=a100,kubernetes.io/arch=arm64",
		annotationTaints, "gpu=yes:NoSchedule",
		VMClassAnnotation, "mine",
	), func(md *clusterv1.MachineDeployment) {
		md.Spec.Template.Labels = map[string]string{
			"node-role.kubernetes.io/worker": "", "x.node-restriction.kubernetes.io/y": "1",
			"node.cluster.x-k8s.io/z": "2", "private.example/secret": "no", "plain": "no", "notnode.cluster.x-k8s.io/q": "no",
		}
		md.Spec.Template.Spec.FailureDomain = "zone-b"
		md.Spec.Template.Spec.Taints = []clusterv1.MachineTaint{
			{Key: "gpu", Value: "no", Effect: corev1.TaintEffectNoSchedule},
			{Key: "solo", Effect: corev1.TaintEffectNoExecute},
			{Key: clusterv1.NodeUninitializedTaint.Key, Effect: corev1.TaintEffectNoSchedule},
		}
	})
	g := translateGroup(md, cluster(), nil, template{annotated: "templates"})
	assert.Equal(t, "mine", g.Class)
	assert.Equal(t, "zone-b", g.Zone)
	assert.Equal(t, map[string]string{
		"node-role.kubernetes.io/worker": "", "x.node-restriction.kubernetes.io/y": "1", "node.cluster.x-k8s.io/z": "2",
		"node.kubernetes.io/instance-type": "mine", "topology.kubernetes.io/zone": "zone-b",
		"pool": "a100", "kubernetes.io/os": "linux", "kubernetes.io/arch": "arm64",
	}, g.Labels)
	assert.Equal(t, []planner.Taint{{Key: "gpu", Value: "yes", Effect: "NoSchedule"}, {Key: "solo", Effect: "NoExecute"}}, g.Taints)

	assert.Equal(t, "theirs", translateGroup(md, cluster(), nil, template{class: "theirs"}).Class, "the provider's own field comes first")
	assert.Equal(t, "templates", translateGroup(deployment("b", 1), cluster(), nil, template{annotated: "templates"}).Class)
}

func TestMachineOwner(t *testing.T) {
	t.Parallel()
	byLabel := func(label string, owners ...metav1.OwnerReference) *clusterv1.Machine {
		m := machine("m", "x", "")
		m.Labels[clusterv1.MachineDeploymentNameLabel], m.OwnerReferences = label, owners
		return m
	}
	owner := machine("m", "set", "").OwnerReferences[0]
	stranger := owner
	stranger.UID = "another"
	orphan := machineSet("orphan", "a", 1)
	orphan.OwnerReferences[0].UID = "a before this one"
	ofOrphan := owner
	ofOrphan.Name, ofOrphan.UID = "orphan", orphan.UID
	o := index([]clusterv1.MachineDeployment{*deployment("a", 1), *deployment("b", 1)}, []clusterv1.MachineSet{*machineSet("set", "a", 1), *orphan})
	for name, c := range map[string]struct {
		m    *clusterv1.Machine
		want string
	}{
		"by owners":                  {byLabel("a", owner), "a"},
		"owners before the label":    {byLabel("b", owner), "a"},
		"MachineSet not seen yet":    {byLabel("b", metav1.OwnerReference{Kind: "MachineSet", Name: "new", UID: "new", Controller: new(true)}), "b"},
		"namesake of its MachineSet": {byLabel("b", stranger), "b"},
		"namesake of its group":      {byLabel("a", ofOrphan), ""},
		"label of none that is here": {byLabel("gone"), ""},
		"control plane":              {byLabel(""), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := o.ofMachine(c.m); c.want == "" {
				assert.Nil(t, got)
			} else if assert.NotNil(t, got) {
				assert.Equal(t, c.want, got.Name)
			}
		})
	}
}

func TestMachine(t *testing.T) {
	t.Parallel()
	withMarks := func(kv ...string) func(*clusterv1.Machine) {
		return func(m *clusterv1.Machine) {
			m.Annotations = map[string]string{}
			for i := 0; i < len(kv); i += 2 {
				m.Annotations[kv[i]] = kv[i+1]
			}
		}
	}
	short := func(m *clusterv1.Machine) {
		m.Status.Conditions = []metav1.Condition{{Type: clusterv1.MachineInfrastructureReadyCondition, Status: metav1.ConditionFalse, Message: " insufficient resources\n"}}
	}
	failed := func(m *clusterv1.Machine) { m.Status.Phase = string(clusterv1.MachinePhaseFailed) } //nolint:staticcheck // What providers of the v1beta1 contract set.
	ours := &planner.Mark{PlanID: "p.1", At: testTime}
	for name, c := range map[string]struct {
		m       *clusterv1.Machine
		mark    *planner.Mark
		foreign bool
		failure string
		trouble string
	}{
		"plain":          {m: machine("m", "a", "n")},
		"ours":           {m: machine("m", "a", "n", withMarks(clusterv1.DeleteMachineAnnotation, "x", DeleteMarkAnnotation, "p.1.1790000000")), mark: ours},
		"ours by half":   {m: machine("m", "a", "n", withMarks(DeleteMarkAnnotation, "p.1.1790000000")), mark: ours},
		"foreign":        {m: machine("m", "a", "n", withMarks(clusterv1.DeleteMachineAnnotation, "")), foreign: true},
		"not parseable":  {m: machine("m", "a", "n", withMarks(clusterv1.DeleteMachineAnnotation, "", DeleteMarkAnnotation, "yes")), foreign: true},
		"in trouble":     {m: machine("m", "a", "", short), trouble: "InfrastructureReady: insufficient resources"},
		"failed":         {m: machine("m", "a", "", failed), failure: "the Machine is in phase Failed"},
		"failed with it": {m: machine("m", "a", "", failed, short), failure: "InfrastructureReady: insufficient resources", trouble: "InfrastructureReady: insufficient resources"},
		"failed of old": {m: machine("m", "a", "", func(m *clusterv1.Machine) {
			m.Status.Deprecated = &clusterv1.MachineDeprecatedStatus{V1Beta1: &clusterv1.MachineV1Beta1DeprecatedStatus{FailureMessage: new(strings.Repeat("ä", 1000))}}
		}), failure: strings.Repeat("ä", 256) + "..."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := translateMachine(c.m, deployment("a", 1))
			assert.Equal(t, c.mark, got.Mark)
			assert.Equal(t, c.foreign, got.ForeignMark)
			assert.Equal(t, c.failure, got.Failure)
			assert.Equal(t, c.trouble, trouble(c.m))
			assert.Equal(t, testNamespace+"/a", got.Group)
			assert.Equal(t, testTime, got.CreatedAt)
		})
	}
}

func TestNode(t *testing.T) {
	t.Parallel()
	tainted := func(key, value string) func(*corev1.Node) {
		return func(n *corev1.Node) {
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Value: value, Effect: corev1.TaintEffectNoSchedule})
		}
	}
	for name, c := range map[string]struct {
		n      *corev1.Node
		ready  bool
		cordon bool
		note   string
	}{
		"ready":                {n: node("n", amounts("cpu", "4")), ready: true},
		"no condition":         {n: node("n", nil, func(n *corev1.Node) { n.Status.Conditions = nil })},
		"not ready":            {n: node("n", nil, func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionUnknown })},
		"being deleted":        {n: node("n", nil, func(n *corev1.Node) { n.DeletionTimestamp = new(metav1.NewTime(testTime)) })},
		"not initialized":      {n: node("n", nil, tainted(clusterv1.NodeUninitializedTaint.Key, ""))},
		"startup of a driver":  {n: node("n", nil, tainted(startupTaintPrefix+"gpu", ""))},
		"with a pool's taint":  {n: node("n", nil, tainted("gpu", "yes")), ready: true},
		"cordoned":             {n: node("n", nil, cordoned), ready: true, cordon: true},
		"cordoned by a hand":   {n: node("n", nil, tainted(planner.CordonTaint, "by-hand")), ready: true},
		"negative allocatable": {n: node("n", amounts("cpu", "-4", "memory", "1Gi")), note: "Node n: cpu is -4"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, note := translateNode(c.n)
			assert.Equal(t, c.ready, got.Ready)
			assert.Equal(t, c.cordon, got.Cordon != nil)
			assert.Len(t, got.Taints, len(c.n.Spec.Taints), "every taint stays visible")
			if c.note == "" {
				assert.Empty(t, note)
			}
			assert.Contains(t, note, c.note)
		})
	}
}

func TestPod(t *testing.T) {
	t.Parallel()
	noted := func(kv ...string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Annotations = map[string]string{}
			for i := 0; i < len(kv); i += 2 {
				p.Annotations[kv[i]] = kv[i+1]
			}
		}
	}
	volume := func(v corev1.Volume) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Spec.Volumes = append(p.Spec.Volumes, v) }
	}
	scratch := corev1.Volume{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}
	shm := corev1.Volume{Name: "shm", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}}
	job, ray := controlledBy("batch/v1", "Job", "j"), controlledBy("ray.io/v1", "RayCluster", "demo")
	rayLabels := func(p *corev1.Pod) {
		p.Labels = map[string]string{labelRayCluster: "label", labelRayGroup: "gpu", labelRayNodeType: "head"}
	}
	for name, c := range map[string]struct {
		p      *corev1.Pod
		blocks string
		daemon bool
		ray    string
	}{
		"of a job":               {p: pod("p", "n", job)},
		"of nobody":              {p: pod("p", "n"), blocks: "no controller would make it anew"},
		"of nobody, let go":      {p: pod("p", "n", noted(annotationSafeToEvict, "true"))},
		"not to be evicted":      {p: pod("p", "n", job, noted(annotationSafeToEvict, "false")), blocks: "safe-to-evict is false"},
		"not to be disrupted":    {p: pod("p", "n", job, noted(annotationDoNotDisrupt, "true")), blocks: "do-not-disrupt is true"},
		"with a disk":            {p: pod("p", "n", job, volume(scratch)), blocks: `volume "scratch" is on the node's own disk`},
		"with a disk, let go":    {p: pod("p", "n", job, volume(scratch), noted(annotationSafeVolumes, "other, scratch"))},
		"with memory":            {p: pod("p", "n", job, volume(shm))},
		"of a DaemonSet":         {p: pod("p", "n", controlledBy("apps/v1", "DaemonSet", "d"), volume(scratch)), daemon: true},
		"claims to be of one":    {p: pod("p", "n", controlledBy("evil.example/v1", "DaemonSet", "d"))},
		"mirror":                 {p: pod("p", "n", noted(corev1.MirrorPodAnnotationKey, "x")), daemon: true},
		"of Ray":                 {p: pod("p", "n", ray, rayLabels, volume(scratch)), ray: "jobs/demo"},
		"of Ray, by label":       {p: pod("p", "n", rayLabels), ray: "jobs/label"},
		"of Ray, not to be hurt": {p: pod("p", "n", ray, rayLabels, noted(annotationSafeToEvict, "false")), ray: "jobs/demo", blocks: "safe-to-evict is false"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := translatePod(c.p)
			if c.blocks == "" {
				assert.Empty(t, got.Blocks)
			}
			assert.Contains(t, got.Blocks, c.blocks)
			assert.Equal(t, c.daemon, got.DaemonSet)
			assert.Equal(t, c.ray, got.RayCluster)
			assert.Equal(t, c.ray != "", got.RayHead)
		})
	}
}

func TestUnschedulablePod(t *testing.T) {
	t.Parallel()
	scheduled := func(status corev1.ConditionStatus, reason string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: status, Reason: reason}}
		}
	}
	assert.True(t, translatePod(pod("p", "", scheduled(corev1.ConditionFalse, corev1.PodReasonUnschedulable))).Unschedulable)
	assert.False(t, translatePod(pod("p", "", scheduled(corev1.ConditionFalse, corev1.PodReasonSchedulingGated))).Unschedulable)
	assert.False(t, translatePod(pod("p", "n", scheduled(corev1.ConditionFalse, corev1.PodReasonUnschedulable))).Unschedulable, "it has a node by now")
	assert.False(t, translatePod(pod("p", "")).Unschedulable)
}
