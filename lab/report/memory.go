package report

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// process is what /proc tells about one process.
type process struct {
	pid, parent int
	exe         string
	rss         int64
}

// SampleMemory adds up the memory of this process and everything below it once
// a second until the context ends. Processes that run the same executable as
// this one are the lab's, the others Ray's or drivers'. The process whose id
// skip returns (zero: none) and its children are left out.
func SampleMemory(ctx context.Context, r *Recorder, skip func() int) {
	exe, err := os.Executable()
	if err != nil {
		exe = ""
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		pid := skip()
		lab, ray := sumMemory(readProcesses("/proc"), os.Getpid(), pid, exe)
		r.ObserveMemory(lab, lab+ray)
		r.CoordinatorPeak(pid)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// sumMemory adds up the resident sets of the tree below root without the tree
// below skip: those that run exe, and the others.
func sumMemory(all []process, root, skip int, exe string) (own, others int64) {
	children := map[int][]process{}
	for _, p := range all {
		children[p.parent] = append(children[p.parent], p)
		if p.pid == root {
			own += p.rss
		}
	}
	seen := map[int]bool{root: true}
	for queue := []int{root}; len(queue) > 0; queue = queue[1:] {
		for _, p := range children[queue[0]] {
			if p.pid == skip || seen[p.pid] {
				continue
			}
			seen[p.pid] = true
			if p.exe == exe {
				own += p.rss
			} else {
				others += p.rss
			}
			queue = append(queue, p.pid)
		}
	}
	return own, others
}

// readProcesses lists the processes of a proc file system. Processes that end
// meanwhile are left out.
func readProcesses(proc string) []process {
	stats, err := filepath.Glob(filepath.Join(proc, "[0-9]*", "stat"))
	if err != nil {
		return nil
	}
	out := make([]process, 0, len(stats))
	for _, path := range stats {
		b, err := os.ReadFile(path) //nolint:gosec // a file of /proc
		if err != nil {
			continue
		}
		p, err := parseStat(b)
		if err != nil {
			continue
		}
		// Unreadable for processes of other users, which are none of ours.
		p.exe, _ = os.Readlink(filepath.Join(filepath.Dir(path), "exe"))
		out = append(out, p)
	}
	return out
}

// parseStat reads the id, the parent and the resident set of a stat file (see
// proc_pid_stat(5)); the command, which is in parentheses, may hold anything.
func parseStat(b []byte) (process, error) {
	head, _, _ := bytes.Cut(b, []byte(" "))
	pid, err := strconv.Atoi(string(head))
	if err != nil {
		return process{}, fmt.Errorf("reading a process id: %w", err)
	}
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 22 {
		return process{}, fmt.Errorf("process %d: %d fields after the command, want 22", pid, len(fields))
	}
	parent, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return process{}, fmt.Errorf("reading the parent of process %d: %w", pid, err)
	}
	pages, err := strconv.ParseInt(string(fields[21]), 10, 64)
	if err != nil {
		return process{}, fmt.Errorf("reading the resident set of process %d: %w", pid, err)
	}
	return process{pid: pid, parent: parent, rss: pages * int64(os.Getpagesize())}, nil
}

// peakRSS reads the largest resident set so far of a process in bytes; zero if
// it is not there.
func peakRSS(proc string, pid int) int64 {
	if pid == 0 {
		return 0
	}
	b, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "status")) //nolint:gosec // a file of /proc
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(b) {
		if rest, ok := bytes.CutPrefix(line, []byte("VmHWM:")); ok {
			if f := bytes.Fields(rest); len(f) > 0 {
				kib, err := strconv.ParseInt(string(f[0]), 10, 64)
				if err == nil {
					return kib * 1024
				}
			}
		}
	}
	return 0
}
