package planner_test

import (
	"fmt"
	"time"

	"pgregory.net/rapid"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// cluster draws a RayCluster with its pods, Ray nodes and demand.
func (w *world) cluster(i int64) {
	c := planner.RayCluster{
		Namespace: fmt.Sprintf("t%d", w.n("tenant", 0, 1)), Name: fmt.Sprintf("ray%d", i), UID: fmt.Sprintf("ur%d", i),
		Mode:        rapid.SampledFrom([]planner.Mode{planner.ModeLead, planner.ModeLead, planner.ModeFollow, planner.ModeOff}).Draw(w.t, "mode"),
		DemandKnown: !w.trouble(12, "demandUnknown"), IdleTimeout: minutes(1), Suspended: w.trouble(20, "suspended"),
	}
	if w.trouble(20, "badCluster") {
		c.Invalid = "its autoscaler is live"
	}
	if w.one(3, "head") {
		p := planner.Pod{Namespace: c.Namespace, Name: c.Name + "-head", UID: "uh-" + c.Name, RayCluster: c.Key(), RayHead: true, Shape: planner.PodShape{Requests: planner.Resources{planner.ResourceCPU: 1000}}}
		if w.bind(&p) {
			w.s.Pods = append(w.s.Pods, p)
		}
	}
	for j := range w.n("workerGroups", 1, 3) {
		w.workers(&c, j)
	}
	for range w.n("requests", 0, 3) {
		r := planner.Request{Resources: w.ask(), Count: w.n("count", 1, 6)}
		for range w.n("fallbacks", 0, 2) {
			r.Selectors = append(r.Selectors, w.selector())
		}
		c.Requests = append(c.Requests, r)
	}
	for j := range w.n("gangs", 0, 2) {
		c.Gangs = append(c.Gangs, w.gang(fmt.Sprintf("%02x%02x", i, j)))
	}
	if w.one(3, "constrained") {
		c.Constraints = []planner.Request{{Resources: w.ask(), Count: w.n("totals", 1, 4)}}
	}
	w.placed(&c)
	w.s.RayClusters = append(w.s.RayClusters, c)
}

// ask is a resource request: parts of GPUs, whole ones, custom resources.
func (w *world) ask() planner.Resources {
	r := planner.Resources{planner.ResourceCPU: 500 * w.n("askCPU", 1, 12)}
	switch w.n("askKind", 0, 5) {
	case 0:
		r[planner.ResourceGPU] = planner.Unit / 4 * w.n("askParts", 1, 3)
	case 1:
		r[planner.ResourceGPU] = planner.Unit * w.n("askGPUs", 1, 2)
	case 2:
		r[fpga] = planner.Unit / 2 * w.n("askFPGA", 1, 2)
	case 3:
		r[planner.ResourceMemory] = w.n("askGiB", 1, 12) << 30
	}
	return r
}

func (w *world) selector() planner.Selector {
	if w.one(2, "byType") {
		return planner.Selector{{Key: accelerator, NotIn: w.one(3, "notIn"), Values: []string{rapid.SampledFrom([]string{"A100", "L4"}).Draw(w.t, "type")}}}
	}
	return planner.Selector{{Key: "team", Values: []string{fmt.Sprintf("x%d", w.n("team", 0, 2))}}}
}

func (w *world) gang(id string) planner.Gang {
	g := planner.Gang{ID: id, Strategy: rapid.SampledFrom([]planner.Strategy{planner.Pack, planner.Spread, planner.StrictPack, planner.StrictSpread}).Draw(w.t, "strategy")}
	for range w.n("options", 1, 2) {
		var o planner.GangOption
		same := w.ask()
		for range w.n("bundles", 1, 4) {
			b := planner.Bundle{Resources: same.Clone()}
			if w.one(3, "otherBundle") {
				b.Resources = w.ask()
			}
			if w.one(5, "bundleSelector") {
				b.Selector = w.selector()
			}
			o.Bundles = append(o.Bundles, b)
		}
		g.Options = append(g.Options, o)
	}
	return g
}

// placed marks a gang of which some bundles are there already.
func (w *world) placed(c *planner.RayCluster) {
	for i := range c.Gangs {
		g := &c.Gangs[i]
		if g.Strategy == planner.StrictPack || !w.one(3, "partlyPlaced") {
			continue
		}
		for j := range c.RayNodes {
			if n := &c.RayNodes[j]; n.Status == planner.RayNodeRunning {
				g.Rescheduling, g.Options = true, g.Options[:1]
				n.Gangs = append(n.Gangs, g.ID)
				break
			}
		}
	}
}

func (w *world) workers(c *planner.RayCluster, j int64) {
	size := rapid.SampledFrom([][4]int64{{2, 4, 0, 0}, {4, 8, 0, 0}, {8, 16, 0, 0}, {4, 8, 1, 0}, {8, 16, 2, 0}, {4, 8, 0, 1}}).Draw(w.t, "workerSize")
	g := planner.WorkerGroup{
		Name: fmt.Sprintf("w%d", j), Min: max(0, w.n("minReplicas", -3, 2)), RayResources: amounts(size), Priority: w.n("priority", 0, 1),
		Pod: planner.PodShape{Requests: amounts(size)}, NumOfHosts: max(0, w.n("hosts", -3, 2)), Suspended: w.trouble(20, "groupSuspended"),
		Labels: map[string]string{"team": fmt.Sprintf("x%d", w.n("groupTeam", 0, 2))},
	}
	g.Max = g.Min + w.n("maxReplicas", 0, 4)
	if size[2] > 0 {
		g.Labels[accelerator] = rapid.SampledFrom([]string{"A100", "L4"}).Draw(w.t, "groupType")
		if !w.one(5, "intolerant") {
			g.Pod.Tolerations = []planner.Toleration{{Key: gpuTaint.Key, Operator: "Exists"}}
		}
	}
	if w.one(5, "zoned") {
		g.Pod.NodeSelector = map[string]string{"zone": "z0"}
	}
	if w.one(4, "ownTimeout") {
		d := planner.Duration(30 * time.Second)
		g.IdleTimeout = &d
	}
	if w.trouble(25, "badWorkers") {
		g.Invalid = "its pod template has no container"
	}
	for k := range w.n("live", 0, 3) {
		if !w.replica(c, &g, k) {
			break
		}
	}
	if !w.calm {
		g.Replicas = max(0, g.Replicas+w.n("workersLag", -1, 1))
		if w.one(6, "staleName") {
			g.WorkersToDelete = append(g.WorkersToDelete, "gone")
		}
	}
	g.Max = max(g.Max, g.Replicas-w.n("overMax", 0, 1))
	c.WorkerGroups = append(c.WorkerGroups, g)
}

// replica makes the pods of one replica, bound with their Ray nodes or waiting.
func (w *world) replica(c *planner.RayCluster, g *planner.WorkerGroup, k int64) bool {
	hosts := max(1, g.NumOfHosts)
	waits := w.one(6, "waits")
	if hosts > 1 && w.calm {
		waits = true // binding half of a replica is a trouble
	}
	for h := range hosts {
		p := workerPod(c, g, k, h, "")
		if waits {
			p.Unschedulable = true
		} else if !w.bind(&p) {
			if h == 0 {
				return false
			}
			p.Unschedulable = true
		}
		p.Terminating = w.trouble(12, "leaving")
		if w.trouble(12, "named") {
			g.WorkersToDelete = append(g.WorkersToDelete, p.Name)
		}
		if w.trouble(10, "untold") {
			p.RayReplica = ""
		}
		w.s.Pods = append(w.s.Pods, p)
		if p.Node != "" && !w.trouble(8, "unlisted") {
			c.RayNodes = append(c.RayNodes, w.rayNode(g, &p))
		}
	}
	g.Replicas++
	return true
}

func workerPod(c *planner.RayCluster, g *planner.WorkerGroup, k, h int64, generation string) planner.Pod {
	name := fmt.Sprintf("%s-%s-%d-%d%s", c.Name, g.Name, k, h, generation)
	p := planner.Pod{Namespace: c.Namespace, Name: name, UID: "up-" + name, RayCluster: c.Key(), RayGroup: g.Name, Shape: g.Pod}
	if g.NumOfHosts > 1 {
		p.RayReplica = fmt.Sprintf("%s-r%d%s", g.Name, k, generation)
	}
	return p
}

func (w *world) rayNode(g *planner.WorkerGroup, p *planner.Pod) planner.RayNode {
	n := freshRayNode(g, p)
	n.IdleFor = planner.Duration(time.Duration(w.n("idleFor", 0, 4)) * 30 * time.Second)
	kinds := []planner.RayNodeStatus{planner.RayNodeIdle, planner.RayNodeIdle, planner.RayNodeRunning}
	if !w.calm {
		kinds = append(kinds, planner.RayNodeRunning, planner.RayNodeDraining, planner.RayNodeDead, planner.RayNodeUnknown)
	}
	if n.Status = rapid.SampledFrom(kinds).Draw(w.t, "status"); n.Status == planner.RayNodeRunning {
		n.IdleFor = 0
		for _, name := range n.Total.Names() {
			n.Available[name] = n.Total[name] / 4 * w.n("available", 0, 3)
		}
	}
	return n
}

// freshRayNode is the raylet of a pod that has just come up.
func freshRayNode(g *planner.WorkerGroup, p *planner.Pod) planner.RayNode {
	return planner.RayNode{
		ID: "id-" + p.Name, Pod: p.Name, PodUID: p.UID, Group: g.Name, Status: planner.RayNodeIdle,
		Total: g.RayResources.Clone(), Available: g.RayResources.Clone(), Labels: g.Labels,
	}
}
