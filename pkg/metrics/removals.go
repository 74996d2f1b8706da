package metrics

import (
	"time"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// removalPhase is where a node stands on its way out, as far as a snapshot shows.
type removalPhase string

// The phases of a removal, in their order.
const (
	removalDrain  removalPhase = "drain"  // cordoned, and Ray pods are on it
	removalEvict  removalPhase = "evict"  // cordoned, and only other pods are on it
	removalVacant removalPhase = "vacant" // cordoned and empty
	removalDelete removalPhase = "delete" // its Machine is marked or being deleted
)

func removalPhases() []removalPhase {
	return []removalPhase{removalDrain, removalEvict, removalVacant, removalDelete}
}

// removals measures how long nodes stay in each phase of their removal. The zero
// value has seen none: what was on its way before a restart is measured from then.
type removals struct {
	nodes map[string]standing // by UID
}

type standing struct {
	phase removalPhase
	since time.Time
}

// spent is a phase that a node has left for a later one, or by going.
type spent struct {
	phase removalPhase
	took  time.Duration
}

// next takes a tick and returns the phases that ended. One that a cancelled
// removal leaves is not among them. A tick that does not know all of Machines and
// Nodes is passed over.
func (r *removals) next(t *Tick) []spent {
	for _, s := range t.Snapshot.Sources {
		if !s.Known && (s.Kind == planner.SourceManagement || s.Kind == planner.SourceWorkload) {
			return nil
		}
	}
	now, present := standings(t)
	var out []spent
	leaves := func(was standing) {
		if took := t.At.Sub(was.since); took >= 0 {
			out = append(out, spent{was.phase, took})
		}
	}
	for uid, was := range r.nodes {
		is, underway := now[uid]
		switch {
		case underway && is == was.phase:
			continue
		case underway, !present[uid]:
			leaves(was)
		}
	}
	next := make(map[string]standing, len(now))
	for uid, phase := range now {
		next[uid] = standing{phase, t.At}
		if was, ok := r.nodes[uid]; ok && was.phase == phase {
			next[uid] = was
		}
	}
	r.nodes = next
	return out
}

// standings tells the phase of every node that is on its way out, by UID, and
// which nodes there are.
func standings(t *Tick) (phases map[string]removalPhase, present map[string]bool) {
	going := map[string]bool{}
	for i := range t.Snapshot.Machines {
		m := &t.Snapshot.Machines[i]
		going[m.Key()] = m.Deleting || m.Mark != nil
	}
	ray, others := map[string]bool{}, map[string]bool{}
	for i := range t.Snapshot.Pods {
		switch p := &t.Snapshot.Pods[i]; {
		case p.Node == "" || p.DaemonSet:
		case p.RayCluster != "":
			ray[p.Node] = true
		default:
			others[p.Node] = true
		}
	}
	phases, present = map[string]removalPhase{}, map[string]bool{}
	for i := range t.Snapshot.Nodes {
		n := &t.Snapshot.Nodes[i]
		present[n.UID] = true
		switch {
		case n.Cordon == nil:
		case ray[n.Name]:
			phases[n.UID] = removalDrain
		case others[n.Name]:
			phases[n.UID] = removalEvict
		case going[n.Machine]:
			phases[n.UID] = removalDelete
		default:
			phases[n.UID] = removalVacant
		}
	}
	return phases, present
}

// unremovable counts the nodes that are kept, by the reason.
func (m *Metrics) unremovable(p *planner.Plan) map[string]int {
	out := map[string]int{}
	for i := range p.Decisions {
		d := &p.Decisions[i]
		if d.Kind == planner.SubjectNode && (d.Outcome == planner.OutcomeHold || d.Outcome == planner.OutcomeCancel) {
			out[m.reasons.label(d.Reason)]++
		}
	}
	return out
}

// Results of drains, as a label.
const (
	drainAccepted = "accepted"
	drainRefused  = "refused" // by the Ray node
)

func drainReasons() []planner.DrainReason {
	return []planner.DrainReason{planner.DrainIdle, planner.DrainPreemption}
}

func drainReasonLabel(r planner.DrainReason) string {
	switch r {
	case planner.DrainIdle, planner.DrainPreemption:
		return string(r)
	}
	return other
}

// drain counts a drain that the Ray node was asked for. One that was not asked
// for, because its precondition did not hold, is among the steps alone.
func (m *Metrics) drain(r *StepResult) {
	switch {
	case r.Step.Kind != planner.StepDrain:
	case r.Outcome == Done:
		m.drains.WithLabelValues(drainReasonLabel(r.Step.Drain), drainAccepted).Inc()
	case r.DrainRefused:
		m.drains.WithLabelValues(drainReasonLabel(r.Step.Drain), drainRefused).Inc()
	}
}
