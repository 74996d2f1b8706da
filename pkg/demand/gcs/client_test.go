package gcs_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tandem-autoscaler/tandem/pkg/demand/gcs"
	"github.com/tandem-autoscaler/tandem/pkg/demand/gcs/autoscalerpb"
	"github.com/tandem-autoscaler/tandem/pkg/demand/gcs/gcstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patient is a timeout that only a broken client reaches.
const patient = time.Minute

func dial(t *testing.T, o gcs.Options) *gcs.Client {
	t.Helper()
	if o.Timeout == 0 {
		o.Timeout = patient
	}
	c, err := gcs.Dial(o)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, c.Close()) })
	return c
}

func node(b byte, s autoscalerpb.NodeStatus) (gcs.NodeID, *autoscalerpb.NodeState) {
	id := gcs.NodeID{b}
	return id, &autoscalerpb.NodeState{NodeId: id[:], Status: s, TotalResources: map[string]float64{"CPU": 1}}
}

func TestStateSurvivesRestartsOfTheHead(t *testing.T) {
	t.Parallel()
	s := gcstest.Start(t, gcstest.Options{})
	c := dial(t, gcs.Options{Address: s.Address()})
	_, n := node(1, autoscalerpb.NodeStatus_RUNNING)
	s.SetState(&autoscalerpb.ClusterResourceState{NodeStates: []*autoscalerpb.NodeState{n}, ClusterResourceStateVersion: 41})

	first, err := c.State(t.Context())
	require.NoError(t, err)
	assert.Equal(t, int64(42), first.GetClusterResourceStateVersion())
	assert.Len(t, first.GetNodeStates(), 1)

	s.Restart()
	var second *autoscalerpb.ClusterResourceState
	require.Eventually(t, func() bool {
		second, err = c.State(t.Context())
		return err == nil
	}, patient, 10*time.Millisecond)
	assert.Less(t, second.GetClusterResourceStateVersion(), first.GetClusterResourceStateVersion())
	assert.NotEqual(t, first.GetClusterSessionName(), second.GetClusterSessionName())
	assert.Empty(t, second.GetNodeStates())
	assert.Empty(t, s.Crash())
}

func TestNothingOfTheCallersContextTravels(t *testing.T) {
	t.Parallel()
	s := gcstest.Start(t, gcstest.Options{})
	c := dial(t, gcs.Options{Address: s.Address()})
	_, err := c.State(metadata.AppendToOutgoingContext(t.Context(), "ray_cluster_id", "0badc0de"))
	require.NoError(t, err)
	assert.Empty(t, s.Crash())
}

func TestRepliesAboveTheDefaultLimitArrive(t *testing.T) {
	t.Parallel()
	s := gcstest.Start(t, gcstest.Options{})
	c := dial(t, gcs.Options{Address: s.Address()})
	_, n := node(1, autoscalerpb.NodeStatus_RUNNING)
	n.NodeActivity = []string{strings.Repeat("x", 6<<20)}
	s.SetState(&autoscalerpb.ClusterResourceState{NodeStates: []*autoscalerpb.NodeState{n}})
	got, err := c.State(t.Context())
	require.NoError(t, err)
	assert.Len(t, got.GetNodeStates()[0].GetNodeActivity()[0], 6<<20)
}

