package report

import "time"

// PodObservation is what a watch tells about a Ray pod.
type PodObservation struct {
	Namespace string
	Name      string
	// RayCluster is the name of the RayCluster, Group its worker group.
	RayCluster string
	Group      string
	Head       bool
	// Node is empty as long as the pod is not bound.
	Node        string
	Phase       string // Kubernetes' own: Pending, Running, Succeeded, Failed
	Ready       bool
	Terminating bool
	// Detail says how the first container ended, if it did.
	Detail string
}

type pod struct {
	PodObservation

	wasReady bool
	ended    bool
}

func (p *pod) key() string     { return p.Namespace + "/" + p.Name }
func (p *pod) cluster() string { return p.Namespace + "/" + p.RayCluster }
func (p *pod) finished() bool  { return p.Phase == "Succeeded" || p.Phase == "Failed" }

// phase is finer than Kubernetes': Scheduled is a pending pod with a node,
// Ready a running one that is ready.
func (p *pod) phase() string {
	switch {
	case p.finished():
		return p.Phase
	case p.Terminating:
		return "Terminating"
	case p.Phase == "Running" && p.Ready:
		return "Ready"
	case p.Phase == "Pending" && p.Node != "":
		return "Scheduled"
	}
	return p.Phase
}

// ObservePod records the state of a Ray pod.
func (r *Recorder) ObservePod(at time.Time, o PodObservation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := o.Namespace + "/" + o.Name
	p, ok := r.pods[key]
	if !ok {
		p = &pod{}
		r.pods[key] = p
	}
	p.PodObservation = o
	p.wasReady = p.wasReady || o.Ready
	if o.Node != "" {
		r.podNodes[key] = o.Node
	}
	if !ok && !o.Head {
		r.created[p.cluster()] = append(r.created[p.cluster()], at)
	}
	if o.Head && p.finished() {
		r.headEnded(at, p, o.Detail)
	}
	if p.phase() == "Ready" && !o.Head {
		r.workerReady(at, p)
	}
	r.emitPods(at, p)
}

// ObservePodGone records that a pod object is no more.
func (r *Recorder) ObservePodGone(at time.Time, namespace, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, ok := r.pods[namespace+"/"+name]
	if !ok {
		return
	}
	delete(r.pods, p.key())
	r.emitPods(at, p)
}

// ExpectHeadEnd tells that the scenario is about to end a head pod, or to
// delete its RayCluster, so that its end is no crash.
func (r *Recorder) ExpectHeadEnd(namespace, pod string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked[namespace+"/"+pod] = true
}

func (r *Recorder) headEnded(at time.Time, p *pod, detail string) {
	if p.ended {
		return
	}
	p.ended = true
	// A pod that is being deleted was asked to end by whoever deleted it.
	asked := r.asked[p.key()] || p.Terminating
	r.rep.HeadEnds = append(r.rep.HeadEnds, HeadEnd{At: r.seconds(at), RayCluster: p.cluster(), Pod: p.key(), WasReady: p.wasReady, Asked: asked, Detail: detail})
	if !asked {
		r.emit(at, Event{Kind: KindNote, Subject: p.cluster(), Text: "the head ended and nobody asked for it: " + p.key() + " " + detail})
	}
}

func (r *Recorder) emitPods(at time.Time, changed *pod) {
	counts := map[string]int64{}
	for _, p := range r.pods {
		if p.cluster() != changed.cluster() {
			continue
		}
		group := p.Group
		if p.Head {
			group = "head"
		}
		counts[group+"/"+p.phase()]++
	}
	r.emitCounts(at, KindPods, changed.cluster(), counts)
}

// workerReady gives the first ready worker to the drivers that wait for one.
func (r *Recorder) workerReady(at time.Time, p *pod) {
	for i := range r.rep.Drivers {
		d := &r.rep.Drivers[i]
		if d.RayCluster == p.cluster() && d.FirstWorkerReadyAt == nil && d.EndedAt == nil {
			d.FirstWorkerReadyAt = new(r.seconds(at))
			d.WaitSeconds = new(round(*d.FirstWorkerReadyAt - d.StartedAt))
		}
	}
}
