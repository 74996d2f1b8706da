package capi

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// budgets are the disruption budgets of the workload cluster.
type budgets struct {
	// unknown, if not empty, tells why they cannot be read: then every pod that
	// is not Ray's counts as held by one.
	unknown string
	of      map[string][]budget // by namespace
}

type budget struct {
	name     string
	selector labels.Selector
	allowed  bool
}

// readBudgets never fails: without the right to list them the coordinator goes
// on with Ray's pods, and says so.
func (s *Source) readBudgets(ctx context.Context) budgets {
	var list policyv1.PodDisruptionBudgetList
	if err := s.o.Workload.List(ctx, &list, uncopied); err != nil {
		return budgets{unknown: cut("listing PodDisruptionBudgets: " + err.Error())}
	}
	out := budgets{of: map[string][]budget{}}
	for i := range list.Items {
		b := &list.Items[i]
		selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
		if err != nil {
			// It cannot be told whom it holds: all of its namespace.
			selector = labels.Everything()
		}
		out.of[b.Namespace] = append(out.of[b.Namespace], budget{
			name: b.Name, selector: selector,
			allowed: err == nil && b.Status.DisruptionsAllowed > 0 && b.Status.ObservedGeneration >= b.Generation,
		})
	}
	return out
}

// hold fills in Blocks of a pod that a budget holds now. Ray's pods are never
// evicted, and those that belong to their node go with it.
func (b budgets) hold(p *corev1.Pod, out *planner.Pod) {
	if out.DaemonSet || out.RayCluster != "" || out.Blocks != "" {
		return
	}
	if b.unknown != "" {
		out.Blocks = "disruption budgets are not known"
		return
	}
	for _, x := range b.of[p.Namespace] {
		if !x.allowed && x.selector.Matches(labels.Set(p.Labels)) {
			out.Blocks = fmt.Sprintf("PodDisruptionBudget %s allows no disruption now", x.name)
			return
		}
	}
}
