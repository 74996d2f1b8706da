package rayv2

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func worker(id, typ string, free float64, total ...Amount) Instance {
	av := Resources{}
	for _, a := range total {
		av = append(av, Amount{a.Name, a.Value * free})
	}
	return Instance{
		ID: id, Type: typ, Status: StatusRayRunning, Kind: KindWorker, RayNodeID: "n" + id,
		RayNode: &RayNode{Total: total, Available: av},
	}
}

func cpus(n float64) Request { return Request{Resources: Resources{{"CPU", n}}} }

func TestAttribution(t *testing.T) {
	four := Amount{"CPU", 4}
	in := Input{
		NodeTypes:                []NodeType{{Name: "g", Resources: Resources{four}, Min: 1, Max: 10}},
		DisableLaunchConfigCheck: true,
		Requests:                 []Demand{{cpus(4), 2}, {cpus(9), 1}},
		Gangs:                    []Gang{{Bundles: []Request{cpus(4), cpus(4)}}, {Bundles: []Request{cpus(8)}}},
		Constraints:              []Constraint{{Requests: []Demand{{cpus(4), 1}}}},
		Instances: []Instance{
			worker("full", "g", 0, four),
			worker("free", "g", 1, four),
			{ID: "pending", Type: "g", Status: StatusAllocated, Kind: KindWorker},
			{ID: "stopping", Type: "g", Status: "RAY_STOPPING", Kind: KindWorker},
		},
	}
	out := Schedule(in)
	require.NoError(t, out.Err)
	assert.Equal(t, []Launch{{"g", 2}}, out.Launches)
	assert.Equal(t, []Outcome{{Existing: 2, On: []Share{{1, "g", 1}, {2, "g", 1}}}, {Unplaced: 1}}, out.Gangs)
	assert.Equal(t, [][]int{{1, 2}, nil}, out.Bundles)
	assert.Equal(t, []Outcome{{New: 2, On: []Share{{-1, "g", 1}, {-1, "g", 1}}}, {Unplaced: 1}}, out.Requests)
	assert.Equal(t, []Outcome{{Existing: 1, On: []Share{{0, "g", 1}}}}, out.Constraints)
	assert.Equal(t, []int{1}, out.InfeasibleGangs)
	assert.Equal(t, []Remainder{{1, 1}}, out.InfeasibleRequests)
	assert.Equal(t, []InstanceUse{
		{ID: "full", Counted: true, Constraint: true, Min: true},
		{ID: "free", Counted: true, Demand: true},
		{ID: "pending", Counted: true, Demand: true},
		{ID: "stopping"},
	}, out.Instances)
	assert.True(t, out.Instances[2].Wanted())
	assert.False(t, out.Instances[3].Wanted())
}

func TestUnwantedPendingInstances(t *testing.T) {
	in := Input{
		NodeTypes:                []NodeType{{Name: "g", Resources: Resources{{"CPU", 4}}, Min: 1, Max: 10}},
		DisableLaunchConfigCheck: true,
		Requests:                 []Demand{{cpus(4), 1}},
	}
	for _, id := range []string{"a", "b", "c"} {
		in.Instances = append(in.Instances, Instance{ID: id, Type: "g", Status: StatusAllocated, Kind: KindWorker})
	}
	out := Schedule(in)
	require.NoError(t, out.Err)
	assert.Empty(t, out.Launches)
	var wanted []string
	for _, u := range out.Instances {
		if u.Wanted() {
			wanted = append(wanted, u.ID)
		}
	}
	assert.Equal(t, []string{"a"}, wanted, "the one that serves the request fills the minimum")
	in.Requests = nil
	out = Schedule(in)
	assert.True(t, out.Instances[2].Min, "the one that Ray would terminate last")
	assert.False(t, out.Instances[0].Wanted())
}

