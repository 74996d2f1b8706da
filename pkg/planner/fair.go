package planner

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Fair shares. Where there is not enough for all, the RayClusters that are served
// first would have everything. So the demand is placed once without any shares;
// if somebody waits for what another tenant (a namespace of RayClusters) of the
// same priority got, it is placed again, and no tenant gets more than its part of
// what is short: weighted max-min fairness (water-filling), which counts what a
// tenant has on nodes already and takes none of that away.
//
// What a pod holds of a node is what keeps others off: one of two such pods that
// fit there holds half of it, whatever it asks for. Parts are counted in GPUs
// where all that is short has GPUs, else in Machines, both in 1e-4.
//
// A part is an upper bound on what is placed: gangs stay whole or get nothing,
// and what a tenant cannot use of its part goes to the others in a further pass.
// Parts depend on what there is and what is wanted, not on how far a purchase
// has come, so the next plan finds the same ones (rule I5).

// fairPasses bounds how often the demand is placed again for fair shares: by
// estimated wants, by those that came true, and once more to give away what is
// left over because it is less than somebody's gang or pod.
const fairPasses = 3

// fairness is who may have how much of what is short.
type fairness struct {
	pools []*pool
	of    []*pool // by index of group; nil where nothing is short
	// refused has what was kept out by a part, rank who comes first where what is
	// left over is given away.
	refused map[wanting]bool
	rank    map[string]int64
}

// pool is a number of groups of which there is not enough, and that the same
// demand, or the same limit, ties together.
type pool struct {
	groups []*groupState
	gpus   bool   // counted in GPUs, else in Machines
	why    Reason // the first refusal that told so
	room   int64
	others int64 // what pods hold that are of no tenant
	shares []*share
	levels []*level
}

// level is the tenants of one priority in one pool.
type level struct {
	shares  []*share
	limited bool
	room    int64
	// spare is what was left over by parts, beyond what is taken of it; given
	// tells that it is given away in this pass.
	spare, beyond int64
	given         bool
}

// share is one tenant in one pool.
type share struct {
	namespace        string
	weight, priority int64
	level            *level
	standing         int64 // on nodes that exist: nobody takes it away
	used             int64 // that, and what is placed
	want, part       int64
	// waits tells that some of its demand found no room in the pool, refused that
	// its part kept it out; lacks is about how much that is, least the smallest
	// piece of what it wants.
	waits, refused bool
	lacks, least   int64
}

// serve places the demand, by fair shares where there is not enough.
func (p *planning) serve() {
	unmet, decisions, workers, steps := len(p.unmet), len(p.decisions), len(p.workers), len(p.steps)
	p.demand()
	if p.s.Policy.FairShareDisabled || len(p.unmet) == unmet || !p.severalTenants() {
		return
	}
	p.fair = p.contention()
	if p.fair == nil {
		return
	}
	for pass := range fairPasses {
		p.measure(pass)
		if !p.adjust(pass) {
			return
		}
		p.rollback(0)
		clear(p.noRoom) // parts may have kept everything out
		p.unmet, p.decisions, p.workers, p.steps = p.unmet[:unmet], p.decisions[:decisions], p.workers[:workers], p.steps[:steps]
		p.led, p.work = 0, replicasBudget
		p.fair.restart()
		p.demand()
	}
}

func (p *planning) severalTenants() bool {
	return slices.ContainsFunc(p.clusters, func(c *clusterState) bool { return c.Namespace != p.clusters[0].Namespace })
}

