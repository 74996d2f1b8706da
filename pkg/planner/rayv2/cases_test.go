package rayv2

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// field is one entry of a JSON object, in the order of the file.
type field struct {
	key string
	raw json.RawMessage
}

// object is a JSON object that keeps its order.
type object []field

func (o *object) UnmarshalJSON(b []byte) error {
	*o = nil
	if string(b) == "null" {
		return nil
	}
	*o = object{}
	d := json.NewDecoder(bytes.NewReader(b))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return fmt.Errorf("%.40q is not an object", b)
	}
	for d.More() {
		k, err := d.Token()
		if err != nil {
			return err
		}
		f := field{key: fmt.Sprint(k)}
		if err := d.Decode(&f.raw); err != nil {
			return err
		}
		*o = append(*o, f)
	}
	return nil
}

func (o object) MarshalJSON() ([]byte, error) {
	if o == nil {
		return []byte("null"), nil
	}
	var b bytes.Buffer
	b.WriteByte('{')
	for i, f := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		k, err := json.Marshal(f.key)
		if err != nil {
			return nil, err
		}
		b.Write(k)
		b.WriteByte(':')
		b.Write(f.raw)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func (o object) resources() (Resources, error) {
	out := Resources{}
	for _, f := range o {
		if strings.HasPrefix(f.key, "_") {
			continue
		}
		a := Amount{Name: f.key}
		if err := json.Unmarshal(f.raw, &a.Value); err != nil {
			return nil, fmt.Errorf("reading amount %q: %w", f.key, err)
		}
		out = append(out, a)
	}
	return out, nil
}

func (o object) labels() (Labels, error) {
	var out Labels
	for _, f := range o {
		l := Label{Key: f.key}
		if err := json.Unmarshal(f.raw, &l.Value); err != nil {
			return nil, fmt.Errorf("reading label %q: %w", f.key, err)
		}
		out = append(out, l)
	}
	return out, nil
}

// recorded is one case in the format of the files in testdata; testdata/oracle.py
// describes it.
type recorded struct {
	Test  string             `json:"test"`
	Types object             `json:"types"`
	Max   *int64             `json:"max"`
	Idle  *float64           `json:"idle"`
	Dis   bool               `json:"dis"`
	Avail map[string]float64 `json:"avail"`
	Rec   map[string]float64 `json:"rec,omitempty"`
	GPUs  bool               `json:"gpus,omitempty"`
	Old   bool               `json:"old,omitempty"`
	More  bool               `json:"more,omitempty"`
	Reqs  []countedBundle    `json:"reqs"`
	Gangs [][]object         `json:"gangs"`
	Cons  [][]countedBundle  `json:"cons"`
	Inst  []recordedInst     `json:"inst"`
	Want  *answer            `json:"want,omitempty"`
}

type recordedType struct {
	Res      object   `json:"res"`
	Min      int64    `json:"min"`
	Max      int64    `json:"max"`
	Idle     *float64 `json:"idle"`
	Labels   object   `json:"labels"`
	Hash     string   `json:"hash"`
	Priority int64    `json:"priority"`
}

type recordedInst struct {
	ID     string   `json:"id"`
	Type   string   `json:"type"`
	St     string   `json:"st"`
	Kind   string   `json:"kind"`
	Av     object   `json:"av"`
	Tot    object   `json:"tot"`
	Idle   *float64 `json:"idle"`
	Labels object   `json:"labels"`
	Dyn    object   `json:"dyn"`
	Hash   string   `json:"hash,omitempty"`
	Node   string   `json:"node,omitempty"`
}

type countedBundle struct {
	bundle object
	count  int64
}

func (c *countedBundle) UnmarshalJSON(b []byte) error {
	var list []json.RawMessage
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	if len(list) != 2 {
		return fmt.Errorf("a counted bundle has %d elements, not 2", len(list))
	}
	return json.Unmarshal(b, &[]any{&c.bundle, &c.count})
}

func (c countedBundle) MarshalJSON() ([]byte, error) {
	return json.Marshal([]any{c.bundle, c.count})
}

// answer is what Ray said, in a form that does not depend on order.
type answer struct {
	Launch map[string]int64 `json:"launch"`
	Term   [][2]string      `json:"term"`
	Inf    []object         `json:"inf"`
	Infg   [][]object       `json:"infg"`
	Infc   int              `json:"infc"`
	Error  string           `json:"error,omitempty"`
}

// bundle reads a resource request.
func bundle(o object) (Request, error) {
	var r Request
	var err error
	if r.Resources, err = o.resources(); err != nil {
		return r, err
	}
	for _, f := range o {
		switch f.key {
		case "_pc":
			var list []string
			if err := json.Unmarshal(f.raw, &list); err != nil {
				return r, fmt.Errorf("reading placement constraints: %w", err)
			}
			for _, s := range list {
				kind, rest, _ := strings.Cut(s, ":")
				name, value, _ := strings.Cut(rest, "=")
				c := PlacementConstraint{Kind: Affinity, Label: name, Value: value}
				switch kind {
				case "anti":
					c.Kind = AntiAffinity
				case "aff":
				default:
					return r, fmt.Errorf("reading placement constraint %q: want anti:LABEL or aff:LABEL", s)
				}
				r.Placement = append(r.Placement, c)
			}
		case "_ls":
			if r.Selectors, err = selectors(f.raw); err != nil {
				return r, fmt.Errorf("reading label selectors: %w", err)
			}
		}
	}
	return r, nil
}

func selectors(raw json.RawMessage) ([]Selector, error) {
	var list [][][]json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, err
	}
	out := make([]Selector, 0, len(list))
	for _, s := range list {
		sel := Selector{}
		for _, c := range s {
			var r Requirement
			if len(c) != 3 {
				return nil, fmt.Errorf("a requirement has %d elements, not 3", len(c))
			}
			err := json.Unmarshal([]byte("["+string(c[0])+","+string(c[1])+","+string(c[2])+"]"), &[]any{&r.Key, &r.Operator, &r.Values})
			if err != nil {
				return nil, err
			}
			sel = append(sel, r)
		}
		out = append(out, sel)
	}
	return out, nil
}

