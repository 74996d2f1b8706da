package report

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Facts are what a scenario waits for: the present state, and how often some
// things have happened since the start.
type Facts struct {
	// WorkerMachines counts the Machines that exist, except those of the pool
	// of the heads.
	WorkerMachines int
	// Raises and Lowers count the writes of replicas by pool, ReadyNodes the
	// nodes that are ready now.
	Raises, Lowers, ReadyNodes map[string]int
	// ReadyPods counts the worker pods that are ready now, by RayCluster
	// (namespace/name), RayPods all pods that exist.
	ReadyPods, RayPods map[string]int
	// Demand tells which RayClusters show demand now.
	Demand map[string]bool
	// Cordons and Marks count the coordinator's taints and Cluster API's delete
	// marks that have appeared so far.
	Cordons, Marks int
	// CordonedNodes counts the nodes that carry the coordinator's taint now.
	CordonedNodes int
}

// Facts tells the present state.
func (r *Recorder) Facts() Facts {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := Facts{
		Raises: map[string]int{}, Lowers: map[string]int{}, ReadyNodes: map[string]int{},
		ReadyPods: map[string]int{}, RayPods: map[string]int{}, Demand: map[string]bool{},
		Cordons: r.cordoned, Marks: r.marked, WorkerMachines: r.workerMachines(),
	}
	for name, p := range r.pools {
		f.Raises[name], f.Lowers[name] = p.Raises, p.Lowers
	}
	for _, n := range r.nodes {
		if n.cordoned {
			f.CordonedNodes++
		}
		if n.ready {
			f.ReadyNodes[n.pool]++
		}
	}
	for _, p := range r.pods {
		f.RayPods[p.cluster()]++
		if !p.Head && p.phase() == "Ready" {
			f.ReadyPods[p.cluster()]++
		}
	}
	for key := range r.ray {
		f.Demand[key] = len(r.last[string(KindDemand)+" "+key]) > 0
	}
	return f
}

func (r *Recorder) workerMachines() int {
	n := 0
	for _, m := range r.machineList {
		if !m.gone && r.pool(m.Pool).Worker {
			n++
		}
	}
	return n
}

// State is the present state in a few words, for a line of progress.
func (r *Recorder) State() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var parts []string
	for _, kind := range []Kind{KindDemand, KindPods, KindMachines} {
		prefix := string(kind) + " "
		for _, key := range slices.Sorted(maps.Keys(r.last)) {
			if counts := r.last[key]; strings.HasPrefix(key, prefix) && len(counts) > 0 {
				parts = append(parts, key+": "+countsText(counts))
			}
		}
	}
	return strings.Join(parts, "; ")
}

// Report is the record up to now. Later observations do not change it.
func (r *Recorder) Report(at time.Time) Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.rep
	out.Seconds = r.seconds(at)
	out.WorkerMachinesAtEnd = r.workerMachines()
	out.Drivers = slices.Clone(r.rep.Drivers)
	out.Timeline = slices.Clone(r.rep.Timeline)
	out.RemovedWhileBusy = slices.Clone(r.rep.RemovedWhileBusy)
	out.TouchedWhileBusy = slices.Clone(r.rep.TouchedWhileBusy)
	out.RemovedUnmarked = r.unmarked()
	out.HeadEnds = slices.Clone(r.rep.HeadEnds)
	out.Faults = slices.Clone(r.rep.Faults)
	out.Waves = r.reportWaves()
	if r.rep.Coordinator != nil {
		c := *r.rep.Coordinator
		c.Reasons, c.Steps, c.Undecided = maps.Clone(c.Reasons), maps.Clone(c.Steps), slices.Clone(c.Undecided)
		c.NodeSteps = map[string][]string{}
		for node, steps := range r.rep.Coordinator.NodeSteps {
			c.NodeSteps[node] = slices.Clone(steps)
		}
		out.Coordinator = &c
	}
	r.reportMachines(&out)
	return out
}

func (r *Recorder) reportMachines(out *Report) {
	classes := map[string]*Class{}
	alive := map[string]int{}
	for _, m := range r.machineList {
		out.Machines = append(out.Machines, m.Machine)
		end := out.Seconds
		if m.DeletedAt != nil {
			end = *m.DeletedAt
		} else {
			alive[m.Pool]++
		}
		c, ok := classes[m.Class]
		if !ok {
			c = &Class{Name: m.Class}
			classes[m.Class] = c
		}
		c.VMSeconds = round(c.VMSeconds + end - m.RequestedAt)
		if !m.Initial {
			c.Bought++
			c.BoughtVMSeconds = round(c.BoughtVMSeconds + end - m.RequestedAt)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(classes)) {
		out.Classes = append(out.Classes, *classes[name])
	}
	for _, name := range r.poolOrder {
		p := *r.pools[name]
		p.MachinesAtEnd = alive[name]
		out.Pools = append(out.Pools, p)
	}
}