// contention finds the groups of which some tenant did not get what it wants for
// want of room, and ties them together to pools.
func (p *planning) contention() *fairness {
	tie := newTies(len(p.groups))
	short, why := make([]bool, len(p.groups)), make([]Reason, len(p.groups))
	every := false // a limit on all groups together
	for i := range p.unmet {
		first := int64(-1)
		for _, a := range p.unmet[i].Rejected {
			g := p.group[a.Name]
			if g == nil || !p.shortOf(a.Reason) {
				continue
			}
			short[g.index], why[g.index] = true, cmp.Or(why[g.index], a.Reason)
			if first >= 0 {
				tie.join(first, g.index)
			}
			first = g.index
			every = every || p.limitsAll(a.Reason)
			if a.Reason == ReasonNoHeadroom {
				p.tieHeadroom(g, short, tie)
			}
		}
	}
	for _, g := range p.groups {
		if every && g.Managed && g.Invalid == "" && g.blocked == "" && len(g.Capacity) > 0 {
			short[g.index] = true
		}
	}
	f := &fairness{of: make([]*pool, len(p.groups)), refused: map[wanting]bool{}, rank: map[string]int64{}}
	byRoot := map[int64]*pool{}
	for _, g := range p.groups {
		if !short[g.index] {
			continue
		}
		root := tie.root(g.index)
		if every {
			root = 0
		}
		if byRoot[root] == nil {
			byRoot[root] = &pool{gpus: !every}
			f.pools = append(f.pools, byRoot[root])
		}
		q := byRoot[root]
		q.groups, f.of[g.index] = append(q.groups, g), q
		if q.why == "" || p.limitsAll(why[g.index]) {
			q.why = cmp.Or(why[g.index], q.why)
		}
		q.gpus = q.gpus && g.Capacity[ResourceGPU] > 0
	}
	if len(f.pools) == 0 {
		return nil
	}
	p.standing(f)
	return f
}

// shortOf tells whether a refusal is for want of what others may have.
func (p *planning) shortOf(r Reason) bool {
	return r == ReasonAtMax || r == ReasonNoHeadroom || r == ReasonFairShare || r == ReasonTickLimit || p.limitsAll(r)
}

// limitsAll tells whether a refusal is by a limit on all groups together.
func (p *planning) limitsAll(r Reason) bool {
	most := p.s.Policy.MaxGrowPerTick
	return r == ReasonGlobalLimit || r == ReasonHourLimit || r == ReasonTickLimit && most > 0 && p.bought >= most
}

// tieHeadroom ties the groups that share the headroom of g.
func (p *planning) tieHeadroom(g *groupState, short []bool, tie *ties) {
	for _, o := range p.groups {
		if (o.class == g.class || shareHosts(o, g)) && o.Managed && len(o.Capacity) > 0 {
			short[o.index] = true
			tie.join(o.index, g.index)
		}
	}
}

// ties is a union of sets of groups by index.
type ties struct{ parent []int64 }

func newTies(n int) *ties {
	t := &ties{make([]int64, n)}
	for i := range t.parent {
		t.parent[i] = int64(i)
	}
	return t
}

func (t *ties) root(i int64) int64 {
	for t.parent[i] != i {
		t.parent[i] = t.parent[t.parent[i]]
		i = t.parent[i]
	}
	return i
}

func (t *ties) join(i, j int64) {
	a, b := t.root(i), t.root(j)
	t.parent[max(a, b)] = min(a, b)
}

// size is what an empty node of the group counts for in the pool.
func (q *pool) size(g *groupState) int64 {
	if q.gpus {
		return g.Capacity[ResourceGPU]
	}
	return Unit
}

// holds is what one pod of the shape holds of a node of the group.
func (q *pool) holds(s *shape, g *groupState) int64 {
	return max(1, q.size(g)/max(1, s.need.times(g.dense, unbounded)))
}

// share finds or makes the entry of a namespace.
func (p *planning) share(q *pool, namespace string) *share {
	i, found := slices.BinarySearchFunc(q.shares, namespace, func(s *share, n string) int { return strings.Compare(s.namespace, n) })
	if found {
		return q.shares[i]
	}
	s := &share{namespace: namespace, weight: 1, least: unbounded}
	if l := p.tenantLimit(namespace); l != nil {
		s.weight, s.priority = max(1, l.Weight), l.Priority
	}
	q.shares = slices.Insert(q.shares, i, s)
	return s
}

