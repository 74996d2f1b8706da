package demand_test

import (
	"bytes"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/tandem-autoscaler/tandem/pkg/demand"
	"github.com/tandem-autoscaler/tandem/pkg/demand/gcs/autoscalerpb"
	"github.com/tandem-autoscaler/tandem/pkg/demand/gcs/commonpb"
	"github.com/tandem-autoscaler/tandem/pkg/kube"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

type (
	amounts = map[string]float64
	byCount = autoscalerpb.ResourceRequestByCount
	request = autoscalerpb.ResourceRequest
	state   = autoscalerpb.ClusterResourceState
	gang    = autoscalerpb.GangResourceRequest
)

func want(count int64, bundle amounts, selectors ...*commonpb.LabelSelector) *byCount {
	return &byCount{Count: count, Request: &request{ResourcesBundle: bundle, LabelSelectors: selectors}}
}

func in(key string, values ...string) *commonpb.LabelSelectorConstraint {
	return &commonpb.LabelSelectorConstraint{LabelKey: key, Operator: commonpb.LabelSelectorOperator_LABEL_OPERATOR_IN, LabelValues: values}
}

func notIn(key string, values ...string) *commonpb.LabelSelectorConstraint {
	return &commonpb.LabelSelectorConstraint{LabelKey: key, Operator: commonpb.LabelSelectorOperator_LABEL_OPERATOR_NOT_IN, LabelValues: values}
}

func labels(c ...*commonpb.LabelSelectorConstraint) *commonpb.LabelSelector {
	return &commonpb.LabelSelector{LabelConstraints: c}
}

func convert(s *state) demand.State { return demand.Convert(s, demand.DefaultLimits()) }

const pgHex = "d69815825e46c0002977f8a5cb6801000000"

// Fault 6: negative, infinite and absurd amounts, and what is no number.
func TestAmounts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in   amounts
		want planner.Resources
		why  string
	}{
		"units":                       {amounts{"CPU": 1.5, "GPU": 0.25, "memory": 2 << 30, "object_store_memory": 7, "blade": 2}, planner.Resources{"CPU": 1500, "GPU": 2500, "memory": 2 << 30, "object_store_memory": 7, "blade": 20000}, ""},
		"half a unit goes up":         {amounts{"GPU": 0.00005}, planner.Resources{"GPU": 1}, ""},
		"less than half goes down":    {amounts{"GPU": 0.00004}, planner.Resources{}, ""},
		"noise of doubles":            {amounts{"GPU": 0.1 + 0.2, "CPU": 0.1 + 0.2}, planner.Resources{"GPU": 3000, "CPU": 300}, ""},
		"a CPU below a milli":         {amounts{"CPU": 0.0001}, planner.Resources{"CPU": 1}, ""},
		"zero is left out":            {amounts{"CPU": 1, "GPU": 0, "blade": math.Copysign(0, -1)}, planner.Resources{"CPU": 1000}, ""},
		"nothing at all":              {nil, planner.Resources{}, ""},
		"accelerator type is kept":    {amounts{"GPU": 1, "accelerator_type:A100": 0.001}, planner.Resources{"GPU": 10000, "accelerator_type:A100": 10}, ""},
		"implicit is dropped":         {amounts{"CPU": 1, "node:__internal_implicit_resource_app:x": 0.5}, planner.Resources{"CPU": 1000}, ""},
		"pinned to a node":            {amounts{"CPU": 1, "node:10.0.0.1": 0.001}, nil, `pinned to one node by "node:10.0.0.1"`},
		"pinned to the head":          {amounts{"node:__internal_head__": 0.001}, nil, "pinned to one node"},
		"inside a group":              {amounts{"CPU_group_" + pgHex: 1}, nil, "inside placement group"},
		"inside a group, by index":    {amounts{"CPU_group_0_" + pgHex: 1}, nil, "inside placement group"},
		"bundle of a group":           {amounts{"bundle_group_12_" + pgHex: 0.001}, nil, "inside placement group"},
		"only looks like a group":     {amounts{"my_group_x": 1, "my_group_2_b": 1}, planner.Resources{"my_group_x": 10000, "my_group_2_b": 10000}, ""},
		"NaN":                         {amounts{"GPU": math.NaN()}, nil, `"GPU" is NaN`},
		"infinite":                    {amounts{"GPU": math.Inf(1)}, nil, `"GPU" is absurdly large`},
		"minus infinity":              {amounts{"GPU": math.Inf(-1)}, nil, `"GPU" is negative`},
		"negative":                    {amounts{"CPU": -1}, nil, `"CPU" is negative`},
		"absurd":                      {amounts{"memory": 2e15}, nil, `"memory" is absurdly large`},
		"absurd devices":              {amounts{"GPU": 1e12}, nil, `"GPU" is absurdly large`},
		"largest":                     {amounts{"memory": 1e15}, planner.Resources{"memory": 1e15}, ""},
		"name with a line break":      {amounts{"a\nb": 1}, nil, "characters that are not allowed"},
		"name that plays with keys":   {amounts{"CPU=1,GPU": 1}, nil, "characters that are not allowed"},
		"name from another alphabet":  {amounts{"СPU": 1}, nil, "characters that are not allowed"},
		"no name":                     {amounts{"": 1}, nil, "characters that are not allowed"},
		"name of ten thousand bytes":  {amounts{strings.Repeat("x", 10_000): 1}, nil, "too long"},
		"malformed though implicit":   {amounts{"node:__internal_implicit_resource_x": math.NaN()}, nil, "is NaN"},
		"infinite among the ordinary": {amounts{"CPU": 1, "x": math.Inf(1)}, nil, `"x" is absurdly large`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := convert(&state{PendingResourceRequests: []*byCount{want(3, c.in), want(1, amounts{"other": 1})}})
			ok := planner.Request{Resources: planner.Resources{"other": 10000}, Count: 1}
			if c.why != "" {
				assert.Equal(t, []planner.Request{ok}, got.Requests, "the others go on")
				require.Len(t, got.Rejected, 1)
				assert.Equal(t, "resource request", got.Rejected[0].What)
				assert.Contains(t, got.Rejected[0].Why, c.why)
				assert.LessOrEqual(t, len(got.Rejected[0].Why), 260)
				assert.Equal(t, int64(3), got.Rejected[0].Count)
				return
			}
			assert.Empty(t, got.Rejected)
			assert.ElementsMatch(t, []planner.Request{{Resources: c.want, Count: 3}, ok}, got.Requests)
		})
	}
}

