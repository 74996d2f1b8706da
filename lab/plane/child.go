package plane

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/tandem-autoscaler/tandem/lab/container"
)

// child is a process of the control plane. It ends with the lab.
type child struct {
	name   string
	cmd    *exec.Cmd
	exited chan struct{}
}

// startChild runs the lab's binary under another name. Its output is appended
// to NAME.log in the lab's directory.
func (p *Plane) startChild(component, name string, args ...string) (*child, error) {
	log, err := os.OpenFile(filepath.Join(p.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // In the directory of this lab.
	if err != nil {
		return nil, fmt.Errorf("opening the log of %s: %w", name, err)
	}
	defer log.Close() //nolint:errcheck // The child has its own descriptor.
	// The process lives as long as the lab, not as long as the call.
	cmd := exec.Command(p.scratch.binary(component), args...) //nolint:noctx,gosec // As above; the path is the lab's own.
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), container.EnvLab+"="+p.scratch.id)
	// A group of its own, so that an interrupt from the terminal reaches only
	// the lab, which stops its processes in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	c := &child{name: name, cmd: cmd, exited: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // Its log tells why.
		close(c.exited)
	}()
	return c, nil
}

// stop kills the process and waits for its end. A nil child is stopped already.
func (c *child) stop() {
	if c == nil {
		return
	}
	_ = c.cmd.Process.Kill()
	<-c.exited
}
