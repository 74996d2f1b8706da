package capi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/expirable"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tandem-autoscaler/tandem/pkg/kube"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// observeTimeout bounds the reads of one observation. They are answered from
// memory; the bound matters only for a cache that was never started.
const observeTimeout = time.Second

// Options of a [Source].
type Options struct {
	// Management and Workload answer from informer caches; they may be the same.
	// What they must hold is listed by [ManagementObjects] and [WorkloadObjects].
	Management, Workload client.Reader
	// ManagementHealth and WorkloadHealth tell what is wrong with the caches of a
	// side: not synced yet, or a watch that fails. Nil means that nothing ever is.
	// They must not block.
	ManagementHealth, WorkloadHealth func() error
	// Templates reads infrastructure templates from the API server of the
	// management cluster, in the background; Mapper finds their versions. Without
	// both, VM classes are known by annotation only.
	Templates client.Reader
	Mapper    meta.RESTMapper
	// Namespace and ClusterName select the MachineDeployments.
	Namespace, ClusterName string
	// WorkloadLive reads from the API server of the workload cluster, in the
	// background: whether a Cluster Autoscaler runs there, and whether a list that
	// has become empty in the cache is empty indeed. For the management cluster
	// Templates does that. Without them a cache is believed.
	WorkloadLive client.Reader
	// Writes, if not nil, holds what the [Actuator] wrote: a cache that is older
	// is not believed.
	Writes *Writes
	// TemplateRefresh is how often templates are read again (1 minute if zero),
	// TemplateTTL how long one that cannot be read any more is believed (10 minutes
	// if zero).
	TemplateRefresh, TemplateTTL time.Duration
	// Changed, if not nil, is called when a template tells something new.
	Changed func()
	// Log may be nil.
	Log *zap.Logger
}

// Source reads the supply. It is safe for concurrent use.
type Source struct {
	o         Options
	templates *templates
	scaler    scaler
	// doubts about empty lists, one for each side.
	managementDoubts, workloadDoubts *doubts

	mu         sync.Mutex
	management side[management]
	workload   side[workload]
	pods       map[types.UID]knownPod
	fights     fights
}

// side is what was last seen of one cluster.
type side[T any] struct {
	last  T
	at    time.Time // when it was last known
	known bool      // whether it ever was
}

// knownPod spares the translation of a pod that has not changed.
type knownPod struct {
	version string
	pod     planner.Pod
}

// New returns a source. Nothing is read before the first [Source.Observe].
func New(o Options) *Source {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.TemplateRefresh <= 0 {
		o.TemplateRefresh = time.Minute
	}
	if o.TemplateTTL <= 0 {
		o.TemplateTTL = 10 * time.Minute
	}
	if o.Mapper == nil {
		o.Templates = nil
	}
	return &Source{o: o, managementDoubts: newDoubts(), workloadDoubts: newDoubts(), fights: fights{map[string]*fight{}}, templates: &templates{
		reader: o.Templates, mapper: o.Mapper, refresh: o.TemplateRefresh, changed: o.Changed, log: o.Log,
		cache:  expirable.NewLRU[templateKey, template](templateCacheSize, nil, o.TemplateTTL),
		wanted: map[templateKey]bool{}, failed: map[templateKey]string{}, kick: make(chan struct{}, 1),
	}}
}

// ManagementObjects lists one object of each kind that the management cache must
// hold, for whoever starts the informers.
func ManagementObjects() []client.Object {
	return []client.Object{&clusterv1.Cluster{}, &clusterv1.MachineDeployment{}, &clusterv1.MachineSet{}, &clusterv1.Machine{}}
}

// WorkloadObjects does the same for the workload cache. Disruption budgets are
// optional: without the right to list them the coordinator moves no pod that is
// not Ray's.
func WorkloadObjects() []client.Object {
	return []client.Object{&corev1.Node{}, &corev1.Pod{}, kube.Optional(&policyv1.PodDisruptionBudget{})}
}