func TestRequestsMergeByShape(t *testing.T) {
	t.Parallel()
	got := convert(&state{PendingResourceRequests: []*byCount{
		want(3, amounts{"CPU": 1}),
		want(2, amounts{"GPU": 1}),
		want(4, amounts{"CPU": 1.00000001}),
		want(0, amounts{"CPU": 9}),
		want(-1, amounts{"CPU": 8}),
		want(1e12, amounts{"CPU": 7}),
		want(1, amounts{"CPU": 1}, labels(in("zone", "b", "a"), notIn("kind", "spot"))),
		want(1, amounts{"CPU": 1}, labels(notIn("kind", "spot"), in("zone", "a", "b", "a"))),
		{Count: 2},
	}})
	zone := planner.Selector{{Key: "kind", NotIn: true, Values: []string{"spot"}}, {Key: "zone", Values: []string{"a", "b"}}}
	assert.Equal(t, []planner.Request{
		{Resources: planner.Resources{"CPU": 1000}, Count: 7},
		{Resources: planner.Resources{"CPU": 1000}, Count: 2, Selectors: []planner.Selector{zone}},
		{Resources: planner.Resources{"GPU": 10000}, Count: 2},
		{Resources: planner.Resources{}, Count: 2},
	}, sortedLike(got.Requests))
	assert.Equal(t, []planner.Rejected{
		{What: "resource request", Why: "the count is absurdly large", Count: 1},
		{What: "resource request", Why: "the count is negative", Count: 1},
	}, got.Rejected)
}

// sortedLike moves the request for nothing to the end, for reading.
func sortedLike(r []planner.Request) []planner.Request {
	for i := range r {
		if len(r[i].Resources) == 0 {
			return append(append(r[:i:i], r[i+1:]...), r[i])
		}
	}
	return r
}

