package kubelet

import (
	"context"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
)

// A Node whose lease is older than this is lost; it is renewed four times as
// often.
const (
	leaseSeconds  = 40
	renewInterval = 10 * time.Second
)

// leases renews the leases of all Nodes, as their kubelets would.
type leases struct {
	client client.Client
	reader client.Reader
}

func setUpLeases(mgr ctrl.Manager) error {
	l := &leases{client: mgr.GetClient(), reader: mgr.GetAPIReader()}
	// Its own time wakes it, not the many changes of a Node.
	created := predicate.Funcs{UpdateFunc: func(event.UpdateEvent) bool { return false }}
	err := ctrl.NewControllerManagedBy(mgr).Named("lab-kubelet-leases").
		For(&corev1.Node{}, builder.WithPredicates(created)).
		WithOptions(controller.Options{MaxConcurrentReconciles: 8}).Complete(l)
	if err != nil {
		return fmt.Errorf("setting up the controller of leases: %w", err)
	}
	return nil
}

// Reconcile renews the lease of one Node.
func (l *leases) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	n := &corev1.Node{}
	if err := l.client.Get(ctx, req.NamespacedName, n); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: n.Name}}
	err := l.reader.Get(ctx, client.ObjectKeyFromObject(lease), lease)
	if err != nil && !apierrors.IsNotFound(err) {
		return ctrl.Result{}, fmt.Errorf("reading a lease: %w", err)
	}
	missing := err != nil
	lease.Spec = coordinationv1.LeaseSpec{
		HolderIdentity: new(n.Name), LeaseDurationSeconds: ptr.To[int32](leaseSeconds), RenewTime: new(metav1.NowMicro()),
	}
	if missing {
		lease.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: n.Name, UID: n.UID}}
		err = l.client.Create(ctx, lease)
	} else {
		err = l.client.Update(ctx, lease)
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("renewing a lease: %w", err)
	}
	return ctrl.Result{RequeueAfter: renewInterval}, nil
}
