package demand_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/tandem-autoscaler/tandem/pkg/demand"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

const leadSpec = plainHead + `
workerGroupSpecs:
- {groupName: cpu, replicas: 7, template: {spec: {containers: [{name: w, resources: {limits: {cpu: "1"}}}]}}}
- {groupName: gpu, minReplicas: 0, maxReplicas: 4, template: {spec: {containers: [{name: w, resources: {limits: {cpu: "1"}}}]}}}
`

func grow(from, to int64) planner.Step {
	return planner.Step{Kind: planner.StepGrowWorkers, RayCluster: "ml/a", WorkerGroup: "gpu", From: from, To: to}
}

func replicas(t *testing.T, c client.Client) []int64 {
	t.Helper()
	u := named(t, "a", "{}")
	require.NoError(t, c.Get(t.Context(), client.ObjectKeyFromObject(u), u))
	out := []int64{}
	for _, g := range demand.RayCluster(u, "lead").WorkerGroups {
		out = append(out, g.Replicas)
	}
	return out
}

func TestGrowWorkers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, demand.Options{}, named(t, "a", leadSpec))
	a := demand.NewActuator(demand.ActuatorOptions{Reader: w, Writer: w, DefaultMode: "lead"})
	require.NoError(t, a.GrowWorkers(t.Context(), grow(0, 3)))
	assert.Equal(t, []int64{7, 3}, replicas(t, w))
	require.ErrorIs(t, a.GrowWorkers(t.Context(), grow(0, 3)), demand.ErrMoved, "a step is not taken twice")
	require.NoError(t, a.GrowWorkers(t.Context(), grow(3, 4)))
	assert.Equal(t, []int64{7, 4}, replicas(t, w))
}

func TestGrowWorkersRefuses(t *testing.T) {
	t.Parallel()
	set := func(value any, path ...string) func(*unstructured.Unstructured) error {
		return func(u *unstructured.Unstructured) error {
			return unstructured.SetNestedField(u.Object, value, path...)
		}
	}
	group := func(key string, value any) func(*unstructured.Unstructured) error {
		return func(u *unstructured.Unstructured) error {
			groups, _, err := unstructured.NestedSlice(u.Object, "spec", "workerGroupSpecs")
			if err != nil {
				return err
			}
			groups[1].(map[string]any)[key] = value
			return unstructured.SetNestedSlice(u.Object, groups, "spec", "workerGroupSpecs")
		}
	}
	for name, c := range map[string]struct {
		change func(*unstructured.Unstructured) error
		step   planner.Step
		want   string
	}{
		"replicas moved":   {group("replicas", int64(2)), grow(0, 3), "replicas is 2, not 0"},
		"above max":        {nil, grow(0, 5), "outside of minReplicas 0 and maxReplicas 4"},
		"group suspended":  {group("suspend", true), grow(0, 3), "the group is suspended"},
		"group renamed":    {group("groupName", "other"), grow(0, 3), "no such worker group"},
		"group broken":     {group("minReplicas", int64(9)), grow(0, 3), "above maxReplicas"},
		"suspended":        {set(true, "spec", "suspend"), grow(0, 3), "suspended"},
		"autoscaler alive": {set(true, "spec", "enableInTreeAutoscaling"), grow(0, 3), "Ray's own autoscaler is live"},
		"mode changed": {func(u *unstructured.Unstructured) error {
			u.SetAnnotations(map[string]string{demand.AnnotationMode: "off"})
			return nil
		}, grow(0, 3), "its mode is off"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := named(t, "a", leadSpec)
			if c.change != nil {
				require.NoError(t, c.change(u))
			}
			w := newWorld(t, demand.Options{}, u)
			before := replicas(t, w)
			a := demand.NewActuator(demand.ActuatorOptions{Reader: w, Writer: w, DefaultMode: "lead"})
			err := a.GrowWorkers(t.Context(), c.step)
			require.ErrorIs(t, err, demand.ErrMoved)
			require.ErrorContains(t, err, c.want)
			assert.Equal(t, before, replicas(t, w))
		})
	}
	w := newWorld(t, demand.Options{})
	a := demand.NewActuator(demand.ActuatorOptions{Reader: w, Writer: w, DefaultMode: "lead"})
	require.ErrorIs(t, a.GrowWorkers(t.Context(), grow(0, 3)), demand.ErrMoved, "the object is gone")
	for _, bad := range []planner.Step{grow(3, 3), grow(3, 1), {Kind: planner.StepGrow, RayCluster: "ml/a", WorkerGroup: "gpu", To: 1}, {Kind: planner.StepGrowWorkers, RayCluster: "a", WorkerGroup: "gpu", To: 1}, {}} {
		err := a.GrowWorkers(t.Context(), bad)
		require.Error(t, err)
		assert.NotErrorIs(t, err, demand.ErrMoved)
	}
}

// TestGrowWorkersWritesOnePatch checks the words of the patch, and what becomes
// of the answers of an API server.
func TestGrowWorkersWritesOnePatch(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer error
		moved  bool
	}{
		"a test of the patch failed": {apierrors.NewGenericServerResponse(422, "patch", schema.GroupResource{}, "a", "testing value failed", 0, false), true},
		"conflict":                   {apierrors.NewConflict(schema.GroupResource{}, "a", errors.New("changed")), true},
		"gone":                       {apierrors.NewNotFound(schema.GroupResource{}, "a"), true},
		"unavailable":                {apierrors.NewInternalError(errors.New("etcd")), false},
		"no answer":                  {context.DeadlineExceeded, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, demand.Options{}, named(t, "a", leadSpec))
			var patches []string
			writer := interceptor.NewClient(w, interceptor.Funcs{
				Patch: func(_ context.Context, _ client.WithWatch, obj client.Object, patch client.Patch, _ ...client.PatchOption) error {
					b, err := patch.Data(obj)
					require.NoError(t, err)
					assert.Equal(t, types.JSONPatchType, patch.Type())
					patches = append(patches, string(b))
					return c.answer
				},
			})
			a := demand.NewActuator(demand.ActuatorOptions{Reader: w, Writer: writer, DefaultMode: "lead"})
			err := a.GrowWorkers(t.Context(), grow(0, 3))
			require.ErrorIs(t, err, c.answer)
			assert.Equal(t, c.moved, errors.Is(err, demand.ErrMoved))
			require.Len(t, patches, 1)
			var ops []map[string]any
			require.NoError(t, json.Unmarshal([]byte(patches[0]), &ops))
			require.Len(t, ops, 3)
			assert.Equal(t, "test", ops[0]["op"])
			assert.Equal(t, "/metadata/resourceVersion", ops[0]["path"])
			assert.NotEmpty(t, ops[0]["value"])
			assert.Equal(t, map[string]any{"op": "test", "path": "/spec/workerGroupSpecs/1/groupName", "value": "gpu"}, ops[1])
			assert.Equal(t, map[string]any{"op": "add", "path": "/spec/workerGroupSpecs/1/replicas", "value": float64(3)}, ops[2])
		})
	}
}
