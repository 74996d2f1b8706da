package report

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// at is a number of milliseconds after the start.
func at(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }

func newTestRecorder() *Recorder {
	return NewRecorder(Options{Scenario: "test", Start: start, Pools: []PoolInfo{
		{Name: "head", Class: "small", Initial: 1},
		{Name: "gpu", Class: "gpu-x1", Worker: true},
		{Name: "cpu", Class: "cpu-large", Worker: true},
	}})
}

const cluster = "default/main"

func worker(name, node, phase string) PodObservation {
	return PodObservation{Namespace: "default", Name: name, RayCluster: "main", Group: "gpu", Node: node, Phase: phase, Ready: phase == "Running"}
}
