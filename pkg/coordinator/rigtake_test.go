package coordinator_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tandem-autoscaler/tandem/pkg/coordinator"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

var errCrash = errors.New("the process ends here")

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %s", coordinator.ErrRefused, fmt.Sprintf(format, args...))
}

// twist is what the world does around the first step of a kind, beside what the
// tale tells.
type twist struct {
	kind  planner.StepKind
	taken bool // after it, not before
	do    func(*rig, planner.Step)
}

// verb is the kind of a step, and what tells apart steps of one kind that happen
// for different reasons.
func verb(step planner.Step) string {
	detail := ""
	switch step.Kind { //nolint:exhaustive // the others need no more words
	case planner.StepGrow:
		detail = strings.TrimPrefix(step.Group, "ns/")
	case planner.StepDrain:
		detail = string(step.Drain)
	case planner.StepReleaseHook:
		detail = string(step.Reason)
	case planner.StepRemember:
		detail = strconv.Itoa(len(step.Backoffs))
	}
	return strings.TrimSpace(string(step.Kind) + " " + detail)
}

// Take takes a step as the adapters do.
func (r *rig) Take(_ context.Context, plan planner.Plan, step planner.Step) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dead {
		return errCrash
	}
	r.act()
	r.attempts, r.last = r.attempts+1, time.Now()
	n := len(r.writes) + 1
	if r.before != nil {
		if err := r.before(n); err != nil {
			return err
		}
	}
	w := rigWrite{verb: verb(step), at: time.Now(), tick: r.ticks, attempt: r.attempts}
	disturbed := r.before != nil || r.after != nil
	if !disturbed {
		w.views = r.texts()
	}
	r.blind(step)
	r.twist(step, false)
	if err := r.take(plan, step); err != nil {
		return err
	}
	r.repeats(step)
	r.twist(step, true)
	r.act()
	if !disturbed {
		w.after = r.texts()
	}
	r.writes = append(r.writes, w)
	if r.after != nil {
		return r.after(n)
	}
	return nil
}

// blind fails when something is taken from a cluster of which a source could not be
// read when the tick began (rule I9). What somebody else deletes goes in any case.
func (r *rig) blind(step planner.Step) {
	m := r.machines[step.Node]
	if r.unknown == "" || r.ticks <= r.unknownFrom || m != nil && !m.deleting.IsZero() {
		return
	}
	switch step.Kind { //nolint:exhaustive // the others take nothing away
	case planner.StepCordon, planner.StepDrain, planner.StepEvict, planner.StepShrinkWorkers, planner.StepRemove:
		r.t.Errorf("%s while %s is unknown", verb(step), r.unknown)
	}
}

// repeats fails when one process asks again for what it was granted just now and
// cannot be taken back.
func (r *rig) repeats(step planner.Step) {
	if r.accepted == nil || step.Kind != planner.StepDrain && step.Kind != planner.StepReleaseHook {
		return
	}
	key := fmt.Sprint(step.Kind, step.Drain, step.RayNode, step.Machines)
	if last, ok := r.accepted[key]; ok && time.Since(last) < noRepeat {
		r.t.Errorf("%s of %s %v again after %s", verb(step), step.RayNode, step.Machines, time.Since(last))
	}
	r.accepted[key] = time.Now()
}

func (r *rig) twist(step planner.Step, taken bool) {
	if w := r.tale.twist; w != nil && !r.twisted && w.kind == step.Kind && w.taken == taken {
		r.twisted = true
		w.do(r, step)
	}
}

func (r *rig) take(plan planner.Plan, step planner.Step) error {
	switch step.Kind {
	case planner.StepGrow, planner.StepRemember, planner.StepRemove:
		return r.takeGroup(plan, step)
	case planner.StepDrain:
		return r.drain(step)
	case planner.StepGrowWorkers, planner.StepShrinkWorkers, planner.StepClearWorkers, planner.StepReplaceWorker:
		if r.tale.follow {
			r.t.Errorf("%s touches what is Ray's in follow mode", step.Kind)
		}
		return r.takeWorkers(step)
	case planner.StepEvict:
		return r.evict(step)
	case planner.StepHook, planner.StepReleaseHook, planner.StepUnmark:
		for _, key := range step.Machines {
			if m := r.machines[machineName(key)]; m != nil {
				if err := r.takeMachine(step, machineName(key), m); err != nil {
					return err
				}
			}
		}
	case planner.StepCordon, planner.StepUncordon, planner.StepSoftTaint, planner.StepSoftUntaint:
		if m := r.machines[step.Node]; m != nil {
			return r.takeNode(plan, step, m)
		}
	}
	return nil
}

