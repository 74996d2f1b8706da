package demand

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// pods are the Ray pods that exist, by the UID of the RayCluster that owns them:
// a label can be put on any pod, an owner reference cannot be forged as easily.
type pods struct {
	byCluster map[string][]rayPod
}

// rayPod is what is kept of a pod.
type rayPod struct {
	name, uid, ip string
	head, ready   bool
	leaving       bool
	// autoscales tells that a live autoscaler of Ray's own runs in the pod.
	autoscales bool
	created    metav1.Time
}

// head is where the GCS of a cluster is: one pod, at one address.
type head struct {
	podUID  string
	address string
	ready   bool
}

// same tells whether two heads are one session, as far as pods can tell.
func (h head) same(o head) bool { return h.podUID == o.podUID && h.address == o.address }

// everywhere is the list of namespaces that means all.
func everywhere(namespaces []string) []string {
	if len(namespaces) == 0 {
		return []string{metav1.NamespaceAll}
	}
	return namespaces
}

func listRayClusters(ctx context.Context, r client.Reader, namespaces []string) ([]unstructured.Unstructured, error) {
	var out []unstructured.Unstructured
	for _, ns := range everywhere(namespaces) {
		list := &unstructured.UnstructuredList{}
		gvk := RayClusterKind()
		gvk.Kind += "List"
		list.SetGroupVersionKind(gvk)
		if err := r.List(ctx, list, client.InNamespace(ns), client.UnsafeDisableDeepCopy); err != nil {
			return nil, fmt.Errorf("listing RayClusters: %w", err)
		}
		out = append(out, list.Items...)
	}
	return out, nil
}

func listPods(ctx context.Context, r client.Reader, namespaces []string) (*pods, error) {
	out := &pods{byCluster: map[string][]rayPod{}}
	for _, ns := range everywhere(namespaces) {
		var list corev1.PodList
		if err := r.List(ctx, &list, client.InNamespace(ns), client.HasLabels{labelCluster}, client.UnsafeDisableDeepCopy); err != nil {
			return nil, fmt.Errorf("listing Ray pods: %w", err)
		}
		for i := range list.Items {
			p := &list.Items[i]
			owner := metav1.GetControllerOfNoCopy(p)
			if owner == nil || owner.Kind != RayClusterKind().Kind {
				continue
			}
			out.byCluster[string(owner.UID)] = append(out.byCluster[string(owner.UID)], rayPodOf(p))
		}
	}
	return out, nil
}

func rayPodOf(p *corev1.Pod) rayPod {
	out := rayPod{
		name: p.Name, uid: string(p.UID), ip: p.Status.PodIP,
		head:    p.Labels[labelNodeType] == nodeTypeHead,
		leaving: p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed,
		created: p.CreationTimestamp,
	}
	for i := range p.Spec.Containers {
		c := &p.Spec.Containers[i]
		out.autoscales = out.autoscales || out.head && c.Name == autoscalerContainer && !inert(c.Env)
	}
	for i := range p.Status.Conditions {
		if c := &p.Status.Conditions[i]; c.Type == corev1.PodReady {
			out.ready = c.Status == corev1.ConditionTrue
		}
	}
	return out
}

// liveAutoscaler tells of a head pod in which Ray's own autoscaler lives, whatever
// the object says now: the operator does not make a head pod anew when somebody
// changes enableInTreeAutoscaling or the autoscaler's environment.
func (p *pods) liveAutoscaler(c *cluster) string {
	all := p.byCluster[c.UID]
	for i := range all {
		if pod := &all[i]; pod.autoscales && !pod.leaving {
			return fmt.Sprintf("Ray's own autoscaler still runs in head pod %s: delete that pod once, so that it is made anew as the object says", pod.name)
		}
	}
	return ""
}

// head finds the pod whose GCS is asked: the one that is asked already while it
// exists, ready or not, else the oldest that is ready. Its address is that of
// the pod, with the port of the start parameters: a Service may show another
// port, and may point to a pod that is on its way out.
func (p *pods) head(c *cluster, running *poller) (head, bool) {
	var best *rayPod
	all := p.byCluster[c.UID]
	for i := range all {
		pod := &all[i]
		if !pod.head || pod.leaving || pod.ip == "" {
			continue
		}
		if running != nil && running.head.podUID == pod.uid {
			best = pod
			break
		}
		if pod.ready && (best == nil || older(pod, best)) {
			best = pod
		}
	}
	if best == nil {
		return head{}, false
	}
	return head{podUID: best.uid, address: net.JoinHostPort(best.ip, c.gcsPort), ready: best.ready}, true
}

func older(a, b *rayPod) bool {
	return cmp.Or(a.created.Compare(b.created.Time), cmp.Compare(a.name, b.name)) < 0
}

// join finds the pod of every Ray node: by the name that KubeRay gives the
// raylet, or else, while the raylet lives, by its address. A node whose pod is
// not found keeps the name that it gave and has no UID.
func (p *pods) join(c *planner.RayCluster, state *State) []planner.RayNode {
	byName, byIP := map[string]*rayPod{}, map[string]*rayPod{}
	all := p.byCluster[c.UID]
	for i := range all {
		byName[all[i].name] = &all[i]
		if all[i].ip != "" && !all[i].leaving {
			byIP[all[i].ip] = &all[i]
		}
	}
	out := slices.Clone(state.RayNodes)
	for i := range out {
		pod := byName[out[i].Pod]
		if pod == nil && out[i].Status != planner.RayNodeDead {
			pod = byIP[state.Addresses[out[i].ID]]
		}
		if pod != nil {
			out[i].Pod, out[i].PodUID = pod.name, pod.uid
		}
	}
	return out
}