// standing finds out what tenants hold on nodes that exist, and how much room the
// pools have in all. It is asked while the first pass is placed.
func (p *planning) standing(f *fairness) {
	mark := p.mark()
	for _, g := range p.groups {
		q := f.of[g.index]
		if q == nil {
			continue
		}
		for _, n := range g.nodes {
			if n.machine != nil && n.machine.Deleting {
				continue
			}
			for _, pod := range n.pods {
				held := q.holds(p.shape(&pod.Shape), g)
				if c := p.pod[pod].cluster; c != nil {
					s := p.share(q, c.Namespace)
					s.standing = addSat(s.standing, held)
				} else {
					q.others = addSat(q.others, held)
				}
			}
			if n.credited || len(n.pods) > 0 {
				q.room = addSat(q.room, q.size(g))
			}
		}
		if n := p.growRoom(g); n > 0 {
			p.open(g, n)
		}
	}
	for _, bins := range [][]*bin{p.bins, p.fresh} {
		for _, b := range bins {
			if b.kind >= binComing && f.of[b.group.index] != nil {
				q := f.of[b.group.index]
				q.room = addSat(q.room, mulSat(q.size(b.group), b.count))
			}
		}
	}
	p.rollback(mark)
}

// restart begins a pass.
func (f *fairness) restart() {
	clear(f.refused)
	for _, q := range f.pools {
		for _, l := range q.levels {
			l.beyond = 0
		}
		for _, s := range q.shares {
			s.used = s.standing
		}
	}
}

// fairShare is the share that bounds what the tenant that is being served may
// have of the group, or nil.
func (p *planning) fairShare(g *groupState) *share {
	if p.fair == nil || p.tenant == "" || g == nil || p.fair.of[g.index] == nil {
		return nil
	}
	q := p.fair.of[g.index]
	i, found := slices.BinarySearchFunc(q.shares, p.tenant, func(s *share, n string) int { return strings.Compare(s.namespace, n) })
	if !found || q.shares[i].level == nil {
		return nil
	}
	return q.shares[i]
}

// fairRoom is how many pods of the shape the tenant that is being served may
// still have on nodes of the group.
func (p *planning) fairRoom(s *shape, g *groupState) int64 {
	sh := p.fairShare(g)
	if sh == nil || !sh.level.limited {
		return unbounded
	}
	n := sh.left() / p.fair.of[g.index].holds(s, g)
	if n == 0 {
		p.fair.refused[wanting{p.tenant, s}] = true
	}
	return n
}

// left is what the tenant may still have: of its part, and of what was left over.
func (s *share) left() int64 {
	return addSat(max(0, s.part-s.used), max(0, s.level.spare-s.level.beyond))
}

// charge counts n pods of the shape on nodes of the group for the tenant that is
// being served.
func (p *planning) charge(g *groupState, s *shape, n int64) {
	sh := p.fairShare(g)
	if sh == nil {
		return
	}
	used, beyond := sh.used, sh.level.beyond
	sh.used = addSat(sh.used, mulSat(p.fair.of[g.index].holds(s, g), n))
	sh.level.beyond += max(0, sh.used-sh.part) - max(0, used-sh.part)
	p.undo = append(p.undo, func() { sh.used, sh.level.beyond = used, beyond })
}

// fairDetail explains to people what the part of the tenant is.
func (p *planning) fairDetail(g *groupState) string {
	sh := p.fairShare(g)
	if sh == nil {
		return ""
	}
	q := p.fair.of[g.index]
	what := "Machines"
	if q.gpus {
		what = "GPUs"
	}
	var weights int64
	for _, o := range sh.level.shares {
		weights = addSat(weights, o.weight)
	}
	return fmt.Sprintf("namespace %s may have %s of %s %s that there are for all, by weight %d of %d; what is short: %s",
		p.tenant, decimal(addSat(sh.used, sh.left()), Unit), decimal(sh.level.room, Unit), what, sh.weight, weights, q.why)
}
