package capi

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"go.uber.org/zap"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// ActuatorOptions are the options of an [Actuator].
type ActuatorOptions struct {
	// Management and Workload read from and write to the API servers, not caches;
	// they may be the same. The rights that are used: get on clusters, get on
	// machinedeployments and update on machinedeployments/scale, list on
	// machinesets, get, list and patch on machines; get, list and patch on nodes,
	// list on pods.
	Management, Workload client.Client
	// Namespace and ClusterName bound what is ever written to.
	Namespace, ClusterName string
	// Log may be nil.
	Log *zap.Logger
}

// Actuator takes the steps of a plan. Every method reads the precondition of its
// step from the API server first and writes with the resourceVersion that it
// read. When the world is not what the step was planned from, the error wraps
// [ErrMoved] and nothing was changed, or what was changed was taken back. All
// values are absolute, and a step that was already taken succeeds, so every
// method may be called again after a crash at any point.
type Actuator struct {
	o ActuatorOptions
}

// NewActuator returns an actuator.
func NewActuator(o ActuatorOptions) *Actuator {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return &Actuator{o}
}

// Scale raises the replicas of step.Group from step.From to step.To.
//
// Precondition, read anew: the MachineDeployment belongs to our Cluster, is
// managed, valid, not paused and not owned by a topology, has step.From replicas,
// and step.To is within its limits. A MachineDeployment that already has step.To
// replicas is left alone. To lower replicas is the business of
// [Actuator.Remove] alone, because Cluster API would choose the Machine itself.
func (a *Actuator) Scale(ctx context.Context, step planner.Step, planID string) error {
	if step.To <= step.From {
		return fmt.Errorf("scaling %s from %d to %d: only growth is scaled", step.Group, step.From, step.To)
	}
	g, err := a.readGroup(ctx, step.Group)
	if err != nil {
		return err
	}
	if g.group.Replicas == step.To {
		return nil
	}
	if g.group.Replicas != step.From {
		return moved("MachineDeployment %s has %d replicas, not %d", step.Group, g.group.Replicas, step.From)
	}
	if step.To > g.group.Max {
		return moved("MachineDeployment %s may have %d replicas at most, not %d", step.Group, g.group.Max, step.To)
	}
	if err := a.writeScale(ctx, g.md, step.To); err != nil {
		return err
	}
	a.wrote("replicas raised", step, planID)
	return nil
}

// writeScale sets the replicas through the scale subresource, provided that the
// MachineDeployment is still the version that was read.
func (a *Actuator) writeScale(ctx context.Context, md *clusterv1.MachineDeployment, to int64) error {
	if to < 0 || to > math.MaxInt32 {
		return fmt.Errorf("scaling MachineDeployment %s to %d: out of range", md.Name, to)
	}
	if md.ResourceVersion == "" {
		return fmt.Errorf("scaling MachineDeployment %s: it was read without a resourceVersion", md.Name)
	}
	scale := &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Namespace: md.Namespace, Name: md.Name, UID: md.UID, ResourceVersion: md.ResourceVersion},
		Spec:       autoscalingv1.ScaleSpec{Replicas: int32(to)},
	}
	err := a.o.Management.SubResource("scale").Update(ctx, md.DeepCopy(), client.WithSubResourceBody(scale), client.FieldOwner(fieldOwner))
	return classify("scaling MachineDeployment "+md.Namespace+"/"+md.Name, err)
}

// Cordon puts our taint on step.Node, so that no pod can land on it any more.
//
// Precondition, read anew: the Node is the one with step.NodeUID, and no pod is
// on it but those of DaemonSets and mirrors of static pods. A Node that already
// carries our cordon, from whatever plan, is left alone. A pod that lands between
// the check and the write is found by [Actuator.Remove].
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
	if err := a.vacant(ctx, step.Node); err != nil {
		return err
	}
	taints := slices.DeleteFunc(slices.Clone(n.Spec.Taints), func(t corev1.Taint) bool {
		return t.Key == planner.CordonTaint && t.Effect == corev1.TaintEffectNoSchedule
	})
	taints = append(taints, corev1.Taint{Key: planner.CordonTaint, Value: value, Effect: corev1.TaintEffectNoSchedule})
	if err := a.writeTaints(ctx, n, taints); err != nil {
		return err
	}
	a.wrote("node cordoned", step, planID)
	return nil
}

// Uncordon takes our taint back from step.Node. A Node that is gone, or does not
// carry it, is left alone; a namesake with another UID is [ErrMoved].
func (a *Actuator) Uncordon(ctx context.Context, step planner.Step) error {
	n, err := a.readNode(ctx, step.Node, step.NodeUID)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	taints := slices.DeleteFunc(slices.Clone(n.Spec.Taints), ours)
	if len(taints) == len(n.Spec.Taints) {
		return nil
	}
	if err := a.writeTaints(ctx, n, taints); err != nil {
		return err
	}
	a.wrote("node uncordoned", step, "")
	return nil
}

// ours tells whether the taint is a cordon that a coordinator wrote.
func ours(t corev1.Taint) bool {
	_, ok := ParseMark(t.Value)
	return ok && t.Key == planner.CordonTaint
}

// writeTaints replaces the taints, provided that the Node is still the version
// that was read. A merge patch replaces the list as a whole; a strategic one
// would merge by key and drop taints that share it.
func (a *Actuator) writeTaints(ctx context.Context, n *corev1.Node, taints []corev1.Taint) error {
	before := n.DeepCopy()
	n.Spec.Taints = taints
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	return classify("writing the taints of Node "+n.Name, a.o.Workload.Patch(ctx, n, patch, client.FieldOwner(fieldOwner)))
}

func (a *Actuator) wrote(what string, step planner.Step, planID string) {
	a.o.Log.Debug(what, zap.String("planID", planID), zap.String("step", string(step.Kind)), zap.String("nodeGroup", step.Group),
		zap.String("node", step.Node), zap.Strings("machines", step.Machines), zap.Int64("from", step.From), zap.Int64("to", step.To))
}
