package packing

// part is a part of the problem that shares no class with the rest, as vectors
// by index, with the state of its solution.
type part struct {
	n, K, R         int
	shapes, classes []int // in the canonical problem
	size            [][]int64
	gpu, d, most    []int64
	capacity        [][]int64
	devices         []int64
	price           []float64
	limit           []int64
	knap            []*knapsack

	budget, work int64
	bound        float64
	proof        proof
	best         solution
}

// run is a number of equal nodes.
type run struct {
	column
	nodes int64
}

// solution is a plan for a part.
type solution struct {
	runs     []run
	unplaced int64
	cost     float64
}

// better compares what is left out, then the cost.
func (s *solution) better(o *solution) bool {
	if s.unplaced != o.unplaced {
		return s.unplaced < o.unplaced
	}
	return s.cost < o.cost
}

// near tells that the plan is as good as proven best: nothing worth the work
// can be gained.
func (p *part) near() bool {
	return p.best.unplaced == 0 && p.best.cost <= p.bound*(1+1e-6)
}

func (p *part) solve() {
	y := p.fluid()
	for k := range p.knap {
		p.knap[k].value(y, p.d)
		p.knap[k].relax(false)
	}
	p.best = p.greedy(y, p.price, nil)
	if p.near() || p.work > p.budget {
		p.close()
		return
	}
	m := newMaster(p)
	m.seed()
	for _, r := range p.best.runs {
		m.cols = append(m.cols, r.column)
		if m.reduced(&r.column) < 0 {
			m.enter(len(m.cols) - 1)
		}
	}
	m.generate(p.work + (p.budget-p.work)*6/10)
	prices := make([]float64, p.K)
	for k := range prices {
		prices[k] = p.price[k] - min(0, m.y[p.n+k])
	}
	for i := range y {
		y[i] = max(m.y[i], 1e-9*m.big*float64(1)/1e3)
	}
	for k := range p.knap {
		p.knap[k].value(y, p.d)
		p.knap[k].relax(false)
	}
	p.keep(m.floorGreedy(y, prices))
	if !p.near() && p.work < p.budget {
		p.keep(m.dive(y, prices))
	}
	if !p.near() && p.work < p.budget {
		newRepair(p, y, prices).improve()
	}
	p.close()
}

func (p *part) keep(s solution) {
	if s.better(&p.best) {
		p.best = s
	}
}

// close makes the bound one for the pods that the plan places, if it leaves
// some out.
func (p *part) close() {
	if p.best.unplaced == 0 || len(p.proof.y) == 0 {
		return
	}
	placed := make([]int64, p.n)
	for _, r := range p.best.runs {
		for q, i := range r.idx {
			placed[i] += r.cnt[q] * r.nodes
		}
	}
	d := p.d
	p.d = placed
	p.bound = p.bestBound(p.proof.y, p.proof.upper)
	p.d = d
}

func (p *part) clone(v []int64) []int64 { return append([]int64(nil), v...) }
