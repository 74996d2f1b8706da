// Package sizing reads a demand and a catalogue of VM classes from CSV files
// into the packer's terms. It converts and checks units once, at the edge, so
// that the packer only sees whole amounts.
package sizing

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/tandem-autoscaler/tandem/pkg/planner/packing"
)

// PriceUnit is how many units of price in the packer one unit in a file is.
const PriceUnit = 1_000_000

const (
	mebibyte = 1 << 20
	gibibyte = 1 << 30
)

// Class is a row of a catalogue.
type Class struct {
	Name        string
	CPU, Memory int64 // milli-CPU and bytes
	GPUs        int64 // whole devices
	GPUType     string
	Price       int64 // in 1/PriceUnit
	Max         int64 // [packing.Unlimited] if the file names none
}

// Demand is a row of a demand: a number of equal pods.
type Demand struct {
	Name        string
	Count       int64
	CPU, Memory int64 // milli-CPU and bytes
	GPU         int64 // in 1/[packing.Device]
	// GPUTypes that will do; empty: any.
	GPUTypes []string
	// Custom resources in units of 1e-4.
	Custom map[string]int64
	// Spread allows one pod of the row on a node.
	Spread bool
}

// ReadClasses reads a catalogue: the columns name, cpu_milli, mem_mib, gpu and
// price, and if wanted max (empty: no limit, 0: none to be had) and gpu_type.
// The columns vm_class, cpu (cores), memory_gib and price_per_hour do as well.
// The file's name is for messages and tells by .gz that it is packed. Faults
// in the file are [LineError]s.
func ReadClasses(file string, r io.Reader) ([]Class, error) {
	t, err := open(file, r, []string{"name", "vm_class", "cpu_milli", "cpu", "mem_mib", "memory_gib", "gpu", "gpu_type", "price", "price_per_hour", "max"})
	if err != nil {
		return nil, err
	}
	var c classColumns
	if err := c.find(t); err != nil {
		return nil, err
	}
	var classes []Class
	seen := map[string]int{}
	for {
		more, err := t.next()
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
		class, err := c.read(t)
		if err != nil {
			return nil, err
		}
		if first, twice := seen[class.Name]; twice {
			return nil, t.fault(t.line, fmt.Errorf("class %q is on line %d already", class.Name, first))
		}
		seen[class.Name] = t.line
		classes = append(classes, class)
	}
	if len(classes) == 0 {
		return nil, t.fault(2, errors.New("the file has a header and no class"))
	}
	return classes, nil
}

type classColumns struct{ name, cpu, memory, price string }

func (c *classColumns) find(t *table) error {
	var errs [5]error
	c.name, errs[0] = t.need("name", "vm_class")
	c.cpu, errs[1] = t.need("cpu_milli", "cpu")
	c.memory, errs[2] = t.need("mem_mib", "memory_gib")
	_, errs[3] = t.need("gpu")
	c.price, errs[4] = t.need("price", "price_per_hour")
	return errors.Join(errs[:]...)
}

// scales of the columns that differ in their unit.
var scales = map[string]float64{"cpu": 1000, "cpu_milli": 1, "mem_mib": mebibyte, "memory_gib": gibibyte, "memory_bytes": 1}

func (c *classColumns) read(t *table) (Class, error) {
	class := Class{Name: t.text(c.name), GPUType: t.text("gpu_type"), Max: packing.Unlimited}
	if class.Name == "" {
		return class, t.fault(t.line, errors.New("the class has no name"))
	}
	var errs [5]error
	class.CPU, errs[0] = t.amount(c.cpu, scales[c.cpu])
	class.Memory, errs[1] = t.amount(c.memory, scales[c.memory])
	class.GPUs, errs[2] = t.whole("gpu")
	class.Price, errs[3] = t.amount(c.price, PriceUnit)
	if t.text("max") != "" {
		class.Max, errs[4] = t.whole("max")
	}
	return class, errors.Join(errs[:]...)
}

// traceColumns are the further columns of the format demandtrace/v1.
var traceColumns = []string{"arrival_s", "duration_s", "gang", "gpu_type", "custom", "tenant", "priority", "patience_s", "label"}

// ReadDemand reads a demand: the columns name, count, cpu_milli, mem_mib and
// gpu (which may be a fraction), or the columns of the format demandtrace/v1,
// of which every row counts as if all were there at once. The file's name is
// for messages and tells by .gz that it is packed. Faults in the file are
// [LineError]s.
func ReadDemand(file string, r io.Reader) ([]Demand, error) {
	t, err := open(file, r, append([]string{"name", "id", "count", "cpu_milli", "cpu", "mem_mib", "memory_bytes", "gpu"}, traceColumns...))
	if err != nil {
		return nil, err
	}
	var errs [5]error
	name, err := t.need("name", "id")
	errs[0] = err
	cpu, err := t.need("cpu_milli", "cpu")
	errs[1] = err
	memory, err := t.need("mem_mib", "memory_bytes")
	errs[2] = err
	_, errs[3] = t.need("count")
	_, errs[4] = t.need("gpu")
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	var demand []Demand
	for {
		more, err := t.next()
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
		d, err := readDemand(t, name, cpu, memory)
		if err != nil {
			return nil, err
		}
		demand = append(demand, d)
	}
	if len(demand) == 0 {
		return nil, t.fault(2, errors.New("the file has a header and no demand"))
	}
	return demand, nil
}

