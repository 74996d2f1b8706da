package report

import (
	"maps"
	"math"
	"sync"
	"time"
)

// PoolInfo tells the recorder about a pool of the scenario.
type PoolInfo struct {
	// Name of the MachineDeployment and Class of its VMs.
	Name  string
	Class string
	// Initial is the number of replicas that the scenario begins with.
	Initial int32
	// Worker is false for the pool of the Ray heads.
	Worker bool
}

// Options of a Recorder.
type Options struct {
	// Scenario and Description are copied into the report.
	Scenario    string
	Description string
	// Start is second zero.
	Start time.Time
	// Pools of the scenario. Others that appear are recorded as worker pools
	// without a class.
	Pools []PoolInfo
}

// Recorder keeps what the watchers see. Its methods may be called by any
// goroutine; the time of an observation is given by the caller.
type Recorder struct {
	mu          sync.Mutex
	o           Options
	rep         Report
	pools       map[string]*Pool
	poolOrder   []string
	machines    map[string]*machine // by name
	machineList []*machine
	nodes       map[string]*node
	pods        map[string]*pod        // by namespace/name
	ray         map[string]*rayCluster // by namespace/name
	asked       map[string]bool        // head pods that the scenario ends
	waves       []*wave
	raises      []raise
	created     map[string][]time.Time // worker pods of a RayCluster
	last        map[string]map[string]int64
	subscribers []func(Event)
	marked      int
	cordoned    int
	decided     map[string]string
	// unmarkedMachines went without a mark.
	unmarkedMachines []*machine
	decidedOn        map[string]bool   // kind and subject of every decision so far
	podNodes         map[string]string // node of every Ray pod so far, by namespace/name
}

// NewRecorder makes a Recorder.
func NewRecorder(o Options) *Recorder {
	r := &Recorder{
		o: o,
		rep: Report{
			Scenario: o.Scenario, Description: o.Description, StartedAt: o.Start,
			RemovedWhileBusy: []BusyNode{}, TouchedWhileBusy: []BusyNode{}, Timeline: []Event{},
		},
		pools: map[string]*Pool{}, machines: map[string]*machine{}, nodes: map[string]*node{},
		pods: map[string]*pod{}, ray: map[string]*rayCluster{}, asked: map[string]bool{},
		created: map[string][]time.Time{},
		last:    map[string]map[string]int64{}, decided: map[string]string{},
		decidedOn: map[string]bool{}, podNodes: map[string]string{},
	}
	for _, p := range o.Pools {
		r.addPool(p)
	}
	return r
}

func (r *Recorder) addPool(p PoolInfo) *Pool {
	pool := &Pool{Name: p.Name, Class: p.Class, Worker: p.Worker, initialReplica: p.Initial}
	r.pools[p.Name] = pool
	r.poolOrder = append(r.poolOrder, p.Name)
	return pool
}

func (r *Recorder) pool(name string) *Pool {
	if p, ok := r.pools[name]; ok {
		return p
	}
	return r.addPool(PoolInfo{Name: name, Worker: true})
}

// Subscribe has f called with every event, in order. f must be quick and must
// not call the Recorder.
func (r *Recorder) Subscribe(f func(Event)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.subscribers = append(r.subscribers, f)
}

// Start is second zero.
func (r *Recorder) Start() time.Time { return r.o.Start }

// Note records something in the scenario's own words.
func (r *Recorder) Note(at time.Time, kind Kind, subject, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.emit(at, Event{Kind: kind, Subject: subject, Text: text})
}

// seconds from the start, rounded to milliseconds.
func (r *Recorder) seconds(at time.Time) float64 {
	return math.Round(at.Sub(r.o.Start).Seconds()*1000) / 1000
}

func (r *Recorder) emit(at time.Time, e Event) {
	e.At = r.seconds(at)
	r.rep.Timeline = append(r.rep.Timeline, e)
	for _, f := range r.subscribers {
		f(e)
	}
}

// emitCounts records a state that consists of numbers, if it changed.
func (r *Recorder) emitCounts(at time.Time, kind Kind, subject string, counts map[string]int64) {
	key := string(kind) + " " + subject
	old, seen := r.last[key]
	if seen && maps.Equal(old, counts) || !seen && len(counts) == 0 {
		return
	}
	r.last[key] = counts
	r.emit(at, Event{Kind: kind, Subject: subject, Counts: counts})
}