// Fault 8: names with newlines, quotes or look-alikes, or too long.
func TestSelectors(t *testing.T) {
	t.Parallel()
	broken := labels(&commonpb.LabelSelectorConstraint{LabelKey: "k", LabelValues: []string{"v"}})
	future := labels(&commonpb.LabelSelectorConstraint{LabelKey: "k", Operator: 9})
	a100, tpu := planner.Selector{{Key: "acc", Values: []string{"A100"}}}, planner.Selector{{Key: "acc", Values: []string{"TPU"}}}
	for name, c := range map[string]struct {
		in   []*commonpb.LabelSelector
		want []planner.Selector
		why  string
	}{
		"order of fallbacks is kept":  {[]*commonpb.LabelSelector{labels(in("acc", "TPU")), labels(in("acc", "A100"))}, []planner.Selector{tpu, a100}, ""},
		"any node first":              {[]*commonpb.LabelSelector{labels(), labels(in("acc", "A100"))}, nil, ""},
		"any node last":               {[]*commonpb.LabelSelector{labels(in("acc", "A100")), labels()}, []planner.Selector{a100, {}}, ""},
		"a broken one is passed over": {[]*commonpb.LabelSelector{broken, labels(in("acc", "A100"))}, []planner.Selector{a100}, ""},
		"all broken":                  {[]*commonpb.LabelSelector{broken, future}, nil, "has no operator"},
		"unknown operator":            {[]*commonpb.LabelSelector{future}, nil, "unknown operator 9"},
		"hostile key":                 {[]*commonpb.LabelSelector{labels(in("a\"b", "x"))}, nil, "not allowed"},
		"hostile value":               {[]*commonpb.LabelSelector{labels(in("a", "x\x00"))}, nil, "not allowed"},
		"nil":                         {[]*commonpb.LabelSelector{nil}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := convert(&state{PendingResourceRequests: []*byCount{want(1, amounts{"CPU": 1}, c.in...)}})
			if c.why != "" {
				assert.Empty(t, got.Requests)
				require.Len(t, got.Rejected, 1)
				assert.Contains(t, got.Rejected[0].Why, c.why)
				return
			}
			require.Len(t, got.Requests, 1)
			assert.Equal(t, c.want, got.Requests[0].Selectors)
		})
	}
}

func TestConstraintsAreFlattened(t *testing.T) {
	t.Parallel()
	got := convert(&state{ClusterResourceConstraints: []*autoscalerpb.ClusterResourceConstraint{
		{ResourceRequests: []*byCount{want(3, amounts{"CPU": 1}), want(1, amounts{"CPU": -1})}},
		{ResourceRequests: []*byCount{want(2, amounts{"CPU": 1}), want(1, amounts{"GPU": 2})}},
	}})
	assert.Equal(t, []planner.Request{
		{Resources: planner.Resources{"CPU": 1000}, Count: 5},
		{Resources: planner.Resources{"GPU": 20000}, Count: 1},
	}, got.Constraints)
	assert.Equal(t, []planner.Rejected{{What: "cluster resource constraint", Why: `"CPU" is negative`, Count: 1}}, got.Rejected)
}

// Fault 5: a GCS asks for more than anybody could plan.
func TestTruncationIsNamedAndRepeatable(t *testing.T) {
	t.Parallel()
	l := demand.Limits{Shapes: 2, Gangs: 1, Bundles: 3, Nodes: 1}
	s := &state{
		PendingResourceRequests: []*byCount{want(5, amounts{"c": 1}), want(1, amounts{"a": 1}), want(1, amounts{"b": 1})},
		PendingGangResourceRequests: []*gang{
			{Details: strings.Repeat("b", 36) + ":PACK|PENDING", Requests: []*request{{}}},
			{Details: strings.Repeat("a", 36) + ":PACK|PENDING", Requests: []*request{{}}},
			{Details: strings.Repeat("c", 36) + ":PACK|PENDING", Requests: []*request{{}, {}, {}, {}}},
		},
		NodeStates: []*autoscalerpb.NodeState{{NodeId: []byte{2}}, {NodeId: []byte{1}}},
	}
	got := demand.Convert(s, l)
	require.Len(t, got.Requests, 2)
	assert.Equal(t, planner.Resources{"a": 10000}, got.Requests[0].Resources)
	require.Len(t, got.Gangs, 1)
	assert.Equal(t, strings.Repeat("a", 36), got.Gangs[0].ID)
	require.Len(t, got.RayNodes, 1)
	assert.Equal(t, "01", got.RayNodes[0].ID)
	assert.Equal(t, []planner.Rejected{
		{What: "Ray node", Why: "truncated: more than 1", Count: 1},
		{What: "gang request", Why: "more than 3 bundles", Count: 1},
		{What: "gang request", Why: "truncated: more than 1", Count: 1},
		{What: "resource request", Why: "truncated: more than 2 different ones", Count: 5},
	}, got.Rejected)
}

