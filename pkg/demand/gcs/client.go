// Package gcs speaks to the Global Control Service of a Ray cluster: it reads
// the demand and the nodes, and asks for drains. Its types leave no way to send
// what a GCS or a raylet would end its own process on.
package gcs

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"

	"github.com/tandem-autoscaler/tandem/pkg/demand/gcs/autoscalerpb"
)

const (
	// maxReply is Ray's own limit (ray: max_grpc_message_size). The default of
	// grpc-go, 4 MiB, is less than a busy cluster answers.
	maxReply = 512 << 20
	// pingEvery stays above the 60 s at which a GCS starts to refuse pings.
	pingEvery   = 90 * time.Second
	pingTimeout = 20 * time.Second

	defaultTimeout = 5 * time.Second
)

// Options say how one GCS is reached. Only Address is needed. The files may
// change at any time: the token is read again for every call after its file
// changed, the TLS files for every connection.
type Options struct {
	// Address is host:port of the GCS.
	Address string
	// TokenFile holds the bearer token of a cluster with RAY_AUTH_MODE=token.
	TokenFile string
	// CAFile switches TLS on: it holds the authorities that may have signed the
	// server's certificate. CertFile and KeyFile, both or neither, hold the
	// client's own certificate, which Ray asks for (RAY_USE_TLS=1).
	CAFile   string
	CertFile string
	KeyFile  string
	// ServerName is the name that the server's certificate is checked for.
	// Empty: the host of Address.
	ServerName string
	// Timeout of one call, connecting included. Zero: 5 s.
	Timeout time.Duration
}

// Client reads and drains one Ray cluster through its GCS. It is safe for
// concurrent use.
type Client struct {
	address string
	timeout time.Duration
	token   *tokenFile
	conn    *grpc.ClientConn
	service autoscalerpb.AutoscalerStateServiceClient
}

// Dial prepares a client. It does not connect: the first call does, so that a
// GCS that is down is an error of the call. An error of Dial is one of the
// configuration, among them files that cannot be read.
func Dial(o Options) (*Client, error) {
	if _, port, err := net.SplitHostPort(o.Address); err != nil || port == "" {
		return nil, fmt.Errorf("dialling GCS: address %q is not host:port", o.Address)
	}
	if o.Timeout < 0 {
		return nil, fmt.Errorf("dialling GCS %s: timeout %s is negative", o.Address, o.Timeout)
	}
	creds := insecure.NewCredentials()
	if o.CAFile != "" || o.CertFile != "" || o.KeyFile != "" {
		files, err := newTLSFiles(o)
		if err != nil {
			return nil, fmt.Errorf("dialling GCS %s: %w", o.Address, err)
		}
		creds = files
	}
	c := &Client{address: o.Address, timeout: o.Timeout}
	if c.timeout == 0 {
		c.timeout = defaultTimeout
	}
	if o.TokenFile != "" {
		c.token = &tokenFile{path: o.TokenFile}
		if _, err := c.token.read(); err != nil {
			return nil, fmt.Errorf("dialling GCS %s: %w", o.Address, err)
		}
	}
	// The address is taken as it is, without name service and without proxies:
	// it is that of a pod.
	conn, err := grpc.NewClient("passthrough:///"+o.Address,
		grpc.WithTransportCredentials(creds),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithUserAgent("tandem-coordinator"),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxReply)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingEvery, Timeout: pingTimeout, PermitWithoutStream: false}),
		// Callers pace their own retries; the connection must not lag behind.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: c.timeout,
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("dialling GCS %s: %w", o.Address, err)
	}
	c.conn, c.service = conn, autoscalerpb.NewAutoscalerStateServiceClient(conn)
	return c, nil
}

// Close ends the connection.
func (c *Client) Close() error {
	if err := c.conn.Close(); err != nil {
		return fmt.Errorf("closing the connection to GCS %s: %w", c.address, err)
	}
	return nil
}

