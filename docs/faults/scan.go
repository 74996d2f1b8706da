package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// proof is one test of one row.
type proof struct {
	fault int
	file  string // from the root of the repository, with slashes
	name  string // of the test; empty for a scenario
	text  string // what is special about it
}

var (
	errNoFault = errors.New("there is no fault of this number")
	errForm    = errors.New("it is written `Fault NUMBER: what happens.`")

	claim  = regexp.MustCompile(`^Fault ([0-9]+): (\S.*)$`)
	almost = regexp.MustCompile(`^Faults? [0-9]`)
)

// scan reads all Go tests and all scenarios below root. Its result is sorted.
func scan(root string, rows int) ([]proof, error) {
	var out []proof
	var errs []error
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		at, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		at = filepath.ToSlash(at)
		if d.IsDir() {
			if at != "." && (strings.HasPrefix(d.Name(), ".") || at == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		found, err := scanFile(file, at, rows)
		out, errs = append(out, found...), append(errs, err)
		return nil
	})
	slices.SortFunc(out, func(a, b proof) int {
		return first(a.fault-b.fault, strings.Compare(a.file, b.file), strings.Compare(a.name, b.name), strings.Compare(a.text, b.text))
	})
	return out, errors.Join(err, errors.Join(errs...))
}

// first is the first of some comparisons that tells a difference.
func first(by ...int) int {
	for _, n := range by {
		if n != 0 {
			return n
		}
	}
	return 0
}

func scanFile(file, at string, rows int) ([]proof, error) {
	isTest := strings.HasSuffix(at, "_test.go")
	isScenario := path.Ext(at) == ".yaml" && strings.HasPrefix(at, "lab/scenarios/")
	isStory := path.Ext(at) == ".txtar" && strings.Contains(at, "/testdata/")
	if !isTest && !isScenario && !isStory {
		return nil, nil
	}
	b, err := os.ReadFile(file) //nolint:gosec // A file of the repository.
	if err != nil {
		return nil, err
	}
	if isTest {
		return scanGo(at, b, rows)
	}
	return scanLines(at, b, rows)
}

// scanGo finds the claims in the comments of a Go test. A comment inside or
// right above a function belongs to it, one above another declaration to that.
func scanGo(at string, b []byte, rows int) ([]proof, error) {
	if !bytes.Contains(b, []byte("Fault")) {
		return nil, nil
	}
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, at, b, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var out []proof
	for _, group := range f.Comments {
		found, err := claims(strings.Split(strings.TrimSpace(group.Text()), "\n"), rows)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", files.Position(group.Pos()), err)
		}
		for _, p := range found {
			p.file, p.name = at, owner(f, group)
			if p.name == "" {
				return nil, fmt.Errorf("%s: fault %d is claimed outside of any test", files.Position(group.Pos()), p.fault)
			}
			out = append(out, p)
		}
	}
	return out, nil
}

// owner is the name of the declaration that a comment belongs to.
func owner(f *ast.File, group *ast.CommentGroup) string {
	for _, d := range f.Decls {
		if d.End() < group.Pos() {
			continue
		}
		switch d := d.(type) {
		case *ast.FuncDecl:
			return d.Name.Name
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.ValueSpec:
					return s.Names[0].Name
				case *ast.TypeSpec:
					return s.Name.Name
				}
			}
		}
	}
	return ""
}

// scanLines finds the claims in the lines of a scenario that begin with #.
func scanLines(at string, b []byte, rows int) ([]proof, error) {
	var comment []string
	lines := bufio.NewScanner(bytes.NewReader(b))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		text, is := strings.CutPrefix(strings.TrimSpace(lines.Text()), "# ")
		if !is {
			text = ""
		}
		comment = append(comment, text)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading %s: %w", at, err)
	}
	found, err := claims(comment, rows)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", at, err)
	}
	for i := range found {
		found[i].file = at
	}
	return found, nil
}

// claims reads the lines of a comment. The text of a claim goes on to the end
// of its sentence.
func claims(lines []string, rows int) ([]proof, error) {
	var out []proof
	open := false
	for _, line := range lines {
		line = strings.TrimSpace(line)
		m := claim.FindStringSubmatch(line)
		switch {
		case m != nil:
			n, err := strconv.Atoi(m[1])
			if err != nil || n < 1 || n > rows {
				return nil, fmt.Errorf("%w: %q", errNoFault, line)
			}
			out = append(out, proof{fault: n, text: m[2]})
		case almost.MatchString(line):
			return nil, fmt.Errorf("%w: %q", errForm, line)
		case open && line != "":
			out[len(out)-1].text += " " + line
		default:
			continue
		}
		open = line != "" && !strings.HasSuffix(line, ".")
	}
	for i := range out {
		out[i].text = strings.TrimSuffix(out[i].text, ".")
	}
	return out, nil
}
