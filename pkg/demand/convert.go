package demand

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tandem-autoscaler/tandem/pkg/demand/gcs/autoscalerpb"
	"github.com/tandem-autoscaler/tandem/pkg/demand/gcs/commonpb"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// Limits bound what one GCS can make the coordinator hold, whatever it answers.
// What exceeds them is left out and named in [State.Rejected].
type Limits struct {
	Shapes  int // distinct requests, and distinct constraints
	Gangs   int // placement groups
	Bundles int // bundles of one placement group
	Nodes   int // Ray nodes
}

// DefaultLimits are more than Ray itself reports: it stops at 100 shapes for
// each raylet, 1,000 placement groups and 1,000 dead nodes.
func DefaultLimits() Limits {
	return Limits{Shapes: 10_000, Gangs: 2_000, Bundles: 10_000, Nodes: 20_000}
}

// maxCount is the largest number of equal requests that is taken seriously.
const maxCount = 1_000_000_000

// State is the answer of a GCS in the planner's types. Its lists are sorted, so
// that equal answers in another order give equal states.
type State struct {
	// Session names the life of the GCS; Version grows within it.
	Session string
	Version int64

	Requests    []planner.Request
	Gangs       []planner.Gang
	Constraints []planner.Request
	RayNodes    []planner.RayNode
	// Addresses are the IPs of Ray nodes by id, as the raylets gave them.
	Addresses map[string]string
	Rejected  []planner.Rejected
	// Since is when the state was first read as it is now; the source sets it.
	Since time.Time `json:",omitzero"`
	// ConstraintsSince is when Constraints were first read as they are now, in
	// this session; the source sets it.
	ConstraintsSince time.Time `json:",omitzero"`
}

// Convert translates the answer of a GCS. It never fails: an entry that is
// malformed, or that no new node could ever serve, is left out and named in
// Rejected, and the others go on.
func Convert(in *autoscalerpb.ClusterResourceState, l Limits) State {
	left := tally{}
	out := State{Session: clip(in.GetClusterSessionName(), maxName), Version: in.GetClusterResourceStateVersion()}

	requests := newShapes("resource request", left)
	for _, r := range in.GetPendingResourceRequests() {
		requests.add(r)
	}
	out.Requests = requests.list(l.Shapes)

	constraints := newShapes("cluster resource constraint", left)
	for _, c := range in.GetClusterResourceConstraints() {
		for _, r := range c.GetResourceRequests() {
			constraints.add(r)
		}
	}
	out.Constraints = constraints.list(l.Shapes)

	out.Gangs = gangs(in.GetPendingGangResourceRequests(), l, left)
	out.RayNodes, out.Addresses = rayNodes(in.GetNodeStates(), l, left)
	out.Rejected = left.list()
	return out
}

// shapes merges equal requests.
type shapes struct {
	what  string
	left  tally
	byKey map[string]*planner.Request
}

func newShapes(what string, left tally) *shapes {
	return &shapes{what: what, left: left, byKey: map[string]*planner.Request{}}
}

func (s *shapes) add(in *autoscalerpb.ResourceRequestByCount) {
	count := in.GetCount()
	switch {
	case count == 0:
		return
	case count < 0:
		s.left.add(s.what, "the count is negative", 1)
		return
	case count > maxCount:
		s.left.add(s.what, "the count is absurdly large", 1)
		return
	}
	resources, err := bundle(in.GetRequest().GetResourcesBundle())
	if err != nil {
		s.left.add(s.what, err.Error(), count)
		return
	}
	selectors, err := fallbacks(in.GetRequest().GetLabelSelectors())
	if err != nil {
		s.left.add(s.what, err.Error(), count)
		return
	}
	key := resources.Key() + "|" + selectorsKey(selectors)
	if r := s.byKey[key]; r != nil {
		r.Count += count
		return
	}
	s.byKey[key] = &planner.Request{Resources: resources, Count: count, Selectors: selectors}
}

