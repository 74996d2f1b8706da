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
	now    solution  // what the runs cost and leave out
	fewest solution  // the plan that left out least so far
	waste  []float64 // what a node of the run costs more than it holds
	left   []int64
	random
	large float64 // how much large pods come first
	// worth is what a pod of each shape is worth placing, in the price of the
	// room that it takes.
	worth []float64
	mean  float64
	least float64 // worth that is a rounding error
	last  bool    // the number of pods counts for more

	out       []int // shapes with pods left out
	seen      []bool
	was, save []int64 // of the touched shapes: left out before, and to be placed

	rest    []int64 // pods to be placed, by shape
	touched []int
	order   [][]ranked
	pos     [][]int32 // item of a shape in a class, or -1
	noise   []float64
	f       *filler
	fresh   []run
}

func newRepair(p *part, y, prices []float64) *repair {
	r := &repair{p: p, now: p.best, fewest: p.best, y: y, prices: prices, left: p.clone(p.limit), rest: make([]int64, p.n), order: make([][]ranked, p.K), noise: make([]float64, p.n), f: newFiller(p), random: newRandom()}
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
			r.out = append(r.out, i)
		}
	}
	r.seen = make([]bool, p.n)
	r.worth = p.centre()
	if p.byNumber {
		for i := range r.worth {
			r.worth[i] = 1
		}
	}
	for _, v := range r.worth {
		r.mean += v / float64(p.n)
	}
	for i := range r.worth {
		r.worth[i] += 1e-3*r.mean + 1e-9
		r.least += 1e-9 * r.worth[i]
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
	for p.work < p.budget && !p.proven(&r.now) && len(r.runs) > 0 {
		if r.now.unplaced == 0 {
			r.step(2 + r.next(5))
			continue
		}
		if p.work > p.budget-p.budget/8 {
			r.finish()
		}
		r.step(1 + r.next(3))
		if r.now.better(&r.fewest) {
			r.fewest = r.now
			r.fewest.runs = slices.Clone(r.runs)
		}
	}
	r.now.runs = r.runs
	p.best = r.now
	// Pods of more worth may have taken the place of more pods.
	p.keep(r.fewest)
}

// finish makes many small pods worth more: their number is what counts in the
// end.
func (r *repair) finish() {
	if r.last {
		return
	}
	r.last = true
	for i := range r.worth {
		r.worth[i] += 0.1 * r.mean
	}
}

// step takes so many nodes apart and places their pods again, with some of
// those that are left out.
func (r *repair) step(size int) {
	p := r.p
	p.work += 100
	r.window()
	out, old := r.ruin(size)
	save := r.save[:0]
	for _, i := range r.touched {
		save = append(save, r.rest[i])
	}
	r.save = save
	done := false
	for try := 0; try < 3 && !done; try++ {
		cost := r.recreate(old, try > 0)
		gain, more := r.gain()
		if done = gain > r.least || gain >= -r.least && more >= 0 && cost <= old; done {
			for _, n := range r.fresh {
				r.push(n)
			}
			r.now.cost += cost - old
			r.now.unplaced -= more
			break
		}
		for _, n := range r.fresh {
			r.left[n.k]++
		}
		for q, i := range r.touched {
			r.rest[i] = save[q]
		}
	}
	if !done {
		for q, i := range r.touched {
			r.rest[i] = r.was[q]
		}
		for _, n := range out {
			r.left[n.k]--
			r.push(n)
		}
	}
	r.close()
}

// mostOut is how many of the shapes with pods left out a step looks at.
const mostOut = 12

// window begins a step with some of the shapes that have pods left out.
func (r *repair) window() {
	r.touched, r.was = r.touched[:0], r.was[:0]
	n, from := len(r.out), 0
	if n > mostOut {
		n, from = mostOut, r.next(len(r.out))
	}
	for t := range n {
		r.touch(r.out[(from+t)%len(r.out)])
	}
}

func (r *repair) touch(i int) {
	if !r.seen[i] {
		r.seen[i] = true
		r.touched, r.was = append(r.touched, i), append(r.was, r.rest[i])
	}
}

// ruin takes so many nodes apart, and returns them with what they cost.
func (r *repair) ruin(size int) (out []run, cost float64) {
	for range size {
		if len(r.runs) == 0 {
			break
		}
		n := r.pull(r.pick(len(out) == 0))
		out = append(out, n)
		cost += r.p.price[n.k]
		r.left[n.k]++
		for q, i := range n.idx {
			r.touch(int(i))
			r.rest[i] += n.cnt[q]
		}
	}
	return out, cost
}

// gain is by how much less is left out than before the step, in worth and in
// pods.
func (r *repair) gain() (worth float64, pods int64) {
	for q, i := range r.touched {
		if n := r.was[q] - r.rest[i]; n != 0 {
			worth += r.worth[i] * float64(n)
			pods += n
		}
	}
	return worth, pods
}

// close ends a step: it notes which shapes have pods left out.
func (r *repair) close() {
	for q, i := range r.touched {
		r.seen[i] = false
		if r.was[q] == 0 && r.rest[i] > 0 {
			r.out = append(r.out, i)
		}
	}
	if len(r.out) > 0 {
		r.out = slices.DeleteFunc(r.out, func(i int) bool { return r.rest[i] == 0 })
	}
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
func (r *repair) recreate(limit float64, noisy bool) (cost float64) {
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
	rest := int64(0)
	for _, i := range r.touched {
		rest = addSat(rest, r.rest[i])
	}
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
		if len(r.out) == 0 && cost > limit {
			break
		}
	}
	return cost
}

// rank orders the shapes that are to be placed, for each class.
func (r *repair) rank() {
	p := r.p
	for k, s := range p.knap {
		v := r.order[k][:0]
		if r.left[k] == 0 {
			r.order[k] = v
			continue
		}
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
		p.work += int64(len(v) * 8)
	}
}

// choose fills a node of every class and keeps the best in the filler: the
// cheapest that holds the whole rest if it is within the limit, else the one
// worth most for its price.
func (r *repair) choose(limit float64, rest int64) int {
	p := r.p
	best, last := -1, -1
	bestValue, cheapest := 0.0, -1
	for k := range p.knap {
		if r.left[k] == 0 || len(r.order[k]) == 0 {
			continue
		}
		value, count := r.fill(k)
		last = k
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
	if best >= 0 && best != last {
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
	r.p.work += int64(len(r.order[k])*4 + 2*len(r.f.used)*(1+len(r.f.gpu.free)))
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
