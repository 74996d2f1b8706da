package coordinator_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tandem-autoscaler/tandem/pkg/coordinator"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// rig is a small cluster that answers as the real parts do: Ray, its operator, the
// scheduler and Cluster API act by themselves between any two calls, and every
// write checks its precondition against what is true, not against what was seen.
// Whatever takes a Ray node away that works fails the test.
type rig struct {
	t *testing.T

	mu       sync.Mutex
	made     int
	replicas int64
	workers  int64
	named    []string
	machines map[string]*rigMachine
	pods     map[string]*rigPod
	waiting  int64 // requests that no Ray node serves yet
	served   int64
	remember bool

	// writes are the kinds of the steps that were taken, in their order.
	writes []planner.StepKind
	// before is asked before the write with this number (from 1), after it after.
	before, after func(write int) error
	views         map[planner.SourceKind]planner.Snapshot // what is shown in place of the truth
	// twist is what the world does around a step, beside what the story tells; it
	// runs with the lock held.
	twist func(r *rig, step planner.Step, taken bool)
}

type rigMachine struct {
	cordon, soft, mark, hook bool
}

type rigPod struct {
	uid, node string
	status    planner.RayNodeStatus
	since     time.Time
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, machines: map[string]*rigMachine{}, pods: map[string]*rigPod{}, replicas: 3, workers: 3, views: map[planner.SourceKind]planner.Snapshot{}}
	r.act()
	for _, name := range slices.Sorted(maps.Keys(r.pods))[:1] {
		r.pods[name].status = planner.RayNodeRunning // an actor that runs for long
	}
	return r
}

// act lets everybody else act until nobody has anything to do.
func (r *rig) act() {
	r.clusterAPI()
	for _, name := range r.named {
		r.end(name, "was named in workersToDelete")
	}
	for int64(len(r.pods)) > r.workers { // the operator deletes any pod then
		r.end(slices.Sorted(maps.Keys(r.pods))[0], "was one too many")
	}
	for int64(len(r.pods)) < r.workers {
		r.made++
		name := fmt.Sprintf("w%03d", r.made)
		r.pods[name] = &rigPod{uid: "uid-" + name}
	}
	for _, name := range slices.Sorted(maps.Keys(r.pods)) {
		r.schedule(r.pods[name])
	}
}

func (r *rig) clusterAPI() {
	for int64(len(r.machines)) < r.replicas {
		r.made++
		r.machines[fmt.Sprintf("m%03d", r.made)] = &rigMachine{}
	}
	for _, name := range slices.Sorted(maps.Keys(r.machines)) {
		if int64(len(r.machines)) > r.replicas && r.machines[name].mark {
			delete(r.machines, name)
			for pod, p := range r.pods {
				if p.node == name {
					r.end(pod, "was on a Machine that went")
				}
			}
		}
	}
	if int64(len(r.machines)) > r.replicas {
		r.t.Errorf("Cluster API would choose a Machine by itself: %d Machines, %d replicas", len(r.machines), r.replicas)
	}
}

func (r *rig) end(pod, why string) {
	if p := r.pods[pod]; p != nil && p.status == planner.RayNodeRunning {
		r.t.Errorf("pod %s worked and %s", pod, why)
	}
	delete(r.pods, pod)
}

// schedule binds a pod, starts its raylet, and gives that work.
func (r *rig) schedule(p *rigPod) {
	for _, name := range slices.Sorted(maps.Keys(r.machines)) {
		taken := slices.ContainsFunc(slices.Collect(maps.Values(r.pods)), func(o *rigPod) bool { return o.node == name })
		if p.node == "" && !r.machines[name].cordon && !taken {
			p.node, p.status, p.since = name, planner.RayNodeIdle, time.Now()
		}
	}
	if p.status == planner.RayNodeIdle && r.waiting > 0 {
		r.waiting--
		r.served++
		p.status = planner.RayNodeRunning
	}
}

// finish ends all work.
func (r *rig) finish() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.pods {
		if p.status == planner.RayNodeRunning {
			p.status, p.since = planner.RayNodeIdle, time.Now()
		}
	}
}

func (r *rig) ask(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting += n
	r.act()
}

// Observe shows the truth, or an older view of some sources.
func (r *rig) Observe(_ time.Time, s *planner.Snapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.act()
	now := r.view(s.At)
	for kind, old := range r.views {
		switch kind { //nolint:exhaustive // the catalogue is not shown
		case planner.SourceManagement:
			now.NodeGroups, now.Machines = old.NodeGroups, old.Machines
		case planner.SourceWorkload:
			now.Nodes, now.Pods = old.Nodes, old.Pods
		case planner.SourceRay:
			now.RayClusters[0].WorkerGroups = old.RayClusters[0].WorkerGroups
		case planner.SourceGCS:
			now.RayClusters[0].RayNodes, now.RayClusters[0].Requests = old.RayClusters[0].RayNodes, old.RayClusters[0].Requests
		}
	}
	s.Sources, s.NodeGroups, s.Machines, s.Nodes, s.Pods, s.RayClusters = now.Sources, now.NodeGroups, now.Machines, now.Nodes, now.Pods, now.RayClusters
}

