package scenario

import (
	"testing"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime"
)

// built is the RayCluster that a scenario makes of one entry.
func built(t *testing.T, entry string) *rayv1.RayCluster {
	t.Helper()
	s := mustParse(t, `apiVersion: lab.tandem-autoscaler.io/v1
kind: Scenario
name: test
classes: [{name: small, cpu: 4, memory: 16Gi}]
pools: [{name: head, class: small}]
rayClusters: [`+entry+`]
`)
	u, err := s.RayClusters[0].object(s.HeadPool)
	require.NoError(t, err)
	rc := &rayv1.RayCluster{}
	require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(u.Object, rc, true))
	return rc
}

func TestRayCluster(t *testing.T) {
	rc := built(t, `{name: main, mode: follow, updateInterval: 2500ms, idleTimeout: 10s, head: {rayCPU: 1},
  groups: [{name: gpu, cpu: 8, memory: 64Gi, gpu: 2, min: 1, max: 3, replicas: 2, resources: {special: "4"}, labels: {zone: a}, nodeSelector: {x: z}, idleTimeout: 7s}]}`)
	assert.Equal(t, "RayCluster", rc.Kind)
	assert.Equal(t, "ray.io/v1", rc.APIVersion)
	assert.Equal(t, "2.60.0", rc.Spec.RayVersion)
	assert.Equal(t, map[string]string{modeAnnotation: "follow"}, rc.Annotations)
	assert.True(t, *rc.Spec.EnableInTreeAutoscaling)
	assert.Equal(t, rayv1.AutoscalerVersionV2, *rc.Spec.AutoscalerOptions.Version)
	assert.EqualValues(t, 10, *rc.Spec.AutoscalerOptions.IdleTimeoutSeconds)
	assert.Equal(t, "2.5", rc.Spec.AutoscalerOptions.Env[0].Value)
	assert.Nil(t, rc.Spec.AuthOptions)

	head := rc.Spec.HeadGroupSpec
	assert.Equal(t, map[string]string{poolLabel: "head"}, head.Template.Spec.NodeSelector)
	assert.Equal(t, "6379", head.RayStartParams["port"])
	assert.Equal(t, "1", head.RayStartParams["num-cpus"])
	assert.Equal(t, "rayproject/ray:2.60.0", head.Template.Spec.Containers[0].Image)

	require.Len(t, rc.Spec.WorkerGroupSpecs, 1)
	g := rc.Spec.WorkerGroupSpecs[0]
	assert.Equal(t, []int32{1, 2, 3}, []int32{*g.MinReplicas, *g.Replicas, *g.MaxReplicas})
	assert.EqualValues(t, 7, *g.IdleTimeoutSeconds)
	assert.Equal(t, map[string]string{"special": "4"}, g.Resources)
	assert.Equal(t, map[string]string{"zone": "a"}, g.Labels)
	assert.Equal(t, map[string]string{"x": "z"}, g.Template.Spec.NodeSelector)
	limits := g.Template.Spec.Containers[0].Resources.Limits
	assert.Equal(t, "2", new(limits[gpu]).String())
	assert.Equal(t, "64Gi", limits.Memory().String())
	assert.Equal(t, limits, g.Template.Spec.Containers[0].Resources.Requests)
	assert.EqualValues(t, "Never", g.Template.Spec.RestartPolicy)
}

func TestRayClusterVariants(t *testing.T) {
	inert := built(t, `{name: main, mode: lead, inTree: inert}`)
	assert.True(t, *inert.Spec.EnableInTreeAutoscaling)
	assert.Equal(t, inertInterval, inert.Spec.AutoscalerOptions.Env[0].Value)

	absent := built(t, `{name: main, inTree: absent}`)
	assert.Nil(t, absent.Spec.EnableInTreeAutoscaling)
	assert.Nil(t, absent.Spec.AutoscalerOptions)
	assert.Empty(t, absent.Annotations)

	plain := built(t, `{name: main}`)
	assert.Empty(t, plain.Spec.AutoscalerOptions.Env)
	assert.Nil(t, plain.Spec.AutoscalerOptions.IdleTimeoutSeconds)

	token := built(t, `{name: main, token: true, port: 6390}`)
	assert.Equal(t, rayv1.AuthModeToken, token.Spec.AuthOptions.Mode)
	assert.Equal(t, "6390", token.Spec.HeadGroupSpec.RayStartParams["port"])
	assert.NotEqual(t, plain.Spec.HeadGroupSpec.RayStartParams["dashboard-port"], token.Spec.HeadGroupSpec.RayStartParams["dashboard-port"])

	lost := built(t, `{name: main, unreachable: true}`)
	assert.Len(t, lost.Spec.HeadGroupSpec.Template.Spec.NodeSelector, 2)
}
