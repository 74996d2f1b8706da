package report

import (
	"fmt"
	"slices"
	"time"
)

// machine is a Machine and what is remembered beside the report.
type machine struct {
	Machine

	phase  string
	marked bool
	gone   bool
}

// node is a Kubernetes Node.
type node struct {
	pool     string
	ready    bool
	cordoned bool
}

// MachineObservation is what a watch tells about a Machine.
type MachineObservation struct {
	Name     string
	Pool     string
	Phase    string
	Node     string
	Deleting bool
	// Marked tells that it carries Cluster API's delete mark.
	Marked bool
}

// NodeObservation is what a watch tells about a Node.
type NodeObservation struct {
	Name string
	Pool string
	// Ready is the node's condition, Cordoned tells that it carries the
	// coordinator's taint.
	Ready    bool
	Cordoned bool
}

// ObserveReplicas records the replicas of a MachineDeployment. The first value
// that is seen is where it begins, not a write.
func (r *Recorder) ObserveReplicas(at time.Time, pool string, replicas int32, first bool, planID string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.pool(pool)
	from := p.ReplicasAtEnd
	p.ReplicasAtEnd = replicas
	p.MaxReplicas = max(p.MaxReplicas, replicas)
	if first || from == replicas {
		return
	}
	e := Event{Kind: KindReplicas, Subject: pool, From: &from, To: &replicas}
	if planID != "" {
		e.Text = "plan " + planID
	}
	if replicas > from {
		p.Raises++
		r.raises = append(r.raises, raise{Raise: Raise{Pool: pool, From: from, To: replicas, At: r.seconds(at)}, at: at})
	} else {
		p.Lowers++
		if p.FirstLowerAt == nil {
			p.FirstLowerAt = new(r.seconds(at))
		}
	}
	r.emit(at, e)
}

// lowerLag is how much later than the deletion of a Machine the lowering of
// replicas that led to it may be seen: the two are watched apart.
const lowerLag = 2.0

// unmarked lists the Machines that went without a mark although replicas of
// their pool had been lowered. Before that, Cluster API takes back what it made
// too many by itself, which it does when very many Machines are made at once.
func (r *Recorder) unmarked() []string {
	out := []string{}
	for _, m := range r.unmarkedMachines {
		first := r.pool(m.Pool).FirstLowerAt
		m.Surplus = first == nil || *first > *m.DeletingAt+lowerLag
		if !m.Surplus {
			out = append(out, m.Name)
		}
	}
	return out
}

// ObserveMachine records the state of a Machine.
func (r *Recorder) ObserveMachine(at time.Time, o MachineObservation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, ok := r.machines[o.Name]
	if !ok {
		m = r.newMachine(at, o)
	}
	m.phase = o.Phase
	if o.Node != "" {
		m.Node = o.Node
	}
	if o.Marked && !m.marked {
		r.marked++
		r.touched(at, "marked", m.Name, m.Node)
	}
	m.marked = o.Marked
	if o.Deleting && m.DeletingAt == nil {
		m.DeletingAt = new(r.seconds(at))
		r.removed(at, m)
		if !m.marked {
			r.unmarkedMachines = append(r.unmarkedMachines, m)
			r.emit(at, Event{Kind: KindNote, Subject: m.Name, Text: "removed without a mark"})
		}
	}
	r.nodeReady(at, m)
	r.emitMachines(at, m.Pool)
}

func (r *Recorder) newMachine(at time.Time, o MachineObservation) *machine {
	p := r.pool(o.Pool)
	m := &machine{Machine: Machine{Name: o.Name, Pool: o.Pool, Class: p.Class, RequestedAt: r.seconds(at)}}
	seen, alive := 0, 1
	for _, other := range r.machineList {
		if other.Pool == o.Pool {
			seen++
			if !other.gone {
				alive++
			}
		}
	}
	m.Initial = seen < int(p.initialReplica)
	if !m.Initial {
		p.Bought++
	}
	p.MaxAtSameTime = max(p.MaxAtSameTime, alive)
	r.machines[o.Name] = m
	r.machineList = append(r.machineList, m)
	return m
}

// ObserveMachineGone records that a Machine object is no more.
func (r *Recorder) ObserveMachineGone(at time.Time, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, ok := r.machines[name]
	if !ok || m.gone {
		return
	}
	m.gone = true
	m.DeletedAt = new(r.seconds(at))
	if m.LastBusyAt != nil {
		m.IdleToDeletedSeconds = new(round(*m.DeletedAt - *m.LastBusyAt))
	}
	if m.DeletingAt == nil {
		m.DeletingAt = m.DeletedAt
	}
	r.emitMachines(at, m.Pool)
}

