package demand

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// ErrMoved says that the world is not any more what a step was planned from: the
// step was not taken, and the next plan will know better.
var ErrMoved = errors.New("precondition moved")

// ActuatorOptions of an [Actuator]. All but DefaultMode are needed.
type ActuatorOptions struct {
	// Reader reads live objects, not those of a cache.
	Reader client.Reader
	// Writer patches RayClusters.
	Writer client.Writer
	// DefaultMode is that of the source.
	DefaultMode string
}

// Actuator writes to RayClusters in lead mode.
type Actuator struct{ o ActuatorOptions }

// NewActuator makes an actuator.
func NewActuator(o ActuatorOptions) *Actuator { return &Actuator{o: o} }

// GrowWorkers raises the replicas of a worker group to step.To, if the live
// object still is what the step was planned from. The one patch is bound to the
// version that was read. An error that matches [ErrMoved] asks for a new plan;
// after any other the outcome may be unknown, and since the value is absolute,
// the next plan decides.
func (a *Actuator) GrowWorkers(ctx context.Context, step planner.Step) error {
	namespace, name, ok := strings.Cut(step.RayCluster, "/")
	if step.Kind != planner.StepGrowWorkers || !ok || step.WorkerGroup == "" || step.To <= step.From {
		return fmt.Errorf("growing workers: step %s of worker group %q of RayCluster %q from %d to %d is no growth", step.Kind, step.WorkerGroup, step.RayCluster, step.From, step.To)
	}
	where := fmt.Sprintf("growing worker group %q of RayCluster %s", step.WorkerGroup, step.RayCluster)
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(RayClusterKind())
	if err := a.o.Reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, u); err != nil {
		if apierrors.IsNotFound(err) {
			return fmt.Errorf("%s: %w: the RayCluster is gone", where, ErrMoved)
		}
		return fmt.Errorf("%s: reading it: %w", where, err)
	}
	c := RayCluster(u, a.o.DefaultMode)
	index, why := groupFor(&c, step)
	if why != "" {
		return fmt.Errorf("%s: %w: %s", where, ErrMoved, why)
	}
	patch, err := growPatch(u.GetResourceVersion(), index, step)
	if err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	if err := a.o.Writer.Patch(ctx, u, client.RawPatch(types.JSONPatchType, patch)); err != nil {
		// A test of the patch that fails comes as 422, an object that went in
		// between as 404.
		if apierrors.IsConflict(err) || apierrors.IsInvalid(err) || apierrors.IsNotFound(err) {
			return fmt.Errorf("%s: %w: %w", where, ErrMoved, err)
		}
		return fmt.Errorf("%s: patching it: %w", where, err)
	}
	return nil
}

// groupFor finds the index of the step's worker group, or tells why the step
// must not be taken.
func groupFor(c *planner.RayCluster, step planner.Step) (index int, why string) {
	switch {
	case c.Invalid != "":
		return 0, c.Invalid
	case c.Mode != planner.ModeLead:
		return 0, fmt.Sprintf("its mode is %s, not lead", c.Mode)
	case c.Suspended:
		return 0, "it is suspended or being deleted"
	}
	for i := range c.WorkerGroups {
		g := &c.WorkerGroups[i]
		if g.Name != step.WorkerGroup {
			continue
		}
		switch {
		case g.Invalid != "":
			return 0, g.Invalid
		case g.Suspended:
			return 0, "the group is suspended"
		case g.Replicas != step.From:
			return 0, fmt.Sprintf("replicas is %d, not %d as planned from", g.Replicas, step.From)
		case step.To < g.Min || step.To > g.Max:
			return 0, fmt.Sprintf("%d replicas are outside of minReplicas %d and maxReplicas %d", step.To, g.Min, g.Max)
		}
		return i, ""
	}
	return 0, "it has no such worker group"
}

type patchOp struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// growPatch is one JSON patch that applies to the version read and to no other.
// Replicas is added, not replaced, because it may be absent.
func growPatch(version string, index int, step planner.Step) ([]byte, error) {
	group := fmt.Sprintf("/spec/workerGroupSpecs/%d", index)
	return json.Marshal([]patchOp{
		{Op: "test", Path: "/metadata/resourceVersion", Value: version},
		{Op: "test", Path: group + "/groupName", Value: step.WorkerGroup},
		{Op: "add", Path: group + "/replicas", Value: step.To},
	})
}
