package demand_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/tandem-autoscaler/tandem/pkg/demand"
	"github.com/tandem-autoscaler/tandem/pkg/demand/gcs"
	"github.com/tandem-autoscaler/tandem/pkg/demand/gcs/autoscalerpb"
	"github.com/tandem-autoscaler/tandem/pkg/demand/gcs/gcstest"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

const (
	idle     = autoscalerpb.NodeStatus_IDLE
	running  = autoscalerpb.NodeStatus_RUNNING
	draining = autoscalerpb.NodeStatus_DRAINING
	dead     = autoscalerpb.NodeStatus_DEAD
)

// removal is a RayCluster in lead mode with a head and workers on nodes, whose GCS
// is the strict stand-in. Deletes honour their preconditions, as an API server
// does.
type removal struct {
	*world

	t        *testing.T
	gcs      *gcstest.Server
	a        *demand.Actuator
	patches  []string
	deletes  []string
	between  func() // after every precondition was read, before the write
	patchErr error
}

// worker is a pod of worker group g on a node.
func worker(group, name, ip, node string) *corev1.Pod {
	p := pod("a", name, "worker", ip)
	p.Labels["ray.io/group"] = group
	p.Spec.NodeName = node
	return p
}

func raylet(b byte, pod string, s autoscalerpb.NodeStatus) *autoscalerpb.NodeState {
	n := &autoscalerpb.NodeState{NodeId: bytes.Repeat([]byte{b}, 28), InstanceId: pod, RayNodeTypeName: "gpu", Status: s}
	if s != dead {
		n.TotalResources = map[string]float64{"CPU": 1}
	}
	if s == idle {
		n.IdleDurationMs = time.Hour.Milliseconds()
	}
	return n
}

func node(cordoned bool) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "uid-n1"}}
	if cordoned {
		n.Spec.Taints = []corev1.Taint{{Key: planner.CordonTaint, Value: "x", Effect: corev1.TaintEffectNoSchedule}}
	}
	return n
}

// groups are the worker groups of the cluster: gpu may be shrunk from 2 to 1.
const groups = `
workerGroupSpecs:
- {groupName: cpu, replicas: 1, template: {spec: {containers: [{name: w, resources: {limits: {cpu: "1"}}}]}}}
- {groupName: gpu, replicas: 2, minReplicas: 1, maxReplicas: 4, idleTimeoutSeconds: 30, template: {spec: {containers: [{name: w, resources: {limits: {cpu: "1"}}}]}}}
- {groupName: multi, replicas: 2, numOfHosts: 2, maxReplicas: 4, scaleStrategy: {workersToDelete: [old]}, template: {spec: {containers: [{name: w, resources: {limits: {cpu: "1"}}}]}}}
`

func newRemoval(t *testing.T, nodes []*autoscalerpb.NodeState, objects ...client.Object) *removal {
	t.Helper()
	g := gcstest.Start(t, gcstest.Options{})
	host, port, err := net.SplitHostPort(g.Address())
	require.NoError(t, err)
	spec := `headGroupSpec: {rayStartParams: {port: "` + port + `"}, template: {}}` + groups
	all := append([]client.Object{named(t, "a", spec), pod("a", "a-head", "head", host)}, objects...)
	r := &removal{world: newWorld(t, demand.Options{}, all...), t: t, gcs: g}
	g.SetState(&autoscalerpb.ClusterResourceState{NodeStates: nodes})
	writer := interceptor.NewClient(r.world, interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			if r.between != nil {
				r.between()
			}
			b, err := patch.Data(obj)
			require.NoError(t, err)
			r.patches = append(r.patches, string(b))
			if r.patchErr != nil {
				return r.patchErr
			}
			err = c.Patch(ctx, obj, patch, opts...)
			if err != nil && strings.Contains(err.Error(), "test failed") { // an API server answers 422
				return apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "patch", schema.GroupResource{}, "a", err.Error(), 0, false)
			}
			return err
		},
		Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
			if r.between != nil {
				r.between()
			}
			o := &client.DeleteOptions{}
			o.ApplyOptions(opts)
			require.NotNil(t, o.Preconditions)
			have := &corev1.Pod{}
			if err := c.Get(ctx, client.ObjectKeyFromObject(obj), have); err != nil {
				return err
			}
			if have.UID != *o.Preconditions.UID {
				return apierrors.NewConflict(schema.GroupResource{Resource: "pods"}, obj.GetName(), errors.New("the UID in the precondition does not match"))
			}
			r.deletes = append(r.deletes, obj.GetName())
			return c.Delete(ctx, obj)
		},
	})
	r.a = demand.NewActuator(demand.ActuatorOptions{Reader: r.world, Writer: writer, DefaultMode: "lead", Timeout: time.Minute})
	return r
}

