package capi

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

func TestPriority(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]int64{"7": 7, "-3": -3, "0": 0} {
		got, err := readPriority(map[string]string{PriorityAnnotation: in})
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	got, err := readPriority(nil)
	require.NoError(t, err)
	assert.Zero(t, got)
	for _, in := range []string{"", "high", "1.5", "99999999999"} {
		got, err := readPriority(map[string]string{PriorityAnnotation: in})
		require.ErrorContains(t, err, "no whole number", in)
		assert.Zero(t, got)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	const low, high = clusterv1.AutoscalerMinSizeAnnotation, clusterv1.AutoscalerMaxSizeAnnotation
	for name, c := range map[string]struct {
		in   map[string]string
		want limits
		err  string
	}{
		"none":               {nil, limits{}, ""},
		"only the minimum":   {map[string]string{low: "1"}, limits{}, ""},
		"only the maximum":   {map[string]string{high: "1"}, limits{}, ""},
		"both":               {map[string]string{low: "1", high: "4"}, limits{true, 1, 4}, ""},
		"spaces":             {map[string]string{low: " 1", high: "4 "}, limits{true, 1, 4}, ""},
		"equal":              {map[string]string{low: "3", high: "3"}, limits{true, 3, 3}, ""},
		"zero":               {map[string]string{low: "0", high: "0"}, limits{true, 0, 0}, ""},
		"minimum above":      {map[string]string{low: "5", high: "4"}, limits{true, 5, 4}, "the minimum size 5 is above the maximum size 4"},
		"negative":           {map[string]string{low: "-1", high: "4"}, limits{managed: true}, "is -1: a size must not be negative"},
		"garbage":            {map[string]string{low: "two", high: "4"}, limits{managed: true}, `is "two", which is no whole number`},
		"fraction":           {map[string]string{low: "1", high: "4.5"}, limits{managed: true}, `is "4.5", which is no whole number`},
		"empty":              {map[string]string{low: "", high: "4"}, limits{managed: true}, `is "", which is no whole number`},
		"beyond replicas":    {map[string]string{low: "1", high: "2147483648"}, limits{managed: true}, "replicas end at 2147483647"},
		"beyond all numbers": {map[string]string{low: "1", high: "99999999999999999999"}, limits{managed: true}, "which is no whole number"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := readLimits(c.in)
			assert.Equal(t, c.want.managed, got.managed)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
		})
	}
}

func TestHints(t *testing.T) {
	t.Parallel()
	const gib = int64(1) << 30
	for name, c := range map[string]struct {
		in       map[string]string
		capacity planner.Resources
		complete bool
		errs     []string
	}{
		"none": {nil, planner.Resources{}, false, nil},
		"whole": {
			map[string]string{annotationCPU: "16", annotationMemory: "64Gi", annotationGPUCount: "4", annotationDisk: "100Gi", annotationMaxPods: "110"},
			planner.Resources{"CPU": 16000, "memory": 64 * gib, "GPU": 40000, "ephemeral-storage": 100 * gib, "pods": 1100000},
			true, nil,
		},
		"named devices": {
			map[string]string{annotationCPU: "1500m", annotationMemory: "1Gi", annotationGPUCount: "2", annotationGPUType: "amd.com/gpu"},
			planner.Resources{"CPU": 1500, "memory": gib, "amd.com/gpu": 20000},
			true, nil,
		},
		"devices only":     {map[string]string{annotationGPUCount: "2"}, planner.Resources{"GPU": 20000}, false, nil},
		"cpu alone":        {map[string]string{annotationCPU: "4"}, planner.Resources{"CPU": 4000}, false, []string{"are needed together"}},
		"half a device":    {map[string]string{annotationCPU: "4", annotationMemory: "1Gi", annotationGPUCount: "0.5"}, planner.Resources{"CPU": 4000, "memory": gib}, true, []string{"devices are whole"}},
		"negative":         {map[string]string{annotationCPU: "-4", annotationMemory: "1Gi"}, planner.Resources{"memory": gib}, false, []string{"must not be negative", "are needed together"}},
		"two of them bad":  {map[string]string{annotationCPU: "x", annotationMemory: "y"}, planner.Resources{}, false, []string{`cpu is "x", which is no quantity`, `memory is "y", which is no quantity`}},
		"absurdly large":   {map[string]string{annotationCPU: "1e30", annotationMemory: "1Gi"}, planner.Resources{"memory": gib}, false, []string{"taken for mistakes"}},
		"very long garble": {map[string]string{annotationMemory: strings.Repeat("z", 5000)}, planner.Resources{}, false, []string{`zzz..."`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := readHints(c.in)
			assert.Equal(t, c.capacity, got.capacity)
			assert.Equal(t, c.complete, got.complete)
			if len(c.errs) == 0 {
				require.NoError(t, err)
			}
			for _, want := range c.errs {
				require.ErrorContains(t, err, want)
				assert.Less(t, len(err.Error()), 1000)
			}
		})
	}
}

