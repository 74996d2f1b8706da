package scenario

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/tandem-autoscaler/tandem/lab/report"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeLab records what is asked of it.
type fakeLab struct {
	client client.Client

	mu    sync.Mutex
	calls []string
	head  bool // whether heads are ready
}

func newFakeLab() *fakeLab { return &fakeLab{client: fake.NewClientBuilder().Build(), head: true} }

func (l *fakeLab) call(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, what)
}

func (l *fakeLab) called() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.calls...)
}

func (l *fakeLab) Management() client.Client { return l.client }
func (l *fakeLab) Workload() client.Client   { return l.client }
func (l *fakeLab) Namespace() string         { return "default" }
func (l *fakeLab) ClusterName() string       { return "gpu-cluster" }

func (l *fakeLab) Identity(context.Context) (management, workload string, err error) {
	return "/m.kubeconfig", "/w.kubeconfig", nil
}

func (l *fakeLab) VCenter() VCenter {
	return VCenter{URL: "https://127.0.0.1:1/sdk", UsernameFile: "/user", PasswordFile: "/password", CAFile: "/ca"}
}

func (l *fakeLab) AddPool(_ context.Context, p Pool) error {
	l.call("AddPool " + p.Name)
	return nil
}

func (l *fakeLab) FailVMs(class string, n int, message string) {
	l.call("FailVMs " + class + " " + itoa(n) + " " + message)
}
func (l *fakeLab) StickVMs(class string, n int) { l.call("StickVMs " + class + " " + itoa(n)) }

func (l *fakeLab) RestartAPIServer(_ context.Context, which string) error {
	l.call("RestartAPIServer " + which)
	return nil
}

func (l *fakeLab) RayAddress(_, _ string) (string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return "127.0.0.1:1", l.head
}

func (l *fakeLab) KillContainer(namespace, pod string) error {
	l.call("KillContainer " + namespace + "/" + pod)
	return nil
}

func (l *fakeLab) KillRaylet(namespace, pod string) error {
	l.call("KillRaylet " + namespace + "/" + pod)
	return nil
}

// minimal is the smallest scenario, for others to grow from.
const minimal = `apiVersion: lab.tandem-autoscaler.io/v1
kind: Scenario
name: test
classes: [{name: small, cpu: 4, memory: 16Gi, price: "0.20"}, {name: gpu-x1, cpu: 12, memory: 120Gi, gpu: 1}]
pools: [{name: head, class: small, replicas: 1}, {name: gpu, class: gpu-x1, min: 0, max: 4}]
rayClusters: [{name: main, groups: [{name: gpu, cpu: 8, memory: 64Gi, gpu: 1}]}, {name: closed, namespace: tenant, port: 6380, token: true}]
deadline: 1m
finish: {hold: 1ms}
`

func mustParse(t *testing.T, text string) *Scenario {
	t.Helper()
	s, err := Parse([]byte(text), t.TempDir())
	require.NoError(t, err)
	return s
}

// newTestRun makes a run on a fake lab whose drivers are shell scripts.
func newTestRun(t *testing.T, s *Scenario, lab Lab, coordinator string) *Run {
	t.Helper()
	pools := make([]report.PoolInfo, 0, len(s.Pools))
	for _, p := range s.Pools {
		pools = append(pools, report.PoolInfo{Name: p.Name, Class: p.Class, Worker: p.Name != s.HeadPool})
	}
	r, err := New(t.Context(), Options{
		Scenario: s, Lab: lab, Dir: t.TempDir(), Python: "/bin/sh", Coordinator: coordinator,
		Recorder: report.NewRecorder(report.Options{Scenario: s.Name, Start: time.Now(), Pools: pools}),
		PollGCS:  func(ctx context.Context, _ report.GCSTarget, _ *report.Recorder) { <-ctx.Done() },
	})
	require.NoError(t, err)
	t.Cleanup(r.Close)
	return r
}

// program writes an executable shell script.
func program(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700)) //nolint:gosec // it is to be executed
	return path
}
