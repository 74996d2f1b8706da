package planner_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// TestRulesAfterACrash is rule I15 in calm worlds: the coordinator dies between
// any two writes and remembers nothing. Whatever it had begun is finished or
// taken back, no Ray node that works is lost, and where one alone wants nodes,
// nothing is unserved that is served without the crash.
//
// A crash costs a round, and which of several nodes goes, or takes a pod that
// has to move, is decided by how long they have been idle and by what is there
// then. So the ends may differ in whose turn it was. They are equal in a world
// that leaves no such choice: see [TestRulesAfterACrashWithoutChoice].
func TestRulesAfterACrash(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, m := drawWide(t, true)
		calmly, died := restTwice(t, s, m)
		if why := died.unfinished(); why != "" {
			died.fail("I15: %s", why)
		}
		for id := range working(s) {
			if !working(died.s)[id] {
				died.fail("I15: Ray node %s is lost", id)
			}
		}
		if died.lost > 0 && calmly.lost == 0 && !died.several {
			died.fail("I15: %d are unserved, none without the crash", died.lost)
		}
	})
}

// TestRulesAfterACrashWithoutChoice is rule I15 in its full: where no pod has to
// move, all that is idle has been so for long, no hold runs and no room is
// wanting, a crash between any two writes leads to the same end.
func TestRulesAfterACrashWithoutChoice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, m := drawWide(t, true)
		decided(&s)
		calmly, died := restTwice(t, s, m)
		if calmly.room || died.room { // another world is drawn, and the test fails if too few count
			t.Skip("room is wanting")
		}
		if a, b := calmly.end(), died.end(); a != b {
			died.fail("I15: the end is %s\nnot %s\nas without the crash:\n%s\nwith it:", b, a, strings.Join(calmly.told, "\n"))
		}
	})
}

// decided takes from a world what leaves a choice to time.
func decided(s *planner.Snapshot) {
	s.Pods = slices.DeleteFunc(s.Pods, func(p planner.Pod) bool { return p.RayCluster == "" && !p.DaemonSet && p.Blocks == "" })
	s.Policy.VacantHold, s.Policy.MaxRemovePerTick, s.Policy.SoftTaints = 0, 0, false
	for i := range s.Nodes { // marks of a removal say who goes first, and some of them may be off after the crash
		n := &s.Nodes[i]
		n.SoftTaint, n.Cordon = nil, nil
		n.Taints = slices.DeleteFunc(n.Taints, func(t planner.Taint) bool { return t.Key == planner.CordonTaint })
	}
	for i := range s.Machines {
		s.Machines[i].Mark = nil
	}
	for i := range s.NodeGroups {
		s.NodeGroups[i].Min = 0 // whoever comes last to a minimum stays
	}
	for i := range s.RayClusters {
		c := &s.RayClusters[i]
		if c.Mode == planner.ModeOff {
			c.Mode = planner.ModeLead
		}
		for j := range c.RayNodes {
			if n := &c.RayNodes[j]; n.Status == planner.RayNodeIdle {
				n.IdleFor = minutes(10)
			}
		}
	}
}

// rested is what a world has come to.
type rested struct {
	*settling

	lost    int64 // unmet in the last plan
	room    bool  // was wanting at some time
	several bool  // want nodes, and may take those that were bought for each other
}

// restTwice lets a world come to rest, and once more with a crash.
func restTwice(t *rapid.T, s planner.Snapshot, m planner.Memory) (calmly, died rested) {
	t.Helper()
	dies := &crash{rapid.IntRange(0, 6).Draw(t, "crashes in round"), rapid.IntRange(0, 6).Draw(t, "after writes")}
	run := func(dies *crash) rested {
		r := rested{settling: &settling{carrying: carry(s), t: t, m: m, dies: dies}}
		r.several = r.planned()+r.waiting() > 1
		r.each = func(_ int, plan planner.Plan) { r.room = r.room || wantsRoom(plan) }
		r.lost = r.unmet(r.rest())
		return r
	}
	return run(nil), run(dies)
}

// unfinished names something that a removal has left behind, or is empty.
func (r *rested) unfinished() string {
	for _, n := range r.s.Nodes {
		if n.Cordon != nil {
			return "node " + n.Name + " is still cordoned"
		}
	}
	for _, m := range r.s.Machines {
		if m.Mark != nil {
			return "Machine " + m.Name + " is still marked"
		}
	}
	for _, c := range r.s.RayClusters {
		for _, n := range c.RayNodes {
			there := slices.ContainsFunc(r.s.Pods, func(p planner.Pod) bool { return p.UID == n.PodUID })
			if c.Mode == planner.ModeLead && n.Status == planner.RayNodeDead && there {
				return "Ray node " + n.ID + " has ended, and its pod is still there"
			}
		}
		for _, w := range c.WorkerGroups {
			if c.Mode == planner.ModeLead && len(w.WorkersToDelete) > 0 {
				return fmt.Sprintf("worker group %s of %s still names %v", w.Name, c.Key(), w.WorkersToDelete)
			}
		}
	}
	return ""
}

// end sums up what there is: replicas of both layers. Equal nodes have no names
// here.
func (r *rested) end() string {
	var out []string
	for _, g := range r.s.NodeGroups {
		out = append(out, fmt.Sprintf("%s %d", g.Key(), g.Replicas))
	}
	for _, c := range r.s.RayClusters {
		for _, w := range c.WorkerGroups {
			out = append(out, fmt.Sprintf("%s %s %d", c.Key(), w.Name, w.Replicas))
		}
	}
	return strings.Join(out, ", ")
}
