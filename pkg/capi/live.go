package capi

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ErrMoved says that the world is not any more what the step was planned from.
// Nothing is wrong: make a new plan from a new snapshot. It is never right to
// take the same step again blindly.
var ErrMoved = errors.New("the world has moved on since the plan was made")

func moved(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMoved, fmt.Sprintf(format, args...))
}

// classify turns what the API server says about a lost race into [ErrMoved].
func classify(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		return fmt.Errorf("%w: %s: %w", ErrMoved, doing, err)
	default:
		return fmt.Errorf("%s: %w", doing, err)
	}
}

// liveGroup is a MachineDeployment with all that a shrink depends on, read from
// the API server.
type liveGroup struct {
	md       *clusterv1.MachineDeployment
	cluster  *clusterv1.Cluster
	sets     []*clusterv1.MachineSet
	machines []*clusterv1.Machine // of the group, by the owner references
	group    group
}

// alive counts the Machines that are not being deleted.
func (g *liveGroup) alive() int64 {
	var n int64
	for _, m := range g.machines {
		if m.DeletionTimestamp.IsZero() {
			n++
		}
	}
	return n
}

func (g *liveGroup) machine(name string) *clusterv1.Machine {
	for _, m := range g.machines {
		if m.Name == name {
			return m
		}
	}
	return nil
}

// readGroup reads a MachineDeployment and its Cluster, and refuses one that is
// not ours to change.
func (a *Actuator) readGroup(ctx context.Context, key string) (*liveGroup, error) {
	name, err := a.name(key)
	if err != nil {
		return nil, err
	}
	g := &liveGroup{md: &clusterv1.MachineDeployment{}, cluster: &clusterv1.Cluster{}}
	if err := a.o.Management.Get(ctx, client.ObjectKey{Namespace: a.o.Namespace, Name: name}, g.md); err != nil {
		return nil, classify("reading MachineDeployment "+key, err)
	}
	if g.md.Spec.ClusterName != a.o.ClusterName {
		return nil, fmt.Errorf("the MachineDeployment %s belongs to Cluster %s, not to %s", key, quote(g.md.Spec.ClusterName), a.o.ClusterName)
	}
	if err := a.o.Management.Get(ctx, client.ObjectKey{Namespace: a.o.Namespace, Name: a.o.ClusterName}, g.cluster); err != nil {
		return nil, classify("reading Cluster "+a.o.ClusterName, err)
	}
	g.group = translateGroup(g.md, g.cluster, nil, template{})
	switch {
	case g.group.Invalid != "":
		return nil, moved("MachineDeployment %s: %s", key, g.group.Invalid)
	case !g.group.Managed:
		return nil, moved("MachineDeployment %s does not carry both size annotations any more", key)
	case g.group.Paused:
		return nil, moved("MachineDeployment %s is paused", key)
	}
	return g, nil
}

// readGroupForShrink also reads the MachineSets and Machines, and refuses while
// anything could make Cluster API choose another Machine than the marked ones.
func (a *Actuator) readGroupForShrink(ctx context.Context, key string) (*liveGroup, error) {
	g, err := a.readGroup(ctx, key)
	if err != nil {
		return nil, err
	}
	if err := a.readMachines(ctx, g); err != nil {
		return nil, err
	}
	if rollingOut(g.md, g.sets) {
		return nil, moved("MachineDeployment %s is rolling out", key)
	}
	return g, nil
}

// readMachines fills in the MachineSets and Machines of the group.
func (a *Actuator) readMachines(ctx context.Context, g *liveGroup) error {
	in := client.InNamespace(a.o.Namespace)
	var sets clusterv1.MachineSetList
	var machines clusterv1.MachineList
	if err := a.o.Management.List(ctx, &sets, in); err != nil {
		return classify("listing MachineSets", err)
	}
	if err := a.o.Management.List(ctx, &machines, in); err != nil {
		return classify("listing Machines", err)
	}
	o := index([]clusterv1.MachineDeployment{*g.md}, sets.Items)
	for i := range sets.Items {
		if o.ofSet(&sets.Items[i]) != nil {
			g.sets = append(g.sets, &sets.Items[i])
		}
	}
	for i := range machines.Items {
		if o.ofMachine(&machines.Items[i]) != nil {
			g.machines = append(g.machines, &machines.Items[i])
		}
	}
	return nil
}

// name checks that an object of the management cluster is in our namespace.
func (a *Actuator) name(key string) (string, error) {
	namespace, name, ok := strings.Cut(key, "/")
	if !ok || name == "" || namespace != a.o.Namespace {
		return "", fmt.Errorf("%s is not in namespace %s", quote(key), a.o.Namespace)
	}
	return name, nil
}

// readNode reads a Node; uid, if not empty, says which one.
func (a *Actuator) readNode(ctx context.Context, name, uid string) (*corev1.Node, error) {
	n := &corev1.Node{}
	if err := a.o.Workload.Get(ctx, client.ObjectKey{Name: name}, n); err != nil {
		return nil, classify("reading Node "+name, err)
	}
	if uid != "" && string(n.UID) != uid {
		return nil, moved("Node %s is another one now", name)
	}
	return n, nil
}

// podsOn lists the pods that hold a node: not those that are finished, and not
// those that belong to it.
func (a *Actuator) podsOn(ctx context.Context, node string) ([]*corev1.Pod, error) {
	var pods corev1.PodList
	if err := a.o.Workload.List(ctx, &pods, client.MatchingFields{"spec.nodeName": node}); err != nil {
		return nil, classify("listing the pods on Node "+node, err)
	}
	var out []*corev1.Pod
	for i := range pods.Items {
		// The filter is the server's; it is checked, because everything depends
		// on it.
		if p := &pods.Items[i]; p.Spec.NodeName == node && !finished(p) && !bound(p) {
			out = append(out, p)
		}
	}
	return out, nil
}

// vacant checks that no pod is on the node but those that belong to it.
func (a *Actuator) vacant(ctx context.Context, node string) error {
	pods, err := a.podsOn(ctx, node)
	if err != nil {
		return err
	}
	if len(pods) > 0 {
		return moved("pod %s/%s is on Node %s", pods[0].Namespace, pods[0].Name, node)
	}
	return nil
}

// nodeOf looks for the Node of a Machine that has no reference to one. A kubelet
// may have joined without Cluster API having noticed, for instance because the
// provider id is missing, and pods may run on it.
func nodeOf(m *clusterv1.Machine, nodes []corev1.Node) string {
	addresses := map[string]bool{}
	for _, a := range m.Status.Addresses {
		if a.Type != clusterv1.MachineExternalIP && a.Address != "" {
			addresses[a.Address] = true
		}
	}
	for i := range nodes {
		n := &nodes[i]
		switch {
		case n.Name == m.Name,
			m.Spec.ProviderID != "" && n.Spec.ProviderID == m.Spec.ProviderID,
			n.Annotations[clusterv1.MachineAnnotation] == m.Name:
			return n.Name
		}
		for _, a := range n.Status.Addresses {
			if (a.Type == corev1.NodeInternalIP || a.Type == corev1.NodeHostName) && addresses[a.Address] {
				return n.Name
			}
		}
	}
	return ""
}

// cordonOf finds our own cordon on a Node.
func cordonOf(n *corev1.Node) (taint corev1.Taint, ok bool) {
	node, _ := translateNode(n)
	if node.Cordon == nil {
		return corev1.Taint{}, false
	}
	for _, t := range n.Spec.Taints {
		if ours(t) && t.Effect == corev1.TaintEffectNoSchedule {
			return t, true
		}
	}
	return corev1.Taint{}, false
}
