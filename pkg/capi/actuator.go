package capi

import (
	"context"
	"fmt"
	"math"
	"time"

	"go.uber.org/zap"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// ActuatorOptions are the options of an [Actuator].
type ActuatorOptions struct {
	// Management and Workload read from and write to the API servers, not caches;
	// they may be the same. The rights that are used: get on clusters, get and
	// patch on machinedeployments and update on machinedeployments/scale, list on
	// machinesets, get, list and patch on machines; get, list and patch on nodes,
	// get and list on pods, create on pods/eviction.
	Management, Workload client.Client
	// UnreachableRelease is how long the Node of a Machine that is being deleted
	// must have been unreachable before its hook is released. Zero: never for
	// that reason.
	UnreachableRelease time.Duration
	// Wrote, if not nil, is told of every object right after it was written, so
	// that a cache can be held to be at least as new.
	Wrote func(client.Object)
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
	if err == nil {
		written := md.DeepCopy()
		written.ResourceVersion = scale.ResourceVersion
		a.written(written)
	}
	return classify("scaling MachineDeployment "+md.Namespace+"/"+md.Name, err)
}

// written passes on what the API server answered to a write.
func (a *Actuator) written(o client.Object) {
	if a.o.Wrote != nil {
		a.o.Wrote(o)
	}
}

func (a *Actuator) wrote(what string, step planner.Step, planID string) {
	a.o.Log.Debug(what, zap.String("planID", planID), zap.String("step", string(step.Kind)), zap.String("nodeGroup", step.Group),
		zap.String("node", step.Node), zap.Strings("machines", step.Machines), zap.Int64("from", step.From), zap.Int64("to", step.To))
}
