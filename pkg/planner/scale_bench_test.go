package planner_test

import (
	"fmt"
	"testing"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// scale is a world for benchmarks: RayClusters in lead mode that share requests
// in shapes, and placement groups, over nodes of ten classes that are busy but
// for every tenth.
type scale struct{ nodes, shapes, requests, gangs int }

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
		n := int64(w.nodes / groups)
		s.Classes = append(s.Classes, planner.VMClass{Name: fmt.Sprintf("c%d", i), Capacity: r, Price: cpu*40_000 + gpus*2_000_000})
		s.NodeGroups = append(s.NodeGroups, planner.NodeGroup{
			Namespace: "ns", Name: fmt.Sprintf("g%d", i), UID: fmt.Sprintf("ug%d", i), Class: fmt.Sprintf("c%d", i), Managed: true,
			Max: n + 2000, Replicas: n, Capacity: r,
		})
		for j := range n {
			name := fmt.Sprintf("g%d-%d", i, j)
			s.Machines = append(s.Machines, planner.Machine{Namespace: "ns", Name: name, UID: "um" + name, Group: fmt.Sprintf("ns/g%d", i), Node: name, CreatedAt: noon})
			s.Nodes = append(s.Nodes, planner.Node{Name: name, UID: "un" + name, Machine: "ns/" + name, Ready: true, Allocatable: r})
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
			Shape: planner.PodShape{Requests: n.Allocatable},
		})
		rn := planner.RayNode{ID: fmt.Sprintf("%08x", i), Pod: name, Group: fmt.Sprintf("w%d", class), Status: planner.RayNodeRunning, Total: n.Allocatable}
		if i%10 == 0 {
			rn.Available = n.Allocatable
		}
		rc.RayNodes = append(rc.RayNodes, rn)
		rc.WorkerGroups[class].Replicas++
	}
	for i := range w.shapes / of {
		r := planner.Resources{planner.ResourceCPU: int64(100 + 37*(i+c*100)%8000), planner.ResourceMemory: int64(1+(i*7+c)%32) << 28}
		if i%4 == 0 {
			r[planner.ResourceGPU] = planner.Unit / 4 * int64(1+i%8)
		}
		rc.Requests = append(rc.Requests, planner.Request{Resources: r, Count: int64(w.requests / w.shapes)})
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

// BenchmarkMake prints what a plan costs as shapes, nodes and requests grow.
func BenchmarkMake(b *testing.B) {
	for _, w := range []scale{
		{100, 150, 1_000, 0}, {1000, 150, 10_000, 20}, {1000, 300, 10_000, 20}, {5000, 1000, 1_000_000, 200},
	} {
		b.Run(fmt.Sprintf("nodes=%d/shapes=%d/requests=%d/gangs=%d", w.nodes, w.shapes, w.requests, w.gangs), func(b *testing.B) {
			s := w.snapshot()
			b.ReportAllocs()
			for b.Loop() {
				plan, _ := planner.Make(s, planner.Memory{})
				b.ReportMetric(float64(len(plan.Steps)), "steps")
			}
		})
	}
}
