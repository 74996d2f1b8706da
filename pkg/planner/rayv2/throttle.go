package rayv2

import "math"

// ThrottleInput is the state that Ray's limit on launches depends on.
type ThrottleInput struct {
	// Types are the node types with queued instances, in the order of their
	// first queued instance.
	Types []TypeLoad
	// Requested counts the instances of all types with status REQUESTED.
	Requested int64
	// UpscalingSpeed bounds the launches of one type to this multiple of its
	// running nodes. KubeRay: 1 for Conservative, else 1000.
	UpscalingSpeed float64
	// MaxConcurrentLaunches is AUTOSCALER_MAX_CONCURRENT_LAUNCHES, 10 unless
	// it was changed.
	MaxConcurrentLaunches int64
}

// TypeLoad counts the instances of one node type.
type TypeLoad struct {
	Type string
	// Queued and Running count instances with status QUEUED and RAY_RUNNING.
	Queued  int64
	Running int64
}

// Throttle tells how many queued instances of each type Ray's reconciler
// requests in this round (ray: python/ray/autoscaler/v2/instance_manager/reconciler.py).
// Types that may launch nothing are left out.
func Throttle(in ThrottleInput) []Launch {
	var out []Launch
	requested := in.Requested
	for _, t := range in.Types {
		n := min(in.MaxConcurrentLaunches-requested, speedLimit(in.UpscalingSpeed, t.Running))
		n = min(max(n, 0), t.Queued)
		if n <= 0 {
			continue
		}
		requested += n
		out = append(out, Launch{Type: t.Type, Count: n})
	}
	return out
}

// speedLimit is how many nodes of a type may be on their way at a time.
func speedLimit(speed float64, running int64) int64 {
	n := math.Ceil(speed * float64(max(running, 1)))
	switch {
	case !(n > 1): // NaN as well
		return 1
	case n >= math.MaxInt32:
		return math.MaxInt32
	}
	return int64(n)
}
