package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	yamlv3 "go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// decoder compares a YAML tree with the types of [Configuration]. The decoders
// of YAML and JSON stop at their first error, ignore the case of keys and
// forget the lines; this walk finds every mismatch and its line. It also
// writes scalars in a form that the decoder which fills the values, and
// which reads YAML 1.1, cannot take for anything else.
type decoder struct {
	problems *problems
	// lines tells where each path that was set is written.
	lines map[string]int
}

// version checks apiVersion and kind alone.
func (d *decoder) version(root *yamlv3.Node) {
	if root.Kind != yamlv3.MappingNode {
		d.problems.addAt(root.Line, "", "want a mapping with apiVersion and kind, not "+describe(root))
		return
	}
	for _, want := range []struct{ key, value string }{{"apiVersion", APIVersion}, {"kind", Kind}} {
		got, line := "", root.Line
		for i := 0; i+1 < len(root.Content); i += 2 {
			if root.Content[i].Value == want.key {
				got, line = root.Content[i+1].Value, root.Content[i].Line
			}
		}
		switch got {
		case want.value:
		case "":
			d.problems.addAt(line, want.key, "missing; want "+want.value)
		default:
			d.problems.addAt(line, want.key, fmt.Sprintf("is %q; this program reads %s", got, want.value))
		}
	}
}

func (d *decoder) root(root *yamlv3.Node) {
	d.node(root, reflect.TypeFor[Configuration](), "")
}

// node checks one value against the type that it will be stored in.
func (d *decoder) node(n *yamlv3.Node, t reflect.Type, path string) {
	if n.Kind == yamlv3.AliasNode || n.Anchor != "" {
		d.problems.addAt(n.Line, path, "anchors and aliases are not read; write the value out")
		return
	}
	if t == reflect.TypeFor[metav1.Duration]() {
		d.duration(n, path)
		return
	}
	switch t.Kind() { //nolint:exhaustive // a configuration has no fields of other kinds, and one that had is reported
	case reflect.Pointer:
		if n.Tag != "!!null" {
			d.node(n, t.Elem(), path)
		}
	case reflect.Struct:
		d.mapping(n, t, path)
	case reflect.Slice:
		d.sequence(n, t, path)
	case reflect.String:
		d.text(n, path)
	case reflect.Bool:
		if n.Kind != yamlv3.ScalarNode || n.Tag != "!!bool" {
			d.mismatch(n, path, "true or false")
		}
	case reflect.Int64:
		d.integer(n, path)
	default:
		d.problems.addAt(n.Line, path, "this program cannot read a value of type "+t.String())
	}
}

func (d *decoder) mapping(n *yamlv3.Node, t reflect.Type, path string) {
	if n.Kind == yamlv3.ScalarNode && n.Tag == "!!null" {
		return // an empty block keeps its defaults
	}
	if n.Kind != yamlv3.MappingNode {
		d.mismatch(n, path, "a mapping")
		return
	}
	fields := jsonFields(t)
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		at := join(path, key.Value)
		if first, twice := seen[key.Value]; twice {
			d.problems.addAt(key.Line, at, "set twice, first on line "+strconv.Itoa(first))
			continue
		}
		seen[key.Value] = key.Line
		ft, known := fields[key.Value]
		if !known || key.Kind != yamlv3.ScalarNode {
			d.unknown(key, at, fields)
			continue
		}
		d.lines[at] = key.Line
		d.node(value, ft, at)
	}
}

// unknown reports a key that is no field, with the field that differs from it
// in case only, or the list of those that exist.
func (d *decoder) unknown(key *yamlv3.Node, path string, fields map[string]reflect.Type) {
	names := slices.Sorted(maps.Keys(fields))
	hint := "known here: " + strings.Join(names, ", ")
	if i := slices.IndexFunc(names, func(n string) bool { return strings.EqualFold(n, key.Value) }); i >= 0 {
		hint = "did you mean " + names[i] + "?"
	}
	d.problems.addAt(key.Line, path, "unknown field; "+hint)
}

func (d *decoder) sequence(n *yamlv3.Node, t reflect.Type, path string) {
	if n.Kind == yamlv3.ScalarNode && n.Tag == "!!null" {
		return
	}
	if n.Kind != yamlv3.SequenceNode {
		d.mismatch(n, path, "a list")
		return
	}
	for i, item := range n.Content {
		at := path + "[" + strconv.Itoa(i) + "]"
		d.lines[at] = item.Line
		d.node(item, t.Elem(), at)
	}
}

func (d *decoder) text(n *yamlv3.Node, path string) {
	if n.Kind != yamlv3.ScalarNode || n.Tag == "!!null" {
		d.mismatch(n, path, "text")
		return
	}
	n.Tag, n.Style = "!!str", yamlv3.DoubleQuotedStyle // also where YAML 1.1 reads a boolean: on, yes
}

func (d *decoder) integer(n *yamlv3.Node, path string) {
	if n.Kind != yamlv3.ScalarNode || n.Tag != "!!int" {
		d.mismatch(n, path, "a whole number")
		return
	}
	v, err := strconv.ParseInt(n.Value, 10, 64)
	if err != nil {
		d.problems.addAt(n.Line, path, fmt.Sprintf("want a whole number in decimal digits, not %q", clip(n.Value)))
		return
	}
	n.Value = strconv.FormatInt(v, 10) // 010 is ten, where YAML 1.1 reads eight
}

func (d *decoder) duration(n *yamlv3.Node, path string) {
	if n.Kind != yamlv3.ScalarNode || n.Tag == "!!null" {
		d.mismatch(n, path, "a duration such as 30s or 5m")
		return
	}
	if _, err := time.ParseDuration(n.Value); err != nil {
		d.problems.addAt(n.Line, path, fmt.Sprintf("want a duration such as 30s or 5m, not %q", clip(n.Value)))
		return
	}
	n.Tag, n.Style = "!!str", yamlv3.DoubleQuotedStyle
}

func (d *decoder) mismatch(n *yamlv3.Node, path, want string) {
	d.problems.addAt(n.Line, path, "want "+want+", not "+describe(n))
}

// describe names what a node is, for an error.
func describe(n *yamlv3.Node) string {
	switch n.Kind {
	case yamlv3.MappingNode:
		return "a mapping"
	case yamlv3.SequenceNode:
		return "a list"
	case yamlv3.ScalarNode:
		if n.Tag == "!!null" {
			return "nothing"
		}
		return strconv.Quote(clip(n.Value))
	case yamlv3.AliasNode, yamlv3.DocumentNode:
	}
	return "this"
}

// clip bounds text that goes into an error.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// jsonFields lists the fields of a struct by their names in the file.
func jsonFields(t reflect.Type) map[string]reflect.Type {
	fields := make(map[string]reflect.Type, t.NumField())
	for f := range t.Fields() {
		fields[jsonName(f)] = f.Type
	}
	return fields
}

// jsonName is the name of a field in the file.
func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
