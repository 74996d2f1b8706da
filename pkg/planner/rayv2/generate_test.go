package rayv2

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
)

// generator makes random cases; equal seeds make equal cases.
type generator struct {
	*rand.Rand
	types  []string
	shapes map[string]recordedType
	// sound leaves out what makes Ray's scheduler raise an exception: in a
	// large case something of that kind would nearly always be there.
	sound bool
}

func newGenerator(seed uint64) *generator {
	return &generator{Rand: rand.New(rand.NewPCG(seed, 0)), shapes: map[string]recordedType{}} //nolint:gosec // test data, to be repeatable
}

// rare is a chance of something unsound.
func (g *generator) rare(p float64) bool { return g.chance(p) && !g.sound }

func (g *generator) chance(p float64) bool { return g.Float64() < p }

func pick[T any](g *generator, list ...T) T { return list[g.IntN(len(list))] }

func raw(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // only called with strings, numbers and lists of them
	}
	return b
}

var resourceNames = []string{
	"CPU", "CPU", "CPU", "memory", "GPU", "GPU", "x", "custom/with slash", "Größe", "TPU-v5e-head",
	"object_store_memory", "node:10.0.0.1", "node:__internal_implicit_resource_x", "accelerator_type:A100",
}

// amount is a quantity that is easy or awkward to add up.
func (g *generator) amount(name string) float64 {
	if name == "memory" || name == "object_store_memory" {
		return pick(g, 1<<30, 4<<30, 1e9, 8<<30, 12345678901, 0.5)
	}
	if g.chance(0.06) {
		return 0
	}
	if g.chance(0.3) {
		return pick(g, 0.1, 0.2, 0.3, 0.5, 0.25, 0.7, 1.0/3, 1e-4, 2.5, 0.9999)
	}
	return float64(pick(g, 1, 1, 1, 2, 2, 3, 4, 5, 8))
}

func (g *generator) resources(most int) object {
	o := object{}
	for range g.IntN(most + 1) {
		name := pick(g, resourceNames...)
		if slices.ContainsFunc(o, func(f field) bool { return f.key == name }) {
			continue
		}
		o = append(o, field{name, raw(g.amount(name))})
	}
	return o
}

func (g *generator) labels() object {
	o := object{}
	if g.chance(0.5) {
		return o
	}
	for _, k := range []string{"zone", "ray.io/accelerator-type", "ray.io/market-type"} {
		if g.chance(0.5) {
			o = append(o, field{k, raw(pick(g, "a", "b", "A100", ""))})
		}
	}
	if g.rare(0.05) {
		o = append(o, field{"_PG_1", raw(pick(g, "", "other"))})
	}
	return o
}

func (g *generator) selectors() [][][3]any {
	var out [][][3]any
	for range 1 + g.IntN(3) {
		sel := [][3]any{}
		for range g.IntN(3) {
			values := []string{}
			for range g.IntN(3) {
				values = append(values, pick(g, "a", "b", "A100", ""))
			}
			sel = append(sel, [3]any{
				pick(g, "zone", "ray.io/accelerator-type", "nobody-has-it", "_PG_1"), pick(g, 1, 1, 1, 2, 2, 0), values,
			})
		}
		out = append(out, sel)
	}
	return out
}

// bundle is a resource request without placement constraints.
func (g *generator) bundle() object {
	o := g.resources(3)
	if len(o) == 0 && g.chance(0.7) {
		o = object{{"CPU", raw(g.amount("CPU"))}}
	}
	if g.chance(0.15) {
		o = append(o, field{"_ls", raw(g.selectors())})
	}
	return o
}

func (g *generator) gang(n int) []object {
	strategy := pick(g, "PACK", "STRICT_PACK", "STRICT_SPREAD", "MIXED")
	label := fmt.Sprintf("_PG_%d", n%3)
	out := []object{}
	shape := g.bundle()
	for range g.IntN(5) {
		if g.chance(0.4) {
			shape = g.bundle()
		}
		b := slices.Clone(shape)
		kind := strategy
		if kind == "MIXED" {
			kind = pick(g, "PACK", "STRICT_PACK", "STRICT_SPREAD")
		}
		var pc []string
		switch kind {
		case "STRICT_PACK":
			pc = append(pc, "aff:"+label)
		case "STRICT_SPREAD":
			pc = append(pc, "anti:"+label)
		}
		if g.rare(0.01) {
			pc = append(pc, "anti:again")
		}
		if len(pc) > 0 {
			b = append(b, field{"_pc", raw(pc)})
		}
		out = append(out, b)
	}
	return out
}

