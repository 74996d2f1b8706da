package report

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tandem-autoscaler/tandem/pkg/demand/gcs/autoscalerpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	// gcsInterval is the time between two readings of a GCS.
	gcsInterval = 200 * time.Millisecond
	// gcsTimeout bounds one reading.
	gcsTimeout = 2 * time.Second
	// gcsMessageBytes is Ray's own limit (max_grpc_message_size in
	// ray: src/ray/common/ray_config_def.h).
	gcsMessageBytes = 512 << 20
)

var errNoHead = errors.New("no head is ready")

// GCSTarget is the GCS of one RayCluster.
type GCSTarget struct {
	// RayCluster is namespace/name.
	RayCluster string
	// Address tells host:port of the GCS, or false while no head is ready. It
	// may change when the head is replaced.
	Address func() (string, bool)
	// Token is sent if it is not empty.
	Token string
}

// PollGCS reads a GCS until the context ends. It only ever asks for the state,
// and always with a last seen version of zero: a GCS that restarted aborts on
// one that is ahead of its own.
func PollGCS(ctx context.Context, t GCSTarget, r *Recorder) {
	p := &poller{target: t}
	defer p.close()
	tick := time.NewTicker(gcsInterval)
	defer tick.Stop()
	for {
		state, err := p.read(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			r.ObserveGCSDown(time.Now(), t.RayCluster, reason(err))
		default:
			r.ObserveGCS(time.Now(), t.RayCluster, decodeState(state))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// reason is the text of an error, without addresses and attempts that differ
// from one time to the next.
func reason(err error) string {
	if s, ok := status.FromError(err); ok {
		return s.Code().String()
	}
	return err.Error()
}

type poller struct {
	target  GCSTarget
	address string
	conn    *grpc.ClientConn
}

func (p *poller) close() {
	if p.conn != nil {
		_ = p.conn.Close()
		p.conn = nil
	}
}

// AutoscalerRan tells whether Ray's in-tree autoscaler has ended a round: at the
// end of one it reports its own state to the GCS.
func AutoscalerRan(ctx context.Context, t GCSTarget) bool {
	p := &poller{target: t}
	defer p.close()
	ctx, cancel := context.WithTimeout(ctx, gcsTimeout)
	defer cancel()
	ctx, err := p.dial(ctx)
	if err != nil {
		return false
	}
	reply, err := autoscalerpb.NewAutoscalerStateServiceClient(p.conn).GetClusterStatus(ctx, &autoscalerpb.GetClusterStatusRequest{})
	return err == nil && reply.GetAutoscalingState().GetAutoscalerStateVersion() > 0
}

// dial connects to the GCS that the target names now. The context that it
// returns carries the token.
func (p *poller) dial(ctx context.Context) (context.Context, error) {
	address, ok := p.target.Address()
	if !ok {
		return nil, errNoHead
	}
	if p.conn == nil || address != p.address {
		p.close()
		conn, err := grpc.NewClient("passthrough:///"+address,
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: time.Minute, Timeout: 20 * time.Second}),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(gcsMessageBytes)))
		if err != nil {
			return nil, fmt.Errorf("dialling the GCS at %s: %w", address, err)
		}
		p.conn, p.address = conn, address
	}
	if p.target.Token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+p.target.Token)
	}
	return ctx, nil
}

func (p *poller) read(ctx context.Context) (*autoscalerpb.ClusterResourceState, error) {
	ctx, cancel := context.WithTimeout(ctx, gcsTimeout)
	defer cancel()
	ctx, err := p.dial(ctx)
	if err != nil {
		return nil, err
	}
	reply, err := autoscalerpb.NewAutoscalerStateServiceClient(p.conn).GetClusterResourceState(ctx, &autoscalerpb.GetClusterResourceStateRequest{})
	if err != nil {
		return nil, err
	}
	return reply.GetClusterResourceState(), nil
}

// decodeState takes from a reply what the report shows.
func decodeState(s *autoscalerpb.ClusterResourceState) RayState {
	out := RayState{Demand: map[string]int64{}}
	add := func(shape string, n int64) {
		if shape != "" && n > 0 {
			out.Demand[shape] += n
		}
	}
	for _, q := range s.GetPendingResourceRequests() {
		add(shapeText(q.GetRequest()), q.GetCount())
	}
	for _, g := range s.GetPendingGangResourceRequests() {
		add(gangText(g), 1)
	}
	for _, c := range s.GetClusterResourceConstraints() {
		for _, q := range c.GetResourceRequests() {
			if shape := shapeText(q.GetRequest()); shape != "" {
				add("request_resources "+shape, q.GetCount())
			}
		}
	}
	for _, n := range s.GetNodeStates() {
		_, head := n.GetTotalResources()["node:__internal_head__"]
		node := RayNode{Pod: n.GetInstanceId(), Group: n.GetRayNodeTypeName(), Head: head, Status: "UNKNOWN"}
		switch n.GetStatus() {
		case autoscalerpb.NodeStatus_RUNNING, autoscalerpb.NodeStatus_DEAD, autoscalerpb.NodeStatus_IDLE, autoscalerpb.NodeStatus_DRAINING:
			node.Status = n.GetStatus().String()
		case autoscalerpb.NodeStatus_UNSPECIFIED:
		}
		out.Nodes = append(out.Nodes, node)
	}
	return out
}

// shapeText writes the resources of a request in one line, such as
// {CPU 1, GPU 1}. It is empty for what no new node can serve: requests inside
// a placement group, which carry names such as CPU_group_<id>.
func shapeText(q *autoscalerpb.ResourceRequest) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(q.GetResourcesBundle())) {
		if strings.Contains(name, "_group_") {
			return ""
		}
		if strings.HasPrefix(name, "node:__internal_implicit_resource_") {
			continue
		}
		parts = append(parts, name+" "+strconv.FormatFloat(q.GetResourcesBundle()[name], 'g', 6, 64))
	}
	text := "{" + strings.Join(parts, ", ") + "}"
	// Ray sends a selector without constraints for requests that have none.
	for _, s := range q.GetLabelSelectors() {
		if len(s.GetLabelConstraints()) > 0 {
			return text + " with label selectors"
		}
	}
	return text
}

// gangText writes a placement group in one line; an entry without bundles says
// nothing and gives an empty text.
func gangText(g *autoscalerpb.GangResourceRequest) string {
	bundles := g.GetRequests()
	if s := g.GetBundleSelectors(); len(s) > 0 {
		bundles = s[0].GetResourceRequests()
	}
	if len(bundles) == 0 {
		return ""
	}
	counts := map[string]int64{}
	for _, b := range bundles {
		counts[shapeText(b)]++
	}
	// <placement group id>:<strategy>|<state>
	id, rest, _ := strings.Cut(g.GetDetails(), ":")
	strategy, state, _ := strings.Cut(rest, "|")
	if len(id) > 8 {
		id = id[:8]
	}
	text := "gang " + id + " " + strategy + " [" + countsText(counts) + "]"
	if state != "PENDING" && state != "" {
		text += " " + state
	}
	return text
}