func machineName(key string) string { return strings.TrimPrefix(key, "ns/") }

func (r *rig) takeGroup(plan planner.Plan, step planner.Step) error {
	i := slices.IndexFunc(r.groups, func(g rigGroup) bool { return "ns/"+g.name == step.Group })
	g := &r.groups[i]
	switch step.Kind { //nolint:exhaustive // the caller tells them apart
	case planner.StepRemember:
		g.rests = step.Backoffs
		return nil
	case planner.StepRemove:
		return r.remove(g, plan, step)
	}
	for _, b := range g.rests {
		if time.Now().Before(b.Until) {
			r.t.Errorf("group %s grows although a note on it says that it rests until %s", g.name, b.Until)
		}
	}
	return move(&g.replicas, step)
}

func move(have *int64, step planner.Step) error {
	if *have != step.From {
		return refused("%d, planned from %d", *have, step.From)
	}
	*have = step.To
	return nil
}

func (r *rig) remove(g *rigGroup, plan planner.Plan, step planner.Step) error {
	going := map[string]bool{}
	for _, key := range step.Machines {
		name := machineName(key)
		going[name] = true
		if m := r.machines[name]; m == nil || m.group != g.name || !m.deleting.IsZero() || m.joined && m.cordon == nil {
			return refused("Machine %s is gone or going, or its Node not cordoned", name)
		}
		if pod := r.podOn(name, func(string, *rigPod) bool { return true }); pod != "" {
			return refused("pod %s is on Node %s", pod, name)
		}
	}
	for name, m := range r.machines {
		if m.group == g.name && m.mark != nil && m.deleting.IsZero() && !going[name] {
			return refused("Machine %s is marked", name)
		}
	}
	if r.alive(g.name) != step.From {
		return refused("%d Machines, planned from %d", r.alive(g.name), step.From)
	}
	if err := move(&g.replicas, step); err != nil {
		return err
	}
	for name := range going {
		r.machines[name].mark = &planner.Mark{PlanID: plan.ID, At: time.Now()}
	}
	return nil
}

// podOn names a pod on a Node for which which holds, or is empty.
func (r *rig) podOn(node string, which func(string, *rigPod) bool) string {
	for name, p := range r.pods {
		if p.node == node && which(name, p) {
			return name
		}
	}
	return ""
}

func names(pods []planner.PodRef, p *rigPod) bool {
	return slices.ContainsFunc(pods, func(ref planner.PodRef) bool { return ref.UID == p.uid })
}

func (r *rig) takeNode(plan planner.Plan, step planner.Step, m *rigMachine) error {
	mark := &planner.Mark{PlanID: plan.ID, At: time.Now()}
	switch step.Kind { //nolint:exhaustive // the caller tells them apart
	case planner.StepCordon:
		pod := r.podOn(step.Node, func(_ string, p *rigPod) bool { return !p.app && !names(step.Pods, p) })
		if pod != "" && m.deleting.IsZero() {
			return refused("pod %s is on Node %s", pod, step.Node)
		}
		if step.Reason == planner.ReasonVacant && time.Since(m.vacant) < vacantHold {
			r.t.Errorf("Node %s, vacant for %s, is cordoned before its hold has passed", step.Node, time.Since(m.vacant))
		}
		if m.cordon == nil {
			m.cordon = mark
		}
	case planner.StepUncordon:
		m.cordon = nil
	case planner.StepSoftTaint:
		m.soft = mark
	case planner.StepSoftUntaint:
		m.soft = nil
	}
	return nil
}

