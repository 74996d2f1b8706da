package report

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMachinesAndVMSeconds(t *testing.T) {
	r := newTestRecorder()
	r.ObserveMachine(at(0), MachineObservation{Name: "head-a", Pool: "head", Phase: "Running"})
	r.ObserveMachine(at(1000), MachineObservation{Name: "gpu-a", Pool: "gpu", Phase: "Provisioning"})
	r.ObserveMachine(at(1000), MachineObservation{Name: "gpu-b", Pool: "gpu", Phase: "Provisioning"})
	r.ObserveMachine(at(3000), MachineObservation{Name: "gpu-a", Pool: "gpu", Phase: "Running", Node: "gpu-a"})
	r.ObserveNode(at(4000), NodeObservation{Name: "gpu-a", Pool: "gpu", Ready: true})
	r.ObserveMachine(at(9000), MachineObservation{Name: "gpu-a", Pool: "gpu", Phase: "Deleting", Node: "gpu-a", Deleting: true, Marked: true})
	assert.Equal(t, 2, r.Facts().WorkerMachines)
	r.ObserveNodeGone(at(10500), "gpu-a")
	r.ObserveMachineGone(at(11000), "gpu-a")
	r.ObserveMachineGone(at(11500), "gpu-a") // told twice
	r.ObserveMachineGone(at(11500), "never-seen")
	assert.Equal(t, 1, r.Facts().WorkerMachines)
	assert.Equal(t, 1, r.Facts().Marks)

	rep := r.Report(at(21000))
	assert.Equal(t, 1, rep.WorkerMachinesAtEnd)
	require.Len(t, rep.Machines, 3)
	a := rep.Machines[1]
	assert.Equal(t, Machine{
		Name: "gpu-a", Pool: "gpu", Class: "gpu-x1", Node: "gpu-a",
		RequestedAt: 1, NodeReadyAt: new(4.0), DeletingAt: new(9.0), DeletedAt: new(11.0),
	}, a)
	assert.True(t, rep.Machines[0].Initial)
	assert.Equal(t, []Class{
		{Name: "gpu-x1", Bought: 2, VMSeconds: 30, BoughtVMSeconds: 30},
		{Name: "small", Bought: 0, VMSeconds: 21},
	}, rep.Classes)
	assert.Equal(t, []int{0, 2}, []int{rep.Pools[0].Bought, rep.Pools[1].Bought})
	assert.Equal(t, 2, rep.Pools[1].MaxAtSameTime)
	assert.Equal(t, 1, rep.Pools[1].MachinesAtEnd)
	assert.Empty(t, rep.RemovedWhileBusy)
}

func TestReplicasAtTheStartAreNoWrite(t *testing.T) {
	r := newTestRecorder()
	r.ObserveReplicas(at(0), "head", 1, true, "")
	r.ObserveReplicas(at(1), "head", 1, false, "")
	r.ObserveReplicas(at(2), "gpu", 0, true, "")
	r.ObserveReplicas(at(3), "gpu", 3, false, "")
	r.ObserveReplicas(at(4), "gpu", 1, false, "")
	pools := r.Report(at(5)).Pools
	assert.Equal(t, Pool{Name: "head", Class: "small", MaxReplicas: 1, ReplicasAtEnd: 1, initialReplica: 1}, pools[0])
	assert.Equal(t, Pool{Name: "gpu", Class: "gpu-x1", Worker: true, Raises: 1, Lowers: 1, FirstLowerAt: new(0.004), MaxReplicas: 3, ReplicasAtEnd: 1}, pools[1])
}

