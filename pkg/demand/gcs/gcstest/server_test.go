package gcstest_test

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tandem-autoscaler/tandem/pkg/demand/gcs/autoscalerpb"
	"github.com/tandem-autoscaler/tandem/pkg/demand/gcs/gcstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Generous: only a broken server needs them.
const (
	deadline = time.Minute
	tick     = 10 * time.Millisecond
)

// failing is a test that may fail.
type failing struct {
	*testing.T

	mu     sync.Mutex
	errors []string
}

func (f *failing) Errorf(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errors = append(f.errors, fmt.Sprintf(format, args...))
}

func (f *failing) failed() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.errors
}

func raw(t *testing.T, s *gcstest.Server) autoscalerpb.AutoscalerStateServiceClient {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+s.Address(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return autoscalerpb.NewAutoscalerStateServiceClient(conn)
}

func TestWhatARealGCSWouldEndOn(t *testing.T) {
	t.Parallel()
	id := make([]byte, 28)
	for name, c := range map[string]struct {
		call func(*testing.T, autoscalerpb.AutoscalerStateServiceClient) error
		want string
	}{
		"a version above the server's": {func(t *testing.T, c autoscalerpb.AutoscalerStateServiceClient) error {
			t.Helper()
			_, err := c.GetClusterResourceState(t.Context(), &autoscalerpb.GetClusterResourceStateRequest{LastSeenClusterResourceStateVersion: 7})
			return err
		}, "7 is above the server's 0"},
		"drain without a reason": {func(t *testing.T, c autoscalerpb.AutoscalerStateServiceClient) error {
			t.Helper()
			_, err := c.DrainNode(t.Context(), &autoscalerpb.DrainNodeRequest{NodeId: id})
			return err
		}, "drain reason DRAIN_NODE_REASON_UNSPECIFIED"},
		"drain of no node": {func(t *testing.T, c autoscalerpb.AutoscalerStateServiceClient) error {
			t.Helper()
			_, err := c.DrainNode(t.Context(), &autoscalerpb.DrainNodeRequest{NodeId: []byte("short"), Reason: autoscalerpb.DrainNodeReason_DRAIN_NODE_REASON_PREEMPTION})
			return err
		}, "node id of 5 bytes"},
		"cluster id": {func(t *testing.T, c autoscalerpb.AutoscalerStateServiceClient) error {
			t.Helper()
			_, err := c.GetClusterStatus(metadata.AppendToOutgoingContext(t.Context(), "ray_cluster_id", "x"), &autoscalerpb.GetClusterStatusRequest{})
			return err
		}, "ray_cluster_id"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &failing{T: t}
			s := gcstest.Start(f, gcstest.Options{})
			client := raw(t, s)
			require.Equal(t, codes.Unavailable, status.Code(c.call(t, client)))
			assert.Contains(t, s.Crash(), c.want)
			require.Len(t, f.failed(), 1)
			assert.Contains(t, f.failed()[0], c.want)

			_, err := client.GetClusterResourceState(t.Context(), &autoscalerpb.GetClusterResourceStateRequest{})
			assert.Equal(t, codes.Unavailable, status.Code(err), "a server that has ended stays so")
			s.Restart()
			assert.Empty(t, s.Crash())
		})
	}
}

func TestNegativeDeadlineFailsTheTest(t *testing.T) {
	t.Parallel()
	f := &failing{T: t}
	s := gcstest.Start(f, gcstest.Options{})
	_, err := raw(t, s).DrainNode(t.Context(), &autoscalerpb.DrainNodeRequest{
		NodeId: make([]byte, 28), Reason: autoscalerpb.DrainNodeReason_DRAIN_NODE_REASON_PREEMPTION, DeadlineTimestampMs: -1,
	})
	assert.Equal(t, codes.Aborted, status.Code(err))
	assert.Len(t, f.failed(), 1)
	assert.Empty(t, s.Drains())
}

