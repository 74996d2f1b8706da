package metrics

import (
	"flag"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// golden compares text with a file, or writes it with -update.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o600))
		return
	}
	want, err := os.ReadFile(path) //nolint:gosec // the test names the file
	require.NoError(t, err, "run the test with -update to write it")
	assert.Equal(t, string(want), got, "run the test with -update if the change is meant")
}

// start is the time of the first tick.
var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func seconds(n int64) planner.Duration { return planner.Duration(time.Duration(n) * time.Second) }

// busy is a tick in which something happens everywhere.
func busy() Tick {
	return Tick{
		At: start, Leader: true, SafeToAct: true, Duration: 40 * time.Millisecond,
		Phases: map[Phase]time.Duration{PhaseObserve: 20 * time.Millisecond, PhasePlan: 5 * time.Millisecond, PhaseCheck: time.Millisecond, PhaseAct: 14 * time.Millisecond},
		Snapshot: planner.Snapshot{
			Sources: []planner.Source{
				{Kind: planner.SourceGCS, Name: "team-b/serve", Age: seconds(30), Error: "dialling: connection refused"},
				{Kind: planner.SourceGCS, Name: "team-a/train", Known: true, Age: seconds(1)},
				{Kind: planner.SourceManagement, Known: true, Age: seconds(2)},
				{Kind: planner.SourceWorkload, Known: true},
			},
			RayClusters: []planner.RayCluster{
				{
					Namespace: "team-a", Name: "train", UID: "rc-1", Mode: planner.ModeFollow, DemandKnown: true,
					Requests: []planner.Request{{Resources: planner.Resources{"CPU": 1000, "GPU": 10000, "memory": 1 << 30}, Count: 4}, {Resources: planner.Resources{"licence": 20000}, Count: 3}},
					Gangs: []planner.Gang{
						{ID: "g1", Options: []planner.GangOption{{Bundles: []planner.Bundle{{Resources: planner.Resources{"GPU": 5000}}, {Resources: planner.Resources{"GPU": 5000}}}}, {Bundles: []planner.Bundle{{Resources: planner.Resources{"GPU": 990000}}}}}},
						{ID: "g2"},
					},
				},
				{Namespace: "team-b", Name: "serve", UID: "rc-2", Mode: planner.ModeLead, Requests: []planner.Request{{Resources: planner.Resources{"GPU": 70000}, Count: 9}}},
				{Namespace: "team-c", Name: "old", Mode: planner.ModeOff},
			},
			Pods: []planner.Pod{
				{Namespace: "x", Name: "waits", Shape: planner.PodShape{Requests: planner.Resources{"CPU": 500}}},
				{Namespace: "team-c", Name: "worker", RayCluster: "team-c/old", Shape: planner.PodShape{Requests: planner.Resources{"CPU": 250}}},
				{Namespace: "team-a", Name: "predicted", RayCluster: "team-a/train", Shape: planner.PodShape{Requests: planner.Resources{"CPU": 64000}}},
				{Namespace: "x", Name: "bound", Node: "n1", Shape: planner.PodShape{Requests: planner.Resources{"CPU": 64000}}},
			},
			NodeGroups: []planner.NodeGroup{{Namespace: "default", Name: "gpu", UID: "md-1", Class: "gpu-large"}, {Namespace: "default", Name: "cpu", UID: "md-2", Class: "cpu-small"}},
			Machines: []planner.Machine{
				{Namespace: "default", Name: "gpu-1", UID: "m-1", Group: "default/gpu", CreatedAt: start.Add(-90 * time.Second)},
				{Namespace: "default", Name: "cpu-1", UID: "m-2", Group: "default/cpu", Node: "n1", CreatedAt: start.Add(-time.Hour)},
			},
			Nodes: []planner.Node{{Name: "n1", UID: "node-1", Machine: "default/cpu-1", Ready: true}},
		},
		Memory: planner.Memory{Backoff: map[string]planner.Backoff{"md-2": {Until: start.Add(time.Minute)}, "md-1": {Until: start.Add(-time.Minute)}}},
		Plan: planner.Plan{
			ID: "p-1", At: start, Cost: 2_500_000, Bound: 2_000_000,
			Steps: []planner.Step{{Kind: planner.StepGrow, Group: "default/gpu", From: 1, To: 3, Reason: planner.ReasonDemand}},
			Groups: []planner.GroupTarget{
				{Group: "default/gpu", Replicas: 1, Ready: 0, Coming: 1, Target: 3, Min: 0, Max: 8},
				{Group: "default/cpu", Replicas: 1, Ready: 1, Target: 1, Min: 1, Max: 4},
			},
			Decisions: []planner.Decision{
				{Kind: planner.SubjectNodeGroup, Subject: "default/gpu", Outcome: planner.OutcomeGrow, Reason: planner.ReasonDemand, From: 1, To: 3, Message: "grow from 1 to 3 for 4 requests of team-a/train"},
				{Kind: planner.SubjectNodeGroup, Subject: "default/cpu", Outcome: planner.OutcomeHold, Reason: planner.ReasonInUse, To: 1},
				{Kind: planner.SubjectDemand, Subject: "licence=20000", RayCluster: "team-a/train", Outcome: planner.OutcomeUnmet, Reason: planner.ReasonDoesNotFit, Demand: planner.Resources{"licence": 20000}, Count: 3, Message: "no class has licence"},
			},
		},
		Results: []StepResult{{Step: planner.Step{Kind: planner.StepGrow, Group: "default/gpu", From: 1, To: 3, Reason: planner.ReasonDemand}, Outcome: Done, Waited: 900 * time.Millisecond}},
	}
}