func (r *removal) cluster() planner.RayCluster {
	r.t.Helper()
	u := named(r.t, "a", "{}")
	require.NoError(r.t, r.Get(r.t.Context(), client.ObjectKeyFromObject(u), u))
	return demand.RayCluster(u, "lead")
}

// edit changes a worker group of the object, or, with -1, the object's spec.
func (r *removal) edit(group int, key string, value any) {
	r.t.Helper()
	u := named(r.t, "a", "{}")
	require.NoError(r.t, r.Get(r.t.Context(), client.ObjectKeyFromObject(u), u))
	spec := u.Object["spec"].(map[string]any)
	if group >= 0 {
		spec = spec["workerGroupSpecs"].([]any)[group].(map[string]any)
	}
	spec[key] = value
	require.NoError(r.t, r.Update(r.t.Context(), u))
}

func ref(name string) planner.PodRef {
	return planner.PodRef{Namespace: "ml", Name: name, UID: "uid-" + name}
}

func drainStep() planner.Step {
	return planner.Step{
		Kind: planner.StepDrain, RayCluster: "ml/a", WorkerGroup: "gpu", Node: "n1", NodeUID: "uid-n1", Pods: []planner.PodRef{ref("w1")},
		RayNode: gcs.NodeID(bytes.Repeat([]byte{1}, 28)).String(), Drain: planner.DrainIdle,
	}
}

func TestDrainAnIdleNode(t *testing.T) {
	t.Parallel()
	r := newRemoval(t, []*autoscalerpb.NodeState{raylet(1, "w1", idle)}, worker("gpu", "w1", "10.0.0.1", "n1"), node(true))
	require.NoError(t, r.a.Drain(t.Context(), drainStep(), "p-1"))
	require.Len(t, r.gcs.Drains(), 1)
	assert.Equal(t, autoscalerpb.DrainNodeReason_DRAIN_NODE_REASON_IDLE_TERMINATION, r.gcs.Drains()[0].GetReason())
	assert.Contains(t, r.gcs.Drains()[0].GetReasonMessage(), "p-1")
	require.NoError(t, r.a.Drain(t.Context(), drainStep(), "p-1"), "it is DEAD: the step was taken")
	assert.Len(t, r.gcs.Drains(), 1, "and the GCS is not asked again")
}

// Fault 18: the raylet refuses the drain, because it is not idle any more.
func TestDrainRefusedByTheRaylet(t *testing.T) {
	t.Parallel()
	r := newRemoval(t, []*autoscalerpb.NodeState{raylet(1, "w1", idle)}, worker("gpu", "w1", "10.0.0.1", "n1"), node(true))
	r.gcs.OnDrain(func(*autoscalerpb.DrainNodeRequest) *autoscalerpb.DrainNodeReply {
		return &autoscalerpb.DrainNodeReply{RejectionReasonMessage: "The node to be idle terminated is no longer idle."}
	})
	err := r.a.Drain(t.Context(), drainStep(), "p-1")
	require.ErrorIs(t, err, demand.ErrDrainRefused)
	require.NotErrorIs(t, err, demand.ErrMoved)
	assert.ErrorContains(t, err, "no longer idle")
}

