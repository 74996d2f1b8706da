package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/tandem-autoscaler/tandem/pkg/config"
)

// lease is this replica's part in the leader election. There is no fencing in a
// lease: every write is bound to what it was planned from, so that a second
// leader can waste work but break nothing. What the lease can tell is asked
// before every step by [lease.gate].
type lease struct {
	o   config.LeaderElection
	log *zap.Logger

	mu      sync.Mutex
	elector *leaderelection.LeaderElector
}

func newLease(o config.LeaderElection, log *zap.Logger) *lease { return &lease{o: o, log: log} }

// gate tells why this replica may not write now: the lease is another's, or it was
// not renewed in time, as after a pause of the process.
func (l *lease) gate(context.Context) error {
	if !l.o.Enabled {
		return nil
	}
	l.mu.Lock()
	elector := l.elector
	l.mu.Unlock()
	if elector == nil || !elector.IsLeader() {
		return errors.New("the lease is not held")
	}
	if elector.Check(l.o.RenewDeadline.Duration-l.o.LeaseDuration.Duration) != nil {
		return fmt.Errorf("the lease was not renewed for %s", l.o.RenewDeadline.Duration)
	}
	return nil
}

// run does work while this replica holds the lease, and waits for the lease when
// it does not. A lease that is lost ends work's context; the process goes on and
// stands for election again, but not before work has ended.
func (l *lease) run(ctx context.Context, s *sources, identity string, work func(context.Context) error) error {
	if !l.o.Enabled {
		return work(ctx)
	}
	set, err := kubernetes.NewForConfig(s.workload.Config())
	if err != nil {
		return fmt.Errorf("preparing leader election: %w", err)
	}
	lock := &resourcelock.LeaseLock{
		LeaseMeta: metav1.ObjectMeta{Namespace: l.o.Namespace, Name: l.o.Name}, Client: set.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: identity},
	}
	for ctx.Err() == nil {
		if err := l.term(ctx, lock, identity, work); err != nil {
			return err
		}
		select {
		case <-time.After(l.o.RetryPeriod.Duration):
		case <-ctx.Done():
		}
	}
	return nil
}

// term stands for election once, and leads until the lease is lost. It returns
// when work has ended, so that no two run side by side.
func (l *lease) term(ctx context.Context, lock resourcelock.Interface, identity string, work func(context.Context) error) error {
	var began atomic.Bool
	ended := make(chan error, 1)
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, LeaseDuration: l.o.LeaseDuration.Duration, RenewDeadline: l.o.RenewDeadline.Duration, RetryPeriod: l.o.RetryPeriod.Duration,
		ReleaseOnCancel: true, Name: l.o.Name,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) {
				began.Store(true)
				l.log.Info("leading", zap.String("identity", identity))
				ended <- work(ctx)
			},
			OnStoppedLeading: func() { l.log.Info("not leading", zap.String("identity", identity)) },
			OnNewLeader:      func(who string) { l.log.Info("leader seen", zap.String("leader", who)) },
		},
	})
	if err != nil {
		return fmt.Errorf("preparing leader election: %w", err)
	}
	l.hold(elector)
	defer l.hold(nil)
	elector.Run(ctx)
	// An elector ends without having led only when its context does.
	if ctx.Err() != nil && !began.Load() {
		return nil
	}
	return <-ended
}

func (l *lease) hold(elector *leaderelection.LeaderElector) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.elector = elector
}
