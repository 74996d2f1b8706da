package container

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// process is one line of the system's process table.
type process struct {
	pid, parent, group, session int

	name   string
	start  uint64 // ticks since boot; with the pid, an identity
	zombie bool
}

// processes reads /proc. Processes that end meanwhile are left out.
func processes() []process {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil
	}
	out := make([]process, 0, len(dirs))
	for _, d := range dirs {
		if p, ok := readProcess(d); ok {
			out = append(out, p)
		}
	}
	return out
}

// readProcess parses /proc/PID/stat as proc_pid_stat(5) describes it. The name
// stands in parentheses and may itself hold any character.
func readProcess(dir string) (process, bool) {
	b, err := os.ReadFile(filepath.Join(dir, "stat")) //nolint:gosec // A path below /proc.
	if err != nil {
		return process{}, false
	}
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return process{}, false
	}
	f := strings.Fields(string(b[end+1:]))
	if len(f) < 20 {
		return process{}, false
	}
	n := func(s string) int { v, _ := strconv.Atoi(s); return v }
	start, _ := strconv.ParseUint(f[19], 10, 64)
	return process{
		pid: n(filepath.Base(dir)), parent: n(f[1]), group: n(f[2]), session: n(f[3]),
		name: string(b[open+1 : end]), start: start, zombie: f[0] == "Z",
	}, true
}

// environ reports the value of a variable in the environment that a process
// was started with. Programs that set their own title overwrite it.
func environ(pid int, key string) (string, bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return "", false
	}
	for kv := range bytes.SplitSeq(b, []byte{0}) {
		if v, ok := bytes.CutPrefix(kv, []byte(key+"=")); ok {
			return string(v), true
		}
	}
	return "", false
}

// descendants are all processes below one, itself not included.
func descendants(all []process, root int) []process {
	children := make(map[int][]process, len(all))
	for _, p := range all {
		children[p.parent] = append(children[p.parent], p)
	}
	var out []process
	for queue := []int{root}; len(queue) > 0; queue = queue[1:] {
		out = append(out, children[queue[0]]...)
		for _, c := range children[queue[0]] {
			queue = append(queue, c.pid)
		}
	}
	return out
}
