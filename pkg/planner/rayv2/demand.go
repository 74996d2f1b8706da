package rayv2

import (
	"cmp"
	"errors"
	"slices"
)

// errConstraints and errPlacement are Ray's assertions on its input.
var (
	errConstraints = errors.New("there is more than one cluster resource constraint")
	errPlacement   = errors.New("a bundle has more than one placement constraint")
)

// holdConstraints grows the cluster until its totals can hold the constraint,
// or leaves it as it is.
func (s *scheduler) holdConstraints() error {
	if len(s.in.Constraints) > 1 {
		return roundFails(errConstraints)
	}
	s.out.Constraints = make([]Outcome, len(s.in.Constraints))
	for i := range s.in.Constraints {
		b := s.shapes.runsOf(s.demands(s.in.Constraints[i].Requests))
		p, err := s.pack(s.nodes, b, fromConstraint)
		if err != nil {
			return err
		}
		if !s.acceptWhole(p, &s.out.Constraints[i]) {
			s.out.InfeasibleConstraints = append(s.out.InfeasibleConstraints, i)
		}
	}
	return nil
}

// acceptWhole takes over what the packer did if nothing is left.
func (s *scheduler) acceptWhole(p *packer, out *Outcome) bool {
	if p.left > 0 {
		for _, sh := range p.shares {
			out.Unplaced += sh.count
		}
		out.Unplaced += p.left
		return false
	}
	s.nodes = p.picked
	for _, sh := range p.shares {
		s.record(out, sh)
	}
	return true
}

func (s *scheduler) record(out *Outcome, sh share) {
	if sh.instance >= 0 {
		out.Existing += sh.count
	} else {
		out.New += sh.count
	}
	if n := len(out.On); n > 0 && sh.instance >= 0 && out.On[n-1].Instance == sh.instance {
		out.On[n-1].Count += sh.count
		return
	}
	out.On = append(out.On, Share{Instance: sh.instance, Type: s.syms.names[sh.typ], Count: sh.count})
}

func (s *scheduler) demands(list []Demand) []request {
	out := make([]request, 0, len(list))
	for i := range list {
		out = append(out, s.shapes.request(&list[i].Request, i, list[i].Count))
	}
	return out
}

// placeGangs places the gangs one by one, the most constrained and the largest
// first. One that does not fit whole is skipped.
func (s *scheduler) placeGangs() error {
	type entry struct{ index, constraints int }
	order := make([]entry, 0, len(s.in.Gangs))
	for i := range s.in.Gangs {
		e := entry{index: i}
		for j := range s.in.Gangs[i].Bundles {
			e.constraints += len(s.in.Gangs[i].Bundles[j].Placement)
		}
		order = append(order, e)
	}
	slices.SortStableFunc(order, func(a, b entry) int {
		return cmp.Or(cmp.Compare(b.constraints, a.constraints),
			cmp.Compare(len(s.in.Gangs[b.index].Bundles), len(s.in.Gangs[a.index].Bundles)))
	})
	s.out.Gangs, s.out.Bundles = make([]Outcome, len(s.in.Gangs)), make([][]int, len(s.in.Gangs))
	for _, e := range order {
		requests, of, err := s.merge(s.in.Gangs[e.index].Bundles)
		if err != nil {
			return err
		}
		p, err := s.pack(s.nodes, s.shapes.runsOf(requests), fromDemand)
		if err != nil {
			return err
		}
		if !s.acceptWhole(p, &s.out.Gangs[e.index]) {
			s.out.InfeasibleGangs = append(s.out.InfeasibleGangs, e.index)
			continue
		}
		on := make([]int, len(requests)) // each request is one
		for _, sh := range p.shares {
			on[sh.index] = sh.instance
		}
		for i, request := range of {
			of[i] = on[request]
		}
		s.out.Bundles[e.index] = of
	}
	return nil
}

// merge makes one request of the bundles that share an affinity and their
// selectors; merged requests follow the others. It tells of each bundle which
// request it is in.
func (s *scheduler) merge(bundles []Request) (out []request, of []int, err error) {
	of = make([]int, len(bundles))
	var merged []Request
	at := map[int]int{}
	for i := range bundles {
		b := &bundles[i]
		if len(b.Placement) > 1 {
			return nil, nil, roundFails(errPlacement)
		}
		if len(b.Placement) == 0 || b.Placement[0].Kind != Affinity {
			of[i] = len(out)
			out = append(out, s.shapes.request(b, len(out), 1))
			continue
		}
		key := s.shapes.seqs.ints(s.syms.id(b.Placement[0].Label), s.syms.id(b.Placement[0].Value))
		for _, selector := range b.Selectors {
			_, id := s.shapes.selector(selector, true)
			key = s.shapes.seqs.append(key, id, 0)
		}
		j, ok := at[key]
		if !ok {
			j = len(merged)
			at[key] = j
			merged = append(merged, Request{Placement: b.Placement, Selectors: b.Selectors})
		}
		merged[j].Resources = addResources(merged[j].Resources, b.Resources)
		of[i] = -1 - j // until it is known where the merged ones begin
	}
	single := len(out)
	for i := range merged {
		out = append(out, s.shapes.request(&merged[i], len(out), 1))
	}
	for i, request := range of {
		if request < 0 {
			of[i] = single - 1 - request
		}
	}
	return out, of, nil
}

// addResources adds the amounts one after the other; new names go to the end.
func addResources(sum, r Resources) Resources {
	for k, a := range r {
		if slices.ContainsFunc(r[k+1:], func(x Amount) bool { return x.Name == a.Name }) {
			continue // the last one counts
		}
		i := slices.IndexFunc(sum, func(x Amount) bool { return x.Name == a.Name })
		if i < 0 {
			sum = append(sum, a)
			continue
		}
		sum[i].Value += a.Value
	}
	return sum
}

// placeRequests places what fits of the tasks and actors.
func (s *scheduler) placeRequests() error {
	s.out.Requests = make([]Outcome, len(s.in.Requests))
	s.packer.final = true
	p, err := s.pack(s.nodes, s.shapes.runsOf(s.demands(s.in.Requests)), fromDemand)
	if err != nil {
		return err
	}
	s.nodes = p.picked
	first := make([]Share, len(p.shares))
	for i, sh := range p.shares {
		out := &s.out.Requests[sh.index]
		if out.On == nil {
			out.On = first[i : i : i+1] // most have no second
		}
		s.record(out, sh)
	}
	for _, left := range p.parts {
		if left.count > 0 {
			s.out.Requests[left.index].Unplaced += left.count
			s.out.InfeasibleRequests = append(s.out.InfeasibleRequests, Remainder{left.index, left.count})
		}
	}
	return nil
}