func TestDrainIsNoProbe(t *testing.T) {
	t.Parallel()
	w1 := func() *corev1.Pod { return worker("gpu", "w1", "10.0.0.1", "n1") }
	short := raylet(1, "w1", idle)
	short.IdleDurationMs = (29 * time.Second).Milliseconds()
	sidecar := func(interval string) func(*removal) {
		return func(r *removal) {
			var head corev1.Pod
			require.NoError(r.t, r.Get(r.t.Context(), client.ObjectKey{Namespace: "ml", Name: "a-head"}, &head))
			head.Spec.Containers = []corev1.Container{{Name: "ray-head"}, {Name: "autoscaler", Env: []corev1.EnvVar{{Name: "AUTOSCALER_UPDATE_INTERVAL_S", Value: interval}}}}
			require.NoError(r.t, r.Update(r.t.Context(), &head))
		}
	}
	for name, c := range map[string]struct {
		nodes   []*autoscalerpb.NodeState
		objects []client.Object
		change  func(*removal)
		want    string
	}{
		"busy": {[]*autoscalerpb.NodeState{raylet(1, "w1", running)}, []client.Object{w1(), node(true)}, nil, "is RUNNING, not idle"},
		// Fault 20: a task came between the plan and the drain.
		"idle for too short":      {[]*autoscalerpb.NodeState{short}, []client.Object{w1(), node(true)}, nil, "idle for 29s of 30s"},
		"not cordoned":            {[]*autoscalerpb.NodeState{raylet(1, "w1", idle)}, []client.Object{w1(), node(false)}, nil, "does not carry our cordon"},
		"node gone":               {[]*autoscalerpb.NodeState{raylet(1, "w1", idle)}, []client.Object{w1()}, nil, "Node n1 is gone"},
		"pod elsewhere":           {[]*autoscalerpb.NodeState{raylet(1, "w1", idle)}, []client.Object{worker("gpu", "w1", "10.0.0.1", "n2"), node(true)}, nil, `is on Node "n2"`},
		"pod gone":                {[]*autoscalerpb.NodeState{raylet(1, "w1", idle)}, []client.Object{node(true)}, nil, "pod w1 is gone"},
		"raylet of another pod":   {[]*autoscalerpb.NodeState{raylet(1, "w2", idle)}, []client.Object{w1(), node(true)}, nil, "does not know this Ray node"},
		"unknown to the GCS":      {nil, []client.Object{w1(), node(true)}, nil, "does not know this Ray node"},
		"autoscaler in the head":  {[]*autoscalerpb.NodeState{raylet(1, "w1", idle)}, []client.Object{w1(), node(true)}, sidecar("5"), "still runs in head pod a-head"},
		"autoscaler in the spec":  {[]*autoscalerpb.NodeState{raylet(1, "w1", idle)}, []client.Object{w1(), node(true)}, func(r *removal) { r.edit(-1, "enableInTreeAutoscaling", true) }, "Ray's own autoscaler is live"},
		"suspended":               {[]*autoscalerpb.NodeState{raylet(1, "w1", idle)}, []client.Object{w1(), node(true)}, func(r *removal) { r.edit(-1, "idleSuspend", true) }, "suspended"},
		"head not ready":          {nil, []client.Object{w1(), node(true)}, func(r *removal) { require.NoError(r.t, r.Delete(r.t.Context(), pod("a", "a-head", "head", ""))) }, "no head pod is ready"},
		"an inert sidecar is nil": {[]*autoscalerpb.NodeState{raylet(1, "w1", idle)}, []client.Object{w1(), node(true)}, sidecar("2147483647"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRemoval(t, c.nodes, c.objects...)
			if c.change != nil {
				c.change(r)
			}
			err := r.a.Drain(t.Context(), drainStep(), "p")
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, demand.ErrMoved)
			require.ErrorContains(t, err, c.want)
			assert.Empty(t, r.gcs.Drains(), "the GCS is not asked")
			assert.Empty(t, r.gcs.Preempted())
		})
	}
}