func TestLabelsAndTaintsOfHints(t *testing.T) {
	t.Parallel()
	got, err := readHints(map[string]string{
		annotationLabels: "pool=a, tandem.example/x=1,,empty=",
		annotationTaints: "gpu=true:NoSchedule, solo:NoExecute",
	})
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"pool": "a", "tandem.example/x": "1", "empty": ""}, got.labels)
	assert.Equal(t, []planner.Taint{{Key: "gpu", Value: "true", Effect: "NoSchedule"}, {Key: "solo", Effect: "NoExecute"}}, got.taints)

	got, err = readHints(map[string]string{annotationLabels: "good=1,bad key=2,novalue", annotationTaints: "a=b:Never,c,d:NoSchedule"})
	for _, want := range []string{`"bad key=2"`, `"novalue"`, `"a=b:Never"`, `"c"`} {
		require.ErrorContains(t, err, want)
	}
	assert.Equal(t, map[string]string{"good": "1"}, got.labels, "what is well formed counts")
	assert.Equal(t, []planner.Taint{{Key: "d", Effect: "NoSchedule"}}, got.taints)
}

func TestMarkRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := planner.Mark{
			PlanID: rapid.StringMatching(`[A-Za-z0-9]([-A-Za-z0-9_.]{0,30}[A-Za-z0-9])?`).Draw(t, "id"),
			At:     time.Unix(rapid.Int64Range(0, 1<<35).Draw(t, "at"), 0).UTC(),
		}
		s, err := FormatMark(m)
		require.NoError(t, err)
		got, ok := ParseMark(s)
		require.True(t, ok)
		require.Equal(t, m, got)
	})
}

func TestFormatMarkRefuses(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]planner.Mark{
		"no plan":   {At: testTime},
		"no time":   {PlanID: "p"},
		"too long":  {PlanID: strings.Repeat("p", 60), At: testTime},
		"bad chars": {PlanID: "a b", At: testTime},
	} {
		_, err := FormatMark(m)
		assert.Error(t, err, name)
	}
}

func FuzzParseMark(f *testing.F) {
	for _, s := range []string{"p.1", "a.b.2", ".1", "p.", "p.-1", "p.99999999999999999999", "1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, ok := ParseMark(s)
		if ok && (m.PlanID == "" || m.At.Unix() < 0) {
			t.Fatalf("%q was read as %v", s, m)
		}
	})
}

func FuzzHints(f *testing.F) {
	f.Add("4", "1Gi", "2", "a=b", "c=d:NoSchedule", "3")
	f.Fuzz(func(t *testing.T, cpu, memory, gpu, labels, taints, low string) {
		a := map[string]string{
			annotationCPU: cpu, annotationMemory: memory, annotationGPUCount: gpu, annotationLabels: labels, annotationTaints: taints,
			clusterv1.AutoscalerMinSizeAnnotation: low, clusterv1.AutoscalerMaxSizeAnnotation: low,
		}
		h, _ := readHints(a)
		for name, v := range h.capacity {
			if v < 0 {
				t.Fatalf("%s is %d", name, v)
			}
		}
		if l, err := readLimits(a); err == nil && (!l.managed || l.min < 0 || l.min > l.max) {
			t.Fatalf("limits %v", l)
		}
	})
}
