package metrics

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// The recorder of client-go fits.
var _ EventRecorder = record.EventRecorder(nil)

// heard is a recorder that remembers.
type heard []string

func (h *heard) Event(o runtime.Object, eventtype, reason, message string) {
	ref, ok := o.(*corev1.ObjectReference)
	if !ok {
		panic("no reference")
	}
	*h = append(*h, fmt.Sprintf("%s %s %s/%s %s: %s %s: %s", ref.APIVersion, ref.Kind, ref.Namespace, ref.Name, ref.UID, eventtype, reason, message))
}

func TestEvents(t *testing.T) {
	var management, workload heard
	e := NewEvents(EventsOptions{Management: &management, Workload: &workload})
	tick := busy()
	tick.Plan.Decisions = append(tick.Plan.Decisions,
		planner.Decision{Kind: planner.SubjectNode, Subject: "n1", Outcome: planner.OutcomeShrink, Reason: planner.ReasonVacant, Message: "vacant for 1m0s"},
		planner.Decision{Kind: planner.SubjectMachine, Subject: "default/gpu-1", Outcome: planner.OutcomeCancel, Reason: planner.ReasonWanted},
		planner.Decision{Kind: planner.SubjectRayCluster, Subject: "team-b/serve", RayCluster: "team-b/serve", Outcome: planner.OutcomeUnmet, Reason: planner.ReasonUnknownDemand, Message: "unknown\ndemand"},
		planner.Decision{Kind: planner.SubjectDemand, Subject: "pods", Outcome: planner.OutcomeUnmet, Reason: planner.ReasonAtMax},
		planner.Decision{Kind: planner.SubjectNodeGroup, Subject: "default/gone", Outcome: planner.OutcomeGrow, Reason: planner.ReasonDemand},
		planner.Decision{Kind: planner.SubjectNode, Subject: "no-machine", Outcome: planner.OutcomeShrink, Reason: planner.ReasonVacant},
	)
	e.Record(tick)
	assert.Equal(t, heard{
		"cluster.x-k8s.io/v1beta2 MachineDeployment default/gpu md-1: Normal Demand: grow from 1 to 3 for 4 requests of team-a/train",
		"cluster.x-k8s.io/v1beta2 MachineDeployment default/cpu md-2: Normal Vacant: vacant for 1m0s",
		"cluster.x-k8s.io/v1beta2 MachineDeployment default/gpu md-1: Normal Wanted: cancel Machine default/gpu-1",
	}, management)
	assert.Equal(t, heard{
		"ray.io/v1 RayCluster team-a/train rc-1: Warning DoesNotFit: no class has licence",
		"ray.io/v1 RayCluster team-b/serve rc-2: Warning UnknownDemand: unknown demand",
	}, workload)
}

func TestEventsAreNotRepeated(t *testing.T) {
	var management, workload heard
	e := NewEvents(EventsOptions{Management: &management, Workload: &workload})
	at := func(after time.Duration, to, count int64) {
		tick := busy()
		tick.At = start.Add(after)
		tick.Plan.Decisions[0].To = to
		tick.Plan.Decisions[2].Count = count
		tick.Plan.Decisions[2].Message = fmt.Sprintf("%d requests", count)
		e.Record(tick)
	}
	at(0, 3, 1)
	at(time.Second, 3, 2)
	assert.Len(t, management, 1)
	assert.Len(t, workload, 1, "another count is no news")
	at(2*time.Second, 5, 3)
	assert.Len(t, management, 2, "another target is")
	at(2*time.Minute, 5, 4)
	assert.Len(t, management, 2, "said 118 s ago")
	assert.Len(t, workload, 2, "said two minutes ago")
}

func TestEventsAreLimited(t *testing.T) {
	var management, workload heard
	e := NewEvents(EventsOptions{Management: &management, Workload: &workload, Burst: 10})
	tick := busy()
	for i := range 1000 {
		c := planner.RayCluster{Namespace: "t", Name: fmt.Sprint("c", i)}
		tick.Snapshot.RayClusters = append(tick.Snapshot.RayClusters, c)
		tick.Plan.Decisions = append([]planner.Decision{{Kind: planner.SubjectDemand, Subject: "GPU", RayCluster: c.Key(), Outcome: planner.OutcomeUnmet, Reason: planner.ReasonAtMax}}, tick.Plan.Decisions...)
	}
	e.Record(tick)
	assert.Len(t, workload, 10)
	assert.Len(t, management, 1, "tenants do not silence the others")
	assert.EqualValues(t, 991, e.Suppressed())
	tick.At = start.Add(5 * time.Second)
	e.Record(tick)
	assert.Len(t, workload, 15, "one more each second")
}

