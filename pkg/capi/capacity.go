package capi

import (
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// Where the capacity of a new node was learned.
const (
	capacityFromNode       = "node"
	capacityFromAnnotation = "annotation"
	capacityFromClass      = "class"
	capacityFromTemplate   = "template"
)

// Overhead is what a VM class does not tell: the part of the hardware that the
// system keeps for itself, so that pods never see it. The zero value keeps
// nothing back. It is used only until the first node of a group is up.
type Overhead struct {
	// CPUPermille and MemoryPermille are thousandths of the class's amount; values
	// outside of 0 to 1000 count as the nearer end.
	CPUPermille, MemoryPermille int64
	// Fixed is taken off as well, in the planner's units.
	Fixed planner.Resources
}

// room is what is left of a class's hardware.
func (o Overhead) room(hardware planner.Resources) planner.Resources {
	out := hardware.Clone()
	keep := func(name string, permille int64) {
		part := 1000 - min(1000, max(0, permille))
		// Split, so that large amounts do not overflow.
		out[name] = out[name]/1000*part + out[name]%1000*part/1000
	}
	keep(planner.ResourceCPU, o.CPUPermille)
	keep(planner.ResourceMemory, o.MemoryPermille)
	out.Sub(o.Fixed)
	return out
}

// FillFromClasses completes a view from the catalogue: a group whose capacity
// neither a live node nor its annotations tell gets that of its VM class, less
// overhead and less what DaemonSets take on the other nodes. A node whose class
// promises devices that it does not show yet is not ready: its device plugin is
// still starting, and counting it as a node without GPUs would buy another one.
//
// A group whose class is unknown or unusable, and that has nothing else to tell
// its size, keeps an empty capacity. The function reads nothing but its
// arguments, and calling it again changes nothing.
func FillFromClasses(v *View, classes []planner.VMClass, overhead Overhead) {
	byName := make(map[string]*planner.VMClass, len(classes))
	for i := range classes {
		if classes[i].Invalid == "" {
			byName[classes[i].Name] = &classes[i]
		}
	}
	v.settle(byName, overhead)
}

// settle fills in capacity, labels and taints of every group by the order of
// trust: a live node, then the annotations, then the VM class, then what the
// infrastructure template reports.
func (v *View) settle(classes map[string]*planner.VMClass, overhead Overhead) {
	nodes, own := v.groupNodes()
	for i := range v.NodeGroups {
		g := &v.NodeGroups[i]
		f, ok := v.facts[g.Key()]
		if !ok {
			continue
		}
		class := classes[g.Class]
		promise := f.hints.capacity
		if class != nil && !f.hints.complete {
			promise = promised(class.Capacity, f.hints.capacity)
		}
		g.Labels, g.Taints = f.labels, f.taints
		up := v.showing(nodes[g.Key()], promise)
		switch {
		case len(up) > 0:
			g.Capacity, g.CapacityFrom = v.learned(up, own), capacityFromNode
			g.Labels, g.Taints = commonLabels(up, g.Zone), commonTaints(up)
		case f.hints.complete:
			g.Capacity, g.CapacityFrom = v.lessDaemons(f.hints.capacity), capacityFromAnnotation
		case class != nil:
			g.Capacity, g.CapacityFrom = v.lessDaemons(promised(overhead.room(class.Capacity), f.hints.capacity)), capacityFromClass
		case len(f.template) > 0 && g.Class == "":
			g.Capacity, g.CapacityFrom = v.lessDaemons(promised(f.template, f.hints.capacity)), capacityFromTemplate
		default:
			g.Capacity, g.CapacityFrom = nil, ""
		}
	}
}

// promised is a node of the base with what annotations add or correct.
func promised(base, hints planner.Resources) planner.Resources {
	out := base.Clone()
	maps.Copy(out, hints)
	return out
}

// groupNodes lists the nodes of every group, and what DaemonSet pods take on
// every node.
func (v *View) groupNodes() (nodes map[string][]*planner.Node, own map[string]planner.Resources) {
	groupOf := make(map[string]string, len(v.Machines))
	for i := range v.Machines {
		if m := &v.Machines[i]; m.Group != "" && !m.Deleting {
			groupOf[m.Key()] = m.Group
		}
	}
	nodes = make(map[string][]*planner.Node, len(v.NodeGroups))
	for i := range v.Nodes {
		if g := groupOf[v.Nodes[i].Machine]; g != "" {
			nodes[g] = append(nodes[g], &v.Nodes[i])
		}
	}
	own = make(map[string]planner.Resources, len(v.Nodes))
	for i := range v.Pods {
		if p := &v.Pods[i]; p.DaemonSet && p.Node != "" {
			if own[p.Node] == nil {
				own[p.Node] = planner.Resources{}
			}
			own[p.Node].Add(p.Shape.Requests)
		}
	}
	return nodes, own
}

// showing leaves the ready nodes that show the devices which they are promised
// to have; those that lack one are made not ready, and their Machines say why.
func (v *View) showing(nodes []*planner.Node, promise planner.Resources) []*planner.Node {
	var up []*planner.Node
	for _, n := range nodes {
		if !n.Ready {
			continue
		}
		if lacksDevice(n.Allocatable, promise) {
			n.Ready = false
			v.lacksGPU(n.Machine)
			continue
		}
		up = append(up, n)
	}
	return up
}

// lacksGPU notes on the Machine what its Node waits for. It is no failure before
// the deadline: a device plugin takes minutes.
func (v *View) lacksGPU(key string) {
	for i := range v.Machines {
		if m := &v.Machines[i]; m.Key() == key && m.FailureKind == "" {
			m.FailureKind = planner.FailureNoGPU
		}
	}
}

// lacksDevice tells whether a kind of device is promised of which the node shows
// none. MIG devices under names of their own stand for the GPUs that they are
// cut from.
func lacksDevice(allocatable, promise planner.Resources) bool {
	for name, amount := range promise {
		if amount == 0 || !device(name) || allocatable[name] > 0 {
			continue
		}
		if name == planner.ResourceGPU && showsMIG(allocatable) {
			continue
		}
		return true
	}
	return false
}

func device(name string) bool {
	switch name {
	case planner.ResourceCPU, planner.ResourceMemory, string(corev1.ResourcePods), string(corev1.ResourceEphemeralStorage):
		return false
	}
	return !strings.HasPrefix(name, corev1.ResourceHugePagesPrefix)
}

func showsMIG(allocatable planner.Resources) bool {
	for name, amount := range allocatable {
		if amount > 0 && strings.HasPrefix(name, "nvidia.com/mig-") {
			return true
		}
	}
	return false
}

// learned is the room of the smallest live node, by resource, less its
// DaemonSets. A node that has just come up may not have all of them yet, so the
// usual ones count in any case.
func (v *View) learned(nodes []*planner.Node, own map[string]planner.Resources) planner.Resources {
	var out planner.Resources
	for _, n := range nodes {
		taken := v.daemons.Clone()
		if taken == nil {
			taken = planner.Resources{}
		}
		atLeast(taken, own[n.Name])
		room := n.Allocatable.Clone()
		room.Sub(taken)
		if out == nil {
			out = room
			continue
		}
		for name := range out {
			out[name] = min(out[name], room[name])
		}
	}
	return out
}

func (v *View) lessDaemons(room planner.Resources) planner.Resources {
	out := room.Clone()
	out.Sub(v.daemons)
	return out
}
