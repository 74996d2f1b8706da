package report

import (
	"context"
	"errors"
	"fmt"
	"time"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/selection"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// PoolLabel is the label of a Node that names its pool.
	PoolLabel = "node.cluster.x-k8s.io/pool"
	// cordonTaint is the coordinator's own mark on a Node.
	cordonTaint = "tandem-autoscaler.io/cordon"
	// planAnnotation names, on a MachineDeployment, the plan that wrote it last.
	planAnnotation = "tandem-autoscaler.io/plan-id"

	rayClusterLabel  = "ray.io/cluster"
	rayGroupLabel    = "ray.io/group"
	rayNodeTypeLabel = "ray.io/node-type"
)

// Watch follows the objects of the management and the workload API server,
// which may be the same, through two kubeconfig files. It returns when every
// kind has been listed once; the watches go on until the context ends, and a
// lost API server is waited for.
func Watch(ctx context.Context, management, workload string, r *Recorder) error {
	scheme := runtime.NewScheme()
	err := errors.Join(corev1.AddToScheme(scheme), clusterv1.AddToScheme(scheme), rayv1.AddToScheme(scheme))
	if err != nil {
		return fmt.Errorf("building the scheme: %w", err)
	}
	err = watch(ctx, scheme, management, nil, map[client.Object]toolscache.ResourceEventHandler{
		&clusterv1.MachineDeployment{}: handler(r.machineDeployment, nil),
		&clusterv1.Machine{}:           handler(r.clusterMachine, func(o *clusterv1.Machine) { r.ObserveMachineGone(time.Now(), o.Name) }),
	})
	if err != nil {
		return fmt.Errorf("watching the management cluster: %w", err)
	}
	rayPods, err := labels.NewRequirement(rayClusterLabel, selection.Exists, nil)
	if err != nil {
		return fmt.Errorf("building the selector of Ray pods: %w", err)
	}
	only := map[client.Object]cache.ByObject{&corev1.Pod{}: {Label: labels.NewSelector().Add(*rayPods)}}
	err = watch(ctx, scheme, workload, only, map[client.Object]toolscache.ResourceEventHandler{
		&corev1.Node{}:      handler(r.node, func(o *corev1.Node) { r.ObserveNodeGone(time.Now(), o.Name) }),
		&corev1.Pod{}:       handler(r.rayPod, func(o *corev1.Pod) { r.ObservePodGone(time.Now(), o.Namespace, o.Name) }),
		&rayv1.RayCluster{}: handler(r.rayClusterObject, nil),
	})
	if err != nil {
		return fmt.Errorf("watching the workload cluster: %w", err)
	}
	return nil
}

func watch(ctx context.Context, scheme *runtime.Scheme, kubeconfig string, only map[client.Object]cache.ByObject, handlers map[client.Object]toolscache.ResourceEventHandler) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("reading %s: %w", kubeconfig, err)
	}
	config.UserAgent = "lab-report"
	c, err := cache.New(config, cache.Options{Scheme: scheme, ByObject: only, DefaultTransform: cache.TransformStripManagedFields()})
	if err != nil {
		return fmt.Errorf("making a cache: %w", err)
	}
	for object, h := range handlers {
		informer, err := c.GetInformer(ctx, object, cache.BlockUntilSynced(false))
		if err != nil {
			return fmt.Errorf("watching %T: %w", object, err)
		}
		if _, err := informer.AddEventHandler(h); err != nil {
			return fmt.Errorf("watching %T: %w", object, err)
		}
	}
	// Start returns when the context ends, always without an error.
	go func() { _ = c.Start(ctx) }()
	if !c.WaitForCacheSync(ctx) {
		return fmt.Errorf("waiting for the first lists: %w", context.Cause(ctx))
	}
	return nil
}

// handler adapts functions on typed objects to an informer.
func handler[T client.Object](seen func(o T, first bool), gone func(T)) toolscache.ResourceEventHandler {
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) {
			if t, ok := o.(T); ok {
				seen(t, true)
			}
		},
		UpdateFunc: func(_, o any) {
			if t, ok := o.(T); ok {
				seen(t, false)
			}
		},
		DeleteFunc: func(o any) {
			if d, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
				o = d.Obj
			}
			if t, ok := o.(T); ok && gone != nil {
				gone(t)
			}
		},
	}
}

func (r *Recorder) machineDeployment(o *clusterv1.MachineDeployment, first bool) {
	if o.Spec.Replicas != nil {
		r.ObserveReplicas(time.Now(), o.Name, *o.Spec.Replicas, first, o.Annotations[planAnnotation])
	}
}

func (r *Recorder) clusterMachine(o *clusterv1.Machine, _ bool) {
	_, marked := o.Annotations[clusterv1.DeleteMachineAnnotation]
	r.ObserveMachine(time.Now(), MachineObservation{
		Name: o.Name, Pool: o.Labels[clusterv1.MachineDeploymentNameLabel], Phase: o.Status.Phase,
		Node: o.Status.NodeRef.Name, Deleting: !o.DeletionTimestamp.IsZero(), Marked: marked,
	})
}

func (r *Recorder) node(o *corev1.Node, _ bool) {
	n := NodeObservation{Name: o.Name, Pool: o.Labels[PoolLabel]}
	if n.Pool == "" { // Cluster API sets the label a moment after the Node appears
		n.Pool = r.poolOfNode(o.Name, o.Annotations[clusterv1.MachineAnnotation])
	}
	for _, c := range o.Status.Conditions {
		n.Ready = n.Ready || c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	}
	for _, t := range o.Spec.Taints {
		n.Cordoned = n.Cordoned || t.Key == cordonTaint
	}
	r.ObserveNode(time.Now(), n)
}

// poolOfNode finds the pool through the Machine, whose name a new Node has.
func (r *Recorder) poolOfNode(node, machine string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range []string{machine, node} {
		if m, ok := r.machines[name]; ok {
			return m.Pool
		}
	}
	return "unknown"
}

func (r *Recorder) rayPod(o *corev1.Pod, _ bool) {
	p := PodObservation{
		Namespace: o.Namespace, Name: o.Name, RayCluster: o.Labels[rayClusterLabel], Group: o.Labels[rayGroupLabel],
		Head: o.Labels[rayNodeTypeLabel] == "head", Node: o.Spec.NodeName, Phase: string(o.Status.Phase), Terminating: !o.DeletionTimestamp.IsZero(),
	}
	for _, c := range o.Status.Conditions {
		p.Ready = p.Ready || c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	}
	if len(o.Status.ContainerStatuses) > 0 {
		if t := o.Status.ContainerStatuses[0].State.Terminated; t != nil {
			p.Detail = fmt.Sprintf("exit code %d %s", t.ExitCode, t.Reason)
		}
	}
	r.ObservePod(time.Now(), p)
}

func (r *Recorder) rayClusterObject(o *rayv1.RayCluster, _ bool) {
	for _, g := range o.Spec.WorkerGroupSpecs {
		if g.Replicas != nil {
			r.ObserveRayReplicas(time.Now(), o.Namespace+"/"+o.Name, g.GroupName, *g.Replicas)
		}
	}
}
