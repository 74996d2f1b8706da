package config

import (
	"bytes"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// commentWidth is the column at which comments wrap.
const commentWidth = 80

// Marshal writes a configuration as YAML with a comment for every field.
// Optional fields that are not set are there too, commented out: take the #
// in front of them away to set them. [Parse] reads the result back as it was.
func Marshal(c Configuration) ([]byte, error) {
	w := yamlWriter{docs: fieldDocs()}
	if err := w.structure(reflect.ValueOf(c), reflect.ValueOf(Default()), "", ""); err != nil {
		return nil, fmt.Errorf("writing the configuration: %w", err)
	}
	return w.buf.Bytes(), nil
}

type yamlWriter struct {
	buf  bytes.Buffer
	docs map[string]string
	// bare leaves out comments and writes every field, set or not: it is how
	// an example inside a comment is written.
	bare bool
}

// structure writes the fields of v, each line after indent. The fields of
// byDefault are what is read where the file says nothing.
func (w *yamlWriter) structure(v, byDefault reflect.Value, path, indent string) error {
	first := true
	for f, fv := range v.Fields() {
		at := join(path, jsonName(f))
		if !w.bare {
			if path == "" && !first {
				w.buf.WriteByte('\n')
			}
			w.comment(w.docs[at], indent)
		}
		first = false
		def := byDefault.FieldByIndex(f.Index)
		if !w.bare && unset(f, fv) && def.IsZero() {
			if err := w.example(f, at, indent); err != nil {
				return err
			}
			continue
		}
		if err := w.field(jsonName(f), fv, def, at, indent); err != nil {
			return err
		}
	}
	return nil
}

// unset tells whether a field is optional and has no value.
func unset(f reflect.StructField, v reflect.Value) bool {
	return strings.HasSuffix(f.Tag.Get("json"), ",omitempty") && (v.IsZero() || v.Kind() == reflect.Slice && v.Len() == 0)
}

// example writes an unset field with an empty value, behind a #.
func (w *yamlWriter) example(f reflect.StructField, path, indent string) error {
	v := reflect.New(f.Type).Elem()
	switch {
	case f.Type.Kind() == reflect.Pointer:
		v.Set(reflect.New(f.Type.Elem()))
	case f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct:
		v.Set(reflect.MakeSlice(f.Type, 1, 1))
	}
	inner := yamlWriter{docs: w.docs, bare: true}
	if err := inner.field(jsonName(f), v, v, path, ""); err != nil {
		return err
	}
	for line := range strings.Lines(inner.buf.String()) {
		w.buf.WriteString(indent + "#" + line)
	}
	return nil
}

// field writes one key and its value.
func (w *yamlWriter) field(name string, v, byDefault reflect.Value, path, indent string) error {
	w.buf.WriteString(indent + name + ":")
	if v.Kind() == reflect.Pointer {
		v, byDefault = v.Elem(), reflect.Zero(v.Type().Elem())
	}
	if v.Kind() == reflect.Slice && v.Len() > 0 {
		w.buf.WriteByte('\n')
		return w.list(v, path, indent+"  ")
	}
	if v.Kind() == reflect.Struct && v.Type() != reflect.TypeFor[metav1.Duration]() {
		w.buf.WriteByte('\n')
		return w.structure(v, byDefault, path, indent+"  ")
	}
	text, err := scalar(v)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	w.buf.WriteString(" " + text + "\n")
	return nil
}

// list writes the entries of a slice. Their fields are documented once, in the
// reference, and not again for each of them.
func (w *yamlWriter) list(v reflect.Value, path, indent string) error {
	for i := range v.Len() {
		item := v.Index(i)
		if item.Kind() != reflect.Struct {
			text, err := scalar(item)
			if err != nil {
				return fmt.Errorf("%s[%d]: %w", path, i, err)
			}
			w.buf.WriteString(indent + "- " + text + "\n")
			continue
		}
		if err := w.entry(item, path, indent); err != nil {
			return err
		}
	}
	return nil
}

// entry writes a struct as one entry of a list, without its unset fields
// unless it is an example.
func (w *yamlWriter) entry(item reflect.Value, path, indent string) error {
	lead := indent + "- "
	for f, fv := range item.Fields() {
		if !w.bare && unset(f, fv) {
			continue
		}
		text, err := scalar(fv)
		if err != nil {
			return fmt.Errorf("%s.%s: %w", path, jsonName(f), err)
		}
		w.buf.WriteString(lead + jsonName(f) + ": " + text + "\n")
		lead = indent + "  "
	}
	return nil
}

// scalar writes a value that has no fields on one line.
func scalar(v reflect.Value) (string, error) {
	value := v.Interface()
	if d, ok := value.(metav1.Duration); ok {
		return short(d), nil
	}
	if v.Kind() == reflect.Slice {
		return "[]", nil // an empty one: others are written by list
	}
	if s, ok := value.(string); ok && strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		return strconv.QuoteToASCII(s), nil // Go's escapes are YAML's
	}
	b, err := yaml.Marshal(value)
	return strings.TrimSuffix(string(b), "\n"), err
}

// comment writes text as lines of a comment, wrapped.
func (w *yamlWriter) comment(text, indent string) {
	line := indent + "#"
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > commentWidth {
			w.buf.WriteString(line + "\n")
			line = indent + "#"
		}
		line += " " + word
	}
	if text != "" {
		w.buf.WriteString(line + "\n")
	}
}
