package config

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"reflect"
	"sync"
	"time"
)

// watchEvery is how often the file is read again. A mounted ConfigMap is up to a
// minute late anyway.
const watchEvery = 5 * time.Second

// WatchOptions of a [Watcher]. The zero value is usable.
type WatchOptions struct {
	// Every is the time between two looks at the file (5 s).
	Every time.Duration
	// Reloaded is told of every change of the file: with nil when it was taken,
	// and which of its blocks count only after a restart; with the error when it
	// was not, and the old configuration goes on.
	Reloaded func(err error, restart []string)
}

// Watcher reads a configuration file again when it changes. What does not parse,
// or cannot be read, changes nothing: the last good configuration goes on. Bounds
// of growth and removal, tenants and loop.paused count from the next round on;
// the rest after a restart.
type Watcher struct {
	path string
	o    WatchOptions

	mu      sync.Mutex
	current Configuration
	// seen is the content, or the error, that was looked at last.
	seen []byte
}

// NewWatcher watches the file at path, from which the configuration was loaded.
func NewWatcher(path string, loaded Configuration, o WatchOptions) *Watcher {
	if o.Every <= 0 {
		o.Every = watchEvery
	}
	if o.Reloaded == nil {
		o.Reloaded = func(error, []string) {}
	}
	w := &Watcher{path: path, o: o, current: loaded}
	w.seen, _ = os.ReadFile(path) //nolint:gosec // the operator names the file
	return w
}

// Current is the configuration that counts now.
func (w *Watcher) Current() Configuration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.current
}

// Run looks at the file until ctx ends. It returns nil.
func (w *Watcher) Run(ctx context.Context) error {
	t := time.NewTicker(w.o.Every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			w.look()
		}
	}
}

// look takes a changed file, once for every change.
func (w *Watcher) look() {
	content, err := os.ReadFile(w.path)
	if err != nil {
		err = fmt.Errorf("reading the configuration again: %w", err)
		content = []byte(err.Error())
	}
	if bytes.Equal(content, w.seen) {
		return
	}
	w.seen = content
	var c Configuration
	if err == nil {
		c, err = Parse(content, w.path)
	}
	if err != nil {
		w.o.Reloaded(err, nil)
		return
	}
	w.mu.Lock()
	before := w.current
	w.current = live(before, c)
	w.mu.Unlock()
	w.o.Reloaded(nil, blocksThatDiffer(w.Current(), c))
}

// live takes over what counts at once.
func live(running, file Configuration) Configuration {
	running.Growth, running.Removal, running.Tenants = file.Growth, file.Removal, file.Tenants
	running.Loop.Paused = file.Loop.Paused
	return running
}

// blocksThatDiffer names the blocks of the file that are not what runs.
func blocksThatDiffer(running, file Configuration) []string {
	var out []string
	a, b := reflect.ValueOf(running), reflect.ValueOf(file)
	for f := range reflect.TypeFor[Configuration]().Fields() {
		if !reflect.DeepEqual(a.FieldByIndex(f.Index).Interface(), b.FieldByIndex(f.Index).Interface()) {
			out = append(out, jsonName(f))
		}
	}
	return out
}
