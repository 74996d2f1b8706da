package rayv2

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
)

// fleet is a cluster of running nodes with demand. With mixed, nearly every
// node has another rest of free resources.
func fleet(nodes, requests int, mixed bool) Input {
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // bench data, to be repeatable
	in := Input{DisableLaunchConfigCheck: true, IdleTimeoutSeconds: new(60.0)}
	in.NodeTypes = []NodeType{
		{Name: "headgroup", Resources: Resources{{"memory", 8 << 30}}},
		{Name: "small", Resources: Resources{{"CPU", 16}, {"memory", 64 << 30}}, Max: 2000},
		{Name: "large", Resources: Resources{{"CPU", 64}, {"memory", 256 << 30}}, Max: 2000},
		{Name: "gpu", Resources: Resources{{"CPU", 32}, {"memory", 128 << 30}, {"GPU", 4}}, Max: 2000, Labels: Labels{{"accelerator", "A100"}}},
		{Name: "gpu8", Resources: Resources{{"CPU", 96}, {"memory", 512 << 30}, {"GPU", 8}}, Max: 2000, Labels: Labels{{"accelerator", "H100"}}},
	}
	for i := range nodes {
		nt := &in.NodeTypes[1+i%4]
		n := &RayNode{Labels: append(Labels{{"ray.io/node-group", nt.Name}, {"ray.io/node-id", strconv.Itoa(i)}}, nt.Labels...)}
		for _, a := range nt.Resources {
			n.Total = append(n.Total, a)
			free := a.Value
			if mixed {
				free = float64(r.IntN(int(a.Value) + 1))
			}
			n.Available = append(n.Available, Amount{a.Name, free})
		}
		n.Total = append(n.Total, Amount{"object_store_memory", 2 << 30}, Amount{"node:" + strconv.Itoa(i), 1})
		n.Available = append(n.Available, Amount{"object_store_memory", 2 << 30}, Amount{"node:" + strconv.Itoa(i), 1})
		in.Instances = append(in.Instances, Instance{
			ID: strconv.Itoa(i), Type: nt.Name, Status: StatusRayRunning, Kind: KindWorker, RayNodeID: "n" + strconv.Itoa(i), RayNode: n,
		})
	}
	shapes := []Resources{
		{{"CPU", 1}},
		{{"CPU", 4}},
		{{"CPU", 0.5}},
		{{"CPU", 2}, {"memory", 6 << 30}},
		{{"CPU", 8}, {"memory", 40 << 30}},
		{{"CPU", 1}, {"GPU", 1}},
		{{"CPU", 4}, {"GPU", 0.5}},
		{{"CPU", 8}, {"GPU", 2}},
		{{"GPU", 0.3}},
		{{"memory", 20 << 30}},
	}
	for _, s := range shapes {
		in.Requests = append(in.Requests, Demand{Request: Request{Resources: s}, Count: int64(requests / len(shapes))})
	}
	return in
}

// BenchmarkSchedule gives the time of one round.
func BenchmarkSchedule(b *testing.B) {
	for _, size := range []struct{ nodes, requests int }{{0, 4000}, {100, 1000}, {400, 4000}, {1337, 13315}} {
		for _, mixed := range []bool{false, true} {
			in := fleet(size.nodes, size.requests, mixed)
			b.Run(fmt.Sprintf("nodes=%d/demands=%d/mixed=%v", size.nodes, size.requests, mixed), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if out := Schedule(in); out.Err != nil {
						b.Fatal(out.Err)
					}
				}
			})
		}
	}
}

// BenchmarkGangs has many gangs, each of which looks at all nodes, and requests
// that come one by one.
func BenchmarkGangs(b *testing.B) {
	in := fleet(400, 0, true)
	for i := range 1000 {
		one := Request{Resources: Resources{{"CPU", float64(1 + i%3)}}}
		one.Placement = []PlacementConstraint{{AntiAffinity, "_PG_" + strconv.Itoa(i), ""}}
		in.Gangs = append(in.Gangs, Gang{Bundles: []Request{one, one}})
	}
	in.Requests = nil
	for i := range 4000 {
		in.Requests = append(in.Requests, Demand{Request{Resources: Resources{{"CPU", float64(1 + i%7)}, {"memory", float64(1 + i%5)}}}, 1})
	}
	b.ReportAllocs()
	for b.Loop() {
		if out := Schedule(in); out.Err != nil {
			b.Fatal(out.Err)
		}
	}
}
