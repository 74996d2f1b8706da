package metrics

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// JournalOptions bound what a journal holds. The zero value is usable.
type JournalOptions struct {
	// Keep is how many of the last records stay readable in memory (256).
	Keep int
	// Queue is how many records may wait for a slow disk before the oldest of
	// them is dropped (64).
	Queue int
	// OnError, if not nil, is told of every record that could not be written,
	// from the journal's own goroutine.
	OnError func(error)
}

// Entry is one line of the journal: a tick that changed something.
type Entry struct {
	Time   time.Time `json:"time"`
	PlanID string    `json:"planID,omitempty"`
	Leader bool      `json:"leader"`
	// SafeToAct, Violation and DryRun are as in [Tick].
	SafeToAct bool   `json:"safeToAct"`
	Violation string `json:"violation,omitempty"`
	DryRun    bool   `json:"dryRun,omitempty"`
	// Steps are all of the plan, Results what became of them.
	Steps   []planner.Step `json:"steps,omitempty"`
	Results []StepResult   `json:"results,omitempty"`
	// Decisions are those that the tick before did not have; Ended are those
	// that it had and that are gone.
	Decisions []planner.Decision `json:"decisions,omitempty"`
	Ended     []DecisionKey      `json:"ended,omitempty"`
	// Unknown lists the sources that were not known.
	Unknown []planner.Source `json:"unknown,omitempty"`
	Cost    int64            `json:"cost"`
	Bound   int64            `json:"bound"`
	// Milliseconds that the round and its phases took.
	DurationMS float64           `json:"durationMS"`
	PhasesMS   map[Phase]float64 `json:"phasesMS,omitempty"`
}

// Journal writes one JSON line for every tick that has steps, a violation or
// other decisions than the tick before it. It has a goroutine of its own:
// Record never waits for the disk, and what the disk cannot take is dropped,
// oldest first, and counted.
type Journal struct {
	o    JournalOptions
	w    io.Writer
	file io.Closer // nil: the writer is not ours to close

	mu      sync.Mutex
	changes changes
	recent  []Entry
	queue   []Entry
	closed  bool
	dropped uint64

	wake chan struct{} // holds one token while there is something to do
	done chan struct{} // closed when the writer has ended
}

// OpenJournal opens the journal at path: a file, which is made with mode 0600
// or appended to, "-" for standard output, or "" to keep records in memory
// only.
func OpenJournal(path string, o JournalOptions) (*Journal, error) {
	switch path {
	case "":
		return NewJournal(io.Discard, o), nil
	case "-":
		return NewJournal(os.Stdout, o), nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, fmt.Errorf("opening the journal: %w", err)
	}
	// A file of an earlier, laxer hand may be there already.
	if err := f.Chmod(0o600); err != nil {
		return nil, fmt.Errorf("closing the journal to others: %w", errors.Join(err, f.Close()))
	}
	j := newJournal(f, o)
	j.file = f
	go j.write()
	return j, nil
}

// NewJournal writes to w, which need not be safe for concurrent use and is not
// closed.
func NewJournal(w io.Writer, o JournalOptions) *Journal {
	j := newJournal(w, o)
	go j.write()
	return j
}

func newJournal(w io.Writer, o JournalOptions) *Journal {
	if o.Keep <= 0 {
		o.Keep = 256
	}
	if o.Queue <= 0 {
		o.Queue = 64
	}
	return &Journal{o: o, w: w, wake: make(chan struct{}, 1), done: make(chan struct{})}
}

// Record takes a tick. It never blocks.
func (j *Journal) Record(t Tick) {
	j.mu.Lock()
	defer j.mu.Unlock()
	begun, ended := j.changes.next(t.Plan.Decisions)
	if len(begun) == 0 && len(ended) == 0 && len(t.Plan.Steps) == 0 && len(t.Results) == 0 && t.Violation == "" {
		return
	}
	e := entryOf(&t, begun, ended)
	if len(j.recent) == j.o.Keep {
		j.recent = append(j.recent[:0:0], j.recent[1:]...)
	}
	j.recent = append(j.recent, e)
	if j.closed {
		j.dropped++
		return
	}
	if len(j.queue) == j.o.Queue {
		j.queue = append(j.queue[:0:0], j.queue[1:]...)
		j.dropped++
	}
	j.queue = append(j.queue, e)
	j.signal()
}

// signal wakes the writer. The lock is held.
func (j *Journal) signal() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// Recent returns the last n records, oldest first.
func (j *Journal) Recent(n int) []Entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	from := max(0, len(j.recent)-max(0, n))
	return append([]Entry{}, j.recent[from:]...)
}

// Dropped counts the records that were not written.
func (j *Journal) Dropped() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.dropped
}

// Close writes what waits and closes the file. If the context ends first, what
// waits is lost and the error says so.
func (j *Journal) Close(ctx context.Context) error {
	j.mu.Lock()
	j.closed = true
	j.signal()
	j.mu.Unlock()
	select {
	case <-j.done:
	case <-ctx.Done():
		return fmt.Errorf("flushing the journal: %w", ctx.Err())
	}
	if j.file == nil {
		return nil
	}
	if err := j.file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("closing the journal: %w", err)
	}
	return nil
}

// write is the writer's goroutine.
func (j *Journal) write() {
	defer close(j.done)
	torn := false // the last line is not whole
	for {
		batch, last := j.take()
		for i := range batch {
			if err := j.line(&batch[i], &torn); err != nil {
				j.lost(err)
			}
		}
		if last {
			return
		}
		<-j.wake
	}
}

// take empties the queue; last tells that nothing will follow.
func (j *Journal) take() (batch []Entry, last bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	batch, j.queue = j.queue, nil
	return batch, j.closed
}

func (j *Journal) lost(err error) {
	j.mu.Lock()
	j.dropped++
	j.mu.Unlock()
	if j.o.OnError != nil {
		j.o.OnError(err)
	}
}

// line writes one record. After a write that stopped halfway, as on a full
// disk, the next record starts on a line of its own.
func (j *Journal) line(e *Entry, torn *bool) error {
	b, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encoding a record of the journal: %w", err)
	}
	b = append(b, '\n')
	if *torn {
		b = append([]byte{'\n'}, b...)
	}
	n, err := j.w.Write(b)
	if n > 0 {
		*torn = n < len(b)
	}
	if err != nil {
		return fmt.Errorf("writing the journal: %w", err)
	}
	return nil
}
