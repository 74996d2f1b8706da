package gcstest

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tandem-autoscaler/tandem/pkg/demand/gcs/autoscalerpb"
)

// SetState replaces the demand and the nodes. The version and the session name
// are the server's own, unless the state carries a version.
func (s *Server) SetState(state *autoscalerpb.ClusterResourceState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = proto.CloneOf(state)
	s.version = max(s.version, state.GetClusterResourceStateVersion())
}

// Update changes the state in place.
func (s *Server) Update(change func(*autoscalerpb.ClusterResourceState)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s.state)
}

// SetToken replaces the token that calls must carry; empty asks for none.
func (s *Server) SetToken(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = token
}

// SetDelay makes every later call wait.
func (s *Server) SetDelay(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delay = d
}

// SetGarbage makes the server answer these bytes in place of a state; nil ends
// that.
func (s *Server) SetGarbage(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.garbage = b
}

// SetPassive makes the server one that waits for its active peer to go.
func (s *Server) SetPassive(passive bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.passive = passive
}

// SetFailure makes every later call fail with this error of package status; nil
// ends that.
func (s *Server) SetFailure(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure = err
}

// OnDrain replaces the answer to drains that are not a crash; nil goes back to
// what Ray does.
func (s *Server) OnDrain(answer func(*autoscalerpb.DrainNodeRequest) *autoscalerpb.DrainNodeReply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onDrain = answer
}

// SetDrainFailure makes every later drain fail with this error of package status,
// as that of a Ray without drains does; nil ends that.
func (s *Server) SetDrainFailure(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drainFailure = err
}

// Preempted lists the ids of the nodes whose actors were marked as preempted, once
// for each drain that did so, refused ones included.
func (s *Server) Preempted() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.preempted)
}

// Crash tells what ended the server, or is empty.
func (s *Server) Crash() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.crash
}

// Calls counts the calls that arrived, over all restarts.
func (s *Server) Calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// Drains lists the drains that arrived and were no crash, over all restarts.
func (s *Server) Drains() []*autoscalerpb.DrainNodeRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.drains)
}

// Report is the last report of an autoscaler, or nil.
func (s *Server) Report() *autoscalerpb.AutoscalingState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return proto.CloneOf(s.report)
}