// Fault 35: somebody else deletes the Machine under a busy Ray node: it is told by
// when it must be gone.
func TestDrainByPreemption(t *testing.T) {
	t.Parallel()
	r := newRemoval(t, []*autoscalerpb.NodeState{raylet(1, "w1", running)}, worker("gpu", "w1", "10.0.0.1", "n1"), node(true))
	step := drainStep()
	step.Drain = planner.DrainPreemption
	require.Error(t, r.a.Drain(t.Context(), step, "p"), "without a deadline it is no step")
	step.DrainBy = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	require.NoError(t, r.a.Drain(t.Context(), step, "p"))
	require.Len(t, r.gcs.Drains(), 1)
	assert.Equal(t, step.DrainBy.UnixMilli(), r.gcs.Drains()[0].GetDeadlineTimestampMs())
	require.NoError(t, r.a.Drain(t.Context(), step, "p"))
	assert.Len(t, r.gcs.Drains(), 1, "a draining node is not asked again")

	r.edit(-1, "enableInTreeAutoscaling", true)
	r.gcs.SetState(&autoscalerpb.ClusterResourceState{NodeStates: []*autoscalerpb.NodeState{raylet(1, "w1", running)}})
	a := demand.NewActuator(demand.ActuatorOptions{Reader: r.world, Writer: r.world, DefaultMode: "auto", Timeout: time.Minute})
	require.NoError(t, a.Drain(t.Context(), step, "p"), "also in follow mode")
	step.Drain = planner.DrainIdle
	assert.ErrorIs(t, a.Drain(t.Context(), step, "p"), demand.ErrMoved, "where Ray itself ends idle nodes")
}

func TestDrainOnAnOldRay(t *testing.T) {
	t.Parallel()
	r := newRemoval(t, []*autoscalerpb.NodeState{raylet(1, "w1", idle)}, worker("gpu", "w1", "10.0.0.1", "n1"), node(true))
	r.gcs.SetDrainFailure(status.Error(codes.Unimplemented, "unknown method DrainNode"))
	err := r.a.Drain(t.Context(), drainStep(), "p")
	require.ErrorIs(t, err, gcs.ErrUnsupported)
	require.ErrorContains(t, err, "older than 2.7")
	for name, bad := range map[string]func(*planner.Step){
		"kind": func(s *planner.Step) { s.Kind = planner.StepCordon }, "pods": func(s *planner.Step) { s.Pods = nil },
		"reason": func(s *planner.Step) { s.Drain = "UNSPECIFIED" }, "id": func(s *planner.Step) { s.RayNode = "abc" },
		"node": func(s *planner.Step) { s.Node = "" }, "uid": func(s *planner.Step) { s.Pods = []planner.PodRef{{Namespace: "ml", Name: "w1"}} },
	} {
		step := drainStep()
		bad(&step)
		err := r.a.Drain(t.Context(), step, "p")
		require.Error(t, err, name)
		require.NotErrorIs(t, err, demand.ErrMoved, name)
	}
}

func shrinkStep(from, to int64, names ...string) planner.Step {
	s := planner.Step{Kind: planner.StepShrinkWorkers, RayCluster: "ml/a", WorkerGroup: "gpu", From: from, To: to}
	for _, n := range names {
		s.Pods = append(s.Pods, ref(n))
	}
	return s
}

func TestShrinkWorkersInOnePatch(t *testing.T) {
	t.Parallel()
	r := newRemoval(t, []*autoscalerpb.NodeState{raylet(1, "w1", dead), raylet(2, "w2", running)},
		worker("gpu", "w1", "10.0.0.1", "n1"), worker("gpu", "w2", "10.0.0.2", "n2"))
	require.NoError(t, r.a.ShrinkWorkers(t.Context(), shrinkStep(2, 1, "w1")))
	g := r.cluster().WorkerGroups[1]
	assert.Equal(t, int64(1), g.Replicas)
	assert.Equal(t, []string{"w1"}, g.WorkersToDelete)
	require.Len(t, r.patches, 1)
	var ops []map[string]any
	require.NoError(t, json.Unmarshal([]byte(r.patches[0]), &ops))
	words := make([]string, 0, len(ops))
	for _, op := range ops {
		words = append(words, op["op"].(string)+" "+op["path"].(string))
	}
	assert.Equal(t, []string{
		"test /metadata/resourceVersion", "test /spec/workerGroupSpecs/1/groupName", "test /spec/workerGroupSpecs/1/replicas",
		"add /spec/workerGroupSpecs/1/replicas", "add /spec/workerGroupSpecs/1/scaleStrategy",
	}, words)
	require.NoError(t, r.a.ShrinkWorkers(t.Context(), shrinkStep(2, 1, "w1")), "it was taken already")
	assert.Len(t, r.patches, 1)

	// Somebody overwrites the replicas, as an operator that takes the whole spec
	// from elsewhere does: they are lowered again, and the name is there once.
	r.edit(1, "replicas", int64(2))
	require.NoError(t, r.a.ShrinkWorkers(t.Context(), shrinkStep(2, 1, "w1")))
	assert.Equal(t, int64(1), r.cluster().WorkerGroups[1].Replicas)
	assert.Equal(t, []string{"w1"}, r.cluster().WorkerGroups[1].WorkersToDelete)
}

