package demand

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tandem-autoscaler/tandem/pkg/demand/gcs"
)

const (
	// settleEvery is how often a GCS is read while its state is changing.
	settleEvery = 200 * time.Millisecond
	maxBackoff  = 30 * time.Second
)

// poller reads the GCS of one head pod until it is stopped.
type poller struct {
	o       *Options
	options gcs.Options
	cancel  context.CancelFunc
	kick    chan struct{}
	log     *zap.Logger
	changed func()

	// again tells that another head of the cluster was read before this one.
	again bool

	// head is the business of the source, under its lock.
	head head

	mu     sync.Mutex
	state  *State
	readAt time.Time
	err    error
}

func (p *poller) stop() { p.cancel() }

// seen takes note of the pod: when it gets ready again, a back-off ends.
func (p *poller) seen(h head) {
	if h.ready && !p.head.ready {
		signal(p.kick)
	}
	p.head = h
}

// last is the last settled state with the time at which it was read, nil when
// there is none, and the error of the last read.
func (p *poller) last() (*State, time.Time, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state, p.readAt, p.err
}

func (p *poller) run(ctx context.Context) {
	var conn GCS
	defer func() {
		if conn != nil {
			if err := conn.Close(); err != nil {
				p.log.Debug("closing a gcs connection", zap.Error(err))
			}
		}
	}()
	// Pollers that start together do not read together.
	wait := jitter(p.o.PollInterval/5, 0, 1)
	settle := settler{settle: p.o.Settle, young: p.again}
	for failures := 0; ; {
		if p.sleep(ctx, wait) != nil {
			return
		}
		var state *State
		var err error
		if state, conn, err = p.read(ctx, conn); ctx.Err() != nil {
			return
		}
		if err != nil {
			p.note(err)
			failures++
			wait = backoff(p.o.PollInterval, failures)
			continue
		}
		failures = 0
		wait = jitter(p.o.PollInterval, 0.9, 1.1)
		now := time.Now()
		what := settle.read(state, now)
		if what == stale {
			p.note(fmt.Errorf("reading GCS %s: %w: version %d of session %q after version %d", p.options.Address, errStale, state.Version, state.Session, settle.latest.Version))
			wait = min(wait, settleEvery)
			continue
		}
		p.note(nil)
		switch what {
		case stale:
		case publish:
			p.publish(state, now)
		case forget:
			p.publish(nil, time.Time{})
			wait = min(wait, settleEvery, settle.remaining(now))
		case hold:
			wait = min(wait, settleEvery, settle.remaining(now))
		}
	}
}

// sleep waits, or ends early when the head pod got ready.
func (p *poller) sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-p.kick:
	case <-t.C:
	}
	return nil
}

// read dials when there is no connection yet: files that are missing now may be
// there the next time.
func (p *poller) read(ctx context.Context, conn GCS) (*State, GCS, error) {
	if conn == nil {
		var err error
		if conn, err = p.o.Dial(p.options); err != nil {
			return nil, nil, err
		}
	}
	in, err := conn.State(ctx)
	if err != nil {
		return nil, conn, err
	}
	if in == nil {
		return nil, conn, fmt.Errorf("reading GCS %s: %w", p.options.Address, errors.New("no state"))
	}
	state := Convert(in, p.o.Limits)
	return &state, conn, nil
}

func (p *poller) publish(state *State, at time.Time) {
	p.mu.Lock()
	same := p.state != nil && state != nil && p.state.sameAs(state)
	p.state, p.readAt = state, at
	p.mu.Unlock()
	if !same {
		p.changed()
	}
}

// note keeps the error of a read, and tells of the first and the last of a row.
func (p *poller) note(err error) {
	p.mu.Lock()
	before := p.err
	p.err = err
	p.mu.Unlock()
	switch {
	case err != nil && before == nil:
		p.log.Warn("cannot read a gcs", zap.String("address", p.options.Address), zap.Error(err))
	case err == nil && before != nil:
		p.log.Info("reading a gcs again", zap.String("address", p.options.Address))
	default:
		return
	}
	p.changed()
}

// jitter is d times a random factor between low and high.
func jitter(d time.Duration, low, high float64) time.Duration {
	return time.Duration(float64(d) * (low + (high-low)*rand.Float64())) //nolint:gosec // it spreads load and guards nothing
}

// backoff doubles with every failure in a row, up to maxBackoff, and takes
// between half of that and all of it.
func backoff(interval time.Duration, failures int) time.Duration {
	d := interval
	for i := 1; i < failures && d < maxBackoff; i++ {
		d *= 2
	}
	return jitter(min(d, maxBackoff), 0.5, 1)
}
