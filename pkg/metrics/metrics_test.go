package metrics

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// values reads every sample of the gauges and counters as "name{label=value}".
func values(t require.TestingT, g prometheus.Gatherer) map[string]float64 {
	families, err := g.Gather()
	require.NoError(t, err)
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := make([]string, 0, len(m.GetLabel()))
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			key := strings.TrimPrefix(f.GetName(), "tandem_") + "{" + strings.Join(labels, ",") + "}"
			switch {
			case m.GetGauge() != nil:
				out[key] = m.GetGauge().GetValue()
			case m.GetCounter() != nil:
				out[key] = m.GetCounter().GetValue()
			case m.GetHistogram() != nil:
				out[key] = float64(m.GetHistogram().GetSampleCount())
				out["sum:"+key] = m.GetHistogram().GetSampleSum()
			}
		}
	}
	return out
}

func TestMetricsOfOneTick(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	m := New(r, Options{Version: "v1", Revision: "abc"})
	m.Record(busy())
	got := values(t, r)
	for key, want := range map[string]float64{
		"demand_units{resource=CPU}":                            4.75,
		"demand_units{resource=GPU}":                            5,
		"demand_units{resource=memory}":                         4 << 30,
		"demand_units{resource=custom}":                         6,
		"unmet_demand_units{reason=DoesNotFit,resource=custom}": 6,
		"gangs_pending{}":                                       2,
		"node_group_min{node_group=default/cpu}":                1,
		"node_group_max{node_group=default/gpu}":                8,
		"node_group_target{node_group=default/gpu}":             3,
		"node_group_replicas{node_group=default/gpu}":           1,
		"node_group_ready{node_group=default/cpu}":              1,
		"node_group_coming{node_group=default/gpu}":             1,
		"node_group_backoff{node_group=default/gpu}":            0,
		"node_group_backoff{node_group=default/cpu}":            1,
		"decisions_total{kind=NodeGroup,reason=Demand}":         1,
		"decisions_total{kind=Demand,reason=DoesNotFit}":        1,
		"steps_total{result=done,step=Grow}":                    1,
		"steps_total{result=failed,step=Remove}":                0,
		"source_age_seconds{source=gcs}":                        30,
		"source_known{source=gcs}":                              0,
		"sources_unknown{source=gcs}":                           1,
		"source_known{source=management}":                       1,
		"source_errors_total{source=gcs}":                       1,
		"source_errors_total{source=workload}":                  0,
		"sum:plan_duration_seconds{}":                           0.005,
		"sum:phase_duration_seconds{phase=observe}":             0.02,
		"sum:tick_duration_seconds{}":                           0.04,
		"sum:demand_to_patch_seconds{}":                         0.9,
		"last_tick_timestamp_seconds{}":                         float64(start.Unix()),
		"safe_to_act{}":                                         1,
		"leader{}":                                              1,
		"plan_cost{}":                                           2.5,
		"plan_bound{}":                                          2,
		"plan_violations_total{}":                               0,
		"config_reload_success{}":                               1,
	} {
		if v, ok := got[key]; assert.True(t, ok, "no %s in %v", key, got) {
			assert.InDelta(t, want, v, 1e-9, key)
		}
	}
	problems, err := testutil.GatherAndLint(r)
	require.NoError(t, err)
	assert.Empty(t, problems)
}

func TestDecisionsAreCountedOnce(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	m := New(r, Options{})
	for range 3 {
		m.Record(busy())
	}
	changed := busy()
	changed.Plan.Decisions[0].To = 4
	m.Record(changed)
	got := values(t, r)
	assert.InDelta(t, 2, got["decisions_total{kind=NodeGroup,reason=Demand}"], 0)
	assert.InDelta(t, 1, got["decisions_total{kind=NodeGroup,reason=InUse}"], 0)
	assert.InDelta(t, 4, got["steps_total{result=done,step=Grow}"], 0)
}

