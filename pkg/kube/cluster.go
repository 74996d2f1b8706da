package kube

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// The pace at which a [Cluster] looks after itself.
const (
	probeEvery   = 2 * time.Second
	probeTimeout = 5 * time.Second
	// watchTrouble is how long a failed watch makes the cache doubtful: client-go
	// has listed anew by then, or failed again.
	watchTrouble = 5 * time.Second
	informRetry  = 5 * time.Second
	// The coordinator reads from caches; what goes over the wire are writes and
	// the reads of their preconditions.
	qps, burst = 50, 100
)

// ClusterOptions of [Connect]. Name and Scheme are required.
type ClusterOptions struct {
	// Name for messages, such as "management".
	Name string
	// Kubeconfig is a path; empty means the service account of the pod.
	Kubeconfig string
	Scheme     *runtime.Scheme
	// Namespace bounds the cache; empty is the whole cluster.
	Namespace string
	// Transform shortens objects before the cache keeps them (it strips who
	// manages which field).
	Transform toolscache.TransformFunc
	Log       *zap.Logger
}

// Cluster is a connection to one Kubernetes API server: an informer cache for
// reads, a direct client for writes and for the preconditions of writes, and a
// verdict on how far the cache can be trusted.
type Cluster struct {
	o      ClusterOptions
	config *rest.Config
	cache  cache.Cache
	client client.Client
	mapper meta.RESTMapper

	mu        sync.Mutex
	missing   map[string]error // kinds whose informers have not synced
	optional  map[string]error // the same of kinds that may be missing
	probeErr  error
	watchErr  error
	watchTime time.Time
}

// Connect prepares a connection. Nothing is read before [Cluster.Run]. An error
// means that the kubeconfig cannot be used, and names the file.
func Connect(o ClusterOptions) (*Cluster, error) {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Transform == nil {
		o.Transform = cache.TransformStripManagedFields()
	}
	config, err := restConfig(o)
	if err != nil {
		return nil, err
	}
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("preparing the connection to the %s cluster: %w", o.Name, err)
	}
	c := &Cluster{o: o, config: config, missing: map[string]error{}, optional: map[string]error{}, probeErr: errors.New("not reached yet")}
	if c.mapper, err = apiutil.NewDynamicRESTMapper(config, httpClient); err != nil {
		return nil, fmt.Errorf("preparing the REST mapper of the %s cluster: %w", o.Name, err)
	}
	copts := cache.Options{
		HTTPClient: httpClient, Scheme: o.Scheme, Mapper: c.mapper, DefaultTransform: o.Transform,
		DefaultWatchErrorHandler: func(_ context.Context, _ *toolscache.Reflector, err error) { c.watchFailed(err) },
	}
	if o.Namespace != "" {
		copts.DefaultNamespaces = map[string]cache.Config{o.Namespace: {}}
	}
	if c.cache, err = cache.New(config, copts); err != nil {
		return nil, fmt.Errorf("preparing the cache of the %s cluster: %w", o.Name, err)
	}
	if c.client, err = client.New(config, client.Options{HTTPClient: httpClient, Scheme: o.Scheme, Mapper: c.mapper}); err != nil {
		return nil, fmt.Errorf("preparing the client of the %s cluster: %w", o.Name, err)
	}
	return c, nil
}

func restConfig(o ClusterOptions) (*rest.Config, error) {
	var config *rest.Config
	var err error
	if o.Kubeconfig == "" {
		if config, err = rest.InClusterConfig(); err != nil {
			return nil, fmt.Errorf("no kubeconfig is set for the %s cluster, and this is no pod with a service account: %w", o.Name, err)
		}
	} else if config, err = clientcmd.BuildConfigFromFlags("", o.Kubeconfig); err != nil {
		return nil, fmt.Errorf("reading the kubeconfig of the %s cluster: %w", o.Name, err)
	}
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = qps, burst
	config.UserAgent = "tandem-coordinator"
	return config, nil
}

// Config is the configuration of the connection.
func (c *Cluster) Config() *rest.Config { return rest.CopyConfig(c.config) }

// Reader reads from the cache. It never waits for a kind whose informer has not
// synced: such a read is an error at once.
func (c *Cluster) Reader() client.Reader { return reader{c.cache, c} }

// reader refuses kinds that the cache cannot tell.
type reader struct {
	client.Reader
	c *Cluster
}

func (r reader) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	if err := r.c.unsynced(o); err != nil {
		return err
	}
	return r.Reader.Get(ctx, key, o, opts...)
}

func (r reader) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if err := r.c.unsynced(list); err != nil {
		return err
	}
	return r.Reader.List(ctx, list, opts...)
}

