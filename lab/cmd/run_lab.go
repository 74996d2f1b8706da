package cmd

import (
	"context"
	"io"
	"sync"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tandem-autoscaler/tandem/lab/plane"
	"github.com/tandem-autoscaler/tandem/lab/scenario"
)

// scenarioLab is a plane as a scenario sees it.
type scenarioLab struct{ p *plane.Plane }

func labOf(p *plane.Plane) scenario.Lab { return scenarioLab{p: p} }

func (l scenarioLab) Management() client.Client { return l.p.Management() }
func (l scenarioLab) Workload() client.Client   { return l.p.Workload() }
func (l scenarioLab) Namespace() string         { return l.p.Namespace() }
func (l scenarioLab) ClusterName() string       { return l.p.ClusterName() }

func (l scenarioLab) Identity(ctx context.Context) (management, workload string, err error) {
	return l.p.Identity(ctx)
}

func (l scenarioLab) VCenter() scenario.VCenter {
	v := l.p.VCenter()
	return scenario.VCenter{URL: v.URL, UsernameFile: v.UsernameFile, PasswordFile: v.PasswordFile, CAFile: v.CAFile, Insecure: v.Insecure}
}

func (l scenarioLab) AddPool(ctx context.Context, p scenario.Pool) error {
	return l.p.AddPool(ctx, plane.Pool{
		Name: p.Name, Class: p.Class, Min: p.Min, Max: p.Max, Replicas: p.Replicas,
		Labels: p.Labels, Taints: p.Taints, Annotations: p.Annotations, Boot: p.Boot,
	})
}

func (l scenarioLab) FailVMs(class string, n int, message string) { l.p.FailVMs(class, n, message) }
func (l scenarioLab) StickVMs(class string, n int)                { l.p.StickVMs(class, n) }

func (l scenarioLab) RestartAPIServer(ctx context.Context, which string) error {
	return l.p.RestartAPIServer(ctx, which)
}

func (l scenarioLab) RayAddress(namespace, rayCluster string) (string, bool) {
	return l.p.Pods().RayAddress(namespace, rayCluster)
}

func (l scenarioLab) KillContainer(namespace, pod string) error {
	return l.p.Pods().Kill(namespace, pod, "")
}

func (l scenarioLab) KillRaylet(namespace, pod string) error {
	return l.p.Pods().KillRaylet(namespace, pod)
}

// printRayAddresses tells how to reach Ray.
func printRayAddresses(out io.Writer, p *plane.Plane, s *scenario.Scenario, python string) {
	for _, c := range s.RayClusters {
		if address, ok := p.Pods().RayAddress(c.Namespace, c.Name); ok {
			say(out, "  Ray %s/%s: %s driver.py with ray.init(address=%q)\n", c.Namespace, c.Name, python, address)
		}
	}
}

// watchers are goroutines that end together.
type watchers struct {
	sync.WaitGroup

	ctx context.Context
}

// newWatchers makes a group whose stop ends its context and waits.
func newWatchers(ctx context.Context) (*watchers, func()) {
	ctx, cancel := context.WithCancel(ctx)
	w := &watchers{ctx: ctx}
	return w, func() {
		cancel()
		w.Wait()
	}
}
