package capi

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/expirable"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// How many writes are remembered and for how long: a cache that is older than
// that is long known to be sick.
const (
	mostWrites  = 8192
	writesLast  = time.Hour
	confirmWait = 10 * time.Second
	confirmPace = 2 * time.Second
)

// Writes remembers the versions that the coordinator itself has written, so that
// a [Source] does not believe a cache which has not seen them yet, or which has
// fallen back behind them. It is safe for concurrent use.
type Writes struct {
	seen *expirable.LRU[writeKey, string]
}

type writeKey struct{ kind, namespace, name, uid string }

// NewWrites returns an empty memory.
func NewWrites() *Writes {
	return &Writes{expirable.NewLRU[writeKey, string](mostWrites, nil, writesLast)}
}

func keyOfWrite(o client.Object) writeKey {
	return writeKey{fmt.Sprintf("%T", o), o.GetNamespace(), o.GetName(), string(o.GetUID())}
}

// Note remembers the version of an object that was written just now. An older
// version than the one known changes nothing.
func (w *Writes) Note(o client.Object) {
	key, version := keyOfWrite(o), o.GetResourceVersion()
	if known, ok := w.seen.Peek(key); ok && !older(known, version) {
		return
	}
	w.seen.Add(key, version)
}

// behind names an object that is older in a list of the cache than what was
// written. An object that the list lacks is no sign: it was there when it was
// written, so the cache has seen it go.
func (w *Writes) behind(o client.Object) error {
	if w == nil {
		return nil
	}
	if wrote, ok := w.seen.Peek(keyOfWrite(o)); ok && older(o.GetResourceVersion(), wrote) {
		return fmt.Errorf("the cache is older than our own last write to %s: it has version %s, not %s", o.GetName(), o.GetResourceVersion(), wrote)
	}
	return nil
}

// older compares versions; those that are no numbers tell nothing.
func older(a, b string) bool {
	c, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && c < 0
}

// doubts holds back lists of a cache that have become empty from one reading to
// the next, until the API server itself says so.
type doubts struct {
	mu        sync.Mutex
	full      map[string]bool              // the last list of the kind that was believed had entries
	waiting   map[string]client.ObjectList // asked for
	confirmed map[string]bool              // the API server lists none either
	kick      chan struct{}
}

func newDoubts() *doubts {
	return &doubts{full: map[string]bool{}, waiting: map[string]client.ObjectList{}, confirmed: map[string]bool{}, kick: make(chan struct{}, 1)}
}

// believe tells whether a list with n entries may be believed. empty is a list
// of that kind to ask the API server with; nil never doubts.
func (d *doubts) believe(kind string, n int, empty client.ObjectList) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case n > 0:
		d.full[kind], d.confirmed[kind] = true, false
		delete(d.waiting, kind)
		return nil
	case !d.full[kind] || empty == nil:
		return nil
	case d.confirmed[kind]:
		d.full[kind], d.confirmed[kind] = false, false
		return nil
	}
	d.waiting[kind] = empty
	select {
	case d.kick <- struct{}{}:
	default:
	}
	return fmt.Errorf("the cache lists no %s, and it did before: the API server is asked", kind)
}

func (d *doubts) open() map[string]client.ObjectList {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.waiting)
}

// settle notes what the API server said about a kind.
func (d *doubts) settle(kind string, empty bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, asked := d.waiting[kind]; asked && empty {
		d.confirmed[kind] = true
		delete(d.waiting, kind)
	}
}

// confirm asks the API server about the lists in doubt until ctx ends.
func (d *doubts) confirm(ctx context.Context, live client.Reader, in []client.ListOption, changed func(), log *zap.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.kick:
		}
		open := d.open()
		for _, kind := range slices.Sorted(maps.Keys(open)) {
			asking, cancel := context.WithTimeout(ctx, confirmWait)
			empty, err := listsNone(asking, live, open[kind], in)
			cancel()
			if err != nil {
				log.Warn("empty list of the cache could not be confirmed", zap.String("kind", kind), zap.Error(err))
				continue
			}
			d.settle(kind, empty)
		}
		if changed != nil {
			changed()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(confirmPace):
		}
	}
}

func listsNone(ctx context.Context, live client.Reader, list client.ObjectList, in []client.ListOption) (bool, error) {
	if err := live.List(ctx, list, append(slices.Clone(in), client.Limit(1))...); err != nil {
		return false, fmt.Errorf("listing %T: %w", list, err)
	}
	return meta.LenList(list) == 0, nil
}
