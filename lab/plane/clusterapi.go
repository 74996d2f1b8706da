package plane

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/cluster-api/controllers/clustercache"
	"sigs.k8s.io/cluster-api/core/reconcilers/cluster"
	"sigs.k8s.io/cluster-api/core/reconcilers/clusterclass"
	"sigs.k8s.io/cluster-api/core/reconcilers/machine"
	"sigs.k8s.io/cluster-api/core/reconcilers/machinedeployment"
	"sigs.k8s.io/cluster-api/core/reconcilers/machinehealthcheck"
	"sigs.k8s.io/cluster-api/core/reconcilers/machineset"
	topologycluster "sigs.k8s.io/cluster-api/core/reconcilers/topology/cluster"
	topologymachinedeployment "sigs.k8s.io/cluster-api/core/reconcilers/topology/machinedeployment"
	topologymachineset "sigs.k8s.io/cluster-api/core/reconcilers/topology/machineset"
	"sigs.k8s.io/cluster-api/core/setup"
	coreadmission "sigs.k8s.io/cluster-api/core/webhooks/admission"
	"sigs.k8s.io/cluster-api/core/webhooks/conversion"
	"sigs.k8s.io/cluster-api/test/infrastructure/container"
	infracontrollers "sigs.k8s.io/cluster-api/test/infrastructure/docker/controllers"
	infrawebhooks "sigs.k8s.io/cluster-api/test/infrastructure/docker/webhooks"
	inmemoryruntime "sigs.k8s.io/cluster-api/test/infrastructure/inmemory/pkg/runtime"
	inmemoryserver "sigs.k8s.io/cluster-api/test/infrastructure/inmemory/pkg/server"
	"sigs.k8s.io/cluster-api/util/index"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
)

// setups are set-up calls in order; the first error ends them.
type setups []func() error

func (s setups) run() error {
	for _, f := range s {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

func workers(n int) controller.Options {
	return controller.Options{MaxConcurrentReconciles: n}
}

// newClusterAPI builds the manager that runs Cluster API and its development
// provider, with the bridge in place of the in-memory cloud.
func (p *Plane) newClusterAPI(ctx context.Context, cfg *rest.Config, scheme *runtime.Scheme, hooks *envtest.WebhookInstallOptions) (ctrl.Manager, error) {
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme:     scheme,
		Logger:     p.controllerLog("cluster-api"),
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{UsePriorityQueue: new(true), SkipNameValidation: new(true)},
		Cache:      setup.ManagerCacheOptions(scheme, p.scratch.id, "", 10*time.Minute), // A name may not come twice in a process.
		Client:     setup.ManagerClientOptions(),
		WebhookServer: webhook.NewServer(webhook.Options{
			Host: hooks.LocalServingHost, Port: hooks.LocalServingPort, CertDir: hooks.LocalServingCertDir,
		}),
	})
	if err != nil {
		return nil, fmt.Errorf("making the manager of Cluster API: %w", err)
	}
	if err := index.AddDefaultIndexes(ctx, mgr); err != nil {
		return nil, fmt.Errorf("indexing for Cluster API: %w", err)
	}
	secrets, err := setup.CreateSecretCachingClient(mgr)
	if err != nil {
		return nil, fmt.Errorf("making the cache of secrets: %w", err)
	}
	clusters, err := clustercache.SetupWithManager(ctx, mgr, clustercache.Options{
		SecretClient: secrets, Cache: setup.ClusterCacheCacheOptions(),
		Client: setup.ClusterCacheClientOptions("lab", 500, 1000),
	}, workers(10))
	if err != nil {
		return nil, fmt.Errorf("making the cache of clusters: %w", err)
	}
	conversion.SetAPIVersionGetter(func(_ context.Context, gk schema.GroupKind) (string, error) {
		m, err := mgr.GetRESTMapper().RESTMapping(gk)
		if err != nil {
			return "", fmt.Errorf("looking up %s: %w", gk, err)
		}
		return m.GroupVersionKind.GroupVersion().String(), nil
	})
	err = append(coreReconcilers(ctx, mgr, clusters), admission(mgr, clusters)...).run()
	if err != nil {
		return nil, fmt.Errorf("setting up Cluster API: %w", err)
	}
	if err := p.setUpDevProvider(ctx, mgr, clusters); err != nil {
		return nil, fmt.Errorf("setting up the development provider: %w", err)
	}
	return mgr, nil
}

