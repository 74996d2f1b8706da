package metrics

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// lines decodes JSON lines.
func lines(t *testing.T, text string) []map[string]any {
	t.Helper()
	var out []map[string]any
	for line := range strings.Lines(text) {
		var v map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &v), line)
		out = append(out, v)
	}
	return out
}

// grow is a tick that changes the target of a group, so it is always recorded.
func grow(to int64) Tick {
	return Tick{At: start.Add(time.Duration(to) * time.Second), Plan: planner.Plan{
		ID:        "p",
		Decisions: []planner.Decision{{Kind: planner.SubjectNodeGroup, Subject: "default/gpu", Outcome: planner.OutcomeGrow, Reason: planner.ReasonDemand, To: to}},
	}}
}

func TestJournalLine(t *testing.T) {
	var b bytes.Buffer
	j := NewJournal(&b, JournalOptions{})
	j.Record(busy())
	require.NoError(t, j.Close(t.Context()))
	require.Equal(t, 1, strings.Count(b.String(), "\n"))
	golden(t, "testdata/journal.golden.jsonl", b.String())
}

func TestJournalRecordsChangesOnly(t *testing.T) {
	var b bytes.Buffer
	j := NewJournal(&b, JournalOptions{})
	quiet := busy()
	quiet.Plan.Steps, quiet.Results = nil, nil
	j.Record(quiet)
	j.Record(quiet) // the same decisions
	louder := quiet
	louder.Plan.Decisions = append([]planner.Decision{}, quiet.Plan.Decisions...)
	louder.Plan.Decisions[2].Message = "only the text differs"
	j.Record(louder)
	fewer := quiet
	fewer.Plan.Decisions = quiet.Plan.Decisions[:2]
	j.Record(fewer)
	j.Record(Tick{At: start, Violation: "I3"})
	require.NoError(t, j.Close(t.Context()))
	got := lines(t, b.String())
	require.Len(t, got, 3)
	assert.Len(t, got[0]["decisions"], 3)
	assert.NotContains(t, got[1], "decisions")
	assert.Equal(t, []any{map[string]any{"kind": "Demand", "subject": "licence=20000", "rayCluster": "team-a/train", "outcome": "unmet", "reason": "DoesNotFit"}}, got[1]["ended"])
	assert.Equal(t, "I3", got[2]["violation"])
	assert.Len(t, got[2]["ended"], 2)
}

func TestJournalFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.jsonl")
	require.NoError(t, os.WriteFile(path, []byte("{}\n"), 0o644)) //nolint:gosec // a file that others may read is the case
	for range 2 {
		j, err := OpenJournal(path, JournalOptions{})
		require.NoError(t, err)
		j.Record(busy())
		require.NoError(t, j.Close(t.Context()))
		require.NoError(t, j.Close(t.Context()), "closing twice")
	}
	b, err := os.ReadFile(path) //nolint:gosec // a file of the test
	require.NoError(t, err)
	assert.Len(t, lines(t, string(b)), 3)
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	_, err = OpenJournal(filepath.Join(path, "below"), JournalOptions{})
	assert.ErrorContains(t, err, "opening the journal")
}

func TestJournalInMemory(t *testing.T) {
	j, err := OpenJournal("", JournalOptions{Keep: 3})
	require.NoError(t, err)
	for i := range int64(10) {
		j.Record(grow(i + 1))
	}
	require.NoError(t, j.Close(t.Context()))
	to := make([]int64, 0, 2)
	for _, e := range j.Recent(2) {
		to = append(to, e.Decisions[0].To)
	}
	assert.Equal(t, []int64{9, 10}, to)
	assert.Len(t, j.Recent(100), 3)
	assert.Empty(t, j.Recent(-1))
	assert.Zero(t, j.Dropped())
	j.Record(grow(11))
	assert.EqualValues(t, 1, j.Dropped(), "what comes after the end is not written")
	assert.Len(t, j.Recent(1), 1)
}

// stuck blocks in Write until it is let go.
type stuck struct {
	bytes.Buffer
	gate chan struct{}
}

func (s *stuck) Write(b []byte) (int, error) {
	<-s.gate
	return s.Buffer.Write(b)
}

