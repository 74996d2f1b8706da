package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/log"
	v1 "sigs.k8s.io/karpenter/pkg/apis/v1"
	"sigs.k8s.io/karpenter/pkg/cloudprovider"
	"sigs.k8s.io/karpenter/pkg/controllers/provisioning/scheduling"
	"sigs.k8s.io/karpenter/pkg/controllers/state"
	"sigs.k8s.io/karpenter/pkg/events"
	"sigs.k8s.io/karpenter/pkg/operator/injection"
	"sigs.k8s.io/karpenter/pkg/operator/options"
	requirements "sigs.k8s.io/karpenter/pkg/scheduling"
)

const (
	gpuResource = corev1.ResourceName("nvidia.com/gpu")
	zone        = "zone-1"
	// reconcilers is the number of Karpenter's workers in its own benchmark.
	reconcilers = 5
	// podsPerNode keeps the number of pods from being what limits a node.
	podsPerNode = 1000
)

// pool is a NodePool and the indexes of its types.
type pool struct {
	name   string
	types  []int
	weight int32
	limit  int64 // milli-cores; 0: none
	taint  bool
}

// usualPools has one NodePool, or two where GPU nodes are tainted.
func usualPools(w *work) []pool {
	if !w.taint {
		all := pool{name: "all"}
		for i := range w.types {
			all.types = append(all.types, i)
		}
		return []pool{all}
	}
	cpu, gpu := pool{name: "cpu"}, pool{name: "gpu", taint: true}
	for i := range w.types {
		if w.types[i].gpu > 0 {
			gpu.types = append(gpu.types, i)
		} else {
			cpu.types = append(cpu.types, i)
		}
	}
	return []pool{cpu, gpu}
}

// tunedPools has one NodePool per type, the cheapest core first, limited to
// the type's stock.
func tunedPools(w *work) []pool {
	out := make([]pool, 0, len(w.types))
	for i := range w.types {
		t := &w.types[i]
		out = append(out, pool{name: t.name, types: []int{i}, limit: t.cpu * t.stock, taint: w.taint && t.gpu > 0})
	}
	perCore := func(p pool) float64 {
		t := &w.types[p.types[0]]
		return float64(t.price) / float64(t.cpu)
	}
	slices.SortStableFunc(out, func(a, b pool) int { return cmp.Compare(perCore(a), perCore(b)) })
	for i := range out {
		out[i].weight = int32(max(1, 100-i))
	}
	return out
}

func karpenter(ctx context.Context, w *work) (plan, error)      { return solve(ctx, w, usualPools(w)) }
func karpenterTuned(ctx context.Context, w *work) (plan, error) { return solve(ctx, w, tunedPools(w)) }

// noCloud stands in for a cloud; the scheduler asks it for nothing here.
type noCloud struct{ cloudprovider.CloudProvider }

func init() {
	// Karpenter logs through it; what it has to say is in the plan.
	log.SetLogger(logr.Discard())
}

// solve has Karpenter's scheduler plan the work on an empty cluster.
func solve(ctx context.Context, w *work, pools []pool) (plan, error) {
	ctx = options.ToContext(injection.WithControllerName(ctx, "provisioner"), &options.Options{
		PreferencePolicy: options.PreferencePolicyRespect, MinValuesPolicy: options.MinValuesPolicyStrict,
		IgnoreDRARequests: true, CPURequests: 1000,
	})
	nodePools := make([]*v1.NodePool, 0, len(pools))
	byPool := map[string][]*cloudprovider.InstanceType{}
	for _, p := range pools {
		nodePools = append(nodePools, p.nodePool())
		for _, i := range p.types {
			byPool[p.name] = append(byPool[p.name], instanceType(&w.types[i]))
		}
	}
	pods := podsOf(w)
	client := fake.NewFakeClient()
	clk := clock.RealClock{}
	cluster := state.NewCluster(clk, client, noCloud{})
	opt := scheduling.NumConcurrentReconciles(reconcilers)
	topology, err := scheduling.NewTopology(ctx, client, cluster, nil, nodePools, byPool, pods, opt)
	if err != nil {
		return plan{}, fmt.Errorf("making the topology: %w", err)
	}
	s := scheduling.NewScheduler(ctx, client, nodePools, cluster, nil, topology, byPool, nil,
		events.NewRecorder(&record.FakeRecorder{}), clk, nil, nil, opt)
	results, err := s.Solve(ctx, pods)
	if err != nil {
		return plan{}, fmt.Errorf("solving: %w", err)
	}
	return planOf(w, &results)
}

