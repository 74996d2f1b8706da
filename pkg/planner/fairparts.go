package planner

import (
	"cmp"
	"slices"
	"strings"
)

// measure finds out what tenants got in the last pass, and what they lack.
func (p *planning) measure(pass int) {
	f := p.fair
	taken := make(map[*pool]int64, len(f.pools))
	for _, q := range f.pools {
		for _, s := range q.shares {
			s.used, s.waits, s.refused, s.lacks, s.least = s.standing, false, false, 0, unbounded
		}
	}
	for _, bins := range [][]*bin{p.bins, p.fresh} {
		for _, b := range bins {
			if b.group == nil || f.of[b.group.index] == nil {
				continue
			}
			q := f.of[b.group.index]
			for _, pl := range b.placed {
				piece := q.holds(pl.shape, b.group)
				held := mulSat(piece, mulSat(pl.count, b.count))
				if t := tenantOf(pl.demand); t != "" {
					s := p.share(q, t)
					s.used, s.least = addSat(s.used, held), min(s.least, piece)
				} else {
					taken[q] = addSat(taken[q], held)
				}
			}
		}
	}
	for i := range p.unmet {
		p.lack(&p.unmet[i])
	}
	for _, q := range f.pools {
		if pass == 0 {
			q.others = addSat(q.others, taken[q])
			q.rank()
		}
	}
}

// lack notes that a demand was not met for want of room in some pools.
func (p *planning) lack(d *Decision) {
	namespace, _, _ := strings.Cut(d.RayCluster, "/")
	if namespace == "" {
		return
	}
	var seen []*pool
	for _, a := range d.Rejected {
		g := p.group[a.Name]
		if g == nil || p.fair.of[g.index] == nil || !p.shortOf(a.Reason) {
			continue
		}
		q := p.fair.of[g.index]
		s := p.share(q, namespace)
		s.waits, s.refused = true, s.refused || a.Reason == ReasonFairShare
		if slices.Contains(seen, q) {
			continue
		}
		seen = append(seen, q)
		// A gang is one piece; of others each is one.
		piece, n := max(1, shareOf(q.size(g), d.Demand, g.Capacity)), int64(1)
		if d.Reason != ReasonGangIncomplete {
			piece, n = max(1, q.size(g)/max(1, q.size(g)/piece)), d.Count
		}
		s.lacks, s.least = addSat(s.lacks, mulSat(piece, n)), min(s.least, piece)
	}
}

// rank puts the shares of a pool in levels, the highest priority first.
func (q *pool) rank() {
	shares := slices.Clone(q.shares)
	slices.SortStableFunc(shares, func(a, b *share) int { return cmp.Compare(b.priority, a.priority) })
	q.levels = nil
	for i, s := range shares {
		if i == 0 || s.priority != shares[i-1].priority {
			q.levels = append(q.levels, &level{})
		}
		s.level = q.levels[len(q.levels)-1]
		s.level.shares = append(s.level.shares, s)
	}
}

// adjust finds the parts anew, and tells whether another pass is worth it:
// whether somebody waits who is to have more.
func (p *planning) adjust(pass int) bool {
	again := false
	for _, q := range p.fair.pools {
		room := q.room - q.others
		for _, s := range q.shares {
			room -= min(s.standing, q.room)
		}
		for _, l := range q.levels {
			for _, s := range l.shares {
				room += min(s.standing, q.room)
			}
			l.room = max(0, room)
			again = p.adjustLevel(q, l, pass) || again
			for _, s := range l.shares {
				room -= min(s.used, q.room)
			}
		}
	}
	return again
}

func (p *planning) adjustLevel(q *pool, l *level, pass int) bool {
	if l.given || len(l.shares) < 2 || pass > 0 && !l.limited {
		return false
	}
	old := make([]int64, len(l.shares))
	for i, s := range l.shares {
		old[i] = s.part
		switch {
		case pass == 0 && s.waits:
			s.want = addSat(s.used, s.lacks)
		case s.refused && s.want > s.part:
		case s.refused:
			s.want = unbounded // the estimate was too low
		default:
			s.want = s.used
		}
	}
	l.fill()
	more, over := false, pass > 0
	for i, s := range l.shares {
		more = more || s.waits && s.part-s.used >= s.least && (pass == 0 || s.refused && s.part > old[i])
		over = over || s.used > s.part
	}
	if more && over {
		l.limited = true
		return true
	}
	for i, s := range l.shares {
		s.part = old[i]
	}
	return l.limited && p.giveSpare(q, l)
}

// fill finds the parts by water-filling: the highest water level at which all
// parts together fit. Nobody's part is more than it wants, nor less than it has.
func (l *level) fill() {
	at := func(water int64) (sum int64) {
		for _, s := range l.shares {
			s.part = max(s.standing, min(s.want, mulSat(s.weight, water)))
			sum = addSat(sum, s.part)
		}
		return sum
	}
	low, high := int64(0), l.room+1
	for high-low > 1 {
		if mid := low + (high-low)/2; at(mid) <= l.room {
			low = mid
		} else {
			high = mid
		}
	}
	rest := l.room - at(low)
	// Pods are whole: what of a part is less than one is put together again, and
	// goes to those who are furthest behind.
	order := slices.Clone(l.shares)
	for _, s := range order {
		if piece := s.piece(); piece > 0 {
			rest += (s.part - s.standing) % piece
			s.part -= (s.part - s.standing) % piece
		}
	}
	slices.SortStableFunc(order, func(a, b *share) int {
		return cmp.Or(cmp.Compare(a.part/a.weight, b.part/b.weight), cmp.Compare(a.namespace, b.namespace))
	})
	for _, s := range order {
		if piece := s.piece(); piece > 0 && piece <= rest {
			s.part += piece
			rest -= piece
		}
	}
}

// piece is what the share grows by at a time, or 0 if it has all that it wants.
func (s *share) piece() int64 {
	if s.part >= s.want || s.least == unbounded {
		return 0
	}
	return s.least
}

// giveSpare lets those whose part kept them out have what nobody else's part
// takes, if there is room for it; those who are furthest behind first.
func (p *planning) giveSpare(q *pool, l *level) bool {
	fits := func(s *shape, g *groupState) bool {
		return g.holds(s) && p.growRoom(g) > 0
	}
	found := false
	for w := range p.fair.refused {
		if i := slices.IndexFunc(l.shares, func(s *share) bool { return s.namespace == w.tenant }); i < 0 || !l.shares[i].refused {
			continue
		}
		found = found || slices.ContainsFunc(q.groups, func(g *groupState) bool { return fits(w.shape, g) })
		for _, bins := range p.roomFor(w.shape) {
			found = found || slices.ContainsFunc(bins, func(b *bin) bool {
				return b.group != nil && p.fair.of[b.group.index] == q && b.fits(w.shape, 1) > 0
			})
		}
	}
	if !found {
		return false
	}
	l.given, l.spare = true, l.room
	for _, s := range l.shares {
		s.part = s.used
		l.spare = max(0, l.spare-s.used)
		p.fair.rank[s.namespace] = max(p.fair.rank[s.namespace], s.used/s.weight)
	}
	return true
}
