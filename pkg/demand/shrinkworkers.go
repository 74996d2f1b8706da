package demand

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// ShrinkWorkers names step.Pods in workersToDelete of step.WorkerGroup and lowers
// its replicas from step.From to step.To, in one JSON patch that tests the
// resourceVersion, the group's name and its replicas.
//
// Precondition, read anew: lead mode, no live autoscaler of Ray's own, replicas
// is step.From; every pod is a live one of exactly this group, by its UID; they
// make whole replicas (numOfHosts pods each), and step.To is the number that the
// operator works towards, less exactly these replicas, and not below minReplicas;
// and every pod's Ray nodes are DEAD by the GCS, or the pod was never bound to a
// Node. A group that is at step.To with all of them named is left alone.
func (a *Actuator) ShrinkWorkers(ctx context.Context, step planner.Step) error {
	if step.Kind != planner.StepShrinkWorkers || len(step.Pods) == 0 || step.To < 0 || !strings.Contains(step.RayCluster, "/") {
		return fmt.Errorf("shrinking workers: step %s of worker group %q of RayCluster %q to %d with %d pods is no shrink", step.Kind, step.WorkerGroup, step.RayCluster, step.To, len(step.Pods))
	}
	where := fmt.Sprintf("shrinking worker group %q of RayCluster %s", step.WorkerGroup, step.RayCluster)
	l, err := a.cluster(ctx, step.RayCluster)
	if err == nil {
		err = a.shrink(ctx, l, step)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	return nil
}

func (a *Actuator) shrink(ctx context.Context, l *liveCluster, step planner.Step) error {
	if g, err := l.group(step.WorkerGroup); err == nil && g.Replicas == step.To && g.names(step.Pods) {
		return nil
	}
	g, err := l.leadGroup(step)
	if err != nil {
		return err
	}
	count, hosts := int64(len(step.Pods)), g.hosts()
	if count%hosts != 0 || step.To != g.clamped()-count/hosts {
		return moved("%d pods of %d hosts a replica do not take %d replicas to %d", count, hosts, g.clamped(), step.To)
	}
	if step.To < g.Min {
		return moved("%d replicas are below minReplicas %d", step.To, g.Min)
	}
	all, err := a.livePods(ctx, l)
	if err != nil {
		return err
	}
	going, err := goingPods(all, g, step.Pods)
	if err != nil {
		return err
	}
	if err := a.allDead(ctx, l, all, going); err != nil {
		return err
	}
	names := slices.Clone(g.WorkersToDelete)
	for _, p := range going {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	return a.patch(ctx, l, g.path("groupName", g.Name), g.replicas(step.To), g.workersToDelete(slices.Compact(names)))
}

// names tells whether all of the pods are in workersToDelete.
func (g *liveGroup) names(pods []planner.PodRef) bool {
	return !slices.ContainsFunc(pods, func(p planner.PodRef) bool { return !slices.Contains(g.WorkersToDelete, p.Name) })
}

// goingPods finds the pods of a shrink: live ones of exactly this group, that
// make whole replicas.
func goingPods(all []corev1.Pod, g *liveGroup, refs []planner.PodRef) ([]*corev1.Pod, error) {
	out := make([]*corev1.Pod, 0, len(refs))
	byReplica := map[string]int64{}
	for i, ref := range refs {
		if slices.Contains(refs[:i], ref) {
			return nil, fmt.Errorf("pod %s is named twice", ref.Name)
		}
		p, err := workerPod(all, ref)
		if err != nil {
			return nil, err
		}
		if p.Labels[labelGroup] != g.Name {
			return nil, moved("pod %s is of worker group %q", p.Name, clip(p.Labels[labelGroup], maxName))
		}
		byReplica[p.Labels[labelReplica]]++
		out = append(out, p)
	}
	if g.hosts() == 1 {
		return out, nil
	}
	// To name one pod of a replica deletes all of it (kuberay:
	// ray-operator/controllers/ray/raycluster_controller.go), so all must be known.
	for replica, n := range byReplica {
		if replica == "" {
			return nil, moved("the pods do not tell which replica they belong to")
		}
		var have int64
		for i := range all {
			if p := &all[i]; p.Labels[labelGroup] == g.Name && p.Labels[labelReplica] == replica {
				have++
			}
		}
		if n != g.hosts() || have != n {
			return nil, moved("replica %s has %d pods of %d, and %d of them are named", clip(replica, maxName), have, g.hosts(), n)
		}
	}
	return out, nil
}

// allDead checks that none of the pods may still work.
func (a *Actuator) allDead(ctx context.Context, l *liveCluster, all []corev1.Pod, going []*corev1.Pod) error {
	bound := slices.DeleteFunc(slices.Clone(going), func(p *corev1.Pod) bool { return p.Spec.NodeName == "" })
	if len(bound) == 0 {
		return nil
	}
	r, err := a.raylets(ctx, l, all)
	if err != nil {
		return err
	}
	defer r.close()
	for _, p := range bound {
		if err := r.dead(p); err != nil {
			return err
		}
	}
	return nil
}

// ClearWorkers takes step.Pods, which are gone, out of workersToDelete of
// step.WorkerGroup: a name that stays blocks other tools, and would hit a pod
// that gets the same name later. Names that are not there, and groups and
// clusters that are gone, are left alone. A pod that still exists has moved.
func (a *Actuator) ClearWorkers(ctx context.Context, step planner.Step) error {
	if step.Kind != planner.StepClearWorkers || len(step.Pods) == 0 || !strings.Contains(step.RayCluster, "/") {
		return fmt.Errorf("clearing workers: step %s of RayCluster %q with %d pods clears nothing", step.Kind, step.RayCluster, len(step.Pods))
	}
	where := fmt.Sprintf("clearing worker group %q of RayCluster %s", step.WorkerGroup, step.RayCluster)
	l, err := a.cluster(ctx, step.RayCluster)
	if err == nil {
		err = a.clear(ctx, l, step)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	return nil
}

func (a *Actuator) clear(ctx context.Context, l *liveCluster, step planner.Step) error {
	if l.Mode != planner.ModeLead || l.Invalid != "" {
		return l.leads()
	}
	g, err := l.group(step.WorkerGroup)
	if err != nil {
		return err
	}
	gone := map[string]bool{}
	for _, ref := range step.Pods {
		var p corev1.Pod
		switch err := a.o.Reader.Get(ctx, client.ObjectKey{Namespace: l.Namespace, Name: ref.Name}, &p); {
		case err == nil && (ref.UID == "" || ref.UID == string(p.UID)):
			return moved("pod %s is still there", ref.Name)
		case err != nil && !apierrors.IsNotFound(err):
			return fmt.Errorf("reading pod %s: %w", ref.Name, err)
		}
		gone[ref.Name] = true
	}
	rest := slices.DeleteFunc(slices.Clone(g.WorkersToDelete), func(name string) bool { return gone[name] })
	if len(rest) == len(g.WorkersToDelete) {
		return nil
	}
	if rest == nil {
		rest = []string{}
	}
	return a.patch(ctx, l, g.path("groupName", g.Name), g.workersToDelete(rest))
}

// ReplaceWorker deletes pod step.Pods[0], whose Ray nodes are DEAD by the GCS,
// so that the operator makes a fresh one: replicas stay as they are. The deletion
// is bound to the pod's UID. A pod that is gone or going is left alone. It is for
// pods whose drain was accepted, and which are wanted after all.
func (a *Actuator) ReplaceWorker(ctx context.Context, step planner.Step) error {
	if step.Kind != planner.StepReplaceWorker || len(step.Pods) != 1 || !strings.Contains(step.RayCluster, "/") {
		return fmt.Errorf("replacing a worker: step %s of RayCluster %q with %d pods replaces nothing", step.Kind, step.RayCluster, len(step.Pods))
	}
	where := fmt.Sprintf("replacing pod %s of RayCluster %s", step.Pods[0].Name, step.RayCluster)
	l, err := a.cluster(ctx, step.RayCluster)
	if err == nil {
		err = l.leads()
	}
	if err == nil {
		err = a.replace(ctx, l, step)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	return nil
}

func (a *Actuator) replace(ctx context.Context, l *liveCluster, step planner.Step) error {
	pods, err := a.livePods(ctx, l)
	if err != nil {
		return err
	}
	pod, err := workerPod(pods, step.Pods[0])
	if err != nil {
		return err
	}
	if pod.DeletionTimestamp != nil {
		return nil
	}
	if err := a.allDead(ctx, l, pods, []*corev1.Pod{pod}); err != nil {
		return err
	}
	if pod.Spec.NodeName == "" {
		return moved("pod %s was never bound to a Node", pod.Name)
	}
	uid := types.UID(step.Pods[0].UID)
	err = a.o.Writer.Delete(ctx, pod.DeepCopy(), client.Preconditions{UID: &uid})
	switch {
	case err == nil, apierrors.IsNotFound(err):
		return nil
	case apierrors.IsConflict(err):
		return fmt.Errorf("%w: %w", ErrMoved, err)
	}
	return fmt.Errorf("deleting it: %w", err)
}
