package planner_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// carrying is a perfect world: every step succeeds at once, Machines become
// nodes, the operator makes and deletes pods, the scheduler binds what
// is not planned for Ray where the plan expects it. Demand stays as it is, so fresh Ray pods
// wait: once they are bound, Ray puts tasks on them in an order of its own.
type carrying struct {
	s    planner.Snapshot
	made int // counts what is made, for names
}

// carry starts from a snapshot, of which it changes nothing.
func carry(s planner.Snapshot) *carrying {
	c := &carrying{s: s}
	s = c.s
	c.s.NodeGroups, c.s.Machines, c.s.Nodes, c.s.Pods = slices.Clone(s.NodeGroups), slices.Clone(s.Machines), slices.Clone(s.Nodes), slices.Clone(s.Pods)
	c.s.RayClusters = slices.Clone(s.RayClusters)
	for i := range c.s.RayClusters {
		r := &c.s.RayClusters[i]
		r.WorkerGroups, r.RayNodes = slices.Clone(r.WorkerGroups), slices.Clone(r.RayNodes)
		for j := range r.WorkerGroups {
			r.WorkerGroups[j].WorkersToDelete = slices.Clone(r.WorkerGroups[j].WorkersToDelete)
		}
	}
	return c
}

func (c *carrying) group(key string) *planner.NodeGroup {
	i := slices.IndexFunc(c.s.NodeGroups, func(g planner.NodeGroup) bool { return g.Key() == key })
	return &c.s.NodeGroups[i]
}

func (c *carrying) machine(key string) *planner.Machine {
	i := slices.IndexFunc(c.s.Machines, func(m planner.Machine) bool { return m.Key() == key })
	return &c.s.Machines[i]
}

func (c *carrying) node(name string) *planner.Node {
	i := slices.IndexFunc(c.s.Nodes, func(n planner.Node) bool { return n.Name == name })
	return &c.s.Nodes[i]
}

func (c *carrying) cluster(key string) *planner.RayCluster {
	i := slices.IndexFunc(c.s.RayClusters, func(r planner.RayCluster) bool { return r.Key() == key })
	return &c.s.RayClusters[i]
}

func (c *carrying) workers(cluster, name string) *planner.WorkerGroup {
	r := c.cluster(cluster)
	i := slices.IndexFunc(r.WorkerGroups, func(w planner.WorkerGroup) bool { return w.Name == name })
	return &r.WorkerGroups[i]
}

// take carries out one step.
func (c *carrying) take(st planner.Step) {
	mark := &planner.Mark{PlanID: "p", At: c.s.At}
	switch st.Kind {
	case planner.StepGrow:
		c.group(st.Group).Replicas = st.To
	case planner.StepRemove:
		c.group(st.Group).Replicas = st.To
		for _, key := range st.Machines {
			c.machine(key).Mark = mark
		}
	case planner.StepGrowWorkers:
		c.workers(st.RayCluster, st.WorkerGroup).Replicas = st.To
	case planner.StepCordon:
		cordonNode(c.node(st.Node), c.s.At)
	case planner.StepUncordon:
		n := c.node(st.Node)
		n.Cordon = nil
		n.Taints = slices.DeleteFunc(slices.Clone(n.Taints), func(t planner.Taint) bool { return t.Key == planner.CordonTaint })
	case planner.StepSoftTaint:
		c.node(st.Node).SoftTaint = mark
	case planner.StepSoftUntaint:
		c.node(st.Node).SoftTaint = nil
	case planner.StepUnmark:
		c.machine(st.Machines[0]).Mark = nil
	case planner.StepHook, planner.StepReleaseHook:
		for _, key := range st.Machines {
			c.machine(key).Hook = st.Kind == planner.StepHook
		}
	case planner.StepDrain:
		nodes := c.cluster(st.RayCluster).RayNodes
		i := slices.IndexFunc(nodes, func(n planner.RayNode) bool { return n.ID == st.RayNode })
		nodes[i].Status = planner.RayNodeDead
	case planner.StepShrinkWorkers:
		w := c.workers(st.RayCluster, st.WorkerGroup)
		w.Replicas = st.To
		for _, r := range st.Pods {
			w.WorkersToDelete = append(w.WorkersToDelete, r.Name)
		}
	case planner.StepClearWorkers:
		w := c.workers(st.RayCluster, st.WorkerGroup)
		w.WorkersToDelete = slices.DeleteFunc(w.WorkersToDelete, func(name string) bool {
			return slices.ContainsFunc(st.Pods, func(r planner.PodRef) bool { return r.Name == name })
		})
	case planner.StepReplaceWorker, planner.StepEvict:
		for _, r := range st.Pods {
			c.delete(r.UID, st.Kind == planner.StepEvict)
		}
	case planner.StepRemember:
		c.group(st.Group).Backoffs = st.Backoffs
	}
}

// delete takes a pod away; one that is evicted is made anew by its owner.
func (c *carrying) delete(uid string, again bool) {
	i := slices.IndexFunc(c.s.Pods, func(p planner.Pod) bool { return p.UID == uid })
	p := c.s.Pods[i]
	c.s.Pods = slices.Delete(c.s.Pods, i, i+1)
	for j := range c.s.RayClusters {
		r := &c.s.RayClusters[j]
		r.RayNodes = slices.DeleteFunc(r.RayNodes, func(n planner.RayNode) bool { return n.PodUID == uid })
	}
	if again {
		c.made++
		p.Name, p.UID, p.Node, p.Unschedulable = fmt.Sprintf("again%d", c.made), fmt.Sprintf("u-again%d", c.made), "", true
		c.s.Pods = append(c.s.Pods, p)
	}
}

