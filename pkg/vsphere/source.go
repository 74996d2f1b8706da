package vsphere

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tandem-autoscaler/tandem/pkg/config"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

const (
	// refreshTimeout bounds one reading of one part.
	refreshTimeout = 30 * time.Second
	// firstPause is the first pause after a reading that went wrong.
	firstPause = 2 * time.Second
	// keepAliveInterval is well below the half hour after which vCenter ends an
	// idle session.
	keepAliveInterval = 10 * time.Minute
	// logoutTimeout bounds the last call.
	logoutTimeout = 5 * time.Second
	// mostGone bounds the classes that are remembered as gone.
	mostGone = 1024
)

// Options of a [Source].
type Options struct {
	// Catalogue says which parts are read.
	Catalogue config.Catalogue
	// Namespace is the one whose VirtualMachineClasses are read, and which must be
	// allowed to use a class of vCenter.
	Namespace string
	// Management reads VirtualMachineClass objects, in the background, from the API
	// server or from a cache; Mapper finds the version that is served. Without both
	// no objects are read.
	Management client.Reader
	Mapper     meta.RESTMapper
	// Changed, if not nil, is called when the catalogue has changed.
	Changed func()
	// Log may be nil.
	Log *zap.Logger
}

// View is the catalogue at one instant. Its list belongs to the caller; the maps
// inside it must not be written to.
type View struct {
	Classes []planner.VMClass
	// Sources has one entry. It is not known before anything was read. Its age is
	// that of the oldest part that was read, and its error names the parts that
	// cannot be read now.
	Sources []planner.Source
}

// Source reads the catalogue. Observe is safe for concurrent use.
type Source struct {
	o       Options
	parts   []*part // in order of trust
	vcenter *vcenter
	// keepAlive, if not nil, uses the session of vCenter.
	keepAlive func(context.Context)

	mu      sync.Mutex
	classes []planner.VMClass
}

// part is one place that classes come from.
type part struct {
	name string
	read func(context.Context) (map[string]hardware, error)

	// What follows is guarded by Source.mu.
	classes map[string]hardware
	// gone are classes that it listed once and does not list now: they are not
	// unknown, but unusable, and no VM of them is to be asked for.
	gone map[string]hardware
	at   time.Time // when it was last read; zero if never
	err  string
}

// New returns a source that knows what the configuration says. Nothing is read
// before [Source.Run].
func New(o Options) *Source {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Catalogue.RefreshInterval.Duration <= 0 {
		o.Catalogue.RefreshInterval.Duration = time.Minute
	}
	s := &Source{o: o}
	if o.Catalogue.VirtualMachineClasses && o.Management != nil && o.Mapper != nil {
		r := &objects{reader: o.Management, mapper: o.Mapper, namespace: o.Namespace}
		s.parts = append(s.parts, &part{name: "VirtualMachineClasses", read: r.read})
	}
	if v := o.Catalogue.VCenter; v != nil {
		s.vcenter = &vcenter{o: *v, namespace: o.Namespace, log: o.Log}
		s.keepAlive = s.vcenter.keepAlive
		s.parts = append(s.parts, &part{name: "vCenter", read: s.vcenter.read})
	}
	s.classes = merge(o.Catalogue.Classes)
	return s
}

// Observe returns the last good catalogue. It never waits for the network.
func (s *Source) Observe(now time.Time) View {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := planner.Source{Kind: planner.SourceCatalogue, Known: len(s.parts) == 0}
	var troubles []string
	for _, p := range s.parts {
		if !p.at.IsZero() {
			out.Known = true
			out.Age = max(out.Age, planner.Duration(max(0, now.Sub(p.at))))
		}
		if p.err != "" {
			troubles = append(troubles, p.name+": "+p.err)
		}
	}
	out.Error = strings.Join(troubles, "; ")
	if !out.Known && out.Error == "" {
		out.Error = "nothing has been read yet"
	}
	return View{Classes: slices.Clone(s.classes), Sources: []planner.Source{out}}
}

