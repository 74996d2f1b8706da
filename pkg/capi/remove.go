package capi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// markSettles is longer than a removal may take from its marks to its shrink.
const markSettles = 15 * time.Second

// Remove gives step.Machines back: it marks them for deletion and lowers the
// replicas of step.Group from step.From to step.To. Cluster API then deletes
// marked Machines before any other that is alive (kubernetes-sigs/cluster-api:
// core/reconcilers/machineset/machineset_deletion_order.go).
//
//	check ──► mark all ──► check again ──► lower replicas
//	  │          │              │               │
//	  │          └──────────────┴── refused ────┴──► the marks stay
//	  └── ErrMoved, nothing written
//
// Precondition, read anew before the marks and again after them: the group is as
// [Actuator.Scale] wants it, is not rolling out, has step.From replicas and
// exactly as many Machines that are not being deleted, keeps its minimum size,
// and no other Machine of it carries a delete mark. Every named Machine belongs
// to the group, is not being deleted, nobody else marked it, and
//   - its Node carries our cordon and no pod but those of DaemonSets and mirrors
//     of static pods, or
//   - it never had a Node, and no Node looks as if it were its own.
//
// Where anything is refused after the first mark, the marks stay. To take them
// back at once would be a race: a second coordinator that finds them may be
// about to lower the replicas, and without them Cluster API would choose by
// itself. The next plan finds them, and repeats the removal or takes them back
// with [Actuator.Unmark] once they have settled.
func (a *Actuator) Remove(ctx context.Context, step planner.Step, planID string, at time.Time) error {
	value, err := checkRemoval(step, planner.Mark{PlanID: planID, At: at})
	if err != nil {
		return fmt.Errorf("removing Machines of %s: %w", step.Group, err)
	}
	g, err := a.readGroupForShrink(ctx, step.Group)
	if err != nil {
		return err
	}
	if a.removed(g, step) {
		return nil
	}
	if err := a.removable(ctx, g, step); err != nil {
		return err
	}
	if err := a.mark(ctx, g, step, value, at); err != nil {
		return err
	}
	if g, err = a.readGroupForShrink(ctx, step.Group); err != nil {
		return err
	}
	if err := a.removable(ctx, g, step); err != nil {
		return err
	}
	if err := marked(g, step); err != nil {
		return err
	}
	if err := a.writeScale(ctx, g.md, step.To); err != nil {
		return err
	}
	a.wrote("machines marked and replicas lowered", step, planID)
	return nil
}

// checkRemoval refuses a step that makes no sense by itself.
func checkRemoval(step planner.Step, m planner.Mark) (value string, err error) {
	names := slices.Clone(step.Machines)
	slices.Sort(names)
	switch n := int64(len(slices.Compact(names))); {
	case n == 0 || n != int64(len(step.Machines)):
		return "", fmt.Errorf("the step names %d Machines, %d different ones", len(step.Machines), n)
	case step.To < 0 || step.To != step.From-n:
		return "", fmt.Errorf("the step takes %d Machines and goes from %d to %d replicas", n, step.From, step.To)
	}
	return FormatMark(m)
}

// removed tells whether the step was taken before: the replicas are lowered and
// every Machine is gone, going, or marked by us to go.
func (a *Actuator) removed(g *liveGroup, step planner.Step) bool {
	if g.group.Replicas != step.To {
		return false
	}
	for _, key := range step.Machines {
		name, err := a.name(key)
		if err != nil {
			return false
		}
		m := g.machine(name)
		if m == nil || !m.DeletionTimestamp.IsZero() {
			continue
		}
		if ours, _ := deleteMark(m); ours == nil {
			return false
		}
	}
	return true
}

