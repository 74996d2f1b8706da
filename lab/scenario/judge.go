package scenario

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tandem-autoscaler/tandem/lab/report"
)

// judge writes into a finished report whether everything expected happened.
func (r *Run) judge(rep *report.Report, missing []string) {
	r.mu.Lock()
	rep.Failures = slices.Clone(r.fatal)
	r.mu.Unlock()
	if len(missing) > 0 {
		rep.Failures = append(rep.Failures, fmt.Sprintf("after %s this was missing: %s", r.o.Scenario.Deadline.Duration, strings.Join(missing, "; ")))
	}
	rep.Failures = append(rep.Failures, r.o.Scenario.Expect.check(rep)...)
	rep.Passed = len(rep.Failures) == 0
}

// check compares a report with what was expected; it returns one sentence for
// each difference.
func (e *Expect) check(rep *report.Report) []string {
	v := &verdict{rep: rep}
	equal(v, "worker Machines at the end", e.WorkerMachinesAtEnd, rep.WorkerMachinesAtEnd)
	equal(v, "Machines removed while busy", e.BusyNodesRemoved, len(rep.RemovedWhileBusy))
	equal(v, "nodes touched while busy", e.BusyNodesTouched, len(rep.TouchedWhileBusy))
	equal(v, "Machines removed without a mark", e.UnmarkedRemoved, len(rep.RemovedUnmarked))
	equal(v, "counted pods at the end", e.CountedPodsAtEnd, rep.CountedPodsAtEnd)
	crashes := 0
	for _, h := range rep.HeadEnds {
		if h.WasReady && !h.Asked {
			crashes++
		}
	}
	equal(v, "crashes of a GCS", e.GCSCrashes, crashes)
	e.checkPools(v)
	e.checkCoordinator(v)
	e.checkWaves(v)
	e.checkSteps(v)
	e.checkIdle(v)
	for _, name := range slices.Sorted(maps.Keys(e.RemovedBeforeDriverEnd)) {
		if before, _, ok := v.removedAround(name); ok && before < e.RemovedBeforeDriverEnd[name] {
			v.failf("Machines removed before driver %s ended: %d, want at least %d", name, before, e.RemovedBeforeDriverEnd[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(e.RemovedAfterDriverEnd)) {
		if _, after, ok := v.removedAround(name); ok && after != e.RemovedAfterDriverEnd[name] {
			v.failf("Machines removed after driver %s ended: %d, want %d", name, after, e.RemovedAfterDriverEnd[name])
		}
	}
	return v.failures
}

type verdict struct {
	rep      *report.Report
	failures []string
}

func (v *verdict) failf(format string, args ...any) {
	v.failures = append(v.failures, fmt.Sprintf(format, args...))
}

func equal(v *verdict, what string, want *int, got int) {
	if want != nil && got != *want {
		v.failf("%s: %d, want %d", what, got, *want)
	}
}

func (v *verdict) pool(name string) report.Pool {
	for _, p := range v.rep.Pools {
		if p.Name == name {
			return p
		}
	}
	return report.Pool{Name: name}
}

func (e *Expect) checkPools(v *verdict) {
	for _, name := range slices.Sorted(maps.Keys(e.BoughtPerPool)) {
		if got, want := v.pool(name).Bought, e.BoughtPerPool[name]; got != want {
			v.failf("Machines bought in pool %s: %d, want %d", name, got, want)
		}
	}
	for _, name := range e.NeverBought {
		if p := v.pool(name); p.Bought > 0 || p.Raises > 0 {
			v.failf("pool %s was to be left alone: %d Machines bought, replicas raised %d times", name, p.Bought, p.Raises)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(e.RemovedPerPool)) {
		got := 0
		for _, m := range v.rep.Machines {
			if m.Pool == name && m.DeletingAt != nil && !m.Surplus {
				got++
			}
		}
		if want := e.RemovedPerPool[name]; got != want {
			v.failf("Machines removed from pool %s: %d, want %d", name, got, want)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(e.PatchesPerPool)) {
		if got, want := v.pool(name).Raises, e.PatchesPerPool[name]; got != want {
			v.failf("raises of pool %s: %d, want %d", name, got, want)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(e.MaxReplicasPerPool)) {
		if got, want := v.pool(name).MaxReplicas, e.MaxReplicasPerPool[name]; got > want {
			v.failf("replicas of pool %s reached %d, allowed are %d", name, got, want)
		}
	}
}

// checkCoordinator looks at the process under test.
func (e *Expect) checkCoordinator(v *verdict) {
	c := v.rep.Coordinator
	if c == nil {
		c = &report.Coordinator{}
	}
	for _, reason := range e.DecisionReasons {
		if c.Reasons[reason] == 0 {
			v.failf("no decision had the reason %s; the reasons were %v", reason, slices.Sorted(maps.Keys(c.Reasons)))
		}
	}
	equal(v, "restarts of the coordinator", e.CoordinatorRestarts, c.Restarts)
	if *e.CoordinatorNeverPanics {
		for _, p := range c.Panics {
			v.failf("the coordinator panicked: %s", p)
		}
		for _, x := range c.UnexpectedExits {
			v.failf("the coordinator ended by itself: %s", x)
		}
	}
}

func (e *Expect) checkWaves(v *verdict) {
	judged := 0
	for _, w := range v.rep.Waves {
		if e.DemandToPatchSeconds != nil && w.DemandToPatchSeconds != nil && *w.DemandToPatchSeconds > *e.DemandToPatchSeconds {
			v.failf("the demand of %s visible at %.1f s was patched %.1f s later, allowed are %.1f s", w.RayCluster, w.VisibleAt, *w.DemandToPatchSeconds, *e.DemandToPatchSeconds)
		}
		if !e.VMRequestedBeforePods || w.FirstPodAt == nil || len(w.Raises) == 0 {
			continue
		}
		judged++
		for _, x := range w.Raises {
			if x.At > *w.FirstPodAt {
				v.failf("pool %s was raised at %.2f s, after the first Ray worker pod at %.2f s", x.Pool, x.At, *w.FirstPodAt)
			}
		}
	}
	if e.VMRequestedBeforePods && judged == 0 {
		v.failf("no wave of demand had both a raise and a new Ray worker pod, so the order of the two cannot be judged")
	}
}

// removedAround counts the Machines that were being deleted before a driver
// ended, and those after. It is false if the driver did not end.
func (v *verdict) removedAround(driver string) (before, after int, ok bool) {
	for _, d := range v.rep.Drivers {
		if d.Name != driver || d.EndedAt == nil {
			continue
		}
		for _, m := range v.rep.Machines {
			switch {
			case m.DeletingAt == nil:
			case *m.DeletingAt < *d.EndedAt:
				before++
			default:
				after++
			}
		}
		return before, after, true
	}
	v.failf("driver %s did not end, so the removals around its end cannot be counted", driver)
	return 0, 0, false
}

// checkSteps looks at the steps that the coordinator took.
func (e *Expect) checkSteps(v *verdict) {
	c := v.rep.Coordinator
	if c == nil {
		c = &report.Coordinator{}
	}
	for _, kind := range slices.Sorted(maps.Keys(e.StepsSeen)) {
		if got, want := c.Steps[kind], e.StepsSeen[kind]; got < want {
			v.failf("steps %s: %d, want at least %d", kind, got, want)
		}
	}
	for _, kind := range e.StepsNeverSeen {
		if got := c.Steps[kind]; got > 0 {
			v.failf("steps %s: %d, want none", kind, got)
		}
	}
	if e.StepsDecided {
		for _, text := range c.Undecided {
			v.failf("a step without a reason or a decision: %s", text)
		}
		if len(c.Steps) == 0 {
			v.failf("no step was taken, so its reasons cannot be judged")
		}
	}
	if len(e.RemovedInOrder) == 0 {
		return
	}
	judged := 0
	for _, m := range v.rep.Machines {
		if m.Node == "" || m.DeletingAt == nil || m.Excused {
			continue
		}
		judged++
		if got := c.NodeSteps[m.Node]; !inOrder(got, e.RemovedInOrder) {
			v.failf("node %s went through %v, want %v in this order", m.Node, got, e.RemovedInOrder)
		}
	}
	if judged == 0 {
		v.failf("no node was removed, so the order of its steps cannot be judged")
	}
}

// inOrder tells whether want is a subsequence of got, counted from the end, so
// that a removal that was cancelled before does not matter.
func inOrder(got, want []string) bool {
	i := len(want) - 1
	for _, step := range slices.Backward(got) {
		if i >= 0 && step == want[i] {
			i--
		}
	}
	return i < 0
}

// checkIdle bounds how long idle Machines were kept.
func (e *Expect) checkIdle(v *verdict) {
	if e.IdleToDeletedSeconds == nil {
		return
	}
	judged := 0
	for _, m := range v.rep.Machines {
		if m.IdleToDeletedSeconds == nil || m.Excused {
			continue
		}
		judged++
		if *m.IdleToDeletedSeconds > *e.IdleToDeletedSeconds {
			v.failf("Machine %s was deleted %.1f s after its last work, allowed are %.1f s", m.Name, *m.IdleToDeletedSeconds, *e.IdleToDeletedSeconds)
		}
	}
	if judged == 0 {
		v.failf("no Machine that had worked was deleted, so its idle time cannot be judged")
	}
}