// State reads the demand and the nodes. The request never names an earlier
// version: a GCS that has restarted since would end its process on it (ray:
// src/ray/gcs/gcs_autoscaler_state_manager.cc). An error is always an [*Error],
// and means that the demand is unknown, not that there is none.
func (c *Client) State(ctx context.Context) (*autoscalerpb.ClusterResourceState, error) {
	const op = "reading the cluster resource state"
	ctx, cancel, err := c.outgoing(ctx)
	if err != nil {
		return nil, c.failed(op, ErrUnauthenticated, err)
	}
	defer cancel()
	reply, err := c.service.GetClusterResourceState(ctx, &autoscalerpb.GetClusterResourceStateRequest{})
	if err != nil {
		return nil, c.classified(op, err)
	}
	if reply.GetClusterResourceState() == nil {
		return nil, c.failed(op, ErrMalformed, errors.New("the reply carries no state"))
	}
	return reply.GetClusterResourceState(), nil
}

// NodeID names a raylet. Its size is fixed, because a GCS ends its process on an
// id of another size.
type NodeID [28]byte

// ParseNodeID reads the hexadecimal form of a node id.
func ParseNodeID(s string) (NodeID, error) {
	var id NodeID
	if hex.DecodedLen(len(s)) != len(id) || len(s)%2 != 0 {
		return id, fmt.Errorf("ray node id %.80q has %d digits, not %d", s, len(s), hex.EncodedLen(len(id)))
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return id, fmt.Errorf("ray node id %q: %w", s, err)
	}
	return id, nil
}

// String is the hexadecimal form.
func (id NodeID) String() string { return hex.EncodeToString(id[:]) }

// DrainIdle asks a Ray node to end because it is idle. The answer is no, with
// the reason, when it is not idle at that moment. A yes cannot be taken back:
// the raylet ends at once, while its pod stays. A no is not free of effects
// either, since the GCS marks the node's actors as preempted before it asks: it
// is no way to find out whether a node is idle.
func (c *Client) DrainIdle(ctx context.Context, node NodeID, message string) (accepted bool, why string, err error) {
	return c.drain(ctx, &autoscalerpb.DrainNodeRequest{
		NodeId:        node[:],
		Reason:        autoscalerpb.DrainNodeReason_DRAIN_NODE_REASON_IDLE_TERMINATION,
		ReasonMessage: message,
	})
}

// DrainPreempt tells a Ray node that it will be taken away, whether it is busy
// or not: it gets no new work, and its work is expected to be gone by the
// deadline. The zero deadline means none.
func (c *Client) DrainPreempt(ctx context.Context, node NodeID, message string, deadline time.Time) (accepted bool, why string, err error) {
	r := &autoscalerpb.DrainNodeRequest{
		NodeId:        node[:],
		Reason:        autoscalerpb.DrainNodeReason_DRAIN_NODE_REASON_PREEMPTION,
		ReasonMessage: message,
	}
	if !deadline.IsZero() {
		r.DeadlineTimestampMs = deadline.UnixMilli()
		if r.GetDeadlineTimestampMs() <= 0 {
			return false, "", fmt.Errorf("draining Ray node %s: deadline %s is before 1970", node, deadline.Format(time.RFC3339))
		}
	}
	return c.drain(ctx, r)
}

func (c *Client) drain(ctx context.Context, r *autoscalerpb.DrainNodeRequest) (accepted bool, why string, err error) {
	op := "draining Ray node " + hex.EncodeToString(r.GetNodeId())
	r.ReasonMessage = clip(strings.ToValidUTF8(r.GetReasonMessage(), "?"))
	ctx, cancel, err := c.outgoing(ctx)
	if err != nil {
		return false, "", c.failed(op, ErrUnauthenticated, err)
	}
	defer cancel()
	reply, err := c.service.DrainNode(ctx, r)
	if err != nil {
		return false, "", c.classified(op, err)
	}
	return reply.GetIsAccepted(), clip(reply.GetRejectionReasonMessage()), nil
}

// outgoing gives a call its deadline and its metadata. The metadata is made
// anew, so that nothing of the caller's context reaches the GCS: a stray
// ray_cluster_id would be checked and refused after the next head restart.
func (c *Client) outgoing(ctx context.Context) (context.Context, context.CancelFunc, error) {
	md := metadata.MD{}
	if c.token != nil {
		token, err := c.token.read()
		if err != nil {
			return nil, nil, err
		}
		md.Set("authorization", "Bearer "+token)
	}
	ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(ctx, md), c.timeout)
	return ctx, cancel, nil
}