// Fault 1: nobody answers.
// Fault 4: what answers is garbage, or cut off.
// Fault 60: the token is missing or wrong.
func TestFailuresAreTyped(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		script func(*gcstest.Server)
		kind   error
		text   []string
	}{
		"stopped":     {func(s *gcstest.Server) { s.Stop() }, gcs.ErrUnreachable, []string{"head pod is ready"}},
		"passive":     {func(s *gcstest.Server) { s.SetPassive(true) }, gcs.ErrPassive, []string{"Aborted"}},
		"token":       {func(s *gcstest.Server) { s.SetToken("secret") }, gcs.ErrUnauthenticated, []string{"tokenFile"}},
		"garbage":     {func(s *gcstest.Server) { s.SetGarbage([]byte{0xff, 0xff, 0xff}) }, gcs.ErrMalformed, []string{"rayStartParams.port"}},
		"empty reply": {func(s *gcstest.Server) { s.SetGarbage([]byte{}) }, gcs.ErrMalformed, []string{"carries no state"}},
		"text in the wrong encoding": {
			// Field 7 of the state, a string, as one byte that is no UTF-8.
			func(s *gcstest.Server) { s.SetGarbage([]byte{0x0a, 0x03, 0x3a, 0x01, 0xff}) }, gcs.ErrMalformed, nil,
		},
		"unsupported": {func(s *gcstest.Server) { s.SetFailure(status.Error(codes.Unimplemented, "no")) }, gcs.ErrUnsupported, []string{"Ray 2.49"}},
		"refused":     {func(s *gcstest.Server) { s.SetFailure(status.Error(codes.Aborted, "Invalid: no")) }, gcs.ErrRefused, []string{"gcs_server"}},
		"a flood in the error": {
			func(s *gcstest.Server) {
				s.SetFailure(status.Error(codes.Aborted, "line\n"+strings.Repeat("é", 1000)))
			}, gcs.ErrRefused, []string{`line\n`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := gcstest.Start(t, gcstest.Options{})
			client := dial(t, gcs.Options{Address: s.Address()})
			c.script(s)
			_, err := client.State(t.Context())
			require.ErrorIs(t, err, c.kind)
			require.ErrorContains(t, err, "reading the cluster resource state of GCS "+s.Address())
			for _, text := range c.text {
				require.ErrorContains(t, err, text)
			}
			assert.Less(t, len(err.Error()), 1000)
			assert.NotContains(t, err.Error(), "\n")
		})
	}
}

// Fault 2: the GCS is slower than the deadline.
func TestASlowServerMeetsTheDeadline(t *testing.T) {
	t.Parallel()
	s := gcstest.Start(t, gcstest.Options{})
	s.SetDelay(patient)
	c := dial(t, gcs.Options{Address: s.Address(), Timeout: 50 * time.Millisecond})
	_, err := c.State(t.Context())
	assert.ErrorIs(t, err, gcs.ErrUnreachable)
}

func TestSomethingElseListens(t *testing.T) {
	t.Parallel()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("-ERR unknown command\r\n"))
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	c := dial(t, gcs.Options{Address: l.Addr().String()})
	_, err = c.State(t.Context())
	var typed *gcs.Error
	require.ErrorAs(t, err, &typed)
	assert.ErrorIs(t, err, gcs.ErrUnreachable)
}

// Fault 60: the token is rotated: the file is read again.
func TestTokenFile(t *testing.T) {
	t.Parallel()
	s := gcstest.Start(t, gcstest.Options{Token: "first"})
	path := filepath.Join(t.TempDir(), "token")
	write := func(token string, at time.Time) {
		require.NoError(t, os.WriteFile(path, []byte(token), 0o600))
		require.NoError(t, os.Chtimes(path, at, at))
	}
	now := time.Now()
	write("first\n", now)
	c := dial(t, gcs.Options{Address: s.Address(), TokenFile: path})
	_, err := c.State(t.Context())
	require.NoError(t, err)

	s.SetToken("other")
	_, err = c.State(t.Context())
	require.ErrorIs(t, err, gcs.ErrUnauthenticated)
	assert.NotContains(t, err.Error(), "first", "a token must not be shown")

	write("other", now.Add(time.Second))
	_, err = c.State(t.Context())
	require.NoError(t, err, "the file is read again after it changed")

	write("bad\x01token", now.Add(2*time.Second))
	_, err = c.State(t.Context())
	require.ErrorIs(t, err, gcs.ErrUnauthenticated)
	assert.NotContains(t, err.Error(), "bad")

	require.NoError(t, os.Remove(path))
	_, err = c.State(t.Context())
	require.ErrorIs(t, err, gcs.ErrUnauthenticated)
	assert.ErrorContains(t, err, path)
}

