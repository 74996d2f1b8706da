package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// Every bad file names its file, its line and its field; the want list is all
// that is reported, in order.
func TestLoadBadFiles(t *testing.T) {
	for file, want := range map[string][]string{
		"empty.yaml":            {"the file is empty"},
		"comment-only.yaml":     {"the file is empty"},
		"syntax.yaml":           {"yaml: line 4: mapping values are not allowed in this context"},
		"two-documents.yaml":    {"line 7: a second document starts here; only one is read"},
		"not-a-mapping.yaml":    {":1: want a mapping with apiVersion and kind, not a list"},
		"no-version.yaml":       {":2: apiVersion: missing; want tandem-autoscaler.io/v1alpha1", ":2: kind: missing; want Configuration"},
		"other-version.yaml":    {`:1: apiVersion: is "tandem-autoscaler.io/v9"; this program reads tandem-autoscaler.io/v1alpha1`},
		"other-kind.yaml":       {`:2: kind: is "Deployment"; this program reads Configuration`},
		"unknown-keys.yaml":     {":6: management.cluster: unknown field; known here: clusterName, kubeconfig, namespace", ":8: Growth: unknown field; did you mean growth?", ":14: catalogue.classes[1].cost: unknown field; known here: cpu, gpu, gpuType, memory, name, price"},
		"duplicate-keys.yaml":   {":6: management.namespace: set twice, first on line 4", ":9: loop: set twice, first on line 7"},
		"anchors.yaml":          {":4: management.namespace: anchors and aliases are not read; write the value out", ":5: management.clusterName: anchors and aliases are not read; write the value out"},
		"merge-key.yaml":        {":6: management.<<: unknown field; known here: clusterName, kubeconfig, namespace"},
		"wrong-types.yaml":      {":3: management: want a mapping, not \"default\"", ":5: rayClusters.namespaces: want a list, not \"team-a\"", ":7: demand.settle: want a duration such as 30s or 5m, not \"400\"", ":8: demand.timeout: want a duration such as 30s or 5m, not nothing", ":10: loop.interval: want a duration such as 30s or 5m, not a mapping", ":12: loop.dryRun: want true or false, not \"yes\"", ":14: growth.maxPerTick: want a whole number, not \"2.5\"", ":15: growth.maxMachines: want a whole number in decimal digits, not \"0x10\"", ":17: removal.maxPerTick: want a whole number, not \"99999999999999999999\"", ":19: catalogue.classes[0]: want a mapping, not \"gpu-large\"", ":21: server.address: want text, not a list", ":23: journal.path: want text, not nothing"},
		"missing-required.yaml": {":3: management.namespace: required", ":3: management.clusterName: required"},
		"names.yaml":            {`:4: management.namespace: "Default_NS" is not a Kubernetes name: want lower-case letters, digits and '-'`, `:5: management.clusterName: "-x" is not a Kubernetes name: want lower-case letters, digits and '-'`, `:9: rayClusters.namespaces[1]: is listed twice`, `:10: rayClusters.defaultMode: is "Lead"; want one of auto, follow, lead, off`},
		"credentials.yaml":      {":8: rayClusters.credentials[0]: names no file", ":10: rayClusters.credentials[1]: certFile and keyFile go together", ":13: rayClusters.credentials[2]: is for team-a/train, as rayClusters.credentials[1] is", ":16: rayClusters.credentials[3].namespace: required", ":17: rayClusters.credentials[3].name: required"},
		"durations.yaml":        {":7: demand.pollInterval: is 0s; want more than zero", ":8: demand.settle: is 20s; want less than demand.staleAfter, which is 15s", ":9: demand.timeout: is -1s; want more than zero", ":11: loop.interval: is -5s; want more than zero", ":13: growth.provisionDeadline: is 0s; want more than zero", ":15: growth.backoffMax: is 30m, below growth.backoffInitial, which is 1h", ":16: growth.maxPerTick: is -1; want zero (no bound) or more", ":17: growth.maxMachines: is -5; want zero (no bound) or more", ":19: removal.vacantHold: is -1m; want zero or more", ":20: removal.maxPerTick: is -2; want zero (no bound) or more"},
		"removal.yaml":          {":7: growth.maxPerHour: is -1; want zero (no bound) or more", ":8: growth.maxPerGroup: is -2; want zero (no bound) or more", ":9: growth.maxAttempts: is -3; want zero (no bound) or more", ":11: removal.demandHold: is -1s; want zero or more", ":12: removal.maxPerHour: is -4; want zero (no bound) or more", ":13: removal.maxUnreadyPercent: is 101; want 0 (no such stop) to 100", ":14: removal.okUnready: is -5; want zero (no bound) or more", ":15: removal.drainDeadline: is 0s; want more than zero", ":16: removal.unreachableRelease: is 0s; want more than zero", `:18: tenants[0].namespace: "Team_A" is not a Kubernetes name: want lower-case letters, digits and '-'`, ":20: tenants[1].maxMachines: is -1; want zero (no bound) or more", ":22: tenants[2].maxGPUs: is 999999999999999, more than can be counted", ":23: tenants[3]: is for \"team-b\", as tenants[1] is", ":24: tenants[3].maxGPUs: is -1; want zero (no bound) or more", ":26: tenants[4].weight: is 1001; want 1 to 1000, or zero, which counts as 1"},
		"fee.yaml":              {`:7: growth.gpuNodeFee: "-1": want a decimal such as 2.50`},
		"settle.yaml":           {":7: demand.settle: is -1ms; want zero or more", ":8: demand.staleAfter: is 0s; want more than zero"},
		"leader.yaml":           {":7: leaderElection.namespace: required", `:8: leaderElection.name: "A B" is not a Kubernetes name: want lower-case letters, digits and '-'`, ":9: leaderElection.leaseDuration: is 500ms; want 1s or more", ":10: leaderElection.renewDeadline: is 2s; want less than leaderElection.leaseDuration, which is 500ms", ":10: leaderElection.renewDeadline: is 2s; want more than 1.2 times leaderElection.retryPeriod, which is 2s"},
		"server.yaml":           {`:7: server.address: is "8080"; want host:port, or "0" for no server`},
		"server-port.yaml":      {`:7: server.address: has port "70000"; want a number up to 65535`},
		"vcenter.yaml":          {":7: catalogue.vcenter.passwordFile: required", `:8: catalogue.vcenter.url: has scheme "http"; want https (http is for loopback addresses only)`, ":9: catalogue.vcenter.usernameFile: required", ":10: catalogue.vcenter.thumbprint: is no SHA-1 or SHA-256 fingerprint: want 20 or 32 pairs of hex digits with colons between", ":11: catalogue.vcenter.insecure: contradicts caFile and thumbprint: with it nothing is verified"},
		"vcenter-password.yaml": {":8: catalogue.vcenter.url: carries a user name or password; use usernameFile and passwordFile"},
		"classes.yaml":          {`:8: catalogue.classes[0].price: "-2.50": want a decimal such as 2.50`, `:10: catalogue.classes[1].price: "1e3": want a decimal such as 2.50`, `:12: catalogue.classes[2].price: is zero; leave it out to have one derived from the size`, `:14: catalogue.classes[3].cpu: is -4; want more than zero`, `:15: catalogue.classes[3].memory: "64 GB" is not a Kubernetes quantity`, ":17: catalogue.classes[4].cpu: is 100u, finer than can be counted", ":18: catalogue.classes[4].memory: is 9E, more than can be counted", ":19: catalogue.classes[4].gpu: is 500m, finer than can be counted", ":20: catalogue.classes[5]: cpu and memory go together, and both are needed where no source has the class", ":20: catalogue.classes[5]: is for class \"c\", as catalogue.classes[2] is", ":22: catalogue.classes[6].name: required"},
		"classes-alone.yaml":    {":9: catalogue.classes[0]: cpu and memory go together, and both are needed where no source has the class"},
	} {
		t.Run(strings.TrimSuffix(file, ".yaml"), func(t *testing.T) {
			path := filepath.Join("testdata", "bad", file)
			_, err := Load(path)
			require.Error(t, err)
			got := strings.Split(err.Error(), "\n")
			for i, line := range got {
				rest, named := strings.CutPrefix(line, path)
				assert.True(t, named, "no file in %q", line)
				got[i] = strings.TrimPrefix(rest, ": ")
			}
			assert.Equal(t, want, got)
		})
	}
}

