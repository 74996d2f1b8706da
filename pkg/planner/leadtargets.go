package planner

// targets asks for what was opened: a target for every worker group, and a step
// where it is more than the replicas.
func (l *leading) targets() {
	for i := range l.c.WorkerGroups {
		w := &l.c.WorkerGroups[i]
		t := WorkerTarget{RayCluster: l.c.Key(), Group: w.Name, Replicas: w.Replicas, Target: max(w.Replicas, w.base())}
		if n := l.opened[w.Name] - l.ended(w, l.opened[w.Name]); n > 0 {
			// Pods beyond the replicas count as well: for a smaller number the operator
			// would make no pod.
			t.Target = max(w.base(), min(l.alive(w), w.Max-n)) + n
			l.p.steps = append(l.p.steps, Step{
				Kind: StepGrowWorkers, RayCluster: l.c.Key(), WorkerGroup: w.Name, From: w.Replicas, To: t.Target, Reason: ReasonDemand,
			})
		}
		l.p.workers = append(l.p.workers, t)
	}
}

// alive counts the replicas of a group that stay, whatever number is asked for.
func (l *leading) alive(w *WorkerGroup) int64 {
	var pods int64
	for _, pod := range l.c.byGroup[w.Name] {
		if work := l.p.pod[pod].work; work != workLeaving && work != workDead && !pod.RayHead {
			pods++
		}
	}
	return pods / w.hosts()
}

// ended counts, up to a limit, the replicas of a group whose Ray nodes have all
// ended: each of them gets a fresh pod before the group grows.
func (l *leading) ended(w *WorkerGroup, limit int64) int64 {
	var n int64
	for _, pod := range l.c.byGroup[w.Name] {
		if l.p.pod[pod].work == workDead {
			n++
		}
	}
	return min(n/w.hosts(), limit)
}
