package planner_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// What the properties have found, each as a small case.

// TestMinSizeWithinHeadroom: a min size makes no room on the hosts, and what it
// takes of the headroom is not there for demand.
func TestMinSizeWithinHeadroom(t *testing.T) {
	s, m := plain()
	room := int64(2)
	s.Classes[0].Headroom, s.NodeGroups[0].Min, s.NodeGroups[1].Min = &room, 1, 3
	s.Pods[0].Shape.Requests[planner.ResourceCPU] = 8000
	s.NodeGroups[2].Max = 0
	plan, _ := planner.Make(s, m)
	assert.Equal(t, []string{"Grow 0→1", "Grow 0→1"}, short(plan), tell(plan))

	s.Pods[0].Shape.Requests[planner.ResourceCPU] = 3000
	more := s.Pods[0]
	more.Name, more.UID = "q", "q"
	third := s.Pods[0]
	third.Name, third.UID = "r", "r"
	s.Pods = append(s.Pods, more, third)
	plan, _ = planner.Make(s, m)
	assert.Equal(t, []string{"Grow 0→1", "Grow 0→1"}, short(plan), tell(plan))
	assert.Equal(t, planner.ReasonAtMax, reasonOf(plan, "pod x/p"), tell(plan))
}

// TestNoSoftTaintOnANodeThatGoes: a vacant node that this plan cordons gets no
// soft taint beside it, and one decision.
func TestNoSoftTaintOnANodeThatGoes(t *testing.T) {
	s, m := plain()
	s.Pods, s.Policy.SoftTaints, s.Policy.VacantHold = nil, true, 0
	machine(&s, "a", time.Hour, true)
	plan, _ := planner.Make(s, m)
	require.Equal(t, []string{"Cordon a"}, short(plan), tell(plan))
	assert.Equal(t, planner.ReasonVacant, reasonOf(plan, "a"))
}

// TestNoSoftTaintOnANodeThatReceives: the pod of one node is to be moved to
// another. A soft taint on that one would keep the pod off it, the removal would
// be cancelled, and both would begin anew, for ever.
func TestNoSoftTaintOnANodeThatReceives(t *testing.T) {
	s, m := plain()
	s.Pods, s.Policy.SoftTaints, s.Policy.VacantHold = nil, true, 0
	machine(&s, "a", time.Hour, true)
	machine(&s, "b", time.Hour, true)
	onNode(&s, "a", "p", 1000)
	onNode(&s, "b", "q", 1000)
	c := carry(s)
	var steps []string
	for range 8 {
		plan, next := planner.Make(c.s, m)
		for _, st := range plan.Steps {
			c.take(st)
			if st.Kind == planner.StepUncordon {
				t.Fatalf("the removal is taken back\n%s", tell(plan))
			}
		}
		steps = append(steps, short(plan)...)
		c.settle(plan)
		c.pass(roundTime)
		m = next
	}
	assert.Len(t, c.s.Nodes, 1, "all fits on one: %v", steps)
}

// TestWhatIsTakenBackIsNotBoughtFor: request_resources would fit on either of two
// pods that wait, and only the smaller one finds a node. That one is kept, and
// the other is taken back.
func TestWhatIsTakenBackIsNotBoughtFor(t *testing.T) {
	s, m := led()
	c := &s.RayClusters[0]
	s.Machines, s.Nodes, s.Pods, c.RayNodes, s.NodeGroups[0].Replicas = nil, nil, nil, nil, 0
	large := planner.Resources{planner.ResourceCPU: 8000}
	small := planner.Resources{planner.ResourceCPU: 2000}
	c.WorkerGroups = []planner.WorkerGroup{
		{Name: "large", Replicas: 1, Max: 1, RayResources: large, Pod: planner.PodShape{Requests: large}},
		{Name: "small", Replicas: 1, Max: 1, RayResources: small, Pod: planner.PodShape{Requests: small}},
	}
	m.Unwanted = map[string]time.Time{}
	for i := range c.WorkerGroups {
		p := workerPod(c, &c.WorkerGroups[i], 0, 0, "")
		p.Unschedulable = true
		s.Pods = append(s.Pods, p)
		m.Unwanted[p.UID] = noon.Add(-time.Minute)
	}
	c.Constraints = []planner.Request{{Resources: planner.Resources{planner.ResourceCPU: 500}, Count: 1}}
	plan, _ := planner.Make(s, m)
	assert.Equal(t, []string{"Grow 0→1", "ShrinkWorkers 1→0 r-large-0-0"}, short(plan), tell(plan))
}

// TestNoShrinkBesideAMarkInUse: a Machine with pods carries a delete mark. A
// shrink for the vacant node beside it might take that one, so there is none until
// our mark is off, and none at all while the mark is somebody else's.
func TestNoShrinkBesideAMarkInUse(t *testing.T) {
	for _, foreign := range []bool{false, true} {
		s, m := plain()
		s.Pods, s.Policy.VacantHold = nil, 0
		machine(&s, "a", time.Hour, true)
		machine(&s, "b", time.Hour, true)
		onNode(&s, "b", "q", 3000) // too much to be moved
		cordonNode(&s.Nodes[0], noon.Add(-time.Minute))
		s.Machines[1].ForeignMark = foreign
		if !foreign {
			s.Machines[1].Mark = &planner.Mark{PlanID: "p", At: noon.Add(-time.Minute)}
		}
		plan, next := planner.Make(s, m)
		if foreign {
			assert.Empty(t, short(plan), tell(plan))
			assert.Equal(t, planner.ReasonContested, reasonOf(plan, "a"), tell(plan))
		} else {
			assert.Equal(t, []string{"Unmark ns/b"}, short(plan), tell(plan))
		}
		broken := planner.Plan{Steps: []planner.Step{{Kind: planner.StepRemove, Group: s.NodeGroups[0].Key(), Machines: []string{"ns/a"}, From: s.NodeGroups[0].Replicas, To: s.NodeGroups[0].Replicas - 1}}}
		require.ErrorContains(t, planner.Check(s, broken), "carries a delete mark")
		s.Machines[1].Mark, s.Machines[1].ForeignMark, s.At = nil, false, noon.Add(5*time.Second)
		plan, _ = planner.Make(s, next)
		assert.Equal(t, []string{"Remove 2→1 ns/a"}, short(plan), tell(plan))
	}
}