func (s *shapes) list(limit int) []planner.Request {
	if len(s.byKey) == 0 {
		return nil
	}
	keys := slices.Sorted(maps.Keys(s.byKey))
	out := make([]planner.Request, 0, min(limit, len(keys)))
	for _, k := range keys {
		r := s.byKey[k]
		if len(out) == limit {
			s.left.add(s.what, fmt.Sprintf("truncated: more than %d different ones", limit), r.Count)
			continue
		}
		out = append(out, *r)
	}
	return out
}

// bundle converts the resources of one request, task or bundle. It refuses the
// request as a whole when a name or an amount in it is malformed, or when it
// needs something that only a node which exists already can have.
func bundle(in map[string]float64) (planner.Resources, error) {
	out := make(planner.Resources, len(in))
	for _, name := range slices.Sorted(maps.Keys(in)) {
		if !validName(name) {
			return nil, fmt.Errorf("the name %q is too long or has characters that are not allowed", clip(name, 40))
		}
		v, err := amount(name, in[name], up)
		if err != nil {
			return nil, err
		}
		switch kindOfName(name) {
		case nameOrdinary:
			if v > 0 {
				out[name] = v
			}
		case nameImplicit:
			// Every node has one, new ones too. That a node has only one is not
			// modelled.
		case nameNode:
			return nil, fmt.Errorf("pinned to one node by %q", name)
		case nameGang:
			return nil, errors.New("inside placement group: only nodes that hold its bundles can serve it")
		}
	}
	return out, nil
}

// fallbacks converts ordered label selectors. One that is malformed is passed
// over; if no other is left, the request cannot be served as it was meant.
func fallbacks(in []*commonpb.LabelSelector) ([]planner.Selector, error) {
	var out []planner.Selector
	var first error
	for _, s := range in {
		selector, err := selectorOf(s)
		if err != nil {
			first = cmpOr(first, err)
			continue
		}
		out = append(out, selector)
	}
	switch {
	case len(out) == 0:
		return nil, first
	case len(out[0]) == 0:
		return nil, nil // the first choice takes any node
	default:
		return out, nil
	}
}

func cmpOr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// selectorOf converts one label selector into a sorted one.
func selectorOf(in *commonpb.LabelSelector) (planner.Selector, error) {
	out := make(planner.Selector, 0, len(in.GetLabelConstraints()))
	for _, c := range in.GetLabelConstraints() {
		r := planner.Requirement{Key: c.GetLabelKey(), Values: slices.Clone(c.GetLabelValues())}
		if !validName(r.Key) || slices.ContainsFunc(r.Values, func(v string) bool { return !validText(v) }) {
			return nil, fmt.Errorf("label selector on %q: a name is too long or has characters that are not allowed", clip(r.Key, 40))
		}
		switch c.GetOperator() {
		case commonpb.LabelSelectorOperator_LABEL_OPERATOR_IN:
		case commonpb.LabelSelectorOperator_LABEL_OPERATOR_NOT_IN:
			r.NotIn = true
		case commonpb.LabelSelectorOperator_LABEL_OPERATOR_UNSPECIFIED:
			return nil, fmt.Errorf("label selector on %q has no operator", r.Key)
		default:
			return nil, fmt.Errorf("label selector on %q has the unknown operator %d", r.Key, c.GetOperator())
		}
		slices.Sort(r.Values)
		r.Values = slices.Compact(r.Values)
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b planner.Requirement) int { return strings.Compare(requirementKey(a), requirementKey(b)) })
	return out, nil
}

func requirementKey(r planner.Requirement) string {
	// Names hold neither commas nor equals signs, so the text is unambiguous.
	return r.Key + "=" + strconv.FormatBool(r.NotIn) + "=" + strings.Join(r.Values, ",")
}

func selectorsKey(in []planner.Selector) string {
	var b strings.Builder
	for _, s := range in {
		for _, r := range s {
			b.WriteString(requirementKey(r))
			b.WriteByte('&')
		}
		b.WriteByte('|')
	}
	return b.String()
}
