package demand

import (
	"fmt"
	"math"

	"github.com/tandem-autoscaler/tandem/pkg/kube"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// resourceObjectStoreMemory is counted in bytes by Ray, as memory is.
const resourceObjectStoreMemory = "object_store_memory"

// round says which way an amount goes that is finer than the planner's unit.
type round int

const (
	up   round = iota // for what is asked for
	down              // for what is there
)

// amount converts one of Ray's doubles. Ray counts in 1e-4 (ray:
// kResourceUnitScaling), half-way values going up, except for bytes; so does
// this, and a CPU goes on from there to milli-CPU. NaN, infinities, negative
// amounts and amounts above [kube.MaxAmount] are errors.
func amount(name string, v float64, r round) (int64, error) {
	scale := float64(planner.Unit)
	if name == planner.ResourceMemory || name == resourceObjectStoreMemory {
		scale = 1
	}
	switch {
	case math.IsNaN(v):
		return 0, fmt.Errorf("%q is NaN", name)
	case v < 0:
		return 0, fmt.Errorf("%q is negative", name)
	case v*scale > float64(kube.MaxAmount):
		return 0, fmt.Errorf("%q is absurdly large", name)
	}
	n := int64(math.Round(v * scale))
	if name != planner.ResourceCPU {
		return n, nil
	}
	const perMilli = planner.Unit / 1000
	if r == up {
		n += perMilli - 1
	}
	return n / perMilli, nil
}
