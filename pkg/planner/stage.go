package planner

import "slices"

// Stage is how far a node is on its way out. It is read off the snapshot on
// every tick and never remembered, so a restarted coordinator goes on where
// the last one stopped:
//
//	           Cordon            Drain, each           DEAD, each
//	Serving ───────────► Cordoned ───────► Draining ───────────► Drained
//	   ▲                    │  refused        │                     │ ShrinkWorkers,
//	   │      Uncordon      │                 │ ReplaceWorker       │ the pods go
//	   ├────────────────────┴─────────────────┘  for the drained    ▼
//	   │                                         ones            Emptying
//	   │      Uncordon                                              │ Evict (others)
//	   ├──────────────────────────────────────────────┬─────────────┤
//	   │                                              │             ▼
//	   │  Unmark, Uncordon                            └────────── Vacant
//	   └──────────────────────────────── Marked ◄───────────────────┘ Remove: mark
//	                                        │ Remove: shrink
//	                                        ▼
//	                                      Going ───► no Node, no Machine
//
// A node without Ray pods goes from Serving straight to Vacant when it is
// cordoned. Nothing leads back from Going, and nothing but Remove leads there:
// the node is cordoned then and carries no Ray pod (rule I1).
type Stage string

// The stages.
const (
	// StageServing: no mark of ours.
	StageServing Stage = "Serving"
	// StageCordoned: our cordon, and Ray nodes none of which drains yet.
	StageCordoned Stage = "Cordoned"
	// StageDraining: some Ray nodes drain or have ended, not all have ended.
	StageDraining Stage = "Draining"
	// StageDrained: every Ray node has ended; their pods are there still.
	StageDrained Stage = "Drained"
	// StageEmptying: no Ray pod; other pods are to be moved.
	StageEmptying Stage = "Emptying"
	// StageVacant: cordoned, and no pod but DaemonSets'.
	StageVacant Stage = "Vacant"
	// StageMarked: vacant, its Machine carries our delete mark, and the group
	// has not shrunk.
	StageMarked Stage = "Marked"
	// StageGoing: the group has shrunk or the Machine is being deleted.
	StageGoing Stage = "Going"
)

// Stages tells the stage of every node of the snapshot, by name.
func Stages(s Snapshot) map[string]Stage {
	p := newPlanning(&s, Memory{})
	p.credit()
	out := make(map[string]Stage, len(p.nodes))
	for _, n := range p.nodes {
		out[n.Name] = p.stageOf(n)
	}
	return out
}

// stageOf derives the stage of a node.
func (p *planning) stageOf(n *nodeState) Stage {
	if n.machine != nil {
		if n.machine.Deleting || n.machine.Mark != nil && n.group != nil && n.group.alive > n.group.Replicas {
			return StageGoing
		}
		if n.machine.Mark != nil && n.Cordon != nil && len(n.pods) == 0 {
			return StageMarked
		}
	}
	w := &n.work
	ended := w.n[workDead] + w.n[workLeaving]
	alive := w.n[workIdle] + w.n[workBusy] + w.n[workUnknown] + w.n[workFollow] + w.n[workHead]
	switch {
	case n.Cordon == nil:
		return StageServing
	case len(n.pods) == 0:
		return StageVacant
	case w.n[workDraining] > 0 || alive > 0 && ended > 0:
		return StageDraining
	case alive > 0:
		return StageCordoned
	case ended > 0:
		return StageDrained
	}
	return StageEmptying
}

// work is what a pod means for the removal of its node.
type work int

// The kinds of work. The first three are not Ray's, or not to be told from it.
const (
	workMovable  work = iota // may be evicted
	workBlocking             // must not be disturbed
	workHead                 // of whatever cluster
	workFollow               // a worker whose end Ray decides
	workUnknown              // a worker that the GCS does not know, or of a cluster that is not read
	workBusy
	workIdle
	workDraining
	workDead    // the Ray node has ended, its pod runs on
	workLeaving // terminating, or named in workersToDelete
	workKinds
)