func TestRemovedWhileBusy(t *testing.T) {
	running := RayState{Nodes: []RayNode{{Pod: "w", Status: statusRunning}}}
	idle := RayState{Nodes: []RayNode{{Pod: "w", Status: "IDLE"}}}
	terminating := worker("w", "node", "Running")
	terminating.Terminating = true
	tests := map[string]struct {
		pod  *PodObservation
		gcs  RayState
		busy bool
	}{
		"no pod":                                {gcs: RayState{}},
		"a pod on another node":                 {pod: new(worker("w", "other", "Running")), gcs: running},
		"a finished pod":                        {pod: new(worker("w", "node", "Failed")), gcs: running},
		"a terminating pod of an idle Ray node": {pod: &terminating, gcs: idle},
		"a pod that runs work":                  {pod: new(worker("w", "node", "Running")), gcs: running, busy: true},
		"a pod whose Ray node is idle":          {pod: new(worker("w", "node", "Running")), gcs: idle, busy: true},
		"a pod that the GCS does not know":      {pod: new(worker("w", "node", "Running")), busy: true},
		"a pod that has not started":            {pod: new(worker("w", "node", "Pending")), busy: true},
		"a terminating pod that runs work":      {pod: &terminating, gcs: running, busy: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := newTestRecorder()
			r.ObserveMachine(at(0), MachineObservation{Name: "m", Pool: "gpu", Node: "node"})
			if tt.pod != nil {
				r.ObservePod(at(1), *tt.pod)
			}
			r.ObserveGCS(at(2), cluster, tt.gcs)
			gone := MachineObservation{Name: "m", Pool: "gpu", Node: "node", Deleting: true}
			r.ObserveMachine(at(3), gone)
			r.ObserveMachine(at(4), gone)
			got := r.Report(at(5)).RemovedWhileBusy
			if !tt.busy {
				assert.Empty(t, got)
				return
			}
			require.Len(t, got, 1)
			assert.Equal(t, "m", got[0].Machine)
			assert.Len(t, got[0].Pods, 1)
		})
	}
}

func TestScenariosOwnRemovalIsExcused(t *testing.T) {
	r := newTestRecorder()
	r.ObserveMachine(at(0), MachineObservation{Name: "m", Pool: "gpu", Node: "node"})
	r.ObservePod(at(1), worker("w", "node", "Running"))
	r.ExcuseMachine(at(2), "m")
	r.ObserveMachine(at(3), MachineObservation{Name: "m", Pool: "gpu", Node: "node", Deleting: true})
	assert.Empty(t, r.Report(at(5)).RemovedWhileBusy)
}

func TestTouchedWhileBusy(t *testing.T) {
	r := newTestRecorder()
	r.ObserveMachine(at(0), MachineObservation{Name: "m", Pool: "gpu", Node: "node"})
	r.ObservePod(at(1), worker("w", "node", "Running"))
	r.ObserveGCS(at(2), cluster, RayState{Nodes: []RayNode{{Pod: "w", Status: "IDLE"}}})
	r.ObserveNode(at(3), NodeObservation{Name: "node", Pool: "gpu", Ready: true, Cordoned: true})
	assert.Empty(t, r.Report(at(4)).TouchedWhileBusy, "an idle node may be cordoned")
	assert.Equal(t, 1, r.Facts().Cordons)
	r.ObserveNode(at(5), NodeObservation{Name: "node", Pool: "gpu", Ready: true})
	r.ObserveGCS(at(6), cluster, RayState{Nodes: []RayNode{{Pod: "w", Status: statusRunning}}})
	r.ObserveNode(at(7), NodeObservation{Name: "node", Pool: "gpu", Ready: true, Cordoned: true})
	r.ObserveMachine(at(8), MachineObservation{Name: "m", Pool: "gpu", Node: "node", Marked: true})
	got := r.Report(at(9)).TouchedWhileBusy
	require.Len(t, got, 2)
	assert.Equal(t, "cordoned", got[0].What)
	assert.Equal(t, "marked", got[1].What)
}

