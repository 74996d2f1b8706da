package scenario

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tandem-autoscaler/tandem/lab/report"
)

// ErrNoTarget tells that what a fault is meant for is not there (yet).
var ErrNoTarget = errors.New("there is nothing to do this to")

// faultPatience is how long a fault waits for something to happen to.
const faultPatience = 30 * time.Second

// runFault waits for a fault's moment and injects it.
func (r *Run) runFault(ctx context.Context, f *Fault) {
	if f.At != nil {
		if !wait(ctx, f.At.Duration) {
			return
		}
	} else if !waitUntil(ctx, func() bool { return r.happened(f.AfterEvent) }) {
		return
	}
	if !wait(ctx, f.Delay.Duration) {
		return
	}
	var target string
	var err error
	patience, cancel := context.WithTimeout(ctx, faultPatience)
	defer cancel()
	waitUntil(patience, func() bool {
		target, err = r.Inject(ctx, f)
		return !errors.Is(err, ErrNoTarget)
	})
	if ctx.Err() != nil && err != nil {
		return
	}
	r.o.Recorder.FaultInjected(time.Now(), f.Kind, target, err)
	if err != nil {
		r.fail("fault %s: %v", f.Kind, err)
		return
	}
	r.mu.Lock()
	r.faults++
	r.mu.Unlock()
}

// happened tells whether an event has taken place.
func (r *Run) happened(e *AfterEvent) bool {
	facts := r.o.Recorder.Facts()
	switch e.Event {
	case EventDriverStarted:
		return r.drivers[e.Driver].hasStarted()
	case EventDriverEnded:
		return r.drivers[e.Driver].hasEnded()
	case EventDriverPrinted:
		return r.drivers[e.Driver].printed(e.Text)
	case EventDemandVisible:
		return facts.Demand[e.RayCluster]
	case EventPatched:
		return count(facts.Raises, e.Pool) >= e.Count
	case EventShrunk:
		return count(facts.Lowers, e.Pool) >= e.Count
	case EventNodesReady:
		return facts.ReadyNodes[e.Pool] >= e.Count
	case EventPodsReady:
		return facts.ReadyPods[e.RayCluster] >= e.Count
	case EventNodeCordoned:
		return facts.Cordons >= e.Count
	case EventMachineMarked:
		return facts.Marks >= e.Count
	case EventCountedPods:
		return r.countedPods(r.background) >= e.Count
	}
	return false
}

// count is the number of one name, or of all if the name is empty.
func count(by map[string]int, name string) int {
	if name != "" {
		return by[name]
	}
	sum := 0
	for _, n := range by {
		sum += n
	}
	return sum
}

// Inject does at once what a fault says and tells to what. The error wraps
// [ErrNoTarget] if there is nothing to do it to.
func (r *Run) Inject(ctx context.Context, f *Fault) (string, error) {
	lab := r.o.Lab
	switch f.Kind {
	case FaultKillCoordinator:
		return "coordinator", r.killCoordinator(f)
	case FaultKillHead, FaultKillRaylet, FaultKillPod, FaultDeletePod:
		return r.injectPod(ctx, f)
	case FaultFailVMs:
		lab.FailVMs(f.Class, howMany(f.Count), f.Message)
		return f.Class, nil
	case FaultStickVMs:
		lab.StickVMs(f.Class, howMany(f.Count))
		return f.Class, nil
	case FaultHealVMs:
		lab.FailVMs(f.Class, 0, "")
		lab.StickVMs(f.Class, 0)
		return f.Class, nil
	case FaultDeleteMachine:
		return r.deleteMachine(ctx, f)
	case FaultLoseLease:
		return r.loseLease(ctx)
	case FaultRestartAPIServer:
		return f.Cluster, lab.RestartAPIServer(ctx, f.Cluster)
	case FaultPatchObject:
		return r.patchObject(ctx, f)
	case FaultDeleteRayCluster:
		return r.deleteRayCluster(ctx, f.RayCluster)
	}
	return "", fmt.Errorf("%q is not a kind of fault", f.Kind)
}

// howMany is a count, of which zero means all.
func howMany(n int) int {
	if n == 0 {
		return math.MaxInt32
	}
	return n
}

// injectPod does something to the first fitting pod by name.
func (r *Run) injectPod(ctx context.Context, f *Fault) (string, error) {
	pod, err := r.findPod(ctx, f)
	if err != nil {
		return f.RayCluster, err
	}
	key := pod.Namespace + "/" + pod.Name
	switch f.Kind {
	case FaultKillHead:
		r.o.Recorder.ExpectHeadEnd(pod.Namespace, pod.Name)
		return key, r.o.Lab.KillContainer(pod.Namespace, pod.Name)
	case FaultKillRaylet:
		return key, r.o.Lab.KillRaylet(pod.Namespace, pod.Name)
	case FaultKillPod:
		return key, r.o.Lab.KillContainer(pod.Namespace, pod.Name)
	case FaultDeletePod:
		if err := r.o.Lab.Workload().Delete(ctx, pod); err != nil {
			return key, fmt.Errorf("deleting pod %s: %w", key, err)
		}
	}
	return key, nil
}

