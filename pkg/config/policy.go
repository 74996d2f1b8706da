package config

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// Policy is the part of the configuration that plans depend on, in the
// planner's own type.
func (c *Configuration) Policy() planner.Policy {
	d := func(v metav1.Duration) planner.Duration { return planner.Duration(v.Duration) }
	return planner.Policy{
		RemovalDisabled:   !c.Removal.Enabled,
		VacantHold:        d(c.Removal.VacantHold),
		ProvisionDeadline: d(c.Growth.ProvisionDeadline),
		BackoffInitial:    d(c.Growth.BackoffInitial),
		BackoffMax:        d(c.Growth.BackoffMax),
		MaxGrowPerTick:    c.Growth.MaxPerTick,
		MaxMachines:       c.Growth.MaxMachines,
		MaxRemovePerTick:  c.Removal.MaxPerTick,
	}
}
