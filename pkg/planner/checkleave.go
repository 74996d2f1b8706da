package planner

import (
	"maps"
	"slices"
	"time"
)

// cordon may hit nodes whose pods can all go, and nodes that go in any case.
func (c *checking) cordon(st Step) {
	n := c.p.node[st.Node]
	if n == nil || n.UID != st.NodeUID && st.NodeUID != "" {
		c.broken("I1", "cordoning node %s, which is unknown or carries pods that are not known", st.Node)
		return
	}
	if n.machine != nil && n.machine.Deleting {
		if u := c.p.unknown(SourceManagement, SourceWorkload); u != "" {
			c.broken("I9", "cordoning node %s while a source is unknown: %s", st.Node, u)
		}
		return
	}
	c.fresh(st)
	for _, pod := range n.pods {
		k := c.p.pod[pod].work
		listed := slices.Contains(st.Pods, refOf(pod))
		if k != workMovable && (k < workIdle || !listed) {
			c.broken("I1", "cordoning node %s, which carries pods that may not go, such as %s", st.Node, pod.Key())
		}
	}
}

// drain is asked of idle Ray nodes on cordoned nodes, and of any on a node
// that somebody else deletes.
func (c *checking) drain(st Step) {
	c.fresh(st)
	n, pod := c.p.node[st.Node], c.find(st)
	if n == nil || pod == nil || pod.Node != st.Node || c.p.pod[pod].ray == nil || c.p.pod[pod].ray.ID != st.RayNode {
		c.broken("I1", "draining Ray node %s, whose pod or node is unknown", st.RayNode)
		return
	}
	state := c.p.pod[pod]
	switch st.Drain {
	case DrainIdle:
		if n.Cordon == nil || state.work != workIdle || state.cluster.Mode != ModeLead || c.p.idleLeft(pod) > 0 {
			c.broken("I1", "draining Ray node %s of pod %s, which is not idle for its timeout in a cluster that is led, on a cordoned node", st.RayNode, pod.Key())
		}
	case DrainPreemption:
		if n.machine == nil || !n.machine.Deleting || pod.RayHead || n.Cordon == nil {
			c.broken("I1", "preempting Ray node %s, whose Machine nobody deletes", st.RayNode)
		}
	default:
		c.broken("I1", "draining Ray node %s for the reason %q", st.RayNode, st.Drain)
	}
}

func (c *checking) find(st Step) *Pod {
	if len(st.Pods) == 0 {
		return nil
	}
	return c.pod(st.Pods[0])
}

// pod finds the pod of a reference: the first, if a snapshot lists it twice.
func (c *checking) pod(r PodRef) *Pod {
	if c.pods == nil {
		c.pods = make(map[PodRef]*Pod, len(c.p.s.Pods))
		for i := range slices.Backward(c.p.s.Pods) {
			c.pods[refOf(&c.p.s.Pods[i])] = &c.p.s.Pods[i]
		}
	}
	return c.pods[r]
}

// workers checks what is done to the pods of a worker group: only ended Ray
// nodes and pods without a node may go, and the group's minimum holds.
func (c *checking) workers(st Step) {
	c.fresh(st)
	cluster := c.p.cluster[st.RayCluster]
	if cluster == nil || cluster.Mode != ModeLead || !cluster.planned() {
		c.broken("I1", "%s of %s, which is not led", st.Kind, st.RayCluster)
		return
	}
	w := cluster.workerGroup(st.WorkerGroup)
	if w == nil || st.From != w.Replicas {
		c.broken("I2", "%s of %s %s from %d, which is not what it has", st.Kind, st.RayCluster, st.WorkerGroup, st.From)
		return
	}
	if st.Kind == StepShrinkWorkers {
		going := (int64(len(st.Pods)) + w.hosts() - 1) / w.hosts()
		if st.To > w.base() || st.To < min(w.Min, w.Max) || st.To < w.base()-going {
			c.broken("I2", "shrinking %s %s from %d to %d for %d pods", st.RayCluster, st.WorkerGroup, st.From, st.To, len(st.Pods))
		}
	}
	for _, r := range st.Pods {
		pod := c.pod(r)
		ended := pod != nil && (c.p.pod[pod].work == workDead || st.Kind == StepShrinkWorkers && (pod.Node == "" || c.p.pod[pod].work == workLeaving))
		if !ended || pod.RayCluster != st.RayCluster || pod.RayGroup != st.WorkerGroup {
			c.broken("I1", "%s of pod %s/%s, which is unknown, of another group, or may serve", st.Kind, r.Namespace, r.Name)
		}
	}
}

// evict moves pods that are not Ray's and do not block off a cordoned node.
func (c *checking) evict(st Step) {
	c.fresh(st)
	n := c.p.node[st.Node]
	for _, r := range st.Pods {
		if pod := c.pod(r); n == nil || n.Cordon == nil || pod == nil || pod.Node != st.Node || c.p.pod[pod].work != workMovable {
			c.broken("I1", "evicting pod %s/%s, which may not be moved off node %s", r.Namespace, r.Name, st.Node)
		}
	}
}

