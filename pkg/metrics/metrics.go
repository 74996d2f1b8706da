package metrics

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// Options are the fixed facts about a process. The zero value is usable.
type Options struct {
	// Cluster, if not empty, is put on every series as the label cluster.
	Cluster string
	// Version and Revision of this build.
	Version, Revision string
}

// Metrics are the Prometheus series of the loop.
type Metrics struct {
	reasons reasons
	// gauges is what the last tick came to, swapped as a whole, so that one
	// scrape never mixes two ticks and nothing outlives what it tells of.
	gauges atomic.Pointer[[]prometheus.Metric]
	descs  map[string]*prometheus.Desc

	decisions, steps, removed, drains, sourceErrors *prometheus.CounterVec
	violations                                      prometheus.Counter
	reload                                          prometheus.Gauge
	plan, tick, demandToPatch                       prometheus.Observer
	phase, provision, removal                       *prometheus.HistogramVec

	mu      sync.Mutex
	changes changes
	boots   boots
	leaving removals
	// longestBoot is the longest boot that was seen.
	longestBoot time.Duration
}

// NewRegistry is a registry with the series of the Go runtime and of the
// process.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// New registers the series. It panics if they are registered already: that is
// a mistake in the program.
func New(r prometheus.Registerer, o Options) *Metrics {
	if o.Cluster != "" {
		r = prometheus.WrapRegistererWith(prometheus.Labels{"cluster": o.Cluster}, r)
	}
	all := seriesOf()
	m := &Metrics{reasons: knownReasons(), descs: map[string]*prometheus.Desc{}}
	for _, name := range stateSeries() {
		m.descs[name] = all[name].desc()
	}
	counters := func(name string) *prometheus.CounterVec {
		s := all[name]
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: s.fullName(), Help: s.help}, s.labels)
	}
	gauges := func(name string) *prometheus.GaugeVec {
		s := all[name]
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: s.fullName(), Help: s.help}, s.labels)
	}
	m.decisions, m.steps, m.removed, m.drains, m.sourceErrors = counters(decisionsTotal), counters(stepsTotal), counters(machinesRemoved), counters(drainsTotal), counters(sourceErrors)
	violations, reload, build := counters(violationsTotal), gauges(configReload), gauges(buildInfo)
	m.violations, m.reload = violations.WithLabelValues(), reload.WithLabelValues()

	short := prometheus.ExponentialBuckets(0.001, 2, 14) // 1 ms to 8 s
	wait := prometheus.ExponentialBuckets(0.1, 2, 12)    // 100 ms to 205 s
	long := prometheus.ExponentialBuckets(5, 1.6, 14)    // 5 s to 38 min
	plan, tick, patch := histograms(all[planSeconds], short), histograms(all[tickSeconds], short), histograms(all[demandToPatch], wait)
	m.phase, m.provision, m.removal = histograms(all[phaseSeconds], short), histograms(all[provisionSeconds], long), histograms(all[removalSeconds], long)
	m.plan, m.tick, m.demandToPatch = plan.WithLabelValues(), tick.WithLabelValues(), patch.WithLabelValues()

	r.MustRegister(m, m.decisions, m.steps, m.removed, m.drains, m.sourceErrors, violations, reload, build, plan, tick, patch, m.phase, m.provision, m.removal)
	build.WithLabelValues(o.Version, o.Revision, runtime.Version()).Set(1)
	m.reload.Set(1)
	m.zero()
	return m
}

// zero makes the series of closed lists exist before anything happened, so
// that rates over their first event are right.
func (m *Metrics) zero() {
	for _, k := range stepKinds() {
		for _, o := range outcomes() {
			m.steps.WithLabelValues(string(k), string(o))
		}
	}
	for _, k := range sourceKinds() {
		m.sourceErrors.WithLabelValues(string(k))
	}
	for _, r := range []planner.Reason{planner.ReasonVacant, planner.ReasonNeverJoined} {
		m.removed.WithLabelValues(string(r))
	}
	for _, r := range drainReasons() {
		m.drains.WithLabelValues(string(r), drainAccepted)
		m.drains.WithLabelValues(string(r), drainRefused)
	}
	for _, p := range removalPhases() {
		m.removal.WithLabelValues(string(p))
	}
}

// ConfigReload tells whether the configuration could be read the last time.
func (m *Metrics) ConfigReload(ok bool) { m.reload.Set(truth(ok)) }

// LongestBoot is how long the slowest Machine took from its creation to a ready
// Node, of those that this process has seen come up; zero before the first.
func (m *Metrics) LongestBoot() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.longestBoot
}

// Record takes a tick into the series.
func (m *Metrics) Record(t Tick) {
	gauges := m.state(&t)
	m.gauges.Store(&gauges)

	m.mu.Lock()
	defer m.mu.Unlock()
	begun, _ := m.changes.next(t.Plan.Decisions)
	for i := range begun {
		m.decisions.WithLabelValues(subjectLabel(begun[i].Kind), m.reasons.label(begun[i].Reason)).Inc()
	}
	for i := range t.Results {
		m.step(&t.Results[i])
	}
	for _, s := range t.Snapshot.Sources {
		if s.Error != "" {
			m.sourceErrors.WithLabelValues(sourceLabel(s.Kind)).Inc()
		}
	}
	if t.Violation != "" {
		m.violations.Inc()
	}
	for _, b := range m.boots.next(&t) {
		m.provision.WithLabelValues(b.class).Observe(b.took.Seconds())
		m.longestBoot = max(m.longestBoot, b.took)
	}
	for _, s := range m.leaving.next(&t) {
		m.removal.WithLabelValues(string(s.phase)).Observe(s.took.Seconds())
	}
	m.tick.Observe(t.Duration.Seconds())
	for p, took := range t.Phases {
		m.phase.WithLabelValues(phaseLabel(p)).Observe(took.Seconds())
		if p == PhasePlan {
			m.plan.Observe(took.Seconds())
		}
	}
}

func (m *Metrics) step(r *StepResult) {
	m.steps.WithLabelValues(stepLabel(r.Step.Kind), outcomeLabel(r.Outcome)).Inc()
	m.drain(r)
	if r.Outcome != Done {
		return
	}
	if r.Step.Kind == planner.StepRemove {
		m.removed.WithLabelValues(m.reasons.label(r.Step.Reason)).Add(float64(len(r.Step.Machines)))
	}
	if r.Step.Kind == planner.StepGrow && r.Waited > 0 {
		m.demandToPatch.Observe(r.Waited.Seconds())
	}
}

// histograms makes a histogram with classic buckets for those who scrape text
// and native ones, of about a tenth's width, for those who take them.
func histograms(s series, buckets []float64) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: s.fullName(), Help: s.help, Buckets: buckets,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
	}, s.labels)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
