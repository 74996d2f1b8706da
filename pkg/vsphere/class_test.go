package vsphere

import (
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tandem-autoscaler/tandem/pkg/config"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

var update = flag.Bool("update", false, "write the golden files anew")

const gib = int64(1) << 30

// TestVCenterSpellings reads an answer that mixes all spellings of the API's
// documents, and everything that can be wrong with a class, and compares the
// catalogue with a golden file.
func TestVCenterSpellings(t *testing.T) {
	t.Parallel()
	body, err := os.ReadFile("testdata/classes.json")
	require.NoError(t, err)
	classes, err := parseVCenter(body, "pools")
	require.NoError(t, err)
	got, err := json.MarshalIndent(merge(nil, classes), "", "  ")
	require.NoError(t, err)
	const golden = "testdata/catalogue.golden.json"
	if *update {
		require.NoError(t, os.WriteFile(golden, append(got, '\n'), 0o600))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	assert.Equal(t, string(want), string(got)+"\n")
}

func TestVCenterGarbage(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"", "{}", "[", `"x"`, "<html>"} {
		_, err := parseVCenter([]byte(body), "pools")
		assert.ErrorContains(t, err, "reading the list of VM classes", body)
	}
}

func FuzzVCenter(f *testing.F) {
	body, err := os.ReadFile("testdata/classes.json")
	require.NoError(f, err)
	f.Add(body)
	f.Add([]byte(`[{"id":"a","devices":{"vgpu_devices":null},"config_spec":null}]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		classes, err := parseVCenter(body, "pools")
		if err != nil {
			return
		}
		for _, c := range merge(nil, classes) {
			if c.Invalid == "" && (c.Capacity["CPU"] <= 0 || c.Capacity["memory"] <= 0 || c.Capacity["GPU"] < 0) {
				t.Fatalf("class %+v", c)
			}
		}
	})
}

func TestTrustBetweenSources(t *testing.T) {
	t.Parallel()
	objects := map[string]hardware{"both": {cpus: 4, memoryBytes: gib}, "broken": {memoryBytes: gib}}
	vcenter := map[string]hardware{"both": {cpus: 8, memoryBytes: gib}, "broken": {cpus: 8, memoryBytes: gib}, "theirs": {cpus: 2, memoryBytes: gib, gpus: gpus{"b", "a", "a"}}}
	got := merge([]config.Class{
		{Name: "both", Price: "1.5", CPU: "64", Memory: "1Ti", GPU: "8"},
		{Name: "own", Price: "0.000001", CPU: "2500m", Memory: "1Gi", GPU: "1", GPUType: "t4"},
		{Name: "theirs", Price: "free"},
		{Name: "lost", Price: "1"},
		{Name: "half", CPU: "2"},
		{Name: "garbled", CPU: "2", Memory: "much", GPU: "0.5"},
		{Name: "negative", CPU: "-2", Memory: "1Gi"},
	}, objects, vcenter)
	want := []planner.VMClass{
		{Name: "both", Capacity: planner.Resources{"CPU": 4000, "memory": gib}, Price: 1_500_000},
		{Name: "broken", Invalid: "it has 0 CPUs"},
		{Name: "garbled", Invalid: `its configured memory "much" is no quantity; its configured gpu "0.5" is no whole number`},
		{Name: "half", Invalid: "the configuration must give both its cpu and its memory"},
		{Name: "lost", Price: 1_000_000, Invalid: "no source has it, and the configuration does not give its cpu and memory"},
		{Name: "negative", Invalid: "cpu is -2: amounts must not be negative"},
		{Name: "own", Capacity: planner.Resources{"CPU": 2500, "memory": gib, "GPU": 10000}, Price: 1, GPUType: "t4"},
		{Name: "theirs", Capacity: planner.Resources{"CPU": 2000, "memory": gib, "GPU": 30000}, GPUType: "a,b", Devices: "a,b", Invalid: `its configured price "free": want a decimal such as 2.50`},
	}
	assert.Equal(t, want, got)
}
