package packing

// devices is the GPU side of one node: whole devices that are taken, and the
// free rest of each device that fractions share.
type devices struct {
	total, whole int64
	free         []int64
}

// room is how many pods with so much GPU fit beside what is there, by best
// fit, at most n. It changes nothing.
func (d *devices) room(gpu, n int64) int64 {
	if gpu <= 0 {
		return n
	}
	spare := d.total - d.whole - int64(len(d.free))
	if gpu >= Device {
		return min(n, spare/wholeDevices(gpu))
	}
	var k int64
	for _, f := range d.free {
		k += f / gpu
	}
	return min(n, k+spare*(Device/gpu))
}

// put places n pods, which room has said to fit: the fullest device first.
func (d *devices) put(gpu, n int64) {
	switch {
	case gpu <= 0:
		return
	case gpu >= Device:
		d.whole += n * wholeDevices(gpu)
		return
	}
	for n > 0 {
		best := -1
		for q, f := range d.free {
			if f >= gpu && (best < 0 || f < d.free[best]) {
				best = q
			}
		}
		if best < 0 {
			d.free = append(d.free, Device)
			best = len(d.free) - 1
		}
		k := min(n, d.free[best]/gpu)
		d.free[best] -= k * gpu
		n -= k
	}
}

// pack places fractions, the largest first, on so many devices, and returns
// what stays free of each device used, or nil. Where the search is cut short it
// is not sure that there is no way.
func pack(fractions []int64, bins int64) (free []int64, sure bool, steps int64) {
	for f := range int64(5) {
		var need float64
		for _, v := range fractions {
			need += dualFeasible(v, f)
		}
		if need > float64(bins)+1e-9 {
			return nil, true, 5
		}
	}
	s := packer{f: fractions, free: make([]int64, 0, bins), bins: int(bins), left: packSteps}
	if s.place(0) {
		return s.free, true, int64(packSteps - s.left)
	}
	return nil, s.left > 0, int64(packSteps - s.left)
}

// packSteps bounds the search for a way to place fractions.
const packSteps = 100

type packer struct {
	f, free    []int64
	bins, left int
}

// place tries the devices of fraction i in turn, the fullest first; devices
// that are equally full are one.
func (s *packer) place(i int) bool {
	if i == len(s.f) {
		return true
	}
	if s.left--; s.left <= 0 {
		return false
	}
	last := int64(-1)
	for {
		best := -1
		for q, v := range s.free {
			if v >= s.f[i] && v > last && (best < 0 || v < s.free[best]) {
				best = q
			}
		}
		if best < 0 {
			break
		}
		last = s.free[best]
		s.free[best] -= s.f[i]
		if s.place(i + 1) {
			return true
		}
		s.free[best] += s.f[i]
	}
	if len(s.free) < s.bins {
		s.free = append(s.free, Device-s.f[i])
		if s.place(i + 1) {
			return true
		}
		s.free = s.free[:len(s.free)-1]
	}
	return false
}
