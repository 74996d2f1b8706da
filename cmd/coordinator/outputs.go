package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"

	"github.com/tandem-autoscaler/tandem/pkg/config"
	"github.com/tandem-autoscaler/tandem/pkg/coordinator"
	"github.com/tandem-autoscaler/tandem/pkg/kube"
	"github.com/tandem-autoscaler/tandem/pkg/metrics"
)

// outputs is everything that shows what the loop does.
type outputs struct {
	recorder     metrics.Recorder
	journal      *metrics.Journal
	latest       *metrics.Latest
	registry     *prometheus.Registry
	server       *metrics.Server
	broadcasters []record.EventBroadcaster
	live, ready  func() error
}

func newOutputs(ctx context.Context, c config.Configuration, s *sources, log *zap.Logger) (*outputs, error) {
	o := &outputs{latest: &metrics.Latest{}, registry: metrics.NewRegistry()}
	m := metrics.New(o.registry, metrics.Options{Version: version, Revision: revision()})
	m.ConfigReload(true)
	var err error
	if o.journal, err = metrics.OpenJournal(c.Journal.Path, metrics.JournalOptions{OnError: func(err error) { log.Warn("journal", zap.Error(err)) }}); err != nil {
		return nil, invalidError{err}
	}
	management, err := o.events(s.management)
	if err != nil {
		return nil, err
	}
	workload, err := o.events(s.workload)
	if err != nil {
		return nil, err
	}
	o.recorder = metrics.Tee(m, o.journal, o.latest, metrics.NewEvents(metrics.EventsOptions{Management: management, Workload: workload}))
	if c.Server.Address == "0" {
		return o, nil
	}
	if o.server, err = metrics.NewServer(ctx, metrics.ServerOptions{
		Address: c.Server.Address, Gatherer: o.registry, Latest: o.latest, Journal: o.journal,
		Live:   func() error { return call(o.live) },
		Ready:  func() error { return call(o.ready) },
		Config: func() ([]byte, error) { return config.Marshal(c) },
	}); err != nil {
		return nil, fmt.Errorf("%w; set server.address to another, or to \"0\" for none", err)
	}
	log.Info("serving", zap.String("address", o.server.Addr().String()))
	return o, nil
}

func call(f func() error) error {
	if f == nil {
		return errors.New("starting")
	}
	return f()
}

// events records Kubernetes Events in one cluster.
func (o *outputs) events(c *kube.Cluster) (record.EventRecorder, error) {
	set, err := kubernetes.NewForConfig(c.Config())
	if err != nil {
		return nil, fmt.Errorf("preparing events: %w", err)
	}
	b := record.NewBroadcaster()
	b.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: set.CoreV1().Events("")})
	o.broadcasters = append(o.broadcasters, b)
	return b.NewRecorder(clientgoscheme.Scheme, corev1.EventSource{Component: "tandem-coordinator"}), nil
}

// watch tells the health endpoints what to look at.
func (o *outputs) watch(loop *coordinator.Loop, s *sources, interval time.Duration) {
	o.live = func() error { return tooOld(loop.LastTick(), interval) }
	o.ready = s.ready
}

func (o *outputs) run(ctx context.Context) error {
	if o.server == nil {
		<-ctx.Done()
		return nil
	}
	return o.server.Run(ctx)
}

// close flushes what was recorded.
func (o *outputs) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = o.journal.Close(ctx)
	for _, b := range o.broadcasters {
		b.Shutdown()
	}
}
