package plane

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tandem-autoscaler/tandem/lab/component"
	"github.com/tandem-autoscaler/tandem/lab/container"
)

// scratchRoot and scratchPrefix name the scratch directories. They are short,
// because Ray's socket paths below them must stay under 107 bytes.
const (
	scratchRoot   = "/tmp"
	scratchPrefix = "tlab-"
)

// scratch is the directory that a lab has for itself: data of etcd,
// certificates, Ray's sessions. The runtime process removes it at the end,
// whatever that end is.
type scratch struct {
	id   string // unique on the machine
	dir  string
	lock *os.File // held while the lab lives
}

// newScratch also removes what dead labs left: labs whose runtime process was
// killed as well.
func newScratch(binary string) (*scratch, error) {
	sweep()
	dir, err := os.MkdirTemp(scratchRoot, scratchPrefix)
	if err != nil {
		return nil, fmt.Errorf("creating the scratch directory: %w", err)
	}
	s := &scratch{id: filepath.Base(dir), dir: dir}
	if s.lock, err = lockDir(dir); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	for _, d := range []string{"bin", "r", "home"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			return nil, errors.Join(fmt.Errorf("creating the scratch directory: %w", err), s.remove())
		}
	}
	for _, name := range component.Names() {
		if err := os.Symlink(binary, s.binary(name)); err != nil {
			return nil, errors.Join(fmt.Errorf("naming the lab's binary: %w", err), s.remove())
		}
	}
	return s, nil
}

// binary is the path of the lab's executable under the name of a component.
func (s *scratch) binary(name string) string { return filepath.Join(s.dir, "bin", name) }

// path is a path in the directory.
func (s *scratch) path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}

func (s *scratch) remove() error {
	_ = s.lock.Close()
	if err := os.RemoveAll(s.dir); err != nil {
		return fmt.Errorf("removing the scratch directory: %w", err)
	}
	return nil
}

// lockDir fails if a living lab holds the directory.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // A lab's own directory.
	if err != nil {
		return nil, fmt.Errorf("opening the lock of a scratch directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("locking a scratch directory: %w", err), f.Close())
	}
	return f, nil
}

// sweep removes the scratch directories of dead labs, and their processes.
// What it may not touch belongs to other users.
func sweep() {
	dirs, err := filepath.Glob(filepath.Join(scratchRoot, scratchPrefix+"*"))
	if err != nil {
		return
	}
	for _, d := range dirs {
		// A young one may be just being made, its lock not yet held.
		if st, err := os.Stat(d); err != nil || time.Since(st.ModTime()) < time.Minute {
			continue
		}
		lock, err := lockDir(d)
		if err != nil {
			continue
		}
		container.KillLab(filepath.Base(d))
		_ = os.RemoveAll(d)
		_ = lock.Close()
	}
}
