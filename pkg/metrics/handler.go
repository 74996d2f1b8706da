package metrics

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Handler is the handler of [Server].
func Handler(o ServerOptions) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", health(nil))
	mux.HandleFunc("GET /livez", health(o.Live))
	mux.HandleFunc("GET /readyz", health(o.Ready))
	if o.Gatherer != nil {
		mux.Handle("GET /metrics", promhttp.HandlerFor(o.Gatherer, promhttp.HandlerOpts{
			ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 8, Timeout: 10 * time.Second, EnableOpenMetrics: true,
		}))
	}
	private(mux, o)
	return headers(mux)
}

// private adds the pages for callers on the same machine.
func private(mux *http.ServeMux, o ServerOptions) {
	add := func(pattern string, h http.HandlerFunc) { mux.Handle(pattern, local(h)) }
	if o.Config != nil {
		add("GET /configz", func(w http.ResponseWriter, _ *http.Request) { config(w, o.Config) })
	}
	if o.Latest != nil {
		add("GET /statusz", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, o.Latest.Status()) })
		add("GET /snapshotz", func(w http.ResponseWriter, _ *http.Request) {
			if s := o.Latest.Snapshot(); s != nil {
				writeJSON(w, s)
				return
			}
			http.Error(w, "no snapshot yet", http.StatusServiceUnavailable)
		})
		add("GET /api/v1/plan", func(w http.ResponseWriter, _ *http.Request) {
			if p := o.Latest.Plan(); p != nil {
				writeJSON(w, p)
				return
			}
			http.Error(w, "no plan yet", http.StatusServiceUnavailable)
		})
	}
	if o.Journal != nil {
		add("GET /api/v1/journal", func(w http.ResponseWriter, r *http.Request) { journal(w, r, o.Journal) })
	}
	add("GET /debug/pprof/", pprof.Index)
	add("GET /debug/pprof/profile", pprof.Profile)
	add("GET /debug/pprof/symbol", pprof.Symbol)
	add("GET /debug/pprof/trace", pprof.Trace)
}

// health answers ok, or 503 with the reason.
func health(check func() error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if check != nil {
			if err := check(); err != nil {
				http.Error(w, clean(err.Error()), http.StatusServiceUnavailable)
				return
			}
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = fmt.Fprintln(w, "ok") // an error is that the caller went away
	}
}

func config(w http.ResponseWriter, effective func() ([]byte, error)) {
	b, err := effective()
	if err != nil {
		http.Error(w, clean(err.Error()), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/yaml; charset=utf-8")
	_, _ = w.Write(b) // an error is that the caller went away
}

// journal shows the last records, fifty unless n says otherwise.
func journal(w http.ResponseWriter, r *http.Request, j *Journal) {
	n := 50
	if text := r.URL.Query().Get("n"); text != "" {
		v, err := strconv.Atoi(text)
		if err != nil || v < 0 {
			http.Error(w, "n is not a count", http.StatusBadRequest)
			return
		}
		n = v
	}
	writeJSON(w, j.Recent(n))
}

func writeJSON(w http.ResponseWriter, v any) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, clean(err.Error()), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(b, '\n')) // an error is that the caller went away
}

// headers keeps browsers from guessing types and from keeping answers.
func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// local lets only callers on the same machine through, and of these only
// requests that were meant for it: both ends of the connection are loopback
// addresses, which a sidecar's forwarding is not, and so is the name in the
// request, which that of a hostile web page is not.
func local(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		here, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		if here == nil || !loopback(here.String()) || !loopback(r.RemoteAddr) || !loopback(r.Host) {
			http.Error(w, "this page answers callers on the same machine only; use kubectl port-forward", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// loopback tells whether host:port, or a host alone, is this machine.
func loopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}
