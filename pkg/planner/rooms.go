package planner

import "slices"

// rooms knows where there may be room for a pod of a shape, so that work grows
// with the bins that have some. Placing only takes room away: a bin that is too
// full stays so until a placement is taken back.
type rooms struct {
	// before is what was free in the first of the bins when nothing was placed.
	before []vector
	known  map[*shape]*roomy
	kept   int    // in the lists of all shapes
	found  []*bin // scratch of roomyAtFirst
	passed []passed
}

// roomy is what is known of one shape.
type roomy struct {
	first []*bin // of the first bins, those with room when nothing was placed
	// from counts the bins that have been passed because they are full: of
	// first, of the others that exist or come, and of the fresh ones.
	from [3]int
}

// passed is how to take back that bins of a list have been passed after the
// first done placements.
type passed struct {
	done int
	of   *roomy
	list int
	from int
}

// maxRoomy bounds what the lists of rooms hold together (rule I11).
const maxRoomy = 1 << 20

// noteRoom notes what is free before anything is placed.
func (p *planning) noteRoom() {
	r := &p.rooms
	r.before, r.known = make([]vector, len(p.bins)), map[*shape]*roomy{}
	for i, b := range p.bins {
		r.before[i] = b.free
	}
}

// roomFor lists the bins that may hold a pod of the shape, in their order:
// those that exist or come, and the fresh ones last.
func (p *planning) roomFor(s *shape) [3][]*bin {
	r := &p.rooms
	k := r.known[s]
	if k == nil {
		k = &roomy{first: p.roomyAtFirst(s)}
		r.known[s] = k
	}
	out := [3][]*bin{k.first, p.bins[len(r.before):], p.fresh}
	for i, bins := range out {
		from := min(k.from[i], len(bins)) // fresh bins without pods may have been given up
		to := from
		for to < len(bins) && bins[to].fits(s, 1) == 0 {
			to++
		}
		if to > from {
			r.passed = append(r.passed, passed{len(p.undo), k, i, from})
			k.from[i] = to
		}
		out[i] = bins[to:]
	}
	return out
}

// roomyAtFirst lists the bins that hold a pod of the shape before anything is
// placed. Where that is most of them, or the lists hold enough already, it is
// all.
func (p *planning) roomyAtFirst(s *shape) []*bin {
	r := &p.rooms
	n := len(r.before)
	found := r.found[:0]
	for i, b := range p.bins[:n] {
		if s.need.times(r.before[i], 1) > 0 && b.profile.lets(s) {
			found = append(found, b)
		}
	}
	r.found = found
	if len(found) > n/2 || r.kept+len(found) > maxRoomy {
		return p.bins[:n:n]
	}
	r.kept += len(found)
	return slices.Clone(found)
}

// rollback forgets what was found out after more than done placements.
func (r *rooms) rollback(done int) {
	i := len(r.passed)
	for i > 0 && r.passed[i-1].done > done {
		i--
		r.passed[i].of.from[r.passed[i].list] = r.passed[i].from
	}
	r.passed = r.passed[:i]
}
