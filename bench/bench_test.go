package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

// small is a work whose best plan is easy to see: the two GPU pods fill one
// GPU node, and the CPU pods need one node of their own if it is tainted.
func small(taint bool) *work {
	return &work{
		shapes: []shape{
			{name: "cpu", count: 4, cpu: 2000, memory: 1024},
			{name: "gpu", count: 2, cpu: 1000, memory: 1024, gpu: 1},
		},
		types: []nodeType{
			{name: "plain", cpu: 8000, memory: 8192, price: 400, stock: 3},
			{name: "gpus", cpu: 10000, memory: 16384, gpu: 2, price: 2500, stock: 2},
		},
		taint: taint,
	}
}

// Every planner finds the one sensible plan of a small work, and the work
// arrives at each of them unchanged: types, prices, stock, taints, GPUs.
func TestPlannersAgreeOnASmallWork(t *testing.T) {
	tests := []struct {
		taint bool
		nodes int64
		cost  int64
	}{
		{false, 1, 2500},
		{true, 2, 2900},
	}
	for _, p := range planners {
		for _, tt := range tests {
			w := small(tt.taint)
			made, err := p.run(t.Context(), w)
			require.NoError(t, err)
			got := examine(w, made)
			if p.name == "karpenter-tuned" && !tt.taint {
				// It is told to prefer the cheapest core, whatever else is bought.
				assert.Equal(t, verdict{nodes: 2, cost: 2900}, got, p.name)
				continue
			}
			assert.Equal(t, verdict{nodes: tt.nodes, cost: tt.cost}, got, "%s, taint %v", p.name, tt.taint)
		}
	}
}

func TestStockReachesOursAndTheTunedOne(t *testing.T) {
	for _, name := range []string{"karpenter-tuned", "tandem"} {
		w := small(true)
		w.shapes[0].count = 100 // 25 nodes of 3
		p, err := pickPlanners(name)
		require.NoError(t, err)
		made, err := p[0].run(t.Context(), w)
		require.NoError(t, err)
		assert.Equal(t, verdict{nodes: 4, cost: 3*400 + 2500, left: 88}, examine(w, made), name)
	}
}

func TestPodsCarryTheirShape(t *testing.T) {
	pods := podsOf(small(true))
	require.Len(t, pods, 6)
	seen := map[string]bool{}
	for i, pod := range pods {
		require.False(t, seen[string(pod.UID)], "a UID comes twice")
		seen[string(pod.UID)] = true
		gpu := pod.Spec.Containers[0].Resources.Requests[gpuResource]
		assert.Equal(t, i >= 4, gpu.Value() == 1)
		assert.Equal(t, i >= 4, len(pod.Spec.Tolerations) == 1)
	}
	assert.Equal(t, "2", pods[0].Spec.Containers[0].Resources.Requests.Cpu().String())
	assert.Equal(t, "1Gi", pods[0].Spec.Containers[0].Resources.Requests.Memory().String())
}

func TestPools(t *testing.T) {
	w := small(true)
	usual := usualPools(w)
	require.Len(t, usual, 2)
	assert.Empty(t, usual[0].nodePool().Spec.Template.Spec.Taints)
	assert.Equal(t, corev1.TaintEffectNoSchedule, usual[1].nodePool().Spec.Template.Spec.Taints[0].Effect)
	tuned := tunedPools(w)
	require.Len(t, tuned, 2)
	assert.Equal(t, "plain", tuned[0].name, "0.05 for a core, and not 0.25")
	assert.Greater(t, *tuned[0].nodePool().Spec.Weight, *tuned[1].nodePool().Spec.Weight)
	cores := tuned[0].nodePool().Spec.Limits[corev1.ResourceCPU]
	assert.Equal(t, "24", cores.String())
}

func TestExamineSeesBrokenRules(t *testing.T) {
	w := small(true)
	got := examine(w, plan{fillings: []filling{
		{typ: 0, nodes: 4, pods: map[int]int64{0: 5}},
		{typ: 1, nodes: 1, pods: map[int]int64{0: 1, 1: 3}},
		{typ: 2, nodes: 1},
		{typ: 0, nodes: 1, pods: map[int]int64{7: 1}},
	}})
	assert.Equal(t, []string{"plain 5 > 3"}, got.caps)
	assert.Equal(t, []string{
		"1 nodes of type 2", "1 pods of shape 7", "21 of 4 pods cpu are placed", "3 of 2 pods gpu are placed",
		"a gpus holds 5000 milli-cores, 4096 MiB, 3 GPUs", "a plain holds 10000 milli-cores, 5120 MiB, 0 GPUs",
		"cpu on the tainted gpus",
	}, got.faults)
	assert.Equal(t, int64(6), got.nodes)
	assert.Equal(t, verdict{left: 6}, examine(w, plan{}))
}

