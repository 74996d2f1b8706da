package capi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// mostBackoff bounds the annotation of [Actuator.Remember]: an object may carry
// 256 KiB of annotations in all.
const mostBackoff = 16 << 10

// annotateObject sets annotations, or removes those whose value is empty,
// provided that the object is still the version that was read.
func (a *Actuator) annotateObject(ctx context.Context, o client.Object, set map[string]string) error {
	before, ok := o.DeepCopyObject().(client.Object)
	if !ok {
		return fmt.Errorf("copying %T: it is no object", o)
	}
	notes := o.GetAnnotations()
	if notes == nil {
		notes = make(map[string]string, len(set))
	}
	for k, v := range set {
		if v == "" {
			delete(notes, k)
			continue
		}
		notes[k] = v
	}
	o.SetAnnotations(notes)
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := a.o.Management.Patch(ctx, o, patch, client.FieldOwner(fieldOwner)); err != nil {
		return err
	}
	a.written(o)
	return nil
}

// Hook puts our pre-drain hook on step.Machines, so that Cluster API waits for
// us when somebody else deletes one of them.
//
// Precondition, read anew: the Machine belongs to the MachineDeployment
// step.Group, which is ours to change as [Actuator.Scale] wants it. A Machine
// that carries the hook, is gone, or is being deleted already is left alone: the
// drain may be under way, and a hook that comes then only confuses.
func (a *Actuator) Hook(ctx context.Context, step planner.Step, planID string) error {
	g, err := a.readGroup(ctx, step.Group)
	if err != nil {
		return err
	}
	if err := a.readMachines(ctx, g); err != nil {
		return err
	}
	var errs []error
	for _, key := range step.Machines {
		name, err := a.name(key)
		if err != nil {
			return err
		}
		m := g.machine(name)
		if m == nil || !m.DeletionTimestamp.IsZero() || hooked(m) {
			continue
		}
		err = a.annotate(ctx, m, map[string]string{HookAnnotation: hookOwner})
		errs = append(errs, classify("putting the hook on Machine "+key, err))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	a.wrote("machines hooked", step, planID)
	return nil
}

func hooked(m *clusterv1.Machine) bool {
	_, ok := m.Annotations[HookAnnotation]
	return ok
}

// released tells whether a person ordered to let go of the Machine.
func released(m *clusterv1.Machine) bool {
	v, ok := m.Annotations[ReleaseAnnotation]
	return ok && v != "false"
}

// ReleaseHook takes our hook off step.Machines, so that Cluster API goes on with
// their deletion.
//
// Precondition, read anew: the Machine is being deleted, and one of these holds:
//   - a person ordered it with [ReleaseAnnotation];
//   - it has no Node, and none looks as if it were its own;
//   - its Node carries our cordon, and no Ray pod but those that step.Pods names
//     by UID (of RayClusters that are not planned for);
//   - its Node has been unreachable (Ready is Unknown) for longer than
//     ActuatorOptions.UnreachableRelease.
//
// A Machine that is gone or carries no hook needs none of it.
func (a *Actuator) ReleaseHook(ctx context.Context, step planner.Step, planID string, at time.Time) error {
	var errs []error
	for _, key := range step.Machines {
		if err := a.releaseHook(ctx, key, step.Pods, at); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	a.wrote("hooks released", step, planID)
	return nil
}

func (a *Actuator) releaseHook(ctx context.Context, key string, may []planner.PodRef, at time.Time) error {
	name, err := a.name(key)
	if err != nil {
		return err
	}
	m := &clusterv1.Machine{}
	err = a.o.Management.Get(ctx, client.ObjectKey{Namespace: a.o.Namespace, Name: name}, m)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("reading Machine %s: %w", key, err)
	case m.Spec.ClusterName != a.o.ClusterName:
		return fmt.Errorf("the Machine %s belongs to Cluster %s, not to %s", key, quote(m.Spec.ClusterName), a.o.ClusterName)
	case !hooked(m):
		return nil
	case m.DeletionTimestamp.IsZero():
		return moved("Machine %s is not being deleted", key)
	}
	if !released(m) {
		if err := a.mayRelease(ctx, m, may, at); err != nil {
			return err
		}
	}
	return classify("releasing the hook of Machine "+key, a.annotate(ctx, m, map[string]string{HookAnnotation: ""}))
}

// mayRelease refuses while the Node of a Machine may still do work of Ray.
func (a *Actuator) mayRelease(ctx context.Context, m *clusterv1.Machine, may []planner.PodRef, at time.Time) error {
	name := m.Status.NodeRef.Name
	if name == "" {
		var nodes corev1.NodeList
		if err := a.o.Workload.List(ctx, &nodes); err != nil {
			return classify("listing Nodes", err)
		}
		if name = nodeOf(m, nodes.Items); name == "" {
			return nil
		}
	}
	n := &corev1.Node{}
	if err := a.o.Workload.Get(ctx, client.ObjectKey{Name: name}, n); err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("reading Node %s: %w", name, err)
	}
	if since := unreachableSince(n); a.o.UnreachableRelease > 0 && !since.IsZero() && at.Sub(since) > a.o.UnreachableRelease {
		return nil
	}
	if _, ok := cordonOf(n); !ok {
		return moved("Node %s of Machine %s does not carry our cordon", name, m.Name)
	}
	pods, err := a.podsOn(ctx, name)
	if err != nil {
		return err
	}
	for _, p := range pods {
		named := slices.ContainsFunc(may, func(r planner.PodRef) bool { return r.UID != "" && r.UID == string(p.UID) })
		if ray(p) && !named {
			return moved("Ray pod %s/%s is on Node %s of Machine %s", p.Namespace, p.Name, name, m.Name)
		}
	}
	return nil
}

