package capi

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/expirable"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tandem-autoscaler/tandem/pkg/kube"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

const (
	// templateCacheSize bounds the templates that are remembered.
	templateCacheSize = 4096
	// templateTimeout bounds one read.
	templateTimeout = 5 * time.Second
	// templateRetry is the first pause after a read that went wrong.
	templateRetry = 2 * time.Second
)

// template is what an infrastructure template tells of the Machines made from
// it. The zero template tells nothing.
type template struct {
	class     string // the provider's own word
	annotated string // ours
	capacity  planner.Resources
	arch, os  string
	// err tells why the template, or a part of it, could not be read.
	err string
}

// templateKey names a template without a version: references of Cluster API
// carry none since v1beta2.
type templateKey struct{ namespace, group, kind, name string }

func keyOf(md *clusterv1.MachineDeployment) templateKey {
	ref := md.Spec.Template.Spec.InfrastructureRef
	return templateKey{md.Namespace, ref.APIGroup, ref.Kind, ref.Name}
}

func (k templateKey) String() string { return k.kind + " " + k.namespace + "/" + k.name }

// templates remembers infrastructure templates, and reads them again in the
// background. Looking one up never waits.
type templates struct {
	reader  client.Reader
	mapper  meta.RESTMapper
	cache   *expirable.LRU[templateKey, template]
	refresh time.Duration
	changed func()
	log     *zap.Logger

	mu     sync.Mutex
	wanted map[templateKey]bool
	failed map[templateKey]string
	kick   chan struct{}
}

// lookup returns what is known of the template of a MachineDeployment, and has
// it read if nothing is.
func (t *templates) lookup(key templateKey) template {
	if t.reader == nil || key.name == "" {
		return template{}
	}
	tpl, ok := t.cache.Get(key)
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.wanted[key] {
		t.wanted[key] = true
		select {
		case t.kick <- struct{}{}:
		default:
		}
	}
	if why := t.failed[key]; why != "" {
		tpl.err = why
	} else if !ok {
		tpl.err = key.String() + " has not been read yet"
	}
	return tpl
}

// keep forgets what no MachineDeployment refers to any more.
func (t *templates) keep(used map[templateKey]bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	gone := func(k templateKey, _ bool) bool { return !used[k] }
	maps.DeleteFunc(t.wanted, gone)
	maps.DeleteFunc(t.failed, func(k templateKey, _ string) bool { return !used[k] })
}

// run reads what is wanted until ctx ends: at once when something new is wanted,
// every refresh interval, and after a growing pause while reads go wrong.
func (t *templates) run(ctx context.Context) {
	pause := templateRetry
	for {
		wait := t.refresh
		if !t.read(ctx) {
			wait = min(pause, t.refresh)
			pause = min(2*pause, t.refresh)
		} else {
			pause = templateRetry
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-t.kick:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// read reads every wanted template once and tells whether all went well.
func (t *templates) read(ctx context.Context) bool {
	t.mu.Lock()
	keys := slices.Collect(maps.Keys(t.wanted))
	t.mu.Unlock()
	slices.SortFunc(keys, func(a, b templateKey) int { return strings.Compare(a.String(), b.String()) })
	well, news := true, false
	for _, key := range keys {
		if ctx.Err() != nil {
			return false
		}
		before, had := t.cache.Peek(key)
		tpl, err := t.get(ctx, key)
		if t.note(key, err) {
			news = true
		}
		if err != nil {
			well = false
			continue // what is remembered stands until it expires
		}
		t.cache.Add(key, tpl)
		news = news || !had || !reflect.DeepEqual(before, tpl)
	}
	if news && t.changed != nil {
		t.changed()
	}
	return well
}

// note remembers the outcome of a read and tells whether it is news.
func (t *templates) note(key templateKey, err error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	why := ""
	if err != nil {
		why = cut(fmt.Sprintf("reading %s: %v", key, err))
	}
	if t.failed[key] == why {
		return false
	}
	if why == "" {
		delete(t.failed, key)
		t.log.Info("infrastructure template is readable again", zap.String("template", key.String()))
		return true
	}
	t.failed[key] = why
	t.log.Warn("infrastructure template cannot be read", zap.String("template", key.String()), zap.Error(err))
	return true
}

func (t *templates) get(ctx context.Context, key templateKey) (template, error) {
	ctx, cancel := context.WithTimeout(ctx, templateTimeout)
	defer cancel()
	mapping, err := t.mapper.RESTMapping(schema.GroupKind{Group: key.group, Kind: key.kind})
	if err != nil {
		return template{}, fmt.Errorf("finding the served version: %w", err)
	}
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(mapping.GroupVersionKind)
	if err := t.reader.Get(ctx, client.ObjectKey{Namespace: key.namespace, Name: key.name}, u); err != nil {
		if apierrors.IsNotFound(err) {
			// What is remembered of it is worth nothing any more.
			t.cache.Remove(key)
		}
		return template{}, err
	}
	return parseTemplate(u), nil
}

// parseTemplate reads what any provider's template may tell. A field of another
// type than expected tells nothing.
func parseTemplate(u *unstructured.Unstructured) template {
	var t template
	if u.GroupVersionKind().Group == groupSupervisor {
		t.class, _, _ = unstructured.NestedString(u.Object, "spec", "template", "spec", "className")
	}
	t.annotated = u.GetAnnotations()[VMClassAnnotation]
	if inner, _, _ := unstructured.NestedStringMap(u.Object, "spec", "template", "metadata", "annotations"); t.annotated == "" {
		t.annotated = inner[VMClassAnnotation]
	}
	t.arch, _, _ = unstructured.NestedString(u.Object, "status", "nodeInfo", "architecture")
	t.os, _, _ = unstructured.NestedString(u.Object, "status", "nodeInfo", "operatingSystem")
	fields, _, _ := unstructured.NestedMap(u.Object, "status", "capacity")
	list := make(corev1.ResourceList, len(fields))
	for name, value := range fields {
		if q, err := resource.ParseQuantity(fmt.Sprint(value)); err == nil {
			list[corev1.ResourceName(name)] = q
		}
	}
	capacity, err := kube.Resources(list)
	if err != nil {
		t.err = "status.capacity: " + strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	if capacity[planner.ResourceCPU] > 0 && capacity[planner.ResourceMemory] > 0 {
		t.capacity = capacity
	}
	return t
}