// Fault 58: whatever takes the journal is blocked: the oldest records go, the loop goes on.
func TestJournalNeverBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &stuck{gate: make(chan struct{})}
		j := NewJournal(w, JournalOptions{Queue: 4})
		j.Record(grow(1))
		synctest.Wait() // the writer holds the first record and is stuck
		for i := range int64(10) {
			j.Record(grow(i + 2))
		}
		assert.EqualValues(t, 6, j.Dropped())
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.ErrorIs(t, j.Close(ctx), context.DeadlineExceeded)
		close(w.gate)
		require.NoError(t, j.Close(t.Context()))
		to := make([]any, 0, 5)
		for _, l := range lines(t, w.String()) {
			to = append(to, l["decisions"].([]any)[0].(map[string]any)["to"])
		}
		assert.Equal(t, []any{1., 8., 9., 10., 11.}, to, "the oldest of those that waited are dropped")
	})
}

// full takes a few bytes, then fails until room is made.
type full struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	room int
}

var errFull = errors.New("no space left on device")

func (f *full) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := min(len(b), f.room)
	f.buf.Write(b[:n])
	f.room -= n
	if n < len(b) {
		return n, errFull
	}
	return n, nil
}

// Fault 58: the disk is full.
func TestJournalOnFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &full{room: 40}
		var seen []error
		j := NewJournal(w, JournalOptions{OnError: func(err error) { seen = append(seen, err) }})
		j.Record(grow(1))
		synctest.Wait()
		j.Record(grow(2))
		synctest.Wait()
		w.mu.Lock()
		w.room = 1 << 20
		w.mu.Unlock()
		j.Record(grow(3))
		require.NoError(t, j.Close(t.Context()))
		assert.EqualValues(t, 2, j.Dropped())
		require.Len(t, seen, 2)
		require.ErrorIs(t, seen[0], errFull)
		half, rest, found := strings.Cut(w.buf.String(), "\n")
		require.True(t, found)
		assert.Len(t, half, 40)
		assert.Len(t, lines(t, rest), 1, "the record after the torn one is whole")
	})
}

func TestJournalCleansTexts(t *testing.T) {
	var b bytes.Buffer
	j := NewJournal(&b, JournalOptions{})
	hostile := strings.Repeat("é\n\x1b[31m\xff", 1000)
	tick := busy()
	tick.Violation = hostile
	tick.Plan.Decisions[0].Message = hostile
	tick.Results[0].Error = hostile
	tick.Snapshot.Sources[0].Error = hostile
	j.Record(tick)
	require.NoError(t, j.Close(t.Context()))
	assert.Less(t, b.Len(), 5000)
	assert.NotContains(t, b.String(), "\x1b")
	assert.NotContains(t, b.String(), `\u001b`)
	assert.Equal(t, hostile, tick.Results[0].Error, "the tick is not ours to change")
}

func TestClean(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"plain":   {"a b", "a b"},
		"lines":   {"a\r\nb\tc", "a  b c"},
		"control": {"a\x00b", "a\uFFFDb"},
		"invalid": {"a\xffb", "a\uFFFDb"},
		"long":    {strings.Repeat("x", 501), strings.Repeat("x", 497) + "..."},
		"fits":    {strings.Repeat("x", 500), strings.Repeat("x", 500)},
		"runes":   {strings.Repeat("é", 300), strings.Repeat("é", 248) + "..."},
	} {
		assert.Equal(t, c.want, clean(c.in), name)
	}
}

func FuzzClean(f *testing.F) {
	f.Add("a\xffb\n")
	f.Fuzz(func(t *testing.T, s string) {
		got := clean(s)
		assert.LessOrEqual(t, len(got), maxText)
		assert.Equal(t, got, strings.ToValidUTF8(got, "?"))
		assert.NotContains(t, got, "\n")
	})
}

func TestTee(t *testing.T) {
	j := NewJournal(io.Discard, JournalOptions{})
	var l Latest
	_, ok := l.Tick()
	assert.False(t, ok)
	assert.Nil(t, l.Snapshot())
	assert.Nil(t, l.Plan())
	assert.Zero(t, l.Status())
	Tee(j, &l).Record(busy())
	require.NoError(t, j.Close(t.Context()))
	assert.Len(t, j.Recent(9), 1)
	assert.Equal(t, "p-1", l.Plan().ID)
	assert.Len(t, l.Snapshot().RayClusters, 3)
	s := l.Status()
	assert.True(t, s.Leader)
	assert.Len(t, s.Decisions, 2, "holds are left out")
}
