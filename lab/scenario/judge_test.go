package scenario

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/tandem-autoscaler/tandem/lab/report"
)

func TestExpectations(t *testing.T) {
	zero, one, nine, limit := 0, 1, 9, 5.0
	good := func() *report.Report {
		return &report.Report{
			Pools: []report.Pool{{Name: "gpu", Bought: 2, Raises: 1, MaxReplicas: 2}, {Name: "cpu"}},
			Waves: []report.Wave{
				{VisibleAt: 1, Raises: []report.Raise{{Pool: "gpu", To: 2, At: 2}}, FirstPodAt: new(3.0), DemandToPatchSeconds: new(1.0)},
				{VisibleAt: 50},
			},
			Coordinator: &report.Coordinator{
				Restarts: 1, Reasons: map[string]int{"Demand": 1}, Steps: map[string]int{"Drain": 2, "Remove": 2},
				NodeSteps: map[string][]string{"na": {"Cordon", "Uncordon", "Cordon", "Drain", "Remove"}, "nb": {"Cordon", "Drain", "Remove"}},
			},
			CountedPodsAtEnd: 9,
			HeadEnds:         []report.HeadEnd{{WasReady: true, Asked: true}, {}},
			Drivers:          []report.Driver{{Name: "job", EndedAt: new(30.0)}},
			Machines: []report.Machine{
				{Name: "a", Pool: "gpu", Node: "na", DeletingAt: new(20.0), IdleToDeletedSeconds: new(4.0)},
				{Name: "b", Pool: "gpu", Node: "nb", DeletingAt: new(40.0)},
				{Name: "c"},
				{Name: "d", Node: "nd", DeletingAt: new(10.0), Excused: true, IdleToDeletedSeconds: new(99.0)},
			},
		}
	}
	all := func() *Expect {
		e := &Expect{
			WorkerMachinesAtEnd: &zero, BoughtPerPool: map[string]int{"gpu": 2, "cpu": 0}, NeverBought: []string{"cpu"},
			PatchesPerPool: map[string]int{"gpu": 1}, MaxReplicasPerPool: map[string]int32{"gpu": 3}, DecisionReasons: []string{"Demand"},
			VMRequestedBeforePods: true, DemandToPatchSeconds: &limit, CoordinatorRestarts: &one,
			RemovedBeforeDriverEnd: map[string]int{"job": 2}, BusyNodesTouched: &zero,
			RemovedAfterDriverEnd: map[string]int{"job": 1}, RemovedPerPool: map[string]int{"gpu": 2}, CountedPodsAtEnd: &nine,
			StepsSeen: map[string]int{"Drain": 2}, StepsNeverSeen: []string{"Evict"}, StepsDecided: true,
			RemovedInOrder: []string{"Cordon", "Drain", "Remove"}, IdleToDeletedSeconds: &limit,
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
		"others stayed": {func(r *report.Report) {
			r.Machines[0].DeletingAt, r.Machines[2].Pool, r.Machines[2].DeletingAt = nil, "gpu", new(50.0)
		}, "Machines removed before driver job ended: 1"},
		"one more went after": {func(r *report.Report) { r.Machines[2].DeletingAt = new(50.0) }, "Machines removed after driver job ended: 2, want 1"},
		"one was surplus":     {func(r *report.Report) { r.Machines[1].Surplus = true }, "Machines removed from pool gpu: 1, want 2"},
		"a pool lost another": {func(r *report.Report) { r.Machines[1].Pool = "cpu" }, "Machines removed from pool gpu: 1, want 2"},
		"a counted pod went":  {func(r *report.Report) { r.CountedPodsAtEnd = 8 }, "counted pods at the end: 8, want 9"},
		"without a mark":      {func(r *report.Report) { r.RemovedUnmarked = []string{"x"} }, "Machines removed without a mark: 1"},
		"a step is missing":   {func(r *report.Report) { r.Coordinator.Steps["Drain"] = 1 }, "steps Drain: 1, want at least 2"},
		"a step too many":     {func(r *report.Report) { r.Coordinator.Steps["Evict"] = 1 }, "steps Evict: 1, want none"},
		"a silent step":       {func(r *report.Report) { r.Coordinator.Undecided = []string{"Drain n"} }, "a step without a reason or a decision: Drain n"},
		"in another order":    {func(r *report.Report) { r.Coordinator.NodeSteps["nb"] = []string{"Drain", "Cordon", "Remove"} }, "node nb went through [Drain Cordon Remove]"},
		"kept too long":       {func(r *report.Report) { r.Machines[0].IdleToDeletedSeconds = new(6.0) }, "Machine a was deleted 6.0 s after its last work"},
		"never worked":        {func(r *report.Report) { r.Machines[0].IdleToDeletedSeconds = nil }, "its idle time cannot be judged"},
		"driver goes on":      {func(r *report.Report) { r.Drivers[0].EndedAt = nil }, "driver job did not end"},
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