func TestLoadMissingFile(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "none.yaml"))
	require.ErrorIs(t, err, os.ErrNotExist)
	assert.ErrorContains(t, err, "none.yaml")
}

func TestParseTooLarge(t *testing.T) {
	_, err := Parse(make([]byte, maxSize+1), "big")
	assert.ErrorContains(t, err, "larger than")
}

const head = "apiVersion: " + APIVersion + "\nkind: " + Kind + "\nmanagement: {namespace: default, clusterName: gpu-cluster}\n"

func TestParseKeepsDefaults(t *testing.T) {
	c, err := Parse([]byte(head+"demand:\ncatalogue:\n  vcenter:\ngrowth: {maxPerTick: 3}\n"), "f")
	require.NoError(t, err)
	want := minimal()
	want.Growth.MaxPerTick = 3
	assert.Equal(t, want, c)
}

func TestParseJSON(t *testing.T) {
	c, err := Parse([]byte(`{"apiVersion":"`+APIVersion+`","kind":"Configuration","management":{"namespace":"default","clusterName":"gpu-cluster"}}`), "f")
	require.NoError(t, err)
	assert.Equal(t, minimal(), c)
}

// Numbers where text is wanted must not pass through a float.
func TestParseTakesTextAsWritten(t *testing.T) {
	c, err := Parse([]byte(head+"catalogue:\n  classes:\n  - {name: 1.10, price: 123456789012.123456, cpu: 08, memory: 1e9, gpu: 4, gpuType: on}\ngrowth: {maxPerTick: 010}\n"), "f")
	require.NoError(t, err)
	assert.Equal(t, []Class{{Name: "1.10", Price: "123456789012.123456", CPU: "08", Memory: "1e9", GPU: "4", GPUType: "on"}}, c.Catalogue.Classes)
	assert.EqualValues(t, 10, c.Growth.MaxPerTick)
}