// Run reads what no cache tells until ctx ends; it returns nil.
func (s *Source) Run(ctx context.Context) error {
	var g errgroup.Group
	run := func(f func()) { g.Go(func() error { f(); return nil }) }
	if s.o.Templates != nil {
		run(func() { s.templates.run(ctx) })
		run(func() {
			in := []client.ListOption{client.InNamespace(s.o.Namespace)}
			s.managementDoubts.confirm(ctx, s.o.Templates, in, s.o.Changed, s.o.Log)
		})
	}
	if s.o.WorkloadLive != nil {
		run(func() { s.scaler.run(ctx, s.o.WorkloadLive, s.o.Log) })
		run(func() { s.workloadDoubts.confirm(ctx, s.o.WorkloadLive, nil, s.o.Changed, s.o.Log) })
	}
	<-ctx.Done()
	return g.Wait()
}

// Observe returns the supply as the caches show it. It never waits for the
// network. A side that cannot be told in full is as it was last seen, and its
// source is not known.
func (s *Source) Observe(now time.Time) View {
	ctx, cancel := context.WithTimeout(context.Background(), observeTimeout)
	defer cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	sources := []planner.Source{
		observe(ctx, &s.management, planner.SourceManagement, now, s.o.ManagementHealth, func(ctx context.Context) (management, error) { return s.readManagement(ctx, now) }),
		observe(ctx, &s.workload, planner.SourceWorkload, now, s.o.WorkloadHealth, s.readWorkload),
	}
	if sources[0].Known {
		sources[0].Error = notesText(s.management.last.notes)
	}
	if sources[1].Known {
		sources[1].Error = notesText(append(slices.Clone(s.workload.last.notes), s.scaler.trouble()))
	}
	v := join(s.management.last, s.workload.last)
	s.contest(&v, now)
	v.Sources = sources
	return v
}

// observe reads one side, all of it or nothing.
func observe[T any](ctx context.Context, s *side[T], kind planner.SourceKind, now time.Time, health func() error, read func(context.Context) (T, error)) planner.Source {
	err := error(nil)
	if health != nil {
		err = health()
	}
	if err == nil {
		var fresh T
		if fresh, err = read(ctx); err == nil {
			*s = side[T]{last: fresh, at: now, known: true}
			return planner.Source{Kind: kind, Known: true}
		}
	}
	out := planner.Source{Kind: kind, Error: cut(err.Error())}
	if s.known {
		out.Age = planner.Duration(max(0, now.Sub(s.at)))
	}
	return out
}

// uncopied lists straight from the cache: nothing here writes to an object.
const uncopied = client.UnsafeDisableDeepCopyOption(true)

func (s *Source) readManagement(ctx context.Context, now time.Time) (management, error) {
	in := client.InNamespace(s.o.Namespace)
	cluster := &clusterv1.Cluster{}
	if err := s.o.Management.Get(ctx, client.ObjectKey{Namespace: s.o.Namespace, Name: s.o.ClusterName}, cluster); err != nil {
		return management{}, fmt.Errorf("reading Cluster %s/%s: %w", s.o.Namespace, s.o.ClusterName, err)
	}
	var deployments clusterv1.MachineDeploymentList
	var sets clusterv1.MachineSetList
	var machines clusterv1.MachineList
	err := errors.Join(
		wrap("listing MachineDeployments", s.o.Management.List(ctx, &deployments, in, uncopied)),
		wrap("listing MachineSets", s.o.Management.List(ctx, &sets, in, uncopied)),
		wrap("listing Machines", s.o.Management.List(ctx, &machines, in, uncopied)),
	)
	if err != nil {
		return management{}, err
	}
	if err := s.fresh(deployments.Items, sets.Items, machines.Items); err != nil {
		return management{}, err
	}
	ours := slices.Clone(deployments.Items)
	ours = slices.DeleteFunc(ours, func(md clusterv1.MachineDeployment) bool { return md.Spec.ClusterName != s.o.ClusterName })
	out := s.translate(cluster, index(ours, sets.Items), ours, sets.Items, machines.Items)
	for i := range ours {
		out.groups[i].Contested = s.fights.watch(&ours[i], now)
	}
	out.paused = pausedText(cluster)
	return out, nil
}

// fresh refuses lists that are older than what was written, or that have become
// empty all at once.
func (s *Source) fresh(deployments []clusterv1.MachineDeployment, sets []clusterv1.MachineSet, machines []clusterv1.Machine) error {
	for i := range deployments {
		if err := s.o.Writes.behind(&deployments[i]); err != nil {
			return err
		}
	}
	for i := range machines {
		if err := s.o.Writes.behind(&machines[i]); err != nil {
			return err
		}
	}
	if s.o.Templates == nil {
		return nil
	}
	return errors.Join(
		s.managementDoubts.believe("MachineDeployments", len(deployments), &clusterv1.MachineDeploymentList{}),
		s.managementDoubts.believe("MachineSets", len(sets), &clusterv1.MachineSetList{}),
		s.managementDoubts.believe("Machines", len(machines), &clusterv1.MachineList{}),
	)
}

