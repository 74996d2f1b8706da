package packing

import "slices"

// sharing prices the fillings of a node whose pods share devices. The devices
// are exact: what one device holds is a knapsack over its parts. The resources
// are priced by multipliers, which steps of a subgradient method improve; any
// multipliers that are not negative prove a bound. Shapes with fewer pods than
// a node has room for have a multiplier as well.
type sharing struct {
	s     *knapsack
	unit  int64 // of a device
	parts int   // units of a device
	exact bool  // every share is a number of units
	dims  int   // resources that matter
	w     []float64
	// size of each item: parts of a device, or whole devices, or 0.
	size   []int
	bySize [][]int // items that share devices, by their parts
	// Items with whole devices, those with more than half of all, of which a
	// node has one at most, and items with no part of any.
	whole, large, lax []int
	lam, best         []float64
	// room is how many pods of an item a node could hold, and few the items
	// that have not so many; nu are their multipliers.
	room       []float64
	few        []int
	nu, bestNu []float64
	red        []float64
	lead       []int     // best item of each part size, or -1
	device     []float64 // worth of the best filling of so many parts
	choice     []int     // the part size taken last, or 0
	node, slip []float64 // worth of so many devices, and the step of the method
	step       []int     // whole item taken last, or -1 for a shared device, or -2
	count      []int64
	order      []ranked
	composer   composer
}

// mostParts is how fine the grid over one device is at most.
const mostParts = 400

