package capi

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// ReleaseOptions are the options of [Release].
type ReleaseOptions struct {
	// Management and Workload read from and write to the API servers, as in
	// [ActuatorOptions].
	Management, Workload client.Client
	// Namespace and ClusterName bound what is touched in the management cluster.
	Namespace, ClusterName string
	// DryRun only tells what would be taken.
	DryRun bool
	// Log may be nil.
	Log *zap.Logger
}

// Released is one marker that was taken off an object, or would be.
type Released struct {
	// Kind and Name of the object; Name has a namespace where the kind has.
	Kind, Name string
	// Marker is what was taken: a key of a taint or an annotation.
	Marker string
	// Warning tells what follows from it, if it is more than nothing: a Machine
	// that somebody deletes goes on to be deleted, whatever runs on it.
	Warning string
	// Err tells why the marker is still there.
	Err error
}

// Release takes every marker of a coordinator off every object, so that it can
// be uninstalled: our cordons and soft taints from Nodes, our delete marks and
// hooks from Machines of the Cluster, our notes from its MachineDeployments. What
// people set (tandem-autoscaler.io/paused, …/release) and what others wrote stays.
//
// No coordinator may run beside it, or the markers come back. A delete mark stays,
// with the reason, while a shrink of its group is under way: without it Cluster
// API might choose a Machine that works. Every write needs the version that was
// read; what failed is in the list, and the error joins all of it. Calling it
// again goes on where it stopped. The markers are in a fixed order: marks, taints,
// notes, hooks; so a Node is open again before its Machine's hook goes.
func Release(ctx context.Context, o ReleaseOptions) ([]Released, error) {
	r := &release{dry: o.DryRun, a: NewActuator(ActuatorOptions{
		Management: o.Management, Workload: o.Workload, Namespace: o.Namespace, ClusterName: o.ClusterName, Log: o.Log,
	})}
	err := errors.Join(r.marks(ctx), r.taints(ctx), r.notes(ctx), r.hooks(ctx))
	for _, x := range r.out {
		if x.Err != nil {
			err = errors.Join(err, fmt.Errorf("taking %s off %s %s: %w", x.Marker, x.Kind, x.Name, x.Err))
		}
	}
	return r.out, err
}

type release struct {
	a   *Actuator
	dry bool
	out []Released
}

// take takes one marker, unless this is a dry run.
func (r *release) take(x Released, do func() error) {
	if !r.dry {
		x.Err = do()
	}
	r.out = append(r.out, x)
}

// machines lists those of our Cluster by name.
func (r *release) machines(ctx context.Context) ([]clusterv1.Machine, error) {
	var list clusterv1.MachineList
	if err := r.a.o.Management.List(ctx, &list, client.InNamespace(r.a.o.Namespace)); err != nil {
		return nil, fmt.Errorf("listing Machines: %w", err)
	}
	out := slices.DeleteFunc(list.Items, func(m clusterv1.Machine) bool { return m.Spec.ClusterName != r.a.o.ClusterName })
	slices.SortFunc(out, func(a, b clusterv1.Machine) int { return compareNames(&a, &b) })
	return out, nil
}

func (r *release) marks(ctx context.Context) error {
	machines, err := r.machines(ctx)
	if err != nil {
		return err
	}
	for i := range machines {
		m := &machines[i]
		// A mark on a Machine that goes already goes with it.
		if ours, _ := deleteMark(m); ours == nil || !m.DeletionTimestamp.IsZero() {
			continue
		}
		key := m.Namespace + "/" + m.Name
		r.take(Released{Kind: "Machine", Name: key, Marker: DeleteMarkAnnotation}, func() error { return r.a.unmark(ctx, key, nil) })
	}
	return nil
}

func (r *release) taints(ctx context.Context) error {
	var nodes corev1.NodeList
	if err := r.a.o.Workload.List(ctx, &nodes); err != nil {
		return fmt.Errorf("listing Nodes: %w", err)
	}
	slices.SortFunc(nodes.Items, func(a, b corev1.Node) int { return compareNames(&a, &b) })
	for i := range nodes.Items {
		n := &nodes.Items[i]
		step := planner.Step{Node: n.Name, NodeUID: string(n.UID)}
		if slices.ContainsFunc(n.Spec.Taints, ours) {
			r.take(Released{Kind: "Node", Name: n.Name, Marker: planner.CordonTaint}, func() error { return r.a.Uncordon(ctx, step) })
		}
		if slices.ContainsFunc(n.Spec.Taints, softly) {
			r.take(Released{Kind: "Node", Name: n.Name, Marker: planner.SoftTaintKey}, func() error { return r.a.SoftUntaint(ctx, step) })
		}
	}
	return nil
}

func (r *release) notes(ctx context.Context) error {
	var list clusterv1.MachineDeploymentList
	if err := r.a.o.Management.List(ctx, &list, client.InNamespace(r.a.o.Namespace)); err != nil {
		return fmt.Errorf("listing MachineDeployments: %w", err)
	}
	slices.SortFunc(list.Items, func(a, b clusterv1.MachineDeployment) int { return compareNames(&a, &b) })
	for i := range list.Items {
		md := &list.Items[i]
		if _, ok := md.Annotations[BackoffAnnotation]; !ok || md.Spec.ClusterName != r.a.o.ClusterName {
			continue
		}
		r.take(Released{Kind: "MachineDeployment", Name: md.Namespace + "/" + md.Name, Marker: BackoffAnnotation}, func() error {
			return r.a.annotateObject(ctx, md, map[string]string{BackoffAnnotation: ""})
		})
	}
	return nil
}

// hooks come last, and are listed anew, because taking a mark has changed the
// version of its Machine.
func (r *release) hooks(ctx context.Context) error {
	machines, err := r.machines(ctx)
	if err != nil {
		return err
	}
	for i := range machines {
		m := &machines[i]
		if !hooked(m) {
			continue
		}
		x := Released{Kind: "Machine", Name: m.Namespace + "/" + m.Name, Marker: HookAnnotation}
		if !m.DeletionTimestamp.IsZero() {
			x.Warning = "the Machine is being deleted: Cluster API now drains its Node and goes on, whatever runs there"
		}
		r.take(x, func() error { return r.a.annotate(ctx, m, map[string]string{HookAnnotation: ""}) })
	}
	return nil
}

func compareNames(a, b client.Object) int {
	switch x, y := a.GetNamespace()+"/"+a.GetName(), b.GetNamespace()+"/"+b.GetName(); {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}
