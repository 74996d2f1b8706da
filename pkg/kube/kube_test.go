package kube_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/tandem-autoscaler/tandem/pkg/kube"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

func list(pairs ...string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for pair := range slices.Chunk(pairs, 2) {
		out[corev1.ResourceName(pair[0])] = resource.MustParse(pair[1])
	}
	return out
}

func TestResources(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in   corev1.ResourceList
		want planner.Resources
		err  string
	}{
		"nothing":          {corev1.ResourceList{}, planner.Resources{}, ""},
		"zero is left out": {list("cpu", "0"), planner.Resources{}, ""},
		"names":            {list("cpu", "2", "memory", "1Gi", "nvidia.com/gpu", "3"), planner.Resources{"CPU": 2000, "memory": 1 << 30, "GPU": 30000}, ""},
		"below the unit rounds up": {
			list("cpu", "100u", "memory", "1500m", "example.com/x", "10u"),
			planner.Resources{"CPU": 1, "memory": 2, "example.com/x": 1},
			"",
		},
		"other devices keep their names": {list("amd.com/gpu", "1", "nvidia.com/mig-1g.5gb", "2"), planner.Resources{"amd.com/gpu": 10000, "nvidia.com/mig-1g.5gb": 20000}, ""},
		"bytes":                          {list("ephemeral-storage", "200Gi", "hugepages-2Mi", "4Mi"), planner.Resources{"ephemeral-storage": 200 << 30, "hugepages-2Mi": 4 << 20}, ""},
		"negative":                       {list("cpu", "-1", "memory", "1"), planner.Resources{"memory": 1}, "cpu is -1: amounts must not be negative"},
		"absurd":                         {list("cpu", "1e18", "memory", "1"), planner.Resources{"memory": 1}, "cpu is 1e18: amounts above 1000000000000 are taken for mistakes"},
		"wraps in a Quantity":            {list("nvidia.com/gpu", "9223372036854775807"), planner.Resources{}, "are taken for mistakes"},
		"the largest":                    {list("cpu", "1e12", "x", "1e11", "memory", "1e15"), planner.Resources{"CPU": kube.MaxAmount, "x": kube.MaxAmount, "memory": kube.MaxAmount}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := kube.Resources(c.in)
			assert.Equal(t, c.want, got)
			if c.err == "" {
				require.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, c.err)
			}
		})
	}
}

func TestResourcesNamesEveryMistake(t *testing.T) {
	t.Parallel()
	_, err := kube.Resources(list("cpu", "-1", "memory", "-2"))
	require.ErrorContains(t, err, "cpu is -1")
	assert.ErrorContains(t, err, "memory is -2")
}

func TestResourcesAreNeverNegative(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		q := *resource.NewScaledQuantity(rapid.Int64().Draw(t, "value"), resource.Scale(rapid.Int32Range(-9, 18).Draw(t, "scale")))
		name := rapid.SampledFrom([]string{"cpu", "memory", "nvidia.com/gpu", "x"}).Draw(t, "name")
		got, _ := kube.Resources(corev1.ResourceList{corev1.ResourceName(name): q})
		for n, v := range got {
			assert.Positive(t, v, "%s of %s", n, q.String())
			assert.LessOrEqual(t, v, kube.MaxAmount)
		}
	})
}

func container(name string, pairs ...string) corev1.Container {
	return corev1.Container{Name: name, Resources: corev1.ResourceRequirements{Requests: list(pairs...)}}
}

func sidecar(name string, pairs ...string) corev1.Container {
	always := corev1.ContainerRestartPolicyAlways
	c := container(name, pairs...)
	c.RestartPolicy = &always
	return c
}

func TestPodRequests(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in   corev1.PodSpec
		want planner.Resources
	}{
		"containers add up": {
			corev1.PodSpec{Containers: []corev1.Container{container("a", "cpu", "1"), container("b", "cpu", "500m", "memory", "1")}},
			planner.Resources{"CPU": 1500, "memory": 1},
		},
		"the largest init container counts": {
			corev1.PodSpec{
				InitContainers: []corev1.Container{container("i", "cpu", "3"), container("j", "memory", "7")},
				Containers:     []corev1.Container{container("a", "cpu", "1"), container("b", "cpu", "1")},
			},
			planner.Resources{"CPU": 3000, "memory": 7},
		},
		"a sidecar runs beside everything after it": {
			corev1.PodSpec{
				InitContainers: []corev1.Container{container("before", "cpu", "2"), sidecar("s", "cpu", "1"), container("after", "cpu", "2")},
				Containers:     []corev1.Container{container("a", "cpu", "1")},
			},
			planner.Resources{"CPU": 3000},
		},
		"sidecars count with the containers": {
			corev1.PodSpec{
				InitContainers: []corev1.Container{sidecar("s", "cpu", "1"), sidecar("t", "cpu", "1")},
				Containers:     []corev1.Container{container("a", "cpu", "2")},
			},
			planner.Resources{"CPU": 4000},
		},
		"overhead": {
			corev1.PodSpec{Containers: []corev1.Container{container("a", "cpu", "1")}, Overhead: list("cpu", "250m")},
			planner.Resources{"CPU": 1250},
		},
		"a limit stands in for a request": {
			corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Resources: corev1.ResourceRequirements{
				Limits: list("cpu", "4", "nvidia.com/gpu", "1"), Requests: list("cpu", "1"),
			}}}},
			planner.Resources{"CPU": 1000, "GPU": planner.Unit},
		},
		"the pod as a whole": {
			corev1.PodSpec{
				Containers: []corev1.Container{container("a", "cpu", "1", "nvidia.com/gpu", "1")},
				Resources:  &corev1.ResourceRequirements{Requests: list("cpu", "3"), Limits: list("cpu", "9", "memory", "5")},
				Overhead:   list("cpu", "1"),
			},
			planner.Resources{"CPU": 4000, "GPU": planner.Unit, "memory": 5},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := kube.PodRequests(&c.in)
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
		})
	}
}

