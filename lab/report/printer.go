package report

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// quiet is how long nothing may change before a line of progress is printed.
const quiet = 5 * time.Second

// Printer writes one line for every event, for people to follow.
type Printer struct {
	mu     sync.Mutex
	w      io.Writer
	start  time.Time
	silent time.Time // last line
}

// NewPrinter makes a Printer. Subscribe its Print to a Recorder.
func NewPrinter(w io.Writer, start time.Time) *Printer {
	return &Printer{w: w, start: start, silent: start}
}

// Print writes the line of one event.
func (p *Printer) Print(e Event) {
	p.line(e.At, string(e.Kind), eventText(e))
}

// Progress writes a line every few seconds in which nothing changed, until the
// context ends. Waiting says what is waited for.
func (p *Printer) Progress(ctx context.Context, waiting func() string) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			p.mu.Lock()
			silent := now.Sub(p.silent) >= quiet
			p.mu.Unlock()
			if silent {
				p.line(now.Sub(p.start).Seconds(), "...", waiting())
			}
		}
	}
}

func (p *Printer) line(at float64, kind, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent = time.Now()
	// A failing terminal is no reason to end a scenario.
	_, _ = fmt.Fprintf(p.w, "%+7.1fs  %-11s  %s\n", at, kind, text)
}

func eventText(e Event) string {
	switch {
	case e.From != nil && e.To != nil:
		text := fmt.Sprintf("%s: %d -> %d", e.Subject, *e.From, *e.To)
		if e.Text != "" {
			text += " (" + e.Text + ")"
		}
		return text
	case e.Counts != nil:
		return e.Subject + ": " + countsText(e.Counts)
	case e.Kind == KindStep:
		return e.Text + " (" + e.Reason + ")"
	case e.Kind == KindDecision:
		return e.Subject + ": " + e.Text + " (" + e.Reason + ")"
	case e.Subject == "" || e.Kind == KindFault:
		return e.Text
	}
	return e.Subject + ": " + e.Text
}

// countsText writes numbers in one line, in order of their names.
func countsText(counts map[string]int64) string {
	if len(counts) == 0 {
		return "none"
	}
	parts := make([]string, 0, len(counts))
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%d x %s", counts[k], k))
	}
	return strings.Join(parts, ", ")
}
