package metrics

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ServerOptions say what the HTTP server shows. Pages whose source is nil are
// not found.
type ServerOptions struct {
	// Address to listen on, such as 127.0.0.1:8080.
	Address string
	// Gatherer feeds /metrics.
	Gatherer prometheus.Gatherer
	// Live and Ready tell why the process should be restarted, or why it
	// cannot serve yet; nil is well. They must return at once.
	Live, Ready func() error
	// Config is the effective configuration as YAML. Secrets must not be in
	// it, only paths of their files.
	Config func() ([]byte, error)
	// Latest feeds /statusz, /snapshotz and /api/v1/plan.
	Latest *Latest
	// Journal feeds /api/v1/journal.
	Journal *Journal
}

// Server serves health, metrics and the state of the loop over HTTP:
//
//	/healthz            the process answers
//	/livez, /readyz     ok, or 503 with the reason
//	/metrics            Prometheus
//	/statusz            the last tick, summed up
//	/configz            the effective configuration
//	/snapshotz          the last snapshot, as `coordinator plan` reads it
//	/api/v1/plan        the last plan
//	/api/v1/journal     the last records of the journal (?n=50)
//	/debug/pprof/       profiles
//
// The pages from /statusz on show tenants' names and amounts. They answer
// callers on the same machine only (for a pod: kubectl port-forward), whatever
// the address that the server listens on.
type Server struct {
	listener net.Listener
	http     *http.Server
}

// NewServer listens at once, so that an address in use is an error here.
func NewServer(ctx context.Context, o ServerOptions) (*Server, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", o.Address)
	if err != nil {
		return nil, fmt.Errorf("listening for HTTP: %w", err)
	}
	return &Server{listener: l, http: &http.Server{
		Handler:           Handler(o),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		// Longer than the longest profile that pprof takes by default.
		WriteTimeout:   60 * time.Second,
		IdleTimeout:    2 * time.Minute,
		MaxHeaderBytes: 1 << 14,
	}}, nil
}

// Addr is the address that the server listens on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Run serves until the context ends, then lets requests finish for a few
// seconds.
func (s *Server) Run(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() { ended <- s.http.Serve(s.listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serving HTTP: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	err := s.http.Shutdown(grace)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	<-ended
	if err != nil {
		return fmt.Errorf("stopping HTTP: %w", err)
	}
	return nil
}
