package vsphere

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tandem-autoscaler/tandem/pkg/config"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
	"github.com/tandem-autoscaler/tandem/pkg/vsphere/vsim"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// vcsim watches every session until it has been idle for half an hour.
		goleak.IgnoreAnyFunction("github.com/vmware/govmomi/simulator.SessionIdleWatch.func1"),
		goleak.IgnoreAnyFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"),
	)
}

// The tests that start a simulator do not run in parallel: one at a time may.

var gpuClasses = []vsim.Class{
	{Name: "cpu", CPUs: 8, MemoryMB: 32768},
	{Name: "one", CPUs: 8, MemoryMB: 32768, VGPUs: []string{"grid_h100xm-80c"}},
	{Name: "four", CPUs: 32, MemoryMB: 131072, VGPUs: []string{"grid_h100xm-80c", "grid_h100xm-80c", "grid_h100xm-80c", "grid_h100xm-80c"}},
	{Name: "direct", CPUs: 16, MemoryMB: 65536, DirectPath: []vsim.PCI{{Vendor: 0x10de, Device: 0x2330}, {Vendor: 0x10de, Device: 0x2330}}},
}

func startVCenter(t *testing.T, classes ...vsim.Class) (*vsim.Server, config.VCenter) {
	t.Helper()
	s, err := vsim.Start(vsim.Options{
		Hosts:   []vsim.Host{{Count: 2, CPUs: 96, MemoryBytes: 1 << 40, GPUs: 8, Profile: "grid_h100xm-80c"}},
		Classes: classes, Username: "reader", Password: "secret",
	})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	return s, config.VCenter{URL: s.URL, CAFile: s.CAFile, UsernameFile: file("username", "reader\n"), PasswordFile: file("password", "secret")}
}

func capacities(v View) map[string]planner.Resources {
	out := map[string]planner.Resources{}
	for _, c := range v.Classes {
		out[c.Name] = c.Capacity
	}
	return out
}

func newVCenterSource(v config.VCenter) *Source {
	return New(Options{Catalogue: config.Catalogue{VCenter: &v}, Namespace: "pools"})
}

// Fault 48: vCenter ends the session, at any time.
// Fault 50: a class is removed.
func TestVCenter(t *testing.T) {
	server, v := startVCenter(t, gpuClasses...)
	s := newVCenterSource(v)
	got := s.Observe(time.Now())
	require.Equal(t, []planner.Source{{Kind: planner.SourceCatalogue, Error: "nothing has been read yet"}}, got.Sources)
	require.Empty(t, got.Classes)

	require.True(t, s.refresh(t.Context()), s.Observe(time.Now()).Sources)
	got = s.Observe(time.Now())
	assert.True(t, got.Sources[0].Known)
	assert.Empty(t, got.Sources[0].Error)
	assert.Equal(t, map[string]planner.Resources{
		"cpu":    {"CPU": 8000, "memory": 32 * gib},
		"one":    {"CPU": 8000, "memory": 32 * gib, "GPU": 10000},
		"four":   {"CPU": 32000, "memory": 128 * gib, "GPU": 40000},
		"direct": {"CPU": 16000, "memory": 64 * gib, "GPU": 20000},
	}, capacities(got))

	// A session that has been ended is replaced at once.
	id := s.vcenter.client.SessionID()
	require.NoError(t, server.EndSessions(id))
	require.NoError(t, server.SetClasses(gpuClasses[:1]))
	require.True(t, s.refresh(t.Context()), s.Observe(time.Now()).Sources)
	assert.NotEqual(t, id, s.vcenter.client.SessionID())
	got = s.Observe(time.Now())
	assert.Equal(t, map[string]planner.Resources{"cpu": {"CPU": 8000, "memory": 32 * gib}, "one": nil, "four": nil, "direct": nil}, capacities(got))
	assert.Equal(t, "vCenter does not list it any more", got.Classes[1].Invalid)

	// The keep-alive notices it as well.
	require.NoError(t, server.EndSessions(s.vcenter.client.SessionID()))
	s.vcenter.keepAlive(t.Context())
	assert.Nil(t, s.vcenter.client)

	// Logging out ends the session for good.
	require.True(t, s.refresh(t.Context()))
	client := s.vcenter.client
	s.logout(t.Context())
	session, err := client.Session(t.Context())
	require.NoError(t, err)
	assert.Nil(t, session)
}