func readDemand(t *table, name, cpu, memory string) (Demand, error) {
	d := Demand{Name: t.text(name)}
	if d.Name == "" {
		return d, t.fault(t.line, errors.New("the demand has no name"))
	}
	var errs [6]error
	d.Count, errs[0] = t.whole("count")
	d.CPU, errs[1] = t.amount(cpu, scales[cpu])
	d.Memory, errs[2] = t.amount(memory, scales[memory])
	d.GPU, errs[3] = t.amount("gpu", float64(packing.Device))
	if s := t.text("gpu_type"); s != "" {
		d.GPUTypes = strings.Split(s, "|")
		slices.Sort(d.GPUTypes)
	}
	d.Custom, errs[4] = readCustom(t)
	if err := errors.Join(errs[:]...); err != nil {
		return d, err
	}
	if d.GPU > packing.Device && d.GPU%packing.Device != 0 {
		return d, t.fault(t.line, fmt.Errorf("gpu: %s is more than one device and not whole", t.text("gpu")))
	}
	return d, d.gang(t)
}

func readCustom(t *table) (map[string]int64, error) {
	s := t.text("custom")
	if s == "" {
		return nil, nil //nolint:nilnil // A row without custom resources has none.
	}
	custom := map[string]int64{}
	for pair := range strings.SplitSeq(s, ";") {
		name, value, ok := strings.Cut(pair, "=")
		name = strings.TrimSpace(name)
		if !ok || name == "" {
			return nil, t.fault(t.line, fmt.Errorf("custom: %q is not name=value", pair))
		}
		v, err := t.parse("custom "+name, strings.TrimSpace(value), 1e4)
		if err != nil {
			return nil, err
		}
		if _, twice := custom[name]; twice {
			return nil, t.fault(t.line, fmt.Errorf("custom: %q comes twice", name))
		}
		custom[name] = v
	}
	return custom, nil
}

// gang turns the strict strategies into what they mean for one node. The
// others are wishes.
func (d *Demand) gang(t *table) error {
	switch s := t.text("gang"); s {
	case "", "PACK", "SPREAD":
	case "STRICT_SPREAD":
		d.Spread = true
	case "STRICT_PACK":
		d.join()
	default:
		return t.fault(t.line, fmt.Errorf("gang: %q is not one of PACK, SPREAD, STRICT_PACK, STRICT_SPREAD", s))
	}
	return nil
}

// join makes one pod of the bundles that must share a node. Fractions of
// devices become the whole devices that they need.
func (d *Demand) join() {
	n := d.Count
	if n <= 1 {
		return
	}
	if d.GPU > 0 && d.GPU < packing.Device {
		each := packing.Device / d.GPU
		d.GPU = mulSat((n+each-1)/each, packing.Device)
	} else {
		d.GPU = mulSat(d.GPU, n)
	}
	d.CPU, d.Memory, d.Count = mulSat(d.CPU, n), mulSat(d.Memory, n), 1
	for name, v := range d.Custom {
		d.Custom[name] = mulSat(v, n)
	}
}

func mulSat(a, b int64) int64 {
	if a != 0 && b > (1<<62)/a {
		return 1 << 62
	}
	return a * b
}

// Problem makes the packer's problem. With taint, nodes with GPUs refuse pods
// without.
func Problem(classes []Class, demand []Demand, taint bool) packing.Problem {
	var custom []string
	for _, d := range demand {
		for name := range d.Custom {
			custom = append(custom, name)
		}
	}
	slices.Sort(custom)
	custom = slices.Compact(custom)
	var p packing.Problem
	for _, c := range classes {
		p.Classes = append(p.Classes, packing.Class{Name: c.Name, Capacity: []int64{c.CPU, c.Memory}, Devices: c.GPUs, Price: c.Price, Max: c.Max, Headroom: packing.Unlimited})
	}
	for _, d := range demand {
		s := packing.Shape{Name: d.Name, Amounts: []int64{d.CPU, d.Memory}, GPU: d.GPU, Count: d.Count}
		for _, name := range custom {
			s.Amounts = append(s.Amounts, d.Custom[name])
		}
		if d.Spread {
			s.MaxPerNode = 1
		}
		for k, c := range classes {
			wrongType := d.GPU > 0 && len(d.GPUTypes) > 0 && c.GPUType != "" && !slices.Contains(d.GPUTypes, c.GPUType)
			if taint && c.GPUs > 0 && d.GPU == 0 || wrongType {
				if s.Refused == nil {
					s.Refused = make([]bool, len(classes))
				}
				s.Refused[k] = true
			}
		}
		p.Shapes = append(p.Shapes, s)
	}
	return p
}