func TestShrinkWorkersRefuses(t *testing.T) {
	t.Parallel()
	foreign := pod("b", "f1", "worker", "10.0.0.9")
	foreign.Labels["ray.io/group"], foreign.Labels["ray.io/cluster"] = "gpu", "a"
	for name, c := range map[string]struct {
		step   planner.Step
		change func(*removal)
		want   string
	}{
		"its Ray node works":             {shrinkStep(2, 1, "busy"), nil, "is RUNNING, not DEAD"},
		"its Ray node is idle, not dead": {shrinkStep(2, 1, "idle"), nil, "is IDLE, not DEAD"},
		// Fault 10: a head that has just restarted knows nobody, and unknown is not dead.
		"unknown to the GCS": {shrinkStep(2, 1, "joining"), nil, "counts as working"},
		// Fault 19: the container came back as a new raylet after its drain.
		"a second raylet lives":    {shrinkStep(2, 1, "twice"), nil, "is RUNNING, not DEAD"},
		"one lives at its address": {shrinkStep(2, 1, "address"), nil, "is IDLE, not DEAD"},
		"another group":            {shrinkStep(2, 1, "other"), nil, `is of worker group "cpu"`},
		"the head":                 {shrinkStep(2, 1, "a-head"), nil, "is the head"},
		"another cluster's":        {shrinkStep(2, 1, "f1"), nil, "none of this cluster"},
		"gone":                     {shrinkStep(2, 1, "none"), nil, "is gone"},
		// Fault 21: a pod of the same name was made meanwhile.
		"another UID": {func() planner.Step {
			s := shrinkStep(2, 1, "dead")
			s.Pods[0].UID = "former"
			return s
		}(), nil, "is another one now"},
		"below min":        {shrinkStep(2, 0, "dead", "dead2"), nil, "below minReplicas 1"},
		"not their number": {shrinkStep(2, 1, "dead", "dead2"), nil, "do not take 2 replicas to 1"},
		// Fault 34: somebody else has changed the replicas.
		"replicas moved":  {shrinkStep(3, 2, "dead"), nil, "replicas is 2, not 3"},
		"above max":       {shrinkStep(9, 8, "dead"), func(r *removal) { r.edit(1, "replicas", int64(9)) }, "do not take 4 replicas to 8"},
		"autoscaler live": {shrinkStep(2, 1, "dead"), func(r *removal) { r.edit(-1, "enableInTreeAutoscaling", true) }, "autoscaler is live"},
		"group gone":      {shrinkStep(2, 1, "dead"), func(r *removal) { r.edit(1, "groupName", "x") }, "no such worker group"},
		"group suspended": {shrinkStep(2, 1, "dead"), func(r *removal) { r.edit(1, "suspend", true) }, "group is suspended"},
		// Fault 36: a write between the reads and the patch makes the patch fail, and nothing is tried again.
		"a write between": {shrinkStep(2, 1, "dead"), func(r *removal) { r.between = func() { r.edit(1, "maxReplicas", int64(7)) } }, "precondition moved"},
		// Fault 37: the answer of the API server does not arrive, so the outcome is unknown.
		"no answer": {shrinkStep(2, 1, "dead"), func(r *removal) { r.patchErr = context.DeadlineExceeded }, "deadline exceeded"},
		// Fault 2: the GCS does not answer in time.
		"no GCS": {shrinkStep(2, 1, "dead"), func(r *removal) { r.gcs.Stop() }, "GCS unreachable"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRemoval(t, []*autoscalerpb.NodeState{
				raylet(1, "dead", dead), raylet(2, "dead2", dead), raylet(3, "busy", running), raylet(4, "idle", idle),
				raylet(5, "twice", dead), raylet(6, "twice", running), raylet(7, "address", dead),
				{NodeId: bytes.Repeat([]byte{8}, 28), Status: idle, NodeIpAddress: "10.0.0.7"},
				raylet(9, "other", dead),
			},
				worker("gpu", "dead", "10.0.0.1", "n1"), worker("gpu", "dead2", "10.0.0.2", "n1"), worker("gpu", "busy", "10.0.0.3", "n1"),
				worker("gpu", "idle", "10.0.0.4", "n1"), worker("gpu", "joining", "10.0.0.5", "n1"), worker("gpu", "twice", "10.0.0.6", "n1"),
				worker("gpu", "address", "10.0.0.7", "n1"), worker("cpu", "other", "10.0.0.8", "n1"), foreign.DeepCopy())
			if c.change != nil {
				c.change(r)
			}
			before := r.cluster().WorkerGroups
			err := r.a.ShrinkWorkers(t.Context(), c.step)
			require.ErrorContains(t, err, c.want)
			after := r.cluster().WorkerGroups
			for i := range after {
				assert.Equal(t, before[i].Replicas, after[i].Replicas)
				assert.Equal(t, before[i].WorkersToDelete, after[i].WorkersToDelete)
			}
			unknown := name == "no answer" || name == "no GCS"
			assert.Equal(t, !unknown, errors.Is(err, demand.ErrMoved))
			if name != "a write between" && name != "no answer" {
				assert.Empty(t, r.patches)
			}
		})
	}
}

