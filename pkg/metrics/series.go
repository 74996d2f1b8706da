package metrics

import "github.com/prometheus/client_golang/prometheus"

// namespace is the prefix of every series.
const namespace = "tandem"

// The types of series.
const (
	counter   = "counter"
	gauge     = "gauge"
	histogram = "histogram"
)

// series is one documented series. Every series of this package is in
// [seriesOf], and docs/metrics.md is made of it.
type series struct {
	name   string // without the prefix
	kind   string
	help   string
	labels []string
}

func (s series) fullName() string { return prometheus.BuildFQName(namespace, "", s.name) }

func (s series) desc() *prometheus.Desc {
	return prometheus.NewDesc(s.fullName(), s.help, s.labels, nil)
}

// The names of the series, without the prefix.
const (
	demandUnits      = "demand_units"
	unmetDemandUnits = "unmet_demand_units"
	gangsPending     = "gangs_pending"

	groupMin      = "node_group_min"
	groupMax      = "node_group_max"
	groupTarget   = "node_group_target"
	groupReplicas = "node_group_replicas"
	groupReady    = "node_group_ready"
	groupComing   = "node_group_coming"
	groupBackoff  = "node_group_backoff"

	decisionsTotal   = "decisions_total"
	stepsTotal       = "steps_total"
	violationsTotal  = "plan_violations_total"
	machinesRemoved  = "machines_removed_total"
	drainsTotal      = "drains_total"
	removalSeconds   = "removal_phase_duration_seconds"
	unremovableNodes = "unremovable_nodes"
	sourceErrors     = "source_errors_total"
	planSeconds      = "plan_duration_seconds"
	phaseSeconds     = "phase_duration_seconds"
	tickSeconds      = "tick_duration_seconds"
	demandToPatch    = "demand_to_patch_seconds"
	provisionSeconds = "provision_duration_seconds"

	lastTick       = "last_tick_timestamp_seconds"
	sourceAge      = "source_age_seconds"
	sourceKnown    = "source_known"
	sourcesUnknown = "sources_unknown"
	safeToAct      = "safe_to_act"
	leader         = "leader"
	planCost       = "plan_cost"
	planBound      = "plan_bound"
	buildInfo      = "build_info"
	configReload   = "config_reload_success"
)

// seriesOf lists every series by its name.
func seriesOf() map[string]series {
	list := []series{
		{demandUnits, gauge, "Demand that the RayClusters and other pods wait for: cores of CPU, bytes of memory, GPUs, units of custom resources.", []string{"resource"}},
		{unmetDemandUnits, gauge, "Part of the demand that the last plan could not meet, by the reason.", []string{"resource", "reason"}},
		{gangsPending, gauge, "Placement groups that wait.", nil},

		{groupMin, gauge, "Smallest size that the MachineDeployment may have.", []string{"node_group"}},
		{groupMax, gauge, "Largest size that the MachineDeployment may have.", []string{"node_group"}},
		{groupTarget, gauge, "Size that the last plan wants the MachineDeployment to have.", []string{"node_group"}},
		{groupReplicas, gauge, "Replicas that the MachineDeployment asks for.", []string{"node_group"}},
		{groupReady, gauge, "Machines of the MachineDeployment with a ready Node.", []string{"node_group"}},
		{groupComing, gauge, "Machines of the MachineDeployment on their way.", []string{"node_group"}},
		{groupBackoff, gauge, "1 while the MachineDeployment rests after a Machine of it was given up, otherwise 0.", []string{"node_group"}},

		{decisionsTotal, counter, "Decisions, counted when they are taken or changed, not again in every round that they stand.", []string{"kind", "reason"}},
		{stepsTotal, counter, "Steps of plans by what became of them: done, refused (the world had moved on), failed, dry-run.", []string{"step", "result"}},
		{violationsTotal, counter, "Plans that broke a rule and were dropped. Every one is a defect.", nil},
		{machinesRemoved, counter, "Machines given back.", []string{"reason"}},
		{drainsTotal, counter, "Ray nodes that were asked to drain, by Ray's word for the reason and the answer: accepted, or refused because the node works.", []string{"reason", "result"}},
		{removalSeconds, histogram, "Time that nodes spent in each phase of their removal: drain (cordoned with Ray pods), evict (with other pods), vacant, delete (the Machine goes). Cancelled removals are left out.", []string{"phase"}},
		{unremovableNodes, gauge, "Nodes that the last plan keeps, by the reason.", []string{"reason"}},
		{sourceErrors, counter, "Readings of a source that ended in an error, counted once per round.", []string{"source"}},
		{planSeconds, histogram, "Time that making a plan took.", nil},
		{phaseSeconds, histogram, "Time that each phase of a round took.", []string{"phase"}},
		{tickSeconds, histogram, "Time that a whole round took.", nil},
		{demandToPatch, histogram, "Time from when a demand was first seen until the MachineDeployment was patched for it.", nil},
		{provisionSeconds, histogram, "Time from the creation of a Machine until its Node was ready.", []string{"vm_class"}},

		{lastTick, gauge, "Time of the last round, in seconds since 1970.", nil},
		{sourceAge, gauge, "Age of what the last round knew of a source; the oldest where there are several of a kind.", []string{"source"}},
		{sourceKnown, gauge, "1 while every source of the kind is known, otherwise 0.", []string{"source"}},
		{sourcesUnknown, gauge, "Sources of the kind that are not known.", []string{"source"}},
		{safeToAct, gauge, "1 while nothing forbids every write, otherwise 0.", nil},
		{leader, gauge, "1 on the replica that acts, otherwise 0.", nil},
		{planCost, gauge, "Price of the nodes that the last plan buys, per hour in the catalogue's unit.", nil},
		{planBound, gauge, "Proven lower bound on the price of any plan for the same demand, per hour in the catalogue's unit.", nil},
		{buildInfo, gauge, "Always 1; the labels say which build runs.", []string{"version", "revision", "goversion"}},
		{configReload, gauge, "1 if the configuration was read without an error the last time, otherwise 0.", nil},
	}
	byName := make(map[string]series, len(list))
	for _, s := range list {
		byName[s.name] = s
	}
	return byName
}