// TestDroppedLaunches shows a quirk of Ray's: new nodes of one type's minimum
// are one object, so the cluster's maximum drops all of them or none.
func TestDroppedLaunches(t *testing.T) {
	out := Schedule(Input{
		NodeTypes: []NodeType{{Name: "g", Resources: Resources{{"CPU", 1}}, Min: 3, Max: 3}},
		MaxNodes:  new(int64(2)),
	})
	require.NoError(t, out.Err)
	assert.Empty(t, out.Launches)
	assert.Len(t, out.Terminations, 3)
}

// TestLabelMakesRoom shows that a request which failed on a node is tried again
// once another request, which Ray sorts between the two, has put a label on it.
func TestLabelMakesRoom(t *testing.T) {
	request := func(kind PlacementKind, key string, operator Operator) Demand {
		return Demand{Request{
			Resources: Resources{{"CPU", 1}},
			Placement: []PlacementConstraint{{kind, "mark", ""}},
			Selectors: []Selector{{{Key: key, Operator: operator, Values: []string{""}}}},
		}, 1}
	}
	needsLabel, setsLabel := request(Affinity, "mark", OperatorIn), request(AntiAffinity, "other", OperatorNotIn)
	out := Schedule(Input{
		NodeTypes: []NodeType{{Name: "g", Resources: Resources{{"CPU", 8}}, Max: 1}},
		Requests:  []Demand{needsLabel, setsLabel, needsLabel},
	})
	require.NoError(t, out.Err)
	assert.Equal(t, []Remainder{{0, 1}}, out.InfeasibleRequests, "what came before the label is not tried again")
}

func TestIdleAtTheTimeout(t *testing.T) {
	in := Input{
		NodeTypes: []NodeType{{Name: "g", Max: 2}}, IdleTimeoutSeconds: new(60.0),
		Instances: []Instance{worker("at", "g", 1), worker("over", "g", 1)},
	}
	in.Instances[0].RayNode.IdleMillis = 60000
	in.Instances[1].RayNode.IdleMillis = 60001
	assert.Equal(t, []Termination{{"over", "g", CauseIdle}}, Schedule(in).Terminations)
}

// TestMergedSelectors shows that the order of a selector's values does not
// keep the bundles of a gang apart.
func TestMergedSelectors(t *testing.T) {
	b := func(values ...string) Request {
		r := cpus(1)
		r.Placement = []PlacementConstraint{{Affinity, "pg", ""}}
		r.Selectors = []Selector{{{Key: "zone", Operator: OperatorIn, Values: values}}}
		return r
	}
	in := Input{
		NodeTypes: []NodeType{{Name: "g", Resources: Resources{{"CPU", 1}}, Labels: Labels{{"zone", "a"}}, Max: 4}},
		Gangs:     []Gang{{Bundles: []Request{b("a", "b"), b("b", "a")}}},
	}
	assert.Equal(t, []int{0}, Schedule(in).InfeasibleGangs, "merged, they are too large")
	in.Gangs[0].Bundles[1] = b("a")
	assert.Empty(t, Schedule(in).InfeasibleGangs, "selectors that differ keep them apart")
}

func TestGPUConservation(t *testing.T) {
	in := Input{
		NodeTypes: []NodeType{
			{Name: "gpu", Resources: Resources{{"CPU", 1}, {"GPU", 2}}, Max: 1},
			{Name: "multi", Resources: Resources{{"CPU", 2}, {"XXX", 2}}, Max: 1},
		},
		Requests: []Demand{{cpus(1), 1}},
	}
	assert.Equal(t, []Launch{{"multi", 1}}, Schedule(in).Launches)
	in.DisableGPUConservation = true
	assert.Equal(t, []Launch{{"gpu", 1}}, Schedule(in).Launches)
}

