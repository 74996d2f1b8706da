package planner_test

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// traits tell what else there is in a world: labels and selectors, limits and
// priorities of worker groups, small node groups, request_resources, nodes with
// Ray nodes that are partly used, and pods that wait.
type traits struct{ labels, limits, stock, totals, nodes, waiting bool }

// raysWorld is a RayCluster on nodes of five classes, with some of six worker
// groups, requests of up to six shapes, and placement groups. Parts of GPUs are
// halves and quarters, for which Ray's sums are as good as devices.
func raysWorld(r *rand.Rand, of traits) planner.Snapshot {
	s := planner.Snapshot{At: noon, Policy: testPolicy()}
	size := func(cpu, gpu int64) planner.Resources {
		c := planner.Resources{planner.ResourceCPU: 1000 * cpu, planner.ResourceMemory: cpu * 4 << 30}
		if gpu > 0 {
			c[planner.ResourceGPU] = gpu * planner.Unit
		}
		return c
	}
	for i, k := range [][3]int64{{16, 0, 1_000_000}, {64, 0, 3_900_000}, {16, 1, 2_500_000}, {48, 4, 9_400_000}, {96, 8, 18_500_000}} {
		n := fmt.Sprintf("c%d", i)
		s.Classes = append(s.Classes, planner.VMClass{Name: n, Capacity: size(k[0], k[1]), Price: k[2]})
		s.NodeGroups = append(s.NodeGroups, planner.NodeGroup{Namespace: "ns", Name: n, UID: n, Class: n, Managed: true, Max: 1000, Capacity: size(k[0], k[1])})
	}
	c := planner.RayCluster{Namespace: "ml", Name: "r", UID: "r", Mode: planner.ModeLead, DemandKnown: true}
	for i, k := range [][2]int64{{4, 0}, {15, 0}, {12, 1}, {24, 2}, {46, 4}, {92, 8}} {
		c.WorkerGroups = append(c.WorkerGroups, planner.WorkerGroup{
			Name: fmt.Sprintf("w%d", i), Max: 1000, RayResources: size(k[0], k[1]), Pod: planner.PodShape{Requests: size(k[0], k[1])},
		})
	}
	r.Shuffle(len(c.WorkerGroups), func(i, j int) { c.WorkerGroups[i], c.WorkerGroups[j] = c.WorkerGroups[j], c.WorkerGroups[i] })
	c.WorkerGroups = c.WorkerGroups[:1+r.IntN(len(c.WorkerGroups))]
	shapes, total := 1+r.IntN(6), 6+r.IntN(40)
	for range shapes {
		q := planner.Resources{planner.ResourceCPU: 500 * (1 + r.Int64N(16)), planner.ResourceMemory: (1 + r.Int64N(16)) << 29}
		if r.IntN(2) == 0 {
			q[planner.ResourceGPU] = planner.Unit / 4 * []int64{1, 2, 4, 4, 4, 8, 16}[r.IntN(7)]
		}
		c.Requests = append(c.Requests, planner.Request{Resources: q, Count: 1 + r.Int64N(int64(2*total/shapes))})
	}
	for i := range r.IntN(3) {
		g := planner.Gang{ID: fmt.Sprintf("%08x", i), Strategy: []planner.Strategy{planner.Pack, planner.Spread, planner.StrictPack, planner.StrictSpread}[r.IntN(4)]}
		var o planner.GangOption
		bundle := c.Requests[r.IntN(len(c.Requests))].Resources
		for range 1 + r.IntN(4) {
			o.Bundles = append(o.Bundles, planner.Bundle{Resources: bundle})
		}
		g.Options = []planner.GangOption{o}
		c.Gangs = append(c.Gangs, g)
	}
	s.RayClusters = []planner.RayCluster{c}
	widen(r, &s, of)
	return s
}

