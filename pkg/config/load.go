package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	yamlv3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/yaml"
)

// maxSize bounds a configuration file, in bytes. A real one has a few KiB.
const maxSize = 1 << 20

// Load reads the configuration file at path. See [Parse] for its errors. The
// files that the configuration names are not looked at: that is
// [Configuration.CheckFiles].
func Load(path string) (Configuration, error) {
	f, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return Configuration{}, fmt.Errorf("reading the configuration: %w", err)
	}
	defer f.Close() //nolint:errcheck // the file was only read
	b, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return Configuration{}, fmt.Errorf("reading the configuration: %w", err)
	}
	return Parse(b, path)
}

// Parse reads one YAML (or JSON) document on top of [Default] and validates
// the result. Unknown and duplicate keys, values of a wrong type, a second
// document, and whatever [Configuration.Validate] objects to are errors; all
// of them are reported at once, each with the name given here and its line.
// Names of keys are case sensitive. Numbers where text is wanted are taken as
// they are written, so a price of 2.50 needs no quotes.
func Parse(b []byte, name string) (Configuration, error) {
	var ps problems
	fail := func(lines map[string]int) (Configuration, error) {
		ps.locate(name, lines)
		return Configuration{}, ps.err()
	}
	root, err := document(b)
	if err != nil {
		return Configuration{}, fmt.Errorf("%s: %w", name, err)
	}
	d := decoder{problems: &ps, lines: map[string]int{}}
	if d.version(root); len(ps) > 0 {
		return fail(d.lines) // the fields of another version mean something else
	}
	if d.root(root); len(ps) > 0 {
		return fail(d.lines)
	}
	c, err := decode(root)
	if err != nil {
		return Configuration{}, fmt.Errorf("%s: %w", name, err)
	}
	if c.validate(&ps); len(ps) > 0 {
		return fail(d.lines)
	}
	return c, nil
}

// document is the one YAML document in b, as a tree that knows its lines.
func document(b []byte) (*yamlv3.Node, error) {
	if len(b) > maxSize {
		return nil, fmt.Errorf("larger than %d bytes", maxSize)
	}
	dec := yamlv3.NewDecoder(bytes.NewReader(b))
	var doc, more yamlv3.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, errors.New("the file is empty")
	case err != nil:
		return nil, err
	}
	switch err := dec.Decode(&more); {
	case err == nil:
		return nil, fmt.Errorf("line %d: a second document starts here; only one is read", more.Line)
	case !errors.Is(err, io.EOF):
		return nil, err
	}
	if doc.Kind != yamlv3.DocumentNode || len(doc.Content) != 1 {
		return nil, errors.New("the file is empty")
	}
	return doc.Content[0], nil
}

// decode fills a configuration from a tree that the decoder has checked.
func decode(root *yamlv3.Node) (Configuration, error) {
	b, err := yamlv3.Marshal(root)
	if err != nil {
		return Configuration{}, fmt.Errorf("normalising the document: %w", err)
	}
	c := Default()
	if err := yaml.UnmarshalStrict(b, &c); err != nil {
		return Configuration{}, fmt.Errorf("decoding the document: %w", err)
	}
	return c, nil
}