func TestRejectionsOfManyKindsAreSummedUp(t *testing.T) {
	t.Parallel()
	s := &state{}
	for i := range 1000 {
		s.PendingResourceRequests = append(s.PendingResourceRequests, want(2, amounts{"x" + strings.Repeat("y", i%200) + string(rune('a'+i%26)): -1}))
	}
	got := convert(s)
	require.Len(t, got.Rejected, 101)
	var sum int64
	for _, r := range got.Rejected {
		sum += r.Count
	}
	assert.Equal(t, int64(2000), sum, "nothing is lost silently")
}

func TestRayNodes(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("\x01", 28)
	s := &state{NodeStates: []*autoscalerpb.NodeState{
		{
			NodeId: []byte(id), InstanceId: "pod-a", RayNodeTypeName: "gpu", Status: autoscalerpb.NodeStatus_RUNNING, NodeIpAddress: "10.0.0.7",
			TotalResources:     amounts{"CPU": 4, "memory": 8, "node:10.0.0.7": 1, "CPU_group_" + pgHex: 2, "accelerator_type:T4": 1, "x": math.NaN(), "y\n": 1},
			AvailableResources: amounts{"CPU": -1, "memory": 9, "accelerator_type:T4": 0.5, "ghost": 1},
			DynamicLabels:      map[string]string{"_PG_" + pgHex: "", "_PG_" + strings.Repeat("a", 36): "", "other": "x"},
			Labels:             map[string]string{"ray.io/node-group": "gpu", "bad\n": "x"},
			NodeActivity:       []string{"Resource: CPU currently in use."},
			IdleDurationMs:     -5,
		},
		{NodeId: []byte{2}, Status: autoscalerpb.NodeStatus_IDLE, IdleDurationMs: 1500, NodeActivity: []string{"left over"}, TotalResources: amounts{"node:__internal_head__": 1}, InstanceId: "bad name\x00"},
		{NodeId: []byte{3}, Status: autoscalerpb.NodeStatus_DEAD, TotalResources: amounts{"CPU": 4}, NodeIpAddress: "not an address"},
		{NodeId: []byte{4}, Status: autoscalerpb.NodeStatus_DRAINING},
		{NodeId: []byte{5}, Status: 77},
		{NodeId: []byte{6}},
		{NodeId: []byte{6}, Status: autoscalerpb.NodeStatus_IDLE},
		{},
		nil,
	}}
	got := convert(s)
	require.Len(t, got.RayNodes, 6)
	first := got.RayNodes[0]
	assert.Equal(t, planner.RayNode{
		ID: strings.Repeat("01", 28), Pod: "pod-a", Group: "gpu", Status: planner.RayNodeRunning,
		Total:     planner.Resources{"CPU": 4000, "memory": 8, "accelerator_type:T4": 10000},
		Available: planner.Resources{"memory": 8, "accelerator_type:T4": 5000, "ghost": 0},
		Labels:    map[string]string{"ray.io/node-group": "gpu"},
		Gangs:     []string{strings.Repeat("a", 36), pgHex},
		Activity:  []string{"Resource: CPU currently in use."},
	}, first)
	statuses := map[string]planner.RayNodeStatus{}
	for _, n := range got.RayNodes {
		statuses[n.ID] = n.Status
	}
	assert.Equal(t, map[string]planner.RayNodeStatus{
		first.ID: planner.RayNodeRunning, "02": planner.RayNodeIdle, "03": planner.RayNodeDead,
		"04": planner.RayNodeDraining, "05": planner.RayNodeUnknown, "06": planner.RayNodeUnknown,
	}, statuses)
	second := got.RayNodes[1]
	assert.True(t, second.Head)
	assert.Empty(t, second.Pod)
	assert.Equal(t, planner.Duration(1500*time.Millisecond), second.IdleFor)
	assert.Empty(t, second.Activity, "what an idle node says about its activity is old")
	assert.Empty(t, got.RayNodes[2].Total, "a dead node offers nothing")
	assert.Equal(t, map[string]string{first.ID: "10.0.0.7"}, got.Addresses)
	assert.Len(t, got.Rejected, 7)
}

func TestConvertIsTheSameInAnyOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := drawState(t)
		shuffled := proto.CloneOf(s)
		shuffled.PendingResourceRequests = rapid.Permutation(s.GetPendingResourceRequests()).Draw(t, "requests")
		shuffled.PendingGangResourceRequests = rapid.Permutation(s.GetPendingGangResourceRequests()).Draw(t, "gangs")
		assert.Equal(t, convert(s), convert(shuffled))
	})
}

func drawState(t *rapid.T) *state {
	bundle := rapid.MapOfN(rapid.SampledFrom([]string{"CPU", "GPU", "x", "a\n", "node:1", "memory"}), rapid.Float64(), 0, 3)
	s := &state{}
	for range rapid.IntRange(0, 6).Draw(t, "shapes") {
		s.PendingResourceRequests = append(s.PendingResourceRequests, want(rapid.Int64Range(-2, 5).Draw(t, "count"), bundle.Draw(t, "bundle")))
	}
	for range rapid.IntRange(0, 5).Draw(t, "gangs") {
		g := &gang{Details: rapid.SampledFrom([]string{"", "x", pgHex + ":PACK|PENDING", pgHex + ":SPREAD|RESCHEDULING"}).Draw(t, "details")}
		for range rapid.IntRange(0, 3).Draw(t, "bundles") {
			g.Requests = append(g.Requests, &request{ResourcesBundle: map[string]float64{"CPU": float64(rapid.IntRange(0, 3).Draw(t, "cpu"))}})
		}
		s.PendingGangResourceRequests = append(s.PendingGangResourceRequests, g)
	}
	return s
}

func FuzzConvert(f *testing.F) {
	f.Add([]byte{})
	for _, s := range []*state{
		{PendingResourceRequests: []*byCount{want(1, amounts{"CPU": math.NaN()}, labels(in("a", "b")))}},
		{PendingGangResourceRequests: []*gang{{Details: pgHex + ":STRICT_SPREAD|PENDING", Requests: []*request{{ResourcesBundle: amounts{"GPU": 1}}}}}},
		{NodeStates: []*autoscalerpb.NodeState{{NodeId: []byte{1}, TotalResources: amounts{"CPU": 1e300}, IdleDurationMs: math.MaxInt64}}},
	} {
		b, err := proto.Marshal(s)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &state{}
		if proto.Unmarshal(b, s) != nil {
			return
		}
		checkState(t, convert(s))
	})
}

// TestConvertSurvivesDamage converts the answer of a real GCS with some of its
// bytes changed.
//
// Fault 4: bytes of an answer are flipped or cut off.
func TestConvertSurvivesDamage(t *testing.T) {
	t.Parallel()
	answer, err := os.ReadFile("testdata/ray-2.60.0.pb")
	require.NoError(t, err)
	understood := 0
	rapid.Check(t, func(r *rapid.T) {
		b := bytes.Clone(answer)
		for range rapid.IntRange(1, 8).Draw(r, "damages") {
			b[rapid.IntRange(0, len(b)-1).Draw(r, "at")] = rapid.Byte().Draw(r, "byte")
		}
		s := &state{}
		if proto.Unmarshal(b, s) == nil {
			understood++
			checkState(t, convert(s))
		}
	})
	assert.Positive(t, understood, "some damage must get as far as the conversion")
}

func checkState(t *testing.T, got demand.State) {
	t.Helper()
	for _, r := range append(got.Requests, got.Constraints...) {
		checkAmounts(t, r.Resources)
		assert.Positive(t, r.Count)
	}
	for _, g := range got.Gangs {
		assert.NotEmpty(t, g.ID)
		assert.NotEmpty(t, g.Strategy)
		require.NotEmpty(t, g.Options)
		for _, o := range g.Options {
			assert.NotEmpty(t, o.Bundles)
			for _, m := range o.Bundles {
				checkAmounts(t, m.Resources)
			}
		}
	}
	for _, n := range got.RayNodes {
		checkAmounts(t, n.Total)
		checkAmounts(t, n.Available)
		assert.GreaterOrEqual(t, n.IdleFor, planner.Duration(0))
	}
	assert.LessOrEqual(t, len(got.Rejected), 101)
}

func checkAmounts(t *testing.T, r planner.Resources) {
	t.Helper()
	for name, v := range r {
		assert.LessOrEqual(t, len(name), 253)
		assert.GreaterOrEqual(t, v, int64(0))
		assert.LessOrEqual(t, v, kube.MaxAmount)
	}
}
