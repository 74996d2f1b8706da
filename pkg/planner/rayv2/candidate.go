package rayv2

import "math"

// candidate is a class of nodes that are as good as each other, or a node type
// to launch from. Only its first node is looked at.
type candidate struct {
	st    *state
	place int32 // in packer.cands
	// pos is the place of the first node in Ray's list, which breaks ties.
	pos int
	// last is the place of the last node of the class, by way of packer.chain.
	last int
	// room is how many nodes of the type can be launched.
	room int64

	// guessed tells that the score is no worse than the true one, that there
	// is no trial, and that the candidate may take nothing at all.
	guessed bool
	score   score
	// best is what guess gave, while nothing has changed that it depends on;
	// since tells when it was made.
	best  score
	since int
	// quick is the first node for quick trials.
	quick quick
	// taken is what the first node would take of the runs as they are now.
	taken []taking
	// number is the trial's; zero while there is none.
	number int
	// result is the first node's state with what it takes; made when needed.
	result *state
	// used is what the new nodes of a type become where only that they are used
	// matters.
	used *state
	// index is the candidate's place in the heap, or -1.
	index int
}

// user notes that a candidate's trial takes a number of requests of a run.
type user struct {
	c      int32 // the candidate's place in packer.cands
	next   int32 // the next user of the run, or -1
	number int   // of the trial; if the candidate has another one, this is void
	count  int64
}

// candidate adds a candidate to the heap, whose order is made later.
func (p *packer) candidate(st *state, pos int, room int64) *candidate {
	n := len(p.cands)
	p.cands = p.cands[:n+1]
	c := &p.cands[n]
	place := int32(n) //nolint:gosec // far fewer than that
	*c = candidate{st: st, place: place, pos: pos, last: pos, room: room, since: -1, taken: c.taken[:0], index: len(p.heap)}
	p.guess(c)
	p.heap = append(p.heap, c.place)
	return c
}

// before tells whether Ray would pick the candidate before the other.
func (c *candidate) before(o *candidate) bool {
	d := c.score.compare(&o.score)
	return d > 0 || d == 0 && c.pos < o.pos
}

// guess drops the candidate's trial and gives it the best score that it could
// have. It is tried when no other candidate is better.
func (p *packer) guess(c *candidate) {
	c.guessed, c.number, c.result = true, 0, nil
	if p.eager {
		c.score = score{rank: p.shapes.ranks, gpuOK: true, kinds: math.MaxInt}
		return
	}
	if c.since != p.ended {
		c.best, c.since = p.bound(c.st), p.ended
	}
	c.score = c.best
}

// refresh gives the candidates whose trials have become void their place. Those
// that may be better than every valid trial are tried at once, since the next
// pick would ask for it.
func (p *packer) refresh() error {
	if p.plain {
		if err := p.assessAll(); err != nil {
			return err
		}
		p.heapify()
	}
	var best *candidate
	if len(p.heap) > 0 && p.top(0).number > 0 {
		best = p.top(0)
	}
	for _, i := range p.stale {
		c := &p.cands[i]
		if c.index < 0 || c.number > 0 {
			continue // it has been dropped or tried since
		}
		p.guess(c)
		if best == nil || c.before(best) {
			ok, err := p.assess(c)
			if err != nil {
				return err
			}
			if !ok {
				p.drop(c)
				continue
			}
			if best == nil || c.before(best) {
				best = c
			}
		}
		p.move(c)
	}
	p.stale = p.stale[:0]
	return nil
}

// assessAll tries all candidates and drops those that take nothing.
func (p *packer) assessAll() error {
	kept := p.heap[:0]
	for _, place := range p.heap {
		c := &p.cands[place]
		ok, err := p.assess(c)
		if err != nil {
			return err
		}
		c.index = -1
		if ok {
			c.index = len(kept)
			kept = append(kept, place)
		}
	}
	p.heap = kept
	return nil
}

// assess tries the candidate's first node on the runs as they are. It tells
// whether the node would take anything.
func (p *packer) assess(c *candidate) (bool, error) {
	if err := p.tryFirst(c); err != nil {
		return false, roundFails(err)
	}
	p.trials++
	c.guessed, c.number, c.result = false, p.trials, nil
	for _, k := range c.taken {
		r := &p.runs[k.run]
		r.most = max(r.most, k.count)
		r.users = p.user(user{c.place, r.users, c.number, k.count})
	}
	return len(c.taken) > 0, nil
}