// Run refreshes the catalogue until ctx ends, then logs out. While something
// cannot be read it tries again after a pause that grows up to the interval.
func (s *Source) Run(ctx context.Context) error {
	defer s.logout(ctx)
	interval := s.o.Catalogue.RefreshInterval.Duration
	pause := firstPause
	for {
		wait := interval
		if s.refresh(ctx) {
			pause = firstPause
		} else {
			wait = min(pause, interval)
			pause = min(2*pause, interval)
		}
		if !s.rest(ctx, wait) {
			return nil
		}
	}
}

// rest waits, using the session of vCenter now and then; it returns false when
// ctx has ended.
func (s *Source) rest(ctx context.Context, wait time.Duration) bool {
	for wait > 0 {
		step := min(wait, keepAliveInterval)
		timer := time.NewTimer(step)
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-timer.C:
		}
		if wait -= step; wait > 0 && s.keepAlive != nil {
			probe, cancel := context.WithTimeout(ctx, refreshTimeout)
			s.keepAlive(probe)
			cancel()
		}
	}
	return ctx.Err() == nil
}

// refresh reads every part once, side by side, and tells whether all went well.
// What one part says is in the catalogue at once, however slow another one is.
func (s *Source) refresh(ctx context.Context) bool {
	var well atomic.Bool
	well.Store(true)
	var g sync.WaitGroup
	for _, p := range s.parts {
		g.Go(func() {
			classes, err := s.readPart(ctx, p)
			if err != nil || ctx.Err() != nil {
				well.Store(false)
			}
			if ctx.Err() != nil {
				return
			}
			news := s.note(p, classes, err)
			if (s.merge() || news) && s.o.Changed != nil {
				s.o.Changed()
			}
		})
	}
	g.Wait()
	return well.Load()
}

// merge makes the catalogue anew and tells whether it has changed.
func (s *Source) merge() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	sources := make([]map[string]hardware, 0, 2*len(s.parts))
	for _, p := range s.parts {
		sources = append(sources, p.classes)
	}
	for _, p := range s.parts {
		sources = append(sources, p.gone)
	}
	merged := merge(s.o.Catalogue.Classes, sources...)
	if reflect.DeepEqual(merged, s.classes) {
		return false
	}
	s.classes = merged
	return true
}

func (s *Source) readPart(ctx context.Context, p *part) (map[string]hardware, error) {
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	classes, err := p.read(ctx)
	if _, none := errors.AsType[errNoKind](err); none {
		// A cluster without a Supervisor has no such classes: that is an answer.
		return nil, nil
	}
	return classes, err
}

// note remembers the outcome of a reading and tells whether the part's health
// has changed. What was read before stays when it went wrong.
func (s *Source) note(p *part, classes map[string]hardware, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, first := p.err, p.at.IsZero()
	if err != nil {
		p.err = clipText(err.Error())
		if before == "" {
			s.o.Log.Warn("part of the catalogue cannot be read", zap.String("part", p.name), zap.Error(err))
		}
		return before == ""
	}
	p.forget(classes)
	p.classes, p.at, p.err = classes, time.Now(), ""
	if before != "" || first {
		s.o.Log.Info("part of the catalogue is read", zap.String("part", p.name), zap.Int("classes", len(classes)))
	}
	return before != "" || first
}

// forget notes which classes a new reading lacks.
func (p *part) forget(classes map[string]hardware) {
	if p.gone == nil {
		p.gone = map[string]hardware{}
	}
	for name := range p.classes {
		if len(p.gone) < mostGone {
			p.gone[name] = hardware{problem: p.name + " does not list it any more"}
		}
	}
	for name := range classes {
		delete(p.gone, name)
	}
}

func (s *Source) logout(ctx context.Context) {
	if s.vcenter == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), logoutTimeout)
	defer cancel()
	if err := s.vcenter.close(ctx); err != nil {
		s.o.Log.Warn("vcenter session was not ended", zap.Error(err))
	}
}

// clipText bounds a foreign text.
func clipText(s string) string {
	const most = 512
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}
