package planner

import (
	"maps"
	"slices"
)

// rayBin is the room of one Ray node: one that serves, one that is coming, or
// one that the plan adds.
type rayBin struct {
	name   string // Ray node or pod, empty where there is none yet
	free   Resources
	labels map[string]string
	gangs  []string
	// devices are the free shares of the GPUs, 1e-4 each. What the GCS tells
	// of a node that serves is one sum; it is read as whole devices and one
	// remainder, which is the most that can be free.
	devices []int64
}

func newRayBin(name string, free Resources, labels map[string]string) *rayBin {
	b := &rayBin{name: name, free: free.Clone(), labels: labels}
	if b.free == nil {
		b.free = Resources{}
	}
	gpu := b.free[ResourceGPU]
	delete(b.free, ResourceGPU)
	for gpu >= Unit && len(b.devices) < 1024 {
		b.devices = append(b.devices, Unit)
		gpu -= Unit
	}
	if gpu > 0 && gpu < Unit {
		b.devices = append(b.devices, gpu)
	}
	return b
}

// times tells how often r fits, at most limit. An amount of GPU below one
// device must find room on one device; larger amounts take whole devices.
func (b *rayBin) times(r Resources, limit int64) int64 {
	rest := maps.Clone(r)
	gpu := rest[ResourceGPU]
	delete(rest, ResourceGPU)
	n := rest.times(b.free, limit)
	if gpu == 0 || n == 0 {
		return n
	}
	var k int64
	if gpu >= Unit {
		var whole int64
		for _, d := range b.devices {
			if d == Unit {
				whole++
			}
		}
		k = whole / ((gpu + Unit - 1) / Unit)
	} else {
		for _, d := range b.devices {
			k += d / gpu
		}
	}
	return min(n, k)
}

// take puts r into the bin n times; the caller has asked times. It returns how
// to take it back.
func (b *rayBin) take(r Resources, n int64) (undo func()) {
	free, devices := b.free.Clone(), slices.Clone(b.devices)
	for name, v := range r.scaled(n) {
		if name != ResourceGPU {
			b.free[name] -= v
		}
	}
	b.devices = slices.Clone(b.devices)
	for range n {
		b.takeGPU(r[ResourceGPU])
	}
	return func() { b.free, b.devices = free, devices }
}

// takeGPU takes a fraction from the fullest device that still has room, so
// that whole devices stay whole.
func (b *rayBin) takeGPU(gpu int64) {
	for gpu >= Unit {
		i := slices.Index(b.devices, Unit)
		if i < 0 {
			return
		}
		b.devices[i] = 0
		gpu -= min(gpu, Unit)
	}
	if gpu <= 0 {
		return
	}
	best := -1
	for i, d := range b.devices {
		if d >= gpu && (best < 0 || d < b.devices[best]) {
			best = i
		}
	}
	if best >= 0 {
		b.devices[best] -= gpu
	}
}