func TestDialRefusesBadOptions(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	require.NoError(t, os.WriteFile(empty, []byte(" \n"), 0o600))
	huge := filepath.Join(dir, "huge")
	require.NoError(t, os.WriteFile(huge, make([]byte, 1<<20), 0o600))
	for name, c := range map[string]struct {
		o   gcs.Options
		err string
	}{
		"no address":         {gcs.Options{}, `address "" is not host:port`},
		"no port":            {gcs.Options{Address: "10.0.0.1:"}, "is not host:port"},
		"negative timeout":   {gcs.Options{Address: "a:1", Timeout: -1}, "is negative"},
		"token missing":      {gcs.Options{Address: "a:1", TokenFile: filepath.Join(dir, "none")}, "no such file"},
		"token empty":        {gcs.Options{Address: "a:1", TokenFile: empty}, "the file is empty"},
		"token huge":         {gcs.Options{Address: "a:1", TokenFile: huge}, "larger than"},
		"CA missing":         {gcs.Options{Address: "a:1", CAFile: filepath.Join(dir, "none")}, "reading the CA file"},
		"CA not PEM":         {gcs.Options{Address: "a:1", CAFile: empty}, "holds no PEM certificate"},
		"certificate alone":  {gcs.Options{Address: "a:1", CertFile: empty, KeyFile: empty}, "needs the CA file"},
		"key without a cert": {gcs.Options{Address: "a:1", CAFile: empty, KeyFile: empty}, "go together"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := gcs.Dial(c.o)
			assert.ErrorContains(t, err, c.err)
		})
	}
}

func TestDrain(t *testing.T) {
	t.Parallel()
	s := gcstest.Start(t, gcstest.Options{})
	c := dial(t, gcs.Options{Address: s.Address()})
	idle, idleState := node(1, autoscalerpb.NodeStatus_IDLE)
	busy, busyState := node(2, autoscalerpb.NodeStatus_RUNNING)
	s.SetState(&autoscalerpb.ClusterResourceState{NodeStates: []*autoscalerpb.NodeState{idleState, busyState}})

	ok, why, err := c.DrainIdle(t.Context(), busy, "idle\xff")
	require.NoError(t, err)
	assert.False(t, ok)
	assert.Contains(t, why, "no longer idle")

	ok, _, err = c.DrainIdle(t.Context(), idle, "idle")
	require.NoError(t, err)
	assert.True(t, ok)

	deadline := time.Now().Add(time.Minute)
	ok, _, err = c.DrainPreempt(t.Context(), busy, "gone soon", deadline)
	require.NoError(t, err)
	assert.True(t, ok)
	ok, _, err = c.DrainPreempt(t.Context(), gcs.NodeID{9}, "nobody", time.Time{})
	require.NoError(t, err)
	assert.True(t, ok, "an unknown node is drained already")

	_, _, err = c.DrainPreempt(t.Context(), busy, "", time.Unix(-5, 0))
	require.ErrorContains(t, err, "before 1970")

	state, err := c.State(t.Context())
	require.NoError(t, err)
	assert.Equal(t, autoscalerpb.NodeStatus_DEAD, state.GetNodeStates()[0].GetStatus())
	assert.Empty(t, state.GetNodeStates()[0].GetTotalResources())
	assert.Equal(t, autoscalerpb.NodeStatus_DRAINING, state.GetNodeStates()[1].GetStatus())
	drains := s.Drains()
	require.Len(t, drains, 4)
	assert.Equal(t, deadline.UnixMilli(), drains[2].GetDeadlineTimestampMs())
	assert.Zero(t, drains[3].GetDeadlineTimestampMs())
	assert.Empty(t, s.Crash())

	s.Stop()
	_, _, err = c.DrainIdle(t.Context(), idle, "")
	require.ErrorIs(t, err, gcs.ErrUnreachable)
	assert.ErrorContains(t, err, "draining Ray node 01")
}

func TestParseNodeID(t *testing.T) {
	t.Parallel()
	id := gcs.NodeID{0xab}
	back, err := gcs.ParseNodeID(id.String())
	require.NoError(t, err)
	assert.Equal(t, id, back)
	for _, bad := range []string{"", "ab", strings.Repeat("z", 56), strings.Repeat("a", 57), strings.Repeat("a", 10000)} {
		_, err := gcs.ParseNodeID(bad)
		require.Error(t, err)
		assert.Less(t, len(err.Error()), 200)
	}
}

func TestCancelledContext(t *testing.T) {
	t.Parallel()
	s := gcstest.Start(t, gcstest.Options{})
	c := dial(t, gcs.Options{Address: s.Address()})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.State(ctx)
	assert.ErrorIs(t, err, gcs.ErrUnreachable)
}