// nodePool is the pool as Karpenter's object.
func (p *pool) nodePool() *v1.NodePool {
	np := &v1.NodePool{ObjectMeta: metav1.ObjectMeta{Name: p.name, UID: types.UID(p.name)}}
	np.Spec.Template.Spec.NodeClassRef = &v1.NodeClassReference{Group: "bench", Kind: "NodeClass", Name: "default"}
	np.Spec.Template.Spec.Requirements = []v1.NodeSelectorRequirementWithMinValues{}
	if p.weight > 0 {
		np.Spec.Weight = &p.weight
	}
	if p.limit > 0 {
		np.Spec.Limits = v1.Limits{corev1.ResourceCPU: *resource.NewMilliQuantity(p.limit, resource.DecimalSI)}
	}
	if p.taint {
		np.Spec.Template.Spec.Taints = []corev1.Taint{{Key: string(gpuResource), Effect: corev1.TaintEffectNoSchedule}}
	}
	return np
}

// amounts is a list of Kubernetes resources.
func amounts(cpu, memory, gpu int64) corev1.ResourceList {
	out := corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewMilliQuantity(cpu, resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(memory<<20, resource.BinarySI),
	}
	if gpu > 0 {
		out[gpuResource] = *resource.NewQuantity(gpu, resource.DecimalSI)
	}
	return out
}

// instanceType is the type as Karpenter's object, without overhead, as ours.
func instanceType(t *nodeType) *cloudprovider.InstanceType {
	capacity := amounts(t.cpu, t.memory, t.gpu)
	capacity[corev1.ResourcePods] = *resource.NewQuantity(podsPerNode, resource.DecimalSI)
	in := func(key, value string) *requirements.Requirement {
		return requirements.NewRequirement(key, corev1.NodeSelectorOpIn, value)
	}
	return &cloudprovider.InstanceType{
		Name: t.name, Capacity: capacity, Overhead: &cloudprovider.InstanceTypeOverhead{},
		Requirements: requirements.NewRequirements(
			in(corev1.LabelInstanceTypeStable, t.name), in(corev1.LabelArchStable, "amd64"), in(corev1.LabelOSStable, "linux"),
			in(corev1.LabelTopologyZone, zone), in(v1.CapacityTypeLabelKey, v1.CapacityTypeOnDemand),
		),
		Offerings: cloudprovider.Offerings{{
			Available: true, Price: float64(t.price) / 1000,
			Requirements: requirements.NewLabelRequirements(map[string]string{
				corev1.LabelTopologyZone: zone, v1.CapacityTypeLabelKey: v1.CapacityTypeOnDemand,
			}),
		}},
	}
}

// shapeLabel says which shape a pod is of.
const shapeLabel = "bench/shape"

// podsOf makes the pods one by one.
func podsOf(w *work) []*corev1.Pod {
	var out []*corev1.Pod
	for i := range w.shapes {
		s := &w.shapes[i]
		requests := amounts(s.cpu, s.memory, s.gpu)
		for n := range s.count {
			name := fmt.Sprintf("%s-%d", s.name, n)
			pod := &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{
					Name: name, Namespace: "default", UID: types.UID(name),
					Labels: map[string]string{shapeLabel: strconv.Itoa(i)},
				},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{
					Name: "c", Resources: corev1.ResourceRequirements{Requests: requests},
				}}},
				Status: corev1.PodStatus{Phase: corev1.PodPending},
			}
			if s.gpu > 0 {
				pod.Spec.Tolerations = []corev1.Toleration{{Key: string(gpuResource), Operator: corev1.TolerationOpExists}}
			}
			out = append(out, pod)
		}
	}
	return out
}

// planOf reads a plan out of the claims. A claim leaves several types open;
// Karpenter asks for the cheapest first, and so it is counted.
func planOf(w *work, results *scheduling.Results) (plan, error) {
	var p plan
	for _, claim := range results.NewNodeClaims {
		byPrice := claim.InstanceTypeOptions.OrderByPrice(claim.Requirements)
		if len(byPrice) == 0 {
			return plan{}, fmt.Errorf("a claim of NodePool %s has no types", claim.NodePoolName)
		}
		f := filling{nodes: 1, pods: map[int]int64{}}
		f.typ = slices.IndexFunc(w.types, func(t nodeType) bool { return t.name == byPrice[0].Name })
		for _, pod := range claim.Pods {
			i, err := strconv.Atoi(pod.Labels[shapeLabel])
			if err != nil {
				return plan{}, fmt.Errorf("reading the shape of pod %s: %w", pod.Name, err)
			}
			f.pods[i]++
		}
		p.fillings = append(p.fillings, f)
	}
	return p, nil
}