func (r *rig) view(at time.Time) planner.Snapshot {
	size := planner.Resources{planner.ResourceCPU: 4000}
	mark := func(set bool) *planner.Mark {
		if !set {
			return nil
		}
		return &planner.Mark{PlanID: "p", At: at.Add(-time.Second)}
	}
	s := planner.Snapshot{
		Sources: []planner.Source{
			{Kind: planner.SourceManagement, Known: true},
			{Kind: planner.SourceWorkload, Known: true},
			{Kind: planner.SourceRay, Known: true},
			{Kind: planner.SourceGCS, Name: "ml/a", Known: true},
			{Kind: planner.SourceCatalogue, Known: true},
		},
		NodeGroups: []planner.NodeGroup{{Namespace: "ns", Name: "cpu", UID: "g", Managed: true, Max: 5, Replicas: r.replicas, Capacity: size}},
	}
	idle := planner.Duration(30 * time.Second)
	c := planner.RayCluster{
		Namespace: "ml", Name: "a", UID: "c", Mode: planner.ModeLead, InTree: planner.InTreeInert, DemandKnown: true, IdleTimeout: idle,
		WorkerGroups: []planner.WorkerGroup{{Name: "w", Replicas: r.workers, Max: 5, RayResources: size, Pod: planner.PodShape{Requests: size}, WorkersToDelete: slices.Clone(r.named)}},
	}
	if r.waiting > 0 {
		c.Requests = []planner.Request{{Resources: size, Count: r.waiting}}
	}
	for _, name := range slices.Sorted(maps.Keys(r.machines)) {
		m := r.machines[name]
		s.Machines = append(s.Machines, planner.Machine{Namespace: "ns", Name: name, UID: name, Group: "ns/cpu", Node: name, CreatedAt: at.Add(-time.Hour), Hook: m.hook, Mark: mark(m.mark)})
		s.Nodes = append(s.Nodes, planner.Node{Name: name, UID: name, Machine: "ns/" + name, Ready: true, Allocatable: size, Cordon: mark(m.cordon), SoftTaint: mark(m.soft)})
	}
	for _, name := range slices.Sorted(maps.Keys(r.pods)) {
		p := r.pods[name]
		s.Pods = append(s.Pods, planner.Pod{
			Namespace: "ml", Name: name, UID: p.uid, Node: p.node, CreatedAt: at.Add(-time.Minute), RayCluster: "ml/a", RayGroup: "w",
			Unschedulable: p.node == "", Ready: p.node != "", Shape: planner.PodShape{Requests: size},
		})
		if p.node == "" {
			continue
		}
		n := planner.RayNode{ID: rayID(name), Pod: name, PodUID: p.uid, Group: "w", Status: p.status}
		if p.status != planner.RayNodeDead {
			n.Total, n.Available = size, size
		}
		if p.status == planner.RayNodeRunning {
			n.Available = planner.Resources{}
		}
		if p.status == planner.RayNodeIdle {
			n.IdleFor = planner.Duration(time.Since(p.since))
		}
		c.RayNodes = append(c.RayNodes, n)
	}
	s.RayClusters = []planner.RayCluster{c}
	return s
}

func rayID(pod string) string { return fmt.Sprintf("%056x", []byte(pod)) }

var errCrash = errors.New("the process ends here")

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %s", coordinator.ErrRefused, fmt.Sprintf(format, args...))
}

// Take takes a step as the adapters do.
func (r *rig) Take(_ context.Context, _ planner.Plan, step planner.Step) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.act()
	write := len(r.writes) + 1
	if r.before != nil {
		if err := r.before(write); err != nil {
			return err
		}
	}
	if r.twist != nil {
		r.twist(r, step, false)
	}
	if err := r.take(step); err != nil {
		return err
	}
	r.writes = append(r.writes, step.Kind)
	if r.twist != nil {
		r.twist(r, step, true)
	}
	r.act()
	if r.after != nil {
		return r.after(write)
	}
	return nil
}

