package plane

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/resource"
	"pgregory.net/rapid"
)

func TestVMsFillHostsAndFreeThem(t *testing.T) {
	gi := func(n int) resource.Quantity { return resource.MustParse(strconv.Itoa(n) + "Gi") }
	rapid.Check(t, func(t *rapid.T) {
		const hosts, cpu, memory, gpus = 2, 10, 10, 4
		v := newVMs([]Host{{Count: hosts, CPU: cpu, Memory: gi(memory), GPU: gpus, GPUType: "H100"}})
		alive := map[string]Class{}
		for i := range rapid.IntRange(1, 40).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "delete") && len(alive) > 0 {
				for name := range alive {
					v.delete(name)
					v.delete(name) // Deleting twice frees once.
					delete(alive, name)
					break
				}
				continue
			}
			c := Class{Name: "c", CPU: int64(rapid.IntRange(1, 11).Draw(t, "cpu")), Memory: gi(rapid.IntRange(1, 11).Draw(t, "memory")), GPU: int64(rapid.IntRange(0, 5).Draw(t, "gpu"))}
			if err := v.create(strconv.Itoa(i), c); err != nil {
				require.ErrorIs(t, err, errInsufficient)
				require.Equal(t, err.Error(), v.refusal(strconv.Itoa(i)))
				continue
			}
			alive[strconv.Itoa(i)] = c
		}
		used := host{}
		for _, h := range v.hosts {
			require.GreaterOrEqual(t, min(h.cpu, h.memory, h.gpu), int64(0), "a host has more than it has")
			used.cpu += cpu - h.cpu
			used.gpu += gpus - h.gpu
		}
		want := host{}
		for _, c := range alive {
			want.cpu += c.CPU
			want.gpu += c.GPU
		}
		require.Equal(t, want, used)
	})
}

func TestWhichVMFits(t *testing.T) {
	one := resource.MustParse("1Gi")
	h := host{cpu: 4, memory: one.Value(), gpu: 2, gpuType: "H100"}
	for name, tt := range map[string]struct {
		c    Class
		want bool
	}{
		"all of it":        {Class{CPU: 4, Memory: one, GPU: 2, GPUType: "H100"}, true},
		"any gpu":          {Class{CPU: 1, Memory: one, GPU: 1}, true},
		"another gpu":      {Class{CPU: 1, Memory: one, GPU: 1, GPUType: "A100"}, false},
		"no gpu of a type": {Class{CPU: 1, Memory: one, GPUType: "A100"}, true},
		"too many gpus":    {Class{CPU: 1, Memory: one, GPU: 3}, false},
		"too many cpus":    {Class{CPU: 5, Memory: one}, false},
		"too much memory":  {Class{CPU: 1, Memory: resource.MustParse("2Gi")}, false},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.want, h.fits(tt.c)) })
	}
}

func TestInjectedFailures(t *testing.T) {
	c := Class{Name: "c", CPU: 1, Memory: resource.MustParse("1Gi")}
	v := newVMs(nil)
	v.fail("c", 2, "no datastore")
	for range 2 {
		require.EqualError(t, v.create("a", c), "no datastore")
	}
	require.NoError(t, v.create("a", c))
	v.fail("c", -1, "all fail")
	for range 10 {
		require.EqualError(t, v.create("b", c), "all fail")
	}
	require.NoError(t, v.create("a", c), "what exists is not created again")
	v.fail("c", 0, "")
	require.NoError(t, v.create("b", c))
	assert.Empty(t, v.refusal("b"))

	v.stick("c", 1)
	require.NoError(t, v.create("x", c))
	require.NoError(t, v.create("y", c))
	assert.True(t, v.stuck("x"))
	assert.False(t, v.stuck("y"))
}
