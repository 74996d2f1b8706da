// Package plane runs a whole local control plane: API servers, Cluster API
// with real Nodes, KubeRay, a simulated vCenter and a kubelet stand-in.
package plane

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/zap"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tandem-autoscaler/tandem/lab/container"
	"github.com/tandem-autoscaler/tandem/lab/kubelet"
	"github.com/tandem-autoscaler/tandem/lab/ports"
)

const (
	namespace   = "default"
	clusterName = "gpu-cluster"
	// version is that of the Kubernetes modules in go.mod.
	version = "v1.36.3"
)

// Plane is a running lab.
type Plane struct {
	options Options
	log     *zap.Logger
	dir     string // kubeconfigs and logs
	scratch *scratch

	leaser  *ports.Leaser
	block   *ports.Block
	runtime *container.Runtime

	controllers     logr.Logger
	controllersFile *os.File

	servers     map[string]*apiServer // by role; with Options.One the same twice
	managements *rest.Config
	workloads   *rest.Config
	management  client.Client
	workload    client.Client

	scheduler, controllerManager *child
	managers                     managers
	pods                         *kubelet.Pods
	vcenter                      *vcenter
	vms                          *vms

	mu    sync.Mutex
	pools map[string]Pool

	stop sync.Once
}

// The roles of an API server.
const (
	roleManagement = "management"
	roleWorkload   = "workload"
)

// Start starts a lab and returns when it is ready for pools and RayClusters.
// The context bounds the start alone: the lab lives until [Plane.Stop], or as
// long as the process. On an error nothing is left running.
func Start(ctx context.Context, o Options) (*Plane, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	p := &Plane{
		options: o, log: o.Log, dir: o.Dir, vms: newVMs(o.Hosts),
		servers: map[string]*apiServer{}, pools: map[string]Pool{},
	}
	if err := p.start(ctx); err != nil {
		p.Stop()
		return nil, fmt.Errorf("starting the lab: %w", err)
	}
	return p, nil
}

func (p *Plane) start(ctx context.Context) error {
	began := time.Now()
	for _, step := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"scratch directory and runtime", p.startRuntime},
		{"API servers", p.startServers},
		{"controllers", p.startControllers},
		{"cluster", p.createCluster},
		{"vm classes", p.createClasses},
	} {
		if err := step.run(ctx); err != nil {
			return err
		}
		p.log.Debug("lab step done", zap.String("step", step.name), zap.Duration("sinceStart", time.Since(began)))
	}
	return nil
}

// startRuntime makes the scratch directory and starts the process that cleans
// up after the lab, before there is anything to clean up.
func (p *Plane) startRuntime(ctx context.Context) error {
	var err error
	if p.scratch, err = newScratch(p.options.Binary); err != nil {
		return err
	}
	if p.dir == "" {
		p.dir = p.scratch.path("out")
		if err := os.Mkdir(p.dir, 0o700); err != nil {
			return fmt.Errorf("creating the directory of logs: %w", err)
		}
	}
	if err := p.openControllerLog(); err != nil {
		return err
	}
	if p.leaser, err = ports.NewLeaser(); err != nil {
		return fmt.Errorf("leasing ports: %w", err)
	}
	if p.block, err = p.leaser.Lease(ctx); err != nil {
		return fmt.Errorf("leasing ports: %w", err)
	}
	p.runtime, err = container.Start(container.Options{
		Path: p.scratch.binary("lab-runtime"), Lab: p.scratch.id, Scratch: p.scratch.dir,
		Log: p.log, LogFile: p.path("lab-runtime.log"),
	})
	if err != nil {
		return fmt.Errorf("starting the runtime of containers: %w", err)
	}
	return nil
}

// Stop ends the lab: its processes, those of Ray included, and its scratch
// directory. It may be called more than once.
func (p *Plane) Stop() {
	p.stop.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if p.pods != nil {
			p.pods.Close(ctx)
		}
		if err := p.managers.stop(ctx); err != nil {
			p.log.Warn("controllers did not end", zap.Error(err))
		}
		p.vcenter.stop()
		p.controllerManager.stop()
		p.scheduler.stop()
		p.stopServers()
		p.closeControllerLog()
		if p.runtime != nil {
			if err := p.runtime.Close(ctx); err != nil {
				p.log.Error("lab left processes behind", zap.Error(err))
			}
		}
		p.block.Release()
		if p.scratch != nil {
			if err := p.scratch.remove(); err != nil {
				p.log.Warn("scratch directory left behind", zap.Error(err))
			}
		}
	})
}

// Management is an administrator's client of the management API server.
func (p *Plane) Management() client.Client { return p.management }

// Workload is an administrator's client of the workload API server.
func (p *Plane) Workload() client.Client { return p.workload }

// Kubeconfigs are the paths of the administrator's kubeconfigs.
func (p *Plane) Kubeconfigs() (management, workload string) {
	return p.path(roleManagement + ".kubeconfig"), p.path(roleWorkload + ".kubeconfig")
}

// Namespace holds the Cluster and its MachineDeployments.
func (p *Plane) Namespace() string { return namespace }

// ClusterName is the name of the Cluster.
func (p *Plane) ClusterName() string { return clusterName }

// Dir is where kubeconfigs and logs are.
func (p *Plane) Dir() string { return p.dir }

// Environ marks a process as one of the lab: whoever has it in its environment
// ends with the lab.
func (p *Plane) Environ() []string { return []string{container.EnvLab + "=" + p.scratch.id} }

// VCenter says how to reach the simulated vCenter.
func (p *Plane) VCenter() VCenter { return p.vcenter.access }

// FailVMs makes the next n creations of VMs of a class fail with the message;
// n < 0: all until it is changed; 0 heals.
func (p *Plane) FailVMs(class string, n int, message string) { p.vms.fail(class, n, message) }

// StickVMs makes the next n VMs of a class start but never become Nodes.
func (p *Plane) StickVMs(class string, n int) { p.vms.stick(class, n) }

// Pods runs the containers of the lab's Nodes.
func (p *Plane) Pods() *kubelet.Pods { return p.pods }

func (p *Plane) path(name string) string { return filepath.Join(p.dir, name) }
