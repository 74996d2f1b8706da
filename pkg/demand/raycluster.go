package demand

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// Names of KubeRay (kuberay: ray-operator/apis/ray/v1/raycluster_types.go,
// ray-operator/controllers/ray/utils/constant.go).
const (
	labelCluster  = "ray.io/cluster"
	labelNodeType = "ray.io/node-type"
	labelGroup    = "ray.io/group"
	labelReplica  = "ray.io/worker-group-replica-name"
	nodeTypeHead  = "head"
	// autoscalerContainer is that of Ray's own autoscaler in a head pod.
	autoscalerContainer = "autoscaler"
	ownManager          = "ray.io/kuberay-operator"

	defaultGCSPort     = "6379"
	defaultMaxReplicas = 2147483647
	defaultIdleTimeout = 60 * time.Second
)

// AnnotationMode on a RayCluster says who decides about its pods: follow, lead,
// off or auto. It overrides rayClusters.defaultMode of the configuration.
const AnnotationMode = "tandem-autoscaler.io/mode"

// modeAuto is follow where Ray's own autoscaler lives, and off elsewhere.
const modeAuto = "auto"

// envUpdateInterval is how often Ray's own autoscaler looks, in seconds (ray:
// python/ray/autoscaler/_private/constants.py).
const envUpdateInterval = "AUTOSCALER_UPDATE_INTERVAL_S"

// RayClusterKind is the kind of object that the source lists.
func RayClusterKind() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "ray.io", Version: "v1", Kind: "RayCluster"}
}

// clusterSpec is the part of a RayCluster's spec that is read as a whole.
type clusterSpec struct {
	EnableInTreeAutoscaling *bool  `json:"enableInTreeAutoscaling"`
	Suspend                 *bool  `json:"suspend"`
	IdleSuspend             *bool  `json:"idleSuspend"`
	ManagedBy               string `json:"managedBy"`
	RayVersion              string `json:"rayVersion"`
	AutoscalerOptions       *struct {
		IdleTimeoutSeconds *int64          `json:"idleTimeoutSeconds"`
		UpscalingMode      string          `json:"upscalingMode"`
		Env                []corev1.EnvVar `json:"env"`
	} `json:"autoscalerOptions"`
}

// cluster is a RayCluster object with what the source needs to find its GCS.
type cluster struct {
	planner.RayCluster

	gcsPort string
	// patience is how long Ray's own autoscaler waits for a pod.
	patience time.Duration
}

// RayCluster translates a RayCluster object, without any demand. It never
// fails: what cannot be planned for carries its reason in Invalid, of the
// cluster or of the worker group.
func RayCluster(u *unstructured.Unstructured, defaultMode string) planner.RayCluster {
	return clusterOf(u, defaultMode).RayCluster
}

func clusterOf(u *unstructured.Unstructured, defaultMode string) cluster {
	out := cluster{RayCluster: planner.RayCluster{
		Namespace: u.GetNamespace(), Name: u.GetName(), UID: string(u.GetUID()), Mode: planner.ModeOff,
	}}
	if err := out.read(u, defaultMode); err != nil {
		out.Invalid = err.Error()
	}
	return out
}

func (c *cluster) read(u *unstructured.Unstructured, defaultMode string) error {
	raw, found, err := unstructured.NestedMap(u.Object, "spec")
	if err != nil || !found {
		return errors.New("the object has no spec")
	}
	var spec clusterSpec
	if err := decode(raw, &spec, "enableInTreeAutoscaling", "suspend", "idleSuspend", "managedBy", "rayVersion", "autoscalerOptions"); err != nil {
		return fmt.Errorf("reading spec: %w", err)
	}
	c.readOptions(&spec)
	// Nothing new starts in a cluster that is being deleted.
	c.Suspended = isTrue(spec.Suspend) || isTrue(spec.IdleSuspend) || u.GetDeletionTimestamp() != nil
	modeErr := c.setMode(u.GetAnnotations()[AnnotationMode], defaultMode)
	if err := c.readGroups(raw); err != nil {
		return err
	}
	if modeErr == nil && spec.ManagedBy != "" && spec.ManagedBy != ownManager {
		return fmt.Errorf("spec.managedBy is %q, so the pods of this cluster run elsewhere; set mode off here", clip(spec.ManagedBy, 80))
	}
	if modeErr == nil && c.IdleTimeout < 0 {
		return errors.New("spec.autoscalerOptions.idleTimeoutSeconds is negative")
	}
	if why := c.refuseResize(u.GetAnnotations()[annotationResize]); modeErr == nil && why != "" {
		return errors.New(why)
	}
	return modeErr
}