func (r *rig) take(step planner.Step) error {
	switch step.Kind {
	case planner.StepGrow:
		return move(&r.replicas, step)
	case planner.StepGrowWorkers:
		return move(&r.workers, step)
	case planner.StepRemove:
		return r.remove(step)
	case planner.StepDrain:
		return r.drain(step)
	case planner.StepShrinkWorkers:
		return r.shrinkWorkers(step)
	case planner.StepClearWorkers:
		for _, p := range step.Pods {
			if r.pods[p.Name] != nil {
				return refused("pod %s is there", p.Name)
			}
			r.named = slices.DeleteFunc(r.named, func(n string) bool { return n == p.Name })
		}
	case planner.StepReplaceWorker:
		if p := r.pods[step.Pods[0].Name]; p == nil || p.status != planner.RayNodeDead {
			return refused("pod %s is gone or works", step.Pods[0].Name)
		}
		delete(r.pods, step.Pods[0].Name)
	case planner.StepRemember:
		r.remember = len(step.Backoffs) > 0
	case planner.StepCordon, planner.StepUncordon, planner.StepSoftTaint, planner.StepSoftUntaint, planner.StepUnmark, planner.StepHook,
		planner.StepReleaseHook, planner.StepEvict:
		return r.mark(step)
	}
	return nil
}

func move(have *int64, step planner.Step) error {
	if *have != step.From {
		return refused("%d, planned from %d", *have, step.From)
	}
	*have = step.To
	return nil
}

func (r *rig) mark(step planner.Step) error {
	names := []string{step.Node}
	for _, m := range step.Machines {
		names = append(names, m[len("ns/"):])
	}
	for _, name := range names {
		m := r.machines[name]
		switch {
		case m == nil:
			continue
		case step.Kind == planner.StepCordon:
			for pod, p := range r.pods {
				if p.node == name && !slices.ContainsFunc(step.Pods, func(ref planner.PodRef) bool { return ref.UID == p.uid }) {
					return refused("pod %s is on Node %s", pod, name)
				}
			}
			m.cordon = true
		case step.Kind == planner.StepUncordon:
			m.cordon = false
		case step.Kind == planner.StepSoftTaint, step.Kind == planner.StepSoftUntaint:
			m.soft = step.Kind == planner.StepSoftTaint
		case step.Kind == planner.StepUnmark:
			m.mark = false
		case step.Kind == planner.StepHook, step.Kind == planner.StepReleaseHook:
			m.hook = step.Kind == planner.StepHook
		}
	}
	return nil
}

func (r *rig) remove(step planner.Step) error {
	for _, key := range step.Machines {
		name := key[len("ns/"):]
		m := r.machines[name]
		if m == nil || !m.cordon {
			return refused("Machine %s is gone or its Node not cordoned", name)
		}
		for pod, p := range r.pods {
			if p.node == name {
				return refused("pod %s is on Node %s", pod, name)
			}
		}
	}
	if r.replicas != step.From {
		return refused("%d replicas, planned from %d", r.replicas, step.From)
	}
	for _, key := range step.Machines {
		r.machines[key[len("ns/"):]].mark = true
	}
	r.replicas = step.To
	return nil
}

func (r *rig) drain(step planner.Step) error {
	p := r.pods[step.Pods[0].Name]
	switch {
	case p == nil || p.uid != step.Pods[0].UID || !r.machines[p.node].cordon:
		return refused("the pod is gone, or its Node not cordoned")
	case p.status == planner.RayNodeRunning:
		return fmt.Errorf("%w: %w", coordinator.ErrRefused, coordinator.ErrDrainRefused)
	}
	p.status = planner.RayNodeDead
	return nil
}

func (r *rig) shrinkWorkers(step planner.Step) error {
	for _, ref := range step.Pods {
		if p := r.pods[ref.Name]; p == nil || p.uid != ref.UID || p.node != "" && p.status != planner.RayNodeDead {
			return refused("pod %s is gone or may work", ref.Name)
		}
	}
	if r.workers != step.From || step.To != step.From-int64(len(step.Pods)) {
		return refused("%d replicas, planned from %d to %d", r.workers, step.From, step.To)
	}
	r.workers = step.To
	for _, ref := range step.Pods {
		r.named = append(r.named, ref.Name)
	}
	return nil
}

// state is what a run ends in, names of objects left out.
func (r *rig) state() string {
	marks := 0
	for _, m := range r.machines {
		for _, set := range []bool{m.cordon, m.mark} {
			if set {
				marks++
			}
		}
	}
	statuses := map[planner.RayNodeStatus]int{}
	for _, p := range r.pods {
		statuses[p.status]++
	}
	return fmt.Sprintf("%d replicas, %d Machines, %d marks, %d workers, pods %v, named %v, %d requests served, %d waiting", r.replicas, len(r.machines), marks, r.workers, statuses, r.named, r.served, r.waiting)
}
