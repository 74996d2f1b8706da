package scenario

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// worker is a coordinator that writes a line into its journal and waits.
const patient = `
[ "$1 $2" = "run --config" ] || exit 9
journal=$(sed -n 's/^ *path: //p' "$3")
echo '{"decisions":[{"kind":"NodeGroup","subject":"default/gpu","outcome":"hold","reason":"Steady"}]}' >> "$journal"
echo ready
exec sleep 600
`

func TestCoordinatorIsKilledAndStartedAgain(t *testing.T) {
	s := mustParse(t, minimal+`
drivers: [{name: d, rayCluster: main, code: 'true'}]
faults:
- {kind: killCoordinator, at: 0s, restartAfter: 1ms}
- {kind: killCoordinator, afterEvent: {event: driverEnded, driver: d}, restartAfter: 1ms}
expect: {coordinatorRestarts: 2}
`)
	r := newTestRun(t, s, newFakeLab(), program(t, patient))
	assert.Zero(t, r.CoordinatorPID())
	rep := do(t, r)
	require.True(t, rep.Passed, "%v", rep.Failures)
	assert.Equal(t, 3, rep.Coordinator.Starts)
	assert.Positive(t, rep.Coordinator.PeakRSSBytes)
	assert.Empty(t, rep.Coordinator.UnexpectedExits)
	pid := r.CoordinatorPID()
	assert.NotZero(t, pid, "it is kept until Close")
	r.Close()
	assert.Zero(t, r.CoordinatorPID())
	_, err := os.Stat(filepath.Join("/proc", itoa(pid)))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestCoordinatorsDecisionsAreInTheReport(t *testing.T) {
	s := mustParse(t, minimal+`drivers: [{name: d, rayCluster: main, code: 'until grep -q ready ../coordinator.log; do :; done'}]`)
	rep := do(t, newTestRun(t, s, newFakeLab(), program(t, patient)))
	require.True(t, rep.Passed, "%v", rep.Failures)
	assert.Equal(t, "ready\n", rep.Coordinator.LogTail)
	assert.Zero(t, rep.Coordinator.JournalErrors)
}

func TestCoordinatorThatEndsByItself(t *testing.T) {
	tests := map[string]struct{ program, want string }{
		"exit":  {"echo cannot; exit 1", "the coordinator ended by itself (exit status 1); its log ends with:\ncannot"},
		"panic": {"echo 'panic: boom'; exit 2", "the coordinator ended by itself (exit status 2)"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := mustParse(t, minimal+`drivers: [{name: d, rayCluster: main, code: 'exec sleep 600'}]`)
			rep := do(t, newTestRun(t, s, newFakeLab(), program(t, tt.program)))
			assert.False(t, rep.Passed)
			require.NotEmpty(t, rep.Failures)
			assert.Contains(t, rep.Failures[0], tt.want)
			if name == "panic" {
				assert.Contains(t, rep.Failures, "the coordinator panicked: panic: boom")
			}
		})
	}
}

func TestCoordinatorThatCannotStart(t *testing.T) {
	r := newTestRun(t, mustParse(t, minimal), newFakeLab(), filepath.Join(t.TempDir(), "none"))
	_, err := r.Do(t.Context())
	assert.ErrorContains(t, err, "starting the coordinator")
}

func TestKillCoordinatorWithoutOneIsNoFailure(t *testing.T) {
	s := mustParse(t, minimal+"faults: [{kind: killCoordinator, at: 0s}]\n")
	rep := do(t, newTestRun(t, s, newFakeLab(), ""))
	assert.True(t, rep.Passed, "%v", rep.Failures)
	assert.Nil(t, rep.Coordinator)
}

// Fault 44: two coordinators at once, each with files of its own.
func TestTwoCoordinatorsStartAfterAnEvent(t *testing.T) {
	s := mustParse(t, minimal+`
drivers: [{name: d, rayCluster: main, code: 'until [ -s ../journal.jsonl ] && [ -s ../journal-2.jsonl ]; do :; done'}]
coordinator: {instances: 2, afterEvent: {event: driverStarted, driver: d}}
`)
	r := newTestRun(t, s, newFakeLab(), program(t, patient))
	rep := do(t, r)
	require.True(t, rep.Passed, "%v", rep.Failures)
	assert.Equal(t, 2, rep.Coordinator.Starts)
	first, err := os.ReadFile(filepath.Join(r.o.Dir, "coordinator.yaml"))
	require.NoError(t, err)
	second, err := os.ReadFile(filepath.Join(r.o.Dir, "coordinator-2.yaml"))
	require.NoError(t, err)
	assert.NotEqual(t, string(first), string(second), "each has its own port and journal")
}

func TestMeanwhileHoldsTheEnd(t *testing.T) {
	s := mustParse(t, minimal+`drivers: [{name: d, rayCluster: main, code: 'true'}]`)
	r := newTestRun(t, s, newFakeLab(), "")
	r.beside = true
	r.o.Meanwhile = func(ctx context.Context, r *Run) error {
		waitUntil(ctx, r.drivers["d"].hasEnded)
		assert.Contains(t, r.Waiting(), "what runs beside it has not ended")
		if err := r.RunDriver(ctx, &Driver{Name: "extra", RayCluster: "default/main", Code: "exit 3", Timeout: seconds(60)}); err == nil {
			return errors.New("the exit code was not seen")
		}
		return errors.New("that is all")
	}
	rep := do(t, r)
	assert.Equal(t, []string{"that is all"}, rep.Failures)
	assert.Len(t, rep.Drivers, 2)
}