func demands(list []countedBundle) ([]Demand, error) {
	out := make([]Demand, 0, len(list))
	for _, c := range list {
		r, err := bundle(c.bundle)
		if err != nil {
			return nil, err
		}
		out = append(out, Demand{Request: r, Count: c.count})
	}
	return out, nil
}

// input reads the case as Schedule wants it.
func (c *recorded) input() (Input, error) {
	in := Input{MaxNodes: c.Max, IdleTimeoutSeconds: c.Idle, DisableLaunchConfigCheck: c.Dis, DisableGPUConservation: c.GPUs}
	for _, k := range slices.Sorted(maps.Keys(c.Avail)) {
		in.Availability = append(in.Availability, TypeScore{k, c.Avail[k]})
	}
	for _, k := range slices.Sorted(maps.Keys(c.Rec)) {
		in.RecoverableAvailability = append(in.RecoverableAvailability, TypeScore{k, c.Rec[k]})
	}
	var err error
	if in.NodeTypes, err = c.nodeTypes(); err != nil {
		return in, err
	}
	if in.Requests, err = demands(c.Reqs); err != nil {
		return in, err
	}
	for _, g := range c.Gangs {
		gang := Gang{}
		for _, b := range g {
			r, err := bundle(b)
			if err != nil {
				return in, err
			}
			gang.Bundles = append(gang.Bundles, r)
		}
		in.Gangs = append(in.Gangs, gang)
	}
	for _, list := range c.Cons {
		d, err := demands(list)
		if err != nil {
			return in, err
		}
		in.Constraints = append(in.Constraints, Constraint{Requests: d})
	}
	for i := range c.Inst {
		inst, err := c.Inst[i].instance()
		if err != nil {
			return in, err
		}
		in.Instances = append(in.Instances, inst)
	}
	return in, nil
}

