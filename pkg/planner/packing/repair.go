package packing

import "slices"

// repair is ruin and recreate: a few nodes are taken apart and their pods
// placed again in another way; the change stays if it costs no more. Only the
// shapes on these nodes are looked at, so a step costs the same however large
// the plan is.
type repair struct {
	p      *part
	y      []float64
	prices []float64
	runs   []run
	waste  []float64 // what a node of the run costs more than it holds
	left   []int64
	random
	large float64 // how much large pods come first

	rest    []int64 // pods to be placed, by shape
	touched []int
	order   [][]ranked
	pos     [][]int32 // item of a shape in a class, or -1
	noise   []float64
	f       *filler
	fresh   []run
}

func newRepair(p *part, y, prices []float64) *repair {
	r := &repair{p: p, y: y, prices: prices, left: p.clone(p.limit), rest: make([]int64, p.n), order: make([][]ranked, p.K), noise: make([]float64, p.n), f: newFiller(p), random: newRandom()}
	for _, n := range p.best.runs {
		r.push(n)
		r.left[n.k] -= n.nodes
	}
	placed := make([]int64, p.n)
	for _, n := range p.best.runs {
		for q, i := range n.idx {
			placed[i] += n.cnt[q] * n.nodes
		}
	}
	for i := range p.n {
		if v := p.d[i] - placed[i]; v > 0 {
			r.rest[i] = v
			r.touched = append(r.touched, i)
		}
	}
	for _, s := range p.knap {
		at := make([]int32, p.n)
		for i := range at {
			at[i] = -1
		}
		for q, i := range s.items {
			at[i] = int32(q)
		}
		r.pos = append(r.pos, at)
	}
	return r
}

func (r *repair) push(n run) {
	r.runs = append(r.runs, n)
	v := r.prices[n.k]
	for q, i := range n.idx {
		v -= r.y[i] * float64(n.cnt[q])
	}
	r.waste = append(r.waste, v)
}

// improve goes on until the plan is proven good or the work is used up.
func (r *repair) improve() {
	p := r.p
	for p.work < p.budget && !p.near() && len(r.runs) > 0 {
		r.step(2 + r.next(5))
	}
	p.best.runs = r.runs
}

// step takes so many nodes apart and places their pods again.
func (r *repair) step(size int) {
	p := r.p
	var out []run
	old := 0.0
	p.work += 100
	before := r.restSum()
	held := slices.Clone(r.touched)
	heldCount := make([]int64, len(held))
	for q, i := range held {
		heldCount[q] = r.rest[i]
	}
	for range size {
		if len(r.runs) == 0 {
			break
		}
		n := r.pull(r.pick(len(out) == 0))
		out = append(out, n)
		old += p.price[n.k]
		r.left[n.k]++
		for q, i := range n.idx {
			if r.rest[i] == 0 {
				r.touched = append(r.touched, int(i))
			}
			r.rest[i] += n.cnt[q]
		}
	}
	save := make([]int64, len(r.touched))
	for q, i := range r.touched {
		save[q] = r.rest[i]
	}
	for try := range 3 {
		cost, rest := r.recreate(old, before, try > 0)
		if rest < before || rest == before && cost <= old {
			for _, n := range r.fresh {
				r.push(n)
			}
			p.best.cost += cost - old
			p.best.unplaced += rest - before
			r.touched = slices.DeleteFunc(r.touched, func(i int) bool { return r.rest[i] == 0 })
			return
		}
		for _, n := range r.fresh {
			r.left[n.k]++
		}
		for q, i := range r.touched {
			r.rest[i] = save[q]
		}
	}
	for _, i := range r.touched {
		r.rest[i] = 0
	}
	r.touched = held
	for q, i := range held {
		r.rest[i] = heldCount[q]
	}
	for _, n := range out {
		r.left[n.k]--
		r.push(n)
	}
}

func (r *repair) restSum() int64 {
	var v int64
	for _, i := range r.touched {
		v = addSat(v, r.rest[i])
	}
	return v
}

// pick is a run: the most wasteful of some, or the likes of it.
func (r *repair) pick(first bool) int {
	best := r.next(len(r.runs))
	tries := 2
	if first {
		tries = 5
	}
	for range tries {
		if o := r.next(len(r.runs)); r.waste[o] > r.waste[best] {
			best = o
		}
	}
	return best
}

