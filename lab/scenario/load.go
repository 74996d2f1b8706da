package scenario

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// maxFileBytes bounds a scenario file.
const maxFileBytes = 1 << 20

// Load reads a scenario file, fills in the defaults and validates it. The
// error lists every problem, one a line.
func Load(path string) (*Scenario, error) {
	b, err := os.ReadFile(path) //nolint:gosec // the user names the file
	if err != nil {
		return nil, fmt.Errorf("reading the scenario: %w", err)
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("finding the scenario's directory: %w", err)
	}
	s, err := Parse(b, dir)
	if err != nil {
		return nil, fmt.Errorf("%s:\n%w", path, err)
	}
	return s, nil
}

// Parse is Load for a file that is in memory; dir is what its paths are
// relative to.
func Parse(b []byte, dir string) (*Scenario, error) {
	if len(b) > maxFileBytes {
		return nil, fmt.Errorf("the scenario has %d bytes, more than %d", len(b), maxFileBytes)
	}
	j, err := yaml.YAMLToJSONStrict(b)
	if err != nil {
		return nil, fmt.Errorf("reading YAML: %w", err)
	}
	s := &Scenario{dir: dir}
	strict, err := kjson.UnmarshalStrict(j, s)
	if err != nil {
		return nil, errors.Join(append([]error{errors.New(strings.TrimPrefix(err.Error(), "json: "))}, strict...)...)
	}
	s.copies()
	s.fill()
	return s, errors.Join(append(strict, s.validate()...)...)
}

func seconds(n int) metav1.Duration {
	return metav1.Duration{Duration: time.Duration(n) * time.Second}
}

func orDuration(d *metav1.Duration, value metav1.Duration) {
	if d.Duration == 0 {
		*d = value
	}
}

// fill sets the defaults.
func (s *Scenario) fill() {
	orDuration(&s.Deadline, seconds(300))
	orDuration(&s.Finish.Hold, seconds(2))
	if s.HeadPool == "" {
		s.HeadPool = "head"
	}
	for i := range s.RayClusters {
		s.RayClusters[i].fill()
	}
	for i := range s.Objects {
		if s.Objects[i].Cluster == "" {
			s.Objects[i].Cluster = clusterManagement
		}
	}
	for i := range s.Drivers {
		d := &s.Drivers[i]
		orDuration(&d.Timeout, s.Deadline)
		d.RayCluster = qualified(d.RayCluster)
	}
	for i := range s.Faults {
		f := &s.Faults[i]
		orDuration(&f.RestartAfter, seconds(1))
		f.RayCluster = qualified(f.RayCluster)
		if f.AfterEvent != nil {
			f.AfterEvent.RayCluster = qualified(f.AfterEvent.RayCluster)
			f.AfterEvent.Count = max(f.AfterEvent.Count, 1)
		}
	}
	if s.Coordinator.Instances == 0 {
		s.Coordinator.Instances = 1
	}
	if a := s.Coordinator.AfterEvent; a != nil {
		a.RayCluster, a.Count = qualified(a.RayCluster), max(a.Count, 1)
	}
	s.Expect.fill()
}

// maxCopies bounds how many pools or objects one entry makes.
const maxCopies = 100

// copies puts as many pools and objects in the place of one as it asks for.
// More than [maxCopies] stay one, which validate reports.
func (s *Scenario) copies() {
	var pools []Pool
	for _, p := range s.Pools {
		for n := range copyCount(p.Copies) {
			c := p
			if p.Copies > 0 {
				c.Name = numbered(p.Name, n)
			}
			pools = append(pools, c)
		}
	}
	var objects []Object
	for _, o := range s.Objects {
		for n := range copyCount(o.Copies) {
			c := o
			if o.Copies > 0 {
				c.Object.Raw = []byte(numbered(string(o.Object.Raw), n))
			}
			objects = append(objects, c)
		}
	}
	s.Pools, s.Objects = pools, objects
}

func copyCount(n int) int {
	if n < 1 || n > maxCopies {
		return 1
	}
	return n
}

func numbered(text string, n int) string { return strings.ReplaceAll(text, "{n}", strconv.Itoa(n+1)) }

func (c *RayCluster) fill() {
	if c.Namespace == "" {
		c.Namespace = metav1.NamespaceDefault
	}
	if c.InTree == "" {
		c.InTree = inTreeLive
	}
	if c.Port == 0 {
		c.Port = 6379
	}
	if c.Head.CPU.IsZero() {
		c.Head.CPU = resource.MustParse("2")
	}
	if c.Head.Memory.IsZero() {
		c.Head.Memory = resource.MustParse("8Gi")
	}
	for i := range c.Groups {
		if c.Groups[i].Max == 0 {
			c.Groups[i].Max = 10
		}
	}
}

func (e *Expect) fill() {
	if e.BusyNodesRemoved == nil {
		e.BusyNodesRemoved = new(int)
	}
	if e.UnmarkedRemoved == nil {
		e.UnmarkedRemoved = new(int)
	}
	if e.GCSCrashes == nil {
		e.GCSCrashes = new(int)
	}
	if e.CoordinatorNeverPanics == nil {
		yes := true
		e.CoordinatorNeverPanics = &yes
	}
}

// qualified turns the name of a RayCluster into namespace/name.
func qualified(name string) string {
	if name == "" || strings.Contains(name, "/") {
		return name
	}
	return metav1.NamespaceDefault + "/" + name
}
