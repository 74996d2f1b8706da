package scenario

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestShippedScenariosAreValid(t *testing.T) {
	files, err := filepath.Glob("../scenarios/*.yaml")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), 12)
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			s, err := Load(f)
			require.NoError(t, err)
			assert.Equal(t, strings.TrimSuffix(filepath.Base(f), ".yaml"), s.Name, "the name is the file's")
			assert.NotEmpty(t, s.Description)
			if require.NotNil(t, s.Finish.WorkerMachines, "it ends with so many Machines"); len(s.RayClusters) == 0 {
				require.NotNil(t, s.Expect.CountedPodsAtEnd)
				return
			}
			assert.Zero(t, *s.Finish.WorkerMachines, "every Machine is given back")
			require.NotNil(t, s.Expect.WorkerMachinesAtEnd)
		})
	}
}

func TestFiguresAreValid(t *testing.T) {
	files, err := filepath.Glob("../scenarios/figures/*.yaml")
	require.NoError(t, err)
	for _, f := range files {
		_, err := Load(f)
		assert.NoError(t, err)
	}
}

func TestDefaults(t *testing.T) {
	s := mustParse(t, minimal+`
drivers: [{name: a, rayCluster: main, code: "true"}]
faults: [{kind: killCoordinator, afterEvent: {event: podsReady, rayCluster: main}}]
objects: [{object: {apiVersion: v1, kind: ConfigMap, metadata: {name: x}}}]
`)
	assert.Equal(t, time.Minute, s.Deadline.Duration)
	assert.Equal(t, "head", s.HeadPool)
	main, closed := s.RayClusters[0], s.RayClusters[1]
	assert.Equal(t, "default/main", main.key())
	assert.Equal(t, "tenant/closed", closed.key())
	assert.EqualValues(t, 6379, main.Port)
	assert.Equal(t, inTreeLive, main.InTree)
	assert.EqualValues(t, 10, main.Groups[0].Max)
	assert.Equal(t, "2", main.Head.CPU.String())
	assert.Equal(t, "default/main", s.Drivers[0].RayCluster)
	assert.Equal(t, time.Minute, s.Drivers[0].Timeout.Duration)
	assert.Equal(t, "default/main", s.Faults[0].AfterEvent.RayCluster)
	assert.Equal(t, 1, s.Faults[0].AfterEvent.Count)
	assert.Equal(t, time.Second, s.Faults[0].RestartAfter.Duration)
	assert.Equal(t, clusterManagement, s.Objects[0].Cluster)
	assert.Zero(t, *s.Expect.BusyNodesRemoved)
	assert.Zero(t, *s.Expect.GCSCrashes)
	assert.True(t, *s.Expect.CoordinatorNeverPanics)
}

// Every problem of a file is reported at once, each with its path.
func TestAllProblemsAtOnce(t *testing.T) {
	_, err := Parse([]byte(`apiVersion: v2
kind: Scenario
name: Bad Name
deadline: -3s
color: blue
vm: {jitter: "7"}
classes: [{name: c, cpu: 0, memory: 1Gi}, {name: c, cpu: 1, memory: "0", prize: 3}]
hosts: [{count: 0, cpu: 1, memory: 1Gi}]
pools: [{name: p, class: d}, {name: q, class: c, min: 3}, {name: r, class: c, min: 3, max: 2}]
rayClusters:
- {name: a, mode: drive, inTree: asleep, port: 80, groups: [{name: g, cpu: 1, memory: 1Gi, min: 5, max: 4, resources: {x: lots}}]}
- {name: b, inTree: inert, updateInterval: 3s}
- {name: c}
objects: [{object: {kind: ConfigMap}}]
drivers:
- {name: d, rayCluster: nobody, code: x, script: z.py}
- {name: e, rayCluster: a, after: f, script: not-there.py}
- {name: f, rayCluster: a, code: x, afterDelay: 3s, expectExit: 1, anyExit: true}
faults:
- {kind: earthquake, at: 1s}
- {kind: killHead, rayCluster: zzz}
- {kind: failVMs, class: x, at: 1s, afterEvent: {event: driverPrinted, driver: nobody}}
- {kind: patchObject, at: 1s}
expect: {neverBought: [nowhere], demandToPatchSeconds: 0}
`), t.TempDir())
	require.Error(t, err)
	for _, want := range []string{
		`unknown field "color"`, `unknown field "classes[1].prize"`,
		"apiVersion:", `name: "Bad Name"`, "deadline: -3s", "vm.jitter:",
		"classes[0].cpu:", `classes[1].name: "c" is there twice`, "classes[1].memory:", "hosts[0].count:",
		`pools[0].class: there is no class "d"`, "pools[1]: min and max go together", "pools[2].max:", `headPool: there is no pool "head"`,
		"rayClusters[0].mode:", "rayClusters[0].inTree:", "rayClusters[0].port:", "rayClusters[0].groups[0].max:",
		"rayClusters[0].groups[0].resources.x:", "rayClusters[1].updateInterval: needs inTree: live", "rayClusters[2].port: 6379 is the port of default/b",
		"objects[0].object:", `drivers[0].rayCluster: there is no RayCluster "default/nobody"`, "drivers[0].script: one of script and code",
		`drivers[1].after: there is no earlier driver "f"`, "drivers[1].script:", "drivers[2].afterDelay: needs after", "drivers[2].anyExit:",
		`faults[0].kind: "earthquake"`, "faults[1].rayCluster:", "faults[1]: one of at and afterEvent", "faults[2].class:", "faults[2].message: is needed",
		"faults[2]: one of at and afterEvent", "faults[2].afterEvent.driver:", "faults[2].afterEvent.text:", "faults[3].cluster:", "faults[3].object:", "faults[3].patch:",
		`expect.neverBought: there is no pool "nowhere"`, "expect.demandToPatchSeconds:",
	} {
		assert.ErrorContains(t, err, want)
	}
}

