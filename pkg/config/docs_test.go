package config

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// docs/configuration.md is made of the types, their defaults and fieldDocs.
func TestReference(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# Configuration

<!-- Made by go test ./pkg/config -update. Do not edit. -->

` + "`coordinator run --config FILE`" + ` reads one YAML document. ` + "`coordinator config default`" + ` prints the defaults with
comments, ` + "`coordinator config validate`" + ` reports everything that is wrong with a file at once, each problem with its
line and field. Unknown and duplicate keys are errors. Names of keys are case sensitive. Durations are written like
` + "`400ms`, `30s` or `15m`" + `; anchors, aliases and a second document are not read. Secrets never stand in the file, only
paths of files that hold them.

The limits of each MachineDeployment are not here: they are its annotations
` + "`cluster.x-k8s.io/cluster-api-autoscaler-node-group-min-size` and `-max-size`" + `.

The smallest file:

` + "```yaml" + `
apiVersion: ` + APIVersion + `
kind: ` + Kind + `
management:
  namespace: default
  clusterName: gpu-cluster
` + "```" + `

| field | type | default | meaning |
|---|---|---|---|
`)
	rows(&b, reflect.TypeFor[Configuration](), reflect.ValueOf(Default()), "")
	golden(t, "../../docs/configuration.md", []byte(b.String()))
}

// rows writes a line of the table for every field below path.
func rows(b *strings.Builder, typ reflect.Type, def reflect.Value, path string) {
	docs := fieldDocs()
	for f := range typ.Fields() {
		at := join(path, jsonName(f))
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", at, typeName(f.Type), defaultText(f, def), docs[at])
		switch inner := f.Type; {
		case isBlock(inner):
			rows(b, inner, def.FieldByIndex(f.Index), at)
		case inner.Kind() == reflect.Pointer:
			rows(b, inner.Elem(), reflect.Value{}, at)
		case inner.Kind() == reflect.Slice && isBlock(inner.Elem()):
			rows(b, inner.Elem(), reflect.Value{}, at+"[]")
		}
	}
}

func isBlock(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t != reflect.TypeFor[metav1.Duration]()
}

func defaultText(f reflect.StructField, def reflect.Value) string {
	if !def.IsValid() || isBlock(f.Type) {
		return ""
	}
	v := def.FieldByIndex(f.Index)
	if v.IsZero() && v.Kind() != reflect.Bool {
		return ""
	}
	text, err := scalar(v)
	if err != nil {
		return err.Error()
	}
	return "`" + strings.Trim(text, `'"`) + "`"
}

func typeName(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[metav1.Duration]():
		return "duration"
	case t.Kind() == reflect.Pointer:
		return typeName(t.Elem())
	case t.Kind() == reflect.Struct:
		return "block"
	case t.Kind() == reflect.Slice:
		return "list of " + typeName(t.Elem()) + "s"
	case t.Kind() == reflect.Int64:
		return "whole number"
	case t.Kind() == reflect.String:
		return "text"
	}
	return t.String()
}

func TestSmallestFileOfTheReference(t *testing.T) {
	_, err := Parse([]byte("apiVersion: "+APIVersion+"\nkind: "+Kind+"\nmanagement:\n  namespace: default\n  clusterName: gpu-cluster\n"), "f")
	require.NoError(t, err)
}
