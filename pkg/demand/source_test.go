package demand_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/tandem-autoscaler/tandem/pkg/config"
	"github.com/tandem-autoscaler/tandem/pkg/demand"
	"github.com/tandem-autoscaler/tandem/pkg/demand/gcs"
	"github.com/tandem-autoscaler/tandem/pkg/demand/gcs/autoscalerpb"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const liveSpec = plainHead + "enableInTreeAutoscaling: true\n"

// named is a RayCluster ml/<name> with the UID uid-<name>.
func named(tb testing.TB, name, spec string) *unstructured.Unstructured {
	tb.Helper()
	u := object(tb, spec)
	u.SetName(name)
	u.SetUID(types.UID("uid-" + name))
	return u
}

// pod is a Ray pod of a cluster; head pods are ready.
func pod(cluster, name, nodeType, ip string) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "ml", Name: name, UID: types.UID("uid-" + name),
			Labels: map[string]string{"ray.io/cluster": cluster, "ray.io/node-type": nodeType},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "ray.io/v1", Kind: "RayCluster", Name: cluster, UID: types.UID("uid-" + cluster), Controller: new(true),
			}},
		},
		Status: corev1.PodStatus{PodIP: ip, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}
	return p
}

// world is a fake API with fake GCS servers at addresses. Its tests run in bubbles
// of testing/synctest, where time passes only when everything waits.
type world struct {
	client.WithWatch
	s *demand.Source

	mu      sync.Mutex
	listErr error
	manager string // who wrote the worker groups of every RayCluster last
	servers map[string]*server
	dialled []gcs.Options
}

// server is a fake GCS.
type server struct {
	mu    sync.Mutex
	state *state
	err   error
	hang  bool
	reads []time.Time
	open  int
	// count, if it is not zero, makes the server count its answers as Ray does.
	count int64
}

func (s *server) set(change func(*server)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *server) times() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]time.Time(nil), s.reads...)
}

func (s *server) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

func (s *server) State(ctx context.Context) (*autoscalerpb.ClusterResourceState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads = append(s.reads, time.Now())
	if s.hang {
		s.mu.Unlock()
		<-ctx.Done()
		s.mu.Lock()
		return nil, ctx.Err()
	}
	if s.err != nil {
		return nil, s.err
	}
	if s.count > 0 {
		counted := proto.CloneOf(s.state)
		counted.ClusterResourceStateVersion = s.count
		s.count++
		return counted, nil
	}
	return s.state, nil
}

func (s *server) Close() error {
	s.set(func(s *server) { s.open-- })
	return nil
}

func newWorld(tb testing.TB, o demand.Options, objects ...client.Object) *world {
	tb.Helper()
	scheme := runtime.NewScheme()
	require.NoError(tb, corev1.AddToScheme(scheme))
	kind := demand.RayClusterKind()
	scheme.AddKnownTypeWithName(kind, &unstructured.Unstructured{})
	kind.Kind += "List"
	scheme.AddKnownTypeWithName(kind, &unstructured.UnstructuredList{})
	w := &world{servers: map[string]*server{}}
	w.WithWatch = fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithInterceptorFuncs(interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			w.mu.Lock()
			err, manager := w.listErr, w.manager
			w.mu.Unlock()
			if err != nil {
				return err
			}
			if err := c.List(ctx, list, opts...); err != nil {
				return err
			}
			if l, ok := list.(*unstructured.UnstructuredList); ok && manager != "" {
				for i := range l.Items {
					l.Items[i].SetManagedFields([]metav1.ManagedFieldsEntry{{
						Manager: manager, FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:workerGroupSpecs":{}}}`),
					}})
				}
			}
			return nil
		},
	}).Build()
	o.Reader = w
	o.Dial = func(g gcs.Options) (demand.GCS, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.dialled = append(w.dialled, g)
		s := w.servers[g.Address]
		if s == nil {
			return nil, fmt.Errorf("nobody at %s", g.Address)
		}
		s.set(func(s *server) { s.open++ })
		return s, nil
	}
	w.s = demand.New(o)
	return w
}

// serve puts a GCS at an address.
func (w *world) serve(address string, s *state) *server {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.servers[address] = &server{state: s}
	return w.servers[address]
}

// run lets the source live until the test ends.
func (w *world) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		assert.ErrorIs(t, <-done, context.Canceled)
		for address, s := range w.servers {
			assert.Zero(t, s.connections(), address)
		}
	})
}

func (w *world) view() demand.View { return w.s.Observe(time.Now()) }

