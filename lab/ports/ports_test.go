package ports_test

import (
	"net"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tandem-autoscaler/tandem/lab/ports"
)

func TestLeasesDoNotOverlap(t *testing.T) {
	a, err := ports.NewLeaser()
	require.NoError(t, err)
	b, err := ports.NewLeaser() // Another lab.
	require.NoError(t, err)
	seen := map[int]bool{}
	for range 5 {
		for _, l := range []*ports.Leaser{a, b} {
			block, err := l.Lease(t.Context())
			require.NoError(t, err)
			defer block.Release()
			for i := range ports.Size {
				p := block.Port(i)
				assert.False(t, seen[p], "port %d is leased twice", p)
				assert.True(t, p >= 11000 && p < 20000, "port %d", p)
				seen[p] = true
			}
		}
	}
}

func TestABlockInUseIsNotLeased(t *testing.T) {
	l, err := ports.NewLeaser()
	require.NoError(t, err)
	first, err := l.Lease(t.Context())
	require.NoError(t, err)
	// Somebody who knows no leases listens on the next block.
	used := first.Port(ports.Size-1) + 3
	var c net.ListenConfig
	s, err := c.Listen(t.Context(), "tcp", "127.0.0.1:"+strconv.Itoa(used))
	if err != nil {
		t.Skipf("port %d is taken already: %v", used, err)
	}
	defer s.Close() //nolint:errcheck // The end of the test.
	next, err := l.Lease(t.Context())
	require.NoError(t, err)
	defer next.Release()
	for i := range ports.Size {
		assert.NotEqual(t, used, next.Port(i))
	}
	first.Release()
	first.Release()
}
