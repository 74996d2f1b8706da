package planner_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// TestRules draws worlds and holds every plan to the rules that can be seen
// from one snapshot: I2, I3, I6, I9 and I1 through Check, I4 by shuffling, I5
// by carrying the plan out, I12 by counting reasons.
func TestRules(t *testing.T) {
	rapid.Check(t, rules)
}

func FuzzRules(f *testing.F) {
	f.Fuzz(rapid.MakeFuzz(rules))
}

func rules(t *rapid.T) {
	s, m := drawWorld(t)
	plan, next := planner.Make(s, m)
	if err := planner.Check(s, plan); err != nil {
		t.Fatalf("%v\n%s", err, tell(plan))
	}
	deterministic(t, s, m, plan, next)
	reasons(t, s, plan)
	fixedPoint(t, s, next, plan)
}

// deterministic is rule I4: the order of the input's lists never matters.
func deterministic(t *rapid.T, s planner.Snapshot, m planner.Memory, plan planner.Plan, next planner.Memory) {
	seed := rapid.Uint64().Draw(t, "shuffle")
	again, nextAgain := planner.Make(shuffled(s, rand.New(rand.NewPCG(seed, 1))), m) //nolint:gosec // A shuffle that can be repeated is wanted.
	if d := cmp.Diff(plan, again); d != "" {
		t.Fatalf("I4: the order of the input matters:\n%s", d)
	}
	if d := cmp.Diff(next, nextAgain); d != "" {
		t.Fatalf("I4: the order of the input matters for the memory:\n%s", d)
	}
}

func shuffled(s planner.Snapshot, r *rand.Rand) planner.Snapshot {
	s.RayClusters = shuffle(r, s.RayClusters)
	for i := range s.RayClusters {
		c := &s.RayClusters[i]
		c.RayNodes, c.Requests, c.Gangs, c.Constraints = shuffle(r, c.RayNodes), shuffle(r, c.Requests), shuffle(r, c.Gangs), shuffle(r, c.Constraints)
	}
	s.Pods, s.Nodes, s.NodeGroups = shuffle(r, s.Pods), shuffle(r, s.Nodes), shuffle(r, s.NodeGroups)
	s.Machines, s.Classes, s.Sources = shuffle(r, s.Machines), shuffle(r, s.Classes), shuffle(r, s.Sources)
	return s
}

