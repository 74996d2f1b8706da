package config

import (
	"fmt"
	"math"
	"strconv"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

func (r *Removal) validate(ps *problems) {
	ps.notNegative("removal.vacantHold", r.VacantHold)
	ps.notNegative("removal.demandHold", r.DemandHold)
	ps.count("removal.maxPerTick", r.MaxPerTick)
	ps.count("removal.maxPerHour", r.MaxPerHour)
	if r.MaxUnreadyPercent < 0 || r.MaxUnreadyPercent > 100 {
		ps.add("removal.maxUnreadyPercent", fmt.Sprintf("is %d; want 0 (no such stop) to 100", r.MaxUnreadyPercent))
	}
	ps.count("removal.okUnready", r.OKUnready)
	ps.positive("removal.drainDeadline", r.DrainDeadline)
	ps.positive("removal.unreachableRelease", r.UnreachableRelease)
}

// maxGPUs is the largest number of GPUs that the planner counts.
const maxGPUs = math.MaxInt64 / planner.Unit

// mostWeight keeps weights comparable: beyond it, one tenant has practically all.
const mostWeight = 1000

func (ps *problems) tenants(list []Tenant) {
	owner := map[string]int{}
	for i, t := range list {
		at := "tenants[" + strconv.Itoa(i) + "]"
		if t.Namespace != anyTenant {
			ps.label(at+".namespace", t.Namespace)
		}
		ps.count(at+".maxMachines", t.MaxMachines)
		ps.count(at+".maxGPUs", t.MaxGPUs)
		if t.MaxGPUs > maxGPUs {
			ps.add(at+".maxGPUs", fmt.Sprintf("is %d, more than can be counted", t.MaxGPUs))
		}
		if t.Weight < 0 || t.Weight > mostWeight {
			ps.add(at+".weight", fmt.Sprintf("is %d; want 1 to %d, or zero, which counts as 1", t.Weight, mostWeight))
		}
		if first, twice := owner[t.Namespace]; twice {
			ps.add(at, fmt.Sprintf("is for %q, as tenants[%d] is", clip(t.Namespace), first))
			continue
		}
		owner[t.Namespace] = i
	}
}