// widen adds what the traits ask for.
func widen(r *rand.Rand, s *planner.Snapshot, of traits) {
	c := &s.RayClusters[0]
	if of.labels {
		label(r, c)
	}
	for i := range c.WorkerGroups {
		if w := &c.WorkerGroups[i]; of.limits {
			w.Min, w.Priority = max(0, r.Int64N(7)-4), r.Int64N(2)
			if r.IntN(2) == 0 {
				w.Max = w.Min + r.Int64N(8)
			}
		}
	}
	for i := range s.NodeGroups {
		if of.stock && r.IntN(2) == 0 {
			s.NodeGroups[i].Max = r.Int64N(5)
		}
	}
	if of.totals {
		for range 1 + r.IntN(2) {
			c.Constraints = append(c.Constraints, planner.Request{Resources: c.Requests[r.IntN(len(c.Requests))].Resources, Count: 1 + r.Int64N(20)})
		}
	}
	for i := range c.WorkerGroups {
		for k := range r.IntN(4) {
			if of.waiting && r.IntN(3) == 0 {
				wait(r, s, &c.WorkerGroups[i], k)
			} else if of.nodes {
				occupy(r, s, &c.WorkerGroups[i], k)
			}
		}
	}
}

// label gives worker groups labels, and some of the demand selectors. The bundles
// of a STRICT_PACK gang have none of their own: Ray would split such a gang.
func label(r *rand.Rand, c *planner.RayCluster) {
	for i := range c.WorkerGroups {
		c.WorkerGroups[i].Labels = map[string]string{"team": fmt.Sprint("x", r.IntN(3)), "disk": fmt.Sprint("d", r.IntN(2))}
	}
	selector := func() planner.Selector {
		if r.IntN(2) == 0 {
			return planner.Selector{{Key: "team", NotIn: r.IntN(3) == 0, Values: []string{fmt.Sprint("x", r.IntN(3))}}}
		}
		return planner.Selector{{Key: "disk", Values: []string{fmt.Sprint("d", r.IntN(2))}}}
	}
	for i := range c.Requests {
		for range max(0, r.IntN(5)-2) {
			c.Requests[i].Selectors = append(c.Requests[i].Selectors, selector())
		}
	}
	for _, g := range c.Gangs {
		bundles := g.Options[0].Bundles
		for k := range bundles {
			if g.Strategy != planner.StrictPack && r.IntN(4) == 0 {
				bundles[k].Selector = selector()
			}
		}
	}
}

// wait adds a replica whose pod waits, or that has no pod yet.
func wait(r *rand.Rand, s *planner.Snapshot, w *planner.WorkerGroup, k int) {
	w.Replicas++
	w.Max = max(w.Max, w.Replicas)
	if r.IntN(2) == 0 {
		p := workerPod(&s.RayClusters[0], w, int64(k), 0, "")
		p.Unschedulable = true
		s.Pods = append(s.Pods, p)
	}
}

// occupy adds a replica on a node of its own; most of them are Ray nodes already,
// which work.
func occupy(r *rand.Rand, s *planner.Snapshot, w *planner.WorkerGroup, k int) {
	c := &s.RayClusters[0]
	for i := range s.NodeGroups {
		g := &s.NodeGroups[i]
		if !w.Pod.Requests.FitsIn(g.Capacity) || r.IntN(2) == 0 {
			continue
		}
		p := workerPod(c, w, int64(k), 0, "")
		m := planner.Machine{Namespace: "ns", Name: p.Name, UID: "um-" + p.Name, Group: g.Key(), Node: p.Name, CreatedAt: noon.Add(-time.Hour)}
		s.Machines, s.Nodes = append(s.Machines, m), append(s.Nodes, nodeOf(g, &m))
		p.Node = m.Node
		s.Pods = append(s.Pods, p)
		g.Replicas, w.Replicas = g.Replicas+1, w.Replicas+1
		g.Max, w.Max = max(g.Max, g.Replicas), max(w.Max, w.Replicas)
		if r.IntN(5) > 0 {
			n := freshRayNode(w, &p)
			n.Status = planner.RayNodeRunning
			for _, name := range n.Total.Names() {
				n.Available[name] = n.Total[name] / 4 * r.Int64N(5)
			}
			c.RayNodes = append(c.RayNodes, n)
		}
		return
	}
}
