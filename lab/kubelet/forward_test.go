package kubelet

import (
	"bufio"
	"net"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	var c net.ListenConfig
	l, err := c.Listen(t.Context(), "tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func portOf(l net.Listener) int {
	a, _ := l.Addr().(*net.TCPAddr)
	return a.Port
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	var d net.Dialer
	c, err := d.DialContext(t.Context(), "tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestForward(t *testing.T) {
	defer goleak.VerifyNone(t)
	// As Ray does, the server listens on every address, and on another port.
	server := listen(t, ":0")
	free := listen(t, "127.9.9.9:0")
	known := portOf(free)
	require.NoError(t, free.Close())
	f, err := forward(t.Context(), "127.9.9.9", map[int]int{known: portOf(server)})
	require.NoError(t, err)
	client := dial(t, net.JoinHostPort("127.9.9.9", strconv.Itoa(known)))
	in, err := server.Accept()
	require.NoError(t, err)
	defer in.Close() //nolint:errcheck // The end of the test.
	_, err = client.Write([]byte("question\n"))
	require.NoError(t, err)
	line, err := bufio.NewReader(in).ReadString('\n')
	require.NoError(t, err)
	assert.Equal(t, "question\n", line)
	_, err = in.Write([]byte("answer\n"))
	require.NoError(t, err)
	line, err = bufio.NewReader(client).ReadString('\n')
	require.NoError(t, err)
	assert.Equal(t, "answer\n", line)

	_, err = forward(t.Context(), "127.9.9.9", map[int]int{known: 1})
	require.ErrorContains(t, err, "opening a port of a pod")

	f.close()
	_, err = client.Read(make([]byte, 1))
	require.Error(t, err, "closing ends the connections")
	var d net.Dialer
	_, err = d.DialContext(t.Context(), "tcp", net.JoinHostPort("127.9.9.9", strconv.Itoa(known)))
	require.Error(t, err)
}

func TestForwardWithoutServer(t *testing.T) {
	defer goleak.VerifyNone(t)
	closed := listen(t, "127.9.9.8:0")
	target := portOf(closed)
	require.NoError(t, closed.Close())
	free := listen(t, "127.9.9.8:0")
	known := portOf(free)
	require.NoError(t, free.Close())
	f, err := forward(t.Context(), "127.9.9.8", map[int]int{known: target})
	require.NoError(t, err)
	defer f.close()
	c := dial(t, net.JoinHostPort("127.9.9.8", strconv.Itoa(known)))
	_, err = c.Read(make([]byte, 1))
	require.Error(t, err, "the connection closes")
}