func TestProblemIsFound(t *testing.T) {
	_, err := Parse([]byte(head+"loop: {interval: -1s}\n"), "f")
	var p *Problem
	require.ErrorAs(t, err, &p)
	assert.Equal(t, Problem{File: "f", Line: 4, Path: "loop.interval", Text: "is -1s; want more than zero"}, *p)
}

func TestValidateWithoutFile(t *testing.T) {
	c := Default()
	c.APIVersion, c.Kind = "", "x"
	err := c.Validate()
	require.Error(t, err)
	assert.Equal(t, strings.Join([]string{
		`apiVersion: is ""; this program reads tandem-autoscaler.io/v1alpha1`, `kind: is "x"; this program reads Configuration`,
		"management.namespace: required", "management.clusterName: required",
	}, "\n"), err.Error())
	for name, c := range map[string]Configuration{"minimal": minimal(), "full": full()} {
		assert.NoError(t, c.Validate(), name)
	}
}

func TestLoopbackVCenterMayBePlain(t *testing.T) {
	for _, url := range []string{"http://127.0.0.1:8989/sdk", "http://localhost/sdk", "http://[::1]:80/sdk", "https://vc.example.com/sdk"} {
		c := full()
		c.Catalogue.VCenter.URL = url
		require.NoError(t, c.Validate(), url)
	}
	for _, url := range []string{"http://10.0.0.1/sdk", "http://localhost.example.com", "ftp://127.0.0.1", "vc.example.com", "https://", "http://[::1"} {
		c := full()
		c.Catalogue.VCenter.URL = url
		assert.Error(t, c.Validate(), url)
	}
}