func TestConstraintAndReport(t *testing.T) {
	t.Parallel()
	s := gcstest.Start(t, gcstest.Options{})
	client := raw(t, s)
	one := &autoscalerpb.ClusterResourceConstraint{ResourceRequests: []*autoscalerpb.ResourceRequestByCount{{Count: 3}}}
	_, err := client.RequestClusterResourceConstraint(t.Context(), &autoscalerpb.RequestClusterResourceConstraintRequest{ClusterResourceConstraint: one})
	require.NoError(t, err)
	for _, version := range []int64{5, 3} {
		_, err = client.ReportAutoscalingState(t.Context(), &autoscalerpb.ReportAutoscalingStateRequest{AutoscalingState: &autoscalerpb.AutoscalingState{AutoscalerStateVersion: version}})
		require.NoError(t, err)
	}
	got, err := client.GetClusterStatus(t.Context(), &autoscalerpb.GetClusterStatusRequest{})
	require.NoError(t, err)
	assert.Equal(t, int64(5), got.GetAutoscalingState().GetAutoscalerStateVersion())
	require.Len(t, got.GetClusterResourceState().GetClusterResourceConstraints(), 1)
	s.Restart()
	require.Eventually(t, func() bool {
		got, err = client.GetClusterStatus(t.Context(), &autoscalerpb.GetClusterStatusRequest{}, grpc.WaitForReady(true))
		return err == nil
	}, deadline, tick)
	assert.Empty(t, got.GetClusterResourceState().GetClusterResourceConstraints(), "a head without fault tolerance forgets")
}

func TestDrains(t *testing.T) {
	t.Parallel()
	const (
		idle    = autoscalerpb.DrainNodeReason_DRAIN_NODE_REASON_IDLE_TERMINATION
		preempt = autoscalerpb.DrainNodeReason_DRAIN_NODE_REASON_PREEMPTION
	)
	for name, c := range map[string]struct {
		status    autoscalerpb.NodeStatus
		reason    autoscalerpb.DrainNodeReason
		accepted  bool
		after     autoscalerpb.NodeStatus
		preempted int
	}{
		"idle":                  {autoscalerpb.NodeStatus_IDLE, idle, true, autoscalerpb.NodeStatus_DEAD, 1},
		"busy":                  {autoscalerpb.NodeStatus_RUNNING, idle, false, autoscalerpb.NodeStatus_RUNNING, 1},
		"draining":              {autoscalerpb.NodeStatus_DRAINING, idle, true, autoscalerpb.NodeStatus_DRAINING, 1},
		"dead":                  {autoscalerpb.NodeStatus_DEAD, idle, true, autoscalerpb.NodeStatus_DEAD, 0},
		"unknown":               {autoscalerpb.NodeStatus_UNSPECIFIED, idle, true, autoscalerpb.NodeStatus_UNSPECIFIED, 0},
		"busy, to be preempted": {autoscalerpb.NodeStatus_RUNNING, preempt, true, autoscalerpb.NodeStatus_DRAINING, 1},
		"idle, to be preempted": {autoscalerpb.NodeStatus_IDLE, preempt, true, autoscalerpb.NodeStatus_DEAD, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := gcstest.Start(t, gcstest.Options{})
			client := raw(t, s)
			id := bytes.Repeat([]byte{7}, 28)
			state := &autoscalerpb.ClusterResourceState{}
			if name != "unknown" {
				state.NodeStates = []*autoscalerpb.NodeState{{NodeId: id, Status: c.status, TotalResources: map[string]float64{"CPU": 1}, IdleDurationMs: 5}}
			}
			s.SetState(state)
			reply, err := client.DrainNode(t.Context(), &autoscalerpb.DrainNodeRequest{NodeId: id, Reason: c.reason, DeadlineTimestampMs: 1})
			require.NoError(t, err)
			assert.Equal(t, c.accepted, reply.GetIsAccepted())
			assert.Equal(t, !c.accepted, reply.GetRejectionReasonMessage() != "")
			assert.Len(t, s.Preempted(), c.preempted)
			got, err := client.GetClusterResourceState(t.Context(), &autoscalerpb.GetClusterResourceStateRequest{})
			require.NoError(t, err)
			for _, n := range got.GetClusterResourceState().GetNodeStates() {
				assert.Equal(t, c.after, n.GetStatus())
				assert.Equal(t, n.GetStatus() == autoscalerpb.NodeStatus_DEAD && c.status != n.GetStatus(), n.GetTotalResources() == nil)
			}
		})
	}
	s := gcstest.Start(t, gcstest.Options{})
	s.SetDrainFailure(status.Error(codes.Unimplemented, "unknown method"))
	_, err := raw(t, s).DrainNode(t.Context(), &autoscalerpb.DrainNodeRequest{NodeId: make([]byte, 28), Reason: idle})
	assert.Equal(t, codes.Unimplemented, status.Code(err))
}
