package planner_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

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