func TestPolicy(t *testing.T) {
	c := full()
	c.Removal.Enabled = false
	assert.Equal(t, planner.Policy{
		RemovalDisabled: true, VacantHold: planner.Duration(time.Minute), ProvisionDeadline: planner.Duration(15 * time.Minute),
		BackoffInitial: planner.Duration(5 * time.Minute), BackoffMax: planner.Duration(30 * time.Minute),
		MaxGrowPerTick: 5, MaxMachines: 100, MaxRemovePerTick: 2, MaxAttempts: 3,
		SoftTaints: true, DemandHold: planner.Duration(10 * time.Minute), MaxUnreadyPercent: 45, OKUnready: 3,
		Hooks: true, DrainDeadline: planner.Duration(10 * time.Minute), UnreachableRelease: planner.Duration(15 * time.Minute),
		TenantLimits: []planner.TenantLimit{{Namespace: "team-a", MaxMachines: 4, MaxGPUs: 8 * planner.Unit}},
	}, c.Policy())
}

func TestCheckFiles(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		p := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(p, []byte(content), 0o600))
		return p
	}
	good := file("good", "planted-secret")
	c := full()
	c.Management.Kubeconfig, c.Workload.Kubeconfig = good, ""
	c.RayClusters.Credentials = []GCSCredentials{{Namespace: "a", Name: "b", TokenFile: good, CAFile: good, CertFile: good, KeyFile: good}}
	c.Catalogue.VCenter.UsernameFile, c.Catalogue.VCenter.PasswordFile, c.Catalogue.VCenter.CAFile = good, good, good
	c.Journal.Path = filepath.Join(dir, "journal.jsonl")
	require.NoError(t, c.CheckFiles())

	c.Management.Kubeconfig = filepath.Join(dir, "none")
	c.RayClusters.Credentials[0].TokenFile = file("empty", "")
	c.Catalogue.VCenter.PasswordFile = dir
	c.Journal.Path = filepath.Join(good, "journal.jsonl")
	err := c.CheckFiles()
	require.Error(t, err)
	assert.Equal(t, strings.Join([]string{
		"management.kubeconfig: " + dir + "/none does not exist",
		"rayClusters.credentials[0].tokenFile: " + dir + "/empty is empty",
		"catalogue.vcenter.passwordFile: " + dir + " is not a regular file",
		"journal.path: " + good + " is not a folder",
	}, "\n"), err.Error())
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	require.NoError(f, err)
	require.NotEmpty(f, files)
	for _, file := range append(files, "testdata/full.golden.yaml") {
		b, err := os.ReadFile(file) //nolint:gosec // a file of testdata
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Parse(b, "f")
		if err != nil {
			var p *Problem
			assert.True(t, strings.HasPrefix(err.Error(), "f:"), "no file in %q", err)
			assert.False(t, errors.As(err, &p) && p.Text == "")
			return
		}
		out, err := Marshal(c)
		require.NoError(t, err)
		again, err := Parse(out, "f")
		require.NoError(t, err, string(out))
		assert.Equal(t, c, again)
	})
}

// The relations between fields hold at their very edge.
func TestEdges(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		ok   bool
	}{
		"settle just below staleAfter": {"demand: {settle: 14999ms}", true},
		"settle as staleAfter":         {"demand: {settle: 15s}", false},
		"poll as staleAfter":           {"demand: {pollInterval: 15s}", false},
		"no settling":                  {"demand: {settle: 0s}", true},
		"back-offs the same":           {"growth: {backoffInitial: 30m}", true},
		"renewal as lease":             {"leaderElection: {renewDeadline: 15s}", false},
		"renewal of 1.2 retries":       {"leaderElection: {renewDeadline: 2400ms}", false},
		"renewal of more":              {"leaderElection: {renewDeadline: 2401ms}", true},
		"lease of a second":            {"leaderElection: {leaseDuration: 1s, renewDeadline: 900ms, retryPeriod: 100ms}", true},
		"no election":                  {"leaderElection: {enabled: false, leaseDuration: 0s, name: \"\"}", true},
		"no hold":                      {"removal: {vacantHold: 0s}", true},
		"last port":                    {"server: {address: \":65535\"}", true},
	} {
		_, err := Parse([]byte(head+c.text), "f")
		assert.Equal(t, c.ok, err == nil, "%s: %v", name, err)
	}
}
