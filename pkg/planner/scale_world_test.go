package planner_test

import (
	"fmt"
	"time"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// scale is a world for benchmarks: RayClusters in lead mode that share requests
// in shapes, and placement groups, over nodes of ten classes that are busy but
// for every tenth. In a mixed world no two nodes are alike, neither in what is
// free for pods nor in what is free for Ray: that is the worst case.
type scale struct {
	nodes, shapes, requests, gangs int
	mixed                          bool
	endless                        bool // no group has a limit that matters
}

func (w scale) String() string {
	s := fmt.Sprintf("nodes=%d/shapes=%d/requests=%d/gangs=%d", w.nodes, w.shapes, w.requests, w.gangs)
	if w.mixed {
		s += "/mixed"
	}
	if w.endless {
		s += "/endless"
	}
	return s
}

// offers is what node i of those that should have r really has.
func (w scale) offers(r planner.Resources, i int) planner.Resources {
	if !w.mixed {
		return r
	}
	out := r.Clone()
	out[planner.ResourceCPU] += int64(i)
	out[planner.ResourceMemory] += int64(i) << 20
	return out
}

// left is what Ray node i has available of r.
func (w scale) left(r planner.Resources, i int) planner.Resources {
	switch {
	case i%10 == 0:
		return r
	case !w.mixed:
		return nil
	}
	out := r.Clone()
	out[planner.ResourceCPU] = int64(i * 7919 % 4000)
	out[planner.ResourceMemory] = int64(i*104729%4096) << 20
	delete(out, planner.ResourceGPU)
	return out
}

func (w scale) snapshot() planner.Snapshot {
	const clusters, groups = 10, 10
	s := planner.Snapshot{At: noon, Policy: testPolicy()}
	for i := range groups {
		gpus, cpu := int64(0), int64(16<<(i%4))
		if i >= 4 {
			gpus = 1 << (i % 4)
			cpu = 12 * gpus
		}
		r := planner.Resources{planner.ResourceCPU: 1000 * cpu, planner.ResourceMemory: cpu * 8 << 30}
		if gpus > 0 {
			r[planner.ResourceGPU] = planner.Unit * gpus
		}
		n, limit := int64(w.nodes/groups), int64(w.nodes/groups+2000)
		if w.endless {
			limit = 1_000_000
		}
		s.Classes = append(s.Classes, planner.VMClass{Name: fmt.Sprintf("c%d", i), Capacity: r, Price: cpu*40_000 + gpus*2_000_000})
		s.NodeGroups = append(s.NodeGroups, planner.NodeGroup{
			Namespace: "ns", Name: fmt.Sprintf("g%d", i), UID: fmt.Sprintf("ug%d", i), Class: fmt.Sprintf("c%d", i), Managed: true,
			Max: limit, Replicas: n, Capacity: r,
		})
		for j := range n {
			name := fmt.Sprintf("g%d-%d", i, j)
			s.Machines = append(s.Machines, planner.Machine{Namespace: "ns", Name: name, UID: "um" + name, Group: fmt.Sprintf("ns/g%d", i), Node: name, CreatedAt: noon})
			s.Nodes = append(s.Nodes, planner.Node{Name: name, UID: "un" + name, Machine: "ns/" + name, Ready: true, Allocatable: w.offers(r, len(s.Nodes))})
		}
	}
	for c := range clusters {
		s.RayClusters = append(s.RayClusters, w.cluster(&s, c, clusters))
	}
	return s
}

// cluster has a worker group for every class, a share of the nodes, and its
// part of the demand.
func (w scale) cluster(s *planner.Snapshot, c, of int) planner.RayCluster {
	rc := planner.RayCluster{Namespace: "ml", Name: fmt.Sprintf("ray%d", c), UID: fmt.Sprintf("ur%d", c), Mode: planner.ModeLead, DemandKnown: true}
	for i := range s.Classes {
		r := s.Classes[i].Capacity
		rc.WorkerGroups = append(rc.WorkerGroups, planner.WorkerGroup{
			Name: fmt.Sprintf("w%d", i), Max: 100_000, RayResources: r, Pod: planner.PodShape{Requests: r},
		})
	}
	for i := c; i < len(s.Nodes); i += of {
		n := &s.Nodes[i]
		var class int
		_, _ = fmt.Sscanf(n.Name, "g%d-", &class)
		name := fmt.Sprintf("ray%d-%d", c, i)
		s.Pods = append(s.Pods, planner.Pod{
			Namespace: "ml", Name: name, UID: "up" + name, Node: n.Name, RayCluster: rc.Key(), RayGroup: fmt.Sprintf("w%d", class), Ready: true,
			Shape: planner.PodShape{Requests: s.Classes[class].Capacity},
		})
		rn := planner.RayNode{ID: fmt.Sprintf("%08x", i), Pod: name, Group: fmt.Sprintf("w%d", class), Status: planner.RayNodeRunning, Total: n.Allocatable}
		rn.Available = w.left(n.Allocatable, i)
		rc.RayNodes = append(rc.RayNodes, rn)
		rc.WorkerGroups[class].Replicas++
	}
	for i := range w.shapes / of {
		r := planner.Resources{planner.ResourceCPU: int64(100 + 37*(i+c*100)%8000), planner.ResourceMemory: int64(1+(i*7+c)%32) << 28}
		if i%4 == 0 {
			r[planner.ResourceGPU] = planner.Unit / 4 * int64(1+i%8)
		}
		rc.Requests = append(rc.Requests, planner.Request{Resources: r, Count: int64(max(1, w.requests/w.shapes))})
	}
	for i := range w.gangs / of {
		g := planner.Gang{ID: fmt.Sprintf("%02d%04d", c, i), Strategy: []planner.Strategy{planner.Pack, planner.Spread, planner.StrictPack, planner.StrictSpread}[i%4]}
		var o planner.GangOption
		for range 2 + i%7 {
			o.Bundles = append(o.Bundles, planner.Bundle{Resources: planner.Resources{planner.ResourceCPU: 1000, planner.ResourceGPU: planner.Unit}})
		}
		g.Options = []planner.GangOption{o}
		rc.Gangs = append(rc.Gangs, g)
	}
	return rc
}

// daemon is a world as the daemon meets it from tick to tick, with the default
// policy: many RayClusters in both modes on nodes that are shared with other
// workloads. No two nodes are alike. Every node carries ten pods: two of
// DaemonSets, three workers and five others.
type daemon struct{ nodes, clusters int }

func (w daemon) snapshot() planner.Snapshot {
	const groups = 10
	s := planner.Snapshot{At: noon, Policy: testPolicy()}
	s.Policy.SoftTaints, s.Policy.Hooks, s.Policy.MaxRemovePerTick, s.Policy.MaxAttempts = true, true, 10, 3
	s.Policy.DemandHold, s.Policy.DrainDeadline = planner.Duration(10*time.Minute), planner.Duration(10*time.Minute)
	s.Policy.MaxUnreadyPercent, s.Policy.OKUnready = 45, 3
	s.Policy.TenantLimits = []planner.TenantLimit{{MaxMachines: 100, MaxGPUs: 400 * planner.Unit}}
	r := planner.Resources{planner.ResourceCPU: 32_000, planner.ResourceMemory: 256 << 30, planner.ResourceGPU: 4 * planner.Unit}
	s.Classes = []planner.VMClass{{Name: "c", Capacity: r, Price: 9_000_000}}
	for i := range groups {
		s.NodeGroups = append(s.NodeGroups, planner.NodeGroup{
			Namespace: "ns", Name: fmt.Sprintf("g%d", i), UID: fmt.Sprintf("ug%d", i), Class: "c", Zone: fmt.Sprintf("z%d", i%3), Managed: true,
			Max: 2000, Replicas: int64(w.nodes / groups), Capacity: r, Labels: map[string]string{"topology.kubernetes.io/zone": fmt.Sprintf("z%d", i%3)},
		})
	}
	for i := range w.clusters {
		s.RayClusters = append(s.RayClusters, w.cluster(i))
	}
	for i := range w.nodes {
		w.node(&s, i, groups)
	}
	return s
}

// cluster has a worker group with GPUs and one without. A quarter of the clusters
// ask for more than they have.
func (w daemon) cluster(i int) planner.RayCluster {
	c := planner.RayCluster{
		Namespace: fmt.Sprintf("team%d", i%20), Name: fmt.Sprintf("ray%d", i), UID: fmt.Sprintf("ur%d", i), Mode: planner.ModeLead, DemandKnown: true,
	}
	if i%2 == 1 {
		c.Mode = planner.ModeFollow
	}
	for j, r := range []planner.Resources{
		{planner.ResourceCPU: 4000, planner.ResourceMemory: 16 << 30}, {planner.ResourceCPU: 6000, planner.ResourceMemory: 32 << 30, planner.ResourceGPU: planner.Unit},
	} {
		c.WorkerGroups = append(c.WorkerGroups, planner.WorkerGroup{Name: fmt.Sprintf("w%d", j), Max: 1000, RayResources: r, Pod: planner.PodShape{Requests: r}})
	}
	if i%8 < 2 {
		c.Requests = []planner.Request{
			{Resources: planner.Resources{planner.ResourceCPU: int64(1000 + 100*i%3000)}, Count: 6},
			{Resources: planner.Resources{planner.ResourceCPU: 1000, planner.ResourceGPU: planner.Unit / 2}, Count: 2},
		}
	}
	return c
}

// node adds a node with its Machine and its pods.
func (w daemon) node(s *planner.Snapshot, i, groups int) {
	g := s.NodeGroups[i%groups]
	name := fmt.Sprintf("%s-%d", g.Name, i)
	s.Machines = append(s.Machines, planner.Machine{Namespace: "ns", Name: name, UID: "um" + name, Group: g.Key(), Node: name, Hook: true, CreatedAt: noon.Add(-time.Hour)})
	s.Nodes = append(s.Nodes, planner.Node{Name: name, UID: "un" + name, Machine: "ns/" + name, Ready: true, Allocatable: g.Capacity, Labels: g.Labels})
	for j := range 10 {
		pod := planner.Pod{
			Namespace: "apps", Name: fmt.Sprintf("p-%s-%d", name, j), UID: fmt.Sprintf("up-%s-%d", name, j), Node: name, Ready: true, DaemonSet: j < 2,
			Shape: planner.PodShape{Requests: planner.Resources{planner.ResourceCPU: int64(50 + (i*31+j*7)%900), planner.ResourceMemory: int64(64+(i*17+j)%1024) << 20}},
		}
		if j >= 7 {
			half := len(s.RayClusters) / 2 // every other node is of clusters in lead mode
			c := &s.RayClusters[2*((i*3+j)%half)+i%2]
			w := &c.WorkerGroups[(i+j)%2]
			w.Replicas++
			pod.Namespace, pod.RayCluster, pod.RayGroup, pod.Shape = c.Namespace, c.Key(), w.Name, w.Pod
			rn := planner.RayNode{ID: pod.UID, Pod: pod.Name, PodUID: pod.UID, Group: w.Name, Status: planner.RayNodeRunning, Total: w.RayResources}
			if i%4 == 0 { // the nodes that might be emptied
				rn.Status, rn.Available, rn.IdleFor = planner.RayNodeIdle, w.RayResources, planner.Duration(time.Hour)
			}
			c.RayNodes = append(c.RayNodes, rn)
		}
		s.Pods = append(s.Pods, pod)
	}
}
