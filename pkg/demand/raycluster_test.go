package demand_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/tandem-autoscaler/tandem/pkg/demand"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// object reads a RayCluster of which spec is the given YAML.
func object(tb testing.TB, spec string) *unstructured.Unstructured {
	tb.Helper()
	var body map[string]any
	require.NoError(tb, yaml.Unmarshal([]byte(spec), &body))
	b, err := yaml.Marshal(map[string]any{"apiVersion": "ray.io/v1", "kind": "RayCluster", "spec": body})
	require.NoError(tb, err)
	u := &unstructured.Unstructured{}
	b, err = yaml.YAMLToJSON(b)
	require.NoError(tb, err)
	require.NoError(tb, u.UnmarshalJSON(b))
	u.SetNamespace("ml")
	u.SetName("demo")
	u.SetUID("uid-demo")
	return u
}

const plainHead = `
headGroupSpec:
  rayStartParams: {num-cpus: "0"}
  template: {spec: {containers: [{name: ray-head, resources: {limits: {cpu: "2", memory: 4Gi}}}]}}
`

func TestRayCluster(t *testing.T) {
	t.Parallel()
	u := object(t, plainHead+`
enableInTreeAutoscaling: true
autoscalerOptions: {idleTimeoutSeconds: 30, upscalingMode: Conservative}
workerGroupSpecs:
- groupName: gpu
  replicas: 1
  minReplicas: 1
  maxReplicas: 5
  numOfHosts: 2
  idleTimeoutSeconds: 0
  priority: 7
  suspend: true
  labels: {tier: fast}
  scaleStrategy: {workersToDelete: [a, b]}
  rayStartParams: {resources: '"{\"blade\": 2, \"half\": 0.5}"', labels: ignored=true}
  template:
    spec:
      nodeSelector: {pool: gpu}
      tolerations: [{key: nvidia.com/gpu, operator: Exists}]
      containers:
      - name: ray-worker
        resources: {limits: {cpu: 3500m, memory: 8Gi, nvidia.com/gpu: "2"}, requests: {cpu: "3"}}
      - name: logs
        resources: {requests: {cpu: 100m, memory: 64Mi}}
- groupName: cpu
  template: {spec: {containers: [{name: w, resources: {requests: {cpu: 100m, memory: 100Mi}}}]}}
`)
	got := demand.RayCluster(u, "auto")
	zero := planner.Duration(0)
	assert.Equal(t, planner.RayCluster{
		Namespace: "ml", Name: "demo", UID: "uid-demo", Mode: planner.ModeFollow, InTree: planner.InTreeLive,
		IdleTimeout: planner.Duration(30 * time.Second), UpscalingMode: "Conservative",
		HeadResources: planner.Resources{"memory": 4 << 30},
		WorkerGroups: []planner.WorkerGroup{
			{
				Name: "gpu", Replicas: 1, Min: 1, Max: 5, NumOfHosts: 2, IdleTimeout: &zero, Priority: 7, Suspended: true,
				Labels: map[string]string{"tier": "fast"}, WorkersToDelete: []string{"a", "b"},
				RayResources: planner.Resources{"CPU": 4000, "memory": 8 << 30, "GPU": 20000, "blade": 20000, "half": 5000},
				Pod: planner.PodShape{
					Requests:     planner.Resources{"CPU": 3100, "memory": 8<<30 + 64<<20, "GPU": 20000},
					NodeSelector: map[string]string{"pool": "gpu"},
					Tolerations:  []planner.Toleration{{Key: "nvidia.com/gpu", Operator: "Exists"}},
				},
			},
			{
				Name: "cpu", Max: 2147483647, NumOfHosts: 1,
				RayResources: planner.Resources{"CPU": 1000, "memory": 100 << 20},
				Pod:          planner.PodShape{Requests: planner.Resources{"CPU": 200, "memory": 256 << 20}},
			},
		},
	}, got)
}

