package planner

import (
	"maps"
	"time"
)

// Memory is what a plan needs to know of earlier ones. It goes in with the
// snapshot and comes out with the plan. The zero Memory is the most cautious
// one: timers start anew, so a restart never removes anything early, and
// nothing in it is needed to count capacity.
type Memory struct {
	// At is when the last plan was made, Gap how long after the one before it,
	// and Jump the last jump of the clock, as long as it concerns a timer.
	At   time.Time `json:"at,omitzero"`
	Gap  Duration  `json:"gap,omitempty"`
	Jump Jump      `json:"jump,omitzero"`
	// VacantSince tells since when a node has been vacant and unwanted, by UID.
	VacantSince map[string]time.Time `json:"vacantSince,omitempty"`
	// Backoff tells until when a NodeGroup is not grown, by UID: the longest of
	// the rests that concern it.
	Backoff map[string]Backoff `json:"backoff,omitempty"`
	// Refused tells when the GCS last refused to drain a Ray node, by the UID of
	// the Node.
	Refused map[string]time.Time `json:"refused,omitempty"`
	// Idle tells which nodes have been read as idle, by UID.
	Idle map[string]IdleRead `json:"idle,omitempty"`
	// Unwanted tells since when a pod without a node, or the coming Machines of
	// a NodeGroup, have been wanted by nothing, by UID.
	Unwanted map[string]time.Time `json:"unwanted,omitempty"`
	// Grown and Removed count the Machines that the plans of the last hour asked
	// for and gave back.
	Grown   []Count `json:"grown,omitempty"`
	Removed []Count `json:"removed,omitempty"`
	// Failures are the rests that each NodeGroup earned itself, by UID.
	Failures map[string][]Backoff `json:"failures,omitempty"`
	// Use is how many nodes of a NodeGroup were in use, Arrivals how many more
	// became so since, by UID.
	Use      map[string]int64   `json:"use,omitempty"`
	Arrivals map[string][]Count `json:"arrivals,omitempty"`
	// Boots are the last boot times by VM class, Booting the Machines, by UID,
	// that were seen without a usable Node.
	Boots   map[string][]Duration `json:"boots,omitempty"`
	Booting map[string]bool       `json:"booting,omitempty"`
	// Attempts counts purchases by the UID of the pod that waited longest.
	Attempts map[string]Attempt `json:"attempts,omitempty"`
}

func newMemory() Memory {
	return Memory{
		VacantSince: map[string]time.Time{}, Backoff: map[string]Backoff{}, Refused: map[string]time.Time{},
		Idle: map[string]IdleRead{}, Unwanted: map[string]time.Time{}, Failures: map[string][]Backoff{},
		Use: map[string]int64{}, Arrivals: map[string][]Count{}, Boots: map[string][]Duration{}, Booting: map[string]bool{}, Attempts: map[string]Attempt{},
	}
}

// DrainRefused notes that a Ray node on the Node was not idle after all. The
// next plan cancels the Node's removal, and its idle time starts anew. The
// receiver stays as it is.
func (m Memory) DrainRefused(nodeUID string, at time.Time) Memory {
	refused := maps.Clone(m.Refused)
	if refused == nil {
		refused = map[string]time.Time{}
	}
	refused[nodeUID] = at
	m.Refused = refused
	return m
}

// Backoff is the state of one NodeGroup after failed growth, for one kind of
// failure.
type Backoff struct {
	Kind    FailureKind `json:"kind,omitempty"`
	Until   time.Time   `json:"until"`
	Last    Duration    `json:"last"`
	Machine string      `json:"machine,omitempty"` // UID of the Machine that caused it
	Why     string      `json:"why,omitempty"`
}
