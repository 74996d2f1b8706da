package kubelet

import (
	"context"
	"fmt"
	"os"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

const (
	// poll is how often a pod whose processes change is looked at.
	poll = 250 * time.Millisecond
	// watch is how often a pod that runs is looked at.
	watch = time.Second
	// maxGrace bounds the time that a deleted pod has to end.
	maxGrace = 10 * time.Second
)

// SetupWithManager adds the controllers of Pods and of Node leases.
func (k *Pods) SetupWithManager(mgr ctrl.Manager) error {
	k.client, k.reader = mgr.GetClient(), mgr.GetAPIReader()
	err := ctrl.NewControllerManagedBy(mgr).Named("lab-kubelet-pods").For(&corev1.Pod{}).
		Watches(&corev1.Node{}, handler.EnqueueRequestsFromMapFunc(k.podsOfNode)).
		WithOptions(controller.Options{MaxConcurrentReconciles: 16}).Complete(k)
	if err != nil {
		return fmt.Errorf("setting up the controller of pods: %w", err)
	}
	return setUpLeases(mgr)
}

// podsOfNode wakes the pods of a Node that changed: it may be gone.
func (k *Pods) podsOfNode(_ context.Context, node client.Object) []reconcile.Request {
	if !node.GetDeletionTimestamp().IsZero() {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []reconcile.Request
	for key, p := range k.pods {
		if p.node == node.GetName() {
			out = append(out, reconcile.Request{NamespacedName: key})
		}
	}
	return out
}

// Reconcile brings the processes of one Pod in line with its object.
func (k *Pods) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	obj := &corev1.Pod{}
	err := k.client.Get(ctx, req.NamespacedName, obj)
	if apierrors.IsNotFound(err) {
		return k.remove(req.NamespacedName, 0)
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("reading a pod: %w", err)
	}
	p, stale := k.enter(obj)
	switch {
	case stale:
		return k.remove(req.NamespacedName, 0)
	case p == nil:
		return ctrl.Result{}, nil
	case !obj.DeletionTimestamp.IsZero():
		return k.delete(ctx, obj)
	case obj.Status.Phase == corev1.PodSucceeded || obj.Status.Phase == corev1.PodFailed:
		return ctrl.Result{}, nil
	}
	lost, err := k.nodeGone(ctx, p)
	if err != nil || lost {
		return ctrl.Result{}, err
	}
	return k.advance(ctx, obj, p)
}

// enter finds the state of a bound Pod or makes it; nil for one that is not
// bound. It is stale if it belongs to an earlier Pod of the name.
func (k *Pods) enter(obj *corev1.Pod) (p *pod, stale bool) {
	key := client.ObjectKeyFromObject(obj)
	k.mu.Lock()
	defer k.mu.Unlock()
	p = k.pods[key]
	if p != nil && p.uid != obj.UID {
		return p, true
	}
	if p == nil && obj.Spec.NodeName != "" && !k.closed {
		p = &pod{key: key, uid: obj.UID, labels: obj.Labels, node: obj.Spec.NodeName, seen: time.Now()}
		k.pods[key] = p
	}
	return p, false
}

// nodeGone ends the processes of a pod whose VM is gone, at once, as its power
// is off. Its object is left to the pod garbage collector.
func (k *Pods) nodeGone(ctx context.Context, p *pod) (bool, error) {
	err := k.client.Get(ctx, types.NamespacedName{Name: p.node}, &corev1.Node{})
	if err == nil || !apierrors.IsNotFound(err) {
		return false, client.IgnoreNotFound(err)
	}
	// The cache may not have seen a Node yet that the scheduler has.
	err = k.reader.Get(ctx, types.NamespacedName{Name: p.node}, &corev1.Node{})
	if !apierrors.IsNotFound(err) {
		return false, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	p.ready = false
	p.halt(0)
	return true, nil
}

// delete ends the processes and then the object.
func (k *Pods) delete(ctx context.Context, obj *corev1.Pod) (ctrl.Result, error) {
	grace := maxGrace
	if s := obj.DeletionGracePeriodSeconds; s != nil && time.Duration(*s)*time.Second < grace {
		grace = time.Duration(*s) * time.Second
	}
	res, err := k.remove(client.ObjectKeyFromObject(obj), grace)
	if err != nil || res.RequeueAfter > 0 {
		return res, err
	}
	err = k.client.Delete(ctx, obj, client.GracePeriodSeconds(0), client.Preconditions{UID: &obj.UID})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return ctrl.Result{}, fmt.Errorf("deleting a pod: %w", err)
	}
	return ctrl.Result{}, nil
}

// remove ends the processes of a pod and forgets it when they are gone.
func (k *Pods) remove(key types.NamespacedName, grace time.Duration) (ctrl.Result, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	p := k.pods[key]
	if p == nil {
		return ctrl.Result{}, nil
	}
	if !p.ended {
		p.ended, p.ready = true, false
		p.halt(grace)
	}
	if !p.gone() {
		return ctrl.Result{RequeueAfter: poll}, nil
	}
	delete(k.pods, key)
	return ctrl.Result{}, k.free(p)
}

// free gives back what a pod without processes holds. The caller holds the
// lock.
func (k *Pods) free(p *pod) error {
	if p.block == nil {
		return nil
	}
	p.forward.close()
	p.block.Release()
	p.forward, p.block = nil, nil
	if err := os.RemoveAll(k.tempDir(p)); err != nil {
		return fmt.Errorf("removing the session of a pod: %w", err)
	}
	return nil
}

// advance takes a pod one step further: image, init, start, ready, end.
func (k *Pods) advance(ctx context.Context, obj *corev1.Pod, p *pod) (ctrl.Result, error) {
	if wait := time.Until(p.seen.Add(k.options.ImageTime)); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, k.report(ctx, obj, pulling(obj))
	}
	if k.options.Venv == "" || !isRay(obj) {
		return ctrl.Result{}, k.pretend(ctx, obj, p)
	}
	if len(p.tasks) == 0 {
		return k.launch(ctx, obj, p)
	}
	if p.over() {
		return k.end(ctx, obj, p)
	}
	ready, err := started(p.tasks[0].log)
	if err != nil {
		return ctrl.Result{}, err
	}
	k.mu.Lock()
	if ready && !p.ready {
		k.log.Info("ray pod ready", zap.Stringer("pod", p.key), zap.Duration("after", time.Since(p.tasks[0].started)))
	}
	p.ready = ready
	k.mu.Unlock()
	after := watch
	if !ready {
		after = poll
	}
	return ctrl.Result{RequeueAfter: after}, k.report(ctx, obj, runningStatus(obj, p))
}

