package planner

import (
	"maps"
	"slices"
)

// ask is a resource request or a bundle in the terms of the hot paths. GPUs are
// kept apart, because a fraction must find room on one device.
type ask struct {
	need     need
	gpu      int64
	selector Selector
}

// rayTables intern what the Ray nodes and the demand of one cluster have in
// common. Only what the demand asks for is looked at, so that nodes that differ
// in other labels and resources are equal.
type rayTables struct {
	*dims

	labelKeys []string
	gangs     map[string]bool // the ids of those that wait
	// constrained tells whether request_resources looks at totals.
	constrained bool
	// asksNothing tells whether some request wants no resources: only such a
	// one finds room on a full Ray node.
	asksNothing bool
	// zero is the vector of all that have nothing free.
	zero   vector
	key    []byte // scratch of set
	labels map[string]*raySet
}

// raySet is one set of labels; equal sets are one object.
type raySet struct {
	number int
	labels map[string]string
}

func newRayTables(c *RayCluster) *rayTables {
	names, keys, gangs := map[string]bool{}, map[string]bool{}, map[string]bool{}
	nothing := false
	seen := func(r Resources, selectors ...Selector) {
		nothing = nothing || r.IsZero()
		for n := range r {
			names[n] = true
		}
		for _, s := range selectors {
			for _, q := range s {
				keys[q.Key] = true
			}
		}
	}
	for _, list := range [][]Request{c.Requests, c.Constraints} {
		for i := range list {
			seen(list[i].Resources, list[i].Selectors...)
		}
	}
	for i := range c.Gangs {
		gangs[c.Gangs[i].ID] = true
		for _, o := range c.Gangs[i].Options {
			for _, b := range o.Bundles {
				if b.Resources[ResourceGPU] > 0 {
					keys[acceleratorLabel] = true
				}
				seen(b.Resources, b.Selector)
			}
		}
	}
	delete(names, ResourceGPU)
	return &rayTables{
		dims: newDims(names), labelKeys: slices.Sorted(maps.Keys(keys)), gangs: gangs, constrained: len(c.Constraints) > 0, asksNothing: nothing,
		zero: make(vector, len(names)), labels: map[string]*raySet{},
	}
}

func (t *rayTables) ask(r Resources, s Selector) ask {
	return ask{need: t.vector(r).need(), gpu: r[ResourceGPU], selector: s}
}

func (t *rayTables) set(labels map[string]string) *raySet {
	key := t.key[:0]
	for _, k := range t.labelKeys {
		if v, ok := labels[k]; ok {
			key = append(append(append(append(key, k...), 0), v...), 0)
		}
	}
	t.key = key
	l := t.labels[string(key)]
	if l == nil {
		l = &raySet{number: len(t.labels), labels: labels}
		t.labels[string(key)] = l
	}
	return l
}

// rayBin is the room of a number of equal Ray nodes: such that serve, that are
// coming, or that the plan adds.
type rayBin struct {
	count  int64
	free   vector
	labels *raySet
	// gangs are the waiting gangs of which there is a bundle on each node.
	gangs []string
	// devices are the free shares of each node's GPUs, 1e-4 each. What the GCS
	// tells of a node that serves is one sum; it is read as whole devices and
	// one remainder, which is the most that can be free. Never changed in place.
	devices []int64
	// coming nodes do not serve yet; group is set for those that the plan adds.
	coming bool
	group  *WorkerGroup
	// used counts what the plan puts on each, also what takes no room.
	used int64
}

func (t *rayTables) newBin(free Resources, labels map[string]string, n int64) *rayBin {
	v := t.zero // shared, for vectors are never changed in place
	if len(free) > 0 {
		v = t.vector(free)
	}
	return &rayBin{count: n, free: v, labels: t.set(labels), devices: devicesOf(free[ResourceGPU])}
}

// full tells whether nothing is free for those who ask for something.
func (b *rayBin) full() bool {
	return len(b.devices) == 0 && !slices.ContainsFunc(b.free, func(v int64) bool { return v != 0 })
}

// devicesOf reads a sum of GPUs as devices.
func devicesOf(gpu int64) []int64 {
	var out []int64
	for gpu >= Unit && len(out) < 1024 {
		out = append(out, Unit)
		gpu -= Unit
	}
	if gpu > 0 && gpu < Unit {
		out = append(out, gpu)
	}
	return out
}

// key tells bins apart that are not equal.
func (b *rayBin) key() string {
	coming := int64(0)
	if b.coming {
		coming = 1
	}
	k := vector(b.devices).appendTo(append(b.free.appendTo(vector{coming, int64(b.labels.number)}.appendTo(nil)), '|'))
	for _, g := range b.gangs {
		k = append(k, "|"+g...)
	}
	return string(k)
}

// times tells how often the ask fits on each node, at most limit. An amount of
// GPU below one device must find room on one device; larger amounts take whole
// devices.
func (b *rayBin) times(a *ask, limit int64) int64 {
	if b.count == 0 {
		return 0
	}
	n := a.need.times(b.free, limit)
	if a.gpu == 0 || n <= 0 {
		return max(0, n)
	}
	return min(n, timesOnDevices(b.devices, a.gpu))
}

func timesOnDevices(devices []int64, gpu int64) int64 {
	if gpu >= Unit {
		var whole int64
		for _, d := range devices {
			if d == Unit {
				whole++
			}
		}
		return whole / ((gpu + Unit - 1) / Unit)
	}
	var k int64
	for _, d := range devices {
		k += d / gpu
	}
	return k
}

// fitsOn tells whether a node with the resources could serve the request.
func fitsOn(total, request Resources) bool {
	for name, v := range request {
		if name != ResourceGPU && v > total[name] {
			return false
		}
	}
	gpu := request[ResourceGPU]
	return gpu == 0 || timesOnDevices(devicesOf(total[ResourceGPU]), gpu) > 0
}

// takeGPUs takes gpu from the devices k times. A fraction goes to the fullest
// device that still has room, so that whole devices stay whole.
func takeGPUs(devices []int64, gpu, k int64) []int64 {
	if gpu <= 0 || k <= 0 {
		return devices
	}
	out := slices.Clone(devices)
	for range k {
		takeGPU(out, gpu)
	}
	return out
}

func takeGPU(devices []int64, gpu int64) {
	for gpu >= Unit {
		i := slices.Index(devices, Unit)
		if i < 0 {
			return
		}
		devices[i] = 0
		gpu -= min(gpu, Unit)
	}
	if gpu <= 0 {
		return
	}
	best := -1
	for i, d := range devices {
		if d >= gpu && (best < 0 || d < devices[best]) {
			best = i
		}
	}
	if best >= 0 {
		devices[best] -= gpu
	}
}
