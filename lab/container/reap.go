package container

import (
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// reap collects children and orphans as they end, and once a second notes
// which processes belong to which task, before orphans lose their lineage.
func (s *server) reap(done <-chan struct{}) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-ended:
		case <-tick.C:
			s.mu.Lock()
			if len(s.tasks) > 0 {
				s.note(processes())
			}
			s.mu.Unlock()
		}
		for s.collect() {
		}
	}
}

// collect reaps one dead process; false if there is none.
func (s *server) collect() bool {
	// Under the lock a fork and the entry of its pid are one step.
	s.mu.Lock()
	var st syscall.WaitStatus
	pid, err := syscall.Wait4(-1, &st, syscall.WNOHANG, nil)
	t := s.leads[pid]
	if t != nil {
		t.over = true
		delete(s.leads, pid)
	}
	s.mu.Unlock()
	if errors.Is(err, syscall.EINTR) {
		return true
	}
	if err != nil || pid <= 0 {
		return false
	}
	if t != nil {
		e := event{Event: eventExited, Task: t.name, Code: st.ExitStatus()}
		if st.Signaled() {
			e.Code, e.Signal = 128+int(st.Signal()), int(st.Signal())
		}
		s.emit(e)
		go s.bury(t)
	}
	return true
}

// note updates who owns which process. The caller holds the lock.
func (s *server) note(all []process) {
	byPID := make(map[int]process, len(all))
	for _, p := range all {
		byPID[p.pid] = p
	}
	owners := make(map[identity]*task, len(s.owners))
	var owner func(p process, depth int) *task
	owner = func(p process, depth int) *task {
		id := identity{p.pid, p.start}
		if t := owners[id]; t != nil {
			return t
		}
		t := s.owners[id]
		if t == nil {
			t = s.sign(p)
		}
		if t == nil && depth < 64 {
			if up, ok := byPID[p.parent]; ok && up.pid != os.Getpid() {
				t = owner(up, depth+1)
			}
		}
		if t != nil {
			owners[id] = t
		}
		return t
	}
	for _, p := range descendants(all, os.Getpid()) {
		owner(p, 0)
	}
	s.owners = owners
}

// sign tells the task of a process by its group, session or environment.
func (s *server) sign(p process) *task {
	for _, t := range s.tasks {
		if p.pid == t.pid || p.group == t.pid || p.session == t.pid {
			return t
		}
	}
	if name, ok := environ(p.pid, envTask); ok {
		return s.tasks[name]
	}
	return nil
}

// members are the processes of a task, by command name unless empty. The dead
// count until they are collected.
func (s *server) members(t *task, name string) []process {
	all := processes()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note(all)
	var out []process
	for _, p := range all {
		if s.owners[identity{p.pid, p.start}] == t && (name == "" || p.name == name) {
			out = append(out, p)
		}
	}
	return out
}

func (s *server) find(name string) *task {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tasks[name]
}

// kill sends SIGKILL to the task's processes of one command name, or to the
// group of its first process.
func (s *server) kill(name, command string) {
	t := s.find(name)
	if t == nil {
		return
	}
	if command == "" {
		_ = syscall.Kill(-t.pid, syscall.SIGKILL)
		return
	}
	for _, p := range s.members(t, command) {
		_ = syscall.Kill(p.pid, syscall.SIGKILL)
	}
}

// stop asks the task's group to end and kills it after the grace.
func (s *server) stop(name string, grace time.Duration) {
	t := s.find(name)
	if t == nil {
		return
	}
	if grace > 0 {
		_ = syscall.Kill(-t.pid, syscall.SIGTERM)
		for end := time.Now().Add(grace); time.Now().Before(end) && !s.ended(t); {
			time.Sleep(50 * time.Millisecond)
		}
	}
	// The end of the first process buries the rest.
	if !s.ended(t) {
		_ = syscall.Kill(-t.pid, syscall.SIGKILL)
	}
}

func (s *server) ended(t *task) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return t.over
}

// bury kills what a task left behind when its first process ended.
func (s *server) bury(t *task) {
	for {
		left := s.members(t, "")
		if len(left) == 0 {
			break
		}
		for _, p := range left {
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.mu.Lock()
	delete(s.tasks, t.name)
	s.mu.Unlock()
	s.emit(event{Event: eventGone, Task: t.name})
}
