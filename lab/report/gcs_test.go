package report

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tandem-autoscaler/tandem/pkg/demand/gcs/autoscalerpb"
	"github.com/tandem-autoscaler/tandem/pkg/demand/gcs/commonpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func bundle(r map[string]float64) *autoscalerpb.ResourceRequest {
	return &autoscalerpb.ResourceRequest{ResourcesBundle: r}
}

func TestDecodeState(t *testing.T) {
	one := bundle(map[string]float64{"GPU": 1, "CPU": 0.5})
	got := decodeState(&autoscalerpb.ClusterResourceState{
		PendingResourceRequests: []*autoscalerpb.ResourceRequestByCount{
			{Request: one, Count: 2},
			{Request: bundle(map[string]float64{"CPU": 1, "node:__internal_implicit_resource_x": 1}), Count: 1},
			{Request: bundle(map[string]float64{"CPU_group_0_abc": 1}), Count: 4}, // inside a placement group
			{Request: &autoscalerpb.ResourceRequest{
				ResourcesBundle: map[string]float64{"CPU": 2}, LabelSelectors: []*commonpb.LabelSelector{{}},
			}, Count: 1},
			{Request: &autoscalerpb.ResourceRequest{
				ResourcesBundle: map[string]float64{"CPU": 3},
				LabelSelectors:  []*commonpb.LabelSelector{{LabelConstraints: []*commonpb.LabelSelectorConstraint{{LabelKey: "zone"}}}},
			}, Count: 1},
			{Count: 0},
			nil,
		},
		PendingGangResourceRequests: []*autoscalerpb.GangResourceRequest{
			{Requests: []*autoscalerpb.ResourceRequest{one, one}, Details: "0123456789abcdef:STRICT_SPREAD|PENDING"},
			{Details: "fedcba:PACK|CREATED"}, // empty: says nothing
			{BundleSelectors: []*autoscalerpb.BundleSelector{{ResourceRequests: []*autoscalerpb.ResourceRequest{one}}}, Details: "aa:PACK|RESCHEDULING"},
		},
		ClusterResourceConstraints: []*autoscalerpb.ClusterResourceConstraint{
			{ResourceRequests: []*autoscalerpb.ResourceRequestByCount{{Request: bundle(map[string]float64{"GPU": 1}), Count: 3}}},
		},
		NodeStates: []*autoscalerpb.NodeState{
			{InstanceId: "head", Status: autoscalerpb.NodeStatus_IDLE, TotalResources: map[string]float64{"node:__internal_head__": 1}},
			{InstanceId: "w", RayNodeTypeName: "gpu", Status: autoscalerpb.NodeStatus_RUNNING},
			{InstanceId: "x", Status: autoscalerpb.NodeStatus(99)},
		},
	})
	assert.Equal(t, map[string]int64{
		"{CPU 0.5, GPU 1}": 2, "{CPU 1}": 1,
		"{CPU 2}": 1, "{CPU 3} with label selectors": 1,
		"gang 01234567 STRICT_SPREAD [2 x {CPU 0.5, GPU 1}]": 1,
		"gang aa PACK [1 x {CPU 0.5, GPU 1}] RESCHEDULING":   1,
		"request_resources {GPU 1}":                          3,
	}, got.Demand)
	assert.Equal(t, []RayNode{
		{Pod: "head", Status: "IDLE", Head: true},
		{Pod: "w", Group: "gpu", Status: statusRunning},
		{Pod: "x", Status: "UNKNOWN"},
	}, got.Nodes)
}

// gcs is a strict stand-in: what would make a real GCS abort fails the test.
type gcs struct {
	autoscalerpb.UnimplementedAutoscalerStateServiceServer

	t *testing.T

	mu    sync.Mutex
	calls int
	round int64 // of the autoscaler, as last reported
}