func shuffle[T any](r *rand.Rand, in []T) []T {
	out := append([]T(nil), in...)
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// reasons is rule I12: every decision has one reason of the closed list, every
// group has one decision.
func reasons(t *rapid.T, s planner.Snapshot, plan planner.Plan) {
	known := map[planner.Reason]bool{}
	for _, d := range planner.Reasons() {
		known[d.Reason] = true
	}
	groups := 0
	for _, d := range plan.Decisions {
		if !known[d.Reason] {
			t.Fatalf("I12: %s %s has reason %q", d.Kind, d.Subject, d.Reason)
		}
		if d.Kind == planner.SubjectNodeGroup {
			groups++
		}
	}
	if groups != len(s.NodeGroups) {
		t.Fatalf("I12: %d decisions about %d groups", groups, len(s.NodeGroups))
	}
	if plan.Bound > plan.Cost {
		t.Fatalf("bound %d is above the cost %d", plan.Bound, plan.Cost)
	}
}

// fixedPoint is rule I5 for growth: once the replicas are written, and the
// Machines are on their way, the same demand asks for nothing more, whatever
// the coordinator remembers.
func fixedPoint(t *rapid.T, s planner.Snapshot, next planner.Memory, plan planner.Plan) {
	for _, d := range plan.Decisions {
		if d.Reason == planner.ReasonShrinking {
			return // growth waits for the shrink; the plan is not carried out as a whole
		}
	}
	s.NodeGroups = append([]planner.NodeGroup(nil), s.NodeGroups...)
	for _, st := range plan.Steps {
		for i := range s.NodeGroups {
			if st.Kind == planner.StepGrow && s.NodeGroups[i].Key() == st.Group {
				s.NodeGroups[i].Replicas = st.To
			}
		}
		if st.Kind == planner.StepGrowWorkers {
			s.RayClusters = withReplicas(s.RayClusters, st)
		}
	}
	if rapid.Bool().Draw(t, "restart") {
		next = planner.Memory{Backoff: next.Backoff}
	}
	again, _ := planner.Make(s, next)
	for _, st := range again.Steps {
		// Demand that was not met may be served by room that another cluster's
		// pods turn out not to take; that costs no Machine.
		if st.Kind == planner.StepGrow || st.Kind == planner.StepGrowWorkers && !unmet(plan) {
			t.Fatalf("I5: after the plan was carried out, more is asked for: %+v\nfirst:\n%s\nthen:\n%s", st, tell(plan), tell(again))
		}
	}
}

func unmet(p planner.Plan) bool {
	for _, d := range p.Decisions {
		if d.Outcome == planner.OutcomeUnmet {
			return true
		}
	}
	return false
}

func withReplicas(in []planner.RayCluster, st planner.Step) []planner.RayCluster {
	out := append([]planner.RayCluster(nil), in...)
	for i := range out {
		if out[i].Key() != st.RayCluster {
			continue
		}
		out[i].WorkerGroups = append([]planner.WorkerGroup(nil), out[i].WorkerGroups...)
		for j := range out[i].WorkerGroups {
			if out[i].WorkerGroups[j].Name == st.WorkerGroup {
				out[i].WorkerGroups[j].Replicas = st.To
			}
		}
	}
	return out
}

// drawWorld makes a small world with everything that a plan looks at.
func drawWorld(t *rapid.T) (planner.Snapshot, planner.Memory) {
	s := planner.Snapshot{At: noon, Policy: testPolicy()}
	s.Policy.MaxMachines = rapid.SampledFrom([]int64{0, 0, 0, 5}).Draw(t, "maxMachines")
	s.Policy.MaxRemovePerTick = rapid.SampledFrom([]int64{0, 0, 1}).Draw(t, "maxRemove")
	for i := range rapid.IntRange(1, 4).Draw(t, "groups") {
		drawGroup(t, &s, i)
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "clusters") {
		drawCluster(t, &s, i)
	}
	for _, k := range []planner.SourceKind{planner.SourceManagement, planner.SourceWorkload, planner.SourceRay} {
		s.Sources = append(s.Sources, planner.Source{Kind: k, Known: rapid.IntRange(0, 9).Draw(t, "known") > 0})
	}
	m := planner.Memory{VacantSince: map[string]time.Time{}}
	for _, n := range s.Nodes {
		if rapid.Bool().Draw(t, "vacantBefore") {
			m.VacantSince[n.UID] = noon.Add(-2 * time.Minute)
		}
	}
	return s, m
}

func drawResources(t *rapid.T, name string, least int64) planner.Resources {
	r := planner.Resources{
		planner.ResourceCPU:    1000 * rapid.Int64Range(least, 32).Draw(t, name+" cpu"),
		planner.ResourceMemory: 1 << 30 * rapid.Int64Range(least, 128).Draw(t, name+" GiB"),
	}
	if g := rapid.Int64Range(-4, 8).Draw(t, name+" gpu"); g > 0 {
		r[planner.ResourceGPU] = planner.Unit * g
	}
	return r
}

func drawGroup(t *rapid.T, s *planner.Snapshot, i int) {
	g := planner.NodeGroup{
		Namespace: "ns", Name: fmt.Sprintf("g%d", i), UID: fmt.Sprintf("ug%d", i), Class: fmt.Sprintf("c%d", i),
		Managed: rapid.IntRange(0, 9).Draw(t, "managed") > 0, Paused: rapid.IntRange(0, 9).Draw(t, "paused") == 0,
		RollingOut: rapid.IntRange(0, 9).Draw(t, "rolling") == 0,
		Min:        rapid.Int64Range(0, 2).Draw(t, "min"), Capacity: drawResources(t, "capacity", 1),
	}
	g.Max = g.Min + rapid.Int64Range(0, 6).Draw(t, "max")
	s.Classes = append(s.Classes, planner.VMClass{Name: g.Class, Capacity: g.Capacity.Clone(), Price: rapid.Int64Range(0, 9).Draw(t, "price") * 1e6})
	n := rapid.IntRange(0, 5).Draw(t, "machines")
	g.Replicas = max(0, int64(n)+rapid.Int64Range(-1, 1).Draw(t, "lag"))
	for j := range n {
		drawMachine(t, s, g, j)
	}
	s.NodeGroups = append(s.NodeGroups, g)
}

func drawMachine(t *rapid.T, s *planner.Snapshot, g planner.NodeGroup, j int) {
	name := fmt.Sprintf("%s-%d", g.Name, j)
	m := planner.Machine{
		Namespace: "ns", Name: name, UID: "um-" + name, Group: g.Key(), Deleting: rapid.IntRange(0, 9).Draw(t, "deleting") == 0,
		CreatedAt: noon.Add(-time.Duration(rapid.IntRange(0, 30).Draw(t, "age")) * time.Minute),
	}
	if rapid.IntRange(0, 3).Draw(t, "joined") > 0 {
		m.Node = name
		n := planner.Node{Name: name, UID: "un-" + name, Machine: m.Key(), Ready: rapid.IntRange(0, 9).Draw(t, "ready") > 0, Allocatable: g.Capacity.Clone()}
		if rapid.IntRange(0, 3).Draw(t, "cordoned") == 0 {
			n.Cordon = &planner.Mark{PlanID: "p0", At: noon.Add(-time.Second)}
			n.Taints = []planner.Taint{{Key: planner.CordonTaint, Effect: "NoSchedule"}}
			if rapid.Bool().Draw(t, "marked") {
				m.Mark = n.Cordon
			}
		}
		if rapid.Bool().Draw(t, "busy") {
			s.Pods = append(s.Pods, planner.Pod{Namespace: "ml", Name: "on-" + name, UID: "up-" + name, Node: name, Shape: planner.PodShape{Requests: planner.Resources{planner.ResourceCPU: 500}}})
		}
		s.Nodes = append(s.Nodes, n)
	}
	s.Machines = append(s.Machines, m)
}

func drawCluster(t *rapid.T, s *planner.Snapshot, i int) {
	c := planner.RayCluster{
		Namespace: "ml", Name: fmt.Sprintf("ray%d", i), UID: fmt.Sprintf("ur%d", i),
		Mode:        rapid.SampledFrom([]planner.Mode{planner.ModeFollow, planner.ModeLead, planner.ModeOff}).Draw(t, "mode"),
		DemandKnown: rapid.IntRange(0, 9).Draw(t, "demandKnown") > 0,
	}
	for j := range rapid.IntRange(0, 3).Draw(t, "workerGroups") {
		r := drawResources(t, "worker", 1)
		w := planner.WorkerGroup{Name: fmt.Sprintf("w%d", j), Max: rapid.Int64Range(0, 6).Draw(t, "maxReplicas"), RayResources: r, Pod: planner.PodShape{Requests: r}}
		w.Replicas = rapid.Int64Range(0, 2).Draw(t, "replicas")
		w.Min = min(w.Max, rapid.Int64Range(-4, 2).Draw(t, "minReplicas"))
		w.Min = max(0, w.Min)
		for k := range min(w.Replicas, int64(rapid.IntRange(0, 2).Draw(t, "pods"))) {
			s.Pods = append(s.Pods, planner.Pod{
				Namespace: "ml", Name: fmt.Sprintf("%s-%s-%d", c.Name, w.Name, k), UID: fmt.Sprintf("up-%s-%s-%d", c.Name, w.Name, k),
				RayCluster: c.Key(), RayGroup: w.Name, Unschedulable: true, Shape: w.Pod,
			})
		}
		c.WorkerGroups = append(c.WorkerGroups, w)
	}
	for range rapid.IntRange(0, 3).Draw(t, "requests") {
		c.Requests = append(c.Requests, planner.Request{Resources: drawAsk(t), Count: rapid.Int64Range(1, 8).Draw(t, "count")})
	}
	for j := range rapid.IntRange(0, 2).Draw(t, "gangs") {
		g := planner.Gang{ID: fmt.Sprintf("pg%d%d", i, j), Strategy: rapid.SampledFrom([]planner.Strategy{planner.Pack, planner.Spread, planner.StrictPack, planner.StrictSpread}).Draw(t, "strategy")}
		var o planner.GangOption
		for range rapid.IntRange(1, 4).Draw(t, "bundles") {
			o.Bundles = append(o.Bundles, planner.Bundle{Resources: drawAsk(t)})
		}
		g.Options = []planner.GangOption{o}
		c.Gangs = append(c.Gangs, g)
	}
	if rapid.IntRange(0, 3).Draw(t, "constrained") == 0 {
		c.Constraints = []planner.Request{{Resources: drawAsk(t), Count: rapid.Int64Range(1, 4).Draw(t, "constraint")}}
	}
	s.RayClusters = append(s.RayClusters, c)
}

func drawAsk(t *rapid.T) planner.Resources {
	r := planner.Resources{planner.ResourceCPU: 500 * rapid.Int64Range(0, 16).Draw(t, "ask cpu")}
	if g := rapid.Int64Range(-4, 8).Draw(t, "ask gpu"); g > 0 {
		r[planner.ResourceGPU] = planner.Unit / 4 * g
	}
	return r
}
