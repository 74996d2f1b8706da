package planner

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Names of the resources that the planner knows by name. Every other name is a
// custom resource of Ray or an extended resource of Kubernetes.
const (
	// ResourceCPU is counted in milli-CPU: 1000 is one core.
	ResourceCPU = "CPU"
	// ResourceMemory is counted in bytes.
	ResourceMemory = "memory"
	// ResourceGPU is counted in 1e-4 devices: [Unit] is one whole device. An amount
	// below Unit must fit on one device.
	ResourceGPU = "GPU"
)

// Unit is the amount of a GPU or of a custom resource that stands for 1. Ray
// quantises its resources to 1e-4 as well (kResourceUnitScaling).
const Unit int64 = 10000

// Resources is a vector of non-negative amounts by resource name, in the units
// of [ResourceCPU], [ResourceMemory] and [Unit]. A missing name is zero. Adapters validate and
// convert once, at the edge; the planner never sees a float.
type Resources map[string]int64

// Clone returns a copy that shares nothing with r.
func (r Resources) Clone() Resources { return maps.Clone(r) }

// Names lists the names with an amount other than zero, sorted.
func (r Resources) Names() []string {
	names := make([]string, 0, len(r))
	for n, v := range r {
		if v != 0 {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return names
}

// IsZero tells whether every amount is zero.
func (r Resources) IsZero() bool {
	for _, v := range r {
		if v != 0 {
			return false
		}
	}
	return true
}

// FitsIn tells whether every amount of r is at most that of room. It looks at
// sums only: whole GPU devices are the packer's business.
func (r Resources) FitsIn(room Resources) bool {
	for n, v := range r {
		if v > room[n] {
			return false
		}
	}
	return true
}

// Add adds o to r in place. Sums saturate at the largest int64, so a hostile
// amount can make a demand unplaceable but never wrap around.
func (r Resources) Add(o Resources) {
	for n, v := range o {
		r[n] = addSat(r[n], v)
	}
}

// Sub takes o away from r in place, not below zero.
func (r Resources) Sub(o Resources) {
	for n, v := range o {
		r[n] = max(0, r[n]-v)
	}
}

// Key is a canonical text of r: equal vectors have equal keys.
func (r Resources) Key() string {
	var b strings.Builder
	for i, n := range r.Names() {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(n)
		b.WriteByte('=')
		b.WriteString(strconv.FormatInt(r[n], 10))
	}
	return b.String()
}

// addSat is a+b for non-negative operands, saturating.
func addSat(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
