package report

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// journalLine is what is read of one line of the coordinator's journal. Fields
// that are missing or new are no error.
type journalLine struct {
	PlanID  string `json:"planID"`
	Results []struct {
		Step    journalStep `json:"step"`
		Outcome string      `json:"outcome"`
		Error   string      `json:"error"`
	} `json:"results"`
	Decisions []struct {
		Kind    string `json:"kind"`
		Subject string `json:"subject"`
		Outcome string `json:"outcome"`
		Reason  string `json:"reason"`
		Message string `json:"message"`
		From    int64  `json:"from"`
		To      int64  `json:"to"`
	} `json:"decisions"`
}

type journalStep struct {
	Kind        string   `json:"kind"`
	Group       string   `json:"group"`
	Node        string   `json:"node"`
	Machines    []string `json:"machines"`
	RayCluster  string   `json:"rayCluster"`
	WorkerGroup string   `json:"workerGroup"`
	From        int64    `json:"from"`
	To          int64    `json:"to"`
	Reason      string   `json:"reason"`
	Pods        []struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"pods"`
}

// subject is what the step is done to.
func (s *journalStep) subject() string {
	switch {
	case s.WorkerGroup != "":
		return s.RayCluster + "/" + s.WorkerGroup
	case s.Node != "":
		return s.Node
	case s.Group != "":
		return s.Group
	}
	return strings.Join(s.Machines, ",")
}

func (s *journalStep) text() string {
	t := s.Kind + " " + s.subject()
	if s.From != s.To {
		t += fmt.Sprintf(" %d -> %d", s.From, s.To)
	}
	if len(s.Machines) > 0 {
		t += " (" + strings.Join(s.Machines, ", ") + ")"
	}
	return t
}

// JournalLine records one line of the coordinator's journal: every step with
// its outcome, and every decision that is not what it was.
func (r *Recorder) JournalLine(at time.Time, line []byte) {
	line = bytes.TrimSpace(line)
	if len(line) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.coordinator()
	var l journalLine
	if err := json.Unmarshal(line, &l); err != nil {
		c.JournalErrors++
		r.emit(at, Event{Kind: KindNote, Text: "a line of the journal cannot be read: " + err.Error()})
		return
	}
	for _, d := range l.Decisions {
		r.decidedOn[d.Kind+" "+d.Subject] = true
	}
	for _, x := range l.Results {
		if x.Outcome == "done" {
			r.stepTaken(c, &x.Step)
		}
		text := x.Step.text()
		if x.Outcome != "done" {
			text += ": " + x.Outcome
		}
		if x.Error != "" {
			text += ": " + x.Error
		}
		r.emit(at, Event{Kind: KindStep, Subject: x.Step.subject(), Reason: x.Step.Reason, Text: text})
	}
	for _, d := range l.Decisions {
		key, now := d.Kind+" "+d.Subject, fmt.Sprintf("%s %s %d %d", d.Outcome, d.Reason, d.From, d.To)
		if r.decided[key] == now {
			continue
		}
		r.decided[key] = now
		c.Reasons[d.Reason]++
		r.emit(at, Event{Kind: KindDecision, Subject: key, Reason: d.Reason, Text: d.Outcome + ": " + d.Message})
	}
}

// decidedOnMachineOf tells whether there was a decision about the Machine of a
// Node: where somebody else deletes a Machine, that is what is decided about.
func (r *Recorder) decidedOnMachineOf(node string) bool {
	for _, m := range r.machineList {
		if m.Node != node {
			continue
		}
		for subject := range r.decidedOn {
			if strings.HasPrefix(subject, "Machine ") && strings.HasSuffix(subject, "/"+m.Name) {
				return true
			}
		}
	}
	return false
}

// stepTaken counts a step and remembers on which nodes it was taken.
func (r *Recorder) stepTaken(c *Coordinator, s *journalStep) {
	c.Steps[s.Kind]++
	if s.Reason == "" || s.Node != "" && !r.decidedOn["Node "+s.Node] && !r.decidedOnMachineOf(s.Node) {
		c.Undecided = append(c.Undecided, s.text())
	}
	nodes := r.nodesOf(s)
	for _, n := range nodes {
		c.NodeSteps[n] = append(c.NodeSteps[n], s.Kind)
	}
}

// nodesOf lists the nodes that a step is about: its own, or those of its
// Machines or pods.
func (r *Recorder) nodesOf(s *journalStep) []string {
	if s.Node != "" {
		return []string{s.Node}
	}
	var out []string
	for _, name := range s.Machines {
		_, name, _ = strings.Cut(name, "/")
		if m, ok := r.machines[name]; ok && m.Node != "" {
			out = append(out, m.Node)
		}
	}
	for _, p := range s.Pods {
		if node := r.podNodes[p.Namespace+"/"+p.Name]; node != "" {
			out = append(out, node)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// FollowJournal reads a file of JSON lines that another process appends to,
// until the context ends; then it reads what is left. The file may not exist
// yet, and may begin anew. A line that a killed process left unfinished counts
// as a broken one when the next begins.
func FollowJournal(ctx context.Context, path string, r *Recorder) error {
	t := &tail{path: path}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		lines, err := t.read()
		if err != nil {
			return fmt.Errorf("reading the journal: %w", err)
		}
		for _, l := range lines {
			r.JournalLine(time.Now(), l)
		}
		select {
		case <-ctx.Done():
			lines, err := t.read()
			for _, l := range lines {
				r.JournalLine(time.Now(), l)
			}
			return err
		case <-tick.C:
		}
	}
}

type tail struct {
	path   string
	offset int64
	rest   []byte
}

// read returns the lines that were completed since the last time.
func (t *tail) read() ([][]byte, error) {
	f, err := os.Open(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() < t.offset {
		t.offset, t.rest = 0, nil
	}
	more, err := io.ReadAll(io.NewSectionReader(f, t.offset, info.Size()-t.offset))
	if err != nil {
		return nil, err
	}
	t.offset += int64(len(more))
	t.rest = append(t.rest, more...)
	var lines [][]byte
	for {
		line, rest, found := bytes.Cut(t.rest, []byte("\n"))
		if !found {
			return lines, nil
		}
		lines, t.rest = append(lines, bytes.Clone(line)), bytes.Clone(rest)
	}
}
