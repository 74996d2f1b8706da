package demand_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tandem-autoscaler/tandem/pkg/demand"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

const resizable = `{"groups": {"cpu": {"max-cpu": "8", "max-memory": "16Gi", "resize-timeout": 60}}}`

func TestPodsResizedInPlace(t *testing.T) {
	t.Parallel()
	const (
		absent = plainHead + "workerGroupSpecs: [{groupName: cpu, template: {spec: {containers: [{name: w, resources: {limits: {cpu: \"2\"}}}]}}}]\n"
		live   = absent + "enableInTreeAutoscaling: true\n"
		inert  = live + "autoscalerOptions: {env: [{name: AUTOSCALER_UPDATE_INTERVAL_S, value: \"2147483647\"}]}\n"
	)
	for name, c := range map[string]struct {
		spec, mode, resize string
		refused            bool
	}{
		"follow":                    {live, "auto", resizable, true},
		"follow, as told":           {live, "follow", resizable, true},
		"follow, the head alone":    {live, "auto", `{"groups": {"headgroup": {"max-cpu": 4, "max-memory": 1073741824, "resize-timeout": 1}}}`, true},
		"follow, a group's name":    {live, "auto", `{"groups": {"other": {}}}`, true},
		"follow, no JSON":           {live, "auto", "yes", true},
		"follow, null":              {live, "auto", "null", true},
		"follow, a list":            {live, "auto", `["cpu"]`, true},
		"follow, a list of groups":  {live, "auto", `{"groups": ["cpu"]}`, true},
		"follow, null of groups":    {live, "auto", `{"groups": null}`, true},
		"follow, no group":          {live, "auto", `{"groups": {}}`, false},
		"follow, nothing of groups": {live, "auto", `{}`, false},
		"follow, empty":             {live, "auto", "", false},
		"lead, absent":              {absent, "lead", resizable, false},
		"lead, inert":               {inert, "lead", resizable, false},
		"off":                       {live, "off", resizable, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := object(t, c.spec)
			u.SetAnnotations(map[string]string{demand.AnnotationMode: c.mode, "ray.io/ippr": c.resize})
			got := demand.RayCluster(u, "auto")
			require.Len(t, got.WorkerGroups, 1, "its pods' sizes are still told, to keep the nodes that they could use")
			assert.Empty(t, got.WorkerGroups[0].Invalid)
			if !c.refused {
				assert.Empty(t, got.Invalid)
				return
			}
			assert.Contains(t, got.Invalid, "annotation ray.io/ippr")
			assert.Equal(t, planner.ModeFollow, got.Mode)
		})
	}
}

// A mode that cannot be is told first.
func TestTheModeComesBeforeTheResize(t *testing.T) {
	t.Parallel()
	u := object(t, plainHead)
	u.SetAnnotations(map[string]string{demand.AnnotationMode: "follow", "ray.io/ippr": resizable})
	assert.Contains(t, demand.RayCluster(u, "auto").Invalid, "needs Ray's own autoscaler")
}

// The annotation comes and goes while the cluster runs.
func TestSourceRefusesPodsResizedInPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, demand.Options{}, named(t, "a", liveSpec), pod("a", "a-head", "head", "10.0.0.1"))
		w.serve("10.0.0.1:6379", cpus(3))
		w.run(t)
		annotate := func(resize string) planner.RayCluster {
			t.Helper()
			u := named(t, "a", "{}")
			require.NoError(t, w.Get(t.Context(), client.ObjectKeyFromObject(u), u))
			u.SetAnnotations(map[string]string{"ray.io/ippr": resize})
			require.NoError(t, w.Update(t.Context(), u))
			time.Sleep(8 * time.Second)
			return w.only(t)
		}
		c := annotate(resizable)
		assert.Contains(t, c.Invalid, "cannot be predicted")
		assert.False(t, c.DemandKnown)
		assert.Len(t, w.view().Sources, 1, "its demand is not waited for")
		c = annotate("")
		assert.Empty(t, c.Invalid)
		assert.True(t, c.DemandKnown)
	})
}