func (w *world) only(tb testing.TB) planner.RayCluster {
	tb.Helper()
	v := w.view()
	require.Len(tb, v.Clusters, 1)
	return v.Clusters[0]
}

func cpus(n int64) *state {
	return &state{PendingResourceRequests: []*byCount{want(n, amounts{"CPU": 1})}, ClusterSessionName: "s"}
}

func drained(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestSourcePublishesWhatHasSettled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, demand.Options{Settle: 400 * time.Millisecond}, named(t, "a", liveSpec), pod("a", "a-head", "head", "10.0.0.1"))
		s := w.serve("10.0.0.1:6379", cpus(3))
		w.run(t)
		synctest.Wait()
		c := w.only(t)
		assert.False(t, c.DemandKnown)
		assert.Equal(t, "not read yet", c.DemandError)
		assert.True(t, drained(w.s.Changed()))

		time.Sleep(time.Second)
		c = w.only(t)
		assert.True(t, c.DemandKnown)
		assert.Empty(t, c.DemandError)
		require.Len(t, c.Requests, 1)
		assert.Equal(t, int64(3), c.Requests[0].Count)
		assert.True(t, drained(w.s.Changed()))
		assert.Equal(t, []planner.Source{{Kind: planner.SourceRay, Known: true, Age: w.view().Sources[0].Age}, {Kind: planner.SourceGCS, Name: "ml/a", Known: true, Age: w.view().Sources[1].Age}}, w.view().Sources)

		time.Sleep(10 * time.Second)
		synctest.Wait()
		assert.False(t, drained(w.s.Changed()), "nothing changed")
		reads := s.times()
		assert.InDelta(t, 10, len(reads), 4, "one read a second, and some to settle")

		s.set(func(s *server) { s.state = cpus(5) })
		seen := time.Now()
		<-w.s.Changed()
		assert.Equal(t, int64(5), w.only(t).Requests[0].Count)
		assert.LessOrEqual(t, time.Since(seen), 1100*time.Millisecond+400*time.Millisecond)
	})
}

func TestSourceReadsOftenWhileTheStateMoves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, demand.Options{Settle: 400 * time.Millisecond}, named(t, "a", liveSpec), pod("a", "a-head", "head", "10.0.0.1"))
		s := w.serve("10.0.0.1:6379", cpus(1))
		w.run(t)
		time.Sleep(2 * time.Second)
		n := int64(1)
		start := time.Now()
		for time.Since(start) < 3300*time.Millisecond {
			n++
			s.set(func(s *server) { s.state = cpus(n) })
			time.Sleep(100 * time.Millisecond)
		}
		assert.Greater(t, w.only(t).Requests[0].Count, int64(10), "a cluster that never rests is not starved")
		reads := s.times()
		assert.LessOrEqual(t, reads[len(reads)-1].Sub(reads[len(reads)-2]), 200*time.Millisecond)
	})
}

// Fault 1: the GCS cannot be reached: its demand is unknown, not zero.
// Fault 60: the token is refused.
func TestSourceUnknownIsNotZero(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, demand.Options{}, named(t, "a", liveSpec), pod("a", "a-head", "head", "10.0.0.1"))
		s := w.serve("10.0.0.1:6379", cpus(3))
		w.run(t)
		time.Sleep(2 * time.Second)
		require.True(t, w.only(t).DemandKnown)

		s.set(func(s *server) { s.err = errors.New("token refused") })
		failing := time.Now()
		time.Sleep(10 * time.Second)
		c := w.only(t)
		assert.True(t, c.DemandKnown, "an answer holds for a while")
		assert.Len(t, c.Requests, 1)
		assert.Equal(t, "token refused", w.view().Sources[1].Error)
		time.Sleep(7 * time.Second)
		c = w.only(t)
		assert.False(t, c.DemandKnown)
		assert.Equal(t, "token refused", c.DemandError)
		assert.Empty(t, c.Requests)
		assert.False(t, w.view().Sources[1].Known)

		time.Sleep(10 * time.Minute)
		var late int
		for _, r := range s.times() {
			if r.Sub(failing) > 2*time.Minute {
				late++
			}
		}
		assert.InDelta(t, 22, late, 8, "a GCS that stays away is asked every 15 to 30 s")

		s.set(func(s *server) { s.err = nil })
		time.Sleep(31 * time.Second)
		assert.True(t, w.only(t).DemandKnown)
		assert.Empty(t, w.view().Sources[1].Error)
	})
}

