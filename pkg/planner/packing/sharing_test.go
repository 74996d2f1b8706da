package packing

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// node draws a class with devices, and shapes with values for it.
func node(t *rapid.T) (*part, []float64) {
	p := Problem{Classes: []Class{{
		Name: "c", Capacity: []int64{rapid.Int64Range(4, 30).Draw(t, "cpu"), rapid.Int64Range(4, 30).Draw(t, "memory")},
		Devices: rapid.Int64Range(1, 4).Draw(t, "devices"), Price: 1, Max: Unlimited, Headroom: Unlimited,
	}}}
	// A grid that is too coarse for the last of them.
	shares := []int64{1000, 2500, 3300, 4600, 5000, 7001}
	p.Shapes = append(p.Shapes, Shape{Name: "a", Amounts: []int64{1, 1}, GPU: rapid.SampledFrom(shares).Draw(t, "share"), Count: 5})
	for i := range rapid.IntRange(0, 4).Draw(t, "shapes") {
		p.Shapes = append(p.Shapes, Shape{
			Name: string(rune('b' + i)), Amounts: []int64{rapid.Int64Range(0, 9).Draw(t, "cpu"), rapid.Int64Range(0, 9).Draw(t, "memory")},
			GPU: rapid.SampledFrom(append([]int64{0, Device, 2 * Device, 3 * Device}, shares...)).Draw(t, "gpu"), Count: rapid.Int64Range(1, 4).Draw(t, "count"),
		})
	}
	parts := canonical(p).components()
	require.NotEmpty(t, parts)
	part := parts[0]
	part.until = Unlimited
	var y []float64
	for range part.n {
		y = append(y, float64(rapid.IntRange(0, 50).Draw(t, "value")))
	}
	return part, y
}

// richest is what the best filling is worth, by trying every one.
func richest(p *part, y []float64, i int, f *filling) float64 {
	if i == p.n {
		return 0
	}
	best := richest(p, y, i+1, f)
	if !f.add(p, i) {
		return best
	}
	if f.count[i] <= p.most[i] {
		best = max(best, y[i]+richest(p, y, i, f))
	}
	f.remove(p, i)
	return best
}

type filling struct {
	used      []int64
	count     []int64
	whole     int64
	fractions []int64
}

func (f *filling) add(p *part, i int) bool {
	for r, a := range p.size[i] {
		f.used[r] += a
	}
	f.count[i]++
	switch g := p.gpu[i]; {
	case g >= Device:
		f.whole += wholeDevices(g)
	case g > 0:
		f.fractions = append(f.fractions, g)
	}
	fits := f.whole <= p.devices[0]
	for r, v := range f.used {
		fits = fits && v <= p.capacity[0][r]
	}
	if fits && spread(f.fractions, make([]int64, p.devices[0]-f.whole)) {
		return true
	}
	f.remove(p, i)
	return false
}

func (f *filling) remove(p *part, i int) {
	for r, a := range p.size[i] {
		f.used[r] -= a
	}
	f.count[i]--
	switch g := p.gpu[i]; {
	case g >= Device:
		f.whole -= wholeDevices(g)
	case g > 0:
		f.fractions = f.fractions[:len(f.fractions)-1]
	}
}

// spread tries every device for every fraction.
func spread(fractions, used []int64) bool {
	if len(fractions) == 0 {
		return true
	}
	for d := range used {
		if used[d]+fractions[0] <= Device {
			used[d] += fractions[0]
			if spread(fractions[1:], used) {
				return true
			}
			used[d] -= fractions[0]
		}
		if used[d] == 0 {
			return false // Empty devices are alike.
		}
	}
	return false
}

// TestSharingAgainstEveryFilling holds the pricing of shared devices to what
// trying every filling finds: the bound is one, what is found fits, and a
// search that came to its end has found the best.
func TestSharingAgainstEveryFilling(t *testing.T) {
	var ended int
	rapid.Check(t, func(t *rapid.T) {
		p, y := node(t)
		s := p.knap[0]
		if s.share == nil {
			return
		}
		best := richest(p, y, 0, &filling{used: make([]int64, p.R), count: make([]int64, p.n)})
		s.value(y, p.d)
		s.relax(false)
		floor := best * rapid.SampledFrom([]float64{0, 0.5, 0.9, 1, 1.2}).Draw(t, "floor")
		s.share.improve(floor, rapid.IntRange(1, 30).Draw(t, "steps"))
		c := &s.share.composer
		found := 0.0
		c.onBest = func() {
			found = 0
			f := &filling{used: make([]int64, p.R), count: make([]int64, p.n)}
			for q, n := range c.best {
				for range n {
					require.True(t, f.add(p, s.items[q]), "a filling that does not fit")
					found += y[s.items[q]]
				}
				require.LessOrEqual(t, n, p.most[s.items[q]])
			}
		}
		bound := c.run(floor, rapid.SampledFrom([]int64{1, 20, 5000}).Draw(t, "branches"))
		require.GreaterOrEqual(t, bound, best*(1-1e-9), "a bound below what there is")
		if best > floor*(1+1e-9) && c.open <= floor && s.share.exact {
			ended++
			require.GreaterOrEqual(t, found, best*(1-1e-9), "a search that ended without the best filling")
		}
	})
	t.Log(ended)
	assert.Positive(t, ended)
}
