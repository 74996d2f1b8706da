package scenario

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tandem-autoscaler/tandem/lab/report"
)

func itoa(n int) string { return strconv.Itoa(n) }

func do(t *testing.T, r *Run) report.Report {
	t.Helper()
	rep, err := r.Do(t.Context())
	require.NoError(t, err)
	return rep
}

func TestDriversRunInOrder(t *testing.T) {
	s := mustParse(t, minimal+`
drivers:
- {name: first, rayCluster: main, code: 'echo "hello $1 $2 $COLOR ${RAY_AUTH_TOKEN:-none}"', args: [x], env: {COLOR: blue}, expectOutput: "hello 127.0.0.1:1 x blue none"}
- {name: second, rayCluster: tenant/closed, after: first, code: 'echo "$RAY_AUTH_MODE ${#RAY_AUTH_TOKEN}"; exit 3', expectExit: 3, expectOutput: "token 48"}
`)
	lab := newFakeLab()
	rep := do(t, newTestRun(t, s, lab, ""))
	require.True(t, rep.Passed, "%v", rep.Failures)
	require.Len(t, rep.Drivers, 2)
	first, second := rep.Drivers[0], rep.Drivers[1]
	assert.Equal(t, "first", first.Name)
	assert.Equal(t, 0, *first.ExitCode)
	assert.Equal(t, 3, *second.ExitCode)
	assert.GreaterOrEqual(t, second.StartedAt, *first.EndedAt)
	assert.Contains(t, first.OutputTail, "hello")
	assert.Equal(t, []string{"AddPool head", "AddPool gpu"}, lab.called())

	list := &corev1.SecretList{}
	require.NoError(t, lab.client.List(t.Context(), list))
	assert.Len(t, list.Items, 1)
}

func TestDriverWaitsForTheRoundOfAnInertAutoscaler(t *testing.T) {
	s := mustParse(t, strings.Replace(minimal, "{name: main,", "{name: main, inTree: inert,", 1)+`
drivers: [{name: d, rayCluster: main, code: 'true'}]
`)
	r := newTestRun(t, s, newFakeLab(), "")
	var asked int
	r.o.AutoscalerRan = func(_ context.Context, target report.GCSTarget) bool {
		assert.Equal(t, "default/main", target.RayCluster)
		assert.False(t, r.drivers["d"].hasStarted())
		asked++
		return asked == 3
	}
	rep := do(t, r)
	assert.True(t, rep.Passed, "%v", rep.Failures)
	assert.Equal(t, 3, asked)
}

func TestDriversThatDoNotDoWhatTheyShould(t *testing.T) {
	tests := map[string]struct{ driver, want string }{
		"wrong exit code": {`{name: d, rayCluster: main, code: 'echo oh; exit 4'}`, "driver d: exit code 4, want 0; it printed:\noh"},
		"missing output":  {`{name: d, rayCluster: main, code: 'echo oh', expectOutput: "RESULT ok"}`, `did not print "RESULT ok"`},
		"too slow":        {`{name: d, rayCluster: main, code: 'exec sleep 600', timeout: 10ms}`, "did not end within 10ms"},
		"unexpected zero": {`{name: d, rayCluster: main, code: 'true', expectExit: 1}`, "exit code 0, want 1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := mustParse(t, minimal+"drivers: ["+tt.driver+"]\n")
			rep := do(t, newTestRun(t, s, newFakeLab(), ""))
			assert.False(t, rep.Passed)
			require.NotEmpty(t, rep.Failures)
			assert.Contains(t, rep.Failures[0], tt.want)
		})
	}
}

func TestAnyExitAcceptsTheTimeout(t *testing.T) {
	s := mustParse(t, minimal+`drivers: [{name: d, rayCluster: main, code: 'exec sleep 600', timeout: 10ms, anyExit: true}]`)
	rep := do(t, newTestRun(t, s, newFakeLab(), ""))
	assert.True(t, rep.Passed, "%v", rep.Failures)
	assert.True(t, rep.Drivers[0].TimedOut)
}

// A driver leaves nothing behind, whatever it started.
func TestDriversChildrenEnd(t *testing.T) {
	s := mustParse(t, minimal+`drivers: [{name: d, rayCluster: main, code: 'sleep 600 & echo $! > child'}]`)
	r := newTestRun(t, s, newFakeLab(), "")
	rep := do(t, r)
	require.True(t, rep.Passed, "%v", rep.Failures)
	b, err := os.ReadFile(filepath.Join(r.o.Dir, "drivers", "child"))
	require.NoError(t, err)
	stat := filepath.Join("/proc", strings.TrimSpace(string(b)), "stat")
	require.Eventually(t, func() bool {
		state, err := os.ReadFile(stat) //nolint:gosec // a file of /proc
		return err != nil || strings.Contains(string(state), ") Z ")
	}, time.Minute, 10*time.Millisecond)
}