func (r *rig) takeMachine(step planner.Step, name string, m *rigMachine) error {
	switch step.Kind { //nolint:exhaustive // the caller tells them apart
	case planner.StepHook:
		m.hook = m.hook || m.deleting.IsZero() // one that comes during a deletion only confuses
	case planner.StepUnmark:
		switch i := slices.IndexFunc(r.groups, func(g rigGroup) bool { return g.name == m.group }); {
		case m.mark == nil || !m.deleting.IsZero():
			return nil
		case r.alive(m.group) > r.groups[i].replicas:
			return refused("a shrink is under way")
		case time.Since(m.mark.At) < youngMark:
			return refused("%s was marked just now", name)
		}
		m.mark = nil
	case planner.StepReleaseHook:
		if !m.hook {
			return nil
		}
		if m.deleting.IsZero() {
			return refused("Machine %s is not being deleted", name)
		}
		holds := m.joined && !m.release && (m.lost.IsZero() || time.Since(m.lost) <= unreachable)
		if pod := r.podOn(name, func(_ string, p *rigPod) bool { return !p.app && !names(step.Pods, p) }); holds && (m.cordon == nil || pod != "") {
			return refused("Node %s is not cordoned, or carries pod %s", name, pod)
		}
		m.hook = false
	}
	return nil
}

// drain tells a raylet to end. One that is idle does so in the same second; one
// that works refuses to end for idleness, and ends after its work when its Machine
// goes in any case.
func (r *rig) drain(step planner.Step) error {
	p := r.pods[step.Pods[0].Name]
	if p == nil || p.uid != step.Pods[0].UID || p.node != step.Node || r.machines[p.node].cordon == nil {
		return refused("the pod is gone, or its Node not cordoned")
	}
	m := r.machines[p.node]
	preempts := step.Drain == planner.DrainPreemption
	switch {
	case preempts && (m.deleting.IsZero() || !step.DrainBy.Equal(m.deleting.Add(drainDeadline))):
		r.t.Errorf("preempts a Ray node by %s; its Machine is being deleted since %s", step.DrainBy, m.deleting)
	case preempts && p.status == planner.RayNodeRunning:
		p.status = planner.RayNodeDraining
		return nil
	case p.status == planner.RayNodeDraining:
		return nil
	case p.status == planner.RayNodeRunning:
		return fmt.Errorf("%w: %w", coordinator.ErrRefused, coordinator.ErrDrainRefused)
	case !preempts && p.status == planner.RayNodeIdle && time.Since(p.since) < idleTimeout:
		return refused("the Ray node is idle for %s only", time.Since(p.since))
	}
	p.status = planner.RayNodeDead
	return nil
}

func (r *rig) evict(step planner.Step) error {
	if m := r.machines[step.Node]; m == nil || m.cordon == nil {
		return refused("Node %s is gone or not cordoned", step.Node)
	}
	for _, ref := range step.Pods {
		switch p := r.pods[ref.Name]; {
		case p == nil || p.uid != ref.UID:
		case !p.app || p.node != step.Node:
			return refused("pod %s is Ray's, or elsewhere", ref.Name)
		case r.guarded:
			return refused("a disruption budget holds pod %s", ref.Name)
		default:
			delete(r.pods, ref.Name)
		}
	}
	return nil
}

func (r *rig) takeWorkers(step planner.Step) error {
	switch step.Kind { //nolint:exhaustive // the caller tells them apart
	case planner.StepGrowWorkers:
		return move(&r.workers, step)
	case planner.StepShrinkWorkers:
		return r.shrinkWorkers(step)
	case planner.StepClearWorkers:
		for _, p := range step.Pods {
			if r.pods[p.Name] != nil {
				return refused("pod %s is there", p.Name)
			}
			r.named = slices.DeleteFunc(r.named, func(n string) bool { return n == p.Name })
		}
	case planner.StepReplaceWorker:
		if p := r.pods[step.Pods[0].Name]; p == nil || p.status != planner.RayNodeDead {
			return refused("pod %s is gone or works", step.Pods[0].Name)
		}
		r.end(step.Pods[0].Name, "was replaced")
	}
	return nil
}

func (r *rig) shrinkWorkers(step planner.Step) error {
	for _, ref := range step.Pods {
		if p := r.pods[ref.Name]; p == nil || p.uid != ref.UID || p.node != "" && p.status != planner.RayNodeDead {
			return refused("pod %s is gone or may work", ref.Name)
		}
	}
	if r.workers != step.From || step.To != step.From-int64(len(step.Pods)) {
		return refused("%d replicas, planned from %d to %d", r.workers, step.From, step.To)
	}
	r.workers = step.To
	for _, ref := range step.Pods {
		r.named = append(r.named, ref.Name)
	}
	return nil
}
