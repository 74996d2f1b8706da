package metrics

import (
	"cmp"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// stateSeries lists the gauges that are made anew of every tick.
func stateSeries() []string {
	return []string{
		demandUnits, unmetDemandUnits, gangsPending,
		groupMin, groupMax, groupTarget, groupReplicas, groupReady, groupComing, groupBackoff,
		lastTick, sourceAge, sourceKnown, sourcesUnknown, safeToAct, leader, planCost, planBound, unremovableNodes,
	}
}

// Describe sends the gauges of the last tick. It is a part of
// [prometheus.Collector].
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range m.descs {
		ch <- d
	}
}

// Collect sends the gauges of the last tick; before the first there are none.
// It is a part of [prometheus.Collector].
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	if p := m.gauges.Load(); p != nil {
		for _, g := range *p {
			ch <- g
		}
	}
}

// state renders a tick as gauges.
func (m *Metrics) state(t *Tick) []prometheus.Metric {
	var out []prometheus.Metric
	set := func(name string, value float64, labels ...string) {
		g, err := prometheus.NewConstMetric(m.descs[name], prometheus.GaugeValue, value, labels...)
		if err != nil {
			g = prometheus.NewInvalidMetric(m.descs[name], err) // the scrape tells
		}
		out = append(out, g)
	}
	set(lastTick, float64(t.At.UnixNano())/1e9)
	set(safeToAct, truth(t.SafeToAct))
	set(leader, truth(t.Leader))
	set(planCost, float64(t.Plan.Cost)/1e6)
	set(planBound, float64(t.Plan.Bound)/1e6)

	demand, gangs := demandOf(&t.Snapshot)
	set(gangsPending, float64(gangs))
	for name, v := range demand {
		set(demandUnits, v, name)
	}
	for k, v := range m.unmetOf(&t.Plan) {
		set(unmetDemandUnits, v, k.resource, k.reason)
	}
	for reason, n := range m.unremovable(&t.Plan) {
		set(unremovableNodes, float64(n), reason)
	}
	resting := restingGroups(t)
	for _, g := range uniqueGroups(t.Plan.Groups) {
		set(groupMin, float64(g.Min), g.Group)
		set(groupMax, float64(g.Max), g.Group)
		set(groupTarget, float64(g.Target), g.Group)
		set(groupReplicas, float64(g.Replicas), g.Group)
		set(groupReady, float64(g.Ready), g.Group)
		set(groupComing, float64(g.Coming), g.Group)
		set(groupBackoff, truth(resting[g.Group]), g.Group)
	}
	for kind, s := range sourcesOf(t.Snapshot.Sources) {
		set(sourceAge, s.age, kind)
		set(sourceKnown, truth(s.unknown == 0), kind)
		set(sourcesUnknown, s.unknown, kind)
	}
	return out
}

// uniqueGroups keeps the first target of each group: two gauges of one name
// would make the whole scrape fail.
func uniqueGroups(groups []planner.GroupTarget) []planner.GroupTarget {
	byName := func(a, b planner.GroupTarget) int { return cmp.Compare(a.Group, b.Group) }
	sorted := slices.SortedStableFunc(slices.Values(groups), byName)
	return slices.CompactFunc(sorted, func(a, b planner.GroupTarget) bool { return a.Group == b.Group })
}

// demandOf sums what waits: requests and gangs of RayClusters whose demand is
// known, by the first option of each gang, and unbound pods that no RayCluster
// with a demand of its own has made.
func demandOf(s *planner.Snapshot) (sums map[string]float64, gangs int) {
	sums = map[string]float64{planner.ResourceCPU: 0, planner.ResourceMemory: 0, planner.ResourceGPU: 0, custom: 0}
	add := func(r planner.Resources, count int64) {
		for name, amount := range r {
			sums[resourceLabel(name)] += units(name, amount) * float64(count)
		}
	}
	planned := map[string]bool{}
	for i := range s.RayClusters {
		c := &s.RayClusters[i]
		planned[c.Key()] = c.Mode != planner.ModeOff
		if !c.DemandKnown {
			continue
		}
		for _, r := range c.Requests {
			add(r.Resources, r.Count)
		}
		gangs += len(c.Gangs)
		for _, g := range c.Gangs {
			if len(g.Options) == 0 {
				continue
			}
			for _, b := range g.Options[0].Bundles {
				add(b.Resources, 1)
			}
		}
	}
	for i := range s.Pods {
		if p := &s.Pods[i]; p.Node == "" && !p.Terminating && !p.DaemonSet && !planned[p.RayCluster] {
			add(p.Shape.Requests, 1)
		}
	}
	return sums, gangs
}

type unmetKey struct{ resource, reason string }

// unmetOf sums the unmet demand of a plan.
func (m *Metrics) unmetOf(p *planner.Plan) map[unmetKey]float64 {
	sums := map[unmetKey]float64{}
	for i := range p.Decisions {
		d := &p.Decisions[i]
		if d.Outcome != planner.OutcomeUnmet {
			continue
		}
		for name, amount := range d.Demand {
			sums[unmetKey{resourceLabel(name), m.reasons.label(d.Reason)}] += units(name, amount) * float64(max(1, d.Count))
		}
	}
	return sums
}

// restingGroups are those in back-off at the time of the tick.
func restingGroups(t *Tick) map[string]bool {
	resting := map[string]bool{}
	for i := range t.Snapshot.NodeGroups {
		g := &t.Snapshot.NodeGroups[i]
		if b, ok := t.Memory.Backoff[g.UID]; ok && b.Until.After(t.At) {
			resting[g.Key()] = true
		}
	}
	return resting
}

// sourceState sums up the sources of one kind.
type sourceState struct {
	age, unknown float64
}

func sourcesOf(list []planner.Source) map[string]sourceState {
	byKind := map[string]sourceState{}
	for _, s := range list {
		kind := sourceLabel(s.Kind)
		st := byKind[kind]
		st.age = max(st.age, float64(s.Age)/1e9)
		if !s.Known {
			st.unknown++
		}
		byKind[kind] = st
	}
	return byKind
}
