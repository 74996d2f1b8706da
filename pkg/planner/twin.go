package planner

// leastCost is what the plan would pay for nodes if it were settled now.
func (p *planning) leastCost() int64 {
	greedy := p.purchase()
	if len(p.fresh) == 0 || p.tenantBound() {
		return greedy.cost
	}
	p.twin.work = costBudget
	best, ok := p.twin.bestPurchase(p.placedPods(), greedy)
	p.work -= costBudget - p.twin.work
	if !ok {
		return greedy.cost
	}
	return best.cost
}

// fork copies what a choice of nodes changes. Nothing may be placed so far.
func (p *planning) fork() *planning {
	q := *p
	q.undo, q.options, q.fresh, q.key, q.noRoom, q.unmet, q.tenants = nil, nil, nil, nil, map[wanting]bool{}, nil, tenantCache{}
	q.tenant, q.fair = "", nil // the pods that it gets are within everybody's part
	class, group := map[*classState]*classState{}, map[*groupState]*groupState{}
	q.groups = make([]*groupState, 0, len(p.groups))
	for _, g := range p.groups {
		if g.class != nil && class[g.class] == nil {
			c := *g.class
			class[g.class] = &c
		}
		h := *g
		h.class, group[g] = class[g.class], &h
		q.groups = append(q.groups, &h)
	}
	q.bins = make([]*bin, 0, len(p.bins))
	for _, b := range p.bins {
		c := *b
		c.group = group[b.group]
		q.bins = append(q.bins, &c)
	}
	q.rooms = rooms{}
	q.noteRoom()
	return &q
}
