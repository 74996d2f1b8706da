package kubelet

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

func newEnvironment(kv ...string) environment {
	e := environment{values: map[string]string{}}
	for i := 0; i+1 < len(kv); i += 2 {
		e.set(kv[i], kv[i+1])
	}
	return e
}

// As KubeRay 1.6 generates them.
const (
	headCommand   = "ulimit -n 65536; ray start --head  --block  --dashboard-agent-listen-port=52365  --dashboard-host=0.0.0.0  --metrics-export-port=8080  --no-monitor  --num-cpus=0  --port=6379 "
	workerCommand = "ulimit -n 65536; ray start  --address=demo-head-svc.default.svc.cluster.local:6379  --block  --dashboard-agent-listen-port=52365  --memory=8589934592  --metrics-export-port=8080  --num-cpus=4 "
)

func TestArgs(t *testing.T) {
	head := translation{
		head: true, ip: "127.9.0.2", headIP: "127.9.0.2", headService: "demo-head-svc.default.svc.cluster.local",
		gcsPort: "6379", port: func(i int) int { return 12000 + i }, tempDir: "/t/a",
	}
	worker := head
	worker.head, worker.ip, worker.tempDir = false, "127.9.0.3", "/t/b"
	common := "--disable-usage-stats --object-store-memory=80000000 --node-manager-port=12000 --object-manager-port=12001 " +
		"--dashboard-agent-listen-port=12002 --dashboard-agent-grpc-port=12003 --runtime-env-agent-port=12004 " +
		"--metrics-export-port=12005 --min-worker-port=12009 --max-worker-port=12039 "
	for name, tt := range map[string]struct {
		t    translation
		c    corev1.Container
		env  environment
		want []string
	}{
		"a head has its own ports": {
			head,
			corev1.Container{Command: []string{"/bin/bash", "-c", "--"}, Args: []string{headCommand}},
			newEnvironment(),
			[]string{"/bin/bash", "-c", "--", "ulimit -n 65536; ray start --node-ip-address=127.9.0.2 " + common +
				"--temp-dir=/t/a --port=12008 --ray-client-server-port=12006 --dashboard-port=12007 --head  --block   --dashboard-host=0.0.0.0   --no-monitor  --num-cpus=0  "},
		},
		"a worker finds the head": {
			worker,
			corev1.Container{Command: []string{"/bin/bash", "-c", "--"}, Args: []string{workerCommand}},
			newEnvironment(),
			[]string{"/bin/bash", "-c", "--", "ulimit -n 65536; ray start --node-ip-address=127.9.0.3 " + common +
				"--temp-dir=/t/b  --address=127.9.0.2:6379  --block   --memory=8589934592   --num-cpus=4 "},
		},
		"the in-tree autoscaler finds the gcs": {
			head,
			corev1.Container{Name: autoscalerContainer, Args: []string{"ray kuberay-autoscaler --cluster-name $(RAY_CLUSTER_NAME) --cluster-namespace $(NS)"}},
			newEnvironment("RAY_CLUSTER_NAME", "demo"),
			[]string{"ray kuberay-autoscaler --gcs-address 127.9.0.2:6379 --cluster-name demo --cluster-namespace $(NS)"},
		},
		"other commands stay": {
			worker,
			corev1.Container{Command: []string{"sleep"}, Args: []string{"$(SECONDS)", "$$(SECONDS)", "$$", "a$b"}},
			newEnvironment("SECONDS", "3"),
			[]string{"sleep", "3", "$(SECONDS)", "$", "a$b"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, tt.t.args(&tt.c, tt.env))
		})
	}
}

func TestHeadPorts(t *testing.T) {
	port := func(i int) int { return 100 + i }
	got, err := headPorts("6390", port)
	require.NoError(t, err)
	assert.Equal(t, map[int]int{6390: 108, 10001: 106, 8265: 107}, got)
	for _, bad := range []string{"", "x", "-1", "70000"} {
		_, err := headPorts(bad, port)
		require.Error(t, err, bad)
	}
}

func TestPortAndServiceOfTheHead(t *testing.T) {
	p := &corev1.Pod{}
	p.Namespace, p.Labels = "ml", map[string]string{labelCluster: "demo"}
	assert.Equal(t, "6379", rayPort(p))
	assert.Equal(t, "demo-head-svc.ml.svc.cluster.local", headService(p))
	p.Spec.Containers = []corev1.Container{{Env: []corev1.EnvVar{{Name: "RAY_PORT", Value: "6400"}, {Name: "FQ_RAY_IP", Value: "own.ml.svc.cluster.local"}}}}
	assert.Equal(t, "6400", rayPort(p))
	assert.Equal(t, "own.ml.svc.cluster.local", headService(p))
}