func (r *Run) findPod(ctx context.Context, f *Fault) (*corev1.Pod, error) {
	cluster := r.o.Scenario.rayCluster(f.RayCluster)
	match := client.MatchingLabels{"ray.io/cluster": cluster.Name, "ray.io/node-type": "worker"}
	if f.Kind == FaultKillHead {
		match["ray.io/node-type"] = "head"
	} else if f.Group != "" {
		match["ray.io/group"] = f.Group
	}
	pods := &corev1.PodList{}
	if err := r.o.Lab.Workload().List(ctx, pods, client.InNamespace(cluster.Namespace), match); err != nil {
		return nil, fmt.Errorf("listing the pods of %s: %w", cluster.key(), err)
	}
	slices.SortFunc(pods.Items, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	for i := range pods.Items {
		p := &pods.Items[i]
		if p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp.IsZero() {
			return p, nil
		}
	}
	return nil, fmt.Errorf("no pod of %s runs: %w", cluster.key(), ErrNoTarget)
}

// deleteMachine deletes the first Machine of a pool, as a stranger would; with
// Busy the first whose node has Ray work.
func (r *Run) deleteMachine(ctx context.Context, f *Fault) (string, error) {
	pool := f.Pool
	machines := &unstructured.UnstructuredList{}
	machines.SetGroupVersionKind(clusterv1.GroupVersion.WithKind("MachineList"))
	err := r.o.Lab.Management().List(ctx, machines, client.InNamespace(r.o.Lab.Namespace()), client.MatchingLabels{clusterv1.MachineDeploymentNameLabel: pool})
	if err != nil {
		return pool, fmt.Errorf("listing the Machines of pool %s: %w", pool, err)
	}
	slices.SortFunc(machines.Items, func(a, b unstructured.Unstructured) int { return strings.Compare(a.GetName(), b.GetName()) })
	for i := range machines.Items {
		m := &machines.Items[i]
		if m.GetDeletionTimestamp() != nil || f.Busy && !r.o.Recorder.Busy(m.GetName()) {
			continue
		}
		r.o.Recorder.ExcuseMachine(time.Now(), m.GetName())
		if err := r.o.Lab.Management().Delete(ctx, m); err != nil {
			return m.GetName(), fmt.Errorf("deleting Machine %s: %w", m.GetName(), err)
		}
		return m.GetName(), nil
	}
	return pool, fmt.Errorf("pool %s has no fitting Machine: %w", pool, ErrNoTarget)
}

func (r *Run) patchObject(ctx context.Context, f *Fault) (string, error) {
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(schema.FromAPIVersionAndKind(f.Object.APIVersion, f.Object.Kind))
	o.SetNamespace(f.Object.Namespace)
	o.SetName(f.Object.Name)
	target := f.Object.Kind + " " + f.Object.Name
	if err := r.client(f.Cluster).Patch(ctx, o, client.RawPatch(types.MergePatchType, f.Patch.Raw)); err != nil {
		return target, fmt.Errorf("patching %s: %w", target, err)
	}
	return target, nil
}

func (r *Run) deleteRayCluster(ctx context.Context, key string) (string, error) {
	cluster := r.o.Scenario.rayCluster(key)
	o, err := cluster.object(r.o.Scenario.HeadPool)
	if err != nil {
		return key, err
	}
	pods := &corev1.PodList{}
	match := client.MatchingLabels{"ray.io/cluster": cluster.Name, "ray.io/node-type": "head"}
	if err := r.o.Lab.Workload().List(ctx, pods, client.InNamespace(cluster.Namespace), match); err != nil {
		return key, fmt.Errorf("listing the head of %s: %w", key, err)
	}
	for i := range pods.Items {
		r.o.Recorder.ExpectHeadEnd(pods.Items[i].Namespace, pods.Items[i].Name)
	}
	if err := r.o.Lab.Workload().Delete(ctx, o); err != nil {
		return key, fmt.Errorf("deleting RayCluster %s: %w", key, err)
	}
	return key, nil
}

// facts is short for what the recorder knows now.
func (r *Run) facts() report.Facts { return r.o.Recorder.Facts() }

// loseLease gives the coordinator's lease to somebody who never existed, for
// as long as a lease lasts.
func (r *Run) loseLease(ctx context.Context) (string, error) {
	lease := &coordinationv1.Lease{}
	key := client.ObjectKey{Namespace: leaseNamespace, Name: leaseName}
	target := leaseNamespace + "/" + leaseName
	if err := r.o.Lab.Workload().Get(ctx, key, lease); err != nil {
		if apierrors.IsNotFound(err) {
			return target, fmt.Errorf("there is no lease yet: %w", ErrNoTarget)
		}
		return target, fmt.Errorf("reading the lease: %w", err)
	}
	who, now := "somebody-else", metav1.NowMicro()
	lease.Spec.HolderIdentity, lease.Spec.RenewTime, lease.Spec.AcquireTime = &who, &now, &now
	if err := r.o.Lab.Workload().Update(ctx, lease); err != nil {
		if apierrors.IsConflict(err) {
			return target, fmt.Errorf("the lease was just renewed: %w", ErrNoTarget)
		}
		return target, fmt.Errorf("taking the lease: %w", err)
	}
	return target, nil
}

// countedPods is the number of running pods that carry [CountedLabel]; what
// cannot be read counts as none.
func (r *Run) countedPods(ctx context.Context) int {
	pods := &corev1.PodList{}
	if err := r.o.Lab.Workload().List(ctx, pods, client.HasLabels{CountedLabel}); err != nil {
		return 0
	}
	n := 0
	for i := range pods.Items {
		if p := &pods.Items[i]; p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp.IsZero() {
			n++
		}
	}
	return n
}
