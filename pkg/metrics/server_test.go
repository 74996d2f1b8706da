package metrics

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// serve starts a server on loopback and returns its URL. It ends with the test.
func serve(t *testing.T, o ServerOptions) string {
	t.Helper()
	o.Address = "127.0.0.1:0"
	s, err := NewServer(t.Context(), o)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-ended)
	})
	return "http://" + s.Addr().String()
}

func get(t *testing.T, url string) (status int, body string, header http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	require.NoError(t, err)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer func() { assert.NoError(t, resp.Body.Close()) }()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(b), resp.Header
}

func TestServer(t *testing.T) {
	r := NewRegistry()
	m := New(r, Options{Version: "v1"})
	var latest Latest
	j := NewJournal(io.Discard, JournalOptions{})
	t.Cleanup(func() { assert.NoError(t, j.Close(context.WithoutCancel(t.Context()))) })
	var ready error
	url := serve(t, ServerOptions{
		Gatherer: r, Latest: &latest, Journal: j,
		Ready:  func() error { return ready },
		Config: func() ([]byte, error) { return []byte("kind: Configuration\n"), nil },
	})
	for path, want := range map[string]int{
		"/healthz": 200, "/livez": 200, "/readyz": 200, "/metrics": 200, "/statusz": 200, "/configz": 200,
		"/snapshotz": 503, "/api/v1/plan": 503, "/api/v1/journal": 200, "/api/v1/journal?n=x": 400, "/debug/pprof/": 200, "/": 404, "/nothing": 404,
	} {
		status, _, header := get(t, url+path)
		assert.Equal(t, want, status, path)
		assert.Equal(t, "no-store", header.Get("Cache-Control"), path)
	}

	Tee(m, j, &latest).Record(busy())
	_, body, _ := get(t, url+"/snapshotz")
	var s planner.Snapshot
	require.NoError(t, json.Unmarshal([]byte(body), &s))
	assert.Equal(t, busy().Snapshot, s)
	_, body, _ = get(t, url+"/api/v1/plan")
	var p planner.Plan
	require.NoError(t, json.Unmarshal([]byte(body), &p))
	assert.Equal(t, busy().Plan, p)
	_, body, _ = get(t, url+"/api/v1/journal?n=1")
	assert.Contains(t, body, `"planID": "p-1"`)
	_, body, _ = get(t, url+"/metrics")
	assert.Contains(t, body, `tandem_node_group_target{node_group="default/gpu"} 3`)
	_, body, _ = get(t, url+"/statusz")
	assert.Contains(t, body, `"safeToAct": true`)

	ready = errors.New("no snapshot\nyet")
	status, body, _ := get(t, url+"/readyz")
	assert.Equal(t, http.StatusServiceUnavailable, status)
	assert.Equal(t, "no snapshot yet\n", body)
}

// What is not for other machines is shown on this one only: not to another
// address, not through a forwarder, not to a page in a browser that a hostile
// name led here.
func TestLocalPages(t *testing.T) {
	var latest Latest
	latest.Record(busy())
	h := Handler(ServerOptions{Gatherer: NewRegistry(), Latest: &latest, Config: func() ([]byte, error) { return nil, nil }})
	here, podIP := "127.0.0.1:8080", "10.0.0.7:8080"
	for name, c := range map[string]struct {
		local, remote, host string
		allowed             bool
	}{
		"port-forward":      {here, "127.0.0.1:51000", "localhost:8080", true},
		"IPv6":              {"[::1]:8080", "[::1]:51000", "[::1]:8080", true},
		"other pod":         {podIP, "10.0.0.9:51000", "10.0.0.7:8080", false},
		"forged host":       {podIP, "10.0.0.9:51000", "localhost", false},
		"forwarded port":    {here, "10.0.0.9:51000", "localhost:8080", false},
		"sidecar":           {podIP, "127.0.0.6:51000", "localhost:8080", false},
		"hostile page":      {here, "127.0.0.1:51000", "rebind.example.com:8080", false},
		"not a host at all": {here, "127.0.0.1:51000", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, path := range []string{"/statusz", "/configz", "/snapshotz", "/api/v1/plan", "/debug/pprof/heap"} {
				addr, err := net.ResolveTCPAddr("tcp", c.local)
				require.NoError(t, err)
				req := httptest.NewRequestWithContext(context.WithValue(t.Context(), http.LocalAddrContextKey, addr), http.MethodGet, path, http.NoBody)
				req.RemoteAddr, req.Host = c.remote, c.host
				w := httptest.NewRecorder()
				h.ServeHTTP(w, req)
				if c.allowed {
					assert.Equal(t, http.StatusOK, w.Code, path)
					continue
				}
				assert.Equal(t, http.StatusForbidden, w.Code, path)
				assert.NotContains(t, w.Body.String(), "team-a")
			}
			for _, path := range []string{"/healthz", "/livez", "/readyz", "/metrics"} {
				req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody)
				req.RemoteAddr, req.Host = c.remote, c.host
				w := httptest.NewRecorder()
				h.ServeHTTP(w, req)
				assert.Equal(t, http.StatusOK, w.Code, path)
			}
		})
	}
}

func TestServerAddressInUse(t *testing.T) {
	first, err := NewServer(t.Context(), ServerOptions{Address: "127.0.0.1:0"})
	require.NoError(t, err)
	_, err = NewServer(t.Context(), ServerOptions{Address: first.Addr().String()})
	require.ErrorContains(t, err, "listening for HTTP")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.NoError(t, first.Run(ctx))
}

func TestOnlyReads(t *testing.T) {
	h := Handler(ServerOptions{})
	for _, path := range []string{"/healthz", "/livez"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, http.NoBody))
		assert.Equal(t, http.StatusMethodNotAllowed, w.Code, path)
	}
}
