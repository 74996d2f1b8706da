package vsphere

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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
	// staleHosts is how many readings of the hosts may go wrong before what is free
	// there counts as unknown.
	staleHosts = 5
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
	// Zones tell what is free on the hosts, if they are to be read, and VMs names
	// those that run on one.
	Zones []planner.HostZone
	VMs   map[string]bool
}

// Source reads the catalogue. Observe is safe for concurrent use.
type Source struct {
	o       Options
	parts   []*part // in order of trust
	vcenter *vcenter
	// keepAlive, if not nil, uses the session of vCenter.
	keepAlive func(context.Context)

	// hosts, if not nil, reads what is free on the hosts.
	hosts *hostPart

	mu      sync.Mutex
	classes []planner.VMClass
}

// hostPart is the last reading of the hosts.
type hostPart struct {
	read      func(context.Context) (hostReading, error)
	keepAlive func(context.Context)
	close     func(context.Context) error

	// What follows is guarded by Source.mu.
	last hostReading
	at   time.Time // when it was last read; zero if never
	err  string
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
		if v.Hosts {
			r := &hostReader{v: s.vcenter}
			s.hosts = &hostPart{read: r.read, keepAlive: r.keepAlive, close: r.close}
		}
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
	view := View{}
	if s.hosts != nil {
		if s.hosts.err != "" {
			troubles = append(troubles, "hosts of vCenter: "+s.hosts.err)
		}
		view.Zones, view.VMs = s.hosts.observe(now, s.o.Catalogue.RefreshInterval.Duration)
	}
	out.Error = strings.Join(troubles, "; ")
	if !out.Known && out.Error == "" {
		out.Error = "nothing has been read yet"
	}
	view.Classes, view.Sources = slices.Clone(s.classes), []planner.Source{out}
	return view
}

// observe is what is known of the hosts: nothing, if they have not been read, or
// not for long.
func (p *hostPart) observe(now time.Time, interval time.Duration) ([]planner.HostZone, map[string]bool) {
	switch age := now.Sub(p.at); {
	case p.at.IsZero():
		return []planner.HostZone{{Unknown: cmp.Or(p.err, "the hosts have not been read yet")}}, nil
	case age > staleHosts*interval:
		return []planner.HostZone{{Unknown: fmt.Sprintf("the hosts were last read %s ago: %s", age.Round(time.Second), p.err)}}, nil
	}
	return slices.Clone(p.last.zones), p.last.vms
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
			if s.hosts != nil {
				s.hosts.keepAlive(probe)
			}
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
	if s.hosts != nil {
		g.Go(func() {
			if !s.refreshHosts(ctx) {
				well.Store(false)
			}
		})
	}
	g.Wait()
	return well.Load()
}

// refreshHosts reads the hosts once and tells whether all went well. A reading with
// an error may still know some zones.
func (s *Source) refreshHosts(ctx context.Context) bool {
	call, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	got, err := s.hosts.read(call)
	if ctx.Err() != nil {
		return false
	}
	s.mu.Lock()
	p := s.hosts
	text := ""
	if err != nil {
		text = clipText(err.Error())
	}
	news := (p.err == "") != (text == "")
	if news && err != nil {
		s.o.Log.Warn("hosts cannot be read, or not all of them", zap.Error(err))
	}
	p.err = text
	if got.zones != nil {
		if news = news || !sameRoom(got.zones, p.last.zones); p.at.IsZero() {
			s.o.Log.Info("hosts are read", zap.Int("zones", len(got.zones)), zap.Int("vms", len(got.vms)))
		}
		p.last, p.at = got, time.Now()
	}
	s.mu.Unlock()
	if news && s.o.Changed != nil {
		s.o.Changed()
	}
	return err == nil
}

// sameRoom tells whether two readings found the same room.
func sameRoom(a, b []planner.HostZone) bool {
	return slices.EqualFunc(a, b, func(x, y planner.HostZone) bool {
		x.ReadAt = y.ReadAt
		return reflect.DeepEqual(x, y)
	})
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
	err := s.vcenter.close(ctx)
	if s.hosts != nil {
		err = errors.Join(err, s.hosts.close(ctx))
	}
	if err != nil {
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
