package scenario

import (
	"fmt"
	"strconv"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

const (
	rayVersion = "2.60.0"
	rayImage   = "rayproject/ray:" + rayVersion

	modeAnnotation = "tandem-autoscaler.io/mode"
	// intervalEnv sets the pace of Ray's in-tree autoscaler; with inertInterval
	// it runs one round when it starts and then sleeps.
	intervalEnv   = "AUTOSCALER_UPDATE_INTERVAL_S"
	inertInterval = "2147483647"
	// tokenKey is the key of the Secret of a RayCluster with token
	// authentication (kuberay: ray-operator/controllers/ray/utils/constant.go).
	tokenKey = "auth_token"

	poolLabel = "node.cluster.x-k8s.io/pool"
	gpu       = "nvidia.com/gpu"
)

// key is namespace/name.
func (c *RayCluster) key() string { return c.Namespace + "/" + c.Name }

// object is the RayCluster as KubeRay wants it.
func (c *RayCluster) object(headPool string) (*unstructured.Unstructured, error) {
	rc := &rayv1.RayCluster{
		TypeMeta:   metav1.TypeMeta{APIVersion: rayv1.GroupVersion.String(), Kind: "RayCluster"},
		ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: c.Name},
		Spec:       rayv1.RayClusterSpec{RayVersion: rayVersion, HeadGroupSpec: c.headGroup(headPool)},
	}
	if c.Mode != "" {
		rc.Annotations = map[string]string{modeAnnotation: c.Mode}
	}
	if c.Token {
		rc.Spec.AuthOptions = &rayv1.AuthOptions{Mode: rayv1.AuthModeToken}
	}
	if c.InTree != inTreeAbsent {
		yes := true
		rc.Spec.EnableInTreeAutoscaling = &yes
		rc.Spec.AutoscalerOptions = c.autoscalerOptions()
	}
	for i := range c.Groups {
		rc.Spec.WorkerGroupSpecs = append(rc.Spec.WorkerGroupSpecs, c.Groups[i].workerGroup())
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(rc)
	if err != nil {
		return nil, fmt.Errorf("converting the RayCluster %s: %w", c.key(), err)
	}
	delete(content, "status")
	return &unstructured.Unstructured{Object: content}, nil
}

func (c *RayCluster) autoscalerOptions() *rayv1.AutoscalerOptions {
	version := rayv1.AutoscalerVersionV2
	o := &rayv1.AutoscalerOptions{Version: &version, IdleTimeoutSeconds: wholeSeconds(c.IdleTimeout)}
	switch {
	case c.InTree == inTreeInert:
		o.Env = []corev1.EnvVar{{Name: intervalEnv, Value: inertInterval}}
	case c.UpdateInterval.Duration > 0:
		o.Env = []corev1.EnvVar{{Name: intervalEnv, Value: strconv.FormatFloat(c.UpdateInterval.Seconds(), 'f', -1, 64)}}
	}
	return o
}

func (c *RayCluster) headGroup(headPool string) rayv1.HeadGroupSpec {
	selector := map[string]string{poolLabel: headPool}
	if c.Unreachable {
		selector["lab.tandem-autoscaler.io/nowhere"] = "true"
	}
	template := podTemplate("ray-head", c.Head.CPU, c.Head.Memory, 0)
	template.Spec.NodeSelector = selector
	params := map[string]string{
		"num-cpus":               strconv.FormatInt(c.Head.RayCPU, 10),
		"port":                   strconv.Itoa(int(c.Port)),
		"ray-client-server-port": strconv.Itoa(int(c.Port) + 2000),
		"dashboard-port":         strconv.Itoa(int(c.Port) + 2100),
		"dashboard-host":         "127.0.0.1",
	}
	return rayv1.HeadGroupSpec{RayStartParams: params, Template: template}
}

func (g *Group) workerGroup() rayv1.WorkerGroupSpec {
	template := podTemplate("ray-worker", g.CPU, g.Memory, g.GPU)
	template.Spec.NodeSelector = g.NodeSelector
	template.Spec.Tolerations = g.Tolerations
	return rayv1.WorkerGroupSpec{
		GroupName: g.Name, Replicas: &g.Replicas, MinReplicas: &g.Min, MaxReplicas: &g.Max,
		IdleTimeoutSeconds: wholeSeconds(g.IdleTimeout), Resources: g.Resources, Labels: g.Labels,
		RayStartParams: map[string]string{}, Template: template,
	}
}

func podTemplate(container string, cpu, memory resource.Quantity, gpus int64) corev1.PodTemplateSpec {
	r := corev1.ResourceList{corev1.ResourceCPU: cpu, corev1.ResourceMemory: memory}
	if gpus > 0 {
		r[gpu] = *resource.NewQuantity(gpus, resource.DecimalSI)
	}
	return corev1.PodTemplateSpec{Spec: corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever,
		Containers: []corev1.Container{{
			Name: container, Image: rayImage, Resources: corev1.ResourceRequirements{Requests: r, Limits: r},
		}},
	}}
}

// secret holds the token of a RayCluster with token authentication. KubeRay
// uses one that is there already.
func (c *RayCluster) secret(token string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: c.Name},
		Data:       map[string][]byte{tokenKey: []byte(token)},
	}
}

func wholeSeconds(d metav1.Duration) *int32 {
	if d.Duration == 0 {
		return nil
	}
	n := int32(d.Round(1e9).Seconds())
	return &n
}