func TestShrinkWorkersTakesBackWhatNeverRan(t *testing.T) {
	t.Parallel()
	r := newRemoval(t, nil, worker("gpu", "w1", "", ""))
	r.gcs.Stop()
	require.NoError(t, r.a.ShrinkWorkers(t.Context(), shrinkStep(2, 1, "w1")), "a pod that no Node ever had needs no GCS")
	assert.Equal(t, []string{"w1"}, r.cluster().WorkerGroups[1].WorkersToDelete)
}

func TestShrinkWorkersOfSeveralHosts(t *testing.T) {
	t.Parallel()
	host := func(name, replica string) *corev1.Pod {
		p := worker("multi", name, "", "n1")
		if replica != "" {
			p.Labels["ray.io/worker-group-replica-name"] = replica
		}
		return p
	}
	states := []*autoscalerpb.NodeState{raylet(1, "a0", dead), raylet(2, "a1", dead), raylet(3, "b0", dead), raylet(4, "b1", running), raylet(5, "x", dead), raylet(6, "y", dead)}
	step := func(names ...string) planner.Step {
		s := shrinkStep(2, 1, names...)
		s.WorkerGroup = "multi"
		return s
	}
	r := newRemoval(t, states, host("a0", "a"), host("a1", "a"), host("b0", "b"), host("b1", "b"), host("x", ""), host("y", ""))
	for want, s := range map[string]planner.Step{
		"1 pods of 2 hosts":                          step("a0"),
		"has 2 pods of 2, and 1 of them are named":   step("a0", "b0"),
		"is RUNNING, not DEAD":                       step("b0", "b1"),
		"do not tell which replica they belong to":   step("x", "y"),
		"4 pods of 2 hosts a replica do not take 2 ": step("a0", "a1", "b0", "b1"),
	} {
		err := r.a.ShrinkWorkers(t.Context(), s)
		require.ErrorIs(t, err, demand.ErrMoved)
		require.ErrorContains(t, err, want)
	}
	require.NoError(t, r.a.ShrinkWorkers(t.Context(), step("a0", "a1")))
	g := r.cluster().WorkerGroups[2]
	assert.Equal(t, int64(1), g.Replicas, "counted in replicas")
	assert.Equal(t, []string{"a0", "a1", "old"}, g.WorkersToDelete, "names of others stay")
}

