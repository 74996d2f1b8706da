package report

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const line = `{"time":"2026-01-02T03:04:05Z","planID":"p1","unknown":{"x":[1]},` +
	`"results":[{"step":{"kind":"Grow","group":"default/gpu","from":0,"to":2,"reason":"Demand"},"outcome":"done"},` +
	`{"step":{"kind":"Remove","group":"default/cpu","machines":["default/m"],"from":1,"to":0,"reason":"Vacant"},"outcome":"refused","error":"moved on"}],` +
	`"decisions":[{"kind":"NodeGroup","subject":"default/gpu","outcome":"grow","reason":"Demand","message":"two GPUs","from":0,"to":2}]}`

func TestJournalLine(t *testing.T) {
	r := newTestRecorder()
	var seen []string
	r.Subscribe(func(e Event) { seen = append(seen, string(e.Kind)+" "+eventText(e)) })
	r.JournalLine(at(0), []byte(line))
	r.JournalLine(at(1), []byte("\n"))
	r.JournalLine(at(2), []byte(`{"decisions":[{"kind":"NodeGroup","subject":"default/gpu","outcome":"grow","reason":"Demand","from":0,"to":2}]}`))
	r.JournalLine(at(3), []byte(`{"decisions":[{"kind":"NodeGroup","subject":"default/gpu","outcome":"hold","reason":"Coming"}]}`))
	assert.Equal(t, []string{
		"step Grow default/gpu 0 -> 2 (Demand)",
		"step Remove default/cpu 1 -> 0 (default/m): refused: moved on (Vacant)",
		"decision NodeGroup default/gpu: grow: two GPUs (Demand)",
		"decision NodeGroup default/gpu: hold:  (Coming)",
	}, seen)
	c := r.Report(at(4)).Coordinator
	require.NotNil(t, c)
	assert.Equal(t, map[string]int{"Demand": 1, "Coming": 1}, c.Reasons)
	assert.Zero(t, c.JournalErrors)
	r.JournalLine(at(5), []byte(`{"decisions": 7`))
	assert.Equal(t, 1, r.Report(at(6)).Coordinator.JournalErrors)
}

func TestTailOfJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.jsonl")
	tl := &tail{path: path}
	write := func(text string) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // the test's own file
		require.NoError(t, err)
		_, err = f.WriteString(text)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	read := func() []string {
		t.Helper()
		lines, err := tl.read()
		require.NoError(t, err)
		out := make([]string, 0, len(lines))
		for _, l := range lines {
			out = append(out, string(l))
		}
		return out
	}
	assert.Empty(t, read(), "there is no file yet")
	write("one\ntw")
	assert.Equal(t, []string{"one"}, read())
	write("o\nthree\n")
	assert.Equal(t, []string{"two", "three"}, read())
	assert.Empty(t, read())
	require.NoError(t, os.WriteFile(path, []byte("new\n"), 0o600))
	assert.Equal(t, []string{"new"}, read(), "the file began anew")
}

func TestFollowJournalReadsToTheEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.jsonl")
	require.NoError(t, os.WriteFile(path, []byte(line+"\n"), 0o600))
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // what is there is read even so
	r := newTestRecorder()
	require.NoError(t, FollowJournal(ctx, path, r))
	assert.Equal(t, map[string]int{"Demand": 1}, r.Report(time.Now()).Coordinator.Reasons)
}

func FuzzJournalLine(f *testing.F) {
	f.Add([]byte(line))
	f.Add([]byte(`{"results":[{}],"decisions":[null]}`))
	f.Add([]byte("\x00{"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		r := newTestRecorder()
		r.JournalLine(at(0), b)
		for _, e := range r.Report(at(1)).Timeline {
			_ = eventText(e)
		}
	})
}

func TestJournalsStepsAreFollowedByNode(t *testing.T) {
	r := newTestRecorder()
	r.ObserveMachine(at(0), MachineObservation{Name: "m", Pool: "gpu", Node: "n"})
	r.ObservePod(at(0), worker("w", "n", "Running"))
	r.ObserveMachine(at(0), MachineObservation{Name: "held", Pool: "gpu", Node: "k"})
	for _, line := range []string{
		`{"decisions":[{"kind":"Machine","subject":"default/held","outcome":"shrink","reason":"DeletedByOthers"}],"results":[{"outcome":"done","step":{"kind":"Cordon","node":"k","reason":"DeletedByOthers"}}]}`,
		`{"decisions":[{"kind":"Node","subject":"n","outcome":"shrink","reason":"Idle"}],"results":[{"outcome":"done","step":{"kind":"Cordon","node":"n","reason":"Idle"}}]}`,
		`{"results":[{"outcome":"failed","step":{"kind":"Drain","node":"n","reason":"Idle"}}]}`,
		`{"results":[{"outcome":"done","step":{"kind":"Drain","node":"n","reason":"Idle"}}]}`,
		`{"results":[{"outcome":"done","step":{"kind":"ShrinkWorkers","rayCluster":"default/main","workerGroup":"g","pods":[{"namespace":"default","name":"w"}],"reason":"Idle"}}]}`,
		`{"results":[{"outcome":"done","step":{"kind":"Remove","group":"default/gpu","machines":["default/m"],"reason":"Vacant"}}]}`,
		`{"results":[{"outcome":"done","step":{"kind":"Cordon","node":"other","reason":"Idle"}}]}`,
		`{"results":[{"outcome":"done","step":{"kind":"Grow","group":"default/gpu"}}]}`,
	} {
		r.JournalLine(at(1), []byte(line))
	}
	c := r.Report(at(2)).Coordinator
	assert.Equal(t, map[string]int{"Cordon": 3, "Drain": 1, "ShrinkWorkers": 1, "Remove": 1, "Grow": 1}, c.Steps)
	assert.Equal(t, []string{"Cordon", "Drain", "ShrinkWorkers", "Remove"}, c.NodeSteps["n"])
	assert.Equal(t, []string{"Cordon other", "Grow default/gpu"}, c.Undecided)
}