// unreachableSince is when the node lifecycle controller lost the kubelet, or
// zero. A kubelet that reports itself not ready is not unreachable.
func unreachableSince(n *corev1.Node) time.Time {
	for i := range n.Status.Conditions {
		if c := &n.Status.Conditions[i]; c.Type == corev1.NodeReady && c.Status == corev1.ConditionUnknown {
			return c.LastTransitionTime.Time
		}
	}
	return time.Time{}
}

// Remember writes step.Backoffs on the MachineDeployment step.Group, or takes
// the note away if there are none. The precondition is that of [Actuator.Scale],
// apart from the replicas.
func (a *Actuator) Remember(ctx context.Context, step planner.Step, planID string) error {
	value := ""
	if len(step.Backoffs) > 0 {
		raw, err := json.Marshal(step.Backoffs)
		if err != nil {
			return fmt.Errorf("writing the back-off of %s: %w", step.Group, err)
		}
		if len(raw) > mostBackoff {
			return fmt.Errorf("writing the back-off of %s: %d bytes are more than %d", step.Group, len(raw), mostBackoff)
		}
		value = string(raw)
	}
	g, err := a.readGroup(ctx, step.Group)
	if err != nil {
		return err
	}
	if g.md.Annotations[BackoffAnnotation] == value {
		return nil
	}
	if err := a.annotateObject(ctx, g.md, map[string]string{BackoffAnnotation: value}); err != nil {
		return classify("writing the back-off of MachineDeployment "+step.Group, err)
	}
	a.wrote("back-off remembered", step, planID)
	return nil
}

// readBackoffs reads what [Actuator.Remember] wrote. What cannot be read is as
// if it were not there: a rest that is forgotten costs one more attempt.
func readBackoffs(annotations map[string]string) ([]planner.Backoff, error) {
	value := annotations[BackoffAnnotation]
	if value == "" {
		return nil, nil
	}
	if len(value) > mostBackoff {
		return nil, fmt.Errorf("annotation %s has %d bytes", BackoffAnnotation, len(value))
	}
	var out []planner.Backoff
	if err := json.Unmarshal([]byte(value), &out); err != nil {
		return nil, fmt.Errorf("reading annotation %s: %w", BackoffAnnotation, err)
	}
	return out, nil
}
