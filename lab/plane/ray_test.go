package plane_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	pb "github.com/tandem-autoscaler/tandem/pkg/demand/gcs/autoscalerpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tandem-autoscaler/tandem/lab/plane"
)

func template(name, cpu, memory string) corev1.PodTemplateSpec {
	r := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	return corev1.PodTemplateSpec{Spec: corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever,
		Containers: []corev1.Container{{
			Name: name, Image: "rayproject/ray:2.60.0", Resources: corev1.ResourceRequirements{Requests: r, Limits: r},
		}},
	}}
}

func rayCluster(name, port string, workers int32) *rayv1.RayCluster {
	return &rayv1.RayCluster{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: rayv1.RayClusterSpec{
			RayVersion:              "2.60.0",
			EnableInTreeAutoscaling: new(true),
			AutoscalerOptions:       &rayv1.AutoscalerOptions{Version: ptr.To(rayv1.AutoscalerVersionV2), IdleTimeoutSeconds: ptr.To[int32](3600)},
			HeadGroupSpec: rayv1.HeadGroupSpec{
				RayStartParams: map[string]string{"num-cpus": "0", "port": port}, Template: template("ray-head", "1", "2Gi"),
			},
			WorkerGroupSpecs: []rayv1.WorkerGroupSpec{{
				GroupName: "cpu", Replicas: new(workers), MinReplicas: new(workers), MaxReplicas: ptr.To[int32](4),
				RayStartParams: map[string]string{}, Template: template("ray-worker", "4", "8Gi"),
			}},
		},
	}
}

// pods lists the pods of a RayCluster of one node type.
func pods(ctx context.Context, p *plane.Plane, cluster, nodeType string) ([]corev1.Pod, error) {
	l := &corev1.PodList{}
	err := p.Workload().List(ctx, l, client.InNamespace("default"),
		client.MatchingLabels{"ray.io/cluster": cluster, "ray.io/node-type": nodeType})
	return l.Items, err
}

func isReady(p corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// onePod waits until a RayCluster has exactly one ready pod of a node type.
func onePod(t *testing.T, p *plane.Plane, cluster, nodeType, not string) corev1.Pod {
	t.Helper()
	var out corev1.Pod
	eventually(t, "a ready "+nodeType+" of "+cluster, func(c *assert.CollectT) {
		ps, err := pods(t.Context(), p, cluster, nodeType)
		require.NoError(c, err)
		require.Len(c, ps, 1)
		require.NotEqual(c, not, ps[0].Name)
		require.True(c, isReady(ps[0]), "%s is %s", ps[0].Name, ps[0].Status.Phase)
		out = ps[0]
	})
	return out
}

func labName(p *plane.Plane) string {
	_, name, _ := strings.Cut(p.Environ()[0], "=")
	return name
}

// sessions are the processes of the lab: each names its scratch directory.
func sessions(t *testing.T, p *plane.Plane) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	var out []string
	for _, f := range files {
		//nolint:gosec // Names of /proc.
		if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), "/tmp/"+labName(p)+"/") {
			out = append(out, strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	return out
}

// state asks a GCS for its cluster's state, with a token unless it is empty.
func state(t *testing.T, address, token string) (*pb.GetClusterResourceStateReply, error) {
	t.Helper()
	c, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	return pb.NewAutoscalerStateServiceClient(c).GetClusterResourceState(ctx, &pb.GetClusterResourceStateRequest{})
}

func TestRealRay(t *testing.T) {
	venv := os.Getenv("LAB_VENV")
	if venv == "" {
		t.Skip("LAB_VENV is not set: run make ray, and set it to .venv")
	}
	p := start(t, plane.Options{One: true, Venv: venv})
	require.NoError(t, p.AddPool(t.Context(), plane.Pool{Name: "cpu", Class: "cpu-large", Replicas: 2}))
	require.NoError(t, p.Workload().Create(t.Context(), rayCluster("open", "6379", 1)))
	guarded := rayCluster("guarded", "6390", 0)
	guarded.Spec.AuthOptions = &rayv1.AuthOptions{Mode: rayv1.AuthModeToken}
	require.NoError(t, p.Workload().Create(t.Context(), guarded))

	worker := onePod(t, p, "open", "worker", "")
	onePod(t, p, "guarded", "head", "")
	address, ok := p.Pods().RayAddress("default", "open")
	require.True(t, ok)
	assert.True(t, strings.HasSuffix(address, ":6379"), address)
	_, err := net.ResolveTCPAddr("tcp", address)
	require.NoError(t, err)
	eventually(t, "the GCS knows the worker by its pod", func(c *assert.CollectT) {
		reply, err := state(t, address, "")
		require.NoError(c, err)
		var names []string
		for _, n := range reply.GetClusterResourceState().GetNodeStates() {
			names = append(names, n.GetInstanceId())
		}
		assert.Contains(c, names, worker.Name)
	})

	address, ok = p.Pods().RayAddress("default", "guarded")
	require.True(t, ok)
	_, err = state(t, address, "")
	assert.Equal(t, codes.Unauthenticated, status.Code(err), "%v", err)
	s := &corev1.Secret{}
	require.NoError(t, p.Workload().Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "guarded"}, s))
	_, err = state(t, address, string(s.Data["auth_token"]))
	require.NoError(t, err)

	require.NoError(t, p.Pods().KillRaylet("default", worker.Name))
	again := onePod(t, p, "open", "worker", worker.Name)

	require.NoError(t, p.Pods().Kill("default", again.Name, ""))
	onePod(t, p, "open", "worker", again.Name)

	require.NoError(t, p.Workload().Delete(t.Context(), &rayv1.RayCluster{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "open"}}))
	eventually(t, "nothing of the deleted cluster is left", func(c *assert.CollectT) {
		for _, nodeType := range []string{"head", "worker"} {
			ps, err := pods(t.Context(), p, "open", nodeType)
			require.NoError(c, err)
			assert.Empty(c, ps)
		}
	})
	require.NotEmpty(t, sessions(t, p), "the other one still runs")
	p.Stop()
	assert.Empty(t, sessions(t, p), "processes of Ray survive the lab")
	assert.NoDirExists(t, "/tmp/"+labName(p))
}