// TestVCenterGone: the last good catalogue stays, with its age, and credentials
// are read anew.
// Fault 47: vCenter is down, or lets nobody in.
// Fault 48: the credentials have been rotated.
func TestVCenterGone(t *testing.T) {
	server, v := startVCenter(t, gpuClasses...)
	s := newVCenterSource(v)
	require.True(t, s.refresh(t.Context()))
	require.NoError(t, server.EndSessions(s.vcenter.client.SessionID()))
	require.NoError(t, os.WriteFile(v.PasswordFile, []byte("changed"), 0o600))
	require.False(t, s.refresh(t.Context()))
	got := s.Observe(time.Now().Add(time.Minute))
	assert.Len(t, got.Classes, 4)
	assert.True(t, got.Sources[0].Known)
	assert.GreaterOrEqual(t, time.Duration(got.Sources[0].Age), time.Minute)
	assert.Contains(t, got.Sources[0].Error, "vCenter: logging in to vCenter")
	assert.NotContains(t, got.Sources[0].Error, "changed", "no secret in a message")

	require.NoError(t, os.WriteFile(v.PasswordFile, []byte("secret\r\n"), 0o600))
	require.True(t, s.refresh(t.Context()))
	assert.Empty(t, s.Observe(time.Now()).Sources[0].Error)
}

// Fault 47: the certificate of vCenter is not to be trusted.
func TestVCenterTrust(t *testing.T) {
	server, good := startVCenter(t, gpuClasses...)
	for name, c := range map[string]struct {
		edit func(*config.VCenter)
		err  string // empty: works
	}{
		"authority":         {func(*config.VCenter) {}, ""},
		"thumbprint":        {func(v *config.VCenter) { v.CAFile, v.Thumbprint = "", server.Thumbprint }, ""},
		"insecure":          {func(v *config.VCenter) { v.CAFile, v.Insecure = "", true }, ""},
		"nothing":           {func(v *config.VCenter) { v.CAFile = "" }, "certificate"},
		"wrong thumbprint":  {func(v *config.VCenter) { v.CAFile, v.Thumbprint = "", strings.Repeat("AA:", 31)+"AA" }, "does not match"},
		"no authority file": {func(v *config.VCenter) { v.CAFile = "/nowhere" }, "reading the certificate authorities"},
		"no user file":      {func(v *config.VCenter) { v.UsernameFile = "/nowhere" }, "reading the vCenter user name"},
		"no password file":  {func(v *config.VCenter) { v.PasswordFile = "/nowhere" }, "reading the vCenter password"},
		"no host":           {func(v *config.VCenter) { v.URL = "" }, "names no host"},
		"wrong host":        {func(v *config.VCenter) { v.URL = "https://127.0.0.1:1/sdk" }, "connecting to vCenter"},
	} {
		t.Run(name, func(t *testing.T) {
			v := good
			c.edit(&v)
			s := newVCenterSource(v)
			ok := s.refresh(t.Context())
			t.Cleanup(func() { s.logout(context.WithoutCancel(t.Context())) })
			got := s.Observe(time.Now())
			if c.err == "" {
				assert.True(t, ok, got.Sources[0].Error)
				return
			}
			assert.False(t, ok)
			assert.False(t, got.Sources[0].Known)
			assert.Contains(t, got.Sources[0].Error, c.err)
		})
	}
}

