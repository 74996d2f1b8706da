package plane

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/util/validation"
)

// complete fills defaults in and reports every problem at once.
func (o *Options) complete() error {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.MaxStarting == 0 {
		o.MaxStarting = 3
	}
	if o.VM.Boot.Duration == 0 {
		o.VM.Boot.Duration = 2 * time.Second
	}
	if o.VM.Node.Duration == 0 {
		o.VM.Node.Duration = time.Second
	}
	if o.VM.Jitter == "" {
		o.VM.Jitter = "0"
	}
	var err error
	if o.Binary == "" {
		if o.Binary, err = os.Executable(); err != nil {
			return fmt.Errorf("finding the lab's own binary: %w", err)
		}
	}
	// The lab runs its processes from elsewhere, through symbolic links.
	for _, path := range []*string{&o.Binary, &o.Dir, &o.Venv} {
		if *path == "" {
			continue
		}
		if *path, err = filepath.Abs(*path); err != nil {
			return fmt.Errorf("making %s absolute: %w", *path, err)
		}
	}
	return o.Validate()
}

// Validate reports every problem of the options at once.
func (o *Options) Validate() error {
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	seen := map[string]bool{}
	for i, c := range o.Classes {
		at := fmt.Sprintf("classes[%d]", i)
		for _, problem := range validation.IsDNS1123Subdomain(c.Name) {
			add("%s.name %q: %s", at, c.Name, problem)
		}
		if seen[c.Name] {
			add("%s.name %q is there twice", at, c.Name)
		}
		seen[c.Name] = true
		if c.CPU <= 0 || c.Memory.Sign() <= 0 || c.GPU < 0 {
			add("%s (%s): cpu and memory must be positive and gpu not negative", at, c.Name)
		}
	}
	for i, h := range o.Hosts {
		if h.Count <= 0 || h.CPU <= 0 || h.Memory.Sign() <= 0 || h.GPU < 0 {
			add("hosts[%d]: count, cpu and memory must be positive and gpu not negative", i)
		}
	}
	if j, err := strconv.ParseFloat("0"+o.VM.Jitter, 64); err != nil || j < 0 || j > 1 {
		add("vm.jitter %q: must be a decimal from 0 to 1", o.VM.Jitter)
	}
	if o.VM.Boot.Duration < 0 || o.VM.Node.Duration < 0 || o.ImageTime.Duration < 0 || o.MaxStarting < 0 {
		add("vm times, imageTime and maxStarting must not be negative")
	}
	if o.Venv != "" {
		if _, err := os.Stat(filepath.Join(o.Venv, "bin", "ray")); err != nil {
			add("Python environment without Ray: %w", err)
		}
	}
	return errors.Join(errs...)
}