func TestRefusedInput(t *testing.T) {
	types := []NodeType{{Name: "g", Resources: Resources{{"CPU", 4}}, Max: 4}}
	two := []PlacementConstraint{{AntiAffinity, "a", ""}, {AntiAffinity, "b", ""}}
	over := worker("over", "g", 1, Amount{"CPU", 4})
	over.RayNode.Available = Resources{{"CPU", 6}}
	labelled := worker("labelled", "g", 1, Amount{"CPU", 4})
	labelled.RayNode.DynamicLabels = Labels{{"a", "other"}}
	infinite := worker("infinite", "g", 1, Amount{"CPU", 4})
	infinite.RayNode.Total = Resources{{"CPU", math.Inf(1)}}
	for name, tc := range map[string]struct {
		in   Input
		want error
		text string
	}{
		"negative amount":      {Input{Requests: []Demand{{cpus(-1), 1}}}, ErrNotModelled, `reading request 0: input is not modelled: "CPU" is -1`},
		"not a number":         {Input{Gangs: []Gang{{Bundles: []Request{cpus(math.NaN())}}}}, ErrNotModelled, "bundle 0 of gang 0"},
		"infinite constraint":  {Input{Constraints: []Constraint{{Requests: []Demand{{cpus(math.Inf(1)), 1}}}}}, ErrNotModelled, "reading constraint 0: reading request 0"},
		"infinite node":        {Input{NodeTypes: types, Instances: []Instance{infinite}}, ErrNotModelled, `reading instance "infinite"`},
		"negative type":        {Input{NodeTypes: []NodeType{{Name: "g", Resources: Resources{{"GPU", -1}}}}}, ErrNotModelled, `reading node type "g"`},
		"limits out of order":  {Input{NodeTypes: []NodeType{{Name: "g", Min: 2, Max: 1}}}, ErrNotModelled, `node type "g" has min 2 and max 1`},
		"negative minimum":     {Input{NodeTypes: []NodeType{{Name: "g", Min: -1, Max: 1}}}, ErrNotModelled, "min -1"},
		"minimum of billions":  {Input{NodeTypes: []NodeType{{Name: "g", Min: math.MaxInt64, Max: math.MaxInt64}}}, ErrNotModelled, "nodes in one round"},
		"demand for billions":  {Input{NodeTypes: []NodeType{{Name: "g", Resources: Resources{{"CPU", 1}}, Max: math.MaxInt32}}, Requests: []Demand{{cpus(1), math.MaxInt32}}}, ErrNotModelled, "nodes in one round"},
		"counts that overflow": {Input{Requests: []Demand{{cpus(1), math.MaxInt64}, {cpus(2), math.MaxInt64}}}, ErrNotModelled, "int64"},

		"two constraints":          {Input{Constraints: make([]Constraint, 2)}, ErrRoundFails, "more than one"},
		"two placements in a gang": {Input{Gangs: []Gang{{Bundles: []Request{{Placement: two}}}}}, ErrRoundFails, "more than one placement"},
		"type that is gone":        {Input{DisableLaunchConfigCheck: true, Instances: []Instance{worker("w", "gone", 1)}}, ErrRoundFails, `"gone"`},
		"more free than there is":  {Input{NodeTypes: types, DisableLaunchConfigCheck: true, Instances: []Instance{over}, Requests: []Demand{{cpus(1), 1}}}, ErrRoundFails, "outside of its total"},
		"label of another value":   {Input{NodeTypes: types, Instances: []Instance{labelled}, Requests: []Demand{{Request{Placement: two}, 1}}}, ErrRoundFails, "label"},
		"negative maximum":         {Input{MaxNodes: new(int64(-1))}, ErrRoundFails, "too few"},
	} {
		t.Run(name, func(t *testing.T) {
			out := Schedule(tc.in)
			require.ErrorIs(t, out.Err, tc.want)
			require.ErrorContains(t, out.Err, tc.text)
			assert.Equal(t, Output{Err: out.Err}, out)
		})
	}
}

