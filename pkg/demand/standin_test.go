package demand_test

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tandem-autoscaler/tandem/pkg/demand"
	"github.com/tandem-autoscaler/tandem/pkg/demand/gcs"
	"github.com/tandem-autoscaler/tandem/pkg/demand/gcs/autoscalerpb"
	"github.com/tandem-autoscaler/tandem/pkg/demand/gcs/gcstest"
)

// TestSourceWithTheRealClient reads the strict stand-in over the network, through
// a restart of its head and a garbled answer.
func TestSourceWithTheRealClient(t *testing.T) {
	t.Parallel()
	g := gcstest.Start(t, gcstest.Options{})
	host, port, err := net.SplitHostPort(g.Address())
	require.NoError(t, err)
	w := newWorld(t, demand.Options{},
		named(t, "a", `
enableInTreeAutoscaling: true
headGroupSpec: {rayStartParams: {port: "`+port+`"}, template: {}}
`), pod("a", "a-head", "head", host))
	w.s = demand.New(demand.Options{
		Reader: w, PollInterval: 10 * time.Millisecond, Settle: 20 * time.Millisecond, StaleAfter: time.Second,
	})
	g.SetState(&autoscalerpb.ClusterResourceState{PendingResourceRequests: []*byCount{want(4, amounts{"GPU": 1})}})
	w.run(t)
	known := func(count int64) func() bool {
		return func() bool {
			v := w.view()
			return len(v.Clusters) == 1 && v.Clusters[0].DemandKnown && len(v.Clusters[0].Requests) == 1 && v.Clusters[0].Requests[0].Count == count
		}
	}
	unknown := func() bool { v := w.view(); return len(v.Clusters) == 1 && !v.Clusters[0].DemandKnown }
	const patient, often = time.Minute, 5 * time.Millisecond
	require.Eventually(t, known(4), patient, often)

	g.SetGarbage([]byte("HTTP/1.1 400 Bad Request"))
	require.Eventually(t, unknown, patient, often)
	assert.Contains(t, w.only(t).DemandError, gcs.ErrMalformed.Error())
	g.SetGarbage(nil)
	require.Eventually(t, known(4), patient, often)

	g.Restart()
	g.SetState(&autoscalerpb.ClusterResourceState{PendingResourceRequests: []*byCount{want(1, amounts{"GPU": 1})}})
	require.Eventually(t, known(1), patient, often)

	g.SetPassive(true)
	require.Eventually(t, unknown, patient, often)
	assert.Contains(t, w.only(t).DemandError, gcs.ErrPassive.Error())
	assert.Empty(t, g.Crash())
}