func TestBrokenFiles(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"empty":            {"", "apiVersion"},
		"no YAML":          {"a: [", "reading YAML"},
		"a key twice":      {minimal + "name: again\n", "already set"},
		"a wrong type":     {strings.Replace(minimal, "max: 4", "max: many", 1), "pools.max"},
		"a wrong quantity": {strings.Replace(minimal, "120Gi", "heavy", 1), "quantities"},
		"a wrong duration": {strings.Replace(minimal, "deadline: 1m", "deadline: soon", 1), "invalid duration"},
		"wrong case":       {strings.Replace(minimal, "deadline", "Deadline", 1), `unknown field "Deadline"`},
		"too large":        {strings.Repeat("#", maxFileBytes+1), "more than"},
		"infinite price":   {strings.Replace(minimal, `"0.20"`, `"NaN"`, 1), "classes[0].price"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(tt.text), t.TempDir())
			assert.ErrorContains(t, err, tt.want)
		})
	}
}

func TestLoadNamesTheFile(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "none.yaml"))
	require.ErrorContains(t, err, "none.yaml")
	path := filepath.Join(t.TempDir(), "bad.yaml")
	require.NoError(t, os.WriteFile(path, []byte("kind: x\n"), 0o600))
	_, err = Load(path)
	require.ErrorContains(t, err, path)
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(minimal))
	f.Add([]byte("apiVersion: lab.tandem-autoscaler.io/v1\nfaults: [{afterEvent: {}}]\nobjects: [{}]\ndrivers: [{}]\nrayClusters: [{groups: [{}]}]\n"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Parse(b, dir)
		if err != nil {
			return
		}
		for i := range s.RayClusters {
			_, err := s.RayClusters[i].object(s.HeadPool)
			require.NoError(t, err)
		}
	})
}

func TestCopies(t *testing.T) {
	s := mustParse(t, minimal+`
objects:
- {copies: 2, object: {apiVersion: v1, kind: ConfigMap, metadata: {name: "c{n}", namespace: default}, data: {of: "p{n}"}}}
- {object: {apiVersion: v1, kind: ConfigMap, metadata: {name: single, namespace: default}, data: {as: "{n}"}}}
`)
	require.Len(t, s.Objects, 3)
	second, err := s.Objects[1].decode()
	require.NoError(t, err)
	assert.Equal(t, "c2", second.GetName())
	assert.Equal(t, map[string]any{"of": "p2"}, second.Object["data"])
	last, err := s.Objects[2].decode()
	require.NoError(t, err)
	assert.Equal(t, map[string]any{"as": "{n}"}, last.Object["data"])

	pools := strings.Replace(minimal, "{name: gpu, class", `{name: "gpu{n}", copies: 3, class`, 1)
	s = mustParse(t, strings.Replace(pools, "rayClusters:", "expect: {removedPerPool: {gpu3: 1}}\nrayClusters:", 1))
	require.Len(t, s.Pools, 4)
	assert.Equal(t, "gpu3", s.Pools[3].Name)

	_, err = Parse([]byte(strings.Replace(pools, "copies: 3", "copies: 101", 1)), t.TempDir())
	require.ErrorContains(t, err, "copies: 101 is not between 0 and 100")
}

func TestStepsMustBeKnown(t *testing.T) {
	for _, text := range []string{"stepsSeen: {Draim: 1}", "stepsNeverSeen: [Draim]", "removedInOrder: [Draim]"} {
		_, err := Parse([]byte(minimal+"expect: {"+text+"}"), t.TempDir())
		require.ErrorContains(t, err, `"Draim" is not one of`)
	}
	_, err := Parse([]byte(minimal+"expect: {removedAfterDriverEnd: {x: 1}, idleToDeletedSeconds: 0}\ncoordinator: {instances: 5, afterEvent: {event: never}}"), t.TempDir())
	require.ErrorContains(t, err, `there is no driver "x"`)
	require.ErrorContains(t, err, "0 is not above zero")
	require.ErrorContains(t, err, "5 is not between 1 and 4")
	require.ErrorContains(t, err, `"never" is not an event`)
}
