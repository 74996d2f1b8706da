package container

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// shutdown ends every descendant, whatever task it belongs to, and then every
// other process that carries the lab's name.
func (s *server) shutdown() {
	s.mu.Lock()
	for _, t := range s.tasks {
		_ = syscall.Kill(-t.pid, syscall.SIGTERM)
	}
	s.mu.Unlock()
	for end := time.Now().Add(shutdownGrace); time.Now().Before(end) && s.living() > 0; {
		time.Sleep(20 * time.Millisecond)
	}
	for s.living() > 0 {
		for _, p := range descendants(processes(), os.Getpid()) {
			if !p.zombie {
				_ = syscall.Kill(p.pid, syscall.SIGKILL)
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	KillLab(s.lab)
}

func (s *server) living() int {
	n := 0
	for _, p := range descendants(processes(), os.Getpid()) {
		if !p.zombie {
			n++
		}
	}
	return n
}

// KillLab ends every process that carries the lab's name in its environment,
// except the caller.
func KillLab(lab string) {
	if lab == "" {
		return
	}
	for {
		n := 0
		for _, p := range processes() {
			if v, ok := environ(p.pid, EnvLab); ok && v == lab && p.pid != os.Getpid() && !p.zombie {
				_ = syscall.Kill(p.pid, syscall.SIGKILL)
				n++
			}
		}
		if n == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// removeAll tries again for a while, since the file system may still see files
// of processes that are just ending.
func removeAll(dir string) error {
	var errs error
	for range 20 {
		err := os.RemoveAll(dir) //nolint:gosec // The scratch directory that this lab made.
		if err == nil {
			return nil
		}
		errs = errors.Join(errs, err)
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("removing %s: %w", dir, errs)
}