func TestEveryCaseLoads(t *testing.T) {
	for _, c := range cases {
		w, err := c.load()
		require.NoError(t, err, c.name)
		assert.Len(t, w.types, 7)
		assert.Contains(t, []int64{1000, 3000, 5000, 10000}, w.pods(), c.name)
	}
	w, err := cases[0].load()
	require.NoError(t, err)
	assert.Equal(t, nodeType{name: "cpu-small", cpu: 8000, memory: 32768, price: 368, stock: 100000}, w.types[0])
	assert.Equal(t, shape{name: "cpu1", count: 300, cpu: 1000, memory: 2048}, w.shapes[0])
}

// What is known of this case beforehand: Karpenter's usual plan is 270 nodes
// of a type of which there are 200, and the optimum costs 5016.
func TestCappedCase(t *testing.T) {
	c, err := pickCases("3000-A")
	require.NoError(t, err)
	w, err := c[0].load()
	require.NoError(t, err)
	r, err := measure(t.Context(), "3000-A", w, planners[2], 2)
	require.NoError(t, err)
	assert.InDelta(t, 5016, r.Cost, 1e-9)
	assert.Zero(t, r.Left)
	assert.False(t, r.broken())
	assert.LessOrEqual(t, r.Bound, r.Cost)
}

func TestRelateLeavesOutWhatIsNotAllowed(t *testing.T) {
	rows := []row{
		{Case: "a", Cost: 90, CapsBroken: []string{"x 2 > 1"}},
		{Case: "a", Cost: 110},
		{Case: "a", Cost: 100},
		{Case: "a", Cost: 10, Left: 1},
		{Case: "b", Cost: 7},
	}
	relate(rows)
	assert.Nil(t, rows[0].OverCheapest)
	assert.InDelta(t, 10, *rows[1].OverCheapest, 1e-9)
	assert.InDelta(t, 0, *rows[2].OverCheapest, 1e-9)
	assert.Nil(t, rows[3].OverCheapest)
	assert.InDelta(t, 0, *rows[4].OverCheapest, 1e-9)
}

func TestMedian(t *testing.T) {
	assert.InDelta(t, 2, median([]float64{3, 1, 2}), 0)
	assert.InDelta(t, 2.5, median([]float64{4, 1, 2, 3}), 0)
}

func runCommand(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, progress bytes.Buffer
	cmd := newRoot()
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&progress)
	err = cmd.ExecuteContext(t.Context())
	return out.String(), progress.String(), err
}

func TestCommand(t *testing.T) {
	out, progress, err := runCommand(t, "--cases", "1000-B", "--planners", "tandem", "-o", "json")
	require.NoError(t, err)
	var rows []row
	require.NoError(t, json.Unmarshal([]byte(out), &rows))
	require.Len(t, rows, 1)
	assert.InDelta(t, 1852.16, rows[0].Cost, 1e-9)
	assert.Contains(t, progress, "1000-B: 1000 pods of 9 shapes, 7 types: tandem")
	out, _, err = runCommand(t, "--cases", "1000-B", "--planners", "tandem")
	require.NoError(t, err)
	assert.Regexp(t, `1000-B +tandem .* 1852\.160 .* no\n$`, out)
}

func TestWrongCommandLines(t *testing.T) {
	for _, args := range [][]string{
		{"--cases", "nothing"}, {"--planners", "nobody"}, {"--runs", "0"}, {"-o", "xml"}, {"--what"}, {"argument"}, {"--runs", "x"},
	} {
		_, _, err := runCommand(t, args...)
		require.ErrorIs(t, err, errUsage, "%q", args)
		assert.Equal(t, 2, exitCode(err))
	}
	assert.Equal(t, 3, exitCode(errBroken))
	assert.Equal(t, 1, exitCode(assert.AnError))
}