func TestOneSimulatorAtATime(t *testing.T) {
	startVCenter(t)
	_, err := vsim.Start(vsim.Options{})
	require.ErrorContains(t, err, "another one runs")
}

// TestRun: a source refreshes by itself, tells when something is new, and logs
// out when it ends.
func TestRun(t *testing.T) {
	_, v := startVCenter(t, gpuClasses...)
	changed := make(chan struct{}, 10)
	s := New(Options{
		Catalogue: config.Catalogue{VCenter: &v, RefreshInterval: metav1.Duration{Duration: time.Hour}},
		Changed:   func() { changed <- struct{}{} },
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	<-changed
	assert.Len(t, s.Observe(time.Now()).Classes, 4)
	cancel()
	require.NoError(t, <-done)
	assert.Nil(t, s.vcenter.client)
}

// TestPartsStandAlone: one part that cannot be read does not hide the other.
func TestPartsStandAlone(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		http.Error(w, "down", http.StatusServiceUnavailable)
	}))
	defer broken.Close()
	dir := t.TempDir()
	secretFile := filepath.Join(dir, "secret")
	require.NoError(t, os.WriteFile(secretFile, []byte("x"), 0o600))
	reader, mapper := supervisor("v1alpha5", meta.RESTScopeNamespace, []string{"VirtualMachineClass"}, vmClass("v1alpha5", "pools", "small", sized(2, "4Gi", nil)))
	s := New(Options{
		Catalogue: config.Catalogue{
			VirtualMachineClasses: true,
			VCenter:               &config.VCenter{URL: broken.URL + "/sdk", UsernameFile: secretFile, PasswordFile: secretFile},
			Classes:               []config.Class{{Name: "small", Price: "3"}},
		},
		Namespace: "pools", Management: reader, Mapper: mapper,
	})
	require.False(t, s.refresh(t.Context()))
	got := s.Observe(time.Now())
	assert.True(t, got.Sources[0].Known, "what is known is known")
	assert.Contains(t, got.Sources[0].Error, "vCenter: connecting to vCenter")
	assert.Equal(t, []planner.VMClass{{Name: "small", Capacity: planner.Resources{"CPU": 2000, "memory": 4 * gib}, Price: 3_000_000}}, got.Classes)
	assert.Positive(t, calls.Load())
}

func TestOnlyConfiguration(t *testing.T) {
	t.Parallel()
	_, mapper := supervisor("v1alpha5", meta.RESTScopeNamespace, nil)
	reader, _ := supervisor("v1alpha5", meta.RESTScopeNamespace, nil)
	classes := []config.Class{{Name: "own", CPU: "2", Memory: "4Gi", Price: "0.5"}}
	s := New(Options{Catalogue: config.Catalogue{Classes: classes}})
	got := s.Observe(time.Now())
	assert.Equal(t, []planner.Source{{Kind: planner.SourceCatalogue, Known: true}}, got.Sources)
	assert.Equal(t, []planner.VMClass{{Name: "own", Capacity: planner.Resources{"CPU": 2000, "memory": 4 * gib}, Price: 500_000}}, got.Classes)

	s = New(Options{Catalogue: config.Catalogue{VirtualMachineClasses: true, Classes: classes}, Management: reader, Mapper: mapper})
	require.True(t, s.refresh(t.Context()), "a cluster without a Supervisor is no trouble")
	got = s.Observe(time.Now())
	assert.True(t, got.Sources[0].Known)
	assert.Len(t, got.Classes, 1)
}

