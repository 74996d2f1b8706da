package metrics

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// Reasons of events that are about no decision.
const (
	// EventAdvice: something in a RayCluster should be set otherwise.
	EventAdvice = "Advice"
	// EventConfigRejected: a changed configuration file was not taken.
	EventConfigRejected = "ConfigurationRejected"
)

// steps tells the owners of RayClusters what was done to their pods and Ray nodes.
// What happens to Nodes and Machines is told by the decisions about them.
func (e *Events) steps(t *Tick, where *places) {
	for i := range t.Results {
		r := &t.Results[i]
		text := rayStep(&r.Step)
		if text == "" || r.Outcome != Done && !r.DrainRefused {
			continue
		}
		where.index()
		o, ok := where.clusters[r.Step.RayCluster]
		if !ok {
			continue
		}
		reason := string(r.Step.Reason)
		if r.DrainRefused {
			reason, text = string(planner.ReasonDrainRefused), "refused: "+text
		}
		if reason == "" {
			reason = string(r.Step.Kind)
		}
		e.tell(t.At, o, eventKey{o.key(), reason, text}, corev1.EventTypeNormal, clean(text))
	}
}

// rayStep says in words what a step does to Ray; empty for steps that do nothing
// to it.
func rayStep(s *planner.Step) string {
	switch s.Kind { //nolint:exhaustive // the other steps are about Nodes, Machines and groups
	case planner.StepDrain:
		return fmt.Sprintf("drain (%s) of the Ray node of pod %s on Node %s", s.Drain, podList(s.Pods), s.Node)
	case planner.StepShrinkWorkers:
		return fmt.Sprintf("worker group %s goes from %d to %d replicas, without pods %s", s.WorkerGroup, s.From, s.To, podList(s.Pods))
	case planner.StepReplaceWorker:
		return fmt.Sprintf("pod %s is made anew: its Ray node has ended", podList(s.Pods))
	}
	return ""
}

// podList names a few pods.
func podList(pods []planner.PodRef) string {
	const most = 5
	names := make([]string, 0, min(most, len(pods)))
	for _, p := range pods[:min(most, len(pods))] {
		names = append(names, p.Name)
	}
	text := strings.Join(names, ", ")
	if len(pods) > most {
		text += fmt.Sprintf(" and %d more", len(pods)-most)
	}
	return text
}

// advice tells what to set in RayClusters, once for each advice.
func (e *Events) advice(t *Tick, where *places) {
	advised := map[string]string{}
	for i := range t.Snapshot.RayClusters {
		c := &t.Snapshot.RayClusters[i]
		if c.Advice == "" {
			continue
		}
		advised[c.UID] = c.Advice
		if e.advised[c.UID] == c.Advice {
			continue
		}
		where.index()
		o := where.clusters[c.Key()]
		e.tell(t.At, o, eventKey{o.key(), EventAdvice, c.Advice}, corev1.EventTypeWarning, clean(c.Advice))
	}
	e.advised = advised
}

// ConfigRejected tells, on the Cluster whose MachineDeployments are scaled, that a
// changed configuration was not taken.
func (e *Events) ConfigRejected(namespace, name string, at time.Time, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	o := object{management: true, cluster: true, namespace: namespace, name: name}
	text := clean("the configuration file was not taken, the former one goes on: " + err.Error())
	e.tell(at, o, eventKey{o.key(), EventConfigRejected, text}, corev1.EventTypeWarning, text)
}