func TestPodShape(t *testing.T) {
	t.Parallel()
	got := kube.PodShape(&corev1.PodSpec{
		Containers:   []corev1.Container{container("a", "cpu", "1", "memory", "-5")},
		NodeSelector: map[string]string{"pool": "gpu"},
		Tolerations:  []corev1.Toleration{{Key: "gpu", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}},
	})
	assert.Equal(t, planner.PodShape{
		Requests:     planner.Resources{"CPU": 1000},
		NodeSelector: map[string]string{"pool": "gpu"},
		Tolerations:  []planner.Toleration{{Key: "gpu", Operator: "Exists", Effect: "NoSchedule"}},
		Unmodelled:   []string{"container a: memory is -5: amounts must not be negative"},
	}, got)
}

func TestUnmodelled(t *testing.T) {
	t.Parallel()
	term := corev1.PodAffinityTerm{TopologyKey: "zone", LabelSelector: &metav1.LabelSelector{}}
	all := corev1.PodSpec{
		Affinity: &corev1.Affinity{
			NodeAffinity:    &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name"}}}}}},
			PodAffinity:     &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{term}},
			PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{term}},
		},
		TopologySpreadConstraints: []corev1.TopologySpreadConstraint{{WhenUnsatisfiable: corev1.DoNotSchedule}},
		Volumes:                   []corev1.Volume{{VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{}}}},
		SchedulingGates:           []corev1.PodSchedulingGate{{Name: "g"}},
		ResourceClaims:            []corev1.PodResourceClaim{{Name: "c"}},
		Containers:                []corev1.Container{{Ports: []corev1.ContainerPort{{HostPort: 80}}}},
	}
	assert.Equal(t, []string{
		"nodeAffinity matchFields", "podAffinity", "podAntiAffinity", "topologySpreadConstraints",
		"persistentVolumeClaims", "schedulingGates", "resourceClaims", "hostPorts",
	}, kube.PodShape(&all).Unmodelled)

	preferences := corev1.PodSpec{
		Affinity: &corev1.Affinity{
			NodeAffinity: &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{Weight: 1}}},
		},
		TopologySpreadConstraints: []corev1.TopologySpreadConstraint{{WhenUnsatisfiable: corev1.ScheduleAnyway}},
		Volumes:                   []corev1.Volume{{VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
	}
	assert.Empty(t, kube.PodShape(&preferences).Unmodelled)
}

func TestNodeAffinity(t *testing.T) {
	t.Parallel()
	required := func(terms ...corev1.NodeSelectorTerm) *corev1.PodSpec {
		return &corev1.PodSpec{Affinity: &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: terms},
		}}}
	}
	zone := corev1.NodeSelectorRequirement{Key: "zone", Operator: corev1.NodeSelectorOpIn, Values: []string{"a", "b"}}
	gpu := corev1.NodeSelectorRequirement{Key: "gpu", Operator: corev1.NodeSelectorOpExists}
	got := kube.PodShape(required(
		corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{zone, gpu}}, corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{gpu}},
	))
	assert.Equal(t, []planner.NodeTerm{
		{{Key: "zone", Operator: "In", Values: []string{"a", "b"}}, {Key: "gpu", Operator: "Exists"}}, {{Key: "gpu", Operator: "Exists"}},
	}, got.NodeAffinity)
	assert.Empty(t, got.Unmodelled)

	assert.Equal(t, []planner.NodeTerm{{}}, kube.PodShape(required(corev1.NodeSelectorTerm{})).NodeAffinity, "an empty term matches nothing")
	named := kube.PodShape(required(
		corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{gpu}},
		corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{"n"}}}},
	))
	assert.Empty(t, named.NodeAffinity, "as if it were absent")
	assert.Equal(t, []string{"nodeAffinity matchFields"}, named.Unmodelled)
}