func TestRayResourcesPrecedence(t *testing.T) {
	t.Parallel()
	const limits = `template: {spec: {containers: [{name: w, resources: {limits: {cpu: "4", memory: 8Gi, amd.com/gpu: "1"}, requests: {cpu: "1", memory: 1Gi}}}]}}`
	for name, c := range map[string]struct {
		group string
		want  planner.Resources
		why   string
	}{
		"limits":           {limits, planner.Resources{"CPU": 4000, "memory": 8 << 30, "GPU": 10000}, ""},
		"requests":         {`template: {spec: {containers: [{name: w, resources: {requests: {cpu: 1500m}}}]}}`, planner.Resources{"CPU": 2000}, ""},
		"start parameters": {`{rayStartParams: {num-cpus: "7", num-gpus: "0", memory: "1000"}, ` + limits + `}`, planner.Resources{"CPU": 7000, "memory": 1000}, ""},
		"group resources":  {`{resources: {CPU: 2500m, GPU: "3", memory: 1Gi, TPU: "4", blade: "1"}, rayStartParams: {num-cpus: "7", resources: "{\"x\": 1}"}, ` + limits + `}`, planner.Resources{"CPU": 3000, "GPU": 30000, "memory": 1 << 30, "TPU": 40000, "blade": 10000}, ""},
		"TPU":              {`template: {spec: {containers: [{name: w, resources: {limits: {cpu: "1", google.com/tpu: "4"}}}]}}`, planner.Resources{"CPU": 1000, "TPU": 40000}, ""},
		"custom TPU first": {
			`{rayStartParams: {resources: '{"TPU": 2}'}, template: {spec: {containers: [{name: w, resources: {limits: {cpu: "1", google.com/tpu: "4"}}}]}}}`,
			planner.Resources{"CPU": 1000, "TPU": 20000},
			"",
		},
		"custom without shell": {`{rayStartParams: {resources: '{"blade": 2}'}, ` + limits + `}`, planner.Resources{"CPU": 4000, "memory": 8 << 30, "GPU": 10000, "blade": 20000}, ""},
		"no CPU":               {`template: {spec: {containers: [{name: w}]}}`, nil, "nothing tells its CPUs"},
		"no containers":        {`template: {spec: {}}`, nil, "no containers"},
		"custom not JSON":      {`{rayStartParams: {resources: "blade=1"}, ` + limits + `}`, nil, "rayStartParams.resources is no JSON object"},
		"custom negative":      {`{rayStartParams: {resources: '{"blade": -2}'}, ` + limits + `}`, nil, `"blade" is negative`},
		"custom CPU":           {`{rayStartParams: {resources: '{"CPU": 2}'}, ` + limits + `}`, nil, "no custom resource"},
		"custom node":          {`{rayStartParams: {resources: '{"node:x": 2}'}, ` + limits + `}`, nil, "is no name for a custom resource"},
		"num-cpus no number":   {`{rayStartParams: {num-cpus: many}, ` + limits + `}`, nil, `rayStartParams.num-cpus: "many" is no quantity`},
		"negative limit":       {`template: {spec: {containers: [{name: w, resources: {limits: {cpu: "-4"}}}]}}`, nil, "amounts must not be negative"},
		"absurd":               {`{rayStartParams: {num-gpus: "9000000000000000000"}, ` + limits + `}`, nil, "is not between 0 and"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := object(t, plainHead)
			var group map[string]any
			require.NoError(t, yaml.Unmarshal([]byte(c.group), &group))
			group["groupName"] = "g"
			require.NoError(t, unstructured.SetNestedSlice(u.Object, []any{group}, "spec", "workerGroupSpecs"))
			got := demand.RayCluster(u, "lead")
			require.Empty(t, got.Invalid)
			require.Len(t, got.WorkerGroups, 1)
			if c.why != "" {
				assert.Contains(t, got.WorkerGroups[0].Invalid, c.why)
				return
			}
			assert.Empty(t, got.WorkerGroups[0].Invalid)
			assert.Equal(t, c.want, got.WorkerGroups[0].RayResources)
		})
	}
}

func TestModes(t *testing.T) {
	t.Parallel()
	const (
		live  = plainHead + "enableInTreeAutoscaling: true\n"
		inert = live + "autoscalerOptions: {env: [{name: AUTOSCALER_UPDATE_INTERVAL_S, value: \"5\"}, {name: AUTOSCALER_UPDATE_INTERVAL_S, value: \"2147483647\"}]}\n"
		slow  = live + "autoscalerOptions: {env: [{name: AUTOSCALER_UPDATE_INTERVAL_S, value: \"3600\"}]}\n"
	)
	for name, c := range map[string]struct {
		spec, annotation, fallback string
		mode                       planner.Mode
		inTree                     planner.InTree
		invalid                    string
	}{
		"auto, absent":       {plainHead, "", "auto", planner.ModeOff, planner.InTreeAbsent, ""},
		"auto, live":         {live, "", "auto", planner.ModeFollow, planner.InTreeLive, ""},
		"auto, slow is live": {slow, "", "", planner.ModeFollow, planner.InTreeLive, ""},
		"auto, inert":        {inert, "", "auto", planner.ModeOff, planner.InTreeInert, ""},
		"inert, but not there": {
			plainHead + "autoscalerOptions: {env: [{name: AUTOSCALER_UPDATE_INTERVAL_S, value: \"2147483647\"}]}\n",
			"", "auto", planner.ModeOff, planner.InTreeAbsent, "",
		},
		"lead, inert":                {inert, "lead", "auto", planner.ModeLead, planner.InTreeInert, ""},
		"lead, absent":               {plainHead, "", "lead", planner.ModeLead, planner.InTreeAbsent, ""},
		"lead, live":                 {live, "lead", "auto", planner.ModeLead, planner.InTreeLive, "AUTOSCALER_UPDATE_INTERVAL_S=2147483647"},
		"follow asked for, absent":   {plainHead, "follow", "auto", planner.ModeFollow, planner.InTreeAbsent, "needs Ray's own autoscaler"},
		"follow by default, absent":  {plainHead, "", "follow", planner.ModeOff, planner.InTreeAbsent, ""},
		"off":                        {live, "off", "lead", planner.ModeOff, planner.InTreeLive, ""},
		"auto overrides the default": {live, "auto", "lead", planner.ModeFollow, planner.InTreeLive, ""},
		"nonsense":                   {live, "Lead", "auto", planner.ModeOff, planner.InTreeLive, `is "Lead": it must be follow, lead, off or auto`},
		"elsewhere":                  {live + "managedBy: kueue.x-k8s.io/multikueue\n", "", "auto", planner.ModeFollow, planner.InTreeLive, "spec.managedBy"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := object(t, c.spec)
			if c.annotation != "" {
				u.SetAnnotations(map[string]string{demand.AnnotationMode: c.annotation})
			}
			got := demand.RayCluster(u, c.fallback)
			assert.Equal(t, c.mode, got.Mode)
			assert.Equal(t, c.inTree, got.InTree)
			if c.invalid == "" {
				assert.Empty(t, got.Invalid)
			} else {
				assert.Contains(t, got.Invalid, c.invalid)
			}
			assert.Equal(t, planner.Duration(time.Minute), got.IdleTimeout)
		})
	}
}

