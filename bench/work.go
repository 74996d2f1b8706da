package main

import (
	"embed"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
)

//go:embed testdata/*.csv
var testdata embed.FS

// shape is a number of equal pods.
type shape struct {
	name             string
	count            int64
	cpu, memory, gpu int64 // milli-cores, MiB, devices
}

// nodeType is a kind of node that can be bought.
type nodeType struct {
	name             string
	cpu, memory, gpu int64
	price            int64 // of one node, in thousandths
	stock            int64
}

// work is what the planners are given.
type work struct {
	shapes []shape
	types  []nodeType
	// taint keeps pods without GPUs off nodes with GPUs.
	taint bool
}

func (w *work) pods() int64 {
	n := int64(0)
	for _, s := range w.shapes {
		n += s.count
	}
	return n
}

// refuses tells whether the taint keeps the shape off the type.
func (w *work) refuses(t *nodeType, s *shape) bool { return w.taint && t.gpu > 0 && s.gpu == 0 }

// benchCase names a work.
type benchCase struct {
	name        string
	pods, types string // files
	taint       bool
	usual       bool // part of the default
}

// cases are nine shapes with capped (A) or linear (B) prices, and two mixes of
// 250 shapes.
var cases = []benchCase{
	{"1000-B", "pods-1000.csv", "types-B.csv", false, true},
	{"3000-A", "pods-3000.csv", "types-A.csv", false, true},
	{"3000-A-taint", "pods-3000.csv", "types-A.csv", true, true},
	{"3000-B", "pods-3000.csv", "types-B.csv", false, true},
	{"3000-B-taint", "pods-3000.csv", "types-B.csv", true, true},
	{"5000-B", "pods-5000.csv", "types-B.csv", false, false},
	{"5000-B-taint", "pods-5000.csv", "types-B.csv", true, false},
	{"10000-B", "pods-10000.csv", "types-B.csv", false, false},
	{"10000-B-taint", "pods-10000.csv", "types-B.csv", true, false},
	{"10000-A", "pods-10000.csv", "types-A.csv", false, false},
	{"250shapes-1000-B", "pods-1000-of-250-shapes.csv", "types-B.csv", false, false},
	{"250shapes-1000-B-taint", "pods-1000-of-250-shapes.csv", "types-B.csv", true, false},
	{"250shapes-5000-B", "pods-5000-of-250-shapes.csv", "types-B.csv", false, false},
	{"250shapes-5000-B-taint", "pods-5000-of-250-shapes.csv", "types-B.csv", true, false},
}

func caseNames() []string {
	out := make([]string, 0, len(cases))
	for _, c := range cases {
		out = append(out, c.name)
	}
	return out
}

// pickCases reads the flag --cases.
func pickCases(list string) ([]benchCase, error) {
	switch list {
	case "all":
		return cases, nil
	case "default":
		return slices.DeleteFunc(slices.Clone(cases), func(c benchCase) bool { return !c.usual }), nil
	}
	var out []benchCase
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(cases, func(c benchCase) bool { return c.name == strings.TrimSpace(name) })
		if i < 0 {
			return nil, fmt.Errorf("%w: there is no case %q; known: %s", errUsage, name, strings.Join(caseNames(), ", "))
		}
		out = append(out, cases[i])
	}
	return out, nil
}

// load reads the case's files.
func (c *benchCase) load() (*work, error) {
	w := &work{taint: c.taint}
	err := readTable(c.pods, "name,count,cpu_milli,mem_mib,gpu", func(name string, n []float64) {
		w.shapes = append(w.shapes, shape{name: name, count: int64(n[0]), cpu: int64(n[1]), memory: int64(n[2]), gpu: int64(n[3])})
	})
	if err != nil {
		return nil, err
	}
	err = readTable(c.types, "name,cpu_milli,mem_mib,gpu,price,max", func(name string, n []float64) {
		w.types = append(w.types, nodeType{
			name: name, cpu: int64(n[0]), memory: int64(n[1]), gpu: int64(n[2]),
			price: int64(n[3]*1000 + 0.5), stock: int64(n[4]),
		})
	})
	return w, err
}

// readTable reads a file of testdata with a name and numbers in each row.
func readTable(file, header string, add func(name string, numbers []float64)) error {
	f, err := testdata.Open(path.Join("testdata", file))
	if err != nil {
		return fmt.Errorf("opening a table: %w", err)
	}
	defer f.Close() //nolint:errcheck // It is part of the binary.
	r := csv.NewReader(f)
	first, err := r.Read()
	if err != nil {
		return fmt.Errorf("reading the header of %s: %w", file, err)
	}
	if strings.Join(first, ",") != header {
		return fmt.Errorf("reading %s: the header is %q, not %q", file, first, header)
	}
	for {
		fields, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", file, err)
		}
		numbers := make([]float64, len(fields)-1)
		for i, s := range fields[1:] {
			if numbers[i], err = strconv.ParseFloat(s, 64); err != nil || numbers[i] < 0 {
				return fmt.Errorf("reading %s: %q in the row of %s is not a number of zero or more", file, s, fields[0])
			}
		}
		add(fields[0], numbers)
	}
}
