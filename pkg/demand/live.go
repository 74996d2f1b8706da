package demand

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// liveCluster is a RayCluster as the API server has it now.
type liveCluster struct {
	object *unstructured.Unstructured
	cluster
}

// liveGroup is a worker group of it, with its place in the object.
type liveGroup struct {
	*planner.WorkerGroup

	index int
	// hasReplicas and hasStrategy tell whether the object has these fields: a
	// JSON patch may test and replace only what is there.
	hasReplicas, hasStrategy bool
}

// cluster reads a RayCluster, named namespace/name, from the API server. One that
// is gone has moved.
func (a *Actuator) cluster(ctx context.Context, key string) (*liveCluster, error) {
	namespace, name, _ := strings.Cut(key, "/")
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(RayClusterKind())
	if err := a.o.Reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, u); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, moved("the RayCluster is gone")
		}
		return nil, fmt.Errorf("reading it: %w", err)
	}
	return &liveCluster{object: u, cluster: clusterOf(u, a.o.DefaultMode)}, nil
}

// leads tells why the cluster's pods are none of ours to decide about.
func (l *liveCluster) leads() error {
	switch {
	case l.Invalid != "":
		return moved("%s", l.Invalid)
	case l.Mode != planner.ModeLead:
		return moved("its mode is %s, not lead", l.Mode)
	case l.Suspended:
		return moved("it is suspended or being deleted")
	}
	return nil
}

// group finds a worker group, whatever its state.
func (l *liveCluster) group(name string) (*liveGroup, error) {
	specs, _, _ := unstructured.NestedSlice(l.object.Object, "spec", "workerGroupSpecs")
	for i := range l.WorkerGroups {
		if l.WorkerGroups[i].Name != name || i >= len(specs) {
			continue
		}
		g := &liveGroup{WorkerGroup: &l.WorkerGroups[i], index: i}
		if spec, ok := specs[i].(map[string]any); ok {
			_, g.hasReplicas = spec["replicas"]
			strategy, isObject := spec["scaleStrategy"].(map[string]any)
			g.hasStrategy = isObject && strategy != nil
		}
		return g, nil
	}
	return nil, moved("it has no such worker group")
}

// leadGroup finds the step's worker group, or tells why its replicas must not be
// changed from what the step was planned from.
func (l *liveCluster) leadGroup(step planner.Step) (*liveGroup, error) {
	if err := l.leads(); err != nil {
		return nil, err
	}
	g, err := l.group(step.WorkerGroup)
	switch {
	case err != nil:
		return nil, err
	case g.Invalid != "":
		return nil, moved("%s", g.Invalid)
	case g.Suspended:
		return nil, moved("the group is suspended")
	case g.Replicas != step.From:
		return nil, moved("replicas is %d, not %d as planned from", g.Replicas, step.From)
	}
	return g, nil
}

// path tests a field of the group.
func (g *liveGroup) path(field string, want any) []patchOp {
	return []patchOp{{Op: "test", Path: fmt.Sprintf("/spec/workerGroupSpecs/%d/%s", g.index, field), Value: want}}
}

// replicas sets the replicas, provided that they still are what was read. It is
// added, not replaced, because it may be absent.
func (g *liveGroup) replicas(to int64) []patchOp {
	ops := []patchOp{{Op: "add", Path: fmt.Sprintf("/spec/workerGroupSpecs/%d/replicas", g.index), Value: to}}
	if g.hasReplicas {
		return append(g.path("replicas", g.Replicas), ops...)
	}
	return ops
}

// workersToDelete sets the names of the workers that the operator deletes.
func (g *liveGroup) workersToDelete(names []string) []patchOp {
	at := fmt.Sprintf("/spec/workerGroupSpecs/%d/scaleStrategy", g.index)
	if g.hasStrategy {
		return []patchOp{{Op: "add", Path: at + "/workersToDelete", Value: names}}
	}
	return []patchOp{{Op: "add", Path: at, Value: map[string]any{"workersToDelete": names}}}
}

