package config

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares text with a file, or writes it with -update.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(path, got, 0o600))
		return
	}
	want, err := os.ReadFile(path) //nolint:gosec // the test names the file
	require.NoError(t, err, "run the test with -update to write it")
	assert.Equal(t, string(want), string(got), "run the test with -update if the change is meant")
}

// minimal is the smallest valid configuration.
func minimal() Configuration {
	c := Default()
	c.Management.Namespace = "default"
	c.Management.ClusterName = "gpu-cluster"
	return c
}

// full sets every field.
func full() Configuration {
	c := minimal()
	c.Management.Kubeconfig = "/etc/tandem/management"
	c.Workload.Kubeconfig = "/etc/tandem/workload"
	c.RayClusters.Namespaces = []string{"team-a", "team-b"}
	c.RayClusters.DefaultMode = "lead"
	c.RayClusters.Credentials = []GCSCredentials{
		{Namespace: "team-a", Name: "*", TokenFile: "/etc/tandem/a/token"}, //nolint:gosec // a path
		{Namespace: "team-b", Name: "train", CAFile: "/b/ca", CertFile: "/b/cert", KeyFile: "/b/key"},
	}
	c.Catalogue.VCenter = &VCenter{
		URL: "https://vcenter.example.com/sdk", UsernameFile: "/v/user", PasswordFile: "/v/password", CAFile: "/v/ca",
		Thumbprint: strings.TrimSuffix(strings.Repeat("0A:", 32), ":"), Hosts: true,
	}
	c.Catalogue.Classes = []Class{{Name: "1.10", Price: "2.50", CPU: "16", Memory: "64Gi", GPU: "4", GPUType: "A100"}}
	c.Loop.DryRun = true
	c.Growth.MaxPerTick, c.Growth.MaxMachines, c.Removal.MaxPerTick = 5, 100, 2
	c.Tenants = []Tenant{{Namespace: "team-a", MaxMachines: 4, MaxGPUs: 8}}
	c.Journal.Path = "/var/lib/tandem/journal.jsonl"
	return c
}

func TestMarshal(t *testing.T) {
	for name, c := range map[string]Configuration{"default": Default(), "full": full()} {
		t.Run(name, func(t *testing.T) {
			got, err := Marshal(c)
			require.NoError(t, err)
			golden(t, filepath.Join("testdata", name+".golden.yaml"), got)
		})
	}
}

// Taking the # in front of the commented fields away must leave YAML that only
// lacks values.
func TestCommentedFieldsAreYAML(t *testing.T) {
	b, err := Marshal(minimal())
	require.NoError(t, err)
	var out strings.Builder
	for line := range strings.Lines(string(b)) {
		body := strings.TrimLeft(line, " ")
		if rest, ok := strings.CutPrefix(body, "#"); ok && !strings.HasPrefix(rest, " ") || strings.HasPrefix(body, "#  ") {
			line = line[:len(line)-len(body)] + rest
		}
		out.WriteString(line)
	}
	_, err = Parse([]byte(out.String()), "f")
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "unknown field")
	assert.Contains(t, err.Error(), "catalogue.vcenter.url: required")
	assert.Contains(t, err.Error(), "catalogue.classes[0].name: required")
}

func TestMarshalRoundTrip(t *testing.T) {
	quiet := minimal()
	quiet.Journal.Path, quiet.Removal.Enabled, quiet.Server.Address = "", false, "0"
	for name, c := range map[string]Configuration{"minimal": minimal(), "full": full(), "switched off": quiet} {
		t.Run(name, func(t *testing.T) {
			b, err := Marshal(c)
			require.NoError(t, err)
			got, err := Parse(b, "f")
			require.NoError(t, err, string(b))
			assert.Equal(t, c, got)
		})
	}
}

func TestMarshalRoundTripProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := minimal()
		text := rapid.String()
		c.Management.Kubeconfig = text.Draw(t, "kubeconfig")
		c.Journal.Path = text.Draw(t, "journal")
		c.Loop.Interval = metav1.Duration{Duration: time.Duration(rapid.Int64Range(1, 1<<62).Draw(t, "interval"))}
		c.Removal.Enabled = rapid.Bool().Draw(t, "removal")
		c.Growth.MaxMachines = rapid.Int64Min(0).Draw(t, "machines")
		for i := range rapid.IntRange(0, 3).Draw(t, "classes") {
			c.Catalogue.Classes = append(c.Catalogue.Classes, Class{Name: text.Draw(t, "name") + string(rune('a'+i)), GPUType: text.Draw(t, "type")})
		}
		b, err := Marshal(c)
		require.NoError(t, err)
		got, err := Parse(b, "f")
		require.NoError(t, err, string(b))
		require.Equal(t, c, got)
	})
}

func TestEveryFieldIsDocumented(t *testing.T) {
	docs := fieldDocs()
	var walk func(typ reflect.Type, path string)
	walk = func(typ reflect.Type, path string) {
		switch {
		case typ.Kind() == reflect.Pointer:
			walk(typ.Elem(), path)
		case typ.Kind() == reflect.Slice:
			if typ.Elem().Kind() == reflect.Struct {
				walk(typ.Elem(), path+"[]")
			}
		case typ.Kind() == reflect.Struct && typ != reflect.TypeFor[metav1.Duration]():
			for f := range typ.Fields() {
				at := join(path, jsonName(f))
				assert.NotEmpty(t, docs[at], "%s has no text", at)
				delete(docs, at)
				walk(f.Type, at)
			}
		}
	}
	walk(reflect.TypeFor[Configuration](), "")
	assert.Empty(t, docs, "texts of fields that do not exist")
}
