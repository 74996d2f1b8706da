package coordinator_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// seen are the sources of which an older view may be shown.
var seen = []planner.SourceKind{planner.SourceManagement, planner.SourceWorkload, planner.SourceRay, planner.SourceGCS}

// Observe shows the truth, or an older view of some sources.
func (r *rig) Observe(_ time.Time, s *planner.Snapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ticks++
	r.act()
	now := r.view(s.At)
	for kind, old := range r.views {
		part(kind, &now, &old)
	}
	r.hide(&now)
	s.Sources, s.NodeGroups, s.Machines, s.Nodes, s.Pods, s.RayClusters = now.Sources, now.NodeGroups, now.Machines, now.Nodes, now.Pods, now.RayClusters
}

// hide leaves out what a source that cannot be read would tell of use: without it
// every node looks as if it could go.
func (r *rig) hide(s *planner.Snapshot) {
	for i := range s.Sources {
		s.Sources[i].Known = s.Sources[i].Kind != r.unknown
	}
	c := &s.RayClusters[0]
	switch r.unknown { //nolint:exhaustive // the catalogue is always known
	case planner.SourceWorkload:
		s.Pods = nil
	case planner.SourceRay:
		c.WorkerGroups = nil
	case planner.SourceGCS:
		c.DemandKnown, c.RayNodes, c.Requests = false, nil, nil
	}
}

// part makes what one source says that of another snapshot.
func part(kind planner.SourceKind, to, from *planner.Snapshot) {
	switch kind { //nolint:exhaustive // the catalogue is not shown
	case planner.SourceManagement:
		to.NodeGroups, to.Machines = from.NodeGroups, from.Machines
	case planner.SourceWorkload:
		to.Nodes, to.Pods = from.Nodes, from.Pods
	case planner.SourceRay:
		to.RayClusters[0].WorkerGroups = from.RayClusters[0].WorkerGroups
	case planner.SourceGCS:
		to.RayClusters[0].RayNodes, to.RayClusters[0].Requests = from.RayClusters[0].RayNodes, from.RayClusters[0].Requests
	}
}

// texts writes down what every source says now.
func (r *rig) texts() map[planner.SourceKind]string {
	view := r.view(time.Now())
	out := map[planner.SourceKind]string{}
	for _, kind := range seen {
		only := planner.Snapshot{RayClusters: make([]planner.RayCluster, 1)}
		part(kind, &only, &view)
		raw, err := json.Marshal(only)
		if err != nil {
			r.t.Error(err)
		}
		out[kind] = string(raw)
	}
	return out
}

func (r *rig) view(at time.Time) planner.Snapshot {
	s := planner.Snapshot{Sources: []planner.Source{
		{Kind: planner.SourceManagement, Known: true},
		{Kind: planner.SourceWorkload, Known: true},
		{Kind: planner.SourceRay, Known: true},
		{Kind: planner.SourceGCS, Name: "ml/a", Known: true},
		{Kind: planner.SourceCatalogue, Known: true},
	}}
	for _, g := range r.groups {
		s.NodeGroups = append(s.NodeGroups, planner.NodeGroup{
			Namespace: "ns", Name: g.name, UID: g.name, Class: g.name, Price: g.price, Managed: true, Max: g.max, Replicas: g.replicas,
			Capacity: cpu(nodeSize), Backoffs: g.rests,
		})
	}
	for _, name := range slices.Sorted(maps.Keys(r.machines)) {
		r.viewMachine(name, &s)
	}
	c := planner.RayCluster{
		Namespace: "ml", Name: "a", UID: "c", Mode: planner.ModeLead, InTree: planner.InTreeInert, DemandKnown: true, IdleTimeout: planner.Duration(idleTimeout),
	}
	if r.tale.follow {
		c.Mode, c.InTree = planner.ModeFollow, planner.InTreeLive
	}
	for _, name := range slices.Sorted(maps.Keys(r.pods)) {
		p := r.pods[name]
		s.Pods = append(s.Pods, viewPod(name, p, at))
		if !p.app && p.node != "" {
			c.RayNodes = append(c.RayNodes, viewRayNode(name, p, at))
		}
	}
	size := r.tale.worker
	if size == 0 {
		size = nodeSize
	}
	c.WorkerGroups = []planner.WorkerGroup{{
		Name: "w", Replicas: r.workers, Min: r.tale.min, Max: 5, RayResources: cpu(size), Pod: planner.PodShape{Requests: cpu(size)}, WorkersToDelete: slices.Clone(r.named),
	}}
	if r.waiting > 0 {
		c.Requests = []planner.Request{{Resources: cpu(size), Count: r.waiting}}
	}
	s.RayClusters = []planner.RayCluster{c}
	return s
}

func cpu(milli int64) planner.Resources { return planner.Resources{planner.ResourceCPU: milli} }

func (r *rig) viewMachine(name string, s *planner.Snapshot) {
	m := r.machines[name]
	out := planner.Machine{
		Namespace: "ns", Name: name, UID: name, Group: "ns/" + m.group, CreatedAt: m.created, Hook: m.hook, Release: m.release, Mark: m.mark,
		Deleting: !m.deleting.IsZero(), DeletingSince: m.deleting, WaitsForHook: !m.deleting.IsZero() && m.hook,
	}
	if !m.joined {
		out.FailureKind, out.Trouble = planner.FailureNoCapacity, "no host has room"
		s.Machines = append(s.Machines, out)
		return
	}
	out.Node = name
	s.Machines = append(s.Machines, out)
	n := planner.Node{
		Name: name, UID: name, Machine: "ns/" + name, Ready: m.lost.IsZero(), UnreadySince: m.lost, Allocatable: cpu(nodeSize), Cordon: m.cordon, SoftTaint: m.soft,
	}
	if m.cordon != nil {
		n.Taints = append(n.Taints, planner.Taint{Key: planner.CordonTaint, Value: m.cordon.PlanID, Effect: "NoSchedule"})
	}
	if m.soft != nil {
		n.Taints = append(n.Taints, planner.Taint{Key: planner.SoftTaintKey, Value: m.soft.PlanID, Effect: "PreferNoSchedule"})
	}
	s.Nodes = append(s.Nodes, n)
}

func viewPod(name string, p *rigPod, at time.Time) planner.Pod {
	out := planner.Pod{
		Namespace: "ml", Name: name, UID: p.uid, Node: p.node, CreatedAt: at.Add(-time.Minute), RayCluster: "ml/a", RayGroup: "w",
		Unschedulable: p.node == "", Ready: p.node != "", Terminating: p.leaving, Shape: planner.PodShape{Requests: cpu(p.size)},
	}
	if p.app {
		out.RayCluster, out.RayGroup = "", ""
	}
	return out
}

func viewRayNode(name string, p *rigPod, at time.Time) planner.RayNode {
	n := planner.RayNode{ID: rayID(name), Pod: name, PodUID: p.uid, Group: "w", Status: p.status}
	if p.status != planner.RayNodeDead {
		n.Total, n.Available = cpu(p.size), cpu(p.size)
	}
	if p.working() {
		n.Available = planner.Resources{}
	}
	if p.status == planner.RayNodeIdle {
		n.IdleFor = planner.Duration(at.Sub(p.since))
	}
	return n
}

func rayID(pod string) string { return fmt.Sprintf("%056x", []byte(pod)) }
