package rayv2

import "slices"

// part is a piece of a run that comes from one entry of the input.
type part struct {
	index int
	count int64
}

// run is a number of equal requests that follow each other in Ray's order.
type run struct {
	shape *shape
	left  int64
	// most bounds the number that any trial takes from the run.
	most int64
	// users is the first of the trials that take from the run, or -1.
	users int32
	// part is the first of the run's parts that is not used up.
	part int32
}

// order is what one call of the packer is to place.
type order struct {
	runs  []run
	parts []part // those of a run follow each other, in the order of the runs
}

// runsOf sorts requests as Ray does and joins equal neighbours.
func (s *shapes) runsOf(requests []request) order {
	sorted := s.sorted(requests)
	b := order{make([]run, 0, len(sorted)), make([]part, 0, len(sorted))}
	for i := range sorted {
		r := &requests[sorted[i].place]
		if n := len(b.runs); n == 0 || b.runs[n-1].shape != r.shape {
			b.runs = append(b.runs, run{shape: r.shape, users: -1, part: int32(i)})
		}
		b.runs[len(b.runs)-1].left += r.count
		b.parts = append(b.parts, part{r.index, r.count})
	}
	return b
}

// share is a number of requests of one entry of the input on one node.
type share struct {
	index    int
	instance int
	typ      int
	count    int64
}

// packer carries one call of Ray's greedy loop. Its memory is used again by
// the next call.
type packer struct {
	*scheduler
	order

	src    source
	final  bool // no call follows, so that no state is looked for again
	left   int64
	picked []*node // new in every call
	shares []share

	nodes []*node
	taken []bool // nodes[i] was picked
	spent []bool // nodes[i] runs Ray and can hold none of the requests
	chain []int  // the next node of the same class, or -1
	cands []candidate
	heap  []int32 // places in cands
	last  int     // the place of the next candidate that is put last
	users []user
	void  int32 // the first of the users that are out of date, or -1
	made  stock[node]

	index  index
	failed []int // by shape: the tick in which it failed
	tick   int
	trials int
	// alive counts, by symbol, the runs that are left and want the resource,
	// and aliveGPU those that name GPU.
	alive    []int
	aliveGPU int
	// small is, by symbol, the least that any run of the call wants of it.
	small []float64
	// ended counts how often the last of those runs was used up.
	ended int
	// stale are the candidates whose trials became void by the last pick.
	stale []int32
	// quickly tells that the trials of this call may be quick ones.
	quickly bool
	// plain has every candidate tried before every pick, by the general walk.
	// Only tests set it, to compare with.
	plain bool
	// eager tells that bounds are not worth their making, because the runs are
	// few, or not sound, because a label of a node may change and Ray may fail.
	eager bool
	bench
}

// begin makes the packer ready for another call.
func (p *packer) begin(nodes []*node, b order, src source) {
	p.call++
	p.src, p.order, p.nodes, p.left = src, b, nodes, 0
	runs := b.runs
	for i := range runs {
		p.left += runs[i].left
	}
	n := len(nodes)
	p.picked = make([]*node, 0, n)
	p.shares = slices.Grow(p.shares[:0], len(b.parts))
	p.users, p.void, p.heap, p.stale = p.users[:0], -1, p.heap[:0], p.stale[:0]
	p.taken = append(p.taken[:0], make([]bool, n)...)
	p.spent = append(p.spent[:0], make([]bool, n)...)
	p.chain = append(p.chain[:0], make([]int, n)...)
	p.cands = slices.Grow(p.cands[:0], n+len(p.types))
	p.failed = append(p.failed, make([]int, len(p.shapes.list)-len(p.failed))...)
	more := len(p.syms.names) - len(p.cells)
	p.cells = append(p.cells, make([]cell, more)...)
	p.alive = append(p.alive, make([]int, more)...)
	p.small = append(p.small, make([]float64, more)...)
	clear(p.alive)
	p.aliveGPU, p.ended, p.eager = 0, 0, len(runs) < indexRuns || p.plain
	for i := range runs {
		for _, a := range runs[i].shape.amounts {
			if a.value > 0 && (p.alive[a.name] == 0 || a.value < p.small[a.name]) {
				p.small[a.name] = a.value
			}
		}
		p.count(runs[i].shape, 1)
		p.eager = p.eager || len(runs[i].shape.anti) > 0
	}
	if p.plain {
		runs = nil
	}
	p.index.build(runs)
	p.quickly = !p.eager && p.mayBeQuick()
}

// pack places runs on the nodes, then on new nodes, the best node first, and
// leaves the nodes in their new order in picked. It changes no node: what takes
// something is replaced by a changed copy. What it returns is good until the
// next call.
func (s *scheduler) pack(nodes []*node, b order, src source) (*packer, error) {
	p := &s.packer
	p.begin(nodes, b, src)
	p.classify()
	if err := p.fill(func() bool { return true }, p.place); err != nil {
		return nil, err
	}
	for i, n := range nodes {
		if !p.taken[i] && !p.spent[i] {
			p.picked = append(p.picked, n)
		}
	}
	for i, n := range nodes {
		if p.spent[i] {
			p.picked = append(p.picked, n)
		}
	}
	p.offer(nodes)
	if err := p.fill(p.mayGrow, p.launch); err != nil {
		return nil, err
	}
	if len(p.picked) >= maxNodes {
		return nil, errTooMany
	}
	return p, nil
}

