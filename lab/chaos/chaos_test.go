package chaos

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/tandem-autoscaler/tandem/lab/report"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func deal(seed uint64, n int) []card {
	d := newDeck(seed)
	out := make([]card, 0, n)
	for range n {
		out = append(out, d.deal())
	}
	return out
}

func TestDeckFollowsFromTheSeed(t *testing.T) {
	one, again, other := deal(1, 200), deal(1, 200), deal(2, 200)
	assert.Equal(t, one, again)
	assert.NotEqual(t, one, other)
	kinds := map[string]int{}
	for _, c := range one {
		kinds[c.Kind]++
		assert.Positive(t, c.pause)
	}
	for _, kind := range []string{
		"killCoordinator", "loseLease", "killHead", "killRaylet", "killPod", "deletePod", "restartAPIServer",
		"delayWrites", "failWrites", "conflictWrites", "dropAnswers", "failVMs", "stickVMs", "deleteMachine",
	} {
		assert.GreaterOrEqual(t, kinds[kind], 10, kind)
	}
}

func TestScenarioIsValid(t *testing.T) {
	c := New(200, 1, t.TempDir(), "drivers")
	s, err := c.Scenario()
	require.NoError(t, err)
	assert.Greater(t, s.Deadline.Duration, 200*10*time.Second)
	for _, w := range flow() {
		_, err := os.Stat(filepath.Join("..", "drivers", w.script))
		require.NoError(t, err)
	}
}

// world is an API server that counts, behind a proxy.
func world(t *testing.T) (*proxy, *atomic.Int64) {
	t.Helper()
	var writes atomic.Int64
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			writes.Add(1)
		}
		_, _ = io.WriteString(w, "real")
	}))
	t.Cleanup(api.Close)
	config := clientcmdapi.NewConfig()
	config.Clusters["a"] = &clientcmdapi.Cluster{Server: api.URL}
	config.Contexts["a"] = &clientcmdapi.Context{Cluster: "a"}
	config.CurrentContext = "a"
	file := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, clientcmd.WriteToFile(*config, file))
	p, err := newProxy(t.Context(), file)
	require.NoError(t, err)
	t.Cleanup(p.close)
	through := filepath.Join(t.TempDir(), "through")
	require.NoError(t, p.kubeconfig(through))
	back, err := clientcmd.BuildConfigFromFlags("", through)
	require.NoError(t, err)
	assert.Equal(t, p.url, back.Host)
	return p, &writes
}

func send(t *testing.T, p *proxy, method, path string) (int, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, p.url+path, strings.NewReader("{}"))
	require.NoError(t, err)
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

const machines = "/apis/cluster.x-k8s.io/v1beta2/namespaces/default/machines/m"

func TestProxyPlaysTricksOnWritesAlone(t *testing.T) {
	tests := map[trick]struct {
		code   int
		writes int64
	}{
		trickFail: {500, 0}, trickConflict: {409, 0}, trickDrop: {0, 1}, trickDelay: {200, 1},
	}
	for name, tt := range tests {
		t.Run(string(name), func(t *testing.T) {
			p, writes := world(t)
			var hits []string
			p.arm(armed{trick: name, left: 1, until: time.Now().Add(time.Hour), delay: time.Millisecond, hit: func(what string) { hits = append(hits, what) }})
			for _, other := range []string{"/apis/coordination.k8s.io/v1/namespaces/x/leases/l", "/api/v1/namespaces/x/events", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"} {
				code, _, err := send(t, p, http.MethodPost, other)
				require.NoError(t, err)
				assert.Equal(t, 200, code)
			}
			code, body, err := send(t, p, http.MethodGet, machines)
			require.NoError(t, err)
			assert.Equal(t, 200, code)
			assert.Equal(t, "real", body)
			writes.Store(0)
			assert.Empty(t, hits)

			code, body, err = send(t, p, http.MethodPatch, machines)
			assert.Equal(t, tt.code, code, body)
			assert.Equal(t, tt.code == 0, err != nil, "an answer that is dropped is an error")
			assert.Equal(t, tt.writes, writes.Load())
			assert.Equal(t, []string{"PATCH " + machines}, hits)

			code, _, err = send(t, p, http.MethodPatch, machines)
			require.NoError(t, err)
			assert.Equal(t, 200, code, "only so many writes are hit")
		})
	}
}

func TestProxyForgetsTricks(t *testing.T) {
	p, writes := world(t)
	never := func(string) { t.Error("hit") }
	p.arm(armed{trick: trickFail, left: 1, until: time.Now().Add(-time.Second), hit: never})
	_, _, err := send(t, p, http.MethodPut, machines)
	require.NoError(t, err)
	p.arm(armed{trick: trickFail, left: 1, until: time.Now().Add(time.Hour), hit: never})
	p.heal()
	_, _, err = send(t, p, http.MethodPut, machines)
	require.NoError(t, err)
	assert.Equal(t, int64(2), writes.Load())
}

func TestResult(t *testing.T) {
	zero, one := 0, 1
	rep := report.Report{
		Passed: true, Seconds: 100,
		Drivers: []report.Driver{
			{Name: "a", StartedAt: 5, EndedAt: new(15.0), ExitCode: &zero},
			{Name: "b", StartedAt: 20, EndedAt: new(30.0), ExitCode: &one},
			{Name: "c", StartedAt: 40, EndedAt: new(60.0), ExitCode: &zero},
			{Name: "d", StartedAt: 90},
		},
		Pools:       []report.Pool{{Name: "head"}, {Name: "gpu", Worker: true, Bought: 3}},
		Machines:    []report.Machine{{Pool: "gpu", DeletedAt: new(80.0)}, {Pool: "head"}},
		Coordinator: &report.Coordinator{Starts: 2},
	}
	fresh := func() *Run {
		c := New(2, 7, t.TempDir(), "")
		c.result.Faults = []Injected{{Kind: "killHead", At: 4}, {Kind: "killPod", At: 16}}
		return c
	}
	r := fresh().Result(rep)
	assert.True(t, r.Passed)
	assert.InDelta(t, 11, *r.Faults[0].RecoveredAfter, 1e-9)
	assert.InDelta(t, 44, *r.Faults[1].RecoveredAfter, 1e-9)
	assert.Equal(t, 4, r.Drivers)
	assert.Equal(t, 2, r.DriversWell)
	assert.Equal(t, 1, r.MachinesRemoved)
	var b strings.Builder
	r.Summarize(&b)
	assert.Contains(t, b.String(), "PASSED chaos with seed 7: 2 of 2 faults")
	assert.Contains(t, b.String(), "busy Ray nodes lost:         0")

	for name, harm := range map[string]func(*Run, *report.Report){
		"too few faults":   func(c *Run, _ *report.Report) { c.wanted, c.result.Wanted = 3, 3 },
		"one not survived": func(c *Run, _ *report.Report) { c.result.Faults[1].At = 50 },
		"a busy node":      func(_ *Run, r *report.Report) { r.RemovedWhileBusy = []report.BusyNode{{Machine: "m"}} },
		"the wrong one":    func(_ *Run, r *report.Report) { r.RemovedUnmarked = []string{"m"} },
		"stuck":            func(c *Run, _ *report.Report) { c.result.LeftStuck = []string{"m"} },
		"the scenario":     func(_ *Run, r *report.Report) { r.Passed = false },
	} {
		t.Run(name, func(t *testing.T) {
			c, bad := fresh(), rep
			harm(c, &bad)
			r := c.Result(bad)
			assert.False(t, r.Passed)
			var b strings.Builder
			r.Summarize(&b)
			assert.Contains(t, b.String(), "FAILED")
		})
	}
}
