package rayv2

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
)

// indexWidth is how many resources the index tells apart. The others are only
// compared where a run is tried.
const indexWidth = 4

// indexRuns is the number of runs from which on an index is worth its making.
const indexRuns = 12

// least is what a run wants of the resources that the index tells apart.
type least [indexWidth]float64

// index finds the next run that may fit into what a node has left. Amounts are
// sorted into levels, and each level has a set of the runs that want no more, so
// that a few machine words tell which of a thousand runs may fit. Runs that are
// used up are never found.
type index struct {
	// names are the resources that the most runs want.
	names []int
	wants []least // by run
	// sets has the sets, of words machine words each: first that of the runs
	// which are not used up, then those of the levels. sums has, for each set, a
	// bit for every word that is not zero, in sumWords words.
	sets            []uint64
	sums            []uint64
	words, sumWords int
	dims            [indexWidth]dimension
	part            []float64
	count           []int32 // by symbol: the runs that want it
}

// dimension has the levels of one resource.
type dimension struct {
	// limits are the largest amounts of the levels. The first is zero, the last
	// is as much as any run wants.
	limits []float64
	// from is the number of the first level's set. That of the next level follows
	// it, and each has the runs up to the level's limit.
	from int
	// first has, for each of a number of equal parts of all amounts, how many
	// limits are in the parts before it: where to look for a level.
	first [levelParts + 1]uint16
	scale float64 // what leads from an amount to its part
}

// room is what a node has left for the runs of an index.
type room struct {
	least

	level [indexWidth]int
}

// build makes the index of the runs, all of which are alive.
func (x *index) build(runs []run) {
	x.names, x.wants, x.words = x.names[:0], x.wants[:0], 0
	if len(runs) < indexRuns {
		return
	}
	x.choose(runs)
	x.wants = slices.Grow(x.wants, len(runs))[:len(runs)]
	for i := range runs {
		w := least{}
		for _, a := range runs[i].shape.amounts {
			if k := x.dim(a.name); k >= 0 {
				w[k] = a.value
			}
		}
		x.wants[i] = w
	}
	x.words = (len(runs) + 63) / 64
	x.sumWords = (x.words + 63) / 64
	x.sets = slices.Grow(x.sets[:0], x.words*(1+len(x.names)*mostLevels(x.words)))[:x.words]
	for i := range x.sets {
		x.sets[i] = ^uint64(0)
	}
	if rest := len(runs) % 64; rest > 0 {
		x.sets[x.words-1] = 1<<rest - 1
	}
	for k := range x.names {
		x.dims[k].build(x, k)
	}
	x.sums = x.sums[:0]
	for from := 0; from < len(x.sets); from += x.words {
		x.sums = summary(x.sums, x.sets[from:][:x.words])
	}
}

// summary appends a bit for every word of a set that is not zero.
func summary(sums, set []uint64) []uint64 {
	for from := 0; from < len(set); from += 64 {
		sum := uint64(0)
		for i, word := range set[from:min(from+64, len(set))] {
			if word != 0 {
				sum |= 1 << i
			}
		}
		sums = append(sums, sum)
	}
	return sums
}

// choose picks the resources that the most runs want.
func (x *index) choose(runs []run) {
	count := x.count
	clear(count)
	for i := range runs {
		for _, w := range runs[i].shape.wants {
			if w >= len(count) {
				count = append(count, make([]int32, w+1-len(count))...)
			}
			if count[w]++; count[w] == 1 {
				x.names = append(x.names, w)
			}
		}
	}
	x.count = count
	slices.SortFunc(x.names, func(a, b int) int {
		return cmp.Or(cmp.Compare(count[b], count[a]), cmp.Compare(a, b))
	})
	x.names = x.names[:min(len(x.names), indexWidth)]
}

// The levels of one resource are fewer where there are more runs, so that the
// sets stay within some memory; limits are taken from a sample of the runs.
const (
	maxLevels  = 256
	levelParts = 256
	maxWords   = 1 << 16
	maxSample  = 1024
)

// mostLevels bounds the levels of a resource for sets of a number of words.
func mostLevels(words int) int { return max(2, min(maxLevels, maxWords/words)) }

