package demand

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tandem-autoscaler/tandem/pkg/demand/gcs"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// Drain asks the GCS of step.RayCluster to drain step.RayNode, the raylet of pod
// step.Pods[0] on step.Node.
//
// Precondition, read anew, of the API server and of the GCS: the Node carries our
// cordon, so that nothing can land on it meanwhile; the pod is the one with its
// UID, is on that Node, and is no head; the raylet is that pod's. For
// IDLE_TERMINATION also: the cluster is in lead mode without a live autoscaler of
// Ray's own, and the raylet is idle, for its worker group's timeout. A drain is
// never asked for to find out whether a node is idle, because the GCS marks the
// node's actors as preempted before it asks the raylet. For PREEMPTION step.DrainBy
// must be set.
//
// A raylet that refuses gives an error that wraps [ErrDrainRefused]. One that is
// draining or DEAD already is left alone; one that the GCS does not know has
// moved: it may be joining.
func (a *Actuator) Drain(ctx context.Context, step planner.Step, planID string) error {
	if err := drainable(step); err != nil {
		return err
	}
	id, err := gcs.ParseNodeID(step.RayNode)
	if err != nil {
		return fmt.Errorf("draining: %w", err)
	}
	where := fmt.Sprintf("draining Ray node %s, pod %s of RayCluster %s", step.RayNode, step.Pods[0].Name, step.RayCluster)
	l, err := a.cluster(ctx, step.RayCluster)
	if err == nil {
		err = l.drains(step.Drain)
	}
	if err == nil {
		err = a.cordoned(ctx, step)
	}
	if err == nil {
		err = a.drain(ctx, l, step, id, planID)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	return nil
}

func drainable(step planner.Step) error {
	if step.Kind != planner.StepDrain || len(step.Pods) != 1 || step.Node == "" || !strings.Contains(step.RayCluster, "/") {
		return fmt.Errorf("draining: step %s with %d pods on Node %q of RayCluster %q is no drain", step.Kind, len(step.Pods), step.Node, step.RayCluster)
	}
	switch step.Drain {
	case planner.DrainIdle:
	case planner.DrainPreemption:
		if step.DrainBy.IsZero() {
			return errors.New("draining: a preemption needs the time at which the node goes")
		}
	default:
		return fmt.Errorf("draining: reason %q is none that a raylet survives", step.Drain)
	}
	return nil
}

// drains tells why Ray nodes of this cluster must not be drained for this reason.
func (l *liveCluster) drains(reason planner.DrainReason) error {
	if reason == planner.DrainIdle {
		return l.leads()
	}
	// The Machine goes whoever decides about the pods; only clusters that nobody
	// asked us to look at are left alone.
	if l.Mode == planner.ModeOff {
		return moved("its mode is off")
	}
	return nil
}

// cordoned checks that the step's Node still carries our cordon.
func (a *Actuator) cordoned(ctx context.Context, step planner.Step) error {
	var n corev1.Node
	if err := a.o.Reader.Get(ctx, client.ObjectKey{Name: step.Node}, &n); err != nil {
		if apierrors.IsNotFound(err) {
			return moved("Node %s is gone", step.Node)
		}
		return fmt.Errorf("reading Node %s: %w", step.Node, err)
	}
	if step.NodeUID != "" && string(n.UID) != step.NodeUID {
		return moved("Node %s is another one now", step.Node)
	}
	for _, t := range n.Spec.Taints {
		if t.Key == planner.CordonTaint && t.Effect == corev1.TaintEffectNoSchedule {
			return nil
		}
	}
	return moved("Node %s does not carry our cordon", step.Node)
}

func (a *Actuator) drain(ctx context.Context, l *liveCluster, step planner.Step, id gcs.NodeID, planID string) error {
	pods, err := a.livePods(ctx, l)
	if err != nil {
		return err
	}
	pod, err := workerPod(pods, step.Pods[0])
	if err != nil {
		return err
	}
	if pod.Spec.NodeName != step.Node {
		return moved("pod %s is on Node %q, not %q", pod.Name, pod.Spec.NodeName, step.Node)
	}
	r, err := a.raylets(ctx, l, pods)
	if err != nil {
		return err
	}
	defer r.close()
	going, err := r.ready(l, pod, step)
	if err != nil || going {
		return err
	}
	return a.ask(ctx, r.gcs, step, id, planID)
}

// ready tells whether the raylet is on its way already, or why it must not be
// drained.
func (r *raylets) ready(l *liveCluster, pod *corev1.Pod, step planner.Step) (going bool, err error) {
	for _, n := range r.of(pod) {
		if n.ID != step.RayNode {
			continue
		}
		switch n.Status {
		case planner.RayNodeDead, planner.RayNodeDraining:
			return true, nil
		case planner.RayNodeIdle, planner.RayNodeRunning, planner.RayNodeUnknown:
		}
		switch timeout := l.idleTimeout(pod.Labels[labelGroup]); {
		case n.Head:
			return false, moved("it is the head")
		case step.Drain == planner.DrainPreemption:
			return false, nil
		case n.Status != planner.RayNodeIdle:
			return false, moved("the Ray node is %s, not idle", n.Status)
		case n.IdleFor < timeout:
			return false, moved("the Ray node has been idle for %s of %s", time.Duration(n.IdleFor), time.Duration(timeout))
		}
		return false, nil
	}
	return false, moved("the GCS does not know this Ray node as that of the pod")
}

// idleTimeout is how long a Ray node of the group stays idle before it goes.
func (l *liveCluster) idleTimeout(group string) planner.Duration {
	for i := range l.WorkerGroups {
		if g := &l.WorkerGroups[i]; g.Name == group && g.IdleTimeout != nil {
			return *g.IdleTimeout
		}
	}
	return l.IdleTimeout
}

// ask sends the one call that cannot be taken back.
func (a *Actuator) ask(ctx context.Context, conn Drainer, step planner.Step, id gcs.NodeID, planID string) error {
	var accepted bool
	var why string
	var err error
	if step.Drain == planner.DrainPreemption {
		accepted, why, err = conn.DrainPreempt(ctx, id, "Tandem: the machine under this node is being deleted (plan "+planID+")", step.DrainBy)
	} else {
		accepted, why, err = conn.DrainIdle(ctx, id, "Tandem: idle for its timeout (plan "+planID+")")
	}
	switch {
	case errors.Is(err, gcs.ErrUnsupported):
		return fmt.Errorf("this Ray is older than 2.7 and cannot drain, so lead mode cannot give its nodes back: %w", err)
	case err != nil:
		return err
	case !accepted:
		return fmt.Errorf("%w: %q", ErrDrainRefused, why)
	}
	return nil
}