func TestClearWorkers(t *testing.T) {
	t.Parallel()
	cleared := func(group string, pods ...planner.PodRef) planner.Step {
		return planner.Step{Kind: planner.StepClearWorkers, RayCluster: "ml/a", WorkerGroup: group, Pods: pods}
	}
	r := newRemoval(t, nil, worker("multi", "new", "", "n1"))
	r.edit(2, "scaleStrategy", map[string]any{"workersToDelete": []any{"old", "new", "older"}})
	err := r.a.ClearWorkers(t.Context(), cleared("multi", planner.PodRef{Namespace: "ml", Name: "new"}))
	require.ErrorIs(t, err, demand.ErrMoved)
	require.ErrorContains(t, err, "still there")
	require.NoError(t, r.a.ClearWorkers(t.Context(), cleared("multi", ref("old"), planner.PodRef{Namespace: "ml", Name: "older"})))
	assert.Equal(t, []string{"new"}, r.cluster().WorkerGroups[2].WorkersToDelete)
	require.NoError(t, r.a.ClearWorkers(t.Context(), cleared("multi", ref("old"))), "it is not there any more")
	require.Len(t, r.patches, 1)
	// A namesake must not be deleted for a pod that is gone.
	require.NoError(t, r.a.ClearWorkers(t.Context(), cleared("multi", planner.PodRef{Namespace: "ml", Name: "new", UID: "former"})))
	assert.Empty(t, r.cluster().WorkerGroups[2].WorkersToDelete)
	assert.Contains(t, r.patches[1], `"value":[]`)
	require.ErrorIs(t, r.a.ClearWorkers(t.Context(), cleared("none", ref("old"))), demand.ErrMoved)
	require.NotErrorIs(t, r.a.ClearWorkers(t.Context(), cleared("multi")), demand.ErrMoved)
}

func TestReplaceWorker(t *testing.T) {
	t.Parallel()
	step := func(name string) planner.Step {
		return planner.Step{Kind: planner.StepReplaceWorker, RayCluster: "ml/a", WorkerGroup: "gpu", Pods: []planner.PodRef{ref(name)}}
	}
	r := newRemoval(t, []*autoscalerpb.NodeState{raylet(1, "zombie", dead), raylet(2, "busy", running), raylet(3, "late", dead)},
		worker("gpu", "zombie", "10.0.0.1", "n1"), worker("gpu", "busy", "10.0.0.2", "n1"), worker("gpu", "joining", "10.0.0.3", "n1"),
		worker("gpu", "unbound", "", ""), worker("gpu", "late", "10.0.0.4", "n1"))
	for name, want := range map[string]string{"busy": "not DEAD", "joining": "counts as working", "unbound": "never bound", "none": "is gone"} {
		err := r.a.ReplaceWorker(t.Context(), step(name))
		require.ErrorIs(t, err, demand.ErrMoved)
		require.ErrorContains(t, err, want)
	}
	assert.Empty(t, r.deletes)
	require.NoError(t, r.a.ReplaceWorker(t.Context(), step("zombie")))
	assert.Equal(t, []string{"zombie"}, r.deletes)
	assert.Equal(t, int64(2), r.cluster().WorkerGroups[1].Replicas, "replicas stay, so that the operator makes a fresh pod")
	assert.Empty(t, r.patches)

	// A namesake takes the pod's place between the reads and the deletion.
	r.between = func() {
		require.NoError(t, r.Delete(t.Context(), worker("gpu", "late", "", "")))
		again := worker("gpu", "late", "10.0.0.4", "n1")
		again.UID = "fresh"
		require.NoError(t, r.Create(t.Context(), again))
	}
	require.ErrorIs(t, r.a.ReplaceWorker(t.Context(), step("late")), demand.ErrMoved)
	assert.Equal(t, []string{"zombie"}, r.deletes)
}

// Fault 60: the token is missing, wrong or rotated: nothing is known of the Ray
// nodes, so nothing is taken away, and the file is read again for every step.
func TestNothingIsTakenWithoutTheRightToken(t *testing.T) {
	t.Parallel()
	r := newRemoval(t, []*autoscalerpb.NodeState{raylet(1, "w1", dead)}, worker("gpu", "w1", "10.0.0.1", "n1"))
	r.gcs.SetToken("secret")
	err := r.a.ShrinkWorkers(t.Context(), shrinkStep(2, 1, "w1"))
	require.ErrorIs(t, err, gcs.ErrUnauthenticated)
	assert.Equal(t, int64(2), r.cluster().WorkerGroups[1].Replicas)
}