func TestStaleSeriesGo(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	m := New(r, Options{})
	m.Record(busy())
	require.Contains(t, values(t, r), "node_group_target{node_group=default/gpu}")
	next := busy()
	next.Plan.Groups = next.Plan.Groups[1:]
	next.Plan.Decisions = nil
	next.Snapshot.Sources = nil
	m.Record(next)
	for key := range values(t, r) {
		assert.NotContains(t, key, "default/gpu")
		assert.False(t, strings.HasPrefix(key, "unmet_demand"), key)
		assert.False(t, strings.HasPrefix(key, "source_known"), key)
	}
}

func TestGroupListedTwice(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	m := New(r, Options{})
	tick := busy()
	tick.Plan.Groups = append(tick.Plan.Groups, tick.Plan.Groups...)
	m.Record(tick)
	assert.InDelta(t, 3, values(t, r)["node_group_target{node_group=default/gpu}"], 0)
}

func TestProvisionDuration(t *testing.T) {
	const key = "provision_duration_seconds{vm_class=gpu-large}"
	r := prometheus.NewPedanticRegistry()
	m := New(r, Options{})
	ready := func(after time.Duration) Tick {
		tick := busy()
		tick.At = start.Add(after)
		tick.Snapshot.Machines[0].Node = "n2"
		tick.Snapshot.Nodes = append(tick.Snapshot.Nodes, planner.Node{Name: "n2", Ready: true})
		return tick
	}
	m.Record(busy())
	blind := ready(20 * time.Second)
	blind.Snapshot.Sources[3].Known = false
	m.Record(blind)
	assert.NotContains(t, values(t, r), key, "a tick that does not know the nodes counts nothing")
	unready := ready(25 * time.Second)
	unready.Snapshot.Nodes[1].Ready = false
	m.Record(unready)
	assert.NotContains(t, values(t, r), key)
	for i := range 3 {
		m.Record(ready(time.Duration(30+i) * time.Second))
	}
	got := values(t, r)
	assert.InDelta(t, 1, got[key], 0)
	assert.InDelta(t, 120, got["sum:"+key], 1e-9)
	assert.NotContains(t, got, "provision_duration_seconds{vm_class=cpu-small}", "that one was there from the start")
}

func TestRemovalAndViolation(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	m := New(r, Options{Cluster: "c1"})
	step := planner.Step{Kind: planner.StepRemove, Machines: []string{"a/1", "a/2"}, Reason: planner.ReasonVacant}
	m.Record(Tick{At: start, Violation: "I1", Results: []StepResult{{Step: step, Outcome: Done}, {Step: step, Outcome: Refused}, {Step: planner.Step{Kind: "Explode"}, Outcome: "maybe"}}})
	m.ConfigReload(false)
	got := values(t, r)
	assert.InDelta(t, 2, got["machines_removed_total{cluster=c1,reason=Vacant}"], 0)
	assert.InDelta(t, 1, got["steps_total{cluster=c1,result=refused,step=Remove}"], 0)
	assert.InDelta(t, 1, got["steps_total{cluster=c1,result=other,step=other}"], 0)
	assert.InDelta(t, 1, got["plan_violations_total{cluster=c1}"], 0)
	assert.InDelta(t, 0, got["config_reload_success{cluster=c1}"], 0)
	assert.InDelta(t, 0, got["leader{cluster=c1}"], 0)
}