// A head that vanished leaves its last word behind: what was busy counts as
// busy.
func TestLostGCSKeepsItsLastWord(t *testing.T) {
	r := newTestRecorder()
	r.ObserveMachine(at(0), MachineObservation{Name: "m", Pool: "gpu", Node: "node"})
	r.ObservePod(at(1), worker("w", "node", "Running"))
	r.ObserveGCS(at(2), cluster, RayState{Nodes: []RayNode{{Pod: "w", Status: statusRunning}}})
	r.ObserveGCSDown(at(3), cluster, "Unavailable")
	r.ObserveNode(at(4), NodeObservation{Name: "node", Pool: "gpu", Ready: true, Cordoned: true})
	assert.Len(t, r.Report(at(5)).TouchedWhileBusy, 1)
}

// A node whose pool is learned late is counted once, in its pool.
func TestNodeFindsItsPool(t *testing.T) {
	r := newTestRecorder()
	r.ObserveNode(at(0), NodeObservation{Name: "n", Pool: "unknown", Ready: true})
	r.ObserveNode(at(1), NodeObservation{Name: "n", Pool: "gpu", Ready: true})
	assert.Equal(t, map[string]int{"gpu": 1}, r.Facts().ReadyNodes)
	events := r.Report(at(2)).Timeline
	require.Len(t, events, 3)
	assert.Empty(t, events[1].Counts)
	r.ObserveMachine(at(3), MachineObservation{Name: "m", Pool: "cpu"})
	assert.Equal(t, "cpu", r.poolOfNode("n", "m"))
	assert.Equal(t, "cpu", r.poolOfNode("m", ""))
	assert.Equal(t, "unknown", r.poolOfNode("n", ""))
}

// A Machine that goes without a mark was not the one that was chosen, unless
// the scenario deleted it itself.
func TestRemovedUnmarked(t *testing.T) {
	r := newTestRecorder()
	for _, name := range []string{"early", "marked", "other", "excused"} {
		r.ObserveMachine(at(0), MachineObservation{Name: name, Pool: "gpu"})
	}
	r.ObserveMachine(at(0), MachineObservation{Name: "early", Pool: "gpu", Deleting: true}) // before replicas were lowered
	r.ObserveReplicas(at(3000), "gpu", 4, true, "")
	r.ObserveReplicas(at(3000), "gpu", 2, false, "p1")
	r.ExcuseMachine(at(1), "excused")
	r.ObserveMachine(at(3001), MachineObservation{Name: "marked", Pool: "gpu", Deleting: true, Marked: true})
	r.ObserveMachine(at(3001), MachineObservation{Name: "other", Pool: "gpu", Deleting: true})
	r.ObserveMachine(at(3001), MachineObservation{Name: "excused", Pool: "gpu", Deleting: true})
	rep := r.Report(at(4000))
	assert.Equal(t, []string{"other"}, rep.RemovedUnmarked)
	assert.True(t, rep.Machines[3].Excused)
	assert.True(t, rep.Machines[0].Surplus)
}

func TestIdleToDeleted(t *testing.T) {
	r := newTestRecorder()
	r.ObserveMachine(at(0), MachineObservation{Name: "m", Pool: "gpu", Node: "node"})
	r.ObservePod(at(0), worker("w", "node", "Running"))
	r.ObserveGCS(at(1000), "default/main", RayState{Nodes: []RayNode{{Pod: "w", Status: statusRunning}}})
	assert.True(t, r.Busy("m"))
	r.ObserveGCS(at(5000), "default/main", RayState{Nodes: []RayNode{{Pod: "w", Status: statusRunning}}})
	r.ObserveGCS(at(5200), "default/main", RayState{Nodes: []RayNode{{Pod: "w", Status: "IDLE"}}})
	assert.False(t, r.Busy("m"))
	assert.False(t, r.Busy("never-seen"))
	r.ObservePodGone(at(9000), "default", "w")
	r.ObserveMachineGone(at(15500), "m")
	m := r.Report(at(20000)).Machines[0]
	assert.InDelta(t, 5, *m.LastBusyAt, 1e-9)
	assert.InDelta(t, 10.5, *m.IdleToDeletedSeconds, 1e-9)
}