// Fault 2: one GCS hangs: the others are read on.
func TestSourceOneThatHangsDelaysNoOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, demand.Options{},
			named(t, "a", liveSpec), pod("a", "a-head", "head", "10.0.0.1"),
			named(t, "b", liveSpec), pod("b", "b-head", "head", "10.0.0.2"),
			named(t, "broken", "{}"), named(t, "headless", liveSpec))
		w.serve("10.0.0.1:6379", nil).set(func(s *server) { s.hang = true })
		w.serve("10.0.0.2:6379", cpus(2))
		w.run(t)
		time.Sleep(2 * time.Second)
		v := w.view()
		require.Len(t, v.Clusters, 4)
		assert.Equal(t, "not read yet", v.Clusters[0].DemandError)
		assert.True(t, v.Clusters[1].DemandKnown)
		assert.NotEmpty(t, v.Clusters[2].Invalid)
		assert.Equal(t, "no head pod is ready", v.Clusters[3].DemandError)
		names := make([]string, 0, len(v.Sources))
		for _, s := range v.Sources {
			names = append(names, string(s.Kind)+" "+s.Name)
		}
		assert.Equal(t, []string{"ray ", "gcs ml/a", "gcs ml/b", "gcs ml/headless"}, names, "what nobody plans for is not waited for")
	})
}

// Fault 10: another head pod: what the former one said is void.
func TestSourceANewHeadIsANewSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, demand.Options{}, named(t, "a", liveSpec), pod("a", "old", "head", "10.0.0.1"))
		before := w.serve("10.0.0.1:6379", cpus(3))
		w.run(t)
		time.Sleep(2 * time.Second)
		require.True(t, w.only(t).DemandKnown)

		require.NoError(t, w.Delete(t.Context(), pod("a", "old", "head", "")))
		unready := pod("a", "new", "head", "10.0.0.2")
		unready.Status.Conditions[0].Status = corev1.ConditionFalse
		require.NoError(t, w.Create(t.Context(), unready))
		w.s.Notify()
		time.Sleep(100 * time.Millisecond)
		c := w.only(t)
		assert.False(t, c.DemandKnown, "what the old head said is void")
		assert.Equal(t, "no head pod is ready", c.DemandError)
		assert.Zero(t, before.connections())

		w.serve("10.0.0.2:6379", cpus(1))
		require.NoError(t, w.Status().Update(t.Context(), func() *corev1.Pod {
			var p corev1.Pod
			require.NoError(t, w.Get(t.Context(), client.ObjectKey{Namespace: "ml", Name: "new"}, &p))
			p.Status.Conditions[0].Status = corev1.ConditionTrue
			return &p
		}()))
		time.Sleep(2 * time.Second)
		assert.False(t, w.only(t).DemandKnown, "a head that has just begun knows little")
		time.Sleep(5 * time.Second)
		c = w.only(t)
		require.True(t, c.DemandKnown)
		assert.Equal(t, int64(1), c.Requests[0].Count)

		// One that is ready when the other goes.
		w.serve("10.0.0.3:6379", cpus(2))
		require.NoError(t, w.Create(t.Context(), pod("a", "newer", "head", "10.0.0.3")))
		time.Sleep(2 * time.Second)
		assert.Equal(t, int64(1), w.only(t).Requests[0].Count, "the one that is asked stays")
		require.NoError(t, w.Delete(t.Context(), pod("a", "new", "head", "")))
		w.s.Notify()
		time.Sleep(7 * time.Second)
		c = w.only(t)
		require.True(t, c.DemandKnown)
		assert.Equal(t, int64(2), c.Requests[0].Count)
	})
}

func TestSourceARestartedGCSIsANewSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, demand.Options{Settle: 5 * time.Second}, named(t, "a", liveSpec), pod("a", "a-head", "head", "10.0.0.1"))
		s := w.serve("10.0.0.1:6379", cpus(3))
		s.set(func(s *server) { s.state.ClusterResourceStateVersion = 9 })
		w.run(t)
		time.Sleep(7 * time.Second)
		require.True(t, w.only(t).DemandKnown)
		s.set(func(s *server) { s.state, s.count = cpus(0), 1 })
		time.Sleep(1800 * time.Millisecond)
		assert.False(t, w.only(t).DemandKnown, "the version went back, and grows from there")
		time.Sleep(6 * time.Second)
		assert.True(t, w.only(t).DemandKnown)
		assert.Empty(t, w.only(t).Requests)
	})
}

