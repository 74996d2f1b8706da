package planner_test

import (
	"fmt"
	"time"

	"pgregory.net/rapid"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// The properties hold plans against worlds with everything that a plan looks at.
// A calm world is one in which nothing fails and nobody else writes, so that a
// plan can be carried out to the end; a wild one has every trouble that a
// snapshot can tell of. Which property shows which rule:
//
//	I1, I2, I9  TestRulesOfOnePlan, TestRulesUnderAFlood, TestRemovalRules
//	I3          TestRulesOfOnePlan (nodes), TestRulesOfFit (Ray nodes, devices, gangs), TestRulesForGangs
//	I4          TestRulesOfOnePlan, TestRules, TestRemovalRules
//	I5          TestRules, TestRulesAtRest
//	I6          TestRulesOfOnePlan, TestRulesAtRest
//	I7          TestRulesForMoreDemand, TestMoreDemand
//	I8          TestRulesOfFit, TestRulesAtRest, TestRestStillFits
//	I10         TestRulesOfTheWayBack, TestEveryRemovalComesBack
//	I11         TestRulesUnderAFlood, TestPlansAreBounded
//	I12         TestRulesOfOnePlan, TestRulesOfFit (every pod), TestRulesForGangs
//	I13         TestScaleFreeRules, TestScaleFree
//	I14         TestRulesOfPatience, TestRulesOfPriority, TestNobodyStarves
//	I15         TestRulesAfterACrash, TestRulesAfterACrashWithoutChoice, TestSieve
//
// Each but those of I15 was seen to fail when the planner was broken on purpose in
// what its rule forbids; a plan that grows and shrinks a group at once (I6) is
// caught by stories only.
type world struct {
	t    *rapid.T
	s    planner.Snapshot
	calm bool
	room map[string]planner.Resources // free on each node
}

const (
	fpga        = "example.com/fpga" // an extended resource, and a custom one of Ray
	accelerator = "ray.io/accelerator-type"
)

func (w *world) n(name string, lo, hi int64) int64 { return rapid.Int64Range(lo, hi).Draw(w.t, name) }

// one is true in one of k draws.
func (w *world) one(k int64, name string) bool { return w.n(name, 1, k) == k }

// trouble is true in one of k draws of a wild world.
func (w *world) trouble(k int64, name string) bool { return !w.calm && w.one(k, name) }

func (w *world) ago(name string, most int64) time.Time {
	return noon.Add(-time.Duration(w.n(name, 0, most)) * time.Second)
}

// drawWide makes a world and what an earlier coordinator remembers of it:
// nothing, or a look at the same world half a minute ago, perhaps with every
// timer run down.
func drawWide(t *rapid.T, calm bool) (planner.Snapshot, planner.Memory) {
	w := &world{t: t, calm: calm, room: map[string]planner.Resources{}, s: planner.Snapshot{At: noon}}
	w.policy()
	for i := range w.n("groups", 1, 4) {
		w.group(i)
	}
	for i := range w.n("clusters", 0, 3) {
		w.cluster(i)
	}
	w.otherPods()
	for _, k := range []planner.SourceKind{planner.SourceManagement, planner.SourceWorkload, planner.SourceRay, planner.SourceCatalogue} {
		w.s.Sources = append(w.s.Sources, planner.Source{Kind: k, Known: !w.trouble(25, "unknownSource")})
	}
	return w.s, w.memory()
}

func (w *world) memory() planner.Memory {
	if w.one(4, "restarted") {
		return planner.Memory{}
	}
	before := w.s
	before.At = noon.Add(-30 * time.Second)
	_, m := planner.Make(before, planner.Memory{})
	if w.one(2, "timersRun") {
		for uid := range m.VacantSince {
			m.VacantSince[uid] = noon.Add(-10 * time.Minute)
		}
		for uid := range m.Unwanted {
			m.Unwanted[uid] = noon.Add(-10 * time.Minute)
		}
	}
	if w.calm {
		return m
	}
	for _, n := range w.s.Nodes {
		if w.one(8, "refused") {
			m = m.DrainRefused(n.UID, w.ago("refusedAt", 90))
		}
	}
	for _, g := range w.s.NodeGroups {
		if w.one(8, "rests") {
			m.Backoff[g.UID] = planner.Backoff{Kind: planner.FailureOther, Until: noon.Add(time.Duration(w.n("restsFor", -60, 60)) * time.Second), Last: minutes(5)}
		}
	}
	if w.one(3, "history") {
		m.Grown = []planner.Count{{At: w.ago("grownAt", 7200), N: w.n("grown", 0, 5)}}
		m.Removed = []planner.Count{{At: w.ago("removedAt", 7200), N: w.n("removed", 0, 5)}}
	}
	if w.one(12, "clockJumps") {
		m.At = noon.Add(time.Duration(rapid.SampledFrom([]int{-3600, 3600}).Draw(w.t, "jump")) * time.Second)
	}
	return m
}

func (w *world) policy() {
	p := testPolicy()
	p.VacantHold = planner.Duration(30 * time.Second * time.Duration(w.n("vacantHold", 0, 1)))
	p.DrainDeadline, p.UnreachableRelease = minutes(5), minutes(10)
	p.SoftTaints, p.Hooks = w.one(2, "softTaints"), w.one(2, "hooks")
	p.MaxRemovePerTick = w.n("removePerTick", 0, 1)
	if !w.calm {
		p.Paused, p.RemovalDisabled = w.one(20, "pausedAll"), w.one(20, "noRemoval")
		p.MaxMachines, p.MaxGrowPerTick = w.n("maxMachines", 0, 1)*6, w.n("growPerTick", 0, 1)*2
		p.MaxGrowPerHour, p.MaxGrowPerGroup = w.n("growPerHour", 0, 1)*4, w.n("growPerGroup", 0, 1)
		p.MaxRemovePerHour, p.MaxAttempts = w.n("removePerHour", 0, 2), w.n("attempts", 0, 1)*3
		p.DemandHold = planner.Duration(time.Hour * time.Duration(w.n("demandHold", 0, 1)))
		if w.one(8, "unreadyStop") {
			p.MaxUnreadyPercent, p.OKUnready = 45, 1
		}
	}
	if w.trouble(3, "tenants") {
		p.TenantLimits = []planner.TenantLimit{{MaxMachines: w.n("anyTenant", 0, 5), MaxGPUs: planner.Unit * w.n("anyGPUs", 0, 6)}}
		if w.one(2, "ownLimit") {
			p.TenantLimits = append(p.TenantLimits, planner.TenantLimit{Namespace: "t0", MaxMachines: w.n("t0", 0, 4)})
		}
	}
	if w.trouble(8, "gpuNodeFee") {
		fee := 1e5 * w.n("fee", 0, 20)
		p.GPUNodeFee = &fee
	}
	w.s.Policy = p
}

// sizes are the capacities from which classes are drawn: CPU, GiB, GPUs, FPGAs.
var sizes = [][4]int64{{4, 16, 0, 0}, {8, 32, 0, 0}, {16, 32, 0, 0}, {8, 64, 1, 0}, {16, 64, 2, 0}, {32, 128, 4, 0}, {8, 16, 0, 2}}

func amounts(s [4]int64) planner.Resources {
	r := planner.Resources{planner.ResourceCPU: 1000 * s[0], planner.ResourceMemory: s[1] << 30}
	if s[2] > 0 {
		r[planner.ResourceGPU] = s[2] * planner.Unit
	}
	if s[3] > 0 {
		r[fpga] = s[3] * planner.Unit
	}
	return r
}

var gpuTaint = planner.Taint{Key: "nvidia.com/gpu", Effect: "NoSchedule"}

func (w *world) group(i int64) {
	size := rapid.SampledFrom(sizes).Draw(w.t, "size")
	g := planner.NodeGroup{
		Namespace: "ns", Name: fmt.Sprintf("g%d", i), UID: fmt.Sprintf("ug%d", i), Class: fmt.Sprintf("c%d", w.n("class", 0, i)),
		Zone: fmt.Sprintf("z%d", w.n("zone", 0, 1)), Managed: !w.trouble(12, "unmanaged"), Min: w.n("min", 0, 2), Capacity: amounts(size),
		Paused: w.trouble(15, "paused"), RollingOut: w.trouble(12, "rolling"),
	}
	if have := w.class(g.Class); have == nil {
		c := planner.VMClass{Name: g.Class, Capacity: g.Capacity.Clone(), Price: 1e6 * w.n("price", 1, 9)}
		if w.trouble(4, "headroom") {
			room := w.n("rooms", 0, 4)
			c.Headroom = &room
		}
		if w.trouble(25, "badClass") {
			c.Invalid = "it is not bound to the namespace"
		}
		w.s.Classes = append(w.s.Classes, c)
	} else {
		g.Capacity = have.Capacity.Clone()
	}
	g.Labels = map[string]string{"zone": g.Zone}
	if g.Capacity[planner.ResourceGPU] > 0 && w.one(2, "tainted") {
		g.Taints = []planner.Taint{gpuTaint}
	}
	if w.trouble(20, "contested") {
		g.Contested = "a Cluster Autoscaler"
	}
	if w.trouble(8, "preferred") {
		g.Priority = w.n("priority", -1, 2)
	}
	if w.trouble(25, "badGroup") {
		g.Invalid = "its min size is no number"
	}
	if w.trouble(12, "noted") {
		g.Backoffs = []planner.Backoff{{Kind: planner.FailureNoCapacity, Until: noon.Add(time.Duration(w.n("notedFor", -60, 600)) * time.Second), Last: minutes(5)}}
	}
	n := w.n("machines", 0, 4)
	g.Max, g.Replicas = max(g.Min, n)+w.n("more", 0, 4), n
	if !w.calm {
		g.Replicas = max(0, n+w.n("lag", -1, 1))
		g.Max = max(g.Min, g.Max-w.n("fewer", 0, 3))
	}
	for j := range n {
		w.machine(&g, j)
	}
	w.s.NodeGroups = append(w.s.NodeGroups, g)
}

func (w *world) class(name string) *planner.VMClass {
	for i := range w.s.Classes {
		if w.s.Classes[i].Name == name {
			return &w.s.Classes[i]
		}
	}
	return nil
}

func (w *world) machine(g *planner.NodeGroup, j int64) {
	name := fmt.Sprintf("%s-%d", g.Name, j)
	m := planner.Machine{
		Namespace: "ns", Name: name, UID: "um-" + name, Group: g.Key(), CreatedAt: w.ago("age", 1200), Hook: w.one(2, "hook"),
		Deleting: w.trouble(8, "deleting"), ForeignMark: w.trouble(20, "foreignMark"), Release: w.trouble(20, "release"),
	}
	if m.Deleting {
		m.DeletingSince, m.WaitsForHook = w.ago("deletingSince", 1200), m.Hook && w.one(2, "waitsForHook")
	}
	if w.trouble(4, "unjoined") {
		if w.one(3, "fails") {
			m.Failure, m.FailureKind = "no", rapid.SampledFrom([]planner.FailureKind{planner.FailureNoCapacity, planner.FailureQuota, planner.FailureOther, ""}).Draw(w.t, "failure")
		}
		w.s.Machines = append(w.s.Machines, m)
		return
	}
	m.Node = name
	n := w.node(g, &m)
	w.room[name] = n.Allocatable.Clone()
	w.s.Machines, w.s.Nodes = append(w.s.Machines, m), append(w.s.Nodes, n)
}

func (w *world) node(g *planner.NodeGroup, m *planner.Machine) planner.Node {
	n := nodeOf(g, m)
	n.Ready = !w.trouble(10, "unready")
	if !n.Ready {
		n.UnreadySince = w.ago("unreadySince", 1200)
	}
	if w.trouble(15, "kept") {
		n.Keep = "annotation"
	}
	n.Unschedulable = w.trouble(15, "foreignCordon")
	if w.trouble(15, "foreignTaint") {
		n.Taints = append(n.Taints, planner.Taint{Key: "example.com/spare", Effect: "NoSchedule"})
	}
	if w.trouble(12, "noGPUYet") {
		delete(n.Allocatable, planner.ResourceGPU)
	}
	switch w.n("mark", 0, 7) {
	case 0:
		n.SoftTaint = &planner.Mark{PlanID: "p0", At: w.ago("softAt", 60)}
	case 1, 2:
		cordonNode(&n, w.ago("cordonedAt", 60))
		if w.one(3, "marked") {
			m.Mark = n.Cordon
		}
	}
	return n
}

// nodeOf is the Node that comes of a Machine when nothing goes wrong.
func nodeOf(g *planner.NodeGroup, m *planner.Machine) planner.Node {
	return planner.Node{
		Name: m.Name, UID: "un-" + m.Name, Machine: m.Key(), Ready: true, Allocatable: g.Capacity.Clone(), Labels: g.Labels,
		Taints: append([]planner.Taint(nil), g.Taints...),
	}
}

func cordonNode(n *planner.Node, at time.Time) {
	n.Cordon = &planner.Mark{PlanID: "p0", At: at}
	n.Taints = append(append([]planner.Taint(nil), n.Taints...), planner.Taint{Key: planner.CordonTaint, Effect: "NoSchedule"})
}

// bind puts a pod on a drawn node that has room for it, if there is one.
func (w *world) bind(p *planner.Pod) bool {
	var fit []string
	for _, n := range w.s.Nodes {
		if p.Shape.Requests.FitsIn(w.room[n.Name]) && suits(&p.Shape, n.Labels, n.Taints) {
			fit = append(fit, n.Name)
		}
	}
	if len(fit) == 0 {
		return false
	}
	p.Node = rapid.SampledFrom(fit).Draw(w.t, "on")
	w.room[p.Node].Sub(p.Shape.Requests)
	return true
}

// suits says in Kubernetes' words whether a pod may be on a node. Our own cordon
// keeps only new pods away.
func suits(s *planner.PodShape, labels map[string]string, taints []planner.Taint) bool {
	for k, v := range s.NodeSelector {
		if labels[k] != v {
			return false
		}
	}
	for _, t := range taints {
		ok := t.Key == planner.CordonTaint || t.Effect == "PreferNoSchedule"
		for _, o := range s.Tolerations {
			ok = ok || o.Operator == "Exists" && (o.Key == "" || o.Key == t.Key)
		}
		if !ok {
			return false
		}
	}
	return true
}

// otherPods are those that are not Ray's: some hold their node, some may move,
// some wait, some are of a RayCluster that nobody knows.
func (w *world) otherPods() {
	for i := range w.n("others", 0, 5) {
		name := fmt.Sprintf("o%d", i)
		p := planner.Pod{Namespace: "web", Name: name, UID: "u-" + name, Ready: true, Shape: planner.PodShape{Requests: planner.Resources{planner.ResourceCPU: 500 * w.n("otherCPU", 1, 8)}}}
		if w.one(2, "tolerates") {
			p.Shape.Tolerations = []planner.Toleration{{Key: gpuTaint.Key, Operator: "Exists"}}
		}
		switch w.n("otherKind", 0, 7) {
		case 0:
			p.Blocks = "a disruption budget"
		case 1:
			p.Blocks = "do-not-disrupt"
		case 2, 3:
			p.DaemonSet = true
			p.Shape.Requests = planner.Resources{planner.ResourceCPU: 100}
		case 4:
			p.Unschedulable = true
			p.Shape.NodeSelector = map[string]string{"zone": "z0"}
			w.s.Pods = append(w.s.Pods, p)
			continue
		case 5:
			if !w.calm {
				p.RayCluster, p.RayGroup = "t9/unheard", "w"
			}
		}
		p.Terminating = w.trouble(10, "terminating")
		if w.bind(&p) {
			w.s.Pods = append(w.s.Pods, p)
		}
	}
}