// unsynced tells why a kind, or the kind of a list, cannot be read.
func (c *Cluster) unsynced(o runtime.Object) error {
	gvk, err := apiutil.GVKForObject(o, c.o.Scheme)
	if err != nil {
		return nil // the cache itself says what is wrong with the type
	}
	kind := strings.TrimSuffix(gvk.Kind, "List")
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.missing[kind]; err != nil {
		return err
	}
	return c.optional[kind]
}

// Optional marks a kind for [Cluster.Run] whose absence does not make the cluster
// unhealthy: whoever reads it gets the error.
func Optional(o client.Object) client.Object { return optional{o} }

type optional struct{ client.Object }

// Required undoes [Optional].
func Required(o client.Object) client.Object {
	if x, ok := o.(optional); ok {
		return x.Object
	}
	return o
}

// Client reads from and writes to the API server itself.
func (c *Cluster) Client() client.Client { return c.client }

// Mapper finds the served versions of kinds.
func (c *Cluster) Mapper() meta.RESTMapper { return c.mapper }

// Run keeps the cache filled with the objects' kinds until ctx ends. changed is
// called after every event and must not block. A kind that cannot be listed
// (its CRD is missing, or the right to list it) makes the cluster unhealthy and
// is tried again; the other kinds go on.
func (c *Cluster) Run(ctx context.Context, objects []client.Object, changed func()) error {
	for _, o := range objects {
		c.setMissing(o, errors.New("not listed yet"))
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.cache.Start(ctx) })
	g.Go(func() error { c.probe(ctx); return nil })
	for _, o := range objects {
		g.Go(func() error { c.inform(ctx, o, changed); return nil })
	}
	return g.Wait()
}

func (c *Cluster) kind(o client.Object) string {
	o = Required(o)
	gvk, err := apiutil.GVKForObject(o, c.o.Scheme)
	if err != nil {
		return fmt.Sprintf("%T", o)
	}
	return gvk.Kind
}

// inform starts the informer of one kind, again and again until it is synced.
func (c *Cluster) inform(ctx context.Context, o client.Object, changed func()) {
	for {
		err := c.informOnce(ctx, Required(o), changed)
		c.setMissing(o, err)
		if err == nil || ctx.Err() != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(informRetry):
		}
	}
}

func (c *Cluster) informOnce(ctx context.Context, o client.Object, changed func()) error {
	inf, err := c.cache.GetInformer(ctx, o)
	if err != nil {
		return fmt.Errorf("listing %s in the %s cluster: %w", c.kind(o), c.o.Name, err)
	}
	reg, err := inf.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { changed() }, UpdateFunc: func(any, any) { changed() }, DeleteFunc: func(any) { changed() },
	})
	if err != nil {
		return fmt.Errorf("watching %s in the %s cluster: %w", c.kind(o), c.o.Name, err)
	}
	if !toolscache.WaitForCacheSync(ctx.Done(), reg.HasSynced) {
		return fmt.Errorf("listing %s in the %s cluster: %w", c.kind(o), c.o.Name, context.Cause(ctx))
	}
	return nil
}

// probe asks the API server for its version every few seconds: client-go does
// not tell when a watch cannot be opened again because the server is down.
func (c *Cluster) probe(ctx context.Context) {
	config := c.Config()
	config.Timeout = probeTimeout
	d, err := discovery.NewDiscoveryClientForConfig(config)
	for ctx.Err() == nil {
		if d != nil {
			_, err = d.ServerVersion()
		}
		c.mu.Lock()
		c.probeErr = err
		c.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(probeEvery):
		}
	}
}

func (c *Cluster) watchFailed(err error) {
	c.o.Log.Warn("watch failed", zap.String("cluster", c.o.Name), zap.Error(err))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watchErr, c.watchTime = err, time.Now()
}

func (c *Cluster) setMissing(o client.Object, err error) {
	kind, kinds := c.kind(o), c.missing
	if _, ok := o.(optional); ok {
		kinds = c.optional
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		delete(kinds, kind)
		return
	}
	kinds[kind] = err
}

// Health tells why the cache cannot be trusted, or nil. It never blocks.
func (c *Cluster) Health() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.probeErr != nil {
		return fmt.Errorf("reaching the API server of the %s cluster: %w", c.o.Name, c.probeErr)
	}
	for _, kind := range slices.Sorted(maps.Keys(c.missing)) {
		return c.missing[kind]
	}
	if c.watchErr != nil && time.Since(c.watchTime) < watchTrouble {
		return fmt.Errorf("watching the %s cluster: %w", c.o.Name, c.watchErr)
	}
	return nil
}