// removable checks everything that [Actuator.Remove] promises to check.
func (a *Actuator) removable(ctx context.Context, g *liveGroup, step planner.Step) error {
	switch {
	case g.group.Replicas != step.From:
		return moved("MachineDeployment %s has %d replicas, not %d", step.Group, g.group.Replicas, step.From)
	case step.To < g.group.Min:
		return moved("MachineDeployment %s must keep %d replicas, not %d", step.Group, g.group.Min, step.To)
	case g.alive() != step.From:
		return moved("MachineDeployment %s has %d Machines that are not being deleted, not %d", step.Group, g.alive(), step.From)
	}
	if err := a.noOtherMark(g, step); err != nil {
		return err
	}
	var nodes *corev1.NodeList
	for _, key := range step.Machines {
		name, err := a.name(key)
		if err != nil {
			return err
		}
		m := g.machine(name)
		if m == nil || !m.DeletionTimestamp.IsZero() {
			return moved("Machine %s is gone, or going, or not of MachineDeployment %s", key, step.Group)
		}
		if m.Status.NodeRef.Name != "" {
			err = a.vacantMachine(ctx, g, m)
		} else {
			if nodes == nil {
				nodes = &corev1.NodeList{}
				if err := a.o.Workload.List(ctx, nodes); err != nil {
					return classify("listing Nodes", err)
				}
			}
			if node := nodeOf(m, nodes.Items); node != "" {
				err = moved("Machine %s has no reference to a Node, but Node %s looks like its own", key, node)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// noOtherMark refuses while a Machine carries a delete mark that this removal
// does not own: Cluster API could take it in place of ours.
func (a *Actuator) noOtherMark(g *liveGroup, step planner.Step) error {
	for _, m := range g.machines {
		if !m.DeletionTimestamp.IsZero() {
			continue
		}
		key := m.Namespace + "/" + m.Name
		ours, foreign := deleteMark(m)
		switch named := slices.Contains(step.Machines, key); {
		case foreign:
			return moved("Machine %s carries a delete mark of somebody else", key)
		case ours != nil && !named:
			return moved("Machine %s carries a delete mark of plan %s", key, ours.PlanID)
		}
	}
	return nil
}

// vacantMachine checks a Machine that has a Node.
func (a *Actuator) vacantMachine(ctx context.Context, g *liveGroup, m *clusterv1.Machine) error {
	name := m.Status.NodeRef.Name
	for _, other := range g.machines {
		if other != m && other.Status.NodeRef.Name == name {
			return moved("Machines %s and %s both claim Node %s", m.Name, other.Name, name)
		}
	}
	n, err := a.readNode(ctx, name, "")
	if err != nil {
		return err
	}
	if named := n.Annotations[clusterv1.MachineAnnotation]; named != "" && named != m.Name {
		return moved("Node %s says that it belongs to Machine %s, not to %s", name, named, m.Name)
	}
	if _, ok := cordonOf(n); !ok {
		return moved("Node %s does not carry our cordon", name)
	}
	return a.vacant(ctx, name)
}

// mark writes both delete marks on every Machine of the step that lacks one.
func (a *Actuator) mark(ctx context.Context, g *liveGroup, step planner.Step, value string, at time.Time) error {
	for _, key := range step.Machines {
		name, err := a.name(key)
		if err != nil {
			return err
		}
		m := g.machine(name)
		if carriesBoth(m) {
			continue
		}
		err = a.annotate(ctx, m, map[string]string{
			clusterv1.DeleteMachineAnnotation: at.UTC().Format(time.RFC3339),
			DeleteMarkAnnotation:              value,
		})
		if err != nil {
			return classify("marking Machine "+key, err)
		}
	}
	return nil
}

// marked confirms by what was read after the marks that all of them are there.
func marked(g *liveGroup, step planner.Step) error {
	for _, m := range g.machines {
		if key := m.Namespace + "/" + m.Name; slices.Contains(step.Machines, key) && !carriesBoth(m) {
			return moved("Machine %s does not carry our delete mark any more", key)
		}
	}
	return nil
}

func carriesBoth(m *clusterv1.Machine) bool {
	ours, _ := deleteMark(m)
	_, theirs := m.Annotations[clusterv1.DeleteMachineAnnotation]
	return ours != nil && theirs
}

// annotate sets annotations of a Machine, or removes those whose value is empty,
// provided that it is still the version that was read.
func (a *Actuator) annotate(ctx context.Context, m *clusterv1.Machine, set map[string]string) error {
	return a.annotateObject(ctx, m, set)
}

// Unmark takes our delete marks back from step.Machines. Machines that are gone,
// are being deleted, or do not carry our mark are left alone.
//
// Precondition, read anew for every Machine that is marked: its MachineDeployment
// has at least as many replicas as Machines that are not being deleted. Otherwise
// a shrink is under way, Cluster API is about to choose, and without the marks it
// might choose a Machine that works: that is [ErrMoved], and the marks stay. So is
// a mark that was written just now: another coordinator may be between its marks
// and its shrink, or a shrink of our own may be under way of which we lost the
// answer, and no version ties the one write to the other.
func (a *Actuator) Unmark(ctx context.Context, step planner.Step, at time.Time) error {
	settled := func(m planner.Mark) error {
		// A mark from the future is one of a clock that is wrong, and counts as old.
		if age := at.Sub(m.At); age.Abs() < markSettles {
			return moved("plan %s wrote the delete mark %s ago: its shrink may follow", m.PlanID, age)
		}
		return nil
	}
	var errs []error
	for _, key := range step.Machines {
		if err := a.unmark(ctx, key, settled); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// unmark takes one mark back, unless may, if it is not nil, has an objection.
func (a *Actuator) unmark(ctx context.Context, key string, may func(planner.Mark) error) error {
	name, err := a.name(key)
	if err != nil {
		return err
	}
	m := &clusterv1.Machine{}
	if err := a.o.Management.Get(ctx, client.ObjectKey{Namespace: a.o.Namespace, Name: name}, m); err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("reading Machine %s: %w", key, err)
	}
	ours, _ := deleteMark(m)
	if ours == nil || !m.DeletionTimestamp.IsZero() {
		return nil
	}
	if may != nil {
		if err := may(*ours); err != nil {
			return fmt.Errorf("taking the delete mark back from Machine %s: %w", key, err)
		}
	}
	if err := a.noShrink(ctx, m); err != nil {
		return err
	}
	err = a.annotate(ctx, m, map[string]string{clusterv1.DeleteMachineAnnotation: "", DeleteMarkAnnotation: ""})
	return classify("taking the delete mark back from Machine "+key, err)
}

// noShrink refuses while the MachineDeployment of a Machine has more Machines
// than replicas. A Machine without a MachineDeployment has nothing to wait for.
func (a *Actuator) noShrink(ctx context.Context, m *clusterv1.Machine) error {
	name := m.Labels[clusterv1.MachineDeploymentNameLabel]
	if name == "" {
		return nil
	}
	g := &liveGroup{md: &clusterv1.MachineDeployment{}}
	read := func() error {
		return a.o.Management.Get(ctx, client.ObjectKey{Namespace: m.Namespace, Name: name}, g.md)
	}
	// Read twice: replicas that are lowered while the Machines are listed must
	// be seen.
	for _, step := range []func() error{read, func() error { return a.readMachines(ctx, g) }, read} {
		err := step()
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading MachineDeployment %s: %w", name, err)
		}
	}
	if r := g.md.Spec.Replicas; r == nil || int64(*r) < g.alive() {
		return moved("MachineDeployment %s has more Machines than replicas: a shrink is under way, and Machine %s stays marked", name, m.Name)
	}
	return nil
}
