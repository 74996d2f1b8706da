package rayv2

import (
	"fmt"
	"math"
)

// maxNodes bounds the nodes of one round. Demand that needs more is more than
// Ray's process could list.
const maxNodes = 1 << 17

var errTooMany = fmt.Errorf("%w: more than %d nodes in one round", ErrNotModelled, maxNodes)

// newScheduler reads the input into numbers. Everything that Ray could not
// have been given is refused here.
func newScheduler(in *Input) (*scheduler, error) {
	syms := &symbols{ids: map[string]int{}}
	seqs := make(sequences, 16*len(in.Instances))
	s := &scheduler{
		in:           in,
		syms:         syms,
		shapes:       &shapes{syms: syms, seqs: seqs, gpu: syms.id("GPU"), byID: map[int]*shape{}},
		states:       &states{syms: syms, seqs: seqs, all: map[int]*state{}},
		typeOf:       map[int]*nodeType{},
		availability: map[int]float64{},
		recoverable:  map[int]float64{},
		ignoreGPU:    in.DisableGPUConservation,
	}
	s.packer.scheduler = s
	if err := s.checkDemand(); err != nil {
		return nil, err
	}
	s.syms.wanted[s.shapes.gpu] = true // the score looks at it
	if err := s.readTypes(); err != nil {
		return nil, err
	}
	for _, a := range in.Availability {
		s.availability[syms.id(a.Type)] = a.Score
	}
	for _, a := range in.RecoverableAvailability {
		s.recoverable[syms.id(a.Type)] = a.Score
	}
	for i := range s.types {
		s.types[i].recoverable = scoreOf(s.recoverable, s.types[i].id)
		s.types[i].available = scoreOf(s.availability, s.types[i].id)
	}
	return s, s.readInstances()
}

func scoreOf(scores map[int]float64, typ int) float64 {
	if v, ok := scores[typ]; ok {
		return v
	}
	return 1
}

// readTypes reads the node types; a name that comes again replaces the
// earlier type in its place.
func (s *scheduler) readTypes() error {
	s.types = make([]nodeType, 0, len(s.in.NodeTypes))
	at := map[int]int{}
	wanted := int64(len(s.in.Instances))
	for i := range s.in.NodeTypes {
		nt := &s.in.NodeTypes[i]
		if nt.Min < 0 || nt.Min > nt.Max {
			return fmt.Errorf("%w: node type %q has min %d and max %d", ErrNotModelled, nt.Name, nt.Min, nt.Max)
		}
		if wanted += min(nt.Min, maxNodes); wanted >= maxNodes {
			return errTooMany
		}
		if err := checkAmounts(nt.Resources, false); err != nil {
			return fmt.Errorf("reading node type %q: %w", nt.Name, err)
		}
		id := s.syms.id(nt.Name)
		j, ok := at[id]
		if !ok {
			j = len(s.types)
			at[id] = j
			s.types = append(s.types, nodeType{})
		}
		s.types[j] = nodeType{
			NodeType: nt, id: id,
			fresh: s.states.fresh(id, j, KindWorker, nt.Resources, nt.Resources, s.syms.labels(nt.Labels)),
		}
	}
	for i := range s.types {
		s.typeOf[s.types[i].id] = &s.types[i]
	}
	return nil
}

// readInstances makes a node of every instance that counts as capacity.
func (s *scheduler) readInstances() error {
	for i := range s.in.Instances {
		inst := &s.in.Instances[i]
		switch inst.Status {
		case StatusRayRunning:
			if inst.RayNode == nil {
				continue
			}
			n, err := s.runningNode(i)
			if err != nil {
				return fmt.Errorf("reading instance %q: %w", inst.ID, err)
			}
			s.nodes = append(s.nodes, n)
		case StatusQueued, StatusRequested, StatusAllocated, StatusRayInstalling, StatusStopRequested:
			if n := s.pendingNode(i); n != nil {
				s.nodes = append(s.nodes, n)
			}
		}
	}
	return nil
}

