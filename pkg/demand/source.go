package demand

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tandem-autoscaler/tandem/pkg/config"
	"github.com/tandem-autoscaler/tandem/pkg/demand/gcs"
	"github.com/tandem-autoscaler/tandem/pkg/demand/gcs/autoscalerpb"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// discoverEvery is how often RayClusters and Ray pods are listed from the cache
// when no event asks for it sooner; eventSpacing bounds how often events may.
const (
	discoverEvery   = 500 * time.Millisecond
	discoverTimeout = 5 * time.Second
	eventSpacing    = 20 * time.Millisecond
)

// GCS is what the source needs of a [gcs.Client].
type GCS interface {
	State(context.Context) (*autoscalerpb.ClusterResourceState, error)
	Close() error
}

// Options of a [Source]. Reader is needed; every other zero value is usable.
type Options struct {
	// Reader lists RayClusters and Ray pods: a started cache, for lists are
	// frequent.
	Reader client.Reader
	// Health tells why Reader must not be trusted now: a cache goes on answering
	// while its watches are broken (always healthy).
	Health func() error
	// Namespaces to look in. Empty: all.
	Namespaces []string
	// DefaultMode is auto, follow, lead or off, for RayClusters without
	// [AnnotationMode]. Empty: auto.
	DefaultMode string
	// Credentials for GCS servers that ask for them.
	Credentials []config.GCSCredentials
	// PollInterval between two reads of one GCS (1 s).
	PollInterval time.Duration
	// Settle is how long a state that changed must stay as it is before it is
	// published. Zero: published as soon as it is read.
	Settle time.Duration
	// Timeout of one read (5 s).
	Timeout time.Duration
	// StaleAfter is the age at which a state stops counting as known (15 s).
	StaleAfter time.Duration
	// BootTime is how long a VM may take from its order to a ready Node, as far as
	// it is known (zero: no advice). It may be called at any time.
	BootTime func() time.Duration
	// ConstraintTTL is how long a call of request_resources counts that is not
	// made again with other amounts. Zero: until it is taken back.
	ConstraintTTL time.Duration
	// Limits of what one GCS may say ([DefaultLimits]).
	Limits Limits
	// Log gets changes of health (none).
	Log *zap.Logger
	// Dial reaches a GCS ([gcs.Dial]).
	Dial func(gcs.Options) (GCS, error)
}

// Source reads RayClusters and their GCS servers, each at its own pace, so that
// one that hangs delays no other.
type Source struct {
	o       Options
	wake    chan struct{}
	changed chan struct{}
	pollers sync.WaitGroup

	mu       sync.Mutex
	listed   time.Time
	listErr  error
	clusters []cluster
	pods     *pods
	byUID    map[string]*poller
	specs    map[string]specAt
	asked    map[string]bool // UIDs of clusters of which a head was asked before
}

// specAt is a translated RayCluster and the version that it was translated from.
type specAt struct {
	version string
	cluster cluster
	contest contest
}

// View is what the source knows at one instant.
type View struct {
	// Clusters are sorted by namespace and name.
	Clusters []planner.RayCluster
	// Sources has one entry of kind ray, and one of kind gcs for every cluster
	// whose demand is wanted.
	Sources []planner.Source
}

