package capi

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// Evict asks the API server to evict step.Pods from step.Node. Nothing is ever
// deleted past a disruption budget: while one forbids it, the step is [ErrMoved],
// and a later plan asks again or gives the removal up.
//
// Precondition, read anew: the Node is the one with step.NodeUID and carries our
// cordon, so that an evicted pod cannot come back. Every pod is on it, is not
// Ray's, and nothing about it forbids to disturb it. A pod that is gone, going or
// finished needs no eviction; a namesake with another UID is another pod. The
// eviction names UID and version of the pod that was looked at. One pod that is
// refused does not keep the others.
func (a *Actuator) Evict(ctx context.Context, step planner.Step, planID string) error {
	n, err := a.readNode(ctx, step.Node, step.NodeUID)
	if err != nil {
		return err
	}
	if _, ok := cordonOf(n); !ok {
		return moved("Node %s does not carry our cordon", step.Node)
	}
	var errs []error
	for _, ref := range step.Pods {
		if err := a.evict(ctx, step.Node, ref); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) < len(step.Pods) {
		a.wrote("pods evicted", step, planID)
	}
	return errors.Join(errs...)
}

func (a *Actuator) evict(ctx context.Context, node string, ref planner.PodRef) error {
	key := ref.Namespace + "/" + ref.Name
	p := &corev1.Pod{}
	err := a.o.Workload.Get(ctx, client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}, p)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("reading pod %s: %w", key, err)
	case ref.UID == "":
		return fmt.Errorf("evicting pod %s: the step does not name its UID", key)
	case string(p.UID) != ref.UID, !p.DeletionTimestamp.IsZero(), finished(p):
		return nil
	case p.Spec.NodeName != node:
		return moved("pod %s is not on Node %s", key, node)
	case ray(p):
		return moved("pod %s is Ray's", key)
	case bound(p):
		return moved("pod %s belongs to its Node", key)
	}
	if why := blocks(p, false); why != "" {
		return moved("pod %s must not be disturbed: %s", key, why)
	}
	eviction := &policyv1.Eviction{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name},
		DeleteOptions: &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{
			UID: new(p.UID), ResourceVersion: new(p.ResourceVersion),
		}},
	}
	err = a.o.Workload.SubResource("eviction").Create(ctx, p, eviction)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case apierrors.IsTooManyRequests(err) && apierrors.HasStatusCause(err, policyv1.DisruptionBudgetCause):
		return fmt.Errorf("%w: a disruption budget holds pod %s: %w", ErrMoved, key, err)
	}
	return classify("evicting pod "+key, err)
}
