package scenario

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

const (
	clusterManagement = "management"
	clusterWorkload   = "workload"

	inTreeLive   = "live"
	inTreeInert  = "inert"
	inTreeAbsent = "absent"
)

// maxDuration bounds every duration: a lab is nothing for days.
const maxDuration = 24 * time.Hour

// problems collects errors with the path of their field.
type problems struct{ errs []error }

func (p *problems) add(path, format string, args ...any) {
	p.errs = append(p.errs, fmt.Errorf("%s: %w", path, fmt.Errorf(format, args...)))
}

func (p *problems) name(path, name string) {
	if name == "" {
		p.add(path, "is needed")
		return
	}
	for _, why := range validation.IsDNS1123Label(name) {
		p.add(path, "%q: %s", name, why)
	}
}

func (p *problems) duration(path string, d metav1.Duration) {
	if d.Duration < 0 || d.Duration > maxDuration {
		p.add(path, "%s is not between 0 and %s", d.Duration, maxDuration)
	}
}

func (p *problems) number(path string, n, low, high int64) {
	if n < low || n > high {
		p.add(path, "%d is not between %d and %d", n, low, high)
	}
}

func (p *problems) positive(path string, q resource.Quantity) {
	if q.Sign() <= 0 {
		p.add(path, "%s is not above zero", q.String())
	}
}

func (p *problems) oneOf(path, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		p.add(path, "%q is not one of %q", value, allowed)
	}
}

func (p *problems) known(path, what, name string, names map[string]bool) {
	if !names[name] {
		p.add(path, "there is no %s %q", what, name)
	}
}

// unique adds a name to names and reports one that is there already.
func (p *problems) unique(path, name string, names map[string]bool) {
	if name != "" && names[name] {
		p.add(path, "%q is there twice", name)
	}
	names[name] = true
}

// names are what other parts of a scenario refer to.
type names struct {
	classes, pools, clusters, drivers, groups map[string]bool
}

// validate lists every problem of a scenario whose defaults are filled in.
func (s *Scenario) validate() []error {
	p := &problems{}
	if s.APIVersion != APIVersion {
		p.add("apiVersion", "%q is not %q", s.APIVersion, APIVersion)
	}
	if s.Kind != Kind {
		p.add("kind", "%q is not %q", s.Kind, Kind)
	}
	p.name("name", s.Name)
	p.duration("deadline", s.Deadline)
	p.duration("imageTime", s.ImageTime)
	p.number("maxStarting", int64(s.MaxStarting), 0, 64)
	p.duration("finish.hold", s.Finish.Hold)
	if n := s.Finish.WorkerMachines; n != nil {
		p.number("finish.workerMachines", int64(*n), 0, 10000)
	}
	s.VM.validate(p)
	n := names{classes: map[string]bool{}, pools: map[string]bool{}, clusters: map[string]bool{}, drivers: map[string]bool{}, groups: map[string]bool{}}
	s.validateMachines(p, n)
	s.validateRayClusters(p, n)
	s.validateDrivers(p, n)
	for i := range s.Objects {
		s.Objects[i].validate(p, fmt.Sprintf("objects[%d]", i))
	}
	for i := range s.Faults {
		s.Faults[i].validate(p, fmt.Sprintf("faults[%d]", i), n)
	}
	s.Coordinator.validate(p, n)
	s.Expect.validate(p, n)
	return p.errs
}

func (v VM) validate(p *problems) {
	p.duration("vm.boot", v.Boot)
	p.duration("vm.node", v.Node)
	if v.Jitter != "" {
		if x, err := strconv.ParseFloat(v.Jitter, 64); err != nil || !(x >= 0 && x <= 1) {
			p.add("vm.jitter", "%q is not a decimal between 0 and 1", v.Jitter)
		}
	}
}

func (s *Scenario) validateMachines(p *problems, n names) {
	if len(s.Classes) == 0 {
		p.add("classes", "at least one is needed")
	}
	for i, c := range s.Classes {
		path := fmt.Sprintf("classes[%d]", i)
		p.name(path+".name", c.Name)
		p.unique(path+".name", c.Name, n.classes)
		p.number(path+".cpu", c.CPU, 1, 4096)
		p.positive(path+".memory", c.Memory)
		p.number(path+".gpu", c.GPU, 0, 64)
		if c.Price != "" {
			if x, err := strconv.ParseFloat(c.Price, 64); err != nil || !(x >= 0 && x < 1e9) {
				p.add(path+".price", "%q is not a decimal that is zero or more", c.Price)
			}
		}
	}
	for i, h := range s.Hosts {
		path := fmt.Sprintf("hosts[%d]", i)
		p.number(path+".count", int64(h.Count), 1, 10000)
		p.number(path+".cpu", h.CPU, 1, 4096)
		p.positive(path+".memory", h.Memory)
		p.number(path+".gpu", h.GPU, 0, 64)
	}
	for i, pool := range s.Pools {
		pool.validate(p, fmt.Sprintf("pools[%d]", i), n)
	}
	if len(s.RayClusters) > 0 {
		p.known("headPool", "pool", s.HeadPool, n.pools)
	}
}

func (pool *Pool) validate(p *problems, path string, n names) {
	p.name(path+".name", pool.Name)
	p.unique(path+".name", pool.Name, n.pools)
	p.known(path+".class", "class", pool.Class, n.classes)
	p.number(path+".replicas", int64(pool.Replicas), 0, 1000)
	p.number(path+".copies", int64(pool.Copies), 0, maxCopies)
	if (pool.Min == nil) != (pool.Max == nil) {
		p.add(path, "min and max go together")
	}
	if pool.Min != nil && pool.Max != nil {
		p.number(path+".min", int64(*pool.Min), 0, 10000)
		p.number(path+".max", int64(*pool.Max), int64(*pool.Min), 10000)
	}
	if pool.Boot != nil {
		p.duration(path+".boot", *pool.Boot)
	}
}

func (s *Scenario) validateDrivers(p *problems, n names) {
	for i := range s.Drivers {
		d := &s.Drivers[i]
		path := fmt.Sprintf("drivers[%d]", i)
		p.name(path+".name", d.Name)
		p.known(path+".rayCluster", "RayCluster", d.RayCluster, n.clusters)
		p.duration(path+".at", d.At)
		p.duration(path+".afterDelay", d.AfterDelay)
		p.duration(path+".timeout", d.Timeout)
		if d.After != "" {
			// Only earlier drivers are known here, so there can be no circle.
			p.known(path+".after", "earlier driver", d.After, n.drivers)
		} else if d.AfterDelay.Duration != 0 {
			p.add(path+".afterDelay", "needs after")
		}
		p.unique(path+".name", d.Name, n.drivers)
		if err := s.checkProgram(d); err != nil {
			p.add(path+".script", "%w", err)
		}
		p.number(path+".expectExit", int64(d.ExpectExit), 0, 255)
		if d.AnyExit && d.ExpectExit != 0 {
			p.add(path+".anyExit", "goes not together with expectExit")
		}
	}
}

func (s *Scenario) checkProgram(d *Driver) error {
	if (d.Script == "") == (d.Code == "") {
		return errors.New("one of script and code is needed")
	}
	if d.Script == "" {
		return nil
	}
	info, err := os.Stat(s.path(d.Script))
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file", d.Script)
	}
	return nil
}

// path resolves a path of the file.
func (s *Scenario) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(s.dir, name)
}