// TestAbsurdCounts must come to an end, and soon.
func TestAbsurdCounts(t *testing.T) {
	many := int64(math.MaxInt64 / 4)
	in := Input{
		NodeTypes: []NodeType{{Name: "g", Resources: Resources{{"CPU", 64}, {"memory", 1e12}}, Max: 3}},
		Requests: []Demand{
			{Request{}, many},
			{Request{Resources: Resources{{"CPU", 0}}}, many},
			{Request{Resources: Resources{{"memory", 0.1}}}, many},
			{Request{Resources: Resources{{"CPU", 1.0 / 1024}}}, 1000},
		},
	}
	out := Schedule(in)
	require.NoError(t, out.Err)
	assert.Equal(t, []Launch{{"g", 3}}, out.Launches)
	assert.Equal(t, many, out.Requests[0].New)
	assert.Equal(t, many, out.Requests[1].New)
	assert.Equal(t, int64(1000), out.Requests[3].New)
	assert.InDelta(t, 3e13, float64(out.Requests[2].New), 1e4)
	assert.Equal(t, many, out.Requests[2].New+out.Requests[2].Unplaced)
}

// TestAnswersHangTogether checks on generated cases that the attribution adds
// up, that nothing depends on chance, and that the input is left alone.
func TestAnswersHangTogether(t *testing.T) {
	failed := 0
	for seed := range uint64(1500) {
		c := newGenerator(1<<40 + seed).next(int(seed))
		in, err := c.input()
		require.NoError(t, err)
		out := Schedule(in)
		again, err := c.input()
		require.NoError(t, err)
		require.Equal(t, again, in, "seed %d: the input has changed", seed)
		second := Schedule(again)
		if out.Err != nil {
			failed++
			require.EqualError(t, second.Err, out.Err.Error())
			continue
		}
		require.Equal(t, out, second, "seed %d", seed)
		checkOutcomes(t, &in, &out)
		checkUses(t, &in, &out)
	}
	assert.Less(t, failed, 300, "too few cases say anything")
}

func checkOutcomes(t *testing.T, in *Input, out *Output) {
	t.Helper()
	require.Len(t, out.Requests, len(in.Requests))
	require.Len(t, out.Gangs, len(in.Gangs))
	unplaced := make([]int64, len(in.Requests))
	for _, r := range out.InfeasibleRequests {
		unplaced[r.Index] += r.Count
	}
	for i, o := range out.Requests {
		require.Equal(t, max(0, in.Requests[i].Count), o.Existing+o.New+o.Unplaced)
		require.Equal(t, unplaced[i], o.Unplaced)
		checkShares(t, in, &o)
	}
	whole := make([]bool, len(in.Gangs))
	for i := range whole {
		whole[i] = true
	}
	for _, g := range out.InfeasibleGangs {
		whole[g] = false
	}
	for i, o := range out.Gangs {
		require.Equal(t, whole[i], o.Unplaced == 0)
		require.LessOrEqual(t, o.Existing+o.New, int64(len(in.Gangs[i].Bundles)))
		require.True(t, whole[i] || o.Existing+o.New == 0)
		checkShares(t, in, &o)
		checkBundles(t, &o, out.Bundles[i], len(in.Gangs[i].Bundles))
	}
	for i, o := range out.Constraints {
		require.Equal(t, len(out.InfeasibleConstraints) > 0, o.Unplaced > 0)
		checkShares(t, in, &out.Constraints[i])
	}
}

// checkBundles holds the places of a gang's bundles against its shares: they name
// the same instances, and each share has a bundle of its own for every request.
func checkBundles(t *testing.T, o *Outcome, on []int, bundles int) {
	t.Helper()
	if o.Unplaced > 0 {
		require.Nil(t, on)
		return
	}
	require.Len(t, on, bundles)
	shares, places := map[int]int64{}, map[int]int64{}
	for _, s := range o.On {
		shares[s.Instance] += s.Count
	}
	for _, i := range on {
		places[i]++
	}
	require.Len(t, places, len(shares))
	for i, n := range shares {
		require.GreaterOrEqual(t, places[i], n)
	}
}

