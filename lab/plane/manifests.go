package plane

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/cluster-api/util/test/builder"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// readObjects decodes every document of the YAML files that match the pattern.
func readObjects(pattern string) ([]*unstructured.Unstructured, error) {
	files, err := filepath.Glob(pattern)
	if err != nil {
		return nil, fmt.Errorf("looking for %s: %w", pattern, err)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("looking for %s: %w", pattern, os.ErrNotExist)
	}
	var out []*unstructured.Unstructured
	for _, f := range files {
		b, err := os.ReadFile(f) //nolint:gosec // The path comes from the lab's options.
		if err != nil {
			return nil, fmt.Errorf("reading a manifest: %w", err)
		}
		for dec := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(b), 4096); ; {
			u := &unstructured.Unstructured{}
			err := dec.Decode(&u.Object)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("decoding %s: %w", f, err)
			}
			if len(u.Object) > 0 {
				out = append(out, u)
			}
		}
	}
	return out, nil
}

// readKind decodes the documents of one kind.
func readKind[T any](pattern, kind string) ([]*T, error) {
	objects, err := readObjects(pattern)
	if err != nil {
		return nil, err
	}
	var out []*T
	for _, u := range objects {
		if u.GetKind() != kind {
			continue
		}
		o := new(T)
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, o); err != nil {
			return nil, fmt.Errorf("decoding %s %s: %w", kind, u.GetName(), err)
		}
		out = append(out, o)
	}
	return out, nil
}

// readCRDs reads the CRDs of one folder of the assets.
func (p *Plane) readCRDs(folder string) ([]*apiextensionsv1.CustomResourceDefinition, error) {
	return readKind[apiextensionsv1.CustomResourceDefinition](filepath.Join(p.options.Assets, folder, "*.yaml"), "CustomResourceDefinition")
}

// installCRDs installs CRDs; hooks is nil for CRDs without conversion.
func installCRDs(cfg *rest.Config, scheme *runtime.Scheme, crds []*apiextensionsv1.CustomResourceDefinition, hooks *envtest.WebhookInstallOptions) error {
	o := envtest.CRDInstallOptions{CRDs: crds, Scheme: scheme, MaxTime: startTimeout}
	if hooks != nil {
		o.WebhookOptions = *hooks
	}
	if _, err := envtest.InstallCRDs(cfg, o); err != nil {
		return fmt.Errorf("installing CRDs: %w", err)
	}
	return nil
}

// clusterAPICRDs are those of Cluster API, its development provider, and the
// stand-ins for a control plane and a bootstrap provider.
func (p *Plane) clusterAPICRDs() ([]*apiextensionsv1.CustomResourceDefinition, error) {
	crds, err := p.readCRDs("core")
	if err != nil {
		return nil, err
	}
	dev, err := p.readCRDs("dev")
	if err != nil {
		return nil, err
	}
	for _, c := range dev {
		followContract(c)
	}
	crds = append(crds, dev...)
	return append(crds,
		builder.GenericControlPlaneCRD.DeepCopy(), builder.GenericControlPlaneTemplateCRD.DeepCopy(),
		builder.GenericBootstrapConfigCRD.DeepCopy(), builder.GenericBootstrapConfigTemplateCRD.DeepCopy()), nil
}

// followContract adds the labels by which Cluster API finds the version of a
// provider's type; upstream adds them with kustomize.
func followContract(c *apiextensionsv1.CustomResourceDefinition) {
	if c.Labels == nil {
		c.Labels = map[string]string{}
	}
	for _, v := range c.Spec.Versions {
		if v.Name == "v1beta1" || v.Name == "v1beta2" {
			c.Labels["cluster.x-k8s.io/"+v.Name] = v.Name
		}
	}
}

// webhooks prepares the admission webhooks: certificates, and the URL of this
// process in place of a Service.
func (p *Plane) webhooks(port int) (*envtest.WebhookInstallOptions, error) {
	o := &envtest.WebhookInstallOptions{
		LocalServingHost: "127.0.0.1", LocalServingPort: port,
		MaxTime: startTimeout, PollInterval: 50 * time.Millisecond,
		// The types of Cluster API 1.14 are not convertible by themselves, so
		// the scheme cannot tell which CRDs have a conversion webhook.
		IgnoreSchemeConvertible: true,
	}
	for _, provider := range []string{"core", "dev"} {
		file := filepath.Join(p.options.Assets, "webhooks", provider+".yaml")
		mutating, err := readKind[admissionv1.MutatingWebhookConfiguration](file, "MutatingWebhookConfiguration")
		if err != nil {
			return nil, err
		}
		validating, err := readKind[admissionv1.ValidatingWebhookConfiguration](file, "ValidatingWebhookConfiguration")
		if err != nil {
			return nil, err
		}
		// Every provider calls its configuration by the same name.
		for _, m := range mutating {
			m.Name = provider + "-mutating"
		}
		for _, v := range validating {
			v.Name = provider + "-validating"
		}
		o.MutatingWebhooks = append(o.MutatingWebhooks, mutating...)
		o.ValidatingWebhooks = append(o.ValidatingWebhooks, validating...)
	}
	if err := o.PrepWithoutInstalling(); err != nil {
		return nil, fmt.Errorf("preparing the webhooks: %w", err)
	}
	return o, nil
}
