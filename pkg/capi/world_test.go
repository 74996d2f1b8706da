package capi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

const (
	testNamespace = "pools"
	testCluster   = "gpu"
	testPlan      = "plan-7"
)

var testTime = time.Unix(1_790_000_000, 0).UTC()

func testScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	require.NoError(t, clientgoscheme.AddToScheme(s))
	require.NoError(t, clusterv1.AddToScheme(s))
	return s
}

// world is one fake API server for both roles. Its scale subresource behaves as
// that of a custom resource does.
type world struct {
	client.WithWatch
	// onWrite, if set, is called before every write with its number and a name
	// such as "patch Machine a"; an error is returned in place of the write.
	onWrite func(n int, what string) error
	// afterWrite is called after a write that succeeded; an error hides that.
	afterWrite func(n int, what string) error
	// budget tells whether a disruption budget forbids to evict the pod.
	budget func(*corev1.Pod) bool
	writes []string
	reads  []string
}

func newWorld(t *testing.T, objects ...client.Object) *world {
	t.Helper()
	w := &world{}
	w.WithWatch = fake.NewClientBuilder().WithScheme(testScheme(t)).WithObjects(objects...).
		WithIndex(&corev1.Pod{}, "spec.nodeName", func(o client.Object) []string { return []string{o.(*corev1.Pod).Spec.NodeName} }).
		WithInterceptorFuncs(interceptor.Funcs{
			Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
				w.reads = append(w.reads, fmt.Sprintf("get %T %s", o, key.Name))
				return c.Get(ctx, key, o, opts...)
			},
			Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
				return w.write(fmt.Sprintf("patch %T %s", o, o.GetName()), func() error { return c.Patch(ctx, o, p, opts...) })
			},
			SubResourceCreate: func(ctx context.Context, c client.Client, sub string, o, body client.Object, _ ...client.SubResourceCreateOption) error {
				return w.write(sub+" "+o.GetName(), func() error { return w.evict(ctx, c, o, body) })
			},
			SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, o client.Object, opts ...client.SubResourceUpdateOption) error {
				if sub != "scale" {
					return c.SubResource(sub).Update(ctx, o, opts...)
				}
				return w.write(sub+" "+o.GetName(), func() error { return updateScale(ctx, c, o, opts) })
			},
		}).Build()
	return w
}

func (w *world) write(what string, do func() error) error {
	n := len(w.writes)
	w.writes = append(w.writes, what)
	if w.onWrite != nil {
		if err := w.onWrite(n, what); err != nil {
			return err
		}
	}
	if err := do(); err != nil {
		return err
	}
	if w.afterWrite != nil {
		return w.afterWrite(n, what)
	}
	return nil
}

func updateScale(ctx context.Context, c client.Client, o client.Object, opts []client.SubResourceUpdateOption) error {
	var so client.SubResourceUpdateOptions
	so.ApplyOptions(opts)
	scale, ok := so.SubResourceBody.(*autoscalingv1.Scale)
	if !ok {
		return apierrors.NewBadRequest("no Scale")
	}
	md := &clusterv1.MachineDeployment{}
	if err := c.Get(ctx, client.ObjectKeyFromObject(o), md); err != nil {
		return err
	}
	if scale.ResourceVersion != "" && scale.ResourceVersion != md.ResourceVersion {
		return apierrors.NewConflict(schema.GroupResource{Resource: "machinedeployments"}, md.Name, fmt.Errorf("resourceVersion %s is not %s", scale.ResourceVersion, md.ResourceVersion))
	}
	md.Spec.Replicas = new(scale.Spec.Replicas)
	if err := c.Update(ctx, md); err != nil {
		return err
	}
	scale.ResourceVersion = md.ResourceVersion // the answer
	return nil
}

// evict does what the API server does with an eviction: it holds preconditions
// and disruption budgets, and then deletes the pod.
func (w *world) evict(ctx context.Context, c client.Client, o, body client.Object) error {
	eviction, ok := body.(*policyv1.Eviction)
	if !ok || eviction.Name != o.GetName() || eviction.DeleteOptions == nil || eviction.DeleteOptions.Preconditions == nil {
		return apierrors.NewBadRequest("no Eviction with preconditions")
	}
	p := &corev1.Pod{}
	if err := c.Get(ctx, client.ObjectKeyFromObject(o), p); err != nil {
		return err
	}
	must := eviction.DeleteOptions.Preconditions
	if must.UID == nil || *must.UID != p.UID || must.ResourceVersion == nil || *must.ResourceVersion != p.ResourceVersion {
		return apierrors.NewConflict(schema.GroupResource{Resource: "pods"}, p.Name, errors.New("a precondition failed"))
	}
	if w.budget != nil && w.budget(p) {
		err := apierrors.NewTooManyRequests("the pod's disruption budget does not allow it", 0)
		err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: policyv1.DisruptionBudgetCause, Message: "needs 1 healthy pod and has 1 currently"})
		return err
	}
	return c.Delete(ctx, p)
}

func (w *world) actuator() *Actuator {
	return NewActuator(ActuatorOptions{Management: w, Workload: w, Namespace: testNamespace, ClusterName: testCluster})
}

// replicas of the MachineDeployment a.
func (w *world) replicas(t *testing.T) int32 {
	t.Helper()
	md := &clusterv1.MachineDeployment{}
	require.NoError(t, w.Get(t.Context(), client.ObjectKey{Namespace: testNamespace, Name: "a"}, md))
	require.NotNil(t, md.Spec.Replicas)
	return *md.Spec.Replicas
}