// pretend lets a pod look as if it ran.
func (k *Pods) pretend(ctx context.Context, obj *corev1.Pod, p *pod) error {
	k.mu.Lock()
	if p.ip == "" {
		p.ip = k.address()
	}
	p.ready = true
	k.mu.Unlock()
	return k.report(ctx, obj, runningStatus(obj, p))
}

// end reports the end of Ray's container, and of the pod with it unless its
// policy starts it again.
func (k *Pods) end(ctx context.Context, obj *corev1.Pod, p *pod) (ctrl.Result, error) {
	code := p.tasks[0].task.Code()
	again := obj.Spec.RestartPolicy == corev1.RestartPolicyAlways ||
		obj.Spec.RestartPolicy == corev1.RestartPolicyOnFailure && code != 0
	k.mu.Lock()
	p.ready = false
	p.halt(time.Second)
	gone := p.gone()
	k.mu.Unlock()
	if err := k.report(ctx, obj, endedStatus(obj, p, code, again)); err != nil || !again {
		return ctrl.Result{}, err
	}
	if !gone {
		return ctrl.Result{RequeueAfter: poll}, nil
	}
	k.log.Info("ray container ended, starting again", zap.Stringer("pod", p.key), zap.Int("code", code))
	k.mu.Lock()
	defer k.mu.Unlock()
	err := k.free(p)
	p.tasks, p.ip = nil, ""
	// A container that keeps ending starts ever later, as in a kubelet.
	p.retryAt = time.Now().Add(min(time.Second<<min(p.tries, 6), time.Minute))
	p.tries++
	return ctrl.Result{RequeueAfter: time.Until(p.retryAt)}, err
}

// address is the next free address of the lab's network. The caller holds the
// lock.
func (k *Pods) address() string {
	k.nextIP++
	return fmt.Sprintf("127.%d.%d.%d", k.options.Network, k.nextIP/250%250, k.nextIP%250+2)
}
