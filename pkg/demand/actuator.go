package demand

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tandem-autoscaler/tandem/pkg/config"
	"github.com/tandem-autoscaler/tandem/pkg/demand/gcs"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// ErrMoved says that the world is not any more what a step was planned from: the
// step was not taken, and the next plan will know better.
var ErrMoved = errors.New("precondition moved")

// ErrDrainRefused says that a raylet was asked to end because it is idle and
// refused, because it is not idle any more. The GCS has marked its actors as
// preempted nevertheless, so the node must not be asked again before it has been
// idle for its whole timeout anew.
var ErrDrainRefused = errors.New("drain refused")

// fieldOwner is the name under which the API server keeps what is ours in a
// RayCluster (metadata.managedFields).
const fieldOwner = "tandem-coordinator"

// Drainer is what the actuator needs of a [gcs.Client].
type Drainer interface {
	GCS
	DrainIdle(ctx context.Context, node gcs.NodeID, message string) (accepted bool, why string, err error)
	DrainPreempt(ctx context.Context, node gcs.NodeID, message string, deadline time.Time) (accepted bool, why string, err error)
}

// ActuatorOptions of an [Actuator]. Reader and Writer are needed.
type ActuatorOptions struct {
	// Reader reads live objects, not those of a cache: RayClusters, pods, Nodes.
	Reader client.Reader
	// Writer patches RayClusters and deletes pods.
	Writer client.Writer
	// DefaultMode and Credentials are those of the source.
	DefaultMode string
	Credentials []config.GCSCredentials
	// Timeout of one call to a GCS (5 s).
	Timeout time.Duration
	// Dial reaches a GCS ([gcs.Dial]).
	Dial func(gcs.Options) (Drainer, error)
}

// Actuator writes to RayClusters, and to Ray's own nodes. Every method reads its
// precondition anew, from the API server and, where a Ray node matters, from the
// GCS, and binds its write to what it read. An error that wraps [ErrMoved] asks
// for a new plan: nothing was written. After any other error the outcome may be
// unknown; since all values are absolute, the next plan decides. A step that was
// taken already succeeds or has moved, so taking it twice does no harm.
type Actuator struct{ o ActuatorOptions }

// NewActuator makes an actuator.
func NewActuator(o ActuatorOptions) *Actuator {
	o.Timeout = orDefault(o.Timeout, 5*time.Second)
	if o.Dial == nil {
		o.Dial = func(g gcs.Options) (Drainer, error) { return gcs.Dial(g) }
	}
	return &Actuator{o: o}
}

// GrowWorkers raises the replicas of a worker group to step.To, if the live
// object still is what the step was planned from. The one patch is bound to the
// version that was read.
func (a *Actuator) GrowWorkers(ctx context.Context, step planner.Step) error {
	if step.Kind != planner.StepGrowWorkers || step.WorkerGroup == "" || step.To <= step.From || !strings.Contains(step.RayCluster, "/") {
		return fmt.Errorf("growing workers: step %s of worker group %q of RayCluster %q from %d to %d is no growth", step.Kind, step.WorkerGroup, step.RayCluster, step.From, step.To)
	}
	where := fmt.Sprintf("growing worker group %q of RayCluster %s", step.WorkerGroup, step.RayCluster)
	l, err := a.cluster(ctx, step.RayCluster)
	if err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	g, err := l.leadGroup(step)
	if err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	if step.To < g.Min || step.To > g.Max {
		return fmt.Errorf("%s: %w", where, moved("%d replicas are outside of minReplicas %d and maxReplicas %d", step.To, g.Min, g.Max))
	}
	if err := a.patch(ctx, l, g.path("groupName", step.WorkerGroup), g.replicas(step.To)); err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	return nil
}

// moved is an [ErrMoved] with its reason.
func moved(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMoved, fmt.Sprintf(format, args...))
}

// patchOp is one operation of a JSON patch (RFC 6902).
type patchOp struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// patch writes the operations in one JSON patch that applies to the version of
// the RayCluster that was read, and to no other.
func (a *Actuator) patch(ctx context.Context, l *liveCluster, ops ...[]patchOp) error {
	all := []patchOp{{Op: "test", Path: "/metadata/resourceVersion", Value: l.object.GetResourceVersion()}}
	for _, some := range ops {
		all = append(all, some...)
	}
	b, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("encoding the patch: %w", err)
	}
	err = a.o.Writer.Patch(ctx, l.object.DeepCopy(), client.RawPatch(types.JSONPatchType, b), client.FieldOwner(fieldOwner))
	switch {
	case err == nil:
		return nil
	case apierrors.IsConflict(err), apierrors.IsInvalid(err), apierrors.IsNotFound(err):
		// A test of the patch that fails comes as 422, an object that went in
		// between as 404.
		return fmt.Errorf("%w: %w", ErrMoved, err)
	}
	return fmt.Errorf("patching it: %w", err)
}