// shorten takes requests off a run. A trial is bound by a run's length only if
// it takes all of it, so it comes out the same as long as the run has as many
// requests as it takes; the others are void.
func (p *packer) shorten(run int, count int64) {
	r := &p.runs[run]
	r.left -= count
	if p.left == 0 {
		return // nobody will be tried again
	}
	if r.left == 0 {
		p.index.kill(run)
		p.count(r.shape, -1)
	}
	if r.left >= r.most {
		return
	}
	r.most = 0
	for at := &r.users; *at >= 0; {
		u := &p.users[*at]
		switch {
		case p.cands[u.c].number != u.number:
			p.unlink(at)
			continue
		case u.count > r.left:
			p.cands[u.c].number = 0
			p.stale = append(p.stale, u.c)
			p.unlink(at)
			continue
		}
		r.most = max(r.most, u.count)
		at = &u.next
	}
}

// user keeps a note about a trial, in the place of one that is void if there is
// one, and returns its place.
func (p *packer) user(u user) int32 {
	at := p.void
	if at < 0 {
		p.users = append(p.users, u)
		return int32(len(p.users) - 1) //nolint:gosec // there is no memory for more
	}
	p.void = p.users[at].next
	p.users[at] = u
	return at
}

// unlink takes a note out of the list of its run.
func (p *packer) unlink(at *int32) {
	void := *at
	*at = p.users[void].next
	p.users[void].next, p.void = p.void, void
}

// count notes how many runs that are not used up want a resource.
func (p *packer) count(sh *shape, by int) {
	for _, w := range sh.wants {
		p.alive[w] += by
		if p.alive[w] == 0 {
			p.ended++
		}
	}
	if sh.namesGPU {
		p.aliveGPU += by
		if p.aliveGPU == 0 {
			p.ended++
		}
	}
}

// bound is a score that no trial of the state can exceed: as if it were used up
// in everything that some request still wants. Where a trial may end in one of
// Ray's assertions it is infinite, so that the trial is made at once.
func (p *packer) bound(st *state) score {
	out := p.typeScore(st)
	out.rank, out.gpuOK, out.kinds = p.shapes.ranks, true, st.used[p.src].kinds
	sum, n := 0.0, 0
	low := math.Inf(1)
	p.rest(st)
	for i, total := range st.total {
		now := st.rest[p.src][i]
		wanted := total.name >= 0 && p.alive[total.name] > 0 && p.mayTake(st, total.name)
		if math.IsNaN(now) || wanted && (total.value < 0 || math.IsInf(now, 1) && p.syms.implicit[total.name]) {
			out.kinds = math.MaxInt
			return out
		}
		if wanted {
			out.kinds++ // too many where something is placed already
		}
		if total.name == p.shapes.gpu && total.value > 0 && !p.ignoreGPU {
			out.gpuOK = st.used[p.src].gpu || p.aliveGPU > 0 && (wanted || p.aliveGPU > p.alive[total.name])
		}
		if math.IsInf(now, 1) {
			continue
		}
		if wanted {
			now = total.value
		}
		low = min(low, now)
		sum += now
		n++
	}
	if n > 0 {
		out.least, out.mean = low, sum/float64(n)
	}
	return out
}

// mayTake tells whether a node has as much of a resource as any run of the call
// wants of it.
func (p *packer) mayTake(st *state, name int) bool {
	i := findAmount(st.avail[p.src], name)
	switch {
	case i >= 0:
		return st.avail[p.src][i].value >= p.small[name]
	case p.syms.implicit[name]:
		return p.small[name] <= 1
	}
	return false
}

// top is the candidate at a place of the heap; that at zero is the best.
func (p *packer) top(i int) *candidate { return &p.cands[p.heap[i]] }

// heapify orders all candidates.
func (p *packer) heapify() {
	for i := len(p.heap)/2 - 1; i >= 0; i-- {
		p.sink(i)
	}
}

// move puts a candidate whose score or place has changed where it belongs.
func (p *packer) move(c *candidate) {
	if c.index < 0 {
		return
	}
	i := c.index
	for i > 0 && c.before(p.top((i-1)/2)) {
		p.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
	p.sink(i)
}

// drop takes a candidate out.
func (p *packer) drop(c *candidate) {
	i, n := c.index, len(p.heap)-1
	p.swap(i, n)
	p.heap = p.heap[:n]
	c.index, c.number = -1, 0
	if i < n {
		p.move(p.top(i))
	}
}

func (p *packer) swap(i, j int) {
	p.heap[i], p.heap[j] = p.heap[j], p.heap[i]
	p.top(i).index, p.top(j).index = i, j
}

// sink restores the heap's order below one place.
func (p *packer) sink(i int) {
	for {
		child := 2*i + 1
		if child >= len(p.heap) {
			return
		}
		if r := child + 1; r < len(p.heap) && p.top(r).before(p.top(child)) {
			child = r
		}
		if !p.top(child).before(p.top(i)) {
			return
		}
		p.swap(i, child)
		i = child
	}
}
