package report

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPodPhases(t *testing.T) {
	tests := map[string]struct {
		pod  PodObservation
		want string
	}{
		"not bound":   {PodObservation{Phase: "Pending"}, "Pending"},
		"bound":       {PodObservation{Phase: "Pending", Node: "n"}, "Scheduled"},
		"started":     {PodObservation{Phase: "Running", Node: "n"}, "Running"},
		"ready":       {PodObservation{Phase: "Running", Node: "n", Ready: true}, "Ready"},
		"on its way":  {PodObservation{Phase: "Running", Node: "n", Ready: true, Terminating: true}, "Terminating"},
		"failed":      {PodObservation{Phase: "Failed", Node: "n"}, "Failed"},
		"failed, too": {PodObservation{Phase: "Failed", Node: "n", Terminating: true}, "Failed"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, (&pod{PodObservation: tt.pod}).phase())
		})
	}
}

func TestHeadEnds(t *testing.T) {
	head := func(name, phase string, terminating bool) PodObservation {
		return PodObservation{
			Namespace: "default", Name: name, RayCluster: "main", Head: true, Phase: phase, Ready: phase == "Running",
			Terminating: terminating, Detail: "exit code 1",
		}
	}
	r := newTestRecorder()
	for _, name := range []string{"crashed", "killed", "deleted"} {
		r.ObservePod(at(0), head(name, "Running", false))
	}
	r.ExpectHeadEnd("default", "killed")
	r.ObservePod(at(1), head("crashed", "Failed", false))
	r.ObservePod(at(2), head("crashed", "Failed", true)) // still there
	r.ObservePod(at(3), head("killed", "Failed", false))
	r.ObservePod(at(4), head("deleted", "Succeeded", true))
	r.ObservePod(at(5), head("never-up", "Pending", false))
	r.ObservePod(at(6), head("never-up", "Failed", false))
	got := r.Report(at(7)).HeadEnds
	require.Len(t, got, 4)
	assert.False(t, got[3].WasReady)
	assert.Equal(t, HeadEnd{At: 0.001, RayCluster: cluster, Pod: "default/crashed", WasReady: true, Detail: "exit code 1"}, got[0])
	assert.True(t, got[1].Asked)
	assert.True(t, got[2].Asked)
}

func TestDriverWaits(t *testing.T) {
	r := newTestRecorder()
	r.ObservePod(at(0), PodObservation{Namespace: "default", Name: "h", RayCluster: "main", Head: true, Phase: "Running", Ready: true})
	r.DriverStarted(at(1000), "cold", cluster, "cold.log")
	r.DriverStarted(at(1500), "elsewhere", "default/other", "")
	r.ObservePod(at(9000), worker("w", "n", "Running"))
	r.ObservePod(at(9500), worker("w2", "n", "Running"))
	r.DriverStarted(at(12000), "warm", cluster, "")
	r.DriverEnded(at(15000), "cold", DriverEnd{ExitCode: 0, Tail: "RESULT ok", Text: "ended"})
	r.DriverEnded(at(16000), "cold", DriverEnd{ExitCode: 3})
	rep := r.Report(at(20000))
	require.Len(t, rep.Drivers, 3)
	cold, elsewhere, warm := rep.Drivers[0], rep.Drivers[1], rep.Drivers[2]
	assert.Equal(t, Driver{
		Name: "cold", RayCluster: cluster, StartedAt: 1, EndedAt: new(15.0), FirstWorkerReadyAt: new(9.0),
		WaitSeconds: new(8.0), RunSeconds: new(14.0), ExitCode: new(0), OutputTail: "RESULT ok", OutputFile: "cold.log",
	}, cold)
	assert.Nil(t, elsewhere.FirstWorkerReadyAt)
	assert.InDelta(t, 0, *warm.WaitSeconds, 1e-9)
	assert.Nil(t, warm.EndedAt)
}

func TestTimelineHasOnlyChanges(t *testing.T) {
	r := newTestRecorder()
	var seen []string
	r.Subscribe(func(e Event) { seen = append(seen, eventText(e)) })
	pending := worker("w", "", "Pending")
	r.ObservePod(at(0), pending)
	r.ObservePod(at(1), pending)
	r.ObservePod(at(2), worker("w", "n", "Running"))
	r.ObservePodGone(at(3), "default", "w")
	r.ObservePodGone(at(4), "default", "w")
	r.ObserveReplicas(at(5), "gpu", 0, true, "")
	r.ObserveReplicas(at(6), "gpu", 2, false, "p7")
	r.ObserveReplicas(at(7), "gpu", 2, false, "p7")
	r.ObserveRayReplicas(at(8), cluster, "gpu", 0)
	r.ObserveRayReplicas(at(9), cluster, "gpu", 1)
	r.ObserveGCSDown(at(10), cluster, "no head is ready") // never answered yet: nothing to tell
	r.ObserveGCS(at(11), cluster, RayState{Demand: map[string]int64{"{GPU 1}": 2}, Nodes: []RayNode{{Status: "IDLE", Head: true}, {Status: "IDLE"}}})
	r.ObserveGCSDown(at(12), cluster, "Unavailable")
	r.ObserveGCSDown(at(13), cluster, "Unavailable")
	assert.Equal(t, []string{
		"default/main: 1 x gpu/Pending", "default/main: 1 x gpu/Ready", "default/main: none",
		"gpu: 0 -> 2 (plan p7)", "default/main/gpu: 0 -> 1",
		"default/main: the GCS answers", "default/main: 2 x {GPU 1}", "default/main: 1 x IDLE",
		"default/main: the GCS does not answer: Unavailable",
	}, seen)
	assert.Len(t, r.Report(at(20)).Timeline, len(seen))
	assert.Equal(t, "demand default/main: 2 x {GPU 1}", r.State())
}
