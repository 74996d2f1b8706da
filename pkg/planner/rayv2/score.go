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
	if c := cmp.Compare(a.rank, b.rank); c != 0 {
		return c
	}
	if a.gpuOK != b.gpuOK {
		return boolNumber(a.gpuOK) - boolNumber(b.gpuOK)
	}
	if c := cmp.Compare(a.kinds, b.kinds); c != 0 {
		return c
	}
	if c := cmp.Compare(a.least, b.least); c != 0 {
		return c
	}
	if c := cmp.Compare(a.mean, b.mean); c != 0 {
		return c
	}
	if c := cmp.Compare(a.recoverable, b.recoverable); c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(a.priority, b.priority), cmp.Compare(a.availability, b.availability))
}

// errUtilisation is Ray's assertion on a node whose available amount is
// negative or above its total.
var errUtilisation = errors.New("a node's available amount is outside of its total")

// rate scores the trial that is in the scratch fields.
func (p *packer) rate(st *state) (score, error) {
	out := score{kinds: p.used.kinds, gpuOK: true, recoverable: 1, availability: 1}
	sum, n := 0.0, 0
	for _, total := range st.total {
		if total.name == p.shapes.gpu && total.value > 0 && !p.ignoreGPU {
			out.gpuOK = p.used.gpu
		}
		if total.value == 0 {
			continue
		}
		i := findAmount(p.avail, total.name)
		if i < 0 {
			continue
		}
		util := (total.value - p.avail[i].value) / total.value
		if !(util >= 0 && util <= 1) {
			return score{}, errUtilisation
		}
		v := float64(total.value * cube(util))
		if n == 0 || v < out.least {
			out.least = v
		}
		sum += v
		n++
	}
	if n > 0 {
		out.mean = sum / float64(n)
	}
	for _, sh := range p.used.ranked {
		if r := sh.rank(p.labels); r > 0 {
			out.rank = r
			break
		}
	}
	if v, ok := p.recoverable[st.typ]; ok {
		out.recoverable = v
	}
	if v, ok := p.availability[st.typ]; ok {
		out.availability = v
	}
	if nt := p.typeOf[st.typ]; nt != nil {
		out.priority = nt.Priority
	}
	return out, nil
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
