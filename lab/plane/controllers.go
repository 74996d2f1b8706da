package plane

import (
	"context"
	"errors"
	"fmt"
	"time"

	configapi "github.com/ray-project/kuberay/ray-operator/apis/config/v1alpha1"
	"github.com/ray-project/kuberay/ray-operator/controllers/ray"
	"github.com/ray-project/kuberay/ray-operator/controllers/ray/batchscheduler"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/tandem-autoscaler/tandem/lab/component"
	"github.com/tandem-autoscaler/tandem/lab/kubelet"
)

// managers are the controller managers in this process.
type managers struct {
	cancel  context.CancelFunc
	group   *errgroup.Group
	cleanup func() error // once they have ended
}

// kcmControllers is the part of kube-controller-manager that a lab needs. Node
// lifecycle takes the not-ready taint from new Nodes, disruption fills the
// status of PodDisruptionBudgets.
const kcmControllers = "garbage-collector-controller,namespace-controller,node-lifecycle-controller," +
	"taint-eviction-controller,pod-garbage-collector-controller,disruption-controller,job-controller," +
	"deployment-controller,replicaset-controller,resourcequota-controller"

// startControllers starts the scheduler, the controller manager, Cluster API,
// KubeRay and the kubelet stand-in.
func (p *Plane) startControllers(ctx context.Context) error {
	_, kubeconfig := p.Kubeconfigs()
	common := []string{
		"--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig, "--leader-elect=false", "--secure-port=0",
		"--kube-api-qps=500", "--kube-api-burst=1000",
	}
	var err error
	if p.scheduler, err = p.startChild(component.Scheduler, component.Scheduler, common...); err != nil {
		return err
	}
	p.controllerManager, err = p.startChild(component.ControllerManager, component.ControllerManager,
		append(common, "--controllers="+kcmControllers)...)
	if err != nil {
		return err
	}
	hooks, err := p.webhooks(p.block.Port(portWebhooks))
	if err != nil {
		return err
	}
	if err := p.install(p.management.Scheme(), hooks); err != nil {
		return err
	}
	// The controllers outlive the context of the start.
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p.managers = managers{cancel: cancel, group: &errgroup.Group{}, cleanup: hooks.Cleanup}
	clusterAPI, err := p.newClusterAPI(run, p.managements, p.management.Scheme(), hooks)
	if err != nil {
		return err
	}
	workload, err := p.newWorkload(run, p.workloads)
	if err != nil {
		return err
	}
	for _, m := range []ctrl.Manager{clusterAPI, workload} {
		p.managers.group.Go(func() error { return m.Start(run) })
		if !m.GetCache().WaitForCacheSync(ctx) {
			return fmt.Errorf("filling the caches of the controllers: %w", context.Cause(ctx))
		}
	}
	return waitFor(ctx, 50*time.Millisecond, func(context.Context) error {
		return clusterAPI.GetWebhookServer().StartedChecker()(nil)
	})
}

// newWorkload builds the manager that runs KubeRay and the kubelet stand-in.
func (p *Plane) newWorkload(ctx context.Context, cfg *rest.Config) (ctrl.Manager, error) {
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme:     p.workload.Scheme(),
		Logger:     p.controllerLog("workload"),
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: new(true)},
	})
	if err != nil {
		return nil, fmt.Errorf("making the manager of the workload cluster: %w", err)
	}
	batch, err := batchscheduler.NewSchedulerManager(ctx, configapi.Configuration{}, cfg, mgr.GetClient())
	if err != nil {
		return nil, fmt.Errorf("making KubeRay's batch scheduler: %w", err)
	}
	operator := ray.NewReconciler(ctx, mgr, ray.RayClusterReconcilerOptions{BatchSchedulerManager: batch})
	if err := operator.SetupWithManager(mgr, 4); err != nil {
		return nil, fmt.Errorf("setting up KubeRay: %w", err)
	}
	w := p.servers[roleWorkload]
	p.pods, err = kubelet.New(kubelet.Options{
		Venv: p.options.Venv, Logs: p.path("pods"), Scratch: p.scratch.path("r"), Home: p.scratch.path("home"),
		Runtime: p.runtime, Ports: p.leaser, Network: p.block.Index() + 1,
		MaxStarting: p.options.MaxStarting, ImageTime: p.options.ImageTime.Duration,
		API: kubelet.API{Host: "127.0.0.1", Port: w.port, CA: w.ca.pem, Issue: func(user string, groups ...string) (cert, key []byte, err error) {
			pair, err := w.ca.user(user, groups...)
			return pair.cert, pair.key, err
		}},
		Log: p.log,
	})
	if err != nil {
		return nil, fmt.Errorf("making the kubelet stand-in: %w", err)
	}
	if err := p.pods.SetupWithManager(mgr); err != nil {
		return nil, fmt.Errorf("setting up the kubelet stand-in: %w", err)
	}
	return mgr, nil
}

// stop ends the managers and waits for them.
func (m *managers) stop(ctx context.Context) error {
	if m.cancel == nil {
		return nil
	}
	m.cancel()
	done := make(chan error, 1)
	go func() { done <- errors.Join(m.group.Wait(), m.cleanup()) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("waiting for the controllers to end: %w", ctx.Err())
	}
}

// waitFor asks until there is no error; at the end of time it returns the last.
func waitFor(ctx context.Context, every time.Duration, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}
