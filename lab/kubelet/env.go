package kubelet

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// environment is that of a container, in the order of its declaration.
type environment struct {
	names  []string
	values map[string]string
}

func (e *environment) set(name, value string) {
	if _, ok := e.values[name]; !ok {
		e.names = append(e.names, name)
	}
	e.values[name] = value
}

func (e environment) lookup(name string) (string, bool) {
	v, ok := e.values[name]
	return v, ok
}

// configError is a container that cannot start as it is declared.
type configError struct{ container, problem string }

func (e *configError) Error() string { return "container " + e.container + ": " + e.problem }

// env resolves the environment of a container as a kubelet does: envFrom
// first, then env in order, each value seeing those before it.
func (k *Pods) env(ctx context.Context, p *corev1.Pod, c *corev1.Container, ip string) (environment, error) {
	out := environment{values: map[string]string{}}
	for _, from := range c.EnvFrom {
		values, err := k.envFrom(ctx, p, c, from)
		if err != nil {
			return out, err
		}
		for name, v := range values {
			out.set(from.Prefix+name, v)
		}
	}
	for _, e := range c.Env {
		if e.ValueFrom == nil {
			out.set(e.Name, expand(e.Value, out))
			continue
		}
		v, ok, err := k.valueFrom(ctx, p, c, e, ip)
		if err != nil {
			return out, err
		}
		if ok {
			out.set(e.Name, v)
		}
	}
	return out, nil
}

// valueFrom is one value that lies elsewhere; not ok if it is optional and
// missing.
func (k *Pods) valueFrom(ctx context.Context, p *corev1.Pod, c *corev1.Container, e corev1.EnvVar, ip string) (v string, ok bool, err error) {
	var data map[string]string
	var key string
	var optional *bool
	from := e.ValueFrom
	switch {
	case from.FieldRef != nil:
		v, ok := field(p, from.FieldRef.FieldPath, ip)
		if !ok {
			return "", false, &configError{c.Name, fmt.Sprintf("%s: the lab does not know field %q", e.Name, from.FieldRef.FieldPath)}
		}
		return v, true, nil
	case from.SecretKeyRef != nil:
		key, optional = from.SecretKeyRef.Key, from.SecretKeyRef.Optional
		data, err = k.secret(ctx, p.Namespace, from.SecretKeyRef.Name)
	case from.ConfigMapKeyRef != nil:
		key, optional = from.ConfigMapKeyRef.Key, from.ConfigMapKeyRef.Optional
		data, err = k.configMap(ctx, p.Namespace, from.ConfigMapKeyRef.Name)
	default:
		return "", false, &configError{c.Name, e.Name + ": the lab does not know this source of a value"}
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return "", false, err
	}
	if v, ok := data[key]; ok {
		return v, true, nil
	}
	if optional != nil && *optional {
		return "", false, nil
	}
	return "", false, &configError{c.Name, fmt.Sprintf("%s: there is no key %q where it points to", e.Name, key)}
}

func (k *Pods) envFrom(ctx context.Context, p *corev1.Pod, c *corev1.Container, from corev1.EnvFromSource) (map[string]string, error) {
	var data map[string]string
	var name string
	var optional *bool
	var err error
	switch {
	case from.SecretRef != nil:
		name, optional = from.SecretRef.Name, from.SecretRef.Optional
		data, err = k.secret(ctx, p.Namespace, name)
	case from.ConfigMapRef != nil:
		name, optional = from.ConfigMapRef.Name, from.ConfigMapRef.Optional
		data, err = k.configMap(ctx, p.Namespace, name)
	}
	if apierrors.IsNotFound(err) {
		if optional != nil && *optional {
			return nil, nil
		}
		return nil, &configError{c.Name, fmt.Sprintf("envFrom: there is no %q", name)}
	}
	return data, err
}

// secret reads without a cache: nothing else of the lab needs to watch them.
func (k *Pods) secret(ctx context.Context, namespace, name string) (map[string]string, error) {
	s := &corev1.Secret{}
	if err := k.reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, s); err != nil {
		return nil, fmt.Errorf("reading secret %s: %w", name, err)
	}
	out := make(map[string]string, len(s.Data))
	for key, v := range s.Data {
		out[key] = string(v)
	}
	return out, nil
}

func (k *Pods) configMap(ctx context.Context, namespace, name string) (map[string]string, error) {
	m := &corev1.ConfigMap{}
	if err := k.reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, m); err != nil {
		return nil, fmt.Errorf("reading config map %s: %w", name, err)
	}
	return m.Data, nil
}

// field is a field of the downward API.
func field(p *corev1.Pod, path, ip string) (string, bool) {
	switch path {
	case "metadata.name":
		return p.Name, true
	case "metadata.namespace":
		return p.Namespace, true
	case "metadata.uid":
		return string(p.UID), true
	case "spec.nodeName":
		return p.Spec.NodeName, true
	case "spec.serviceAccountName":
		return p.Spec.ServiceAccountName, true
	case "status.podIP", "status.podIPs":
		return ip, true
	case "status.hostIP":
		return hostIP, true
	}
	for prefix, values := range map[string]map[string]string{"metadata.labels['": p.Labels, "metadata.annotations['": p.Annotations} {
		if key, ok := strings.CutPrefix(path, prefix); ok {
			return values[strings.TrimSuffix(key, "']")], true
		}
	}
	return "", false
}

// dropped are variables that mean something only in the pod's own network, or
// hold a copy of the untranslated command.
var dropped = []string{"RAY_ADDRESS", "KUBERAY_GEN_RAY_START_CMD"}

// processEnv is the environment of the process. Ray's workers are not started
// ahead of need: a pod that claims 40 CPUs would start 40 of them.
func (k *Pods) processEnv(env environment, t translation) []string {
	out := []string{
		"PATH=" + k.options.Venv + "/bin:/usr/local/bin:/usr/bin:/bin", "HOME=" + k.options.Home,
		"LANG=C.UTF-8", "PYTHONUNBUFFERED=1", "OPENBLAS_NUM_THREADS=1", "OMP_NUM_THREADS=1",
		"RAY_enable_worker_prestart=0", "RAY_prestart_worker_first_driver=0",
		// The pods share the machine's memory; Ray must not kill by it.
		"RAY_memory_monitor_refresh_ms=0",
	}
	for _, name := range env.names {
		if !slices.Contains(dropped, name) {
			out = append(out, name+"="+strings.ReplaceAll(env.values[name], t.headService, t.headIP))
		}
	}
	return out
}
