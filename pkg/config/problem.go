package config

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// Problem is one thing that is wrong with a configuration. Every error of
// [Parse] and [Configuration.Validate] is a join of problems; errors.As finds
// the first of them.
type Problem struct {
	// File and Line say where the problem is written, if it was read from a
	// file; Line is zero where no line can be named.
	File string
	Line int
	// Path names the field, such as "growth.backoffMax" or
	// "catalogue.classes[2].price". It is empty for a problem of the whole file.
	Path string
	// Text says what is wrong.
	Text string
}

// Error is "file:line: path: text", without what is not known.
func (p *Problem) Error() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			b.WriteByte(':')
			b.WriteString(strconv.Itoa(p.Line))
		}
		b.WriteString(": ")
	}
	if p.Path != "" {
		b.WriteString(p.Path)
		b.WriteString(": ")
	}
	b.WriteString(p.Text)
	return b.String()
}

// problems collects what is wrong, so that everything is reported at once.
type problems []*Problem

func (ps *problems) add(path, text string) {
	*ps = append(*ps, &Problem{Path: path, Text: text})
}

func (ps *problems) addAt(line int, path, text string) {
	*ps = append(*ps, &Problem{Line: line, Path: path, Text: text})
}

// err joins the problems in the order of their lines, or is nil.
func (ps *problems) err() error {
	slices.SortStableFunc(*ps, func(a, b *Problem) int { return cmp.Compare(a.Line, b.Line) })
	errs := make([]error, len(*ps))
	for i, p := range *ps {
		errs[i] = p
	}
	return errors.Join(errs...)
}

// locate names the file of every problem and, where a problem has no line, the
// line of its field or of the closest block around it.
func (ps *problems) locate(file string, lines map[string]int) {
	for _, p := range *ps {
		p.File = file
		for path := p.Path; p.Line == 0 && path != ""; path = parentPath(path) {
			p.Line = lines[path]
		}
	}
}

// parentPath takes the last step from a path: a.b[2].c, a.b[2], a.b, a, "".
func parentPath(path string) string {
	return path[:max(0, strings.LastIndexAny(path, ".["))]
}