func TestDeadlineTellsWhatWasMissing(t *testing.T) {
	s := mustParse(t, strings.Replace(minimal, "deadline: 1m", "deadline: 200ms", 1)+`
drivers: [{name: never, rayCluster: main, code: 'true'}]
faults: [{kind: killHead, rayCluster: main, at: 1h}]
`)
	one := 1
	s.Finish.WorkerMachines = &one
	lab := newFakeLab()
	lab.head = false
	rep := do(t, newTestRun(t, s, lab, ""))
	require.Len(t, rep.Failures, 1)
	assert.Equal(t, "after 200ms this was missing: driver never has not started; 1 of 1 faults are not injected yet; 0 worker Machines exist, want 1", rep.Failures[0])
}

func TestInterruptedRunFails(t *testing.T) {
	s := mustParse(t, minimal+`drivers: [{name: d, rayCluster: main, code: 'exec sleep 600'}]`)
	r := newTestRun(t, s, newFakeLab(), "")
	ctx, cancel := context.WithCancel(t.Context())
	r.o.Recorder.Subscribe(func(e report.Event) {
		if e.Kind == report.KindDriver {
			cancel()
		}
	})
	rep, err := r.Do(ctx)
	require.NoError(t, err)
	assert.Equal(t, []string{"the run was interrupted"}, rep.Failures)
}

func TestObjectsAndRayClustersAreCreated(t *testing.T) {
	s := mustParse(t, minimal+`
objects:
- {object: {apiVersion: v1, kind: ConfigMap, metadata: {name: extra, namespace: default}, data: {k: v}}}
drivers: [{name: d, rayCluster: main, code: 'true'}]
`)
	lab := newFakeLab()
	require.True(t, do(t, newTestRun(t, s, lab, "")).Passed)
	cm := &corev1.ConfigMap{}
	require.NoError(t, lab.client.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "extra"}, cm))
	assert.Equal(t, map[string]string{"k": "v"}, cm.Data)
	u, err := s.RayClusters[0].object("head")
	require.NoError(t, err)
	require.NoError(t, lab.client.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "main"}, u))
	ns := &corev1.Namespace{}
	require.NoError(t, lab.client.Get(t.Context(), client.ObjectKey{Name: "tenant"}, ns))
}

func rayPod(name, kind string, phase corev1.PodPhase) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"ray.io/cluster": "main", "ray.io/node-type": kind, "ray.io/group": "gpu"}},
		Status:     corev1.PodStatus{Phase: phase},
	}
}

func TestFaults(t *testing.T) {
	tests := map[string]struct {
		fault string
		want  string // the last call of the lab; empty: none beyond the pools
	}{
		"killHead":         {`{kind: killHead, rayCluster: main, at: 0s}`, "KillContainer default/h"},
		"killRaylet":       {`{kind: killRaylet, rayCluster: main, at: 0s}`, "KillRaylet default/w2"},
		"killPod":          {`{kind: killPod, rayCluster: main, group: gpu, at: 0s}`, "KillContainer default/w2"},
		"failVMs":          {`{kind: failVMs, class: gpu-x1, message: no room, at: 0s}`, "FailVMs gpu-x1 2147483647 no room"},
		"stickVMs":         {`{kind: stickVMs, class: gpu-x1, count: 2, at: 0s}`, "StickVMs gpu-x1 2"},
		"healVMs":          {`{kind: healVMs, class: gpu-x1, at: 0s}`, "StickVMs gpu-x1 0"},
		"restartAPIServer": {`{kind: restartAPIServer, cluster: workload, at: 0s}`, "RestartAPIServer workload"},
		"deletePod":        {`{kind: deletePod, rayCluster: main, at: 0s}`, ""},
		"after a driver":   {`{kind: restartAPIServer, cluster: management, afterEvent: {event: driverPrinted, driver: d, text: now}, delay: 1ms}`, "RestartAPIServer management"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := mustParse(t, minimal+"drivers: [{name: d, rayCluster: main, code: 'echo now'}]\nfaults: ["+tt.fault+"]\n")
			lab := newFakeLab()
			for _, p := range []*corev1.Pod{rayPod("h", "head", corev1.PodRunning), rayPod("w1", "worker", corev1.PodPending), rayPod("w2", "worker", corev1.PodRunning), rayPod("w3", "worker", corev1.PodRunning)} {
				require.NoError(t, lab.client.Create(t.Context(), p))
			}
			rep := do(t, newTestRun(t, s, lab, ""))
			require.True(t, rep.Passed, "%v", rep.Failures)
			require.Len(t, rep.Faults, 1)
			assert.Empty(t, rep.Faults[0].Error)
			calls := lab.called()
			if tt.want != "" {
				assert.Equal(t, tt.want, calls[len(calls)-1])
			}
			if name == "deletePod" {
				err := lab.client.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "w2"}, &corev1.Pod{})
				assert.True(t, apierrors.IsNotFound(err), "w2 is deleted: %v", err)
			}
		})
	}
}