// pull takes one node of a run out of the plan.
func (r *repair) pull(at int) run {
	n := r.runs[at]
	if n.nodes > 1 {
		r.runs[at].nodes--
		n.nodes = 1
		return n
	}
	last := len(r.runs) - 1
	r.runs[at], r.waste[at] = r.runs[last], r.waste[last]
	r.runs, r.waste = r.runs[:last], r.waste[:last]
	return n
}

// recreate places the rest on new nodes, of which it makes fresh. It gives up
// where the cost is above the limit and nothing may be left out.
func (r *repair) recreate(limit float64, before int64, noisy bool) (cost float64, rest int64) {
	p := r.p
	r.fresh = r.fresh[:0]
	for _, i := range r.touched {
		r.noise[i] = r.y[i]
		if noisy {
			r.noise[i] *= 0.8 + 0.4*float64(r.next(1024))/1024
		}
	}
	r.large = [...]float64{0.3, 1, 3, 0.1}[r.next(4)]
	r.rank()
	rest = r.restSum()
	for rest > 0 {
		k := r.choose(limit-cost, rest)
		if k < 0 {
			break
		}
		n := run{r.f.column(k), 1}
		for q, i := range n.idx {
			r.rest[i] -= n.cnt[q]
			rest -= n.cnt[q]
		}
		r.left[k]--
		cost += p.price[k]
		r.fresh = append(r.fresh, n)
		if before == 0 && cost > limit {
			break
		}
	}
	return cost, rest
}

// rank orders the shapes that are to be placed, for each class.
func (r *repair) rank() {
	p := r.p
	for k, s := range p.knap {
		v := r.order[k][:0]
		for _, i := range r.touched {
			q := r.pos[k][i]
			if q < 0 {
				continue
			}
			key := r.noise[i] / (s.weight(int(q)) + 1e-3*s.spread(int(q))*r.prices[k] + 1e-300) * (1 + r.large*s.spread(int(q)))
			at := len(v)
			v = append(v, ranked{i, key})
			for ; at > 0 && (v[at-1].key < key || v[at-1].key == key && v[at-1].q > i); at-- {
				v[at] = v[at-1]
			}
			v[at] = ranked{i, key}
		}
		r.order[k] = v
		p.work += int64(len(v) * 16)
	}
}

// choose fills a node of every class and keeps the best in the filler: the
// cheapest that holds the whole rest if it is within the limit, else the one
// worth most for its price.
func (r *repair) choose(limit float64, rest int64) (best int) {
	p := r.p
	best = -1
	bestValue, cheapest := 0.0, -1
	for k := range p.knap {
		if r.left[k] == 0 || len(r.order[k]) == 0 {
			continue
		}
		value, count := r.fill(k)
		if count == 0 {
			continue
		}
		if count == rest && p.price[k] <= limit && (cheapest < 0 || r.prices[k] < r.prices[cheapest]) {
			cheapest = k
		}
		if value /= max(r.prices[k], 1e-9); best < 0 || value > bestValue {
			best, bestValue = k, value
		}
	}
	if cheapest >= 0 {
		best = cheapest
	}
	if best >= 0 {
		r.fill(best)
	}
	return best
}

func (r *repair) fill(k int) (value float64, count int64) {
	r.f.start(k)
	for _, o := range r.order[k] {
		if r.rest[o.q] == 0 {
			continue
		}
		n := r.f.add(o.q, r.rest[o.q])
		value += r.noise[o.q] * float64(n)
		count += n
	}
	r.p.work += int64(len(r.order[k])*8 + 4*len(r.f.used)*(1+len(r.f.gpu.free)))
	return value, count
}

// random is a fixed sequence: the search must wander, and must wander the same
// way every time.
type random struct{ state uint64 }

func newRandom() random { return random{0x9E3779B97F4A7C15} }

// next is a number below n.
func (r *random) next(n int) int {
	r.state ^= r.state << 13
	r.state ^= r.state >> 7
	r.state ^= r.state << 17
	return int((r.state >> 11) % uint64(n)) //nolint:gosec // n is positive, and the rest below it.
}

// share is a number from 0 to 1.
func (r *random) share() float64 { return float64(r.next(1<<16)) / (1 << 16) }
