package rayv2

// candidate is a class of nodes that are as good as each other, or a node type
// to launch from. Only its first node is looked at.
type candidate struct {
	st *state
	// pos is the place of the first node in Ray's list, which breaks ties.
	pos int
	// last is the place of the last node of the class, by way of packer.chain.
	last int
	// room is how many nodes of the type can be launched.
	room int64
}

// candidate adds a candidate to the heap, whose order is made later.
func (p *packer) candidate(c candidate) *candidate {
	p.cands = append(p.cands, c)
	added := &p.cands[len(p.cands)-1]
	p.heap = append(p.heap, added)
	return added
}

// before tells whether Ray would pick the candidate before the other.
func (c *candidate) before(o *candidate) bool {
	d := c.st.trial.score.compare(&o.st.trial.score)
	return d > 0 || d == 0 && c.pos < o.pos
}

// assess makes sure that the candidate's trial exists and holds for the runs as
// they are. It tells whether the candidate would take anything.
func (p *packer) assess(c *candidate) (bool, error) {
	t := c.st.trial
	if t == nil || !p.valid(t) {
		var err error
		if t, err = p.try(c.st); err != nil {
			return false, roundFails(err)
		}
		c.st.trial = t
	}
	for _, k := range t.taken {
		r := &p.runs[k.run]
		r.most = max(r.most, k.count)
	}
	return len(t.taken) > 0, nil
}

// valid tells whether a trial would come out the same now. Runs only get
// shorter, and a trial is bound by a run's length only if it takes all of it.
func (p *packer) valid(t *trial) bool {
	for _, k := range t.taken {
		if p.runs[k.run].left < k.count {
			return false
		}
	}
	return true
}

// refresh assesses all candidates and orders them. Those that take nothing are
// dropped: they never will, as nothing is added in the course of a call.
func (p *packer) refresh() error {
	for i := range p.runs {
		p.runs[i].most = 0
	}
	kept := p.heap[:0]
	for _, c := range p.heap {
		ok, err := p.assess(c)
		if err != nil {
			return err
		}
		if ok {
			kept = append(kept, c)
		}
	}
	p.heap = kept
	for i := len(p.heap)/2 - 1; i >= 0; i-- {
		p.sink(i)
	}
	p.stale = false
	return nil
}

// settle puts the first candidate, whose first node has changed, where it
// belongs. If trials are stale, the next refresh does so.
func (p *packer) settle() error {
	if p.stale {
		return nil
	}
	ok, err := p.assess(p.heap[0])
	if err != nil {
		return err
	}
	if !ok {
		p.drop()
		return nil
	}
	p.sink(0)
	return nil
}

// drop takes the first candidate out.
func (p *packer) drop() {
	n := len(p.heap) - 1
	p.heap[0] = p.heap[n]
	p.heap = p.heap[:n]
	if !p.stale {
		p.sink(0)
	}
}

// sink restores the heap's order below one place.
func (p *packer) sink(i int) {
	for {
		child := 2*i + 1
		if child >= len(p.heap) {
			return
		}
		if r := child + 1; r < len(p.heap) && p.heap[r].before(p.heap[child]) {
			child = r
		}
		if !p.heap[child].before(p.heap[i]) {
			return
		}
		p.heap[i], p.heap[child] = p.heap[child], p.heap[i]
		i = child
	}
}
