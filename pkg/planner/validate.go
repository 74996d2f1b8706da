package planner

import (
	"cmp"
	"errors"
	"fmt"
)

// Validate tells what is wrong with a snapshot that a person wrote or changed:
// missing names, doubles, negative amounts, unknown words. Adapters never make
// such snapshots, and [Make] is total on all of them; but a plan on a mistyped
// snapshot would mislead. The error joins every problem.
func Validate(s Snapshot) error {
	v := validation{seen: map[string]bool{}}
	if s.At.IsZero() {
		v.add("at: the time of the snapshot is missing")
	}
	for i, l := range s.Policy.TenantLimits {
		v.atLeastZero(fmt.Sprintf("policy.tenantLimits[%d]", i), map[string]int64{"maxMachines": l.MaxMachines, "maxGPUs": l.MaxGPUs, "weight": l.Weight})
	}
	if fee := s.Policy.GPUNodeFee; fee != nil && *fee < 0 {
		v.add("policy.gpuNodeFee is %d; want zero or more", *fee)
	}
	for i, g := range s.NodeGroups {
		at := fmt.Sprintf("nodeGroups[%d]", i)
		v.name(at, "group", g.Namespace, g.Name)
		v.amounts(at+".capacity", g.Capacity)
		v.atLeastZero(at, map[string]int64{"min": g.Min, "max": g.Max, "replicas": g.Replicas, "price": g.Price})
		if g.Min > g.Max && g.Invalid == "" {
			v.add("%s: min %d is above max %d", at, g.Min, g.Max)
		}
	}
	for i, m := range s.Machines {
		v.name(fmt.Sprintf("machines[%d]", i), "machine", m.Namespace, m.Name)
	}
	for i, n := range s.Nodes {
		v.name(fmt.Sprintf("nodes[%d]", i), "node", "-", n.Name)
		v.amounts(fmt.Sprintf("nodes[%d].allocatable", i), n.Allocatable)
	}
	for i, p := range s.Pods {
		v.name(fmt.Sprintf("pods[%d]", i), "pod", p.Namespace, p.Name)
		v.amounts(fmt.Sprintf("pods[%d].shape.requests", i), p.Shape.Requests)
	}
	for i, c := range s.Classes {
		v.name(fmt.Sprintf("classes[%d]", i), "class", "-", c.Name)
		v.amounts(fmt.Sprintf("classes[%d].capacity", i), c.Capacity)
	}
	for i, z := range s.Zones {
		v.name(fmt.Sprintf("zones[%d]", i), "zone", "-", cmp.Or(z.Name, "(any)"))
		for j, h := range z.Hosts {
			v.atLeastZero(fmt.Sprintf("zones[%d].hosts[%d]", i, j), map[string]int64{"count": h.Count, "memory": h.Memory, "gpus": h.GPUs})
		}
	}
	for i := range s.RayClusters {
		v.cluster(fmt.Sprintf("rayClusters[%d]", i), &s.RayClusters[i])
	}
	return errors.Join(v.errs...)
}

type validation struct {
	seen map[string]bool
	errs []error
}

func (v *validation) add(format string, a ...any) { v.errs = append(v.errs, fmt.Errorf(format, a...)) }

func (v *validation) name(at, kind, namespace, name string) {
	key := kind + " " + namespace + "/" + name
	switch {
	case name == "" || namespace == "":
		v.add("%s: namespace or name is missing", at)
	case v.seen[key]:
		v.add("%s: %s is listed twice", at, key)
	}
	v.seen[key] = true
}

func (v *validation) amounts(at string, r Resources) {
	for _, n := range r.Names() {
		if r[n] < 0 {
			v.add("%s: %s is negative", at, n)
		}
	}
}

func (v *validation) atLeastZero(at string, values map[string]int64) {
	for _, n := range []string{"min", "max", "replicas", "price", "count", "maxMachines", "maxGPUs", "weight", "memory", "gpus"} {
		if values[n] < 0 {
			v.add("%s: %s is negative", at, n)
		}
	}
}

func (v *validation) cluster(at string, c *RayCluster) {
	v.name(at, "RayCluster", c.Namespace, c.Name)
	switch c.Mode {
	case ModeFollow, ModeLead, ModeOff:
	default:
		v.add("%s: mode %q is not one of follow, lead, off", at, c.Mode)
	}
	for i, w := range c.WorkerGroups {
		wat := fmt.Sprintf("%s.workerGroups[%d]", at, i)
		v.name(wat, "worker group of "+c.Key(), "-", w.Name)
		v.amounts(wat+".rayResources", w.RayResources)
		v.amounts(wat+".pod.requests", w.Pod.Requests)
		v.atLeastZero(wat, map[string]int64{"min": w.Min, "max": w.Max, "replicas": w.Replicas})
	}
	v.requests(at+".requests", c.Requests)
	v.requests(at+".constraints", c.Constraints)
	for i, g := range c.Gangs {
		switch g.Strategy {
		case Pack, Spread, StrictPack, StrictSpread:
		default:
			v.add("%s.gangs[%d]: strategy %q is not one of PACK, SPREAD, STRICT_PACK, STRICT_SPREAD", at, i, g.Strategy)
		}
		for j, o := range g.Options {
			for k, b := range o.Bundles {
				v.amounts(fmt.Sprintf("%s.gangs[%d].options[%d].bundles[%d]", at, i, j, k), b.Resources)
			}
		}
	}
}

func (v *validation) requests(at string, in []Request) {
	for i, r := range in {
		v.amounts(fmt.Sprintf("%s[%d]", at, i), r.Resources)
		v.atLeastZero(fmt.Sprintf("%s[%d]", at, i), map[string]int64{"count": r.Count})
	}
}