func coreReconcilers(ctx context.Context, mgr ctrl.Manager, clusters clustercache.ClusterCache) setups {
	c, r := mgr.GetClient(), mgr.GetAPIReader()
	const grace = 5 * time.Minute
	return setups{
		func() error { return (&clusterclass.Reconciler{Client: c}).SetupWithManager(ctx, mgr, workers(2)) },
		func() error {
			return (&topologycluster.Reconciler{Client: c, APIReader: r, ClusterCache: clusters}).SetupWithManager(ctx, mgr, workers(2))
		},
		func() error {
			return (&topologymachinedeployment.Reconciler{Client: c, APIReader: r}).SetupWithManager(ctx, mgr, workers(2))
		},
		func() error {
			return (&topologymachineset.Reconciler{Client: c, APIReader: r}).SetupWithManager(ctx, mgr, workers(2))
		},
		func() error {
			return (&cluster.Reconciler{Client: c, APIReader: r, ClusterCache: clusters, RemoteConnectionGracePeriod: 50 * time.Second}).SetupWithManager(ctx, mgr, workers(4))
		},
		func() error {
			return (&machine.Reconciler{Client: c, APIReader: r, ClusterCache: clusters, RemoteConditionsGracePeriod: grace}).SetupWithManager(ctx, mgr, workers(20))
		},
		func() error {
			return (&machineset.Reconciler{Client: c, APIReader: r, ClusterCache: clusters}).SetupWithManager(ctx, mgr, workers(10))
		},
		func() error {
			return (&machinedeployment.Reconciler{Client: c, APIReader: r}).SetupWithManager(ctx, mgr, workers(10))
		},
		func() error {
			return (&machinehealthcheck.Reconciler{Client: c, ClusterCache: clusters}).SetupWithManager(ctx, mgr, workers(2))
		},
	}
}

func admission(mgr ctrl.Manager, clusters clustercache.ClusterCache) setups {
	c := mgr.GetClient()
	return setups{
		func() error { return (&coreadmission.ClusterClass{Client: c}).SetupWebhookWithManager(mgr) },
		func() error {
			return (&coreadmission.Cluster{Client: c, ClusterCacheReader: clusters}).SetupWebhookWithManager(mgr)
		},
		func() error { return (&coreadmission.Machine{}).SetupWebhookWithManager(mgr) },
		func() error { return (&coreadmission.MachineSet{}).SetupWebhookWithManager(mgr) },
		func() error { return (&coreadmission.MachineDeployment{}).SetupWebhookWithManager(mgr) },
		func() error { return (&coreadmission.MachineDrainRule{}).SetupWebhookWithManager(mgr) },
		func() error { return (&coreadmission.MachineHealthCheck{}).SetupWebhookWithManager(mgr) },
		func() error { return (&infrawebhooks.DevMachine{}).SetupWebhookWithManager(mgr) },
		func() error { return (&infrawebhooks.DevMachineTemplate{}).SetupWebhookWithManager(mgr) },
		func() error { return (&infrawebhooks.DevCluster{}).SetupWebhookWithManager(mgr) },
		func() error { return (&infrawebhooks.DevClusterTemplate{}).SetupWebhookWithManager(mgr) },
	}
}

// setUpDevProvider runs the controllers of DevCluster and DevMachine. The one
// of DevMachineTemplate is left out: it asks a Docker daemon.
func (p *Plane) setUpDevProvider(ctx context.Context, mgr ctrl.Manager, clusters clustercache.ClusterCache) error {
	s, err := cloudScheme()
	if err != nil {
		return err
	}
	memory := inmemoryruntime.NewManager(s)
	if err := memory.Start(ctx); err != nil {
		return fmt.Errorf("starting the in-memory cloud: %w", err)
	}
	cloud := &bridge{Manager: memory, plane: p, management: mgr.GetClient()}
	// The mux never listens: no Machine is one of a control plane.
	mux, err := inmemoryserver.NewWorkloadClustersMux(cloud, "127.0.0.1", inmemoryserver.CustomPorts{MinPort: 20000, MaxPort: 65535})
	if err != nil {
		return fmt.Errorf("making the in-memory API server: %w", err)
	}
	docker, err := container.NewDockerClient()
	if err != nil {
		return fmt.Errorf("making the unused Docker client: %w", err)
	}
	if err := (&infracontrollers.DevClusterReconciler{
		Client: mgr.GetClient(), ContainerRuntime: docker, InMemoryManager: cloud, APIServerMux: mux,
	}).SetupWithManager(ctx, mgr, workers(2)); err != nil {
		return fmt.Errorf("setting up DevClusters: %w", err)
	}
	// A VM that could not be created is tried again within seconds, as vSphere's
	// provider does, not after minutes.
	o := workers(20)
	o.RateLimiter = workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](100*time.Millisecond, 5*time.Second)
	if err := (&infracontrollers.DevMachineReconciler{
		Client: &tellingClient{Client: mgr.GetClient(), vms: p.vms}, ContainerRuntime: docker,
		ClusterCache: clusters, InMemoryManager: cloud, APIServerMux: mux,
	}).SetupWithManager(ctx, mgr, o); err != nil {
		return fmt.Errorf("setting up DevMachines: %w", err)
	}
	return nil
}