// release lets go of a Machine that is being deleted when nothing of Ray's is
// on it, when a person says so, or when its node is out of reach.
func (c *checking) release(st Step) {
	for _, key := range st.Machines {
		m := c.p.machine[key]
		if m == nil || !m.Deleting {
			c.broken("I1", "releasing Machine %s, which nobody deletes", key)
			continue
		}
		n := c.p.node[m.Node]
		if m.Release || m.Node == "" || n == nil || c.p.outOfReach(n) {
			continue
		}
		if u := c.p.unknown(SourceManagement, SourceWorkload); u != "" {
			c.broken("I9", "releasing Machine %s while a source is unknown: %s", key, u)
		}
		for _, pod := range n.pods {
			if k := c.p.pod[pod].work; k >= workHead && !c.p.off(pod) {
				c.broken("I1", "releasing Machine %s, whose Node %s carries Ray pod %s", key, n.Name, pod.Key())
			}
		}
		if n.Cordon == nil {
			c.broken("I1", "releasing Machine %s, whose Node %s is not cordoned", key, n.Name)
		}
	}
}

// totals holds the plan as a whole to the limits of the policy.
func (c *checking) totals(plan Plan) {
	pol := c.p.s.Policy
	var grown, removed int64
	classes := map[string]int64{}
	for _, st := range plan.Steps {
		switch st.Kind { //nolint:exhaustive // only these two change the number of Machines
		case StepGrow:
			grown = addSat(grown, st.To-st.From)
			if g := c.p.group[st.Group]; g != nil {
				classes[g.Class] = addSat(classes[g.Class], st.To-st.From)
			}
			if pol.MaxGrowPerGroup > 0 && st.To-st.From > pol.MaxGrowPerGroup {
				c.broken("I2", "growing %s by %d, more than one plan may", st.Group, st.To-st.From)
			}
		case StepRemove:
			removed = addSat(removed, st.From-st.To)
		}
	}
	if pol.Paused && len(plan.Steps) > 0 {
		c.broken("I2", "taking %d steps while paused", len(plan.Steps))
	}
	within := func(what string, n, limit int64) {
		if limit > 0 && n > limit {
			c.broken("I2", "%s %d Machines, the limit is %d", what, n, limit)
		}
	}
	within("growing in one plan by", grown, pol.MaxGrowPerTick)
	within("removing in one plan", removed, pol.MaxRemovePerTick)
	if grown > 0 {
		within("having in all", addSat(c.p.machines(), grown), pol.MaxMachines)
		within("growing in one hour by", addSat(c.p.grownLately(), grown), pol.MaxGrowPerHour)
	}
	if removed > 0 {
		within("removing in one hour", addSat(c.p.removedLately(), removed), pol.MaxRemovePerHour)
	}
	c.stock(classes)
	c.tenants(plan)
}

// stock holds what is bought of each VM class to the room on its hosts.
func (c *checking) stock(bought map[string]int64) {
	for i := range c.p.s.Classes {
		switch class := &c.p.s.Classes[i]; {
		case bought[class.Name] == 0:
		case class.Invalid != "":
			c.broken("I2", "buying %d of class %s, which cannot be used: %s", bought[class.Name], class.Name, class.Invalid)
		case class.Headroom != nil && bought[class.Name] > *class.Headroom:
			c.broken("I2", "buying %d of class %s, which has room for %d", bought[class.Name], class.Name, *class.Headroom)
		}
	}
}

// tenants holds what is bought to the limits of each namespace, whether they
// are its own or the default ones.
func (c *checking) tenants(plan Plan) {
	machines, gpus := map[string]int64{}, map[string]int64{}
	for _, n := range plan.Nodes {
		g := c.p.group[n.Group]
		if !n.New || g == nil {
			continue
		}
		// It was bought for the first pod; what others put beside it costs
		// nothing more.
		if len(n.Pods) == 0 || tenantOf(n.Pods[0].Demand) == "" {
			continue
		}
		t := tenantOf(n.Pods[0].Demand)
		machines[t] = addSat(machines[t], n.Count)
		gpus[t] = addSat(gpus[t], mulSat(g.Capacity[ResourceGPU], n.Count))
	}
	for _, t := range slices.Sorted(maps.Keys(machines)) {
		l := c.p.tenantLimit(t)
		if l == nil {
			continue
		}
		has, hasGPUs := c.p.tenantHolds(t)
		if l.MaxMachines > 0 && addSat(has, machines[t]) > l.MaxMachines {
			c.broken("I2", "buying %d Machines for namespace %s, which has %d of %d", machines[t], t, has, l.MaxMachines)
		}
		if l.MaxGPUs > 0 && gpus[t] > 0 && addSat(hasGPUs, gpus[t]) > l.MaxGPUs {
			c.broken("I2", "buying %s GPUs for namespace %s, which has %s of %s", decimal(gpus[t], Unit), t, decimal(hasGPUs, Unit), decimal(l.MaxGPUs, Unit))
		}
	}
}

// outOfReach tells whether the node has been unreachable for longer than a hook
// may hold it, and Ray does not say otherwise.
func (p *planning) outOfReach(n *nodeState) bool {
	limit := time.Duration(p.s.Policy.UnreachableRelease)
	if n.Ready || n.UnreadySince.IsZero() || limit <= 0 || p.s.At.Sub(n.UnreadySince) <= limit {
		return false
	}
	for _, pod := range n.pods {
		st := p.pod[pod]
		if c := st.cluster; c == nil || !c.planned() {
			continue
		}
		// Of two views, that of the one who still sees work counts.
		if r := st.ray; r != nil && (r.Status == RayNodeRunning || r.Status == RayNodeDraining) {
			return false
		}
	}
	return true
}

// off tells whether the pod is of a cluster whose pods count as ordinary ones.
func (p *planning) off(pod *Pod) bool {
	c := p.pod[pod].cluster
	return c != nil && c.Mode == ModeOff
}