// TestRunBacksOff: what cannot be read is tried again after a pause that grows
// up to the interval, and shrinks again once it can be read.
// Fault 48: one attempt to log in for every pause, which grows.
func TestRunBacksOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		begin := time.Now()
		var well atomic.Bool
		s := New(Options{Catalogue: config.Catalogue{RefreshInterval: metav1.Duration{Duration: 10 * time.Second}}})
		s.parts = []*part{{name: "test", read: func(context.Context) (map[string]hardware, error) {
			at = append(at, time.Since(begin))
			if !well.Load() {
				return nil, errors.New("down")
			}
			return nil, nil
		}}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		time.Sleep(25 * time.Second) // virtual
		well.Store(true)
		time.Sleep(20 * time.Second)
		cancel()
		require.NoError(t, <-done)
		var seconds []float64
		for _, d := range at {
			seconds = append(seconds, d.Seconds())
		}
		assert.Equal(t, []float64{0, 2, 6, 14, 24, 34, 44}, seconds)
	})
}

// TestSlowPart: whoever asks for the catalogue never waits, and one part does not
// wait for another.
// Fault 49: vCenter takes half a minute to answer.
func TestSlowPart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var changed atomic.Int64
		s := New(Options{Changed: func() { changed.Add(1) }})
		s.parts = []*part{
			{name: "slow", read: func(ctx context.Context) (map[string]hardware, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}},
			{name: "quick", read: func(context.Context) (map[string]hardware, error) {
				return map[string]hardware{"small": {cpus: 2, memoryBytes: 4 * gib}}, nil
			}},
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		begin := time.Now()
		go func() { done <- s.Run(ctx) }()
		synctest.Wait()
		got := s.Observe(time.Now())
		assert.Len(t, got.Classes, 1)
		assert.True(t, got.Sources[0].Known)
		assert.EqualValues(t, 1, changed.Load())
		assert.Zero(t, time.Since(begin))

		time.Sleep(refreshTimeout + time.Millisecond) // virtual
		synctest.Wait()
		assert.Contains(t, s.Observe(time.Now()).Sources[0].Error, "slow: context deadline exceeded")
		assert.Len(t, s.Observe(time.Now()).Classes, 1)
		cancel()
		require.NoError(t, <-done)
	})
}

// TestClassComesBack: what is listed again can be used again.
// Fault 50: a class is unbound from the namespace, resized, and bound again.
func TestClassComesBack(t *testing.T) {
	t.Parallel()
	var now map[string]hardware
	s := New(Options{Catalogue: config.Catalogue{Classes: []config.Class{{Name: "b", Price: "2"}}}})
	s.parts = []*part{{name: "test", read: func(context.Context) (map[string]hardware, error) { return now, nil }}}
	class := func(name string) planner.VMClass {
		require.True(t, s.refresh(t.Context()))
		for _, c := range s.Observe(time.Now()).Classes {
			if c.Name == name {
				return c
			}
		}
		return planner.VMClass{}
	}
	now = map[string]hardware{"a": {cpus: 2, memoryBytes: gib}, "b": {cpus: 4, memoryBytes: gib}}
	assert.Empty(t, class("a").Invalid)
	now = map[string]hardware{"b": {problem: "it is not assigned to namespace pools"}}
	assert.Equal(t, "test does not list it any more", class("a").Invalid)
	assert.Empty(t, class("a").Capacity)
	assert.Equal(t, "it is not assigned to namespace pools", class("b").Invalid)
	now = map[string]hardware{"a": {cpus: 8, memoryBytes: gib}}
	assert.Equal(t, planner.Resources{"CPU": 8000, "memory": gib}, class("a").Capacity, "resized")
	assert.Empty(t, class("a").Invalid)
	assert.Equal(t, "test does not list it any more", class("b").Invalid)
}

// TestKeepAlive: a refresh interval longer than vCenter's patience is filled
// with calls.
func TestKeepAlive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Catalogue: config.Catalogue{VCenter: &config.VCenter{}}})
		var at []time.Duration
		begin := time.Now()
		s.keepAlive = func(context.Context) { at = append(at, time.Since(begin)) }
		require.True(t, s.rest(t.Context(), 25*time.Minute))
		assert.Equal(t, []time.Duration{10 * time.Minute, 20 * time.Minute}, at)
		assert.Equal(t, 25*time.Minute, time.Since(begin))
	})
}