// ExcuseMachine tells that the scenario itself deletes a Machine, so that its
// removal is not held against the coordinator.
func (r *Recorder) ExcuseMachine(at time.Time, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m, ok := r.machines[name]; ok && m.DeletingAt == nil {
		m.DeletingAt, m.Excused = new(r.seconds(at)), true
	}
}

// Busy tells whether the node of a Machine has Ray work now.
func (r *Recorder) Busy(machine string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, ok := r.machines[machine]
	return ok && len(r.busy(m.Node, false)) > 0
}

// busyNow notes the Machines under the Ray nodes that work now.
func (r *Recorder) busyNow(at time.Time, cluster string) {
	nodes := map[string]bool{}
	for _, p := range r.pods {
		if p.cluster() == cluster && !p.Head && !p.finished() && r.rayStatus(p) == statusRunning {
			nodes[p.Node] = true
		}
	}
	for _, m := range r.machineList {
		if !m.gone && m.Node != "" && nodes[m.Node] {
			m.LastBusyAt = new(r.seconds(at))
		}
	}
}

func (r *Recorder) emitMachines(at time.Time, pool string) {
	counts := map[string]int64{}
	for _, m := range r.machineList {
		if m.Pool == pool && !m.gone {
			phase := m.phase
			if phase == "" {
				phase = "New"
			}
			counts[phase]++
		}
	}
	r.emitCounts(at, KindMachines, pool, counts)
}

// ObserveNode records the state of a Node.
func (r *Recorder) ObserveNode(at time.Time, o NodeObservation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, ok := r.nodes[o.Name]
	if !ok {
		n = &node{}
		r.nodes[o.Name] = n
	}
	was, moved := n.cordoned, n.pool
	*n = node{pool: o.Pool, ready: o.Ready, cordoned: o.Cordoned}
	for _, m := range r.machineList {
		if m.Node == o.Name {
			r.nodeReady(at, m)
		}
	}
	if o.Cordoned && !was {
		r.cordoned++
		r.touched(at, "cordoned", "", o.Name)
	}
	if moved != "" && moved != o.Pool {
		r.emitNodes(at, moved)
	}
	r.emitNodes(at, o.Pool)
}

// ObserveNodeGone records that a Node object is no more.
func (r *Recorder) ObserveNodeGone(at time.Time, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, ok := r.nodes[name]
	if !ok {
		return
	}
	delete(r.nodes, name)
	r.emitNodes(at, n.pool)
}

func (r *Recorder) nodeReady(at time.Time, m *machine) {
	if n, ok := r.nodes[m.Node]; ok && n.ready && m.NodeReadyAt == nil {
		m.NodeReadyAt = new(r.seconds(at))
	}
}

func (r *Recorder) emitNodes(at time.Time, pool string) {
	counts := map[string]int64{}
	for _, n := range r.nodes {
		if n.pool != pool {
			continue
		}
		switch {
		case n.cordoned:
			counts["Cordoned"]++
		case n.ready:
			counts["Ready"]++
		default:
			counts["NotReady"]++
		}
	}
	r.emitCounts(at, KindNodes, pool, counts)
}

// removed checks a Machine that just got its deletion timestamp.
func (r *Recorder) removed(at time.Time, m *machine) {
	if b := r.busy(m.Node, true); len(b) > 0 {
		r.rep.RemovedWhileBusy = append(r.rep.RemovedWhileBusy, BusyNode{At: r.seconds(at), What: "removed", Machine: m.Name, Node: m.Node, Pods: b})
		r.emit(at, Event{Kind: KindNote, Subject: m.Name, Text: fmt.Sprintf("REMOVED WHILE BUSY: node %s has %v", m.Node, b)})
	}
}

// touched checks a node that was just cordoned or whose Machine was marked.
func (r *Recorder) touched(at time.Time, what, machine, node string) {
	if b := r.busy(node, false); len(b) > 0 {
		r.rep.TouchedWhileBusy = append(r.rep.TouchedWhileBusy, BusyNode{At: r.seconds(at), What: what, Machine: machine, Node: node, Pods: b})
		r.emit(at, Event{Kind: KindNote, Subject: node, Text: fmt.Sprintf("%s while busy: %v", what, b)})
	}
}

// busy lists the Ray pods of a node that run work: those whose Ray node was
// RUNNING when the GCS was last read and, with anyPod, every one that is
// neither finished nor on its way out.
func (r *Recorder) busy(node string, anyPod bool) []string {
	if node == "" {
		return nil
	}
	var out []string
	for key, p := range r.pods {
		if p.Node != node || p.finished() {
			continue
		}
		status := r.rayStatus(p)
		if status == statusRunning || anyPod && !p.Terminating {
			out = append(out, key+" "+p.phase()+", Ray node "+status)
		}
	}
	slices.Sort(out)
	return out
}
