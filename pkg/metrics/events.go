package metrics

import (
	"strconv"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// EventRecorder is the part of client-go's record.EventRecorder that is used.
// Its Event must not block.
type EventRecorder interface {
	Event(object runtime.Object, eventtype, reason, message string)
}

// EventsOptions say where events go. A recorder that is nil drops them.
type EventsOptions struct {
	// Management records on MachineDeployments, Workload on RayClusters.
	Management, Workload EventRecorder
	// Repeat is the time for which an event is not said again (2 minutes).
	Repeat time.Duration
	// PerSecond and Burst bound the events of each recorder (1 and 25), so that
	// tenants with many RayClusters cannot silence the MachineDeployments.
	PerSecond float64
	Burst     int
	// Remember is how many events are remembered, so as not to say them again
	// (4096).
	Remember int
}

// Events tells people, as Kubernetes Events, of decisions that grow, shrink or
// cancel, and of demand that is not met. What is held is not said, and nothing
// is said per pod.
type Events struct {
	o EventsOptions

	mu                   sync.Mutex
	said                 *lru.Cache[eventKey, time.Time]
	advised              map[string]string // by RayCluster, what it was told last
	management, workload *rate.Limiter
	suppressed           uint64
}

// eventKey is what makes two events the same. Counts in the message may
// differ: a demand that grows by one is no news.
type eventKey struct {
	object objectKey
	reason string
	class  string
}

// NewEvents makes a recorder of events.
func NewEvents(o EventsOptions) *Events {
	if o.Repeat <= 0 {
		o.Repeat = 2 * time.Minute
	}
	if o.PerSecond <= 0 {
		o.PerSecond = 1
	}
	if o.Burst <= 0 {
		o.Burst = 25
	}
	if o.Remember <= 0 {
		o.Remember = 4096
	}
	said, err := lru.New[eventKey, time.Time](o.Remember)
	if err != nil {
		panic(err) // a size that is not positive, which was ruled out above
	}
	limit := func() *rate.Limiter { return rate.NewLimiter(rate.Limit(o.PerSecond), o.Burst) }
	return &Events{o: o, said: said, advised: map[string]string{}, management: limit(), workload: limit()}
}

// Record says what a tick decided. Replicas that do not lead, and plans that
// were dropped, say nothing.
func (e *Events) Record(t Tick) {
	if !t.Leader || t.Violation != "" {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	where := places{snapshot: &t.Snapshot}
	for i := range t.Plan.Decisions {
		d := &t.Plan.Decisions[i]
		if o, ok := where.of(d); ok && spoken(d.Outcome) {
			e.say(t.At, o, d, t.DryRun)
		}
	}
	e.steps(&t, &where)
	e.advice(&t, &where)
}

// spoken tells which outcomes are told.
func spoken(o planner.Outcome) bool {
	switch o {
	case planner.OutcomeGrow, planner.OutcomeShrink, planner.OutcomeCancel, planner.OutcomeUnmet:
		return true
	case planner.OutcomeHold:
	}
	return false
}

// say records one event unless it was said lately or too much was. The lock is
// held. Time is the tick's, so a plan that is replayed says the same.
func (e *Events) say(at time.Time, o object, d *planner.Decision, dryRun bool) {
	kind := corev1.EventTypeNormal
	if d.Outcome == planner.OutcomeUnmet {
		kind = corev1.EventTypeWarning
	}
	e.tell(at, o, eventKey{o.key(), string(d.Reason), messageClass(d)}, kind, message(d, dryRun))
}

// tell records an event, within the limits of what may be said. The lock is held.
func (e *Events) tell(at time.Time, o object, key eventKey, kind, text string) {
	to, limit := e.o.Workload, e.workload
	if o.management {
		to, limit = e.o.Management, e.management
	}
	if to == nil {
		return
	}
	if last, ok := e.said.Get(key); ok && at.Sub(last) < e.o.Repeat {
		return
	}
	if !limit.AllowN(at, 1) {
		e.suppressed++
		return
	}
	e.said.Add(key, at)
	to.Event(o.reference(), kind, key.reason, text)
}

// messageClass tells messages apart that are news of their own: a new target
// of a NodeGroup is, another count of unmet requests is not.
func messageClass(d *planner.Decision) string {
	if d.Outcome == planner.OutcomeUnmet {
		return string(d.Outcome)
	}
	return string(d.Outcome) + " " + d.Subject + " " + strconv.FormatInt(d.To, 10)
}

func message(d *planner.Decision, dryRun bool) string {
	text := d.Message
	if text == "" {
		text = string(d.Outcome) + " " + string(d.Kind) + " " + d.Subject
	}
	if dryRun {
		text = "dry run: " + text
	}
	return clean(text)
}

// Suppressed counts the events that the rate limit dropped.
func (e *Events) Suppressed() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.suppressed
}
