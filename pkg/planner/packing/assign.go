package packing

import "math"

// assign proves the bound of the assignment relaxation: a pod costs its share
// of the node that holds it most cheaply, where each class prices its
// dimensions by weights that sum to the price of a node. The weights are
// improved step by step: a dimension that is asked for more gets dearer.
func (p *part) assign(y []float64) []float64 {
	a := &assignment{p: p, upper: make([]float64, p.K), y: make([]float64, p.n)}
	for k, s := range p.knap {
		w := make([]float64, s.m)
		for r := range w {
			w[r] = p.price[k] / float64(s.m)
		}
		a.lam, a.load = append(a.lam, w), append(a.load, make([]float64, s.m))
		a.upper[k] = p.price[k]
	}
	a.cost = make([][]float64, p.K)
	for k, s := range p.knap {
		a.cost[k] = make([]float64, len(s.items))
	}
	best, start := append([]float64(nil), y...), p.work
	const rounds = 120
	for t := range rounds {
		a.values()
		if p.prove(a.y, a.upper) {
			copy(best, a.y)
		}
		heat := 0.05 * math.Pow(0.96, float64(t))
		a.loads(heat)
		a.step(0.6 / math.Sqrt(1+float64(t)/4))
		if t >= 10 && p.work-start > p.budget/10 {
			break
		}
	}
	return best
}

type assignment struct {
	p         *part
	lam, load [][]float64
	cost      [][]float64
	upper     []float64
	y         []float64
	sum       []float64
}

// values is what a pod of each shape costs where it is cheapest.
func (a *assignment) values() {
	for i := range a.y {
		a.y[i] = math.Inf(1)
	}
	for k, s := range a.p.knap {
		for q, i := range s.items {
			var v float64
			for r, w := range s.w[q*s.m : q*s.m+s.m] {
				v += w * a.lam[k][r]
			}
			a.cost[k][q] = v
			a.y[i] = min(a.y[i], v)
		}
		a.p.work += int64(len(s.items) * s.m)
	}
	for i, v := range a.y {
		if math.IsInf(v, 1) {
			a.y[i] = 0
		}
	}
}

// loads shares the pods out: most to the class where they are cheapest, some
// to those that are nearly as cheap.
func (a *assignment) loads(heat float64) {
	p := a.p
	if a.sum == nil {
		a.sum = make([]float64, p.n)
	}
	for i := range a.sum {
		a.sum[i] = 0
	}
	for k, s := range p.knap {
		for q, i := range s.items {
			x := (a.cost[k][q] - a.y[i]) / (heat*a.y[i] + 1e-300)
			if x > 20 {
				a.cost[k][q] = 0
				continue
			}
			a.cost[k][q] = 1 / (1 + x*(1+x*(0.5+x/6)))
			a.sum[i] += a.cost[k][q]
		}
	}
	for k, s := range p.knap {
		for r := range a.load[k] {
			a.load[k][r] = 0
		}
		for q, i := range s.items {
			if a.cost[k][q] == 0 {
				continue
			}
			f := a.cost[k][q] / a.sum[i] * float64(p.d[i])
			for r, w := range s.w[q*s.m : q*s.m+s.m] {
				a.load[k][r] += f * w
			}
		}
		p.work += int64(len(s.items) * (s.m + 3))
	}
}

// step moves the weights of every class, and the price of a class whose stock
// is not enough.
func (a *assignment) step(size float64) {
	p := a.p
	for k := range p.knap {
		var top, sum float64
		for _, v := range a.load[k] {
			top = max(top, v)
		}
		if top == 0 {
			continue
		}
		for r, v := range a.load[k] {
			a.lam[k][r] = max(a.lam[k][r]*math.Exp(size*(v/top-1)), 1e-6*p.price[k])
			sum += a.lam[k][r]
		}
		over := min(1, max(-1, top/float64(max(1, p.limit[k]))-1))
		a.upper[k] = max(p.price[k], a.upper[k]*(1+0.3*size*over))
		for r := range a.lam[k] {
			a.lam[k][r] *= a.upper[k] / (sum + 1e-300)
		}
		// The bound must hold for what the rounding made of the weights.
		a.upper[k] *= 1 + 1e-12
	}
}
