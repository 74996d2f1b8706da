package planner

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// fail notes the rests that the group earned itself: what is remembered and
// what an earlier coordinator wrote on the object, the longer of both, and a
// longer one for every Machine that failed since. Kinds rest apart.
func (p *planning) fail(g *groupState) {
	rests := map[FailureKind]Backoff{}
	for _, list := range [][]Backoff{p.mem.Failures[g.UID], g.Backoffs} {
		for _, b := range list {
			if old, ok := rests[b.Kind]; !ok || b.Until.After(old.Until) {
				rests[b.Kind] = b
			}
		}
	}
	longest := time.Duration(p.s.Policy.BackoffMax)
	for _, m := range slices.Concat(g.failed, g.broken) {
		k := p.failureKind(m)
		b, had := rests[k]
		if had && b.Machine == m.UID && (p.s.At.Before(b.Until) || p.frozen != "") {
			continue
		}
		last := time.Duration(p.s.Policy.BackoffInitial)
		switch {
		case had && b.Machine == m.UID:
			last = max(last, time.Duration(b.Last))
		case had:
			last = max(last, time.Duration(addDuration(b.Last, time.Duration(b.Last))))
		}
		last = min(last, max(longest, time.Duration(p.s.Policy.BackoffInitial)))
		rests[k] = Backoff{Kind: k, Until: p.s.At.Add(last), Last: Duration(last), Machine: m.UID, Why: p.failure(m)}
	}
	for _, b := range rests {
		if p.s.At.Before(b.Until.Add(longest)) && p.s.At.Add(longest).Add(time.Hour).After(b.Until) {
			g.rests = append(g.rests, b)
		}
	}
	slices.SortFunc(g.rests, func(a, b Backoff) int { return cmp.Compare(a.Kind, b.Kind) })
	if len(g.rests) > 0 {
		p.next.Failures[g.UID] = g.rests
	}
}

func (p *planning) failureKind(m *Machine) FailureKind {
	switch {
	case m.FailureKind != "":
		return m.FailureKind
	case m.Node != "":
		return FailureNoGPU
	case m.Failure == "":
		return FailureNeverJoined
	}
	return FailureOther
}

// backOff finds the longest rest that concerns the group: its own, or one of a
// group of the same class where the failure is not the group's alone.
func (p *planning) backOff(g *groupState) {
	for _, o := range p.groups {
		for _, b := range o.rests {
			if o.concerns(g, b.Kind) && b.Until.After(p.next.Backoff[g.UID].Until) {
				p.next.Backoff[g.UID] = b
			}
		}
	}
}

// concerns tells whether a failure of one kind in o keeps g from growing too.
func (o *groupState) concerns(g *groupState, k FailureKind) bool {
	if o == g {
		return true
	}
	if o.Class == "" || o.Class != g.Class {
		return false
	}
	switch k { //nolint:exhaustive // the others concern one group
	case FailureClass, FailureImage:
		return true
	case FailureQuota:
		return o.Namespace == g.Namespace
	case FailureNoCapacity:
		return o.Zone == g.Zone
	}
	return false
}

// remember writes the rests on the object when they differ from what is there.
func (p *planning) remember() {
	if p.unknown(SourceManagement) != "" {
		return
	}
	for _, g := range p.groups {
		old := slices.Clone(g.Backoffs)
		slices.SortFunc(old, func(a, b Backoff) int { return cmp.Compare(a.Kind, b.Kind) })
		same := slices.EqualFunc(old, g.rests, func(a, b Backoff) bool {
			return a.Kind == b.Kind && a.Machine == b.Machine && a.Last == b.Last && a.Until.Truncate(time.Second).Equal(b.Until.Truncate(time.Second))
		})
		if !g.Managed || g.Paused || g.contested() != "" || same {
			continue
		}
		p.steps = append(p.steps, Step{Kind: StepRemember, Group: g.Key(), Backoffs: g.rests, Reason: ReasonRemember})
	}
}