// However many tenants there are and whatever they call things, the number of
// series stays within what the closed lists allow.
//
// Fault 9: ten thousand tenants with names of their own make no series of their own.
// Fault 8: nor do names with newlines, quotes or bytes that are no text.
func TestSeriesAreBounded(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	m := New(r, Options{})
	tick := busy()
	for i := range 10_000 {
		name := fmt.Sprintf("tenant-%d\n\"\xff", i)
		tick.Snapshot.RayClusters = append(tick.Snapshot.RayClusters, planner.RayCluster{
			Namespace: name, Name: name, DemandKnown: true,
			Requests: []planner.Request{{Resources: planner.Resources{"res-" + name: 10000}, Count: 1}},
			Gangs:    []planner.Gang{{ID: name, Options: []planner.GangOption{{Bundles: []planner.Bundle{{Resources: planner.Resources{"\xff" + name: 1}}}}}}},
		})
		tick.Snapshot.Sources = append(tick.Snapshot.Sources, planner.Source{Kind: planner.SourceGCS, Name: name, Error: name})
		tick.Plan.Decisions = append(tick.Plan.Decisions, planner.Decision{
			Kind: planner.SubjectKind(name), Subject: name, RayCluster: name, Outcome: planner.OutcomeUnmet, Reason: planner.Reason(name), Demand: planner.Resources{name: 10000},
		})
		tick.Results = append(tick.Results, StepResult{Step: planner.Step{Kind: planner.StepRemove, RayCluster: name, WorkerGroup: name, Machines: []string{name}, Reason: planner.Reason(name)}, Outcome: Done, Error: name})
		tick.Results = append(tick.Results, StepResult{Step: planner.Step{Kind: planner.StepDrain, RayCluster: name, Drain: planner.DrainReason(name)}, Outcome: Done})
		tick.Plan.Decisions = append(tick.Plan.Decisions, planner.Decision{Kind: planner.SubjectNode, Subject: name, Outcome: planner.OutcomeHold, Reason: planner.Reason(name)})
	}
	m.Record(tick)
	got := values(t, r)
	assert.Less(t, len(got), 170)
	for key := range got {
		assert.NotContains(t, key, "tenant")
	}
	assert.InDelta(t, 10_006, got["demand_units{resource=custom}"], 2)
	assert.InDelta(t, 10_000, got["unmet_demand_units{reason=other,resource=custom}"], 0)
	assert.InDelta(t, 10_000, got["machines_removed_total{reason=other}"], 0)
}

// Any tick makes a scrape that works.
func TestAnyTickCanBeScraped(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	m := New(r, Options{})
	text := rapid.String()
	rapid.Check(t, func(t *rapid.T) {
		tick := busy()
		tick.Plan.Decisions = rapid.SliceOf(rapid.Custom(func(t *rapid.T) planner.Decision {
			return planner.Decision{
				Kind: planner.SubjectKind(text.Draw(t, "kind")), Outcome: planner.OutcomeUnmet, Reason: planner.Reason(text.Draw(t, "reason")),
				Demand: planner.Resources{text.Draw(t, "resource"): rapid.Int64().Draw(t, "amount")}, Count: rapid.Int64().Draw(t, "count"),
			}
		})).Draw(t, "decisions")
		tick.Duration = time.Duration(rapid.Int64().Draw(t, "duration"))
		tick.Phases = map[Phase]time.Duration{Phase(text.Draw(t, "phase")): tick.Duration}
		m.Record(tick)
		values(t, r)
	})
}

// Every series is documented, and every documented series exists.
func TestSeriesAreThoseOfTheTable(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	m := New(r, Options{})
	tick := busy()
	tick.Plan.Decisions = append(tick.Plan.Decisions, planner.Decision{Kind: planner.SubjectNode, Subject: "n1", Outcome: planner.OutcomeHold, Reason: planner.ReasonBlockingPod})
	m.Record(tick)
	tick.At = start.Add(time.Minute)
	tick.Snapshot.Machines[0].Node = "n1"
	m.Record(tick)
	families, err := r.Gather()
	require.NoError(t, err)
	all := seriesOf()
	for _, f := range families {
		s, ok := all[strings.TrimPrefix(f.GetName(), "tandem_")]
		if !assert.True(t, ok, "%s is not documented", f.GetName()) {
			continue
		}
		delete(all, s.name)
		assert.Equal(t, s.help, f.GetHelp())
		assert.Equal(t, s.kind, strings.ToLower(f.GetType().String()), s.name)
		labels := make([]string, 0, len(s.labels))
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		assert.ElementsMatch(t, s.labels, labels, s.name)
	}
	assert.Empty(t, all, "documented, but not there")
}