func (d *dimension) build(x *index, k int) {
	words := x.words
	sample := x.part[:0]
	most := 0.0
	step := 1 + len(x.wants)/maxSample
	for i := range x.wants {
		most = max(most, x.wants[i][k])
		if i%step == 0 {
			sample = append(sample, x.wants[i][k])
		}
	}
	sample = append(sample, 0, most)
	slices.Sort(sample)
	x.part = sample
	sample = slices.Compact(sample)
	levels := max(2, min(len(sample), mostLevels(words)))
	d.limits = d.limits[:0]
	for l := range levels {
		d.limits = append(d.limits, sample[l*(len(sample)-1)/(levels-1)])
	}
	d.divide(most)
	d.from = len(x.sets) / words
	x.sets = slices.Grow(x.sets, levels*words)[:(d.from+levels)*words]
	sets := x.sets[d.from*words:]
	clear(sets)
	for i := range x.wants {
		sets[d.level(x.wants[i][k], levels-1)*words+i/64] |= 1 << (i % 64)
	}
	for i := words; i < len(sets); i++ {
		sets[i] |= sets[i-words]
	}
}

// divide sorts the limits into parts.
func (d *dimension) divide(most float64) {
	d.scale = levelParts / most
	if math.IsInf(d.scale, 0) {
		d.scale = 0 // there is one part
	}
	part := 0
	for l, limit := range d.limits {
		for ; part < d.part(limit); part++ {
			d.first[part+1] = uint16(l)
		}
	}
	for ; part < levelParts; part++ {
		d.first[part+1] = uint16(len(d.limits) - 1) //nolint:gosec // the same
	}
}

// part is the part that an amount is in, which grows with it.
func (d *dimension) part(amount float64) int {
	return min(int(amount*d.scale), levelParts-1)
}

// level is the first level, up to the given one, whose limit the amount does not
// exceed, or the given one.
func (d *dimension) level(amount float64, most int) int {
	if most == 0 || d.limits[most-1] < amount {
		return most
	}
	low := 0
	if amount < d.limits[len(d.limits)-1] {
		part := d.part(amount)
		low, most = int(d.first[part]), min(most, int(d.first[part+1]))
	}
	for low < most {
		if mid := int(uint(low+most) >> 1); d.limits[mid] < amount {
			low = mid + 1
		} else {
			most = mid
		}
	}
	return low
}

// kill takes a run out.
func (x *index) kill(run int) {
	if len(x.wants) > 0 {
		at := run / 64
		x.sets[at] &^= 1 << (run % 64)
		if x.sets[at] == 0 {
			x.sums[at/64] &^= 1 << (at % 64)
		}
	}
}

// reset makes the room endless, to be reduced.
func (x *index) reset(r *room) {
	for k := range r.least {
		r.least[k] = math.Inf(1)
	}
	for k := range x.names {
		r.level[k] = len(x.dims[k].limits) - 1
	}
}

// reduce sets how much of a resource is left, which is no more than before.
func (x *index) reduce(r *room, k int, amount float64) {
	r.least[k] = amount
	r.level[k] = x.dims[k].level(amount, r.level[k])
}

// next is the first run from the given one on that may fit into the room, or -1.
func (x *index) next(run int, r *room) int {
	words := x.words
	at := run / 64
	if at >= words {
		return -1
	}
	alive := x.sets[:words]
	var rows [indexWidth][]uint64
	for k := range rows {
		rows[k] = alive // which changes nothing
		if k < len(x.names) {
			rows[k] = x.sets[(x.dims[k].from+r.level[k])*words:][:words]
		}
	}
	first := ^uint64(0) << (run % 64)
	for ; at < words; at++ {
		set := alive[at] & rows[0][at] & rows[1][at] & rows[2][at] & rows[3][at] & first
		first = ^uint64(0)
		for ; set != 0; set &= set - 1 {
			i := at*64 + bits.TrailingZeros64(set)
			w := &x.wants[i]
			if w[0] <= r.least[0] && w[1] <= r.least[1] && w[2] <= r.least[2] && w[3] <= r.least[3] {
				return i
			}
		}
	}
	return -1
}
