package plane

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sync/errgroup"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// The ports of the control plane in its block.
const (
	portManagement = iota
	portManagementEtcd
	portManagementPeer
	portWorkload
	portWorkloadEtcd
	portWorkloadPeer
	portWebhooks
	portVCenter
)

// startServers starts the API servers side by side, installs the CRDs, and
// writes the administrator's kubeconfigs.
func (p *Plane) startServers(ctx context.Context) error {
	m := newAPIServer(p, roleManagement, p.block.Port(portManagementEtcd), p.block.Port(portManagementPeer), p.block.Port(portManagement))
	w := m
	if !p.options.One {
		w = newAPIServer(p, roleWorkload, p.block.Port(portWorkloadEtcd), p.block.Port(portWorkloadPeer), p.block.Port(portWorkload))
	}
	p.servers[roleManagement], p.servers[roleWorkload] = m, w
	// A failing step must not stop the other in the middle of its start.
	var g errgroup.Group
	g.Go(func() error { return m.start(ctx) })
	if w != m {
		g.Go(func() error { return w.start(ctx) })
	}
	g.Go(func() error { return p.startVCenter(ctx) })
	if err := g.Wait(); err != nil {
		return err
	}
	return p.connect()
}

// connect makes the administrator's clients and kubeconfigs.
func (p *Plane) connect() error {
	ms, err := managementScheme()
	if err != nil {
		return err
	}
	ws, err := workloadScheme()
	if err != nil {
		return err
	}
	if p.managements, err = p.servers[roleManagement].config(); err != nil {
		return err
	}
	if p.workloads, err = p.servers[roleWorkload].config(); err != nil {
		return err
	}
	if p.management, err = client.New(p.managements, client.Options{Scheme: ms}); err != nil {
		return fmt.Errorf("making the client of the management API server: %w", err)
	}
	if p.workload, err = client.New(p.workloads, client.Options{Scheme: ws}); err != nil {
		return fmt.Errorf("making the client of the workload API server: %w", err)
	}
	for role, s := range p.servers {
		b, err := s.kubeconfig("lab-admin", "system:masters")
		if err != nil {
			return err
		}
		if err := os.WriteFile(p.path(role+".kubeconfig"), b, 0o600); err != nil {
			return fmt.Errorf("writing a kubeconfig: %w", err)
		}
	}
	return nil
}

// install installs the CRDs and webhooks of both API servers side by side.
func (p *Plane) install(scheme *runtime.Scheme, hooks *envtest.WebhookInstallOptions) error {
	clusterAPI, err := p.clusterAPICRDs()
	if err != nil {
		return err
	}
	vsphere, err := p.readCRDs("vsphere")
	if err != nil {
		return err
	}
	for _, c := range vsphere {
		followContract(c)
	}
	ray, err := p.readCRDs("ray")
	if err != nil {
		return err
	}
	var g errgroup.Group
	g.Go(func() error {
		if err := installCRDs(p.managements, scheme, clusterAPI, hooks); err != nil {
			return err
		}
		if err := hooks.Install(p.managements); err != nil {
			return fmt.Errorf("installing webhooks: %w", err)
		}
		return nil
	})
	for _, crds := range [][]*apiextensionsv1.CustomResourceDefinition{vsphere, ray} {
		cfg := p.managements
		if &crds[0] == &ray[0] {
			cfg = p.workloads
		}
		g.Go(func() error { return installCRDs(cfg, scheme, crds, nil) })
	}
	return g.Wait()
}

// errRole says that there is no such API server.
var errRole = errors.New("plane: an API server is either management or workload")

// RestartAPIServer kills the API server of a role ("management" or "workload")
// without warning and starts it again on its port and data. It returns when
// the API server is healthy.
func (p *Plane) RestartAPIServer(ctx context.Context, which string) error {
	s, ok := p.servers[which]
	if !ok {
		return fmt.Errorf("restarting API server %q: %w", which, errRole)
	}
	return s.restart(ctx)
}

func (p *Plane) stopServers() {
	var g errgroup.Group
	seen := map[*apiServer]bool{}
	for _, s := range p.servers {
		if !seen[s] {
			seen[s] = true
			g.Go(func() error { s.stop(); return nil })
		}
	}
	_ = g.Wait() // They return nothing.
}
