package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// trick is what a proxy does to a write.
type trick string

// The tricks. All but the first answer otherwise than the API server would.
const (
	trickDelay    trick = "delayWrites"
	trickFail     trick = "failWrites"     // 500, and nothing is written
	trickConflict trick = "conflictWrites" // 409, and nothing is written
	trickDrop     trick = "dropAnswers"    // it is written, but no answer comes
)

// proxy stands between the coordinator and one API server. It adds the
// coordinator's certificate, and plays tricks on writes when it is told to.
type proxy struct {
	server  *http.Server
	forward *httputil.ReverseProxy
	url     string
	done    sync.WaitGroup

	mu    sync.Mutex
	armed *armed
}

// armed is a trick that waits for writes.
type armed struct {
	trick trick
	left  int           // so many writes
	until time.Time     // or until then
	delay time.Duration // for trickDelay
	hit   func(what string)
}

// newProxy starts a proxy for the API server and the identity of a kubeconfig.
func newProxy(ctx context.Context, kubeconfig string) (*proxy, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", kubeconfig, err)
	}
	transport, err := rest.TransportFor(config)
	if err != nil {
		return nil, fmt.Errorf("making a transport to %s: %w", config.Host, err)
	}
	target, err := url.Parse(config.Host)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", config.Host, err)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("opening a port for a proxy: %w", err)
	}
	quiet := log.New(io.Discard, "", 0) // A killed API server is no news here.
	p := &proxy{url: "http://" + l.Addr().String()}
	p.forward = &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: transport, FlushInterval: -1, ErrorLog: quiet,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) { refuse(w, http.StatusBadGateway, err.Error()) },
	}
	p.server = &http.Server{Handler: p, ReadHeaderTimeout: time.Minute, ErrorLog: quiet}
	p.done.Go(func() { _ = p.server.Serve(l) }) // It ends with close.
	return p, nil
}

// kubeconfig writes a kubeconfig that leads through the proxy.
func (p *proxy) kubeconfig(path string) error {
	c := clientcmdapi.NewConfig()
	c.Clusters["lab"] = &clientcmdapi.Cluster{Server: p.url}
	c.Contexts["lab"] = &clientcmdapi.Context{Cluster: "lab"}
	c.CurrentContext = "lab"
	b, err := clientcmd.Write(*c)
	if err != nil {
		return fmt.Errorf("writing a kubeconfig: %w", err)
	}
	return os.WriteFile(path, b, 0o600)
}

// close ends the proxy and every request in it.
func (p *proxy) close() {
	_ = p.server.Close() // The listener is not needed any more.
	p.done.Wait()
}

// arm plays a trick on the next writes. An earlier one that still waits is
// forgotten.
func (p *proxy) arm(a armed) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed = &a
}

// heal forgets every trick.
func (p *proxy) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed = nil
}

// take is the trick for a request, if there is one.
func (p *proxy) take(r *http.Request) *armed {
	if !isWrite(r) {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.armed
	if a == nil || time.Now().After(a.until) {
		return nil
	}
	if a.left--; a.left <= 0 {
		p.armed = nil
	}
	return a
}

// isWrite tells whether a request changes what the coordinator is there for.
// Leases have a fault of their own, Events are only told, and reviews are
// questions.
func isWrite(r *http.Request) bool {
	switch r.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
	default:
		return false
	}
	for _, other := range []string{"/leases", "/events", "authorization.k8s.io", "authentication.k8s.io"} {
		if strings.Contains(r.URL.Path, other) {
			return false
		}
	}
	return true
}

// ServeHTTP passes a request on, or plays the trick that is armed.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := p.take(r)
	if a == nil {
		p.forward.ServeHTTP(w, r)
		return
	}
	a.hit(r.Method + " " + r.URL.Path)
	switch a.trick {
	case trickFail:
		refuse(w, http.StatusInternalServerError, "the lab fails this write")
	case trickConflict:
		refuse(w, http.StatusConflict, "the lab says that the object has been modified")
	case trickDrop:
		p.forward.ServeHTTP(nowhere{header: http.Header{}}, r)
		drop(w)
	case trickDelay:
		t := time.NewTimer(a.delay)
		defer t.Stop()
		select {
		case <-t.C:
			p.forward.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	}
}

// refuse answers as an API server does.
func refuse(w http.ResponseWriter, code int, message string) {
	reason := map[int]string{http.StatusConflict: "Conflict", http.StatusInternalServerError: "InternalError"}[code]
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":%q,"reason":%q,"code":%d}`, message, reason, code)
}

// drop closes the connection of a request without an answer.
func drop(w http.ResponseWriter) {
	if h, ok := w.(http.Hijacker); ok {
		if conn, _, err := h.Hijack(); err == nil {
			_ = conn.Close() // That is the purpose.
			return
		}
	}
	panic(http.ErrAbortHandler) // The server's own way to say so.
}

// nowhere is where an answer that nobody gets goes.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header         { return n.header }
func (n nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (n nowhere) WriteHeader(int)             {}

// errNoProxy says that the coordinator was not started through proxies.
var errNoProxy = errors.New("there is no such proxy")
