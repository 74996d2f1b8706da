package rayv2

import (
	"cmp"
	"errors"
	"math"
)

// score is Ray's order of preference among the nodes that could take
// something; the larger is the better, the first difference decides.
type score struct {
	rank  int     // of the label selector that the node satisfies
	gpuOK bool    // false for a GPU node with nothing on it that names GPU
	kinds int     // of resources that are placed and that the node has
	least float64 // the smallest of utilisation³ × total
	mean  float64 // the mean of it
	// Of the node's type.
	recoverable  float64
	priority     int64
	availability float64
}

func (a *score) compare(b *score) int {
	switch {
	case a.rank != b.rank:
		return sign(a.rank > b.rank)
	case a.gpuOK != b.gpuOK:
		return sign(a.gpuOK)
	case a.kinds != b.kinds:
		return sign(a.kinds > b.kinds)
	case a.least != b.least:
		return sign(a.least > b.least)
	case a.mean != b.mean:
		return sign(a.mean > b.mean)
	}
	return cmp.Or(cmp.Compare(a.recoverable, b.recoverable), cmp.Compare(a.priority, b.priority),
		cmp.Compare(a.availability, b.availability))
}

func sign(positive bool) int {
	if positive {
		return 1
	}
	return -1
}

// errUtilisation is Ray's assertion on a node whose available amount is
// negative or above its total.
var errUtilisation = errors.New("a node's available amount is outside of its total")

// rest computes once what every total adds to the score of a node that nothing
// is added to: infinity where the available amounts lack it, not-a-number
// where Ray would fail.
func (p *packer) rest(st *state) {
	if st.rest[p.src] != nil {
		return
	}
	out := make([]float64, len(st.total))
	for i, total := range st.total {
		j := findAmount(st.avail[p.src], total.name)
		switch {
		case total.value == 0 || j < 0:
			out[i] = math.Inf(1)
		default:
			out[i] = contribution(total.value, st.avail[p.src][j].value)
		}
	}
	st.rest[p.src] = out
}

// contribution is utilisation³ × total, or not-a-number if it is not sound.
func contribution(total, avail float64) float64 {
	util := (total - avail) / total
	if !(util >= 0 && util <= 1) {
		return math.NaN()
	}
	return float64(total * cube(util))
}

// rate scores the node on trial.
func (p *packer) rate(st *state) (score, error) {
	out := p.typeScore(st)
	out.kinds, out.gpuOK = p.kinds, true
	sum, n := 0.0, 0
	p.rest(st)
	for i, total := range st.total {
		v := st.rest[p.src][i]
		if total.name >= 0 {
			if total.name == p.shapes.gpu && total.value > 0 && !p.ignoreGPU {
				out.gpuOK = p.gpu
			}
			if c := &p.cells[total.name]; c.moved == p.trial && total.value != 0 {
				v = contribution(total.value, c.value)
			}
		}
		if math.IsInf(v, 1) {
			continue
		}
		if math.IsNaN(v) {
			return score{}, errUtilisation
		}
		if n == 0 || v < out.least {
			out.least = v
		}
		sum += v
		n++
	}
	if n > 0 {
		out.mean = sum / float64(n)
	}
	for _, sh := range p.ranked {
		if r := sh.rank(p.labels); r > 0 {
			out.rank = r
			break
		}
	}
	return out, nil
}

// typeScore is the part of the score that only depends on the node's type.
func (p *packer) typeScore(st *state) score {
	var out score
	if st.typeIndex >= 0 {
		nt := &p.types[st.typeIndex]
		out.recoverable, out.availability, out.priority = nt.recoverable, nt.available, nt.Priority
		return out
	}
	out.recoverable = scoreOf(p.recoverable, st.typ)
	out.availability = scoreOf(p.availability, st.typ)
	return out
}

// cube is x³ rounded once, as the C library's pow that Python calls gives it
// in all but some of a thousand inexact cases.
func cube(x float64) float64 {
	square := float64(x * x)
	squareErr := math.FMA(x, x, -square)
	prod := float64(square * x)
	prodErr := math.FMA(square, x, -prod)
	return prod + math.FMA(squareErr, x, prodErr)
}