// classify sorts the nodes into candidates. Nodes with Ray running that cannot
// hold any of the requests are put aside, which changes their place in the list.
func (p *packer) classify() {
	twins := map[int]*candidate{}
	for i, n := range p.nodes {
		st := n.st
		if st.call != p.call {
			st.call, st.class, st.twins = p.call, nil, nil
			st.fits = p.mayFit(st)
		}
		p.chain[i] = -1
		slot := &st.class
		switch {
		case n.running() && !st.fits:
			p.spent[i] = true
			continue
		case !n.running():
			if st.twins == nil {
				st.twins = twins[st.twin[p.src]]
			}
			slot = &st.twins
		}
		if c := *slot; c != nil {
			p.chain[c.last] = i
			c.last = i
			continue
		}
		c := p.candidate(st, i, 0)
		*slot = c
		if !n.running() {
			twins[st.twin[p.src]] = c
		}
	}
}

// mayFit tells whether any of the requests fits by its resources alone.
func (p *packer) mayFit(st *state) bool {
	if len(p.runs) == 0 {
		return true
	}
	p.load(st)
	for i := p.next(0); i >= 0; i = p.next(i + 1) {
		fits := true
		for _, a := range p.runs[i].shape.amounts {
			if a.value > 0 && a.value > p.has(a.name) {
				fits = false
				break
			}
		}
		if fits {
			return true
		}
	}
	return false
}

// fill picks the best candidate again and again, and has it carried out, until
// nothing is left to place, no candidate takes anything, or it may not go on.
func (p *packer) fill(mayGo func() bool, carryOut func(*candidate) error) error {
	if p.eager && p.left > 0 && mayGo() {
		if err := p.assessAll(); err != nil {
			return err
		}
	}
	p.heapify()
	p.stale = p.stale[:0]
	for p.left > 0 && len(p.heap) > 0 && mayGo() {
		if err := p.refresh(); err != nil {
			return err
		}
		if len(p.heap) == 0 {
			return nil
		}
		c := p.top(0)
		if !c.guessed {
			if err := carryOut(c); err != nil {
				return err
			}
			continue
		}
		ok, err := p.assess(c)
		if err != nil {
			return err
		}
		if ok {
			p.sink(0)
		} else {
			// It never will: nothing is added in the course of a call.
			p.drop(c)
		}
	}
	return nil
}

// place puts what the best candidate's first node takes on it.
func (p *packer) place(c *candidate) error {
	i := c.pos
	changed := p.node()
	*changed = *p.nodes[i]
	if err := p.commit(changed, c); err != nil {
		return err
	}
	p.taken[i] = true
	next := p.chain[i]
	if next < 0 {
		p.drop(c)
		return nil
	}
	c.pos = next
	if st := p.nodes[next].st; st != c.st {
		c.st, c.since, c.quick.ready = st, -1, false
		p.guess(c)
	}
	p.move(c)
	return nil
}

// commit books the candidate's trial on the node and appends the node to the
// picked ones.
func (p *packer) commit(n *node, c *candidate) error {
	if c.result == nil {
		var err error
		if c.result, err = p.after(c.st, c.taken); err != nil {
			return roundFails(err)
		}
	}
	n.st = c.result
	p.picked = append(p.picked, n)
	for _, k := range c.taken {
		p.left -= k.count
	}
	for _, k := range c.taken {
		r := &p.runs[k.run]
		for rest := k.count; rest > 0; {
			from := &p.parts[r.part]
			used := min(rest, from.count)
			p.shares = append(p.shares, share{from.index, n.instance, c.st.typ, used})
			from.count -= used
			rest -= used
			if from.count == 0 {
				r.part++
			}
		}
		p.shorten(k.run, k.count)
	}
	return nil
}

// node is memory for another node.
func (p *packer) node() *node { return &p.made.cut(1)[:1][0] }

// offer makes a candidate of every node type that has room.
func (p *packer) offer(nodes []*node) {
	p.heap = p.heap[:0]
	have := make([]int64, len(p.types))
	for _, n := range nodes {
		if i := n.st.typeIndex; i >= 0 {
			have[i]++
		}
	}
	for i := range p.types {
		nt := &p.types[i]
		room := nt.Max - have[i]
		if room <= 0 {
			continue
		}
		p.candidate(nt.fresh, i, room)
	}
	p.last = len(p.types)
}

// mayGrow tells whether the cluster's maximum allows another node. Nodes that
// are to be terminated count, as in Ray.
func (p *packer) mayGrow() bool {
	return len(p.picked) < maxNodes && (p.in.MaxNodes == nil || int64(len(p.picked)) < *p.in.MaxNodes)
}

// launch adds a node of the best candidate's type.
func (p *packer) launch(c *candidate) error {
	n := p.node()
	*n = newNode(c.st)
	if p.final {
		if c.used == nil {
			// Nobody asks what is left on a new node: one state does for all.
			c.used = c.st.fresh()
			c.used.used[p.src].any = true
		}
		c.result = c.used
	}
	if err := p.commit(n, c); err != nil {
		return err
	}
	c.room--
	if c.room <= 0 {
		p.drop(c)
		return nil
	}
	// The type goes to the end of Ray's list.
	c.pos = p.last
	p.last++
	p.move(c)
	return nil
}
