package rayv2

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// schedulePlainly answers with every node tried before every pick, one request
// after the other: no bounds, no index, no quick trials.
func schedulePlainly(in Input) Output {
	s, err := newScheduler(&in)
	if err != nil {
		return Output{Err: err}
	}
	s.packer.plain = true
	return s.answer()
}

// TestSpeedChangesNoAnswer compares the fast way with the plain one.
func TestSpeedChangesNoAnswer(t *testing.T) {
	t.Parallel()
	n := envNumber(t, "TANDEM_RAY_N", 1000)
	seed := envNumber(t, "TANDEM_RAY_SEED", 1)
	raised, left, grown, held := 0, 0, 0, 0
	for i := seed; i < seed+n; i++ {
		c := newGenerator(1<<41 + uint64(i)).next(i) //nolint:gosec // a seed
		in, err := c.input()
		require.NoError(t, err)
		for _, in := range []Input{in, crowd(uint64(i))} { //nolint:gosec // a seed
			want := schedulePlainly(in)
			require.Equal(t, want, Schedule(in), "seed %d", i)
			raised += boolNumber(want.Err != nil)
			left += boolNumber(len(want.InfeasibleRequests) > 0)
			grown += boolNumber(len(want.Launches) > 0)
			held += boolNumber(len(want.Constraints) > 0)
		}
	}
	t.Logf("of %d rounds %d raised an exception, %d left requests, %d launched, %d held a constraint", 2*n, raised, left, grown, held)
	for _, count := range []int{raised, left, grown, held} {
		assert.Greater(t, count, n/50, "too few cases of a kind say anything")
	}
}

// crowd is a cluster where many requests of few resources, most of them
// different, meet many nodes, of which some are alike: what the fast ways are for.
func crowd(seed uint64) Input {
	r := rand.New(rand.NewPCG(seed, 9)) //nolint:gosec // test data, to be repeatable
	chance := func(p float64) bool { return r.Float64() < p }
	names := []string{"CPU", "memory", "GPU", "x", "y"}[:2+r.IntN(4)]
	if chance(0.1) {
		names[r.IntN(len(names))] = implicitPrefix + "z"
	}
	grains := []float64{0.1, 1, 0.25, 1.0 / 3, 1e-4}
	grain := grains[r.IntN(len(grains))]
	amounts := func(most int, p float64) Resources {
		out := Resources{}
		for _, n := range names {
			if chance(p) {
				out = append(out, Amount{n, float64(r.IntN(most+1)) * grain})
			}
		}
		return out
	}
	in := Input{DisableLaunchConfigCheck: true, DisableGPUConservation: chance(0.2), IdleTimeoutSeconds: new(60.0)}
	crowdNodes(r, &in, func() Resources { return amounts(400, 0.8) })
	few := 1 + r.IntN(6)
	size := 1 + r.IntN(200)
	demand := func(i int) Demand {
		d := Demand{Request{Resources: amounts(size, 0.7)}, 1}
		if chance(0.2) && in.Requests != nil {
			d = in.Requests[r.IntN(len(in.Requests))]
		}
		if i%few == 0 && chance(0.3) {
			d.Count = int64(r.IntN(30))
		}
		return d
	}
	selectors := chance(0.4)
	for i := range 5 + r.IntN(150) {
		d := demand(i)
		if selectors && chance(0.2) {
			for range 1 + r.IntN(2) {
				d.Request.Selectors = append(d.Request.Selectors, Selector{{"zone", Operator(1 + r.IntN(2)), []string{strconv.Itoa(r.IntN(3))}}})
			}
		}
		in.Requests = append(in.Requests, d)
	}
	if chance(0.4) {
		c := Constraint{}
		for i := range 1 + r.IntN(40) {
			c.Requests = append(c.Requests, demand(i))
		}
		in.Constraints = append(in.Constraints, c)
	}
	for range r.IntN(4) {
		g := Gang{}
		for i := range 1 + r.IntN(25) {
			g.Bundles = append(g.Bundles, demand(i).Request)
		}
		in.Gangs = append(in.Gangs, g)
	}
	if chance(0.03) {
		in.Requests[0].Request.Placement = []PlacementConstraint{{AntiAffinity, "alone", ""}}
	}
	return in
}

// crowdNodes adds node types and instances.
func crowdNodes(r *rand.Rand, in *Input, amounts func() Resources) {
	for i := range 1 + r.IntN(5) {
		nt := NodeType{Name: fmt.Sprintf("g%d", i), Resources: amounts(), Min: int64(r.IntN(2)), Max: int64(2 + r.IntN(40)), Priority: int64(r.IntN(2))}
		nt.Labels = Labels{{"zone", strconv.Itoa(r.IntN(3))}}
		in.NodeTypes = append(in.NodeTypes, nt)
		if r.IntN(3) == 0 {
			in.Availability = append(in.Availability, TypeScore{nt.Name, r.Float64()})
		}
	}
	alike := r.IntN(3)
	var last Instance
	for i := range r.IntN(60) {
		nt := &in.NodeTypes[r.IntN(len(in.NodeTypes))]
		inst := Instance{ID: strconv.Itoa(i), Type: nt.Name, Status: StatusRayRunning, Kind: KindWorker, RayNodeID: "n" + strconv.Itoa(i)}
		n := &RayNode{Total: nt.Resources, Labels: nt.Labels, IdleMillis: int64(r.IntN(3) * 50000)}
		for _, a := range nt.Resources {
			if f := r.IntN(5); f > 0 {
				n.Available = append(n.Available, Amount{a.Name, a.Value * float64(f) / 4})
			}
		}
		if r.IntN(4000) == 0 && len(n.Available) > 0 {
			n.Available[0].Value = float64(r.IntN(2)*1000 - 1) // negative, or more than there is
		}
		inst.RayNode = n
		if alike > 0 && i > 0 && r.IntN(3) < alike {
			inst.Type, inst.RayNode = last.Type, last.RayNode
		}
		if r.IntN(10) == 0 {
			inst.Status = StatusAllocated
		}
		last = inst
		in.Instances = append(in.Instances, inst)
	}
}