// podState is a pod joined with its Ray node.
type podState struct {
	work    work
	ray     *RayNode
	cluster *clusterState
	group   *WorkerGroup
}

// nodeWork sums up what is on a node.
type nodeWork struct{ n [workKinds]int }

// first is the first pod of the node with work of the kind.
func (p *planning) first(n *nodeState, kind work) *Pod {
	i := slices.IndexFunc(n.pods, func(pod *Pod) bool { return p.pod[pod].work == kind })
	return n.pods[i]
}

// joinRay finds the Ray node of every Ray pod. A pod whose Ray nodes are all
// listed as DEAD never serves again; one that the GCS does not list is unknown,
// never dead: it may be joining, or the head has just restarted.
func (p *planning) joinRay() {
	byPod := map[string]map[string][]*RayNode{}
	for _, c := range p.clusters {
		if !c.planned() {
			continue
		}
		m := make(map[string][]*RayNode, len(c.rayNodes))
		for i, j := 0, 0; i < len(c.rayNodes); i = j {
			for j < len(c.rayNodes) && c.rayNodes[j].Pod == c.rayNodes[i].Pod {
				j++
			}
			m[c.rayNodes[i].Pod] = c.rayNodes[i:j]
		}
		byPod[c.Key()] = m
	}
	p.pod = make(map[*Pod]*podState, len(p.s.Pods))
	all := make([]podState, len(p.s.Pods))
	for i := range all {
		pod, st := &p.s.Pods[i], &all[i]
		st.cluster = p.cluster[pod.RayCluster]
		if st.cluster != nil {
			st.group = st.cluster.workerGroup(pod.RayGroup)
			if pod.Namespace == st.cluster.Namespace {
				st.ray = liveliest(byPod[pod.RayCluster][pod.Name], pod.UID)
			}
		}
		st.work = st.of(pod)
		p.pod[pod] = st
	}
}

// liveliest is the Ray node of a pod: of several, one that has not ended.
func liveliest(nodes []*RayNode, uid string) *RayNode {
	var best *RayNode
	for _, n := range nodes {
		if n.PodUID != "" && uid != "" && n.PodUID != uid {
			continue // of a namesake
		}
		if best == nil || best.Status == RayNodeDead && n.Status != RayNodeDead || (best.Status == RayNodeDead) == (n.Status == RayNodeDead) && n.ID < best.ID {
			best = n
		}
	}
	return best
}

func (st *podState) of(pod *Pod) work {
	c := st.cluster
	switch {
	case pod.RayHead:
		return workHead
	case pod.RayCluster == "" || c != nil && c.Mode == ModeOff:
		if pod.Blocks != "" {
			return workBlocking
		}
		return workMovable
	case pod.Terminating:
		return workLeaving
	case c == nil || !c.planned():
		return workUnknown
	case c.Mode == ModeFollow:
		return workFollow
	case st.group != nil && slices.Contains(st.group.WorkersToDelete, pod.Name):
		return workLeaving
	case st.group == nil || st.ray == nil:
		return workUnknown
	}
	return workOf(st.ray.Status)
}

func workOf(s RayNodeStatus) work {
	switch s {
	case RayNodeIdle:
		return workIdle
	case RayNodeDraining:
		return workDraining
	case RayNodeDead:
		return workDead
	case RayNodeRunning:
		return workBusy
	case RayNodeUnknown:
	}
	return workUnknown
}

func (p *planning) workOf(pods []*Pod) nodeWork {
	var w nodeWork
	for _, pod := range pods {
		w.n[p.pod[pod].work]++
	}
	return w
}

// ray counts the pods that belong to Ray for sure or perhaps.
func (w *nodeWork) ray() int {
	return w.n[workHead] + w.n[workFollow] + w.n[workUnknown] + w.n[workBusy] + w.n[workIdle] + w.n[workDraining] + w.n[workDead] + w.n[workLeaving]
}