// runningNode is the node of an instance on which Ray runs: the GCS says what
// it is and has.
func (s *scheduler) runningNode(i int) (*node, error) {
	inst := &s.in.Instances[i]
	if err := checkAmounts(inst.RayNode.Total, true); err != nil {
		return nil, err
	}
	if err := checkAmounts(inst.RayNode.Available, true); err != nil {
		return nil, err
	}
	typ := s.syms.id(inst.Type)
	return &node{
		instance: i, id: inst.ID, im: inst.Status, rayNodeID: inst.RayNodeID,
		idle: inst.RayNode.IdleMillis, hash: inst.LaunchHash,
		st: s.states.fresh(typ, s.typeIndex(typ), inst.Kind,
			inst.RayNode.Total, inst.RayNode.Available,
			s.syms.labels(inst.RayNode.Labels, inst.RayNode.DynamicLabels)),
	}, nil
}

// pendingNode is the node of an instance on which Ray does not run yet, or is
// asked to stop: it counts as an empty node of its type. An instance of a type
// that is gone is outdated, or ignored if that is not checked.
func (s *scheduler) pendingNode(i int) *node {
	inst := &s.in.Instances[i]
	n := &node{instance: i, id: inst.ID, im: inst.Status}
	typ := s.syms.id(inst.Type)
	nt := s.typeOf[typ]
	switch {
	case nt != nil && inst.Kind == KindWorker:
		n.st = nt.fresh
	case nt != nil:
		n.st = s.states.fresh(typ, s.typeIndex(typ), inst.Kind, nt.Resources, nt.Resources, s.syms.labels(nt.Labels))
	case s.in.DisableLaunchConfigCheck:
		return nil
	default:
		n.st = s.states.fresh(typ, -1, KindWorker, nil, nil, nil)
		n.status, n.cause = toTerminate, CauseOutdated
	}
	return n
}

func (s *scheduler) typeIndex(typ int) int {
	for i := range s.types {
		if s.types[i].id == typ {
			return i
		}
	}
	return -1
}

// checkDemand notes which resources and labels are asked for and refuses
// amounts that no Ray process can ask for.
func (s *scheduler) checkDemand() error {
	if err := s.checkDemands(s.in.Requests); err != nil {
		return err
	}
	for i := range s.in.Gangs {
		for j := range s.in.Gangs[i].Bundles {
			if err := s.checkRequest(&s.in.Gangs[i].Bundles[j]); err != nil {
				return fmt.Errorf("reading bundle %d of gang %d: %w", j, i, err)
			}
		}
	}
	for i := range s.in.Constraints {
		if err := s.checkDemands(s.in.Constraints[i].Requests); err != nil {
			return fmt.Errorf("reading constraint %d: %w", i, err)
		}
	}
	return nil
}

func (s *scheduler) checkDemands(list []Demand) error {
	total := int64(0)
	for i := range list {
		if err := s.checkRequest(&list[i].Request); err != nil {
			return fmt.Errorf("reading request %d: %w", i, err)
		}
		total += max(0, list[i].Count)
		if total < 0 {
			return fmt.Errorf("%w: more requests than an int64 can count", ErrNotModelled)
		}
	}
	return nil
}

func (s *scheduler) checkRequest(r *Request) error {
	for _, a := range r.Resources {
		s.syms.wanted[s.syms.id(a.Name)] = true
	}
	for _, c := range r.Placement {
		s.syms.wantedKey[s.syms.id(c.Label)] = true
	}
	for _, selector := range r.Selectors {
		for i := range selector {
			s.syms.wantedKey[s.syms.id(selector[i].Key)] = true
		}
	}
	return checkAmounts(r.Resources, false)
}

func checkAmounts(r Resources, mayBeNegative bool) error {
	for _, a := range r {
		if math.IsNaN(a.Value) || math.IsInf(a.Value, 0) || a.Value < 0 && !mayBeNegative {
			return fmt.Errorf("%w: %q is %v", ErrNotModelled, a.Name, a.Value)
		}
	}
	return nil
}
