package planner

import (
	"fmt"
	"time"
)

// Jump is a jump of the clock between two plans.
type Jump struct {
	At time.Time `json:"at"`
	By Duration  `json:"by"`
}

// jumpAfter is how far apart two plans may be before the clock counts as having
// jumped, unless plans are always that far apart.
const jumpAfter = time.Minute

// watchClock finds out whether the clock has jumped since the last plan: then
// no timer counts in this one, and Machines that were booting get the missing
// time back. It also finds out whether too many nodes are not ready.
func (p *planning) watchClock() {
	p.next.At = p.s.At
	p.next.Jump = p.mem.Jump
	if d := time.Duration(p.s.Policy.ProvisionDeadline); p.s.At.Sub(p.next.Jump.At) > d {
		p.next.Jump = Jump{}
	}
	if last := p.mem.At; !last.IsZero() {
		gap := p.s.At.Sub(last)
		p.next.Gap = Duration(max(gap, 0))
		switch limit := max(jumpAfter, 3*time.Duration(p.mem.Gap)); {
		case gap < 0:
			p.frozen = fmt.Sprintf("the clock went back by %s", -gap)
		case gap > limit:
			p.frozen = fmt.Sprintf("the clock went on by %s between two rounds", gap.Round(time.Second))
			p.next.Jump = Jump{At: p.s.At, By: addDuration(p.next.Jump.By, gap)}
		}
	}
	p.watchNodes()
}

func addDuration(a Duration, b time.Duration) Duration {
	return Duration(addSat(int64(a), int64(b)))
}

// age of something that was made at t, without the time that a jump of the
// clock added.
func (p *planning) age(t time.Time) time.Duration {
	d := p.s.At.Sub(t)
	if j := p.next.Jump; t.Before(j.At) {
		d -= time.Duration(j.By)
	}
	return d
}

// watchNodes counts nodes that should be ready and are not. Those that are
// still booting, or on their way out, are no sign of trouble.
func (p *planning) watchNodes() {
	pol := p.s.Policy
	if pol.MaxUnreadyPercent <= 0 {
		return
	}
	var unready, all int64
	for _, n := range p.nodes {
		if n.machine != nil && (n.machine.Deleting || !n.Ready && !p.overdue(n.machine)) {
			continue
		}
		all++
		if !n.Ready {
			unready++
		}
	}
	if unready > pol.OKUnready && mulSat(unready, 100) > mulSat(pol.MaxUnreadyPercent, all) {
		p.unhealthy = fmt.Sprintf("%d of %d nodes are not ready", unready, all)
	}
}