// Fault 11: another RayCluster under the same name.
func TestSourceRecreatedUnderTheSameName(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first := named(t, "a", liveSpec)
		w := newWorld(t, demand.Options{}, first, pod("a", "a-head", "head", "10.0.0.1"))
		w.serve("10.0.0.1:6379", cpus(3))
		w.run(t)
		time.Sleep(2 * time.Second)
		require.True(t, w.only(t).DemandKnown)
		require.NoError(t, w.Delete(t.Context(), first))
		again := named(t, "a", liveSpec)
		again.SetUID("another")
		require.NoError(t, w.Create(t.Context(), again))
		time.Sleep(time.Second)
		c := w.only(t)
		assert.Equal(t, "another", c.UID)
		assert.False(t, c.DemandKnown, "the head pod belongs to the former object")
	})
}

func TestSourceJoinsNodesWithPods(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		foreign := pod("b", "foreign", "worker", "10.0.0.8")
		leaving := pod("a", "done", "worker", "10.0.0.9")
		leaving.Status.Phase = corev1.PodSucceeded
		w := newWorld(t, demand.Options{},
			named(t, "a", plainHead+"enableInTreeAutoscaling: true\n"), pod("a", "a-head", "head", "10.0.0.1"),
			pod("a", "by-name", "worker", "10.0.0.2"), pod("a", "by-ip", "worker", "10.0.0.3"), foreign, leaving)
		w.serve("10.0.0.1:6379", &state{NodeStates: []*autoscalerpb.NodeState{
			{NodeId: []byte{1}, InstanceId: "by-name", Status: autoscalerpb.NodeStatus_IDLE, NodeIpAddress: "10.9.9.9"},
			{NodeId: []byte{2}, Status: autoscalerpb.NodeStatus_IDLE, NodeIpAddress: "10.0.0.3"},
			{NodeId: []byte{3}, Status: autoscalerpb.NodeStatus_DEAD, NodeIpAddress: "10.0.0.3"},
			{NodeId: []byte{4}, InstanceId: "by-name", Status: autoscalerpb.NodeStatus_DEAD},
			{NodeId: []byte{5}, InstanceId: "foreign", Status: autoscalerpb.NodeStatus_RUNNING, NodeIpAddress: "10.0.0.8"},
			{NodeId: []byte{6}, InstanceId: "vanished", Status: autoscalerpb.NodeStatus_RUNNING, NodeIpAddress: "10.0.0.9"},
		}})
		w.run(t)
		time.Sleep(2 * time.Second)
		type joined struct{ Pod, UID string }
		got := map[string]joined{}
		for _, n := range w.only(t).RayNodes {
			got[n.ID] = joined{n.Pod, n.PodUID}
		}
		assert.Equal(t, map[string]joined{
			"01": {"by-name", "uid-by-name"},
			"02": {"by-ip", "uid-by-ip"},
			"03": {}, // an address may have been given to another pod since
			"04": {"by-name", "uid-by-name"},
			"05": {"foreign", ""}, // the pod of another cluster
			"06": {"vanished", ""},
		}, got)
	})
}

func TestSourceChoosesHeadsWithCare(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		impostor := pod("a", "impostor", "head", "10.6.6.6")
		impostor.OwnerReferences = nil
		young := pod("a", "young", "head", "10.0.0.3")
		young.CreationTimestamp = metav1.NewTime(time.Now().Add(time.Minute))
		done := pod("a", "done", "head", "10.0.0.4")
		done.Status.Phase = corev1.PodFailed
		w := newWorld(t, demand.Options{
			Credentials: []config.GCSCredentials{
				{Namespace: "ml", Name: "*", TokenFile: "/any"},
				{Namespace: "ml", Name: "a", TokenFile: "/own", CAFile: "/ca", CertFile: "/cert", KeyFile: "/key"},
				{Namespace: "ml", Name: "*", TokenFile: "/late"},
				{Namespace: "other", Name: "a", TokenFile: "/other"},
			},
			Timeout: 3 * time.Second,
		}, named(t, "a", `
enableInTreeAutoscaling: true
headGroupSpec: {rayStartParams: {port: "6399"}, template: {}}
`), impostor, young, done, pod("a", "b-old", "head", "10.0.0.2"), pod("a", "no-ip", "head", ""))
		w.serve("10.0.0.2:6399", cpus(1))
		w.run(t)
		time.Sleep(2 * time.Second)
		require.True(t, w.only(t).DemandKnown)
		w.mu.Lock()
		defer w.mu.Unlock()
		assert.Equal(t, []gcs.Options{{
			Address: "10.0.0.2:6399", TokenFile: "/own", CAFile: "/ca", CertFile: "/cert", KeyFile: "/key", Timeout: 3 * time.Second,
		}}, w.dialled)
	})
}

