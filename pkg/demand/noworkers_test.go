package demand_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/tandem-autoscaler/tandem/pkg/demand"
)

func TestRayClusterWithoutWorkers(t *testing.T) {
	t.Parallel()
	u := object(t, `{headGroupSpec: {rayStartParams: {num-cpus: "0"}, template: {spec: {containers: [{name: ray-head, resources: {requests: {cpu: "1"}}}]}}}}`)
	c := demand.RayCluster(u, "auto")
	assert.Empty(t, c.WorkerGroups)
	assert.Empty(t, c.Invalid, "a head alone is a RayCluster, too")
}
