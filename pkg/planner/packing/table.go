package packing

// table fills one node by dynamic programming where pods share devices. It is
// exact for the devices and one resource; the others are priced by the
// multipliers of the relaxation, and the number of pods of a shape is not
// limited, so its value is a bound and its filling may have to be trimmed.
type table struct {
	s           *knapsack
	axis        int   // the resource that is looked at exactly, or -1
	unit        int64 // of that resource
	cells       int   // of that resource on a node
	share       int64 // unit of a device
	parts       int   // units of a device
	size, gpu   []int // of each item in cells and in units or devices
	value       []float64
	device      []float64 // best value by part of a device and cells
	choice      []int16   // last item of device, -1 none, -2
	node        []float64 // best value by devices and cells
	last        []int32   // last step of node
	count       []int64
	order       []ranked
	devicesUsed int
}

// The grids are no finer than this.
const (
	mostCells = 160
	mostParts = 200
)

func newTable(s *knapsack) *table {
	p := s.p
	t := &table{s: s, axis: -1, unit: 1, cells: 1, share: 1, parts: int(Device), count: make([]int64, len(s.items)), value: make([]float64, len(s.items)), devicesUsed: int(p.devices[s.k])}
	var step int64
	for _, i := range s.items {
		if p.gpu[i] > 0 && p.gpu[i] < Device {
			step = gcd(p.gpu[i], step)
		}
	}
	step = gcd(Device, step)
	for Device/step > mostParts {
		step *= 2
	}
	t.share, t.parts = step, int(Device/step)
	t.pickAxis()
	for _, i := range s.items {
		size, gpu := 0, int(p.gpu[i]/t.share)
		if t.axis >= 0 {
			size = int(p.size[i][t.axis] / t.unit)
		}
		if p.gpu[i] >= Device {
			gpu = int(wholeDevices(p.gpu[i]))
		}
		t.size, t.gpu = append(t.size, size), append(t.gpu, gpu)
	}
	t.device, t.choice = make([]float64, (t.parts+1)*t.cells), make([]int16, (t.parts+1)*t.cells)
	t.node, t.last = make([]float64, (t.devicesUsed+1)*t.cells), make([]int32, (t.devicesUsed+1)*t.cells)
	return t
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// pickAxis takes the resource that the pods with GPUs use up first.
func (t *table) pickAxis() {
	p, most := t.s.p, 0.0
	for r := range p.R {
		var use float64
		var step int64
		for _, i := range t.s.items {
			if c := p.capacity[t.s.k][r]; c > 0 {
				use += float64(p.size[i][r]) / float64(c) * float64(p.d[i])
			}
			step = gcd(p.size[i][r], step)
		}
		if use > most {
			most, t.axis = use, r
			t.unit = max(1, step)
			if p.capacity[t.s.k][r]/t.unit > mostCells {
				t.unit = (p.capacity[t.s.k][r] + mostCells - 1) / mostCells
			}
			t.cells = int(p.capacity[t.s.k][r]/t.unit) + 1
		}
	}
}

// solve returns a bound on the value of any filling; count is a filling that
// may be a little too much.
func (t *table) solve() float64 {
	s := t.s
	rest := 0.0
	price := make([]float64, s.p.R)
	for r := range s.p.R {
		if d := s.dim[r]; d >= 0 && r != t.axis {
			price[r] = s.lam[d]
			rest += s.lam[d]
		}
	}
	for q := range s.items {
		t.count[q] = 0
		t.value[q] = 0
		if s.u[q] > 0 {
			t.value[q] = s.val[q]
			for r := range s.p.R {
				if price[r] > 0 {
					t.value[q] -= price[r] * s.w[q*s.m+s.dim[r]]
				}
			}
		}
	}
	t.thin()
	t.fillDevice()
	t.fillNode()
	end := len(t.node) - 1
	t.unwind(end)
	return (t.node[end] + rest) * (1 + 1e-12)
}

// thin drops the shapes that take no less than another that is worth no less:
// the bound stays one, for the number of pods is not limited here.
func (t *table) thin() {
	for q, v := range t.value {
		if v <= 0 || t.size[q] == 0 && t.gpu[q] == 0 {
			continue
		}
		whole := t.s.p.gpu[t.s.items[q]] >= Device
		for o, w := range t.value {
			if o != q && w >= v && t.gpu[o] <= t.gpu[q] && t.size[o] <= t.size[q] && whole == (t.s.p.gpu[t.s.items[o]] >= Device) && (t.size[o] > 0 || t.gpu[o] > 0) && (w > v || t.gpu[o] < t.gpu[q] || t.size[o] < t.size[q] || o < q) {
				t.value[q] = 0
				break
			}
		}
	}
	t.s.p.work += int64(len(t.value)*len(t.value)) / 8
}

// fillDevice finds the best pods for a part of one device and so many cells.
func (t *table) fillDevice() {
	C := t.cells
	for x := range t.device {
		t.device[x], t.choice[x] = 0, -1
	}
	for q, i := range t.s.items {
		if g := t.s.p.gpu[i]; g <= 0 || g >= Device || t.value[q] <= 0 {
			continue
		}
		v, w, a := t.value[q], t.gpu[q], t.size[q]
		if w == 0 {
			// Finer than the grid: as much as the smallest part.
			w = 1
		}
		for f := w; f <= t.parts; f++ {
			row, from := t.device[f*C:f*C+C], t.device[(f-w)*C:(f-w)*C+C]
			choice := t.choice[f*C : f*C+C]
			for c := a; c < C; c++ {
				if n := from[c-a] + v; n > row[c] {
					row[c], choice[c] = n, int16(q)
				}
			}
		}
		t.s.p.work += int64((t.parts - w + 1) * (C - a) / 2)
	}
}

// The steps of a node that are no items.
const (
	stepNone   = -1
	stepShared = -2 // minus the cells of a shared device
)

// fillNode puts devices together, and pods without GPU beside them.
func (t *table) fillNode() {
	C, top := t.cells, t.device[t.parts*t.cells:]
	for g := 0; g <= t.devicesUsed; g++ {
		row, last := t.node[g*C:g*C+C], t.last[g*C:g*C+C]
		for c := range row {
			row[c], last[c] = 0, stepNone
			if g > 0 {
				row[c] = t.node[(g-1)*C+c]
				last[c] = -1 << 30
			}
		}
		if g > 0 {
			from := t.node[(g-1)*C : g*C]
			for used, v := range top {
				if v <= 0 || used > 0 && v <= top[used-1] {
					continue
				}
				for c := used; c < C; c++ {
					if n := from[c-used] + v; n > row[c] {
						row[c], last[c] = n, int32(stepShared-used)
					}
				}
			}
			t.s.p.work += int64(C * C / 4)
		}
		for q, i := range t.s.items {
			k := t.gpu[q]
			if gpu := t.s.p.gpu[i]; t.value[q] <= 0 || k > g || gpu > 0 && gpu < Device || gpu == 0 && t.size[q] == 0 {
				continue
			}
			for c := t.size[q]; c < C; c++ {
				if n := t.node[(g-k)*C+c-t.size[q]] + t.value[q]; n > row[c] {
					row[c], last[c] = n, int32(q)
				}
			}
			t.s.p.work += int64(C-t.size[q]) / 2
		}
	}
	// Pods that take none of what is looked at cost nothing here.
	for q, i := range t.s.items {
		if t.s.p.gpu[i] == 0 && t.size[q] == 0 && t.value[q] > 0 {
			t.count[q] = int64(t.s.u[q])
			t.node[len(t.node)-1] += t.value[q] * t.s.u[q]
		}
	}
}

// unwind counts the pods of the best filling.
func (t *table) unwind(at int) {
	C := t.cells
	for at >= 0 {
		switch step := t.last[at]; {
		case step >= 0:
			t.count[step]++
			at -= t.gpu[step]*C + t.size[step]
		case step == stepNone:
			return
		case step == -1<<30:
			at -= C
		default:
			used := int(stepShared - step)
			at -= C + used
			for x := t.parts*C + used; t.choice[x] >= 0; {
				q := int(t.choice[x])
				t.count[q]++
				x -= max(1, t.gpu[q])*C + t.size[q]
			}
		}
	}
}

// column makes the filling one that fits, and fills it up.
func (t *table) column(f *filler) (value float64) {
	s := t.s
	t.order = t.order[:0]
	for q, n := range t.count {
		if n > 0 {
			t.order = append(t.order, ranked{q, float64(s.p.gpu[s.items[q]])})
		}
	}
	sortRanked(t.order)
	f.start(s.k)
	for _, o := range t.order {
		value += s.val[o.q] * float64(f.add(s.items[o.q], min(t.count[o.q], int64(s.u[o.q]))))
	}
	t.order = t.order[:0]
	for q := range s.items {
		if s.val[q] > 0 && s.u[q] > 0 {
			t.order = append(t.order, ranked{q, s.val[q] / (s.weight(q) + 1e-300)})
		}
	}
	sortRanked(t.order)
	for _, o := range t.order {
		value += s.val[o.q] * float64(f.add(s.items[o.q], int64(s.u[o.q])-f.count[s.items[o.q]]))
	}
	s.p.work += int64(len(s.items) * 14)
	return value
}
