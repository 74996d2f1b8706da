package main

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/tandem-autoscaler/tandem/pkg/config"
)

// lead runs work while this replica holds the lease, and waits for the lease
// when it does not. A lease that is lost ends work's context; the process goes
// on and stands for election again. There is no fencing in a lease: every write
// is bound to what it was planned from, so that a second leader can waste work
// but break nothing.
func lead(ctx context.Context, c config.Configuration, s *sources, log *zap.Logger, identity string, work func(context.Context) error) error {
	if !c.LeaderElection.Enabled {
		return work(ctx)
	}
	le := c.LeaderElection
	set, err := kubernetes.NewForConfig(s.workload.Config())
	if err != nil {
		return fmt.Errorf("preparing leader election: %w", err)
	}
	lock := &resourcelock.LeaseLock{
		LeaseMeta: metav1.ObjectMeta{Namespace: le.Namespace, Name: le.Name}, Client: set.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: identity},
	}
	for ctx.Err() == nil {
		failed := make(chan error, 1)
		elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock: lock, LeaseDuration: le.LeaseDuration.Duration, RenewDeadline: le.RenewDeadline.Duration, RetryPeriod: le.RetryPeriod.Duration,
			ReleaseOnCancel: true, Name: le.Name,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(ctx context.Context) {
					log.Info("leading", zap.String("identity", identity))
					failed <- work(ctx)
				},
				OnStoppedLeading: func() { log.Info("not leading", zap.String("identity", identity)) },
				OnNewLeader:      func(who string) { log.Info("leader seen", zap.String("leader", who)) },
			},
		})
		if err != nil {
			return fmt.Errorf("preparing leader election: %w", err)
		}
		elector.Run(ctx)
		select {
		case err := <-failed:
			if err != nil {
				return err
			}
		case <-time.After(le.RetryPeriod.Duration):
		case <-ctx.Done():
		}
	}
	return nil
}
