package planner_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// settling runs plans in a perfect world until nothing moves.
type settling struct {
	*carrying

	t    *rapid.T
	m    planner.Memory
	told []string                           // the plans so far, for a failure
	each func(round int, plan planner.Plan) // looks at every plan
	dies *crash                             // if the coordinator does
}

// crash ends a round after a number of writes, with nothing remembered.
type crash struct{ round, writes int }

const (
	mostRounds = 60
	roundTime  = 30 * time.Second // below a jump of the clock
)

// rest runs until three rounds in a row take no step, and returns the last plan.
func (r *settling) rest() planner.Plan {
	quiet := 0
	for round := range mostRounds {
		plan, next := planner.Make(r.s, r.m)
		if err := planner.Check(r.s, plan); err != nil {
			r.fail("%v", err)
		}
		r.told = append(r.told, fmt.Sprintf("round %d\n%s", round, tell(plan)))
		if r.each != nil {
			r.each(round, plan)
		}
		r.m = next
		steps := plan.Steps
		if r.dies != nil && round == r.dies.round {
			steps, r.m = steps[:min(len(steps), r.dies.writes)], planner.Memory{}
		}
		for _, st := range steps {
			r.take(st)
		}
		r.settle(plan)
		r.pass(roundTime)
		if quiet++; len(plan.Steps) > 0 {
			quiet = 0
		}
		if quiet == 4 { // longer than the longest hold
			return plan
		}
	}
	if slices.ContainsFunc(r.s.Pods, func(p planner.Pod) bool { return p.Node == "" && p.RayCluster != "" }) {
		r.t.Skip("a Ray pod that waits for ever makes and loses room for others")
	}
	r.fail("I6: no rest after %d rounds", mostRounds)
	return planner.Plan{}
}

func (r *settling) fail(format string, a ...any) {
	r.t.Helper()
	told := r.told
	if len(told) > 6 {
		told = append(told[:2:2], told[len(told)-4:]...)
	}
	r.t.Fatalf(format+"\n%s", append(a, strings.Join(told, "\n"))...)
}

// TestRulesAtRest carries plans out in a perfect calm world whose demand stays,
// until nothing moves: the second plan asks for nothing more than the first (I5),
// no group turns round more than once (I6), what was served in full stays so
// (I8), and no Ray node that works is lost.
func TestRulesAtRest(t *testing.T) {
	rapid.Check(t, rulesAtRest)
}

func rulesAtRest(t *rapid.T) {
	s, m := drawWide(t, true)
	r := &settling{carrying: carry(s), t: t, m: m}
	restart := rapid.IntRange(-1, 4).Draw(t, "restart")
	way, turns := map[string]planner.StepKind{}, map[string]int{}
	busy, lost := working(s), int64(0)
	// Several who want nodes may take those that were bought for each other.
	room := r.planned()+r.waiting() > 1 || r.minima() > 1
	var rays int64 // what Ray asks for; it may ask for more as its own pods come
	r.each = func(round int, plan planner.Plan) {
		before := rays
		if rays = r.raysTarget(plan); round > 0 && rays > before {
			t.Skip("Ray itself asks for more")
		}
		if round == 0 {
			lost = r.unmet(plan)
		}
		// Where not all can be served, what is may change as pods become Ray nodes.
		if n := r.unmet(plan); n > lost && lost == 0 && !room {
			r.fail("I8: %d are unserved, none before", n)
		}
		for _, st := range plan.Steps {
			if round == 1 && !room && (st.Kind == planner.StepGrow || st.Kind == planner.StepGrowWorkers) {
				r.fail("I5: in round %d, %s", round, tellStep(st))
			}
			if st.Kind == planner.StepGrow || st.Kind == planner.StepRemove {
				if before, ok := way[st.Group]; ok && before != st.Kind {
					turns[st.Group]++
				}
				way[st.Group] = st.Kind
			}
		}
		room = room || wantsRoom(plan) || r.planned() > 1
		if round == restart {
			r.m = planner.Memory{}
		}
	}
	r.rest()
	for group, n := range turns {
		if n > 1 && !room {
			r.fail("I6: %s turned round %d times", group, n)
		}
	}
	for id := range busy {
		if !working(r.s)[id] {
			r.fail("I1: Ray node %s is lost", id)
		}
	}
}

// wantsRoom tells whether something is unmet that may be met once others have
// gone: growth in a later round is for that.
func wantsRoom(plan planner.Plan) bool {
	return slices.ContainsFunc(plan.Decisions, func(d planner.Decision) bool {
		never := d.Reason == planner.ReasonNoWorkerGroup || d.Reason == planner.ReasonLabels || d.Reason == planner.ReasonDoesNotFit
		return d.Outcome == planner.OutcomeUnmet && !never
	})
}

// unmet counts what is unmet, apart from what Ray itself leaves in follow mode:
// there the plan answers for the pods.
func (r *settling) unmet(plan planner.Plan) (n int64) {
	for _, d := range plan.Decisions {
		rays := d.RayCluster != "" && !strings.HasPrefix(d.Subject, "pods of ") && r.cluster(d.RayCluster).Mode == planner.ModeFollow
		if d.Outcome == planner.OutcomeUnmet && !rays {
			n += d.Count
		}
	}
	return n
}

// planned counts the clusters that are planned for. What two of them are to have
// may change places on the nodes of both, so a later round may buy for one.
func (r *settling) planned() (n int) {
	for _, c := range r.s.RayClusters {
		if c.Mode != planner.ModeOff {
			n++
		}
	}
	return n
}

// waiting counts the kinds of pods that wait and are not planned for as Ray's.
func (r *settling) waiting() int {
	kinds := map[string]bool{}
	for i := range r.s.Pods {
		if p := &r.s.Pods[i]; p.Node == "" && r.ordinary(p) {
			kinds[p.Namespace+fmt.Sprint(p.Shape)] = true
		}
	}
	return len(kinds)
}

// minima counts the kinds of pods that a minimum of replicas wants whatever the
// demand is. Ray pods are not bound here, so where there are several kinds one
// that has room on a node may take the new node that was bought for another.
func (r *settling) minima() int {
	kinds := map[string]bool{}
	for i := range r.s.RayClusters {
		c := &r.s.RayClusters[i]
		for _, w := range c.WorkerGroups {
			bound := int64(0)
			for j := range r.s.Pods {
				if p := &r.s.Pods[j]; p.RayCluster == c.Key() && p.RayGroup == w.Name && p.Node != "" {
					bound++
				}
			}
			if c.Mode != planner.ModeOff && bound < w.Min*max(1, w.NumOfHosts) {
				kinds[fmt.Sprint(w.Pod)] = true
			}
		}
	}
	return len(kinds)
}

// raysTarget is how many replicas the clusters in follow mode are to have.
func (r *settling) raysTarget(plan planner.Plan) (n int64) {
	for _, w := range plan.WorkerGroups {
		if r.cluster(w.RayCluster).Mode == planner.ModeFollow {
			n += w.Target
		}
	}
	return n
}

// working are the Ray nodes that work. The pods of a cluster in mode off are
// ordinary ones, which may be moved.
func working(s planner.Snapshot) map[string]bool {
	out := map[string]bool{}
	for _, c := range s.RayClusters {
		for _, n := range c.RayNodes {
			if n.Status == planner.RayNodeRunning && c.Mode != planner.ModeOff {
				out[n.ID] = true
			}
		}
	}
	return out
}
