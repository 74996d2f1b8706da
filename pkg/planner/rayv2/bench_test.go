package rayv2

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// fleet is a cluster of running nodes without demand. With mixed, nearly every
// node has another rest of free resources.
func fleet(nodes int, mixed bool) Input {
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
	return in
}

// fewShapes are requests of ten shapes.
func fewShapes(requests int) []Demand {
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
	out := make([]Demand, 0, len(shapes))
	for _, s := range shapes {
		out = append(out, Demand{Request: Request{Resources: s}, Count: int64(requests / len(shapes))})
	}
	return out
}

// distinctShapes are requests of which no two are equal, small next to the
// nodes or as large as they are.
func distinctShapes(requests int, large bool) []Demand {
	r := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // bench data, to be repeatable
	cores, gib := 8, 32
	if large {
		cores, gib = 64, 256
	}
	out := make([]Demand, 0, requests)
	for i := range requests {
		res := Resources{{"CPU", float64(1+r.IntN(cores*10)) / 10}, {"memory", float64(1+r.IntN(gib<<10))*(1<<20) + float64(i)}}
		if r.IntN(5) == 0 {
			res = append(res, Amount{"GPU", float64(1 + r.IntN(4))})
		}
		out = append(out, Demand{Request: Request{Resources: res}, Count: 1})
	}
	return out
}

// runSchedule reports the least CPU time of any round as well, which says more
// than the mean wall time on a busy machine.
func runSchedule(b *testing.B, in Input) {
	b.Helper()
	b.ReportAllocs()
	least := time.Duration(math.MaxInt64)
	for b.Loop() {
		before := cpuTime(b)
		if out := Schedule(in); out.Err != nil {
			b.Fatal(out.Err)
		}
		least = min(least, cpuTime(b)-before)
	}
	b.ReportMetric(least.Seconds()*1000, "least-cpu-ms/op")
}

// cpuTime is what the process has used so far, the garbage collector included.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkSchedule gives the time of one round. Nodes are equal within their
// type or mixed; requests are of ten shapes or all different.
func BenchmarkSchedule(b *testing.B) {
	for _, size := range []struct{ nodes, requests int }{{0, 4000}, {100, 1000}, {400, 4000}, {1337, 13315}} {
		for _, mixed := range []bool{false, true} {
			if size.nodes == 0 && mixed {
				continue
			}
			for _, kind := range []string{"few", "small", "large"} {
				in := fleet(size.nodes, mixed)
				switch kind {
				case "few":
					in.Requests = fewShapes(size.requests)
				default:
					in.Requests = distinctShapes(size.requests, kind == "large")
				}
				b.Run(fmt.Sprintf("nodes=%d/demands=%d/mixed=%v/shapes=%s", size.nodes, size.requests, mixed, kind), func(b *testing.B) {
					runSchedule(b, in)
				})
			}
		}
	}
}

// BenchmarkScheduleSmall is one of many small clusters: a head and three workers
// with a few tasks and a gang.
func BenchmarkScheduleSmall(b *testing.B) {
	in := fleet(4, true)
	in.Requests = fewShapes(20)
	in.Gangs = gangsOf(in.Requests[:2], 2)
	runSchedule(b, in)
}

// BenchmarkScheduleGangs has 4000 different requests in gangs of four, of all
// strategies, on 400 different nodes.
func BenchmarkScheduleGangs(b *testing.B) {
	in := fleet(400, true)
	in.Gangs = gangsOf(distinctShapes(4000, false), 4)
	runSchedule(b, in)
}

// BenchmarkScheduleEqualGangs has 1000 gangs of few shapes.
func BenchmarkScheduleEqualGangs(b *testing.B) {
	in := fleet(400, true)
	for i := range 1000 {
		one := Request{Resources: Resources{{"CPU", float64(1 + i%3)}}}
		one.Placement = []PlacementConstraint{{AntiAffinity, "_PG_" + strconv.Itoa(i), ""}}
		in.Gangs = append(in.Gangs, Gang{Bundles: []Request{one, one}})
	}
	for i := range 4000 {
		in.Requests = append(in.Requests, Demand{Request{Resources: Resources{{"CPU", float64(1 + i%7)}, {"memory", float64(1 + i%5)}}}, 1})
	}
	runSchedule(b, in)
}

// BenchmarkScheduleEverything has a constraint, gangs, and tasks with
// selectors, all of different shapes, on 400 different nodes.
func BenchmarkScheduleEverything(b *testing.B) {
	in := fleet(400, true)
	d := distinctShapes(4000, false)
	in.Constraints = []Constraint{{Requests: d[:1000]}}
	in.Gangs = gangsOf(d[1000:1400], 4)
	in.Requests = d[1400:]
	for i := range in.Requests {
		if i%10 == 0 {
			in.Requests[i].Request.Selectors = []Selector{
				{{Key: "accelerator", Operator: OperatorIn, Values: []string{"A100"}}},
				{{Key: "accelerator", Operator: OperatorNotIn, Values: []string{"H100"}}},
			}
		}
	}
	runSchedule(b, in)
}

// gangsOf makes gangs of a size, of each strategy in turn.
func gangsOf(d []Demand, size int) []Gang {
	var out []Gang
	for i := 0; i+size <= len(d); i += size {
		g := Gang{}
		for _, one := range d[i : i+size] {
			r := one.Request
			label := "_PG_" + strconv.Itoa(len(out))
			switch len(out) % 3 {
			case 1:
				r.Placement = []PlacementConstraint{{AntiAffinity, label, ""}}
			case 2:
				r.Placement = []PlacementConstraint{{Affinity, label, ""}}
			}
			g.Bundles = append(g.Bundles, r)
		}
		out = append(out, g)
	}
	return out
}