func TestEventsOnlyOfWhoActs(t *testing.T) {
	for name, change := range map[string]func(*Tick){
		"follower":     func(t *Tick) { t.Leader = false },
		"dropped plan": func(t *Tick) { t.Violation = "I1" },
		"held":         func(t *Tick) { t.Plan.Decisions = t.Plan.Decisions[1:2] },
	} {
		t.Run(name, func(t *testing.T) {
			var management, workload heard
			tick := busy()
			change(&tick)
			NewEvents(EventsOptions{Management: &management, Workload: &workload}).Record(tick)
			assert.Empty(t, management)
			assert.Empty(t, workload)
		})
	}
}

func TestEventsOfDryRun(t *testing.T) {
	var management heard
	tick := busy()
	tick.DryRun = true
	tick.Plan.Decisions[0].Message = strings.Repeat("x", 2000)
	NewEvents(EventsOptions{Management: &management}).Record(tick) // no recorder for the workload cluster
	require.Len(t, management, 1)
	assert.Contains(t, management[0], "Demand: dry run: xxx")
	assert.Less(t, len(management[0]), 700)
}

func TestEventsOfRemovalSteps(t *testing.T) {
	var management, workload heard
	e := NewEvents(EventsOptions{Management: &management, Workload: &workload})
	tick := busy()
	tick.Plan.Decisions = nil
	pods := []planner.PodRef{{Namespace: "team-b", Name: "w1"}}
	step := func(kind planner.StepKind, reason planner.Reason) planner.Step {
		return planner.Step{Kind: kind, RayCluster: "team-b/serve", WorkerGroup: "gpu", Node: "n1", Pods: pods, Drain: planner.DrainIdle, From: 2, To: 1, Reason: reason}
	}
	gone := step(planner.StepShrinkWorkers, planner.ReasonDrained)
	gone.RayCluster = "team-z/gone"
	tick.Results = []StepResult{
		{Step: step(planner.StepDrain, planner.ReasonIdle), Outcome: Done},
		{Step: step(planner.StepDrain, planner.ReasonIdle), Outcome: Refused, DrainRefused: true},
		{Step: step(planner.StepDrain, planner.ReasonIdle), Outcome: Refused},
		{Step: step(planner.StepShrinkWorkers, planner.ReasonDrained), Outcome: Done},
		{Step: step(planner.StepReplaceWorker, ""), Outcome: Done},
		{Step: step(planner.StepShrinkWorkers, planner.ReasonDrained), Outcome: DryRun},
		{Step: step(planner.StepCordon, planner.ReasonIdle), Outcome: Done},
		{Step: gone, Outcome: Done},
	}
	e.Record(tick)
	assert.Empty(t, management)
	assert.Equal(t, heard{
		"ray.io/v1 RayCluster team-b/serve rc-2: Normal Idle: drain (IDLE_TERMINATION) of the Ray node of pod w1 on Node n1",
		"ray.io/v1 RayCluster team-b/serve rc-2: Normal DrainRefused: refused: drain (IDLE_TERMINATION) of the Ray node of pod w1 on Node n1",
		"ray.io/v1 RayCluster team-b/serve rc-2: Normal Drained: worker group gpu goes from 2 to 1 replicas, without pods w1",
		"ray.io/v1 RayCluster team-b/serve rc-2: Normal ReplaceWorker: pod w1 is made anew: its Ray node has ended",
	}, workload)
}

func TestAdviceIsGivenOnce(t *testing.T) {
	var workload heard
	e := NewEvents(EventsOptions{Workload: &workload})
	say := func(after time.Duration, advice string) {
		tick := busy()
		tick.At, tick.Plan.Decisions = start.Add(after), nil
		tick.Snapshot.RayClusters[0].Advice = advice
		e.Record(tick)
	}
	say(0, "set X")
	say(time.Hour, "set X")
	require.Len(t, workload, 1)
	assert.Equal(t, "ray.io/v1 RayCluster team-a/train rc-1: Warning Advice: set X", workload[0])
	say(2*time.Hour, "set Y")
	say(3*time.Hour, "")
	say(4*time.Hour, "set Y")
	assert.Len(t, workload, 3, "what comes again is said again")
}

// Fault 57: a configuration that was not taken is told as an Event.
func TestARejectedConfigurationIsTold(t *testing.T) {
	var management heard
	e := NewEvents(EventsOptions{Management: &management})
	e.ConfigRejected("default", "gpu-cluster", start, errors.New("config.yaml:7: growth.maxPerTic: unknown field"))
	require.Len(t, management, 1)
	assert.Contains(t, management[0], "cluster.x-k8s.io/v1beta2 Cluster default/gpu-cluster : Warning ConfigurationRejected: the configuration file was not taken")
	assert.Contains(t, management[0], "growth.maxPerTic")
}
