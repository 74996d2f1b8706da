package gcstest

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/tandem-autoscaler/tandem/pkg/demand/gcs/autoscalerpb"
)

// nodeIDSize is the size of every id of a raylet (ray: src/ray/common/id.h).
const nodeIDSize = 28

// GetClusterResourceState answers with the state of the script.
func (s *Server) GetClusterResourceState(_ context.Context, r *autoscalerpb.GetClusterResourceStateRequest) (*autoscalerpb.GetClusterResourceStateReply, error) {
	if seen, own := r.GetLastSeenClusterResourceStateVersion(), s.currentVersion(); seen > own {
		return nil, s.crashes("last_seen_cluster_resource_state_version %d is above the server's %d", seen, own)
	} else if seen != 0 {
		return nil, s.crashes("last_seen_cluster_resource_state_version %d will be above the server's after its next restart", seen)
	}
	return &autoscalerpb.GetClusterResourceStateReply{ClusterResourceState: s.current()}, nil
}

// GetClusterStatus answers with the state and the last report.
func (s *Server) GetClusterStatus(context.Context, *autoscalerpb.GetClusterStatusRequest) (*autoscalerpb.GetClusterStatusReply, error) {
	return &autoscalerpb.GetClusterStatusReply{ClusterResourceState: s.current(), AutoscalingState: s.Report()}, nil
}

// ReportAutoscalingState keeps the report with the highest version.
func (s *Server) ReportAutoscalingState(_ context.Context, r *autoscalerpb.ReportAutoscalingStateRequest) (*autoscalerpb.ReportAutoscalingStateReply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.report == nil || r.GetAutoscalingState().GetAutoscalerStateVersion() > s.report.GetAutoscalerStateVersion() {
		s.report = proto.CloneOf(r.GetAutoscalingState())
	}
	return &autoscalerpb.ReportAutoscalingStateReply{}, nil
}

// RequestClusterResourceConstraint replaces the cluster's one constraint.
func (s *Server) RequestClusterResourceConstraint(_ context.Context, r *autoscalerpb.RequestClusterResourceConstraintRequest) (*autoscalerpb.RequestClusterResourceConstraintReply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.constraint = proto.CloneOf(r.GetClusterResourceConstraint())
	return &autoscalerpb.RequestClusterResourceConstraintReply{}, nil
}

// DrainNode answers as Ray does: an idle node ends at once, a busy one refuses
// an idle termination, nobody refuses a preemption, and unknown, dead and draining
// nodes are drained already. The actors of a node that lives are marked as
// preempted before it is asked, whatever it answers.
func (s *Server) DrainNode(_ context.Context, r *autoscalerpb.DrainNodeRequest) (*autoscalerpb.DrainNodeReply, error) {
	switch {
	case len(r.GetNodeId()) != nodeIDSize:
		return nil, s.crashes("node id of %d bytes", len(r.GetNodeId()))
	case r.GetReason() != autoscalerpb.DrainNodeReason_DRAIN_NODE_REASON_IDLE_TERMINATION &&
		r.GetReason() != autoscalerpb.DrainNodeReason_DRAIN_NODE_REASON_PREEMPTION:
		return nil, s.crashes("drain reason %s", r.GetReason())
	case r.GetDeadlineTimestampMs() < 0:
		s.tb.Errorf("gcstest: drain with the negative deadline %d", r.GetDeadlineTimestampMs())
		return nil, status.Error(codes.Aborted, fmt.Sprintf("Invalid: deadline_timestamp_ms is %d", r.GetDeadlineTimestampMs()))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drainFailure != nil {
		return nil, s.drainFailure
	}
	s.drains = append(s.drains, proto.CloneOf(r))
	if s.onDrain != nil {
		return s.onDrain(r), nil
	}
	return s.drain(r), nil
}

func (s *Server) drain(r *autoscalerpb.DrainNodeRequest) *autoscalerpb.DrainNodeReply {
	idle := r.GetReason() == autoscalerpb.DrainNodeReason_DRAIN_NODE_REASON_IDLE_TERMINATION
	for _, n := range s.state.GetNodeStates() {
		if !bytes.Equal(n.GetNodeId(), r.GetNodeId()) || n.GetStatus() == autoscalerpb.NodeStatus_DEAD {
			continue
		}
		s.preempted = append(s.preempted, hex.EncodeToString(n.GetNodeId()))
		switch status := n.GetStatus(); {
		case status == autoscalerpb.NodeStatus_IDLE:
			end(n)
		case status == autoscalerpb.NodeStatus_RUNNING && idle:
			return &autoscalerpb.DrainNodeReply{RejectionReasonMessage: "The node to be idle terminated is no longer idle."}
		case status == autoscalerpb.NodeStatus_RUNNING:
			n.Status = autoscalerpb.NodeStatus_DRAINING
		}
	}
	return &autoscalerpb.DrainNodeReply{IsAccepted: true}
}

// end is the death of a raylet: the node stays in the answers, without resources.
func end(n *autoscalerpb.NodeState) {
	n.Status = autoscalerpb.NodeStatus_DEAD
	n.TotalResources, n.AvailableResources, n.IdleDurationMs = nil, nil, 0
}

func (s *Server) currentVersion() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version
}

// current is the state with the server's own version, session and constraint.
func (s *Server) current() *autoscalerpb.ClusterResourceState {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	state := proto.CloneOf(s.state)
	state.ClusterResourceStateVersion = s.version
	if state.GetClusterSessionName() == "" {
		state.ClusterSessionName = fmt.Sprintf("session_%d", s.session)
	}
	if s.constraint != nil {
		state.ClusterResourceConstraints = []*autoscalerpb.ClusterResourceConstraint{proto.CloneOf(s.constraint)}
	}
	return state
}