// hosts is how many pods make one replica.
func (g *liveGroup) hosts() int64 { return max(1, g.NumOfHosts) }

// clamped is the number of replicas that the operator takes the object to mean.
func (g *liveGroup) clamped() int64 { return max(g.Min, min(g.Replicas, g.Max)) }

// livePods lists the pods of the cluster from the API server. A label can be put
// on any pod, so the owner reference decides.
func (a *Actuator) livePods(ctx context.Context, l *liveCluster) ([]corev1.Pod, error) {
	var list corev1.PodList
	if err := a.o.Reader.List(ctx, &list, client.InNamespace(l.Namespace), client.MatchingLabels{labelCluster: l.Name}); err != nil {
		return nil, fmt.Errorf("listing its pods: %w", err)
	}
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool {
		owner := metav1.GetControllerOfNoCopy(&p)
		return owner == nil || owner.Kind != RayClusterKind().Kind || string(owner.UID) != l.UID
	}), nil
}

// workerPod finds a pod by name and UID among those of the cluster.
func workerPod(pods []corev1.Pod, ref planner.PodRef) (*corev1.Pod, error) {
	if ref.UID == "" {
		return nil, fmt.Errorf("pod %s/%s is named without its UID", ref.Namespace, ref.Name)
	}
	for i := range pods {
		p := &pods[i]
		if p.Name != ref.Name || p.Namespace != ref.Namespace {
			continue
		}
		switch {
		case string(p.UID) != ref.UID:
			return nil, moved("pod %s is another one now", ref.Name)
		case p.Labels[labelNodeType] == nodeTypeHead:
			return nil, moved("pod %s is the head", ref.Name)
		}
		return p, nil
	}
	return nil, moved("pod %s is gone, or none of this cluster", ref.Name)
}

// raylets is what the GCS said a moment ago, and the way to talk to it.
type raylets struct {
	gcs   Drainer
	state State
}

// raylets reads the cluster's GCS, at the head pod. The caller closes it.
func (a *Actuator) raylets(ctx context.Context, l *liveCluster, list []corev1.Pod) (*raylets, error) {
	found := &pods{byCluster: map[string][]rayPod{}}
	for i := range list {
		found.byCluster[l.UID] = append(found.byCluster[l.UID], rayPodOf(&list[i]))
	}
	if why := found.liveAutoscaler(&l.cluster); l.Mode == planner.ModeLead && why != "" {
		return nil, moved("%s", why)
	}
	h, ok := found.head(&l.cluster, nil)
	if !ok {
		return nil, moved("no head pod is ready")
	}
	conn, err := a.o.Dial(dialOptions(&l.cluster, h, a.o.Credentials, a.o.Timeout))
	if err != nil {
		return nil, err
	}
	in, err := conn.State(ctx)
	if err == nil && in == nil {
		err = errors.New("the GCS answered without a state")
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &raylets{gcs: conn, state: Convert(in, DefaultLimits())}, nil
}

// close ends the connection; what was read or written stands.
func (r *raylets) close() { _ = r.gcs.Close() }

// of lists the raylets of a pod: those that carry its name, and those that live
// at its address.
func (r *raylets) of(p *corev1.Pod) []planner.RayNode {
	var out []planner.RayNode
	for _, n := range r.state.RayNodes {
		at := r.state.Addresses[n.ID]
		if n.Pod == p.Name || n.Status != planner.RayNodeDead && p.Status.PodIP != "" && at == p.Status.PodIP {
			out = append(out, n)
		}
	}
	return out
}

// dead tells why a pod must be taken for one that may still work: the GCS does
// not know its raylet (it joins, or the head has just restarted), or one lives.
func (r *raylets) dead(p *corev1.Pod) error {
	of := r.of(p)
	if len(of) == 0 {
		return moved("the GCS does not know the Ray node of pod %s, so it counts as working", p.Name)
	}
	for _, n := range of {
		if n.Status != planner.RayNodeDead {
			return moved("Ray node %s of pod %s is %s, not DEAD", n.ID, p.Name, n.Status)
		}
	}
	return nil
}
