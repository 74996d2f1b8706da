package sizing

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// maxInput bounds what is read of one file, unpacked.
const maxInput = 1 << 30

// LineError is a fault in a file. Line counts from 1, the header included.
type LineError struct {
	File string
	Line int
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err) }

func (e *LineError) Unwrap() error { return e.Err }

// table is a CSV file with a header, row by row.
type table struct {
	file   string
	r      *csv.Reader
	column map[string]int
	record []string
	line   int
}

// open reads the header. Every column must be known and none may come twice.
func open(file string, r io.Reader, known []string) (*table, error) {
	if strings.HasSuffix(file, ".gz") {
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, fmt.Errorf("unpacking %s: %w", file, err)
		}
		r = z
	}
	limited := &io.LimitedReader{R: r, N: maxInput}
	c := csv.NewReader(&textOnly{r: limited})
	c.ReuseRecord = true
	c.TrimLeadingSpace = true
	t := &table{file: file, r: c, column: map[string]int{}}
	header, err := c.Read()
	if errors.Is(err, io.EOF) {
		return nil, t.fault(1, errors.New("the file is empty, want a header"))
	}
	if err != nil {
		return nil, t.wrap(err)
	}
	for i, name := range header {
		name = strings.ToLower(strings.TrimSpace(strings.TrimPrefix(name, "\ufeff")))
		if _, twice := t.column[name]; twice {
			return nil, t.fault(1, fmt.Errorf("column %q comes twice", name))
		}
		if !slices.Contains(known, name) {
			return nil, t.fault(1, fmt.Errorf("unknown column %q; known are %s", name, strings.Join(known, ", ")))
		}
		t.column[name] = i
	}
	return t, nil
}

// textOnly refuses bytes that no text has.
type textOnly struct{ r io.Reader }

func (l *textOnly) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if bytes.IndexByte(p[:n], 0) >= 0 {
		return n, errors.New("a zero byte: not a text file")
	}
	return n, err
}

func (t *table) fault(line int, err error) error { return &LineError{t.file, line, err} }

func (t *table) wrap(err error) error {
	var p *csv.ParseError
	if errors.As(err, &p) {
		return t.fault(p.Line, p.Err)
	}
	return fmt.Errorf("reading %s: %w", t.file, err)
}

// next reads a row; it returns false at the end of the file.
func (t *table) next() (bool, error) {
	record, err := t.r.Read()
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	if err != nil {
		return false, t.wrap(err)
	}
	t.record = record
	t.line, _ = t.r.FieldPos(0)
	return true, nil
}

// need tells which of some columns of one meaning the file has.
func (t *table) need(names ...string) (string, error) {
	got := ""
	for _, n := range names {
		if _, ok := t.column[n]; ok {
			if got != "" {
				return "", t.fault(1, fmt.Errorf("columns %q and %q say the same; keep one", got, n))
			}
			got = n
		}
	}
	if got == "" {
		return "", t.fault(1, fmt.Errorf("column %q is missing", strings.Join(names, `" or "`)))
	}
	return got, nil
}

func (t *table) text(name string) string {
	if i, ok := t.column[name]; ok {
		return strings.TrimSpace(t.record[i])
	}
	return ""
}

// amount reads a number that is not negative and multiplies it.
func (t *table) amount(name string, scale float64) (int64, error) {
	s := t.text(name)
	if s == "" {
		return 0, t.fault(t.line, fmt.Errorf("%s is empty", name))
	}
	return t.parse(name, s, scale)
}

func (t *table) parse(name, s string, scale float64) (int64, error) {
	v, err := strconv.ParseFloat(s, 64)
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange):
		return 0, t.fault(t.line, fmt.Errorf("%s: %q is not a number", name, s))
	case math.IsNaN(v) || math.IsInf(v, 0):
		return 0, t.fault(t.line, fmt.Errorf("%s: %q is not a finite number", name, s))
	case v < 0:
		return 0, t.fault(t.line, fmt.Errorf("%s: %s is negative", name, s))
	}
	v = math.Round(v * scale)
	if v >= 1<<62 {
		return 0, t.fault(t.line, fmt.Errorf("%s: %s is too large", name, s))
	}
	return int64(v), nil
}

// whole reads a number without a fraction.
func (t *table) whole(name string) (int64, error) {
	s := t.text(name)
	if s == "" {
		return 0, t.fault(t.line, fmt.Errorf("%s is empty", name))
	}
	v, err := strconv.ParseInt(s, 10, 64)
	switch {
	case err != nil && strings.HasPrefix(s, "-"), v < 0:
		return 0, t.fault(t.line, fmt.Errorf("%s: %s is negative", name, s))
	case err != nil:
		return 0, t.fault(t.line, fmt.Errorf("%s: %q is not a whole number in range", name, s))
	}
	return v, nil
}
