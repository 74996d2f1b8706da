package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/tandem-autoscaler/tandem/pkg/capi"
	"github.com/tandem-autoscaler/tandem/pkg/config"
	"github.com/tandem-autoscaler/tandem/pkg/coordinator"
	"github.com/tandem-autoscaler/tandem/pkg/demand"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// actuators hand every step to the adapter whose verb it is.
type actuators struct {
	supply *capi.Actuator
	ray    *demand.Actuator
}

func newActuators(c config.Configuration, s *sources, log *zap.Logger) actuators {
	return actuators{
		supply: capi.NewActuator(capi.ActuatorOptions{
			Management: s.management.Client(), Workload: s.workload.Client(), Namespace: c.Management.Namespace, ClusterName: c.Management.ClusterName,
			Wrote: s.writes.Note, UnreachableRelease: c.Removal.UnreachableRelease.Duration, Log: log.Named("capi"),
		}),
		ray: demand.NewActuator(demand.ActuatorOptions{
			Reader: s.workload.Client(), Writer: s.workload.Client(), DefaultMode: c.RayClusters.DefaultMode,
			Credentials: c.RayClusters.Credentials, Timeout: c.Demand.Timeout.Duration,
		}),
	}
}

// Take implements [coordinator.Actuator].
func (a actuators) Take(ctx context.Context, plan planner.Plan, step planner.Step) error {
	err := a.take(ctx, plan.ID, step)
	if errors.Is(err, demand.ErrDrainRefused) {
		return fmt.Errorf("%w: %w: %w", coordinator.ErrRefused, coordinator.ErrDrainRefused, err)
	}
	if errors.Is(err, capi.ErrMoved) || errors.Is(err, demand.ErrMoved) {
		return fmt.Errorf("%w: %w", coordinator.ErrRefused, err)
	}
	return err
}

func (a actuators) take(ctx context.Context, planID string, step planner.Step) error {
	switch step.Kind {
	case planner.StepGrow:
		return a.supply.Scale(ctx, step, planID)
	case planner.StepCordon:
		return a.supply.Cordon(ctx, step, planID, time.Now())
	case planner.StepUncordon:
		return a.supply.Uncordon(ctx, step)
	case planner.StepSoftTaint:
		return a.supply.SoftTaint(ctx, step, planID, time.Now())
	case planner.StepSoftUntaint:
		return a.supply.SoftUntaint(ctx, step)
	case planner.StepEvict:
		return a.supply.Evict(ctx, step, planID)
	case planner.StepRemove:
		return a.supply.Remove(ctx, step, planID, time.Now())
	case planner.StepUnmark:
		return a.supply.Unmark(ctx, step, time.Now())
	case planner.StepHook:
		return a.supply.Hook(ctx, step, planID)
	case planner.StepReleaseHook:
		return a.supply.ReleaseHook(ctx, step, planID, time.Now())
	case planner.StepRemember:
		return a.supply.Remember(ctx, step, planID)
	case planner.StepGrowWorkers, planner.StepDrain, planner.StepShrinkWorkers, planner.StepClearWorkers, planner.StepReplaceWorker:
		return a.takeRay(ctx, planID, step)
	}
	return fmt.Errorf("step %q is none that this version takes", step.Kind)
}

// takeRay takes the steps that are written to a RayCluster or asked of its GCS.
func (a actuators) takeRay(ctx context.Context, planID string, step planner.Step) error {
	switch step.Kind { //nolint:exhaustive // the others are not about Ray
	case planner.StepGrowWorkers:
		return a.ray.GrowWorkers(ctx, step)
	case planner.StepDrain:
		return a.ray.Drain(ctx, step, planID)
	case planner.StepShrinkWorkers:
		return a.ray.ShrinkWorkers(ctx, step)
	case planner.StepClearWorkers:
		return a.ray.ClearWorkers(ctx, step)
	default:
		return a.ray.ReplaceWorker(ctx, step)
	}
}
