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
	metrics      *metrics.Metrics
	events       *metrics.Events
	journal      *metrics.Journal
	latest       *metrics.Latest
	registry     *prometheus.Registry
	server       *metrics.Server
	broadcasters []record.EventBroadcaster
	live, ready  func() error
	// current is the configuration that counts now.
	current func() config.Configuration
}

func newOutputs(ctx context.Context, c config.Configuration, s *sources, log *zap.Logger) (*outputs, error) {
	o := &outputs{latest: &metrics.Latest{}, registry: metrics.NewRegistry(), current: func() config.Configuration { return c }}
	o.metrics = metrics.New(o.registry, metrics.Options{Version: version, Revision: revision()})
	o.metrics.ConfigReload(true)
	s.booted(o.metrics.LongestBoot)
	var err error
	if o.journal, err = metrics.OpenJournal(c.Journal.Path, metrics.JournalOptions{OnError: func(err error) { log.Warn("journal", zap.Error(err)) }}); err != nil {
		return nil, invalidError{err}
	}
	management, err := o.eventRecorder(s.management)
	if err != nil {
		return nil, err
	}
	workload, err := o.eventRecorder(s.workload)
	if err != nil {
		return nil, err
	}
	o.events = metrics.NewEvents(metrics.EventsOptions{Management: management, Workload: workload})
	o.recorder = metrics.Tee(o.metrics, o.journal, o.latest, o.events, &adviceLog{log: log})
	if c.Server.Address == "0" {
		return o, nil
	}
	if o.server, err = metrics.NewServer(ctx, metrics.ServerOptions{
		Address: c.Server.Address, Gatherer: o.registry, Latest: o.latest, Journal: o.journal,
		Live:   func() error { return call(o.live) },
		Ready:  func() error { return call(o.ready) },
		Config: func() ([]byte, error) { return config.Marshal(o.current()) },
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

// eventRecorder records Kubernetes Events in one cluster.
func (o *outputs) eventRecorder(c *kube.Cluster) (record.EventRecorder, error) {
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
	o.live = func() error { return loop.Live(liveLimit(interval)) }
	o.ready = s.ready
}

// reloaded tells what became of a changed configuration file: in the metrics, as an
// Event on the Cluster, and in the log.
func (o *outputs) reloaded(c config.Configuration, log *zap.Logger) func(error, []string) {
	return func(err error, restart []string) {
		o.metrics.ConfigReload(err == nil)
		if err != nil {
			log.Error("the configuration file was not taken, the former one goes on", zap.Error(err))
			o.events.ConfigRejected(c.Management.Namespace, c.Management.ClusterName, time.Now(), err)
			return
		}
		log.Info("configuration read again", zap.Strings("countAfterRestart", restart))
	}
}

// adviceLog logs what somebody should set in a RayCluster, once for each advice.
type adviceLog struct {
	log  *zap.Logger
	last map[string]string
}

func (a *adviceLog) Record(t metrics.Tick) {
	now := map[string]string{}
	for i := range t.Snapshot.RayClusters {
		c := &t.Snapshot.RayClusters[i]
		if c.Advice == "" {
			continue
		}
		now[c.Key()] = c.Advice
		if a.last[c.Key()] != c.Advice {
			a.log.Warn("advice", zap.String("cluster", c.Key()), zap.String("advice", c.Advice))
		}
	}
	a.last = now
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
