package report

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSumMemory(t *testing.T) {
	all := []process{
		{pid: 1, parent: 0, exe: "/init", rss: 1000},
		{pid: 10, parent: 1, exe: "/lab", rss: 1},
		{pid: 11, parent: 10, exe: "/lab", rss: 2},    // kube-apiserver
		{pid: 12, parent: 10, exe: "/python", rss: 4}, // Ray
		{pid: 13, parent: 12, exe: "/raylet", rss: 8},
		{pid: 14, parent: 10, exe: "/coordinator", rss: 16},
		{pid: 15, parent: 14, exe: "/child", rss: 32},
		{pid: 20, parent: 1, exe: "/lab", rss: 64}, // somebody else's lab
	}
	own, others := sumMemory(all, 10, 14, "/lab")
	assert.EqualValues(t, 3, own)
	assert.EqualValues(t, 12, others)
}

func TestParseStat(t *testing.T) {
	fields := " S 7 1 1 0 -1 4194560 1 1 0 0 5 6 0 0 20 0 9 0 1234 999999 42 18446744073709551615"
	got, err := parseStat([]byte("12 (a ) b (c)" + fields))
	require.NoError(t, err)
	assert.Equal(t, process{pid: 12, parent: 7, rss: 42 * int64(os.Getpagesize())}, got)
	for name, bad := range map[string]string{
		"empty": "", "no id": "x (a)" + fields, "cut short": "12 (a) S 7", "no parent": "12 (a) S x" + fields, "no command": "12",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseStat([]byte(bad))
			assert.Error(t, err)
		})
	}
}

func TestReadProcessesFindsThisOne(t *testing.T) {
	exe, err := os.Executable()
	require.NoError(t, err)
	for _, p := range readProcesses("/proc") {
		if p.pid == os.Getpid() {
			assert.Equal(t, os.Getppid(), p.parent)
			assert.Equal(t, exe, p.exe)
			assert.Positive(t, p.rss)
			assert.GreaterOrEqual(t, peakRSS("/proc", p.pid), p.rss/2)
			return
		}
	}
	assert.Fail(t, "this process is not listed")
}

func TestPeakRSSOfNobody(t *testing.T) {
	assert.Zero(t, peakRSS("/proc", 0))
	assert.Zero(t, peakRSS(t.TempDir(), 5))
}

func TestWriteAndRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report.json")
	r := newTestRecorder()
	r.ObserveMachine(at(0), MachineObservation{Name: "m", Pool: "gpu", Phase: "Running"})
	want := r.Report(at(1500))
	require.NoError(t, Write(path, want))
	got, err := Read(path)
	require.NoError(t, err)
	assert.Equal(t, want.Timeline, got.Timeline)
	assert.Equal(t, want.Machines, got.Machines)
	b, err := os.ReadFile(path) //nolint:gosec // the test's own file
	require.NoError(t, err)
	assert.Contains(t, string(b), `"removedWhileBusy": []`, "an empty list is said, not left out")

	require.Error(t, Write(filepath.Join(t.TempDir(), "nowhere", "report.json"), want))
	_, err = Read(filepath.Join(t.TempDir(), "none"))
	require.Error(t, err)
	require.NoError(t, os.WriteFile(path, []byte("{"), 0o600))
	_, err = Read(path)
	assert.Error(t, err)
}

// A report must not change while the lab goes on.
func TestReportIsASnapshot(t *testing.T) {
	r := newTestRecorder()
	r.DriverStarted(at(0), "d", cluster, "")
	r.JournalLine(at(1), []byte(line))
	rep := r.Report(at(2))
	r.DriverEnded(at(3), "d", DriverEnd{ExitCode: 1})
	r.JournalLine(at(4), []byte(`{"decisions":[{"kind":"Node","subject":"n","reason":"Vacant"}]}`))
	r.CoordinatorStarted(at(5), "path", "log")
	assert.Nil(t, rep.Drivers[0].EndedAt)
	assert.Equal(t, map[string]int{"Demand": 1}, rep.Coordinator.Reasons)
	assert.Zero(t, rep.Coordinator.Starts)
}

func TestPoolsOfTheScenarioComeFirst(t *testing.T) {
	r := newTestRecorder()
	r.ObserveReplicas(time.Time{}, "stranger", 1, true, "")
	pools := r.Report(at(1)).Pools
	got := make([]string, 0, len(pools))
	for _, p := range pools {
		got = append(got, p.Name)
	}
	assert.Equal(t, []string{"head", "gpu", "cpu", "stranger"}, got)
}