func newSharing(s *knapsack) *sharing {
	p := s.p
	h := &sharing{s: s, count: make([]int64, len(s.items)), red: make([]float64, len(s.items))}
	var step int64
	for _, i := range s.items {
		if p.gpu[i] < Device {
			step = gcd(p.gpu[i], step)
		}
	}
	h.exact = true
	for step = gcd(Device, step); Device/step > mostParts; {
		step, h.exact = step*2, false
	}
	h.unit, h.parts = step, int(Device/step)
	h.bySize, h.lead = make([][]int, h.parts+1), make([]int, h.parts+1)
	h.device, h.choice = make([]float64, h.parts+1), make([]int, h.parts+1)
	h.node, h.step = make([]float64, p.devices[s.k]+1), make([]int, p.devices[s.k]+1)
	for q, i := range s.items {
		size := int(p.gpu[i] / h.unit)
		switch {
		case p.gpu[i] >= Device:
			size = int(wholeDevices(p.gpu[i]))
			if 2*size > int(p.devices[s.k]) {
				h.large = append(h.large, q)
			} else {
				h.whole = append(h.whole, q)
			}
		case size > 0:
			h.bySize[size] = append(h.bySize[size], q)
		default:
			// Finer than the grid: the bound must take it for nothing.
			h.lax = append(h.lax, q)
		}
		h.size = append(h.size, size)
	}
	for q := range s.items {
		h.room = append(h.room, float64(p.roomFor(s.items[q], s.k)))
		for _, d := range s.dim {
			if d >= 0 {
				h.w = append(h.w, s.w[q*s.m+d])
			}
		}
	}
	for _, d := range s.dim {
		if d >= 0 {
			h.dims++
		}
	}
	h.lam, h.best, h.slip = make([]float64, h.dims), make([]float64, h.dims), make([]float64, h.dims)
	h.nu, h.bestNu = make([]float64, len(s.items)), make([]float64, len(s.items))
	h.composer.init(h)
	return h
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// improve looks for multipliers that prove a low bound on what a filling
// without large pods is worth, and leaves everything as it is at the best of
// them. It stops at the floor. count is the filling there, which may be too
// much for the resources.
func (h *sharing) improve(floor float64, steps int) {
	h.start()
	bound, reach, stalled := -1.0, 0.01, 0
	for range steps {
		v := h.price()
		if bound < 0 || v < bound {
			if v < bound*(1-1e-4) || bound < 0 {
				stalled = 0
			}
			bound = v
			copy(h.best, h.lam)
			copy(h.bestNu, h.nu)
		}
		if bound <= floor {
			break
		}
		if stalled++; stalled > 3 {
			reach, stalled = reach/2, 0
			h.back()
		}
		h.unwind()
		if !h.move(v - max(floor, bound*(1-reach))) {
			break
		}
	}
	h.back()
	h.unwind()
}

// back returns to the best multipliers.
func (h *sharing) back() {
	copy(h.lam, h.best)
	copy(h.nu, h.bestNu)
	h.price()
}

// move steps to where the bound would be lower by so much, were it linear.
func (h *sharing) move(by float64) bool {
	var norm float64
	for r := range h.slip {
		h.slip[r] = 1
		for q, n := range h.count {
			h.slip[r] -= float64(n) * h.w[q*h.dims+r]
		}
		if h.lam[r] == 0 && h.slip[r] > 0 {
			h.slip[r] = 0
		}
		norm += h.slip[r] * h.slip[r]
	}
	for _, q := range h.few {
		if v := h.spare(q); v < 0 || h.nu[q] > 0 {
			norm += v * v
		}
	}
	h.s.p.work += int64(len(h.count)*h.dims/2 + 2*len(h.few))
	if norm < 1e-12 {
		return false
	}
	for r, v := range h.slip {
		h.lam[r] = max(0, h.lam[r]-by/norm*v)
	}
	for _, q := range h.few {
		h.nu[q] = max(0, h.nu[q]-by/norm*h.spare(q))
	}
	return true
}

// spare is how many pods of an item are not taken, as a share of the room.
func (h *sharing) spare(q int) float64 { return (h.s.u[q] - float64(h.count[q])) / h.room[q] }

// start takes the last multipliers, or those of the relaxation at first.
func (h *sharing) start() {
	h.few = h.few[:0]
	for q, room := range h.room {
		if h.size[q] > 0 && h.s.u[q] > 0 && h.s.u[q] < room {
			h.few = append(h.few, q)
		} else {
			h.nu[q] = 0
		}
	}
	if slices.Max(append(h.lam, 0)) > 0 {
		return
	}
	at := 0
	for _, d := range h.s.dim {
		if d >= 0 {
			h.lam[at] = h.s.lam[d]
			at++
		}
	}
}

// price fills the devices for the multipliers and returns the bound.
func (h *sharing) price() float64 {
	s, total := h.s, 0.0
	for q := range s.items {
		v := s.val[q] - h.nu[q]/h.room[q]
		for r, l := range h.lam {
			v -= l * h.w[q*h.dims+r]
		}
		if s.u[q] <= 0 {
			v = -1
		}
		h.red[q] = v
	}
	for _, l := range h.lam {
		total += l
	}
	for _, q := range h.few {
		total += h.nu[q] * s.u[q] / h.room[q]
	}
	for _, q := range h.lax {
		if h.red[q] > 0 {
			total += s.u[q] * h.red[q]
		}
	}
	h.fillDevice()
	for g := 1; g < len(h.node); g++ {
		h.node[g], h.step[g] = h.node[g-1], -2
		if v := h.node[g-1] + h.device[h.parts]; v > h.node[g] {
			h.node[g], h.step[g] = v, -1
		}
		for _, q := range h.whole {
			if h.size[q] <= g && h.red[q] > 0 && h.node[g-h.size[q]]+h.red[q] > h.node[g] {
				h.node[g], h.step[g] = h.node[g-h.size[q]]+h.red[q], q
			}
		}
	}
	s.p.work += int64(len(s.items)*(2+h.dims)/2 + len(h.node)*len(h.whole)/2)
	return total + h.node[len(h.node)-1]
}

// fillDevice finds the best filling of every part of one device.
func (h *sharing) fillDevice() {
	clear(h.device)
	clear(h.choice)
	for size, items := range h.bySize {
		h.lead[size] = -1
		best := 0.0
		for _, q := range items {
			if h.red[q] > best {
				h.lead[size], best = q, h.red[q]
			}
		}
		if h.lead[size] < 0 {
			continue
		}
		for f := size; f <= h.parts; f++ {
			if v := h.device[f-size] + best; v > h.device[f] {
				h.device[f], h.choice[f] = v, size
			}
		}
		h.s.p.work += int64(h.parts-size+1) / 2
	}
	h.s.p.work += int64(h.parts) / 2
}

// unwind counts the pods of the best filling.
func (h *sharing) unwind() {
	clear(h.count)
	for _, q := range h.lax {
		if h.red[q] > 0 {
			h.count[q] = int64(h.s.u[q])
		}
	}
	for g := len(h.node) - 1; g > 0; {
		switch q := h.step[g]; q {
		case -2:
			g--
		case -1:
			for f := h.parts; h.choice[f] > 0; f -= h.choice[f] {
				h.count[h.lead[h.choice[f]]]++
			}
			g--
		default:
			h.count[q]++
			g -= h.size[q]
		}
	}
	h.s.p.work += int64(len(h.count) / 4)
}

// column makes the filling one that fits, and fills it up.
func (h *sharing) column(f *filler) (value float64) {
	s := h.s
	h.order = h.order[:0]
	for q, n := range h.count {
		if n > 0 {
			h.order = append(h.order, ranked{q, float64(s.p.gpu[s.items[q]])})
		}
	}
	sortRanked(h.order)
	f.start(s.k)
	for _, o := range h.order {
		value += s.val[o.q] * float64(f.add(s.items[o.q], min(h.count[o.q], int64(s.u[o.q]))))
	}
	return value + h.fillUp(f)
}

// fillUp adds what is worth most for its weight.
func (h *sharing) fillUp(f *filler) (value float64) {
	s := h.s
	h.order = h.order[:0]
	for q := range s.items {
		if s.val[q] > 0 && s.u[q] > 0 {
			h.order = append(h.order, ranked{q, s.val[q] / (s.weight(q) + 1e-300)})
		}
	}
	sortRanked(h.order)
	for _, o := range h.order {
		value += s.val[o.q] * float64(f.add(s.items[o.q], int64(s.u[o.q])-f.count[s.items[o.q]]))
	}
	s.p.work += int64(len(s.items) * 14)
	return value
}