// settle lets the controllers come to rest.
func (c *carrying) settle(plan planner.Plan) {
	for i := range c.s.NodeGroups {
		c.machines(&c.s.NodeGroups[i])
	}
	for i := range c.s.RayClusters {
		r := &c.s.RayClusters[i]
		for j := range r.WorkerGroups {
			if r.Mode == planner.ModeOff {
				break // nobody plans for what its operator makes
			}
			c.operate(r, &r.WorkerGroups[j])
		}
	}
	c.follow(plan)
	c.schedule(plan)
}

// machines is Cluster API: the marked ones go, the missing ones come.
func (c *carrying) machines(g *planner.NodeGroup) {
	mine := func(m planner.Machine) bool { return m.Group == g.Key() }
	n := int64(0)
	for _, m := range c.s.Machines {
		if mine(m) {
			n++
		}
	}
	gone := map[string]bool{}
	c.s.Machines = slices.DeleteFunc(c.s.Machines, func(m planner.Machine) bool {
		if goes := mine(m) && n > g.Replicas && m.Mark != nil; goes {
			n--
			gone[m.Node] = true
		}
		return gone[m.Node]
	})
	c.s.Nodes = slices.DeleteFunc(c.s.Nodes, func(n planner.Node) bool { return gone[n.Name] })
	c.s.Pods = slices.DeleteFunc(c.s.Pods, func(p planner.Pod) bool { return p.Node != "" && gone[p.Node] })
	for ; n < g.Replicas; n++ {
		c.made++
		m := planner.Machine{Namespace: g.Namespace, Name: fmt.Sprintf("%s-new%d", g.Name, c.made), Group: g.Key(), CreatedAt: c.s.At}
		m.UID, m.Node = "um-"+m.Name, m.Name
		c.s.Machines, c.s.Nodes = append(c.s.Machines, m), append(c.s.Nodes, nodeOf(g, &m))
	}
}

// operate is the operator of one worker group: named pods go, missing ones come.
func (c *carrying) operate(r *planner.RayCluster, w *planner.WorkerGroup) {
	var named []string
	live := int64(0)
	for _, p := range c.s.Pods {
		switch {
		case p.RayCluster != r.Key() || p.RayGroup != w.Name:
		case slices.Contains(w.WorkersToDelete, p.Name):
			named = append(named, p.UID)
		default:
			live++
		}
	}
	for _, uid := range named {
		c.delete(uid, false)
	}
	hosts := max(1, w.NumOfHosts)
	for ; live < max(w.Replicas, w.Min)*hosts; live += hosts {
		c.made++
		for h := range hosts {
			p := workerPod(r, w, int64(c.made), h, "n")
			p.Unschedulable, p.CreatedAt = true, c.s.At
			c.s.Pods = append(c.s.Pods, p)
		}
	}
}

// follow lets Ray ask for the pods that the plan expects it to ask for.
func (c *carrying) follow(plan planner.Plan) {
	for _, t := range plan.WorkerGroups {
		if w := c.workers(t.RayCluster, t.Group); c.cluster(t.RayCluster).Mode == planner.ModeFollow {
			w.Replicas = max(w.Replicas, t.Target)
		}
	}
}

// schedule binds waiting pods that are not Ray's to the nodes on which the plan
// expects them.
func (c *carrying) schedule(plan planner.Plan) {
	for _, n := range plan.Nodes {
		if n.Node == "" || !slices.ContainsFunc(c.s.Nodes, func(o planner.Node) bool { return o.Name == n.Node && o.Cordon == nil }) {
			continue
		}
		for _, pl := range n.Pods {
			left := pl.Count
			for i := range c.s.Pods {
				if p := &c.s.Pods[i]; left > 0 && p.Node == "" && c.ordinary(p) && placedAs(p, pl) && suits(&p.Shape, c.node(n.Node).Labels, c.node(n.Node).Taints) {
					left--
					p.Node, p.Unschedulable = n.Node, false
				}
			}
		}
	}
}

// ordinary pods are those that are not Ray's, or of a cluster in mode off.
func (c *carrying) ordinary(p *planner.Pod) bool {
	return p.RayCluster == "" || c.cluster(p.RayCluster).Mode == planner.ModeOff
}

// placedAs tells whether the pod is one of those that a placement is for.
func placedAs(p *planner.Pod, pl planner.Placement) bool {
	for _, of := range []string{"pod " + p.Namespace + "/", "pods of " + p.RayCluster + " " + p.RayGroup} {
		if strings.HasPrefix(pl.Demand, of) {
			return p.Shape.Requests.Key() == pl.Requests.Key()
		}
	}
	return false
}

// pass lets time go by; idle Ray nodes grow older.
func (c *carrying) pass(d time.Duration) {
	c.s.At = c.s.At.Add(d)
	for i := range c.s.RayClusters {
		nodes := c.s.RayClusters[i].RayNodes
		for j := range nodes {
			if nodes[j].Status == planner.RayNodeIdle {
				nodes[j].IdleFor += planner.Duration(d)
			}
		}
	}
}