func (w *world) machine(t *testing.T, name string) *clusterv1.Machine {
	t.Helper()
	m := &clusterv1.Machine{}
	require.NoError(t, w.Get(t.Context(), client.ObjectKey{Namespace: testNamespace, Name: name}, m))
	return m
}

// markedMachines lists the Machines that carry Cluster API's delete mark.
func (w *world) markedMachines(t *testing.T) []string {
	t.Helper()
	var list clusterv1.MachineList
	require.NoError(t, w.List(t.Context(), &list))
	out := []string{}
	for i := range list.Items {
		if _, ok := list.Items[i].Annotations[clusterv1.DeleteMachineAnnotation]; ok {
			out = append(out, list.Items[i].Name)
		}
	}
	return out
}

func (w *world) node(t *testing.T, name string) *corev1.Node {
	t.Helper()
	n := &corev1.Node{}
	require.NoError(t, w.Get(t.Context(), client.ObjectKey{Name: name}, n))
	return n
}

func change[T client.Object](t *testing.T, w *world, o T, edit func(T)) {
	t.Helper()
	require.NoError(t, w.Get(t.Context(), client.ObjectKeyFromObject(o), o))
	edit(o)
	require.NoError(t, w.Update(t.Context(), o))
}

func cluster(edits ...func(*clusterv1.Cluster)) *clusterv1.Cluster {
	c := &clusterv1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: testCluster, UID: "cluster"}}
	for _, edit := range edits {
		edit(c)
	}
	return c
}

func deployment(name string, replicas int32, edits ...func(*clusterv1.MachineDeployment)) *clusterv1.MachineDeployment {
	md := &clusterv1.MachineDeployment{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: testNamespace, Name: name, UID: types.UID("md-" + name), ResourceVersion: "",
			Annotations: map[string]string{clusterv1.AutoscalerMinSizeAnnotation: "0", clusterv1.AutoscalerMaxSizeAnnotation: "10"},
		},
		Spec: clusterv1.MachineDeploymentSpec{ClusterName: testCluster, Replicas: new(replicas)},
	}
	for _, edit := range edits {
		edit(md)
	}
	return md
}

func annotated(kv ...string) func(*clusterv1.MachineDeployment) {
	return func(md *clusterv1.MachineDeployment) {
		for i := 0; i < len(kv); i += 2 {
			md.Annotations[kv[i]] = kv[i+1]
		}
	}
}

func machineSet(name, of string, replicas int32) *clusterv1.MachineSet {
	return &clusterv1.MachineSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: name, UID: types.UID("ms-" + name), OwnerReferences: []metav1.OwnerReference{
			{APIVersion: clusterv1.GroupVersion.String(), Kind: "MachineDeployment", Name: of, UID: types.UID("md-" + of), Controller: new(true)},
		}},
		Spec: clusterv1.MachineSetSpec{ClusterName: testCluster, Replicas: new(replicas)},
	}
}

func machine(name, set, node string, edits ...func(*clusterv1.Machine)) *clusterv1.Machine {
	m := &clusterv1.Machine{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: testNamespace, Name: name, UID: types.UID("m-" + name), CreationTimestamp: metav1.NewTime(testTime),
			Labels: map[string]string{clusterv1.MachineDeploymentNameLabel: set},
			OwnerReferences: []metav1.OwnerReference{
				{APIVersion: clusterv1.GroupVersion.String(), Kind: "MachineSet", Name: set, UID: types.UID("ms-" + set), Controller: new(true)},
			},
		},
		Spec:   clusterv1.MachineSpec{ClusterName: testCluster},
		Status: clusterv1.MachineStatus{NodeRef: clusterv1.MachineNodeReference{Name: node}},
	}
	for _, edit := range edits {
		edit(m)
	}
	return m
}

func deleting(m *clusterv1.Machine) {
	m.Finalizers = []string{"test/hold"}
	m.DeletionTimestamp = new(metav1.NewTime(testTime))
}

func node(name string, allocatable corev1.ResourceList, edits ...func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("n-" + name), Labels: map[string]string{corev1.LabelHostname: name}},
		Status: corev1.NodeStatus{
			Allocatable: allocatable,
			Conditions:  []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	}
	for _, edit := range edits {
		edit(n)
	}
	return n
}

func cordoned(n *corev1.Node) {
	n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{
		Key: planner.CordonTaint, Value: "plan-6." + strconv.FormatInt(testTime.Unix(), 10), Effect: corev1.TaintEffectNoSchedule,
	})
}

func pod(name, on string, edits ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "jobs", Name: name, UID: types.UID("p-" + name)},
		Spec:       corev1.PodSpec{NodeName: on},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning},
	}
	for _, edit := range edits {
		edit(p)
	}
	return p
}

func controlledBy(apiVersion, kind, name string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: apiVersion, Kind: kind, Name: name, UID: types.UID(kind + "-" + name), Controller: new(true)}}
	}
}

func requesting(list corev1.ResourceList) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers = []corev1.Container{{Name: "main", Resources: corev1.ResourceRequirements{Requests: list}}}
	}
}

func amounts(kv ...string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for pair := range slices.Chunk(kv, 2) {
		out[corev1.ResourceName(pair[0])] = resource.MustParse(pair[1])
	}
	return out
}
