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
	until        int64 // work at which searches within one round end
	byNumber     bool  // the number of pods left out counts, not their worth
	bound        float64
	proof        proof
	best         solution
	repair       *repair
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
func (p *part) near() bool { return p.proven(&p.best) }

func (p *part) proven(s *solution) bool {
	return s.unplaced == 0 && s.cost <= p.bound*(1+1e-6)
}

func (p *part) solve() {
	y := p.fluid()
	y = p.assign(y)
	for k := range p.knap {
		p.knap[k].value(y, p.d)
		p.knap[k].relax(false)
	}
	p.best = p.greedy(y, p.price, 0, nil)
	for _, large := range [...]float64{0.3, 10, 1, 3, 0.1} {
		if p.near() || p.work > p.budget/8 {
			break
		}
		p.keep(p.greedy(y, p.price, large, nil))
	}
	if p.near() || p.work > p.budget {
		p.close()
		return
	}
	m := newMaster(p)
	short := p.best.unplaced > 0 && !p.byNumber
	m.generate(p.work + (p.budget-p.work)*p.tenths(short)/10)
	for _, r := range p.best.runs {
		m.cols = append(m.cols, r.column)
	}
	if short {
		// A pod left out costs little more than its room: at the price of many
		// nodes the program would take too long to settle.
		m.box(p.centre(), 0.1)
	} else {
		m.box(nil, 0)
	}
	m.settle(p.work + (p.budget-p.work)*3/10)
	prices := make([]float64, p.K)
	for k := range prices {
		prices[k] = p.price[k] - min(0, m.y[p.n+k])
	}
	for i := range y {
		y[i] = max(m.y[i], 1e-12*m.big)
	}
	for k := range p.knap {
		p.knap[k].value(y, p.d)
		p.knap[k].relax(false)
	}
	p.keep(m.floorGreedy(y, prices))
	m.prune()
	wander := newRandom()
	for until, t := p.work+(p.budget-p.work)/3, 0.0; !p.near() && t < 8 && (p.work < until || t == 0 && p.work < p.budget); t++ {
		p.keep(m.dive(y, prices, t/4, &wander, until+(p.budget-until)/4))
	}
	p.repair = newRepair(p, y, prices)
	p.repair.improve()
	p.close()
}

// tenths of the budget go to column generation: more where pods share devices,
// because there good patterns are rare and all else follows from them, and few
// where stock is short, because there the repair finds room for more pods.
func (p *part) tenths(short bool) int64 {
	switch shared := p.shares(); {
	case short && shared:
		return 3
	case short:
		return 2
	case shared:
		return 7
	}
	return 5
}

func (p *part) shares() bool {
	for _, s := range p.knap {
		if s.shared {
			return true
		}
	}
	return false
}

// try solves the part within its share of the budget. Where the stock has less
// than is asked for, some pods are left out whatever the plan, and their number
// is what counts from the start. Where it might do and pods are left out all the
// same, an automatic budget is spent once more, several times over.
func (p *part) try(share int64, automatic bool) {
	p.byNumber, p.budget = p.beyond(), share
	p.solve()
	times := int64(8)
	if p.byNumber {
		times = 2
	}
	if most := min(times*share, Work(500)); automatic && share < most {
		p.again(most)
	}
}

// again solves the part once more, with more work, if pods are left out: where
// stock is short the first prices and patterns matter too much to go on from.
func (p *part) again(budget int64) {
	if p.best.unplaced == 0 {
		return
	}
	first, spent := p.best, p.work
	p.work, p.budget, p.bound, p.proof = 0, budget, 0, proof{}
	p.solve()
	p.keep(first)
	if p.repair != nil && first.better(&p.repair.fewest) {
		p.repair.fewest = first
	}
	p.close()
	p.work += spent
}

// resume goes on with the repair, with so much more work.
func (p *part) resume(work int64) {
	if p.repair != nil && !p.near() {
		p.budget = p.work + work
		p.repair.improve()
		p.close()
	}
}

func (p *part) keep(s solution) {
	if s.better(&p.best) {
		p.best = s
	}
}

// beyond tells whether all of the stock has less of some resource than the
// demand asks for.
func (p *part) beyond() bool {
	for r := range p.R {
		var asked, stock int64
		for i, size := range p.size {
			asked = addSat(asked, mulSat(size[r], p.d[i]))
		}
		for k, capacity := range p.capacity {
			stock = addSat(stock, mulSat(capacity[r], p.limit[k]))
		}
		if asked > stock {
			return true
		}
	}
	var asked, stock int64
	for i, gpu := range p.gpu {
		asked = addSat(asked, mulSat(gpu, p.d[i]))
	}
	for k, n := range p.devices {
		stock = addSat(stock, mulSat(n*Device, p.limit[k]))
	}
	return asked > stock
}

// close makes the bound one for the pods that the plan places, if it leaves
// some out.
func (p *part) close() {
	if p.best.unplaced == 0 || len(p.proof.y) == 0 {
		return
	}
	d := p.d
	p.d = p.placed()
	p.bound, _ = p.bestBound(p.proof.y, p.proof.upper)
	p.d = d
}

// placed counts the pods that the plan places, by shape.
func (p *part) placed() []int64 {
	placed := make([]int64, p.n)
	for _, r := range p.best.runs {
		for q, i := range r.idx {
			placed[i] += r.cnt[q] * r.nodes
		}
	}
	return placed
}

// settle solves the part again for the pods that a plan places that leaves some
// out, with so much work: duals that are good for these are not those for all,
// and perhaps they go on cheaper nodes.
func (p *part) settle(work int64) {
	if p.best.unplaced == 0 {
		return
	}
	best, bound, d, budget, spent := p.best, p.bound, p.d, p.budget, p.work
	p.d = p.placed()
	p.work, p.budget, p.bound, p.proof, p.repair = 0, work, 0, proof{}, nil
	p.solve()
	if p.best.unplaced > 0 && len(p.proof.y) > 0 {
		p.bound, _ = p.bestBound(p.proof.y, p.proof.upper) // it was made one for fewer pods
	}
	if p.best.unplaced == 0 && p.best.cost < best.cost {
		best.runs, best.cost = p.best.runs, p.best.cost
	}
	p.best, p.bound, p.d, p.budget, p.repair = best, max(p.bound, bound), d, budget, nil
	p.work += spent
}

func (p *part) clone(v []int64) []int64 { return append([]int64(nil), v...) }
