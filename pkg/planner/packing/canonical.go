package packing

import (
	"cmp"
	"math"
	"slices"
)

// canon is the input in an order of its own, so that the caller's order does
// not matter, with equal shapes joined.
type canon struct {
	in        Problem
	resources int
	classes   []int // canonical order of the classes, as indexes of the input
	rank      []int // its inverse
	shapes    []joined
	rankShape []int // of the input's shapes
}

// joined is one or more equal shapes of the input.
type joined struct {
	members []int
	refused []bool // in canonical class order
	count   int64
}

func canonical(in Problem) *canon {
	c := &canon{in: in, rank: make([]int, len(in.Classes)), rankShape: make([]int, len(in.Shapes))}
	for i := range in.Shapes {
		c.resources = max(c.resources, len(in.Shapes[i].Amounts))
	}
	for k := range in.Classes {
		c.resources = max(c.resources, len(in.Classes[k].Capacity))
		c.classes = append(c.classes, k)
	}
	slices.SortStableFunc(c.classes, func(a, b int) int { return c.compareClasses(&in.Classes[a], &in.Classes[b]) })
	for r, k := range c.classes {
		c.rank[k] = r
	}
	order := make([]int, 0, len(in.Shapes))
	refused := make([][]bool, len(in.Shapes))
	for i := range in.Shapes {
		refused[i] = make([]bool, len(c.classes))
		for r, k := range c.classes {
			refused[i][r] = k < len(in.Shapes[i].Refused) && in.Shapes[i].Refused[k]
		}
		order = append(order, i)
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(c.compareShapes(a, b, refused), cmp.Compare(in.Shapes[a].Name, in.Shapes[b].Name), cmp.Compare(in.Shapes[a].Count, in.Shapes[b].Count))
	})
	for r, i := range order {
		c.rankShape[i] = r
		if in.Shapes[i].Count <= 0 {
			continue
		}
		if n := len(c.shapes); n > 0 && in.Shapes[i].MaxPerNode <= 0 && c.compareShapes(c.shapes[n-1].members[0], i, refused) == 0 {
			c.shapes[n-1].members = append(c.shapes[n-1].members, i)
			c.shapes[n-1].count = addSat(c.shapes[n-1].count, in.Shapes[i].Count)
			continue
		}
		c.shapes = append(c.shapes, joined{[]int{i}, refused[i], in.Shapes[i].Count})
	}
	return c
}

// pods is how many there are of all shapes.
func (c *canon) pods() (n int64) {
	for _, s := range c.shapes {
		n = addSat(n, s.count)
	}
	return n
}

func at(v []int64, r int) int64 {
	if r < len(v) {
		return max(0, v[r])
	}
	return 0
}

func (c *canon) compareVectors(a, b []int64) int {
	for r := range c.resources {
		if d := cmp.Compare(at(a, r), at(b, r)); d != 0 {
			return d
		}
	}
	return 0
}

func (c *canon) compareClasses(a, b *Class) int {
	return cmp.Or(cmp.Compare(a.Price, b.Price), cmp.Compare(a.Devices, b.Devices), c.compareVectors(a.Capacity, b.Capacity), cmp.Compare(a.limit(), b.limit()), cmp.Compare(a.Name, b.Name))
}

func (c *canon) compareShapes(a, b int, refused [][]bool) int {
	x, y := &c.in.Shapes[a], &c.in.Shapes[b]
	if d := cmp.Or(cmp.Compare(max(0, x.GPU), max(0, y.GPU)), c.compareVectors(x.Amounts, y.Amounts), cmp.Compare(max(0, x.MaxPerNode), max(0, y.MaxPerNode))); d != 0 {
		return d
	}
	for r := range refused[a] {
		if refused[a][r] != refused[b][r] {
			if refused[b][r] {
				return -1
			}
			return 1
		}
	}
	return 0
}

func (c *Class) limit() int64 { return max(0, min(c.Max, c.Headroom)) }

func (c *Class) devices() int64 { return max(0, min(c.Devices, MaxDevices)) }

// fitOne is how many pods of the shape an empty node of the class holds, at
// most cap.
func (c *canon) fitOne(s *Shape, k *Class) int64 {
	n := s.Count
	if s.MaxPerNode > 0 {
		n = min(n, s.MaxPerNode)
	}
	for r := range c.resources {
		if a := at(s.Amounts, r); a > 0 {
			n = min(n, at(k.Capacity, r)/a)
		}
	}
	switch {
	case s.GPU <= 0:
	case s.GPU < Device:
		n = min(n, k.devices()*(Device/s.GPU))
	default:
		n = min(n, k.devices()/wholeDevices(s.GPU))
	}
	return n
}

func wholeDevices(gpu int64) int64 { return gpu/Device + min(1, gpu%Device) }

