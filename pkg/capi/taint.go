package capi

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// Cordon puts our taint on step.Node, so that no pod can land on it any more.
//
// Precondition, read anew: the Node is the one with step.NodeUID, and every pod
// on it belongs to it (DaemonSets, mirrors of static pods), is named by UID in
// step.Pods, or is not Ray's and may be moved. On the Node of a Machine that is
// being deleted the others are no obstacle: they are to lose it in any case, and
// the cordon only keeps new ones away. A Node that already carries our cordon,
// from whatever plan, is left alone. A pod that lands between the check and the
// write is found by [Actuator.Remove].
func (a *Actuator) Cordon(ctx context.Context, step planner.Step, planID string, at time.Time) error {
	value, err := FormatMark(planner.Mark{PlanID: planID, At: at})
	if err != nil {
		return fmt.Errorf("cordoning Node %s: %w", step.Node, err)
	}
	n, err := a.readNode(ctx, step.Node, step.NodeUID)
	if err != nil {
		return err
	}
	if _, ok := cordonOf(n); ok {
		return nil
	}
	if !n.DeletionTimestamp.IsZero() {
		return moved("Node %s is being deleted", step.Node)
	}
	if err := a.mayCordon(ctx, n, step.Pods); err != nil {
		return err
	}
	if err := a.writeTaint(ctx, n, planner.CordonTaint, value, corev1.TaintEffectNoSchedule); err != nil {
		return err
	}
	a.wrote("node cordoned", step, planID)
	return nil
}

// mayCordon looks for a pod that forbids the cordon.
func (a *Actuator) mayCordon(ctx context.Context, n *corev1.Node, may []planner.PodRef) error {
	pods, err := a.podsOn(ctx, n.Name)
	if err != nil {
		return err
	}
	for _, p := range pods {
		why := ""
		switch named := slices.ContainsFunc(may, func(r planner.PodRef) bool { return r.UID != "" && r.UID == string(p.UID) }); {
		case named, !ray(p) && !p.DeletionTimestamp.IsZero():
		case ray(p):
			why = "it is Ray's"
		default:
			why = blocks(p, false)
		}
		if why == "" {
			continue
		}
		going, err := a.deleted(ctx, n)
		if err != nil {
			return err
		}
		if !going {
			return moved("pod %s/%s is on Node %s: %s", p.Namespace, p.Name, n.Name, why)
		}
		return nil
	}
	return nil
}

// deleted tells whether the Machine of a Node is being deleted.
func (a *Actuator) deleted(ctx context.Context, n *corev1.Node) (bool, error) {
	name := n.Annotations[clusterv1.MachineAnnotation]
	if name == "" || n.Annotations[clusterv1.ClusterNamespaceAnnotation] != a.o.Namespace {
		return false, nil
	}
	m := &clusterv1.Machine{}
	err := a.o.Management.Get(ctx, client.ObjectKey{Namespace: a.o.Namespace, Name: name}, m)
	if err != nil {
		return false, client.IgnoreNotFound(classify("reading Machine "+name, err))
	}
	return m.Spec.ClusterName == a.o.ClusterName && m.Status.NodeRef.Name == n.Name && !m.DeletionTimestamp.IsZero(), nil
}

// Uncordon takes our taint back from step.Node. A Node that is gone, or does not
// carry it, is left alone; a namesake with another UID is [ErrMoved].
func (a *Actuator) Uncordon(ctx context.Context, step planner.Step) error {
	return a.untaint(ctx, step, "node uncordoned", ours)
}

// SoftTaint puts our PreferNoSchedule taint on step.Node, so that the scheduler
// fills other nodes first. It keeps nothing away and moves nothing, so the only
// precondition is that the Node is the one with step.NodeUID.
func (a *Actuator) SoftTaint(ctx context.Context, step planner.Step, planID string, at time.Time) error {
	value, err := FormatMark(planner.Mark{PlanID: planID, At: at})
	if err != nil {
		return fmt.Errorf("tainting Node %s: %w", step.Node, err)
	}
	n, err := a.readNode(ctx, step.Node, step.NodeUID)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(n.Spec.Taints, softly) {
		return nil
	}
	if !n.DeletionTimestamp.IsZero() {
		return moved("Node %s is being deleted", step.Node)
	}
	if err := a.writeTaint(ctx, n, planner.SoftTaintKey, value, corev1.TaintEffectPreferNoSchedule); err != nil {
		return err
	}
	a.wrote("node tainted softly", step, planID)
	return nil
}

// SoftUntaint takes the taint of [Actuator.SoftTaint] back, as
// [Actuator.Uncordon] does with the other one.
func (a *Actuator) SoftUntaint(ctx context.Context, step planner.Step) error {
	return a.untaint(ctx, step, "soft taint taken back", softly)
}

// untaint takes taints of ours off a Node.
func (a *Actuator) untaint(ctx context.Context, step planner.Step, what string, which func(corev1.Taint) bool) error {
	n, err := a.readNode(ctx, step.Node, step.NodeUID)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	taints := slices.DeleteFunc(slices.Clone(n.Spec.Taints), which)
	if len(taints) == len(n.Spec.Taints) {
		return nil
	}
	if err := a.writeTaints(ctx, n, taints); err != nil {
		return err
	}
	a.wrote(what, step, "")
	return nil
}

// ours tells whether the taint is a cordon that a coordinator wrote.
func ours(t corev1.Taint) bool {
	_, ok := ParseMark(t.Value)
	return ok && t.Key == planner.CordonTaint
}

// softly tells whether the taint is a soft one that a coordinator wrote.
func softly(t corev1.Taint) bool {
	_, ok := ParseMark(t.Value)
	return ok && t.Key == planner.SoftTaintKey && t.Effect == corev1.TaintEffectPreferNoSchedule
}

// writeTaint adds a taint in place of one with the same key and effect.
func (a *Actuator) writeTaint(ctx context.Context, n *corev1.Node, key, value string, effect corev1.TaintEffect) error {
	taints := slices.DeleteFunc(slices.Clone(n.Spec.Taints), func(t corev1.Taint) bool { return t.Key == key && t.Effect == effect })
	return a.writeTaints(ctx, n, append(taints, corev1.Taint{Key: key, Value: value, Effect: effect}))
}

// writeTaints replaces the taints, provided that the Node is still the version
// that was read. A merge patch replaces the list as a whole; a strategic one
// would merge by key and drop taints that share it.
func (a *Actuator) writeTaints(ctx context.Context, n *corev1.Node, taints []corev1.Taint) error {
	before := n.DeepCopy()
	n.Spec.Taints = taints
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	err := a.o.Workload.Patch(ctx, n, patch, client.FieldOwner(fieldOwner))
	if err == nil {
		a.written(n)
	}
	return classify("writing the taints of Node "+n.Name, err)
}
