package config

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// anyTenant is the namespace of the limit for namespaces without one of their own.
const anyTenant = "*"

// Policy is the part of the configuration that plans depend on, in the
// planner's own type.
func (c *Configuration) Policy() planner.Policy {
	d := func(v metav1.Duration) planner.Duration { return planner.Duration(v.Duration) }
	out := planner.Policy{
		RemovalDisabled:    !c.Removal.Enabled,
		VacantHold:         d(c.Removal.VacantHold),
		DemandHold:         d(c.Removal.DemandHold),
		SoftTaints:         c.Removal.SoftTaints,
		MaxRemovePerTick:   c.Removal.MaxPerTick,
		MaxRemovePerHour:   c.Removal.MaxPerHour,
		MaxUnreadyPercent:  c.Removal.MaxUnreadyPercent,
		OKUnready:          c.Removal.OKUnready,
		Hooks:              c.Removal.Hooks,
		DrainDeadline:      d(c.Removal.DrainDeadline),
		UnreachableRelease: d(c.Removal.UnreachableRelease),
		ProvisionDeadline:  d(c.Growth.ProvisionDeadline),
		BackoffInitial:     d(c.Growth.BackoffInitial),
		BackoffMax:         d(c.Growth.BackoffMax),
		MaxGrowPerTick:     c.Growth.MaxPerTick,
		MaxGrowPerGroup:    c.Growth.MaxPerGroup,
		MaxGrowPerHour:     c.Growth.MaxPerHour,
		MaxMachines:        c.Growth.MaxMachines,
		MaxAttempts:        c.Growth.MaxAttempts,
		FairShareDisabled:  !c.Growth.FairShare,
	}
	if fee, err := ParsePrice(c.Growth.GPUNodeFee); err == nil {
		out.GPUNodeFee = &fee
	}
	if c.Loop.Paused {
		out.Paused, out.PausedBy = true, "loop.paused of the configuration"
	}
	for _, t := range c.Tenants {
		limit := planner.TenantLimit{Namespace: t.Namespace, MaxMachines: t.MaxMachines, MaxGPUs: t.MaxGPUs * planner.Unit, Priority: t.Priority, Weight: t.Weight}
		if t.Namespace == anyTenant {
			limit.Namespace = ""
		}
		out.TenantLimits = append(out.TenantLimits, limit)
	}
	return out
}
