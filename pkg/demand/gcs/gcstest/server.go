// Package gcstest is a stand-in for the GCS of a Ray cluster, for tests. It is
// strict: what would make a real GCS or raylet end its process makes the test
// fail, and the stand-in plays dead from then on.
package gcstest

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/tandem-autoscaler/tandem/pkg/demand/gcs/autoscalerpb"
)

// TB is the part of [testing.TB] that the stand-in needs.
type TB interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// Options of a [Server]. The zero value is a plaintext server without token on
// a free port of 127.0.0.1.
type Options struct {
	// Address to listen on, such as 127.30.0.1:6379.
	Address string
	// Token that every call must carry, if it is not empty.
	Token string
	// TLS of the listener; nil is plaintext.
	TLS *tls.Config
}

// Server is one GCS. Its script can be changed at any time, and it can be
// stopped and started again. It is safe for concurrent use.
type Server struct {
	autoscalerpb.UnimplementedAutoscalerStateServiceServer

	tb  TB
	tls *tls.Config

	mu           sync.Mutex
	address      string
	token        string
	grpc         *grpc.Server
	served       chan struct{}
	session      int
	version      int64
	state        *autoscalerpb.ClusterResourceState
	constraint   *autoscalerpb.ClusterResourceConstraint
	report       *autoscalerpb.AutoscalingState
	delay        time.Duration
	garbage      []byte
	passive      bool
	failure      error
	onDrain      func(*autoscalerpb.DrainNodeRequest) *autoscalerpb.DrainNodeReply
	drainFailure error
	preempted    []string
	crash        string
	calls        int
	drains       []*autoscalerpb.DrainNodeRequest
}

// Start runs a server until the test ends. Its state is that of a cluster
// without nodes and without demand.
func Start(tb TB, o Options) *Server {
	tb.Helper()
	s := &Server{tb: tb, tls: o.TLS, token: o.Token, address: o.Address, state: &autoscalerpb.ClusterResourceState{}}
	if s.address == "" {
		s.address = "127.0.0.1:0"
	}
	s.listen()
	tb.Cleanup(s.Stop)
	return s
}

// Address is host:port; it stays the same over restarts.
func (s *Server) Address() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.address
}

// Stop ends the process that the server stands for: connections break and calls
// find nobody. The state is lost. Stopping twice is allowed.
func (s *Server) Stop() {
	s.mu.Lock()
	g, served := s.grpc, s.served
	s.grpc = nil
	s.state, s.constraint, s.report = &autoscalerpb.ClusterResourceState{}, nil, nil
	s.mu.Unlock()
	if g != nil {
		g.Stop()
		<-served
	}
}

// Restart is a head that comes back without fault tolerance: a new session, the
// version at zero, no nodes, no demand, no memory of drains.
func (s *Server) Restart() {
	s.tb.Helper()
	s.Stop()
	s.listen()
}

func (s *Server) listen() {
	s.tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", s.address)
	if err != nil {
		s.tb.Fatalf("gcstest: listening on %s: %v", s.address, err)
		return
	}
	s.address = l.Addr().String()
	s.session++
	s.version, s.crash = 0, ""
	options := []grpc.ServerOption{grpc.ForceServerCodec(codec{s}), grpc.UnaryInterceptor(s.intercept)}
	if s.tls != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(s.tls)))
	}
	g, served := grpc.NewServer(options...), make(chan struct{})
	autoscalerpb.RegisterAutoscalerStateServiceServer(g, s)
	s.grpc, s.served = g, served
	go func() {
		defer close(served)
		_ = g.Serve(l) // ends with Stop
	}()
}

// intercept is what every call passes: delays, failures, tokens, metadata.
func (s *Server) intercept(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	s.mu.Lock()
	s.calls++
	delay, passive, failure, token, crash := s.delay, s.passive, s.failure, s.token, s.crash
	s.mu.Unlock()
	if delay > 0 {
		t := time.NewTimer(delay)
		defer t.Stop()
		select {
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		case <-t.C:
		}
	}
	md, _ := metadata.FromIncomingContext(ctx)
	if id := md.Get("ray_cluster_id"); len(id) > 0 {
		return nil, s.crashes("the call carries ray_cluster_id %q, which a restarted GCS refuses", id)
	}
	switch {
	case crash != "":
		return nil, status.Error(codes.Unavailable, "gcstest: the GCS has ended: "+crash)
	case token != "" && !slices.Equal(md.Get("authorization"), []string{"Bearer " + token}):
		return nil, status.Error(codes.Unauthenticated, "InvalidAuthToken: the token is missing or wrong")
	case passive:
		return nil, status.Error(codes.Aborted, "GcsPassive: this GCS is not the leader")
	case failure != nil:
		return nil, failure
	}
	return next(ctx, req)
}

// crashes fails the test and ends the life of the server until a Restart.
func (s *Server) crashes(format string, args ...any) error {
	s.tb.Helper()
	why := fmt.Sprintf(format, args...)
	s.mu.Lock()
	s.crash = why
	s.mu.Unlock()
	s.tb.Errorf("gcstest: a real GCS would end here: %s", why)
	return status.Error(codes.Unavailable, "gcstest: the GCS has ended: "+why)
}

// codec writes garbage in place of states when the script wants it.
type codec struct{ s *Server }

func (codec) Name() string { return "proto" }

func (codec) Unmarshal(b []byte, v any) error {
	m, ok := v.(proto.Message)
	if !ok {
		return fmt.Errorf("gcstest: %T is no message", v)
	}
	return proto.Unmarshal(b, m)
}

func (c codec) Marshal(v any) ([]byte, error) {
	m, ok := v.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("gcstest: %T is no message", v)
	}
	if _, state := v.(*autoscalerpb.GetClusterResourceStateReply); state {
		c.s.mu.Lock()
		garbage := c.s.garbage
		c.s.mu.Unlock()
		if garbage != nil {
			return garbage, nil
		}
	}
	return proto.Marshal(m)
}
