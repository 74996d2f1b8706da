package planner_test

import (
	"fmt"
	"testing"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// BenchmarkShares prints what a plan costs where there is not enough for all, with
// and without fair shares: with them, the demand is placed more than once.
func BenchmarkShares(b *testing.B) {
	const tenants = 4
	s := scale{nodes: 5000, shapes: 1000, requests: 1_000_000, gangs: 200}.snapshot()
	namespace := map[string]string{} // by RayCluster
	for i := range s.RayClusters {
		r := &s.RayClusters[i]
		old := r.Key()
		r.Namespace = fmt.Sprintf("t%d", i%tenants)
		namespace[old] = r.Namespace
	}
	for i := range s.Pods {
		p := &s.Pods[i]
		if ns := namespace[p.RayCluster]; ns != "" {
			p.Namespace, p.RayCluster = ns, ns+p.RayCluster[len("ml"):]
		}
	}
	for i := range s.NodeGroups {
		s.NodeGroups[i].Max = s.NodeGroups[i].Replicas + 200
	}
	for _, off := range []bool{true, false} {
		s.Policy.FairShareDisabled = off
		b.Run(fmt.Sprintf("tenants=%d/disabled=%t", tenants, off), func(b *testing.B) { measure(b, s, planner.Memory{}, 0, false) })
	}
}

// BenchmarkHosts prints what a plan costs where it is known what is free on 300
// hosts that all differ.
func BenchmarkHosts(b *testing.B) {
	s := scale{nodes: 1000, shapes: 150, requests: 10_000, gangs: 20}.snapshot()
	for i := range s.Classes {
		c := &s.Classes[i]
		c.Devices, c.ReservedMemory = "h100", c.Capacity[planner.ResourceMemory]
	}
	z := planner.HostZone{ReadAt: noon}
	for i := range int64(300) {
		z.Hosts = append(z.Hosts, planner.HostRoom{Count: 1, Memory: (500 + 3*i) * gibi, GPUs: i % 9, Devices: []string{"h100"}})
	}
	for _, known := range []bool{false, true} {
		if s.Zones = nil; known {
			s.Zones = []planner.HostZone{z}
		}
		b.Run(fmt.Sprintf("known=%t", known), func(b *testing.B) { measure(b, s, planner.Memory{}, 0, false) })
	}
}