// components splits the problem into parts that share no class: with GPU nodes
// that refuse pods without GPU, the two sides are two problems.
func (c *canon) components() []*part {
	K := len(c.classes)
	parent := make([]int, K)
	for k := range parent {
		parent[k] = k
	}
	find := func(k int) int {
		for parent[k] != k {
			k = parent[k]
		}
		return k
	}
	first := make([]int, len(c.shapes))
	for i := range c.shapes {
		first[i] = -1
		for r, k := range c.classes {
			class := &c.in.Classes[k]
			if c.shapes[i].refused[r] || class.limit() == 0 || c.fitOne(&c.in.Shapes[c.shapes[i].members[0]], class) <= 0 {
				continue
			}
			if first[i] < 0 {
				first[i] = r
			}
			a, b := find(first[i]), find(r)
			parent[max(a, b)] = min(a, b)
		}
	}
	byRoot := map[int]*part{}
	var parts []*part
	for i := range c.shapes {
		if first[i] < 0 {
			continue
		}
		root := find(first[i])
		if byRoot[root] == nil {
			byRoot[root] = &part{}
			parts = append(parts, byRoot[root])
		}
		byRoot[root].shapes = append(byRoot[root].shapes, i)
	}
	for r := range c.classes {
		if p := byRoot[find(r)]; p != nil {
			p.classes = append(p.classes, r)
		}
	}
	for _, p := range parts {
		c.fill(p)
	}
	// The small parts first: what they leave of the budget is of use to others.
	slices.SortStableFunc(parts, func(a, b *part) int { return cmp.Compare(a.weight(), b.weight()) })
	return parts
}

// fill writes the vectors of a part.
func (c *canon) fill(p *part) {
	p.R = c.resources
	p.n, p.K = len(p.shapes), len(p.classes)
	for _, i := range p.shapes {
		s := &c.in.Shapes[c.shapes[i].members[0]]
		v := make([]int64, p.R)
		for r := range v {
			v[r] = at(s.Amounts, r)
		}
		p.size = append(p.size, v)
		p.gpu = append(p.gpu, max(0, s.GPU))
		p.d = append(p.d, c.shapes[i].count)
		most := c.shapes[i].count
		if s.MaxPerNode > 0 {
			most = min(most, s.MaxPerNode)
		}
		p.most = append(p.most, most)
	}
	for _, r := range p.classes {
		k := &c.in.Classes[c.classes[r]]
		v := make([]int64, p.R)
		for r := range v {
			v[r] = at(k.Capacity, r)
		}
		p.capacity = append(p.capacity, v)
		p.devices = append(p.devices, k.devices())
		p.price = append(p.price, float64(max(0, k.Price)))
		p.limit = append(p.limit, k.limit())
		p.knap = append(p.knap, newKnapsack(p, len(p.knap), func(i int) bool { return c.shapes[p.shapes[i]].refused[r] }))
	}
	p.trimLimits()
}

// trimLimits lowers each stock to what could ever be of use.
func (p *part) trimLimits() {
	for k := range p.limit {
		var use int64
		for _, i := range p.knap[k].items {
			use = addSat(use, p.d[i])
		}
		p.limit[k] = min(p.limit[k], use)
	}
}

// report adds the plan of a part to the result, in the input's terms.
func (c *canon) report(p *part, out *Result) {
	type cursor struct {
		member int
		used   int64
	}
	cursors := make([]cursor, p.n)
	// take gives n pods of a shape to its members in turn.
	take := func(i int, n int64, pods []Count) []Count {
		members := c.shapes[p.shapes[i]].members
		for n > 0 {
			cur := &cursors[i]
			m := members[cur.member]
			t := min(n, c.in.Shapes[m].Count-cur.used)
			if t > 0 {
				pods = append(pods, Count{m, t})
				out.Unplaced[m] -= t
				cur.used, n = cur.used+t, n-t
			}
			if n > 0 {
				cur.member, cur.used = cur.member+1, 0
			}
		}
		return pods
	}
	for _, run := range p.best.runs {
		class := c.classes[p.classes[run.k]]
		out.Nodes[class] += run.nodes
		for left := run.nodes; left > 0; {
			// As many nodes at once as the current members can fill alike.
			alike := left
			for q, i := range run.idx {
				m := c.shapes[p.shapes[i]].members[cursors[i].member]
				alike = min(alike, (c.in.Shapes[m].Count-cursors[i].used)/run.cnt[q])
			}
			if alike == 0 {
				var pods []Count
				for q, i := range run.idx {
					pods = take(int(i), run.cnt[q], pods)
				}
				out.Patterns = append(out.Patterns, Pattern{class, 1, pods})
				left--
				continue
			}
			var pods []Count
			for q, i := range run.idx {
				cur := &cursors[i]
				m := c.shapes[p.shapes[i]].members[cur.member]
				pods = append(pods, Count{m, run.cnt[q]})
				cur.used += alike * run.cnt[q]
				out.Unplaced[m] -= alike * run.cnt[q]
			}
			out.Patterns = append(out.Patterns, Pattern{class, alike, pods})
			left -= alike
		}
	}
}

func (c *canon) comparePatterns(a, b Pattern) int {
	return cmp.Or(cmp.Compare(c.rank[a.Class], c.rank[b.Class]), slices.CompareFunc(a.Pods, b.Pods, func(x, y Count) int {
		return cmp.Or(cmp.Compare(c.rankShape[x.Shape], c.rankShape[y.Shape]), cmp.Compare(x.Count, y.Count))
	}), cmp.Compare(a.Nodes, b.Nodes))
}

func (p *part) weight() float64 {
	k := 0.0
	if p.shares() {
		k = 1
	}
	return math.Pow(float64(p.n), 1.7)*(1+k) + 4
}