func (g *gcs) GetClusterStatus(ctx context.Context, _ *autoscalerpb.GetClusterStatusRequest) (*autoscalerpb.GetClusterStatusReply, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	if a := md.Get("authorization"); len(a) != 1 || a[0] != "Bearer secret" {
		return nil, status.Error(codes.Unauthenticated, "InvalidAuthToken")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return &autoscalerpb.GetClusterStatusReply{AutoscalingState: &autoscalerpb.AutoscalingState{AutoscalerStateVersion: g.round}}, nil
}

func (g *gcs) GetClusterResourceState(ctx context.Context, q *autoscalerpb.GetClusterResourceStateRequest) (*autoscalerpb.GetClusterResourceStateReply, error) {
	assert.Zero(g.t, q.GetLastSeenClusterResourceStateVersion())
	md, _ := metadata.FromIncomingContext(ctx)
	assert.Empty(g.t, md.Get("ray_cluster_id"))
	if a := md.Get("authorization"); len(a) != 1 || a[0] != "Bearer secret" {
		return nil, status.Error(codes.Unauthenticated, "InvalidAuthToken")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls++
	return &autoscalerpb.GetClusterResourceStateReply{ClusterResourceState: &autoscalerpb.ClusterResourceState{
		PendingResourceRequests: []*autoscalerpb.ResourceRequestByCount{{Request: bundle(map[string]float64{"GPU": 1}), Count: int64(g.calls)}},
	}}, nil
}

func serve(t *testing.T) (*gcs, string) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s, g := grpc.NewServer(), &gcs{t: t}
	autoscalerpb.RegisterAutoscalerStateServiceServer(s, g)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() {
		s.Stop()
		<-done
	})
	return g, l.Addr().String()
}

func poll(t *testing.T, target GCSTarget, r *Recorder) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		PollGCS(ctx, target, r)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

func TestPollGCSFollowsTheHead(t *testing.T) {
	_, first := serve(t)
	g, second := serve(t)
	var mu sync.Mutex
	address, ready := "", false
	move := func(to string) {
		mu.Lock()
		defer mu.Unlock()
		address, ready = to, to != ""
	}
	r := newTestRecorder()
	poll(t, GCSTarget{RayCluster: cluster, Token: "secret", Address: func() (string, bool) {
		mu.Lock()
		defer mu.Unlock()
		return address, ready
	}}, r)
	texts := func() (out []string) {
		for _, e := range r.Report(time.Now()).Timeline {
			if e.Kind == KindNote {
				out = append(out, e.Text)
			}
		}
		return out
	}
	want := make([]string, 0, 3)
	for _, step := range []struct{ address, text string }{
		{first, "the GCS answers"}, {"", "the GCS does not answer: no head is ready"}, {second, "the GCS answers"},
	} {
		move(step.address)
		want = append(want, step.text)
		require.Eventually(t, func() bool { return len(texts()) >= len(want) }, time.Minute, 10*time.Millisecond)
		assert.Equal(t, want, texts())
	}
	assert.True(t, r.Facts().Demand[cluster])
	g.mu.Lock()
	defer g.mu.Unlock()
	assert.Positive(t, g.calls, "the new head is asked, not the old one")
}

func TestPollGCSWithoutTokenReadsNothing(t *testing.T) {
	g, address := serve(t)
	r := newTestRecorder()
	asked := make(chan struct{}, 1000)
	poll(t, GCSTarget{RayCluster: cluster, Address: func() (string, bool) {
		asked <- struct{}{}
		return address, true
	}}, r)
	for range 3 {
		<-asked
	}
	assert.False(t, r.Facts().Demand[cluster])
	g.mu.Lock()
	defer g.mu.Unlock()
	assert.Zero(t, g.calls)
}

func TestAutoscalerRan(t *testing.T) {
	g, address := serve(t)
	ready := false
	target := GCSTarget{RayCluster: cluster, Token: "secret", Address: func() (string, bool) { return address, ready }}
	assert.False(t, AutoscalerRan(t.Context(), target), "no head is ready")
	ready = true
	assert.False(t, AutoscalerRan(t.Context(), target), "nothing is reported yet")
	g.mu.Lock()
	g.round = 1
	g.mu.Unlock()
	assert.True(t, AutoscalerRan(t.Context(), target))
	target.Token = ""
	assert.False(t, AutoscalerRan(t.Context(), target), "what cannot be read has not run")
}