func TestHappened(t *testing.T) {
	s := mustParse(t, minimal+"drivers: [{name: d, rayCluster: main, code: 'true'}]\n")
	r := newTestRun(t, s, newFakeLab(), "")
	rec, now := r.o.Recorder, time.Now()
	events := map[string]*AfterEvent{
		"demand":  {Event: EventDemandVisible, RayCluster: "default/main"},
		"patched": {Event: EventPatched, Count: 2},
		"pool":    {Event: EventPatched, Pool: "gpu", Count: 1},
		"shrunk":  {Event: EventShrunk, Pool: "gpu", Count: 1},
		"nodes":   {Event: EventNodesReady, Pool: "gpu", Count: 1},
		"pods":    {Event: EventPodsReady, RayCluster: "default/main", Count: 1},
		"cordon":  {Event: EventNodeCordoned, Count: 1},
		"mark":    {Event: EventMachineMarked, Count: 1},
		"started": {Event: EventDriverStarted, Driver: "d"},
		"ended":   {Event: EventDriverEnded, Driver: "d"},
		"printed": {Event: EventDriverPrinted, Driver: "d", Text: "x"},
	}
	happened := func() []string {
		var out []string
		for _, name := range []string{"demand", "patched", "pool", "shrunk", "nodes", "pods", "cordon", "mark", "started", "ended", "printed"} {
			if r.happened(events[name]) {
				out = append(out, name)
			}
		}
		return out
	}
	assert.Empty(t, happened())
	rec.ObserveGCS(now, "default/main", report.RayState{Demand: map[string]int64{"{GPU 1}": 1}})
	rec.ObserveReplicas(now, "gpu", 0, true, "")
	rec.ObserveReplicas(now, "gpu", 1, false, "")
	assert.Equal(t, []string{"demand", "pool"}, happened())
	rec.ObserveReplicas(now, "head", 0, true, "")
	rec.ObserveReplicas(now, "head", 1, false, "")
	rec.ObserveReplicas(now, "gpu", 0, false, "")
	rec.ObserveGCS(now, "default/main", report.RayState{})
	rec.ObserveNode(now, report.NodeObservation{Name: "n", Pool: "gpu", Ready: true, Cordoned: true})
	rec.ObserveNode(now, report.NodeObservation{Name: "n", Pool: "gpu", Ready: true})
	rec.ObserveMachine(now, report.MachineObservation{Name: "m", Pool: "gpu", Marked: true})
	rec.ObservePod(now, report.PodObservation{Namespace: "default", Name: "w", RayCluster: "main", Phase: "Running", Ready: true})
	assert.Equal(t, []string{"patched", "pool", "shrunk", "nodes", "pods", "cordon", "mark"}, happened())
	require.True(t, do(t, r).Passed)
	assert.Subset(t, happened(), []string{"started", "ended"})
}

func TestLoseLease(t *testing.T) {
	s := mustParse(t, minimal)
	lab := newFakeLab()
	r := newTestRun(t, s, lab, "")
	_, err := r.Inject(t.Context(), &Fault{Kind: FaultLoseLease})
	require.ErrorIs(t, err, ErrNoTarget)
	who := "coordinator"
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: leaseNamespace, Name: leaseName}, Spec: coordinationv1.LeaseSpec{HolderIdentity: &who}}
	require.NoError(t, lab.client.Create(t.Context(), lease))
	target, err := r.Inject(t.Context(), &Fault{Kind: FaultLoseLease})
	require.NoError(t, err)
	assert.Equal(t, "tandem-system/tandem-coordinator", target)
	require.NoError(t, lab.client.Get(t.Context(), client.ObjectKeyFromObject(lease), lease))
	assert.Equal(t, "somebody-else", *lease.Spec.HolderIdentity)
}
