package main

import (
	"context"
	"fmt"

	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tandem-autoscaler/tandem/pkg/capi"
	"github.com/tandem-autoscaler/tandem/pkg/config"
	"github.com/tandem-autoscaler/tandem/pkg/coordinator"
)

// pauseGate reads, before every step, whether a person has paused everything: the
// cache may not show it yet.
func pauseGate(c config.Configuration, s *sources) coordinator.Gate {
	return pausedBy(s.management.Client(), client.ObjectKey{Namespace: c.Management.Namespace, Name: c.Management.ClusterName})
}

func pausedBy(r client.Reader, key client.ObjectKey) coordinator.Gate {
	return func(ctx context.Context) error {
		cluster := &clusterv1.Cluster{}
		if err := r.Get(ctx, key, cluster); err != nil {
			return fmt.Errorf("reading whether Cluster %s is paused: %w", key, err)
		}
		if why, set := cluster.Annotations[capi.PausedAnnotation]; set && why != "false" {
			return fmt.Errorf("annotation %s on Cluster %s: %q", capi.PausedAnnotation, key, why)
		}
		return nil
	}
}
