package planner_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

const gibi = int64(1) << 30

// vm is what a class of the drawn worlds takes of its host.
type vm struct{ memory, gpus int64 }

// drawHosts makes a world with hosts in two zones, classes that share them, and
// groups of each class in each zone and in none.
func drawHosts(t *rapid.T) (planner.Snapshot, map[string]vm) {
	vms := map[string]vm{"one": {2, 1}, "two": {5, 2}, "locked": {4, 0}}
	s := planner.Snapshot{At: noon, Policy: testPolicy()}
	for _, zone := range []string{"a", "b"} {
		z := planner.HostZone{Name: zone, ReadAt: noon.Add(-time.Minute)}
		for range rapid.IntRange(0, 2).Draw(t, "hosts") {
			z.Hosts = append(z.Hosts, planner.HostRoom{
				Count: rapid.Int64Range(1, 2).Draw(t, "count"), Memory: gibi * rapid.Int64Range(0, 12).Draw(t, "memory"),
				GPUs: rapid.Int64Range(0, 4).Draw(t, "gpus"), Devices: []string{"h100"},
			})
		}
		s.Zones = append(s.Zones, z)
	}
	c := planner.RayCluster{Namespace: "ml", Name: "ray", UID: "r", Mode: planner.ModeLead, DemandKnown: true}
	for _, class := range []string{"locked", "one", "two"} {
		v := vms[class]
		r := planner.Resources{planner.ResourceCPU: 1000 + v.gpus*1000, planner.ResourceMemory: v.memory * gibi}
		k := planner.VMClass{Name: class, Capacity: r, ReservedMemory: v.memory * gibi}
		if v.gpus > 0 {
			r[planner.ResourceGPU], k.Devices = v.gpus*planner.Unit, "h100"
		}
		s.Classes = append(s.Classes, k)
		for _, zone := range []string{"", "a", "b"} {
			if !rapid.Bool().Draw(t, "group") {
				continue
			}
			g := planner.NodeGroup{
				Namespace: "ns", Name: class + "-" + zone + "x", UID: class + zone, Class: class, Zone: zone, Managed: true, Max: 9, Capacity: r,
				Price: rapid.Int64Range(1, 3).Draw(t, "price") * (1 + v.gpus) * 1e6,
			}
			g.Min = rapid.Int64Range(0, 2).Draw(t, "min")
			g.Replicas = rapid.Int64Range(0, 1).Draw(t, "coming")
			s.NodeGroups = append(s.NodeGroups, g)
		}
		c.WorkerGroups = append(c.WorkerGroups, planner.WorkerGroup{Name: class, Max: 9, RayResources: r, Pod: planner.PodShape{Requests: r}})
		c.Requests = append(c.Requests, planner.Request{Resources: r, Count: rapid.Int64Range(0, 4).Draw(t, "requests")})
	}
	s.RayClusters = []planner.RayCluster{c}
	return s, vms
}

// berth is what is free on one host.
type berth struct {
	zone string
	vm
}

// placeable tells by trying everything whether the VMs, each of a class and a
// zone, fit on the hosts.
func placeable(hosts []berth, vms []berth) bool {
	if len(vms) == 0 {
		return true
	}
	v := vms[0]
	tried := map[berth]bool{}
	for i, h := range hosts {
		if v.zone != "" && v.zone != h.zone || v.memory > h.memory || v.gpus > h.gpus || tried[h] {
			continue
		}
		tried[h] = true
		hosts[i].memory, hosts[i].gpus = h.memory-v.memory, h.gpus-v.gpus
		ok := placeable(hosts, vms[1:])
		hosts[i] = h
		if ok {
			return true
		}
	}
	return false
}

// TestHostsHoldWhatIsBought carries plans out, while the hosts are not read again,
// and places everything that was bought on hosts by an exhaustive search: there is
// a way to do it. (Where Machines are on their way before, nobody knows where they
// will go; then it is left to Check.) A plan that serves all is the last one. Where
// room is wanting, another may find some that this one did not, because VMs that
// are on their way are arranged anew; it ends within some rounds.
func TestHostsHoldWhatIsBought(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, vms := drawHosts(t)
		var hosts []berth
		for _, z := range s.Zones {
			for _, h := range z.Hosts {
				for range h.Count {
					hosts = append(hosts, berth{z.Name, vm{h.Memory / gibi, h.GPUs}})
				}
			}
		}
		coming := slices.ContainsFunc(s.NodeGroups, func(g planner.NodeGroup) bool { return g.Replicas > 0 })
		m := planner.Memory{}
		for round := 0; ; round++ {
			plan, next := planner.Make(s, m)
			if err := planner.Check(s, plan); err != nil {
				t.Fatalf("%v\n%s", err, tell(plan))
			}
			if len(plan.Steps) == 0 {
				return
			}
			if round == 4 {
				t.Fatalf("I5: still no end\n%s", tell(plan))
			}
			if round == 0 && !unmet(plan) && !belowMin(plan) {
				fixedPoint(t, s, next, plan)
			}
			m = next
			for _, st := range plan.Steps {
				if st.Kind == planner.StepGrowWorkers {
					s.RayClusters = withReplicas(s.RayClusters, st)
				}
				for i := range s.NodeGroups {
					if s.NodeGroups[i].Key() == st.Group {
						s.NodeGroups[i].Replicas = st.To
					}
				}
			}
			var want []berth
			for _, g := range s.NodeGroups {
				for range g.Replicas {
					want = append(want, berth{g.Zone, vms[g.Class]})
				}
			}
			if !coming && !placeable(hosts, want) {
				t.Fatalf("%v do not fit on %v\n%s", want, hosts, tell(plan))
			}
		}
	})
}

// belowMin tells whether a group lacks Machines to its minimum after the plan.
func belowMin(plan planner.Plan) bool {
	return slices.ContainsFunc(plan.Groups, func(g planner.GroupTarget) bool { return g.Target < g.Min })
}

// TestUnknownHostsBoundNothing is rule I9 for hosts: where it is not known what is
// free, a plan buys what it would without any reading, and says so where it buys
// GPUs.
func TestUnknownHostsBoundNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, _ := drawHosts(t)
		for i := range s.Zones {
			s.Zones[i].Unknown = "nobody may look"
		}
		blind, _ := planner.Make(s, planner.Memory{})
		s.Zones = nil
		without, _ := planner.Make(s, planner.Memory{})
		if fmt.Sprint(blind.Steps) != fmt.Sprint(without.Steps) {
			t.Fatalf("with unknown hosts\n%s\nwithout any\n%s", tell(blind), tell(without))
		}
	})
}