func (c *recorded) nodeTypes() ([]NodeType, error) {
	out := make([]NodeType, 0, len(c.Types))
	for _, f := range c.Types {
		var t recordedType
		if err := json.Unmarshal(f.raw, &t); err != nil {
			return nil, fmt.Errorf("reading type %q: %w", f.key, err)
		}
		if t.Res == nil {
			return nil, fmt.Errorf("reading type %q: it has no resources under res", f.key)
		}
		nt := NodeType{Name: f.key, Min: t.Min, Max: t.Max, IdleTimeoutSeconds: t.Idle, LaunchHash: t.Hash, Priority: t.Priority}
		var err error
		if nt.Resources, err = t.Res.resources(); err != nil {
			return nil, err
		}
		if nt.Labels, err = t.Labels.labels(); err != nil {
			return nil, err
		}
		out = append(out, nt)
	}
	return out, nil
}

func (i *recordedInst) instance() (Instance, error) {
	out := Instance{ID: i.ID, Type: i.Type, Status: Status(i.St), Kind: Kind(i.Kind), LaunchHash: i.Hash, RayNodeID: i.Node}
	if i.Av == nil {
		return out, nil
	}
	n := &RayNode{}
	if i.Idle != nil {
		n.IdleMillis = int64(*i.Idle)
	}
	var err error
	if n.Available, err = i.Av.resources(); err != nil {
		return out, err
	}
	if n.Total, err = i.Tot.resources(); err != nil {
		return out, err
	}
	if n.Labels, err = i.Labels.labels(); err != nil {
		return out, err
	}
	n.DynamicLabels, err = i.Dyn.labels()
	out.RayNode = n
	return out, err
}

// answerOf puts an output in the form of a recorded answer, whose infeasible
// bundles are those of the case.
func answerOf(c *recorded, out *Output) answer {
	a := answer{Launch: map[string]int64{}, Infc: len(out.InfeasibleConstraints)}
	if out.Err != nil {
		return answer{Error: out.Err.Error()}
	}
	for _, l := range out.Launches {
		a.Launch[l.Type] += l.Count
	}
	for _, t := range out.Terminations {
		a.Term = append(a.Term, [2]string{t.Instance, string(t.Cause)})
	}
	slices.SortFunc(a.Term, func(x, y [2]string) int { return slices.Compare(x[:], y[:]) })
	for _, r := range out.InfeasibleRequests {
		for range r.Count {
			a.Inf = append(a.Inf, c.Reqs[r.Index].bundle)
		}
	}
	for _, g := range out.InfeasibleGangs {
		a.Infg = append(a.Infg, c.Gangs[g])
	}
	return a
}

// compare names the parts in which two answers differ: "launch" and "term"
// are what Ray does, "inf", "infg" and "infc" what it reports.
func (a *answer) compare(b *answer) []string {
	if a.Error != "" || b.Error != "" {
		if (a.Error != "") != (b.Error != "") {
			return []string{"error"}
		}
		return nil
	}
	var out []string
	if !sameLaunches(a.Launch, b.Launch) {
		out = append(out, "launch")
	}
	if !slices.Equal(a.Term, b.Term) {
		out = append(out, "term")
	}
	if !slices.Equal(canonical(a.Inf), canonical(b.Inf)) {
		out = append(out, "inf")
	}
	gangs := func(list [][]object) []string {
		var s []string
		for _, g := range list {
			s = append(s, strings.Join(canonical(g), "|"))
		}
		return s // in order: Ray's own order of gangs
	}
	if !slices.Equal(gangs(a.Infg), gangs(b.Infg)) {
		out = append(out, "infg")
	}
	if a.Infc != b.Infc {
		out = append(out, "infc")
	}
	return out
}

func sameLaunches(a, b map[string]int64) bool {
	zero := func(_ string, n int64) bool { return n == 0 }
	a, b = maps.Clone(a), maps.Clone(b)
	maps.DeleteFunc(a, zero)
	maps.DeleteFunc(b, zero)
	return maps.Equal(a, b)
}

// canonical writes bundles as sorted texts that are equal if the bundles are.
func canonical(list []object) []string {
	out := make([]string, 0, len(list))
	for _, o := range list {
		r, err := bundle(o)
		if err != nil {
			out = append(out, err.Error())
			continue
		}
		slices.SortFunc(r.Resources, func(x, y Amount) int { return strings.Compare(x.Name, y.Name) })
		out = append(out, fmt.Sprintf("%v", r))
	}
	slices.Sort(out)
	return out
}
