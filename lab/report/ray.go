package report

import "time"

// statusRunning is the GCS's word for a Ray node that does something
// (ray: src/ray/protobuf/autoscaler.proto, NodeStatus).
const statusRunning = "RUNNING"

// RayNode is a Ray node as the GCS reports it.
type RayNode struct {
	// Pod is the instance id, which KubeRay sets to the pod's name.
	Pod    string
	Group  string
	Status string // RUNNING, IDLE, DRAINING, DEAD or UNKNOWN
	Head   bool
}

// RayState is one reading of a GCS.
type RayState struct {
	// Demand has the number of each shape: requests, gangs and constraints of
	// request_resources, each written in one line.
	Demand map[string]int64
	Nodes  []RayNode
}

type rayCluster struct {
	reached  bool
	down     string
	status   map[string]string // by pod name, of the last reading
	replicas map[string]int32
}

func (r *Recorder) rayCluster(key string) *rayCluster {
	c, ok := r.ray[key]
	if !ok {
		c = &rayCluster{status: map[string]string{}, replicas: map[string]int32{}}
		r.ray[key] = c
	}
	return c
}

// ObserveGCS records one reading of the GCS of a RayCluster (namespace/name).
func (r *Recorder) ObserveGCS(at time.Time, cluster string, s RayState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.rayCluster(cluster)
	if !c.reached || c.down != "" {
		c.reached, c.down = true, ""
		r.emit(at, Event{Kind: KindNote, Subject: cluster, Text: "the GCS answers"})
	}
	clear(c.status)
	counts := map[string]int64{}
	for _, n := range s.Nodes {
		if n.Status != "DEAD" {
			c.status[n.Pod] = n.Status
		}
		if !n.Head {
			counts[n.Status]++
		}
	}
	r.busyNow(at, cluster)
	r.waveReading(at, cluster, s.Demand)
	r.emitCounts(at, KindDemand, cluster, s.Demand)
	r.emitCounts(at, KindRayNodes, cluster, counts)
}

// ObserveGCSDown records that the GCS could not be read. Its last reading is
// kept: what was busy may still be.
func (r *Recorder) ObserveGCSDown(at time.Time, cluster, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.rayCluster(cluster)
	if !c.reached || c.down != "" {
		return
	}
	c.down = why
	r.emit(at, Event{Kind: KindNote, Subject: cluster, Text: "the GCS does not answer: " + why})
}

// ObserveRayReplicas records the replicas of a worker group.
func (r *Recorder) ObserveRayReplicas(at time.Time, cluster, group string, replicas int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.rayCluster(cluster)
	from, seen := c.replicas[group]
	c.replicas[group] = replicas
	if seen && from != replicas {
		r.emit(at, Event{Kind: KindRayReplicas, Subject: cluster + "/" + group, From: &from, To: &replicas})
	}
}

// rayStatus is what the GCS last said about a pod.
func (r *Recorder) rayStatus(p *pod) string {
	c, ok := r.ray[p.cluster()]
	if !ok {
		return "unknown"
	}
	if s, ok := c.status[p.Name]; ok {
		return s
	}
	return "unknown"
}
