package rayv2

import "slices"

// scheduler carries one round.
type scheduler struct {
	in     *Input
	syms   *symbols
	shapes *shapes
	states *states

	types        []nodeType
	typeOf       map[int]*nodeType
	availability map[int]float64
	recoverable  map[int]float64
	ignoreGPU    bool

	nodes  []*node // in Ray's order, which changes from phase to phase
	call   int     // numbers the calls of the packer
	packer packer
	out    Output
}

// nodeType is a [NodeType] in symbols.
type nodeType struct {
	*NodeType
	id    int
	fresh *state // of a new worker
	// Its availability scores.
	recoverable, available float64
}

// Schedule answers one round as Ray 2.60.0 would.
func Schedule(in Input) Output {
	s, err := newScheduler(&in)
	if err != nil {
		return Output{Err: err}
	}
	return s.answer()
}

// answer is the outcome of the round.
func (s *scheduler) answer() Output {
	if err := s.round(); err != nil {
		return Output{Err: err}
	}
	s.reportLaunches()
	s.reportTerminations()
	s.reportUses()
	return s.out
}

// round goes through the phases in Ray's order.
func (s *scheduler) round() error {
	s.terminateOutdated()
	s.addMinimum()
	if err := s.limitTypes(); err != nil {
		return err
	}
	if err := s.limitCluster(); err != nil {
		return err
	}
	if err := s.holdConstraints(); err != nil {
		return err
	}
	if err := s.placeGangs(); err != nil {
		return err
	}
	if err := s.placeRequests(); err != nil {
		return err
	}
	s.terminateIdle()
	return nil
}

// reportLaunches counts the new nodes by type, in the order of their first.
func (s *scheduler) reportLaunches() {
	at := map[int]int{}
	for _, n := range s.nodes {
		if n.status != toLaunch {
			continue
		}
		i, ok := at[n.st.typ]
		if !ok {
			i = len(s.out.Launches)
			at[n.st.typ] = i
			s.out.Launches = append(s.out.Launches, Launch{Type: s.syms.names[n.st.typ]})
		}
		s.out.Launches[i].Count++
	}
}

func (s *scheduler) reportTerminations() {
	for _, n := range s.nodes {
		if n.cause == "" {
			continue
		}
		s.out.Terminations = append(s.out.Terminations, Termination{
			Instance: n.id, Type: s.syms.names[n.st.typ], Cause: n.cause,
		})
	}
}

// reportUses tells what every instance is for.
func (s *scheduler) reportUses() {
	s.out.Instances = make([]InstanceUse, len(s.in.Instances))
	for i := range s.in.Instances {
		s.out.Instances[i].ID = s.in.Instances[i].ID
	}
	for _, n := range s.nodes {
		if n.instance < 0 {
			continue
		}
		u := &s.out.Instances[n.instance]
		u.Counted = true
		u.Terminated = n.status == toTerminate
		u.Demand = n.st.used[fromDemand].any
		u.Constraint = n.st.used[fromConstraint].any
	}
	s.reportMinimum()
}

// reportMinimum tells which instances fill the minimum sizes.
func (s *scheduler) reportMinimum() {
	need := map[int]int64{}
	for i := range s.types {
		if s.types[i].Min > 0 {
			need[s.types[i].id] = s.types[i].Min
		}
	}
	if len(need) == 0 {
		return
	}
	inOrder := byTermination(s.nodes)
	for _, inUse := range []bool{true, false} {
		for _, n := range slices.Backward(inOrder) {
			if n.instance < 0 || n.status == toTerminate || n.st.inUse() != inUse || need[n.st.typ] <= 0 {
				continue
			}
			need[n.st.typ]--
			s.out.Instances[n.instance].Min = true
		}
	}
}
