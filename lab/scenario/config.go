package scenario

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// defaultVacantHold is short, as everything in a lab.
const defaultVacantHold = 3 * time.Second

// The coordinator's lease, by default.
const (
	leaseNamespace = "tandem-system"
	leaseName      = "tandem-coordinator"
)

// settings is a part of the coordinator's configuration file.
type settings = map[string]any

// coordinatorConfig makes the configuration file of the coordinator: how to
// reach the lab, short times, and on top of that what the scenario says.
func (r *Run) coordinatorConfig(ctx context.Context, journal string) ([]byte, error) {
	management, workload, err := r.o.Lab.Identity(ctx)
	if err != nil {
		return nil, fmt.Errorf("making the coordinator's identity: %w", err)
	}
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	s := r.o.Scenario
	config := settings{
		"apiVersion":     "tandem-autoscaler.io/v1alpha1",
		"kind":           "Configuration",
		"management":     settings{"kubeconfig": management, "namespace": r.o.Lab.Namespace(), "clusterName": r.o.Lab.ClusterName()},
		"workload":       settings{"kubeconfig": workload},
		"catalogue":      r.catalogue(),
		"loop":           settings{"interval": "1s"},
		"growth":         settings{"provisionDeadline": "60s"},
		"removal":        settings{"enabled": true, "vacantHold": defaultVacantHold.String(), "demandHold": "0s", "drainDeadline": "20s"},
		"leaderElection": settings{"enabled": true, "leaseDuration": "6s", "renewDeadline": "4s", "retryPeriod": "1s"},
		"server":         settings{"address": net.JoinHostPort("127.0.0.1", strconv.Itoa(port))},
		"journal":        settings{"path": journal},
	}
	if credentials := r.credentials(); len(credentials) > 0 {
		config["rayClusters"] = settings{"credentials": credentials}
	}
	merge(config, s.Coordinator.copy())
	b, err := yaml.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("encoding: %w", err)
	}
	return b, nil
}

func (r *Run) catalogue() settings {
	c := settings{"virtualMachineClasses": true, "refreshInterval": "10s"}
	if vc := r.o.Lab.VCenter(); vc.URL != "" {
		v := settings{"url": vc.URL, "usernameFile": vc.UsernameFile, "passwordFile": vc.PasswordFile}
		if vc.Insecure {
			v["insecure"] = true
		} else if vc.CAFile != "" {
			v["caFile"] = vc.CAFile
		}
		c["vcenter"] = v
	}
	var classes []any
	for _, class := range r.o.Scenario.Classes {
		if class.Price != "" {
			classes = append(classes, settings{"name": class.Name, "price": class.Price})
		}
	}
	if len(classes) > 0 {
		c["classes"] = classes
	}
	return c
}

func (r *Run) credentials() []any {
	var out []any
	for i := range r.o.Scenario.RayClusters {
		if c := &r.o.Scenario.RayClusters[i]; c.Token {
			out = append(out, settings{"namespace": c.Namespace, "name": c.Name, "tokenFile": r.tokenFile(c)})
		}
	}
	return out
}

// copy is a copy of what is merged into the configuration: each instance has
// its own.
func (c *Coordinator) copy() settings {
	out, _ := runtime.DeepCopyJSONValue(c.Config).(settings)
	return out
}

// holds is how long an idle node is kept on purpose: the longest idle timeout
// of a worker, and the hold of a vacant node.
func (s *Scenario) holds() time.Duration {
	idle := time.Duration(0)
	for _, c := range s.RayClusters {
		idle = max(idle, c.IdleTimeout.Duration)
		for _, g := range c.Groups {
			idle = max(idle, g.IdleTimeout.Duration)
		}
	}
	hold := defaultVacantHold
	if removal, ok := s.Coordinator.Config["removal"].(settings); ok {
		if text, ok := removal["vacantHold"].(string); ok {
			if d, err := time.ParseDuration(text); err == nil {
				hold = d
			}
		}
	}
	return idle + hold
}

// merge puts what is in from over what is in into, key by key. A key with the
// value null is removed, lists are replaced.
func merge(into, from settings) {
	for k, v := range from {
		child, isMap := v.(settings)
		old, wasMap := into[k].(settings)
		switch {
		case v == nil:
			delete(into, k)
		case isMap && wasMap:
			merge(old, child)
		default:
			into[k] = v
		}
	}
}

// freePort finds a port of the loopback address that nobody uses now.
func freePort(ctx context.Context) (int, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("finding a free port: %w", err)
	}
	defer func() { _ = l.Close() }() // nothing was written
	address, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return 0, fmt.Errorf("finding a free port: %s is no TCP address", l.Addr())
	}
	return address.Port, nil
}