func TestBrokenRayClusters(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ spec, want string }{
		"no head":             {`{workerGroupSpecs: []}`, "spec.headGroupSpec is missing"},
		"head no object":      {`{headGroupSpec: 7}`, "spec.headGroupSpec is missing or no object"},
		"head port":           {`{headGroupSpec: {rayStartParams: {port: http}, template: {}}}`, `rayStartParams.port "http" is no port`},
		"head port range":     {`{headGroupSpec: {rayStartParams: {port: "70000"}, template: {}}}`, `"70000" is no port`},
		"head resources":      {`{headGroupSpec: {rayStartParams: {num-cpus: x}, template: {}}}`, "reading spec.headGroupSpec"},
		"groups no list":      {plainHead + "workerGroupSpecs: 7\n", "spec.workerGroupSpecs is no list"},
		"options of any type": {plainHead + "autoscalerOptions: 7\n", "reading spec"},
		"negative timeout":    {plainHead + "autoscalerOptions: {idleTimeoutSeconds: -1}\n", "idleTimeoutSeconds is negative"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Contains(t, demand.RayCluster(object(t, c.spec), "lead").Invalid, c.want)
		})
	}
	assert.Contains(t, demand.RayCluster(&unstructured.Unstructured{Object: map[string]any{}}, "lead").Invalid, "no spec")
}

func TestABrokenGroupDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	const good = `template: {spec: {containers: [{name: w, resources: {limits: {cpu: "1"}}}]}}`
	u := object(t, plainHead+`
workerGroupSpecs:
- 7
- {groupName: types, replicas: many}
- {groupName: limits, minReplicas: 3, maxReplicas: 2, `+good+`}
- {groupName: negative, replicas: -1, `+good+`}
- {groupName: hosts, numOfHosts: 0, `+good+`}
- {groupName: idle, idleTimeoutSeconds: -1, `+good+`}
- {groupName: labels, labels: {"a\nb": x}, `+good+`}
- {`+good+`}
- {groupName: good, `+good+`}
- {groupName: good, `+good+`}
`)
	got := demand.RayCluster(u, "lead")
	require.Empty(t, got.Invalid)
	why := make([]string, 0, len(got.WorkerGroups))
	for _, w := range got.WorkerGroups {
		why = append(why, w.Invalid)
	}
	for i, want := range []string{
		"no object", "reading the entry", "minReplicas 3 is above maxReplicas 2", "must not be negative",
		"numOfHosts 0", "idleTimeoutSeconds is negative", "not allowed", "groupName is missing", "", "same groupName",
	} {
		if want == "" {
			assert.Empty(t, why[i])
		} else {
			assert.Contains(t, why[i], want)
		}
	}
}

func TestSuspendedClusters(t *testing.T) {
	t.Parallel()
	assert.False(t, demand.RayCluster(object(t, plainHead), "lead").Suspended)
	assert.True(t, demand.RayCluster(object(t, plainHead+"suspend: true\n"), "lead").Suspended)
	assert.True(t, demand.RayCluster(object(t, plainHead+"idleSuspend: true\n"), "lead").Suspended)
	leaving := object(t, plainHead)
	now := metav1.Now()
	leaving.SetDeletionTimestamp(&now)
	assert.True(t, demand.RayCluster(leaving, "lead").Suspended)
}

func FuzzRayCluster(f *testing.F) {
	f.Add(plainHead)
	f.Add(plainHead + "workerGroupSpecs: [{groupName: g, replicas: 1, template: {spec: {containers: [{resources: {limits: {cpu: 1}}}]}}}]\n")
	f.Fuzz(func(t *testing.T, spec string) {
		var body any
		if yaml.Unmarshal([]byte(spec), &body) != nil {
			return
		}
		got := demand.RayCluster(&unstructured.Unstructured{Object: map[string]any{"spec": body}}, "lead")
		for _, w := range got.WorkerGroups {
			for _, r := range []planner.Resources{w.RayResources, w.Pod.Requests} {
				for name, v := range r {
					assert.GreaterOrEqual(t, v, int64(0), name)
				}
			}
		}
	})
}