// New makes a source; [Source.Run] brings it to life.
func New(o Options) *Source {
	o.PollInterval = orDefault(o.PollInterval, time.Second)
	o.Timeout = orDefault(o.Timeout, 5*time.Second)
	o.StaleAfter = orDefault(o.StaleAfter, 15*time.Second)
	if o.Limits == (Limits{}) {
		o.Limits = DefaultLimits()
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Health == nil {
		o.Health = func() error { return nil }
	}
	if o.BootTime == nil {
		o.BootTime = func() time.Duration { return 0 }
	}
	if o.Dial == nil {
		o.Dial = func(g gcs.Options) (GCS, error) { return gcs.Dial(g) }
	}
	return &Source{
		o:       o,
		wake:    make(chan struct{}, 1),
		changed: make(chan struct{}, 1),
		listErr: errors.New("not listed yet"),
		pods:    &pods{},
		byUID:   map[string]*poller{},
		specs:   map[string]specAt{},
		asked:   map[string]bool{},
	}
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

// Notify asks for a look at RayClusters and pods now. It never blocks, so event
// handlers may call it.
func (s *Source) Notify() { signal(s.wake) }

// Changed receives after what [Source.Observe] would tell has changed, apart
// from ages. Several changes may come as one.
func (s *Source) Changed() <-chan struct{} { return s.changed }

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run discovers and polls until the context ends. It returns the context's
// error after every goroutine of the source has ended.
func (s *Source) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer s.pollers.Wait()
	defer cancel()
	tick := time.NewTicker(discoverEvery)
	defer tick.Stop()
	for {
		s.discover(ctx)
		if err := pause(ctx, eventSpacing); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		case <-s.wake:
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// discover lists RayClusters and Ray pods, and starts and ends pollers. When it
// cannot list, everything stays as it was and grows old.
func (s *Source) discover(ctx context.Context) {
	listCtx, cancel := context.WithTimeout(ctx, discoverTimeout)
	defer cancel()
	err := s.o.Health()
	var clusters []cluster
	var specs map[string]specAt
	if err == nil {
		clusters, specs, err = s.listClusters(listCtx)
	}
	var found *pods
	if err == nil {
		found, err = listPods(listCtx, s.o.Reader, s.o.Namespaces)
	}
	if ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if (err == nil) != (s.listErr == nil) {
		if err != nil {
			s.o.Log.Warn("cannot list ray clusters", zap.Error(err))
		}
		signal(s.changed)
	}
	s.listErr = err
	if err != nil {
		return
	}
	s.listed, s.pods, s.specs = time.Now(), found, specs
	if !reflect.DeepEqual(clusters, s.clusters) {
		s.clusters = clusters
		signal(s.changed)
	}
	s.reconcile(ctx)
}

// listClusters translates RayClusters; one that has not changed is not
// translated again. Only discover calls it, so it needs no lock to read specs.
func (s *Source) listClusters(ctx context.Context) ([]cluster, map[string]specAt, error) {
	objects, err := listRayClusters(ctx, s.o.Reader, s.o.Namespaces)
	if err != nil {
		return nil, nil, err
	}
	specs := make(map[string]specAt, len(objects))
	out := make([]cluster, 0, len(objects))
	for i := range objects {
		u := &objects[i]
		at, known := s.specs[string(u.GetUID())]
		if !known || at.version != u.GetResourceVersion() || at.version == "" {
			at = specAt{version: u.GetResourceVersion(), cluster: clusterOf(u, s.o.DefaultMode), contest: at.contest}
			if by := at.contest.see(u, at.cluster.WorkerGroups, time.Now()); by != "" && at.cluster.Mode == planner.ModeLead {
				s.o.Log.Warn("somebody else wrote the replicas of a cluster in lead mode", zap.String("cluster", at.cluster.Key()), zap.String("manager", by))
			}
		}
		specs[string(u.GetUID())] = at
		out = append(out, at.cluster)
	}
	slices.SortFunc(out, func(a, b cluster) int { return strings.Compare(a.Key(), b.Key()) })
	return out, specs, nil
}

// reconcile ends pollers whose head is gone and starts those that are missing.
// A head is one pod: another pod is another session, of which nothing is known.
func (s *Source) reconcile(ctx context.Context) {
	wanted := make(map[string]bool, len(s.clusters))
	for i := range s.clusters {
		c := &s.clusters[i]
		if !c.wantsDemand() {
			continue
		}
		running := s.byUID[c.UID]
		h, ok := s.pods.head(c, running)
		if !ok {
			continue
		}
		wanted[c.UID] = true
		if running != nil {
			if running.head.same(h) {
				running.seen(h)
				continue
			}
			running.stop()
		}
		s.byUID[c.UID] = s.start(ctx, c, h, s.asked[c.UID])
		s.asked[c.UID] = true
	}
	for uid := range s.asked {
		if _, there := s.specs[uid]; !there {
			delete(s.asked, uid)
		}
	}
	for uid, p := range s.byUID {
		if !wanted[uid] {
			p.stop()
			delete(s.byUID, uid)
			signal(s.changed)
		}
	}
}

// wantsDemand tells whether the planner would use the demand of the cluster.
func (c *cluster) wantsDemand() bool {
	return c.Invalid == "" && !c.Suspended && c.Mode != planner.ModeOff
}

// start begins to read a head. One that follows another has lost what that knew.
func (s *Source) start(ctx context.Context, c *cluster, h head, again bool) *poller {
	ctx, cancel := context.WithCancel(ctx)
	p := &poller{
		o: &s.o, head: h, again: again, cancel: cancel, kick: make(chan struct{}, 1),
		options: dialOptions(c, h, s.o.Credentials, s.o.Timeout),
		log:     s.o.Log.With(zap.String("cluster", c.Key())),
		changed: func() { signal(s.changed) },
	}
	signal(s.changed)
	s.pollers.Go(func() { p.run(ctx) })
	return p
}

// dialOptions says how the GCS of a cluster is reached. Credentials of the
// cluster's own name count more than those for every one of its namespace.
func dialOptions(c *cluster, h head, credentials []config.GCSCredentials, timeout time.Duration) gcs.Options {
	o := gcs.Options{Address: h.address, Timeout: timeout}
	found := false
	for i := range credentials {
		k := &credentials[i]
		if k.Namespace != c.Namespace || k.Name != c.Name && (k.Name != "*" || found) {
			continue
		}
		o.TokenFile, o.CAFile, o.CertFile, o.KeyFile = k.TokenFile, k.CAFile, k.CertFile, k.KeyFile
		found = k.Name == c.Name || found
	}
	return o
}
