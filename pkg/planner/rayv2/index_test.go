package rayv2

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestIndex compares the index with a walk through the runs, for few amounts and
// for more than there are levels or samples, while room is used up and runs are
// taken out.
func TestIndex(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ runs, amounts, names int }{{12, 3, 1}, {64, 5, 2}, {65, 1000, 3}, {700, 1 << 30, 4}, {5000, 1 << 30, 3}, {5000, 7, 5}} {
		t.Run(fmt.Sprintf("%d runs of %d amounts", c.runs, c.amounts), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(uint64(c.runs), 1)) //nolint:gosec // to be repeatable
			runs := make([]run, c.runs)
			for i := range runs {
				sh := &shape{}
				for name := range c.names {
					if v := r.IntN(c.amounts); v > 0 && r.IntN(4) > 0 {
						sh.amounts = append(sh.amounts, amount{name, float64(v)})
						sh.wants = append(sh.wants, name)
					}
				}
				runs[i] = run{shape: sh, left: 1}
			}
			x := &index{}
			x.build(runs)
			require.Len(t, x.names, min(c.names, indexWidth))
			for range 50 {
				i := r.IntN(c.runs)
				runs[i].left = 0
				x.kill(i)
				checkRoom(t, r, x, runs, c.amounts)
			}
			x.build(runs[:indexRuns-1])
			assert.Empty(t, x.names, "a few runs are not worth it")
		})
	}
}

func checkRoom(t *testing.T, r *rand.Rand, x *index, runs []run, amounts int) {
	t.Helper()
	var have room
	x.reset(&have)
	assert.Equal(t, walk(x, runs, 0, &have), x.next(0, &have), "endless room")
	for limit := float64(amounts) * 1.1; limit > 0.01; limit /= 3 {
		for k := range x.names {
			x.reduce(&have, k, min(have.least[k], float64(r.IntN(int(limit)+1))))
		}
		for range 5 {
			from := r.IntN(len(runs) + 1)
			assert.Equal(t, walk(x, runs, from, &have), x.next(from, &have))
		}
	}
}

// walk is what the index is to find.
func walk(x *index, runs []run, from int, have *room) int {
	for i := from; i < len(runs); i++ {
		fits := runs[i].left > 0
		for k, name := range x.names {
			if at := findAmount(runs[i].shape.amounts, name); at >= 0 {
				fits = fits && runs[i].shape.amounts[at].value <= have.least[k]
			}
		}
		if fits {
			return i
		}
	}
	return -1
}