func TestSourceWhatNobodyPlansForIsNotRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		u := named(t, "a", liveSpec)
		w := newWorld(t, demand.Options{Namespaces: []string{"ml"}}, u, pod("a", "a-head", "head", "10.0.0.1"))
		s := w.serve("10.0.0.1:6379", cpus(3))
		w.run(t)
		time.Sleep(2 * time.Second)
		require.True(t, w.only(t).DemandKnown)
		for _, change := range []func(*unstructured.Unstructured){
			func(u *unstructured.Unstructured) {
				require.NoError(t, unstructured.SetNestedField(u.Object, true, "spec", "suspend"))
			},
			func(u *unstructured.Unstructured) {
				require.NoError(t, unstructured.SetNestedField(u.Object, false, "spec", "suspend"))
				u.SetAnnotations(map[string]string{demand.AnnotationMode: "off"})
			},
		} {
			require.NoError(t, w.Get(t.Context(), client.ObjectKeyFromObject(u), u))
			change(u)
			require.NoError(t, w.Update(t.Context(), u))
			time.Sleep(time.Second)
			assert.False(t, w.only(t).DemandKnown)
			assert.Len(t, w.view().Sources, 1)
			assert.Zero(t, s.connections())
		}
	})
}

// Fault 40: the lists fail: what was known grows old, as a whole.
func TestSourceListsThatFailGrowOld(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var doubt atomic.Bool
		health := func() error {
			if doubt.Load() {
				return errors.New("watch broken")
			}
			return nil
		}
		w := newWorld(t, demand.Options{Health: health}, named(t, "a", liveSpec), pod("a", "a-head", "head", "10.0.0.1"))
		w.serve("10.0.0.1:6379", cpus(3))
		v := w.view()
		assert.Equal(t, []planner.Source{{Kind: planner.SourceRay, Error: "not listed yet"}}, v.Sources)
		w.run(t)
		time.Sleep(2 * time.Second)
		w.mu.Lock()
		w.listErr = errors.New("forbidden")
		w.mu.Unlock()
		time.Sleep(10 * time.Second)
		v = w.view()
		assert.True(t, v.Sources[0].Known)
		assert.Contains(t, v.Sources[0].Error, "listing RayClusters: forbidden")
		assert.True(t, v.Clusters[0].DemandKnown, "what was found goes on")
		time.Sleep(10 * time.Second)
		assert.False(t, w.view().Sources[0].Known)
		assert.Greater(t, time.Duration(w.view().Sources[0].Age), 15*time.Second)

		doubt.Store(true)
		w.mu.Lock()
		w.listErr = nil
		w.mu.Unlock()
		time.Sleep(time.Second)
		assert.False(t, w.view().Sources[0].Known, "a cache that answers may still be behind")
		assert.Equal(t, "watch broken", w.view().Sources[0].Error)
		doubt.Store(false)
		time.Sleep(time.Second)
		assert.True(t, w.view().Sources[0].Known)
	})
}

func TestSourceDialFailuresAreTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, demand.Options{}, named(t, "a", liveSpec), pod("a", "a-head", "head", "10.0.0.1"))
		w.run(t)
		time.Sleep(2 * time.Second)
		assert.Equal(t, "nobody at 10.0.0.1:6379", w.only(t).DemandError)
		w.serve("10.0.0.1:6379", cpus(3))
		time.Sleep(10 * time.Second)
		assert.True(t, w.only(t).DemandKnown)
	})
}

func TestSourceAHeadThatGetsReadyEndsTheBackoff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		head := pod("a", "a-head", "head", "10.0.0.1")
		w := newWorld(t, demand.Options{}, named(t, "a", liveSpec), head)
		s := w.serve("10.0.0.1:6379", cpus(3))
		w.run(t)
		time.Sleep(2 * time.Second)
		setReady := func(ready corev1.ConditionStatus) {
			require.NoError(t, w.Get(t.Context(), client.ObjectKeyFromObject(head), head))
			head.Status.Conditions[0].Status = ready
			require.NoError(t, w.Status().Update(t.Context(), head))
			w.s.Notify()
			time.Sleep(100 * time.Millisecond)
		}
		s.set(func(s *server) { s.err = errors.New("container restarts") })
		setReady(corev1.ConditionFalse)
		time.Sleep(5 * time.Minute)
		before := len(s.times())
		for len(s.times()) == before {
			time.Sleep(10 * time.Millisecond) // the next read is 15 s away now
		}
		s.set(func(s *server) { s.err = nil })
		setReady(corev1.ConditionTrue)
		assert.Len(t, s.times(), before+2)
		assert.True(t, w.only(t).DemandKnown)
	})
}
