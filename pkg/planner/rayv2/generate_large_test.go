package rayv2

import "fmt"

// large makes a case of 20 to 60 instances with 50 to 300 requests, most of
// them in few entries or each in its own, and of everything else more.
func (g *generator) large(n int) recorded {
	g.sound = true
	c := recorded{
		Test: fmt.Sprintf("generated-large-%d", n), Dis: g.chance(0.8), Types: object{}, Reqs: []countedBundle{},
		Gangs: [][]object{}, Cons: [][]countedBundle{}, Inst: []recordedInst{}, Avail: map[string]float64{}, Rec: map[string]float64{},
	}
	for i := range 3 + g.IntN(6) {
		name, t := g.nodeType(i)
		t.Max += int64(g.IntN(60))
		g.types = append(g.types, name)
		g.shapes[name] = t
		c.Types = append(c.Types, field{name, raw(t)})
		if g.chance(0.3) {
			c.Avail[name] = pick(g, 0, 0.1, 0.5, 1)
		}
		if g.chance(0.3) {
			c.Rec[name] = pick(g, 0, 0.1, 0.5, 1)
		}
	}
	if g.chance(0.3) {
		c.Max = new(int64(20 + g.IntN(80)))
	}
	if g.chance(0.8) {
		c.Idle = new(pick(g, 0, 1, 5, 60.0, 60.0))
	}
	for i := range 20 + g.IntN(41) {
		c.Inst = append(c.Inst, g.instance(i))
	}
	few := g.chance(0.4)
	for left := 50 + g.IntN(251); left > 0; {
		count := 1 + g.IntN(3)
		if few {
			count = 5 + g.IntN(50)
		}
		count = min(count, left)
		left -= count
		b := g.bundle()
		if g.chance(0.05) {
			b = append(b, field{"_pc", raw([]string{pick(g, "anti:_PG_1", "anti:alone")})})
		}
		c.Reqs = append(c.Reqs, countedBundle{b, int64(count)})
	}
	for i := range g.IntN(12) {
		c.Gangs = append(c.Gangs, g.gang(i))
	}
	if g.chance(0.5) {
		var list []countedBundle
		for range 1 + g.IntN(6) {
			list = append(list, countedBundle{g.bundle(), int64(1 + g.IntN(12))})
		}
		c.Cons = append(c.Cons, list)
	}
	return c
}

// crowd makes a case of 20 to 100 requests that are nearly all different and
// want few resources, on up to 30 instances.
func (g *generator) crowd(n int) recorded {
	c := g.large(n)
	c.Test = fmt.Sprintf("generated-crowd-%d", n)
	c.Inst = c.Inst[:min(len(c.Inst), 30)]
	c.Gangs = c.Gangs[:min(len(c.Gangs), 2)]
	names := []string{"CPU", "memory", "GPU", "x"}[:2+g.IntN(3)]
	grain := pick(g, 0.1, 0.25, 1.0/3, 1e-4)
	different := func() object {
		o := object{}
		for _, name := range names {
			switch {
			case g.chance(0.4):
			case name == "memory":
				o = append(o, field{name, raw(float64(g.IntN(8 << 30)))})
			case name == "CPU":
				o = append(o, field{name, raw(float64(g.IntN(60)) * grain)})
			default:
				o = append(o, field{name, raw(float64(g.IntN(20)) * grain)})
			}
		}
		if g.chance(0.05) {
			o = append(o, field{"_ls", raw(g.selectors())})
		}
		return o
	}
	c.Reqs = nil
	for range 20 + g.IntN(81) {
		c.Reqs = append(c.Reqs, countedBundle{different(), int64(pick(g, 1, 1, 1, 1, 2, 7))})
	}
	if len(c.Cons) > 0 && g.chance(0.5) {
		c.Cons[0] = nil
		for range 10 + g.IntN(20) {
			c.Cons[0] = append(c.Cons[0], countedBundle{different(), 1})
		}
	}
	return c
}
