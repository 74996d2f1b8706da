package scenario

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/tandem-autoscaler/tandem/lab/report"
)

func TestExpectations(t *testing.T) {
	zero, one, limit := 0, 1, 5.0
	good := func() *report.Report {
		return &report.Report{
			Pools: []report.Pool{{Name: "gpu", Bought: 2, Raises: 1, MaxReplicas: 2}, {Name: "cpu"}},
			Waves: []report.Wave{
				{VisibleAt: 1, Raises: []report.Raise{{Pool: "gpu", To: 2, At: 2}}, FirstPodAt: new(3.0), DemandToPatchSeconds: new(1.0)},
				{VisibleAt: 50},
			},
			Coordinator: &report.Coordinator{Restarts: 1, Reasons: map[string]int{"Demand": 1}},
			HeadEnds:    []report.HeadEnd{{WasReady: true, Asked: true}, {}},
			Drivers:     []report.Driver{{Name: "job", EndedAt: new(30.0)}},
			Machines:    []report.Machine{{Name: "a", DeletingAt: new(20.0)}, {Name: "b", DeletingAt: new(40.0)}, {Name: "c"}},
		}
	}
	all := func() *Expect {
		e := &Expect{
			WorkerMachinesAtEnd: &zero, BoughtPerPool: map[string]int{"gpu": 2, "cpu": 0}, NeverBought: []string{"cpu"},
			PatchesPerPool: map[string]int{"gpu": 1}, MaxReplicasPerPool: map[string]int32{"gpu": 3}, DecisionReasons: []string{"Demand"},
			VMRequestedBeforePods: true, DemandToPatchSeconds: &limit, CoordinatorRestarts: &one,
			RemovedBeforeDriverEnd: map[string]int{"job": 1}, BusyNodesTouched: &zero,
		}
		e.fill()
		return e
	}
	assert.Empty(t, all().check(good()))

	tests := map[string]struct {
		harm func(*report.Report)
		want string
	}{
		"machines left":      {func(r *report.Report) { r.WorkerMachinesAtEnd = 1 }, "worker Machines at the end: 1, want 0"},
		"bought too many":    {func(r *report.Report) { r.Pools[0].Bought = 3 }, "Machines bought in pool gpu: 3, want 2"},
		"bought too few":     {func(r *report.Report) { r.Pools[0].Bought = 1 }, "Machines bought in pool gpu: 1, want 2"},
		"pool is gone":       {func(r *report.Report) { r.Pools = r.Pools[1:] }, "Machines bought in pool gpu: 0, want 2"},
		"bought the wrong":   {func(r *report.Report) { r.Pools[1].Raises = 1 }, "pool cpu was to be left alone"},
		"patched twice":      {func(r *report.Report) { r.Pools[0].Raises = 2 }, "raises of pool gpu: 2, want 1"},
		"overshoot":          {func(r *report.Report) { r.Pools[0].MaxReplicas = 4 }, "replicas of pool gpu reached 4"},
		"no reason":          {func(r *report.Report) { r.Coordinator.Reasons = nil }, "no decision had the reason Demand"},
		"no coordinator":     {func(r *report.Report) { r.Coordinator = nil }, "no decision had the reason Demand"},
		"no restart":         {func(r *report.Report) { r.Coordinator.Restarts = 0 }, "restarts of the coordinator: 0, want 1"},
		"pods came first":    {func(r *report.Report) { r.Waves[0].FirstPodAt = new(1.5) }, "after the first Ray worker pod"},
		"nothing to judge":   {func(r *report.Report) { r.Waves = nil }, "cannot be judged"},
		"too slow":           {func(r *report.Report) { r.Waves[0].DemandToPatchSeconds = new(6.0) }, "6.0 s later"},
		"removed while busy": {func(r *report.Report) { r.RemovedWhileBusy = make([]report.BusyNode, 1) }, "Machines removed while busy: 1"},
		"touched while busy": {func(r *report.Report) { r.TouchedWhileBusy = make([]report.BusyNode, 1) }, "nodes touched while busy: 1"},
		"the GCS crashed":    {func(r *report.Report) { r.HeadEnds[0].Asked = false }, "crashes of a GCS: 1"},
		"a panic":            {func(r *report.Report) { r.Coordinator.Panics = []string{"panic: x"} }, "panicked: panic: x"},
		"an exit":            {func(r *report.Report) { r.Coordinator.UnexpectedExits = []string{"exit 2"} }, "ended by itself: exit 2"},
		"others stayed":      {func(r *report.Report) { r.Machines[0].DeletingAt = nil }, "Machines removed before driver job ended: 0"},
		"driver goes on":     {func(r *report.Report) { r.Drivers[0].EndedAt = nil }, "driver job did not end"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			rep := good()
			tt.harm(rep)
			got := all().check(rep)
			if assert.NotEmpty(t, got) {
				assert.Contains(t, got[0], tt.want)
			}
		})
	}
}

func TestNothingExpectedStillWatchesForHarm(t *testing.T) {
	e := &Expect{}
	e.fill()
	assert.Empty(t, e.check(&report.Report{WorkerMachinesAtEnd: 7}))
	assert.Len(t, e.check(&report.Report{
		RemovedWhileBusy: make([]report.BusyNode, 1), HeadEnds: []report.HeadEnd{{WasReady: true}},
		Coordinator: &report.Coordinator{Panics: []string{"panic: x"}},
	}), 3)
	no := false
	e.CoordinatorNeverPanics = &no
	assert.Empty(t, e.check(&report.Report{Coordinator: &report.Coordinator{Panics: []string{"panic: x"}}}))
}