func (s *Source) translate(cluster *clusterv1.Cluster, o owners, deployments []clusterv1.MachineDeployment, sets []clusterv1.MachineSet, machines []clusterv1.Machine) management {
	setsOf := map[*clusterv1.MachineDeployment][]*clusterv1.MachineSet{}
	for i := range sets {
		if md := o.ofSet(&sets[i]); md != nil {
			setsOf[md] = append(setsOf[md], &sets[i])
		}
	}
	out := management{groups: make([]group, 0, len(deployments)), troubles: map[string]string{}}
	used := make(map[templateKey]bool, len(deployments))
	for i := range deployments {
		md := &deployments[i]
		used[keyOf(md)] = true
		g := translateGroup(md, cluster, setsOf[md], s.templates.lookup(keyOf(md)))
		for _, note := range g.facts.notes {
			out.notes = append(out.notes, "MachineDeployment "+g.Key()+": "+note)
		}
		out.groups = append(out.groups, g)
	}
	s.templates.keep(used)
	for i := range machines {
		m := &machines[i]
		if m.Spec.ClusterName != s.o.ClusterName {
			continue
		}
		out.machines = append(out.machines, translateMachine(m, o.ofMachine(m)))
		if t := trouble(m); t != "" && m.Status.NodeRef.Name == "" {
			out.troubles[m.Namespace+"/"+m.Name] = t
		}
	}
	return out
}

func (s *Source) readWorkload(ctx context.Context) (workload, error) {
	var nodes corev1.NodeList
	var pods corev1.PodList
	err := errors.Join(
		wrap("listing Nodes", s.o.Workload.List(ctx, &nodes, uncopied)),
		wrap("listing pods", s.o.Workload.List(ctx, &pods, uncopied)),
	)
	if err != nil {
		return workload{}, err
	}
	if s.o.WorkloadLive != nil {
		err = errors.Join(
			s.workloadDoubts.believe("Nodes", len(nodes.Items), &corev1.NodeList{}),
			s.workloadDoubts.believe("pods", len(pods.Items), &corev1.PodList{}),
		)
		if err != nil {
			return workload{}, err
		}
	}
	out := workload{machineOf: make(map[string]string, len(nodes.Items))}
	for i := range nodes.Items {
		n := &nodes.Items[i]
		if err := s.o.Writes.behind(n); err != nil {
			return workload{}, err
		}
		node, note := translateNode(n)
		out.nodes = append(out.nodes, node)
		if note != "" {
			out.notes = append(out.notes, note)
		}
		if a := n.Annotations; a[clusterv1.MachineAnnotation] != "" {
			out.machineOf[n.Name] = a[clusterv1.ClusterNamespaceAnnotation] + "/" + a[clusterv1.MachineAnnotation]
		}
	}
	live := s.translatePods(&pods, &out)
	held := s.readBudgets(ctx)
	if held.unknown != "" {
		out.notes = append(out.notes, held.unknown+": every pod that is not Ray's holds its node")
	}
	for i := range live {
		held.hold(live[i], &out.pods[i])
	}
	out.daemons = commonDaemons(live, out.pods, len(out.nodes))
	return out, nil
}

// translatePods fills in the pods that are not finished, and returns them in
// the same order.
func (s *Source) translatePods(pods *corev1.PodList, out *workload) []*corev1.Pod {
	live := make([]*corev1.Pod, 0, len(pods.Items))
	known := make(map[types.UID]knownPod, len(pods.Items))
	out.pods = make([]planner.Pod, 0, len(pods.Items))
	for i := range pods.Items {
		p := &pods.Items[i]
		if finished(p) {
			continue
		}
		k, ok := s.pods[p.UID]
		if !ok || k.version != p.ResourceVersion || p.ResourceVersion == "" {
			k = knownPod{p.ResourceVersion, translatePod(p)}
		}
		if p.UID != "" {
			known[p.UID] = k
		}
		live, out.pods = append(live, p), append(out.pods, k.pod)
	}
	s.pods = known
	return live
}

func wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, err)
}
