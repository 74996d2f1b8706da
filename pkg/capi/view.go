package capi

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// View is the supply at one instant. Its lists belong to the caller; the maps
// inside them are shared with later views and must not be written to.
type View struct {
	NodeGroups []planner.NodeGroup
	Machines   []planner.Machine
	Nodes      []planner.Node
	Pods       []planner.Pod
	// Sources has one entry for the management side (MachineDeployments and
	// Machines) and one for the workload side (Nodes and pods). While an entry is
	// not known, what it feeds is what was last seen, or nothing. An entry that is
	// known may still carry an error: a trouble of single objects.
	Sources []planner.Source
	// Troubles tells, by namespace/name of a Machine, what its provider says
	// keeps it from getting a Node. It is text for people: the provider still
	// tries.
	Troubles map[string]string
	// PausedBy, if not empty, tells that a person paused everything, with the
	// annotation of the Cluster.
	PausedBy string

	facts   map[string]facts // by namespace/name of the group
	daemons planner.Resources
}

// management is what was last seen of the management cluster.
type management struct {
	groups   []group
	machines []planner.Machine
	troubles map[string]string
	notes    []string
	paused   string
}

// workload is what was last seen of the workload cluster.
type workload struct {
	nodes []planner.Node
	// machineOf is the Machine that a Node itself names, by name of the Node.
	machineOf map[string]string
	pods      []planner.Pod
	daemons   planner.Resources
	notes     []string
}

// join puts both sides together.
func join(m management, w workload) View {
	v := View{
		NodeGroups: make([]planner.NodeGroup, 0, len(m.groups)),
		Machines:   slices.Clone(m.machines),
		Nodes:      slices.Clone(w.nodes),
		Pods:       slices.Clone(w.pods),
		Troubles:   m.troubles,
		PausedBy:   m.paused,
		facts:      make(map[string]facts, len(m.groups)),
		daemons:    w.daemons,
	}
	for i := range m.groups {
		v.NodeGroups = append(v.NodeGroups, m.groups[i].NodeGroup)
		v.facts[m.groups[i].Key()] = m.groups[i].facts
	}
	v.linkNodes(w.machineOf)
	v.settle(nil, Overhead{})
	return v
}

// linkNodes fills in Node.Machine from the Machines' references. Should several
// Machines claim one Node, the Node's own annotation decides, and without it no
// one gets it: a half-joined object must not be acted on.
func (v *View) linkNodes(named map[string]string) {
	claims := make(map[string][]string, len(v.Machines))
	for i := range v.Machines {
		if node := v.Machines[i].Node; node != "" {
			claims[node] = append(claims[node], v.Machines[i].Key())
		}
	}
	for i := range v.Nodes {
		n := &v.Nodes[i]
		switch of := claims[n.Name]; {
		case len(of) == 1:
			n.Machine = of[0]
		case slices.Contains(of, named[n.Name]):
			n.Machine = named[n.Name]
		}
	}
}

// commonDaemons is what DaemonSets take on a node that has just come up: for
// each DaemonSet with a pod on at least half of the Nodes, its largest pod.
func commonDaemons(pods []*corev1.Pod, shapes []planner.Pod, nodes int) planner.Resources {
	type daemon struct {
		nodes int
		most  planner.Resources
	}
	seen := map[string]*daemon{}
	for i, p := range pods {
		ref := metav1.GetControllerOfNoCopy(p)
		if !shapes[i].DaemonSet || ref == nil || ref.Kind != "DaemonSet" || shapes[i].Node == "" {
			continue
		}
		d := seen[string(ref.UID)]
		if d == nil {
			d = &daemon{most: planner.Resources{}}
			seen[string(ref.UID)] = d
		}
		d.nodes++
		atLeast(d.most, shapes[i].Shape.Requests)
	}
	total := planner.Resources{}
	for _, d := range seen {
		if 2*d.nodes >= nodes {
			total.Add(d.most)
		}
	}
	return total
}

// atLeast raises every amount of r to that of o.
func atLeast(r, o planner.Resources) {
	for name, amount := range o {
		r[name] = max(r[name], amount)
	}
}

// notesText joins notes into the error text of a source.
func notesText(notes []string) string {
	const most = 5
	notes = slices.DeleteFunc(notes, func(n string) bool { return n == "" })
	slices.Sort(notes)
	notes = slices.Compact(notes)
	if len(notes) > most {
		notes = append(notes[:most:most], "and more")
	}
	return strings.Join(notes, "; ")
}
