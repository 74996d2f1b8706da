package metrics

import (
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