func (g *generator) nodeType(i int) (string, recordedType) {
	t := recordedType{Res: g.resources(4), Min: int64(pick(g, 0, 0, 0, 1, 2, 3)), Labels: g.labels()}
	if len(t.Res) == 0 || g.chance(0.5) {
		t.Res = object{{"CPU", raw(pick(g, 1, 2, 4, 4, 8, 16))}, {"memory", raw(pick(g, 4<<30, 8<<30, 32<<30))}}
		if g.chance(0.4) {
			t.Res = append(t.Res, field{"GPU", raw(pick(g, 1, 2, 8))})
		}
	}
	t.Max = t.Min + int64(pick(g, 0, 1, 2, 3, 6, 20, 20, 50))
	if g.chance(0.2) {
		t.Idle = new(pick(g, 0, 1, 5, 60, -1, 0.5))
	}
	if g.chance(0.3) {
		t.Hash = "h1"
	}
	if g.chance(0.3) {
		t.Priority = int64(pick(g, -1, 1, 5))
	}
	return pick(g, "g", "group ", "Grüße-", "_") + strconv.Itoa(i), t
}

func (g *generator) instance(i int) recordedInst {
	inst := recordedInst{
		ID: fmt.Sprintf("i%03d", i), Kind: pick(g, "WORKER", "WORKER", "WORKER", "WORKER", "WORKER", "UNMANAGED"),
		St: pick(g, "RAY_RUNNING", "RAY_RUNNING", "RAY_RUNNING", "QUEUED", "REQUESTED", "ALLOCATED", "RAY_INSTALLING", "RAY_STOP_REQUESTED"),
	}
	if g.chance(0.05) {
		inst.St = pick(g, "UNKNOWN", "RAY_STOPPING", "RAY_STOPPED", "TERMINATING", "TERMINATED", "ALLOCATION_FAILED",
			"RAY_INSTALL_FAILED", "TERMINATION_FAILED", "ALLOCATION_TIMEOUT")
	}
	if g.chance(0.02) {
		inst.Kind = "HEAD"
	}
	if i == 0 && g.chance(0.7) {
		inst.ID, inst.Kind, inst.St = "head", "HEAD", "RAY_RUNNING"
	}
	inst.Type = "gone"
	if len(g.types) > 0 && !g.rare(0.01) {
		inst.Type = pick(g, g.types...)
	}
	if g.chance(0.5) {
		inst.Hash = pick(g, "h1", "h0")
	}
	if inst.St == "RAY_RUNNING" && !g.chance(0.02) {
		g.rayNode(&inst)
	}
	return inst
}

// rayNode adds what the GCS would report: the type's resources, often some of
// Ray's own, some of them in use.
func (g *generator) rayNode(inst *recordedInst) {
	if g.chance(0.9) {
		inst.Node = "n" + inst.ID
	}
	t := g.shapes[inst.Type]
	inst.Tot = append(object{}, t.Res...)
	inst.Labels = t.Labels
	if g.chance(0.3) && !slices.ContainsFunc(inst.Tot, func(f field) bool { return f.key == "object_store_memory" }) {
		inst.Tot = append(inst.Tot, field{"object_store_memory", raw(2 << 30)}, field{"node:" + inst.ID, raw(1)})
	}
	inst.Av = object{}
	idle := g.chance(0.4)
	for _, f := range inst.Tot {
		var v float64
		if err := json.Unmarshal(f.raw, &v); err != nil {
			panic(err) // written above
		}
		if !idle {
			v = pick(g, v, v, v/2, v/4, 0, max(0, v-0.1), max(0, v-1))
		}
		if g.rare(0.002) {
			v = pick(g, v+1, -1)
		}
		if v == 0 && g.chance(0.8) {
			continue // the GCS leaves out what is used up
		}
		inst.Av = append(inst.Av, field{f.key, raw(v)})
	}
	inst.Idle = new(0.0)
	if idle {
		inst.Idle = new(pick(g, 1.0, 1000, 5000, 60000, 60001, 100000))
	}
	if g.chance(0.15) {
		inst.Dyn = object{{fmt.Sprintf("_PG_%d", g.IntN(3)), raw("")}}
	}
	if g.rare(0.005) {
		inst.Dyn = object{{fmt.Sprintf("_PG_%d", g.IntN(3)), raw("other")}}
	}
}