// mismatch compares real nodes with the template of the group, and plans with
// what the smallest of them has.
func (p *planning) mismatch(g *groupState) {
	if g.CapacityFrom != "class" && g.CapacityFrom != "annotation" || len(g.Capacity) == 0 {
		return
	}
	for _, m := range g.machines {
		n := p.readyNode(m)
		if n == nil {
			continue
		}
		for _, r := range g.Capacity.Names() {
			if have := n.Allocatable[r]; have < g.Capacity[r] {
				if g.mismatch == "" {
					own := *g.NodeGroup
					own.Capacity = g.Capacity.Clone()
					g.NodeGroup = &own
					g.mismatch = fmt.Sprintf("node %s has %s, the %s says %s", n.Name, n.Allocatable.text(), g.CapacityFrom, g.Capacity.text())
				}
				g.Capacity[r] = have
			}
		}
	}
}

// Attempt counts how often growth was tried for the pods that waited longest.
type Attempt struct {
	Tries int64     `json:"tries"`
	At    time.Time `json:"at"`
}

// attemptApart is how far apart two purchases for one pod must be to count as
// two attempts: a step that is refused is planned again at once.
const attemptApart = 30 * time.Second

// waits notes that a pod waits; the first of equal ones counts the attempts.
func (p *planning) waits(demand string, s *shape, uid string) {
	k := kind{demand, s}
	if p.oldest[k] == "" && uid != "" {
		p.oldest[k] = uid
		p.waiting[uid] = true
	}
}

// ineffective tells whether growth was tried often enough for these pods.
func (p *planning) ineffective(demand string, s *shape) bool {
	k, uid := p.s.Policy.MaxAttempts, p.oldest[kind{demand, s}]
	return k > 0 && uid != "" && p.mem.Attempts[uid].Tries >= k
}

// placeWaiting places pods that wait already; for those that growth does not
// help nothing more is bought.
func (p *planning) placeWaiting(s *shape, demand string, n int64) int64 {
	if p.ineffective(demand, s) {
		return p.fill(s, demand, n)
	}
	return p.place(s, demand, n)
}

// attempts remembers for which pods Machines are bought now, and how often that
// was.
func (p *planning) attempts() {
	for uid, a := range p.mem.Attempts {
		if p.waiting[uid] {
			p.next.Attempts[uid] = a
		}
	}
	for _, b := range p.fresh {
		for _, pl := range b.placed {
			uid := p.oldest[kind{pl.demand, pl.shape}]
			if uid == "" || !strings.HasPrefix(pl.demand, "pod") {
				continue
			}
			if a := p.next.Attempts[uid]; a.Tries == 0 || p.s.At.Sub(a.At) >= attemptApart {
				p.next.Attempts[uid] = Attempt{Tries: a.Tries + 1, At: p.s.At}
			}
		}
	}
}

// cancelComing takes Machines back that have not joined and that nothing wants
// any more, the youngest first.
func (p *planning) cancelComing(g *groupState, budget *removal) {
	var surplus int64
	for _, b := range p.bins {
		if b.group == g && b.kind == binComing && len(b.placed) == 0 {
			surplus += b.count
		}
	}
	if surplus == 0 || g.growth() > 0 || g.spare <= 0 || g.UID == "" {
		return
	}
	since, ok := p.mem.Unwanted[g.UID]
	if !ok || since.After(p.s.At) || p.frozen != "" {
		since = p.s.At
	}
	p.next.Unwanted[g.UID] = since
	if g.hold != nil || p.s.At.Sub(since) < time.Duration(p.s.Policy.VacantHold) {
		return
	}
	var unjoined []*Machine
	for _, m := range g.machines {
		if m.Node == "" && !m.Deleting && m.Failure == "" && !p.overdue(m) && !p.hopeless(m) && !m.ForeignMark {
			unjoined = append(unjoined, m)
		}
	}
	slices.SortStableFunc(unjoined, func(a, b *Machine) int { return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.Name, b.Name)) })
	for _, m := range unjoined {
		if surplus == 0 || g.spare <= 0 || budget.machines <= 0 {
			return
		}
		surplus--
		g.spare--
		budget.machines--
		g.remove = append(g.remove, m.Key())
		g.removeFor = ReasonCancelled
		p.decideForeign(m, OutcomeShrink, ReasonCancelled, "has not joined, and nothing wants it any more")
	}
}
