package planner

import (
	"errors"
	"fmt"
	"slices"
)

// Check tells whether a plan for the snapshot keeps the rules that never
// break. A plan that breaks one is a defect of the planner: the loop drops it
// and raises an alarm. The error joins every violation, each with its rule.
func Check(s Snapshot, plan Plan) error {
	c := checking{p: newPlanning(&s, Memory{}), growing: map[string]bool{}}
	for _, st := range plan.Steps {
		if st.Kind == StepGrow {
			c.growing[st.Group] = true
		}
	}
	for _, st := range plan.Steps {
		c.step(st)
	}
	for _, n := range plan.Nodes {
		c.placement(n)
	}
	c.totals(plan)
	c.hosts(plan)
	return errors.Join(c.errs...)
}

type checking struct {
	p       *planning
	growing map[string]bool
	pods    map[PodRef]*Pod // once somebody has asked
	errs    []error
}

func (c *checking) broken(rule, format string, a ...any) {
	c.errs = append(c.errs, fmt.Errorf("rule %s: %s", rule, fmt.Sprintf(format, a...)))
}

func (c *checking) step(st Step) {
	g := c.p.group[st.Group]
	switch st.Kind {
	case StepGrow:
		c.grow(st, g)
	case StepCordon:
		c.cordon(st)
	case StepDrain:
		c.drain(st)
	case StepShrinkWorkers, StepReplaceWorker:
		c.workers(st)
	case StepEvict:
		c.evict(st)
	case StepReleaseHook:
		c.release(st)
	case StepRemove:
		c.remove(st, g)
	case StepGrowWorkers, StepUncordon, StepUnmark, StepSoftTaint, StepSoftUntaint, StepClearWorkers, StepHook, StepRemember:
	}
}

func (c *checking) grow(st Step, g *groupState) {
	switch {
	case g == nil || !g.Managed || g.Invalid != "" || g.Paused || g.Contested != "":
		c.broken("I2", "growing %s, which is not to be touched", st.Group)
	case st.From != g.Replicas || st.To <= st.From:
		c.broken("I2", "growing %s from %d to %d where it has %d", st.Group, st.From, st.To, g.Replicas)
	case st.To > g.Max:
		c.broken("I2", "growing %s to %d beyond its max size %d", st.Group, st.To, g.Max)
	}
	if u := c.p.unknown(SourceManagement, SourceWorkload, SourceRay); u != "" {
		c.broken("I9", "growing %s while a source is unknown: %s", st.Group, u)
	}
}

func (c *checking) fresh(st Step) {
	if u := c.p.unknown(SourceManagement, SourceWorkload, SourceRay); u != "" {
		c.broken("I9", "%s of %s%s while a source is unknown: %s", st.Kind, st.Group, st.Node, u)
	}
}

func (c *checking) remove(st Step, g *groupState) {
	c.fresh(st)
	switch {
	case g == nil || !g.Managed || g.Invalid != "" || g.Paused || g.RollingOut || g.Contested != "":
		c.broken("I2", "shrinking %s, which is not to be touched", st.Group)
		return
	case st.From != g.Replicas || st.To != st.From-int64(len(st.Machines)):
		c.broken("I2", "shrinking %s from %d to %d by %d Machines where it has %d", st.Group, st.From, st.To, len(st.Machines), g.Replicas)
	case st.To < g.Min:
		c.broken("I2", "shrinking %s to %d below its min size %d", st.Group, st.To, g.Min)
	case c.growing[st.Group]:
		c.broken("I6", "growing and shrinking %s in one plan", st.Group)
	}
	if n := c.p.markedInUse(g); n != nil {
		c.broken("I1", "shrinking %s while Machine %s, which is in use, carries a delete mark", st.Group, n.machine.Key())
	}
	for _, key := range st.Machines {
		m := c.p.machine[key]
		if m == nil || m.Deleting || m.Group != st.Group {
			c.broken("I1", "removing Machine %s, which is unknown, going, or not of %s", key, st.Group)
			continue
		}
		i := slices.IndexFunc(c.p.nodes, func(n *nodeState) bool { return n.Machine == key })
		if i < 0 {
			if m.Node != "" {
				c.broken("I1", "removing Machine %s, whose Node %s is unknown", key, m.Node)
			}
			continue
		}
		if n := c.p.nodes[i]; len(n.pods) > 0 || n.Cordon == nil {
			c.broken("I1", "removing Machine %s, whose Node %s carries %d pods or is not cordoned", key, n.Name, len(n.pods))
		}
	}
}

// placement checks that what is put on a node fits it.
func (c *checking) placement(n NodePlan) {
	room := Resources{}
	if n.Node != "" {
		node := c.p.node[n.Node]
		if node == nil {
			c.broken("I3", "placing pods on unknown node %s", n.Node)
			return
		}
		room = node.Allocatable.Clone()
		for i, v := range node.used {
			room[c.p.names[i]] = max(0, room[c.p.names[i]]-v)
		}
	} else if g := c.p.group[n.Group]; g != nil {
		room = g.Capacity.Clone()
	}
	sum := Resources{}
	for _, pl := range n.Pods {
		sum.Add(pl.Requests.scaled(pl.Count))
	}
	if !sum.FitsIn(room) {
		c.broken("I3", "placing %s on a node of %s%s with room for %s", sum.text(), n.Group, n.Node, room.text())
	}
}