func checkShares(t *testing.T, in *Input, o *Outcome) {
	t.Helper()
	var existing, fresh int64
	for _, s := range o.On {
		require.Positive(t, s.Count)
		if s.Instance >= 0 {
			require.Equal(t, in.Instances[s.Instance].Type, s.Type)
			existing += s.Count
		} else {
			fresh += s.Count
		}
	}
	require.Equal(t, o.Existing, existing)
	require.Equal(t, o.New, fresh)
}

func checkUses(t *testing.T, in *Input, out *Output) {
	t.Helper()
	demand := make([]bool, len(in.Instances))
	for _, list := range [][]Outcome{out.Requests, out.Gangs} {
		for _, o := range list {
			for _, s := range o.On {
				if s.Instance >= 0 {
					demand[s.Instance] = true
				}
			}
		}
	}
	terminated := map[string]Cause{}
	for _, x := range out.Terminations {
		terminated[x.Instance] = x.Cause
	}
	count := map[string]int64{}
	for i, u := range out.Instances {
		require.Equal(t, demand[i], u.Demand)
		cause, gone := terminated[u.ID]
		require.Equal(t, gone, u.Terminated)
		if gone {
			require.False(t, u.Min)
			require.False(t, cause == CauseIdle && (u.Demand || u.Constraint))
			require.True(t, in.Instances[i].Kind != KindHead || cause != CauseIdle)
		}
		if u.Min {
			count[in.Instances[i].Type]++
		}
	}
	for _, nt := range in.NodeTypes {
		require.LessOrEqual(t, count[nt.Name], nt.Min)
	}
}

// TestTwins shows that Ray looks at one of several nodes that have the same
// left, while Ray is not running on them, even if another would score better.
func TestTwins(t *testing.T) {
	idle := worker("idle", "cpu", 1, Amount{"CPU", 8}, Amount{"memory", 8})
	idle.RayNode.Available[0].Value = 1
	idle.RayNode.IdleMillis = 100000
	in := Input{
		NodeTypes: []NodeType{
			{Name: "gpu", Resources: Resources{{"CPU", 16}, {"GPU", 1}}, Max: 2},
			{Name: "cpu", Resources: Resources{{"CPU", 8}, {"memory", 8}}, Max: 1},
		},
		IdleTimeoutSeconds: new(60.0),
		Gangs: []Gang{
			{Bundles: []Request{{Resources: Resources{{"CPU", 15}, {"GPU", 0}}}}},
			{Bundles: []Request{cpus(15)}},
		},
		Requests: []Demand{{cpus(1), 1}},
		Instances: []Instance{
			{ID: "a", Type: "gpu", Status: StatusAllocated, Kind: KindWorker},
			{ID: "b", Type: "gpu", Status: StatusAllocated, Kind: KindWorker},
			idle,
		},
	}
	out := Schedule(in)
	require.NoError(t, out.Err)
	assert.Empty(t, out.Terminations)
	assert.Equal(t, []Share{{2, "cpu", 1}}, out.Requests[0].On)
}

func TestBundlesThatShareAnAffinityAreOnOneInstance(t *testing.T) {
	packed := func(n float64) Request {
		r := cpus(n)
		r.Placement = []PlacementConstraint{{Kind: Affinity, Label: "_PG_1"}}
		return r
	}
	out := Schedule(Input{
		NodeTypes:                []NodeType{{Name: "g", Resources: Resources{{"CPU", 4}}, Max: 10}},
		DisableLaunchConfigCheck: true,
		Gangs:                    []Gang{{Bundles: []Request{packed(1), cpus(4), packed(2), cpus(3)}}},
		Instances:                []Instance{worker("a", "g", 1, Amount{"CPU", 4}), worker("b", "g", 0.75, Amount{"CPU", 4})},
	})
	require.NoError(t, out.Err)
	assert.Equal(t, [][]int{{1, 0, 1, -1}}, out.Bundles)
}