// largeShare is the inverse of the share of large cases, which take Ray a
// second each.
const largeShare = 25

// next makes one case.
func (g *generator) next(n int) recorded {
	var c recorded
	switch n % largeShare {
	case 0:
		c = g.large(n)
	case largeShare / 2:
		c = g.crowd(n)
	default:
		c = g.mixed(n)
	}
	c.GPUs, c.Old, c.More = g.chance(0.1), g.chance(0.1), g.chance(0.1)
	return c
}

// mixed makes a case of a bit of everything.
func (g *generator) mixed(n int) recorded {
	c := recorded{
		Test: fmt.Sprintf("generated-%d", n), Dis: g.chance(0.8), Types: object{}, Reqs: []countedBundle{},
		Gangs: [][]object{}, Cons: [][]countedBundle{}, Inst: []recordedInst{}, Avail: map[string]float64{}, Rec: map[string]float64{},
	}
	g.types, g.shapes = nil, map[string]recordedType{}
	types := 1 + g.IntN(5)
	if g.chance(0.02) {
		types = 0
	}
	for i := range types {
		name, t := g.nodeType(i)
		if i > 0 && g.chance(0.15) {
			twin := g.shapes[g.types[i-1]] // so that everything else decides
			t.Res, t.Labels = twin.Res, twin.Labels
		}
		g.types = append(g.types, name)
		g.shapes[name] = t
		c.Types = append(c.Types, field{name, raw(t)})
		if g.chance(0.15) {
			c.Avail[name] = pick(g, 0, 0.1, 0.5, 1)
		}
		if g.chance(0.15) {
			c.Rec[name] = pick(g, 0, 0.1, 0.5, 1)
		}
	}
	if g.chance(0.4) {
		c.Max = new(int64(pick(g, 0, 1, 2, 3, 5, 8, 10, 15, 20, 30, 50)))
	}
	if g.chance(0.005) {
		c.Max = new(int64(-1))
	}
	if g.chance(0.7) {
		c.Idle = new(pick(g, 0, 1, 5, 60.0, 60.0, -1))
	}
	for i := range g.IntN(pick(g, 3, 12, 12, 30, 30, 60)) {
		c.Inst = append(c.Inst, g.instance(i))
	}
	g.demand(&c)
	if len(g.types) > 0 && g.chance(0.004) {
		g.enlarge(&c)
	}
	return c
}

// enlarge makes a large cluster of a case, with room to grow.
func (g *generator) enlarge(c *recorded) {
	c.Max = nil
	for i, f := range c.Types {
		t := g.shapes[f.key]
		t.Max += 60
		c.Types[i].raw = raw(t)
	}
	for i := len(c.Inst); i < 120; i++ {
		inst := g.instance(i)
		if inst.Type != "gone" {
			c.Inst = append(c.Inst, inst)
		}
	}
	for range 6 {
		c.Reqs = append(c.Reqs, countedBundle{g.bundle(), int64(20 + g.IntN(100))})
	}
}

func (g *generator) demand(c *recorded) {
	counted := func() countedBundle {
		b := g.bundle()
		if g.chance(0.08) {
			b = append(b, field{"_pc", raw([]string{pick(g, "anti:_PG_1", "anti:alone", "aff:_PG_1", "anti:zone=a")})})
		}
		if g.chance(0.01) {
			b = slices.DeleteFunc(b, func(f field) bool { return f.key == "_pc" })
			b = append(b, field{"_pc", raw([]string{"anti:_PG_1", "anti:alone"})})
		}
		return countedBundle{b, int64(pick(g, 0, 1, 1, 2, 3, 5, 8, 20, 60, 150))}
	}
	for range g.IntN(6) {
		d := counted()
		c.Reqs = append(c.Reqs, d)
		if g.chance(0.1) {
			turned := slices.Clone(d.bundle)
			slices.Reverse(turned)
			c.Reqs = append(c.Reqs, counted(), d, countedBundle{turned, 2})
		}
	}
	for i := range g.IntN(4) {
		c.Gangs = append(c.Gangs, g.gang(i))
	}
	for g.chance(0.3) && len(c.Cons) < 2 {
		var list []countedBundle
		for range 1 + g.IntN(3) {
			d := counted()
			d.count = min(d.count, 8)
			list = append(list, d)
		}
		c.Cons = append(c.Cons, list)
		if !g.chance(0.05) {
			break
		}
	}
}
