package plane

import (
	"errors"
	"fmt"
	"sync"
)

// errInsufficient is how a VM without a host begins to say so. Clients of
// vSphere find these words in the conditions of their Machines.
var errInsufficient = errors.New("insufficient resources")

// vms is the account of VMs and of the hosts that carry them.
type vms struct {
	mu    sync.Mutex
	hosts []host
	// placed is where each VM is; -1 where no hosts are configured.
	placed   map[string]int
	sizes    map[string]Class
	failures map[string]failure // by class
	sticking map[string]int     // by class: how many of the next VMs
	isStuck  map[string]bool
	refusals map[string]string // by VM: why it was not created
}

// host is what one ESXi host has left.
type host struct {
	cpu, memory, gpu int64
	gpuType          string
}

type failure struct {
	left    int // negative: until changed
	message string
}

func newVMs(hosts []Host) *vms {
	v := &vms{
		placed: map[string]int{}, sizes: map[string]Class{}, failures: map[string]failure{},
		sticking: map[string]int{}, isStuck: map[string]bool{}, refusals: map[string]string{},
	}
	for _, h := range hosts {
		for range h.Count {
			v.hosts = append(v.hosts, host{cpu: h.CPU, memory: h.Memory.Value(), gpu: h.GPU, gpuType: h.GPUType})
		}
	}
	return v
}

// create places a VM on the fullest host that has room for it, so that large
// VMs find whole hosts as long as possible.
func (v *vms) create(name string, c Class) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, ok := v.placed[name]; ok {
		return nil
	}
	if f := v.failures[c.Name]; f.left != 0 {
		if f.left > 0 {
			f.left--
			v.failures[c.Name] = f
		}
		return v.refused(name, errors.New(f.message))
	}
	at := -1
	for i, h := range v.hosts {
		if h.fits(c) && (at < 0 || h.cpu < v.hosts[at].cpu) {
			at = i
		}
	}
	if at < 0 && len(v.hosts) > 0 {
		return v.refused(name, fmt.Errorf("%w: no host has room for a VM of class %s (%d CPU, %s memory, %d GPU)",
			errInsufficient, c.Name, c.CPU, c.Memory.String(), c.GPU))
	}
	if at >= 0 {
		v.hosts[at].take(c, 1)
	}
	if v.sticking[c.Name] > 0 {
		v.sticking[c.Name]--
		v.isStuck[name] = true
	}
	v.placed[name], v.sizes[name] = at, c
	delete(v.refusals, name)
	return nil
}

// delete frees the room of a VM, if there is one.
func (v *vms) delete(name string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if at, ok := v.placed[name]; ok && at >= 0 {
		v.hosts[at].take(v.sizes[name], -1)
	}
	delete(v.placed, name)
	delete(v.sizes, name)
	delete(v.isStuck, name)
	delete(v.refusals, name)
}

// refuse remembers why a VM was not created, and returns that error.
func (v *vms) refuse(name string, err error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.refused(name, err)
}

func (v *vms) refused(name string, err error) error {
	v.refusals[name] = err.Error()
	return err
}

// refusal is the reason of the last refusal, empty if the VM exists.
func (v *vms) refusal(name string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.refusals[name]
}

func (v *vms) stuck(name string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.isStuck[name]
}

func (v *vms) fail(class string, n int, message string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.failures[class] = failure{left: n, message: message}
}

func (v *vms) stick(class string, n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.sticking[class] = n
}

func (h host) fits(c Class) bool {
	return h.cpu >= c.CPU && h.memory >= c.Memory.Value() && h.gpu >= c.GPU &&
		(c.GPU == 0 || c.GPUType == "" || h.gpuType == "" || c.GPUType == h.gpuType)
}

// take takes n times the class from the host.
func (h *host) take(c Class, n int64) {
	h.cpu -= n * c.CPU
	h.memory -= n * c.Memory.Value()
	h.gpu -= n * c.GPU
}