func (c *cluster) readOptions(spec *clusterSpec) {
	c.IdleTimeout = planner.Duration(defaultIdleTimeout)
	c.InTree = planner.InTreeAbsent
	if isTrue(spec.EnableInTreeAutoscaling) {
		c.InTree = planner.InTreeLive
	}
	c.patience = patience(spec.RayVersion, nil)
	o := spec.AutoscalerOptions
	if o == nil {
		return
	}
	c.patience = patience(spec.RayVersion, o.Env)
	c.UpscalingMode = o.UpscalingMode
	if o.IdleTimeoutSeconds != nil {
		c.IdleTimeout = seconds(*o.IdleTimeoutSeconds)
	}
	if c.InTree == planner.InTreeLive && inert(o.Env) {
		c.InTree = planner.InTreeInert
	}
}

// inert tells whether an autoscaler with this environment sleeps for a year or
// more between two rounds. Of variables with the same name the last counts.
func inert(env []corev1.EnvVar) bool {
	const year = 365 * 24 * 60 * 60
	out := false
	for _, e := range env {
		if e.Name == envUpdateInterval {
			v, err := strconv.ParseInt(e.Value, 10, 64)
			out = err == nil && v >= year
		}
	}
	return out
}

// setMode settles who decides, and refuses two writers on one verb.
func (c *cluster) setMode(annotation, defaultMode string) error {
	wanted := annotation
	if wanted == "" {
		wanted = defaultMode
	}
	live := c.InTree == planner.InTreeLive
	switch wanted {
	case modeAuto, "":
		if live {
			c.Mode = planner.ModeFollow
		}
	case string(planner.ModeFollow):
		switch {
		case live:
			c.Mode = planner.ModeFollow
		case annotation != "":
			c.Mode = planner.ModeFollow
			return errors.New("mode follow needs Ray's own autoscaler: set spec.enableInTreeAutoscaling, or mode lead or off")
		}
	case string(planner.ModeLead):
		c.Mode = planner.ModeLead
		if live {
			return fmt.Errorf("mode lead, but Ray's own autoscaler is live: set %s=2147483647 in spec.autoscalerOptions.env, or enableInTreeAutoscaling: false, or mode follow", envUpdateInterval)
		}
	case string(planner.ModeOff):
	default:
		return fmt.Errorf("annotation %s is %q: it must be follow, lead, off or auto", AnnotationMode, clip(wanted, 80))
	}
	return nil
}

func (c *cluster) readGroups(spec map[string]any) error {
	head, found, err := unstructured.NestedMap(spec, "headGroupSpec")
	if err != nil || !found {
		return errors.New("spec.headGroupSpec is missing or no object")
	}
	if err := c.readHead(head); err != nil {
		return fmt.Errorf("reading spec.headGroupSpec: %w", err)
	}
	groups, _, err := unstructured.NestedSlice(spec, "workerGroupSpecs")
	if err != nil {
		return errors.New("spec.workerGroupSpecs is no list")
	}
	seen := make(map[string]bool, len(groups))
	for i, g := range groups {
		w := workerGroup(g)
		switch {
		case w.Name == "":
			w.Name = fmt.Sprintf("workerGroupSpecs[%d]", i)
			if w.Invalid == "" {
				w.Invalid = "groupName is missing"
			}
		case seen[w.Name]:
			w.Invalid = "another worker group of this cluster has the same groupName"
		}
		seen[w.Name] = true
		c.WorkerGroups = append(c.WorkerGroups, w)
	}
	return nil
}

func (c *cluster) readHead(raw map[string]any) error {
	var g groupSpec
	if err := decode(raw, &g); err != nil {
		return err
	}
	c.gcsPort = defaultGCSPort
	if p, set := g.RayStartParams["port"]; set {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return fmt.Errorf("rayStartParams.port %q is no port", clip(p, 40))
		}
		c.gcsPort = p
	}
	// A head whose CPUs are told by nothing counts those of its node: what it
	// offers is known once it runs.
	resources, err := g.rayResources()
	if err != nil && !errors.Is(err, errNoCPU) {
		return err
	}
	c.HeadResources = resources
	return nil
}

// decode converts some fields of an object, or all.
func decode(raw map[string]any, into any, fields ...string) error {
	if len(fields) > 0 {
		part := make(map[string]any, len(fields))
		for _, f := range fields {
			if v, ok := raw[f]; ok {
				part[f] = v
			}
		}
		raw = part
	}
	return runtime.DefaultUnstructuredConverter.FromUnstructured(raw, into)
}

func isTrue(b *bool) bool { return b != nil && *b }

// seconds converts, and keeps what no duration can hold at its sign.
func seconds(n int64) planner.Duration {
	const most = int64(maxIdle / time.Second)
	return planner.Duration(time.Duration(max(-1, min(n, most))) * time.Second)
}
