package main

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tandem-autoscaler/tandem/pkg/capi"
	"github.com/tandem-autoscaler/tandem/pkg/config"
	"github.com/tandem-autoscaler/tandem/pkg/coordinator"
	"github.com/tandem-autoscaler/tandem/pkg/demand"
	"github.com/tandem-autoscaler/tandem/pkg/kube"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
	"github.com/tandem-autoscaler/tandem/pkg/vsphere"
)

// sources are the connections and the adapters that read through them.
type sources struct {
	management, workload *kube.Cluster
	demand               *demand.Source
	supply               *capi.Source
	catalogue            *vsphere.Source
	// writes are what the actuator wrote: a cache that is older is not believed.
	writes *capi.Writes
	wake   chan struct{}

	// deadline is how long a Machine may take to boot, longest how long one did.
	deadline time.Duration
	longest  atomic.Pointer[func() time.Duration]
}

// booted says where to learn how long Machines take to boot.
func (s *sources) booted(longest func() time.Duration) { s.longest.Store(&longest) }

// bootTime is how long a Machine may take until its Node is ready: what was seen,
// or, before the first came up, what is granted.
func (s *sources) bootTime() time.Duration {
	if f := s.longest.Load(); f != nil {
		if seen := (*f)(); seen > 0 {
			return seen
		}
	}
	return s.deadline
}

// keepManagers strips who manages which field, as it takes room, from every
// object but RayClusters: there it tells of writers beside us.
func keepManagers(object any) (any, error) {
	if u, ok := object.(*unstructured.Unstructured); ok && u.GroupVersionKind().Group == demand.RayClusterKind().Group {
		return object, nil
	}
	return cache.TransformStripManagedFields()(object)
}

func newScheme() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, clusterv1.AddToScheme} {
		if err := add(s); err != nil {
			return nil, fmt.Errorf("building the scheme: %w", err)
		}
	}
	return s, nil
}

func newSources(c config.Configuration, log *zap.Logger) (*sources, error) {
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	s := &sources{wake: make(chan struct{}, 1), deadline: c.Growth.ProvisionDeadline.Duration, writes: capi.NewWrites()}
	if s.management, err = kube.Connect(kube.ClusterOptions{
		Name: "management", Kubeconfig: c.Management.Kubeconfig, Scheme: scheme, Namespace: c.Management.Namespace, Log: log,
	}); err != nil {
		return nil, err
	}
	workload := c.Workload.Kubeconfig
	if workload == "" {
		workload = c.Management.Kubeconfig
	}
	if s.workload, err = kube.Connect(kube.ClusterOptions{Name: "workload", Kubeconfig: workload, Scheme: scheme, Transform: keepManagers, Log: log}); err != nil {
		return nil, err
	}
	s.demand = demand.New(demand.Options{
		Reader: s.workload.Reader(), Namespaces: c.RayClusters.Namespaces, DefaultMode: c.RayClusters.DefaultMode, Credentials: c.RayClusters.Credentials,
		PollInterval: c.Demand.PollInterval.Duration, Settle: c.Demand.Settle.Duration, Timeout: c.Demand.Timeout.Duration, StaleAfter: c.Demand.StaleAfter.Duration,
		Health: s.workload.Health, BootTime: s.bootTime, ConstraintTTL: c.Demand.ConstraintTTL.Duration, Log: log.Named("demand"),
	})
	s.supply = capi.New(capi.Options{
		Management: s.management.Reader(), Workload: s.workload.Reader(), ManagementHealth: s.management.Health, WorkloadHealth: s.workload.Health,
		Templates: s.management.Client(), Mapper: s.management.Mapper(), Namespace: c.Management.Namespace, ClusterName: c.Management.ClusterName,
		WorkloadLive: s.workload.Client(), Writes: s.writes, Changed: s.notify, Log: log.Named("capi"),
	})
	s.catalogue = vsphere.New(vsphere.Options{
		Catalogue: c.Catalogue, Namespace: c.Management.Namespace, Management: s.management.Client(), Mapper: s.management.Mapper(),
		Changed: s.notify, Log: log.Named("vsphere"),
	})
	return s, nil
}

// rayCluster is the kind whose informer the demand side reads from.
func rayCluster() client.Object {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(demand.RayClusterKind())
	return u
}

// notify wakes the loop; it never blocks.
func (s *sources) notify() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run starts everything that reads.
func (s *sources) run(ctx context.Context, g *errgroup.Group) {
	g.Go(func() error { return s.management.Run(ctx, capi.ManagementObjects(), s.notify) })
	g.Go(func() error {
		return s.workload.Run(ctx, append(capi.WorkloadObjects(), rayCluster()), func() {
			s.demand.Notify()
			s.notify()
		})
	})
	g.Go(func() error { return s.demand.Run(ctx) })
	g.Go(func() error { return s.supply.Run(ctx) })
	g.Go(func() error { return s.catalogue.Run(ctx) })
	g.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-s.demand.Changed():
				s.notify()
			}
		}
	})
}

// ready tells whether every cache has been filled once.
func (s *sources) ready() error {
	if err := s.management.Health(); err != nil {
		return err
	}
	return s.workload.Health()
}

// observers fill a snapshot. The catalogue comes first, because the supply is
// completed from it.
func (s *sources) observers() []coordinator.Observer {
	var onHosts map[string]bool // names of VMs
	return []coordinator.Observer{
		coordinator.ObserverFunc(func(now time.Time, snap *planner.Snapshot) {
			v := s.catalogue.Observe(now)
			snap.Classes, snap.Zones, onHosts = v.Classes, v.Zones, v.VMs
			snap.Sources = append(snap.Sources, v.Sources...)
		}),
		coordinator.ObserverFunc(func(now time.Time, snap *planner.Snapshot) {
			v := s.supply.Observe(now)
			capi.FillFromClasses(&v, snap.Classes, capi.Overhead{})
			snap.NodeGroups, snap.Machines, snap.Nodes, snap.Pods = v.NodeGroups, v.Machines, v.Nodes, v.Pods
			for i := range snap.Machines {
				m := &snap.Machines[i]
				// A VM has the name of its Machine, unless a naming template says
				// otherwise: then it counts as on its way until its Node is there.
				m.Trouble, m.OnHost = v.Troubles[m.Key()], onHosts[m.Name]
			}
			snap.Sources = append(snap.Sources, v.Sources...)
			if v.PausedBy != "" {
				snap.Policy.Paused, snap.Policy.PausedBy = true, v.PausedBy
			}
		}),
		coordinator.ObserverFunc(func(now time.Time, snap *planner.Snapshot) {
			v := s.demand.Observe(now)
			snap.RayClusters = v.Clusters
			snap.Sources = append(snap.Sources, v.Sources...)
		}),
	}
}

// observe is one snapshot of now, for the snapshot command.
func (s *sources) observe(c config.Configuration) planner.Snapshot {
	now := time.Now()
	snap := planner.Snapshot{SchemaVersion: planner.SchemaVersion, At: now.UTC(), Policy: c.Policy()}
	for _, o := range s.observers() {
		o.Observe(now, &snap)
	}
	return snap
}

// unknown lists the sources of a snapshot that are not known.
func unknown(s planner.Snapshot) []planner.Source {
	return slices.DeleteFunc(slices.Clone(s.Sources), func(src planner.Source) bool { return src.Known })
}

// troubled lists the sources that are known and tell of single objects that are
// not right, or not read yet.
func troubled(s planner.Snapshot) []planner.Source {
	return slices.DeleteFunc(slices.Clone(s.Sources), func(src planner.Source) bool { return !src.Known || src.Error == "" })
}
