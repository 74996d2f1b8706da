package kubelet

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
)

// forwarder gives a pod its own ports on its own address, such as 6379, from
// where it passes connections on to the port that the process really has. Ray
// listens on every address of the machine, so without it two heads with the
// same port, each right in its own pod, would collide.
type forwarder struct {
	stop context.CancelFunc
	work sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool // nil once it is closed
}

// forward listens on ip for every port of the map and passes on to the same
// address and the other port.
func forward(ctx context.Context, ip string, ports map[int]int) (*forwarder, error) {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	f := &forwarder{stop: stop, conns: map[net.Conn]bool{}}
	for from, to := range ports {
		var c net.ListenConfig
		l, err := c.Listen(ctx, "tcp", net.JoinHostPort(ip, strconv.Itoa(from)))
		if err != nil {
			f.close()
			return nil, fmt.Errorf("opening a port of a pod: %w", err)
		}
		context.AfterFunc(ctx, func() { _ = l.Close() })
		f.work.Go(func() { f.accept(ctx, l, net.JoinHostPort(ip, strconv.Itoa(to))) })
	}
	return f, nil
}

// accept serves connections until the listener closes.
func (f *forwarder) accept(ctx context.Context, l net.Listener, target string) {
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		f.work.Go(func() { f.pass(ctx, in, target) })
	}
}

// pass joins a connection with one to the target until either ends.
func (f *forwarder) pass(ctx context.Context, in net.Conn, target string) {
	defer f.drop(in)
	if !f.keep(in) {
		return
	}
	var d net.Dialer
	out, err := d.DialContext(ctx, "tcp", target)
	if err != nil {
		return // Nobody listens yet: the client sees a closed connection.
	}
	defer f.drop(out)
	if !f.keep(out) {
		return
	}
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
		both.Go(func() {
			// The errors are the ends of connections.
			_, _ = io.Copy(way[0], way[1])
			if half, ok := way[0].(*net.TCPConn); ok {
				_ = half.CloseWrite()
			}
		})
	}
	both.Wait()
}

// keep remembers a connection; false if the forwarder is closed.
func (f *forwarder) keep(c net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.conns != nil {
		f.conns[c] = true
	}
	return f.conns != nil
}

func (f *forwarder) drop(c net.Conn) {
	_ = c.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.conns, c)
}

// close ends all connections and returns when that is done. A nil forwarder is
// closed.
func (f *forwarder) close() {
	if f == nil {
		return
	}
	f.stop()
	f.mu.Lock()
	for c := range f.conns {
		_ = c.Close()
	}
	f.conns = nil
	f.mu.Unlock()
	f.work.Wait()
}
