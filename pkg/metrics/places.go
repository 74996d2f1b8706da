package metrics

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// object is what an event is about.
type object struct {
	// management objects are MachineDeployments, or the Cluster, the others
	// RayClusters.
	management           bool
	cluster              bool
	namespace, name, uid string
}

type objectKey struct {
	management      bool
	namespace, name string
}

func (o object) key() objectKey { return objectKey{o.management, o.namespace, o.name} }

// reference names the object the way that an Event does. The versions are
// those that Cluster API 1.14 and KubeRay 1.6 store.
func (o object) reference() *corev1.ObjectReference {
	ref := corev1.ObjectReference{
		Kind: "RayCluster", APIVersion: "ray.io/v1",
		Namespace: o.namespace, Name: o.name, UID: types.UID(o.uid),
	}
	if o.management {
		ref.Kind, ref.APIVersion = "MachineDeployment", "cluster.x-k8s.io/v1beta2"
	}
	if o.cluster {
		ref.Kind = "Cluster"
	}
	return &ref
}

// places finds the object of a decision: for Nodes and Machines it is the
// MachineDeployment behind them. The indexes are made when they are first
// needed.
type places struct {
	snapshot       *planner.Snapshot
	groups         map[string]object
	clusters       map[string]object
	machines       map[string]string // Machine to its group
	machineOfNodes map[string]string
}

// of is false for a decision that is about none of the snapshot's objects,
// such as the demand of ordinary pods.
func (p *places) of(d *planner.Decision) (object, bool) {
	p.index()
	var o object
	var ok bool
	switch d.Kind {
	case planner.SubjectNodeGroup:
		o, ok = p.groups[d.Subject]
	case planner.SubjectMachine:
		o, ok = p.groups[p.machines[d.Subject]]
	case planner.SubjectNode:
		o, ok = p.groups[p.machines[p.machineOfNodes[d.Subject]]]
	case planner.SubjectRayCluster:
		if o, ok = p.clusters[d.Subject]; !ok {
			o, ok = p.clusters[d.RayCluster]
		}
	case planner.SubjectDemand:
		o, ok = p.clusters[d.RayCluster]
	}
	return o, ok
}

func (p *places) index() {
	if p.groups != nil {
		return
	}
	p.groups, p.clusters = map[string]object{}, map[string]object{}
	p.machines, p.machineOfNodes = map[string]string{}, map[string]string{}
	for i := range p.snapshot.NodeGroups {
		g := &p.snapshot.NodeGroups[i]
		p.groups[g.Key()] = object{management: true, namespace: g.Namespace, name: g.Name, uid: g.UID}
	}
	for i := range p.snapshot.RayClusters {
		c := &p.snapshot.RayClusters[i]
		p.clusters[c.Key()] = object{namespace: c.Namespace, name: c.Name, uid: c.UID}
	}
	for i := range p.snapshot.Machines {
		m := &p.snapshot.Machines[i]
		p.machines[m.Key()] = m.Group
	}
	for i := range p.snapshot.Nodes {
		n := &p.snapshot.Nodes[i]
		p.machineOfNodes[n.Name] = n.Machine
	}
}
