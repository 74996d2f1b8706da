package kubelet

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
)

func secretKey(name, key string, optional bool) *corev1.EnvVarSource {
	return &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
		LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key, Optional: new(optional),
	}}
}

func fieldRef(path string) *corev1.EnvVarSource {
	return &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}
}

func TestEnv(t *testing.T) {
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "default", Name: name} }
	k := &Pods{reader: fake.NewClientBuilder().WithObjects(
		&corev1.Secret{ObjectMeta: meta("auth"), Data: map[string][]byte{"auth_token": []byte("s3cret")}},
		&corev1.ConfigMap{ObjectMeta: meta("settings"), Data: map[string]string{"A": "from-map", "B": "b"}},
	).Build()}
	pod := &corev1.Pod{ObjectMeta: meta("demo-head"), Spec: corev1.PodSpec{NodeName: "n1"}}
	pod.Labels = map[string]string{labelCluster: "demo"}
	for name, tt := range map[string]struct {
		c    corev1.Container
		want map[string]string
		err  string
	}{
		"values, references and fields": {
			c: corev1.Container{Env: []corev1.EnvVar{
				{Name: "X", Value: "1"},
				{Name: "Y", Value: "$(X)2 $(LATER) $$(X)"},
				{Name: "LATER", Value: "no"},
				{Name: "NAME", ValueFrom: fieldRef("metadata.name")},
				{Name: "IP", ValueFrom: fieldRef("status.podIP")},
				{Name: "CLUSTER", ValueFrom: fieldRef("metadata.labels['ray.io/cluster']")},
				{Name: "NODE", ValueFrom: fieldRef("spec.nodeName")},
			}},
			want: map[string]string{"X": "1", "Y": "12 $(LATER) $(X)", "LATER": "no", "NAME": "demo-head", "IP": "127.9.0.2", "CLUSTER": "demo", "NODE": "n1"},
		},
		"the token of token authentication": {
			c:    corev1.Container{Env: []corev1.EnvVar{{Name: "RAY_AUTH_TOKEN", ValueFrom: secretKey("auth", "auth_token", false)}}},
			want: map[string]string{"RAY_AUTH_TOKEN": "s3cret"},
		},
		"env overrides envFrom": {
			c: corev1.Container{
				EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}}},
				Env:     []corev1.EnvVar{{Name: "A", Value: "own"}},
			},
			want: map[string]string{"A": "own", "B": "b"},
		},
		"what is optional may be missing": {
			c:    corev1.Container{Env: []corev1.EnvVar{{Name: "T", ValueFrom: secretKey("none", "x", true)}}},
			want: map[string]string{},
		},
		"a missing secret is a problem of the pod": {
			c:   corev1.Container{Name: "ray-head", Env: []corev1.EnvVar{{Name: "T", ValueFrom: secretKey("none", "x", false)}}},
			err: `container ray-head: T: there is no key "x" where it points to`,
		},
		"so is a missing config map": {
			c:   corev1.Container{Name: "c", EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "none"}}}}},
			err: `container c: envFrom: there is no "none"`,
		},
		"so is an unknown field": {
			c:   corev1.Container{Name: "c", Env: []corev1.EnvVar{{Name: "T", ValueFrom: fieldRef("status.moon")}}},
			err: `container c: T: the lab does not know field "status.moon"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := k.env(t.Context(), pod, &tt.c, "127.9.0.2")
			if tt.err != "" {
				var config *configError
				require.ErrorAs(t, err, &config)
				assert.EqualError(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, got.values)
		})
	}
}
