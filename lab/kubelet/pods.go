// Package kubelet stands in for the kubelets of the lab's Nodes. It runs the
// containers of Ray pods as real processes, exactly as KubeRay generated them,
// and lets all other pods only look as if they ran.
//
//	bound ─► image time ─► init (a worker waits for a ready head) ─► a place
//	among the starting ─► processes ─► ready ─► Ray's container ends ─► failed
//	                                    │         (or starts again)
//	                                    └─► deleted or Node gone ─► stopped
package kubelet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tandem-autoscaler/tandem/lab/container"
	"github.com/tandem-autoscaler/tandem/lab/ports"
)

// Labels that KubeRay puts on its pods (kuberay:
// ray-operator/controllers/ray/utils/constant.go).
const (
	labelCluster  = "ray.io/cluster"
	labelNodeType = "ray.io/node-type"
	headNode      = "head"
)

// ErrNotRunning says that no such container runs.
var ErrNotRunning = errors.New("kubelet: no such running container")

// API is how the in-tree Ray autoscaler reaches the workload API server.
type API struct {
	Host string
	Port int
	// CA is the PEM certificate of the authority.
	CA []byte
	// Issue makes a client certificate, PEM.
	Issue func(user string, groups ...string) (cert, key []byte, err error)
}

// Options of [New].
type Options struct {
	// Venv is a Python environment with Ray; empty: every pod only pretends.
	Venv string
	// Logs receives NAMESPACE_POD/CONTAINER.log.
	Logs string
	// Scratch receives Ray's sessions. Its path must be short: those of Ray's
	// sockets below it must stay under 107 bytes.
	Scratch string
	// Home is the home directory of all processes.
	Home string
	// Runtime runs the processes.
	Runtime *container.Runtime
	// Ports leases one block of ports to each Ray pod.
	Ports *ports.Leaser
	// Network is the second byte of the pods' addresses 127.NETWORK.X.Y, from 1
	// to 254; labs that run side by side have different ones.
	Network int
	// MaxStarting bounds how many Ray containers start at a time.
	MaxStarting int
	// ImageTime passes between binding and start, as if an image were pulled.
	ImageTime time.Duration
	// API is the workload API server.
	API API
	// Log receives starts and ends of pods.
	Log *zap.Logger
}

// Pods runs the containers of bound Pods.
type Pods struct {
	options Options
	log     *zap.Logger
	client  client.Client
	reader  client.Reader // without a cache

	mu     sync.Mutex
	closed bool
	nextIP int
	pods   map[types.NamespacedName]*pod
}

// pod is what is known of one bound Pod.
type pod struct {
	key     types.NamespacedName
	uid     types.UID
	labels  map[string]string
	node    string
	seen    time.Time // when it was first seen bound
	ip      string
	gcsPort string
	block   *ports.Block
	forward *forwarder // of a head
	tasks   []*running // in the order of the containers
	ready   bool
	ended   bool // its end is in the status
	retryAt time.Time
	tries   int32  // restarts so far
	problem string // the last one that was logged
}

// running is the process of a container.
type running struct {
	container string
	task      *container.Task
	log       string
	started   time.Time
}

// New makes the stand-in. Nothing runs before its controllers do.
func New(o Options) (*Pods, error) {
	for _, dir := range []string{o.Logs, o.Scratch, o.Home} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("creating a directory of the pods: %w", err)
		}
	}
	if o.MaxStarting <= 0 {
		o.MaxStarting = 1
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return &Pods{options: o, log: o.Log, nextIP: 1, pods: map[types.NamespacedName]*pod{}}, nil
}

// RayAddress is the address (ip:port) of the GCS of a RayCluster, if its head
// pod is ready.
func (k *Pods) RayAddress(namespace, cluster string) (gcs string, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	p := k.head(namespace, cluster)
	if p == nil || len(p.tasks) == 0 {
		return "", false
	}
	return net.JoinHostPort(p.ip, p.gcsPort), true
}

// head is the ready head pod of a RayCluster. The caller holds the lock.
func (k *Pods) head(namespace, cluster string) *pod {
	for _, p := range k.pods {
		if p.key.Namespace == namespace && p.labels[labelCluster] == cluster && p.labels[labelNodeType] == headNode && p.ready {
			return p
		}
	}
	return nil
}

// Kill kills the process group of a container, the first one if it has no
// name, without warning.
func (k *Pods) Kill(namespace, pod, container string) error {
	return k.kill(namespace, pod, container, "")
}

// KillRaylet kills the raylet of a Ray pod without warning, and nothing else.
func (k *Pods) KillRaylet(namespace, pod string) error {
	return k.kill(namespace, pod, "", "raylet")
}

func (k *Pods) kill(namespace, name, container, command string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p := k.pods[types.NamespacedName{Namespace: namespace, Name: name}]; p != nil {
		for _, r := range p.tasks {
			if container == "" || r.container == container {
				r.task.Kill(command)
				return nil
			}
		}
	}
	return fmt.Errorf("%w: %s/%s %s", ErrNotRunning, namespace, name, container)
}

// LogPath is where the output of a container goes, the first one if it has no
// name. The file exists once the container has started.
func (k *Pods) LogPath(namespace, pod, container string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p := k.pods[types.NamespacedName{Namespace: namespace, Name: pod}]; p != nil && container == "" && len(p.tasks) > 0 {
		container = p.tasks[0].container
	}
	return k.logPath(namespace, pod, container)
}

func (k *Pods) logPath(namespace, pod, container string) string {
	return filepath.Join(k.options.Logs, namespace+"_"+pod, container+".log")
}

// Close ends every process and starts no more.
func (k *Pods) Close(ctx context.Context) {
	k.mu.Lock()
	k.closed = true
	var left []*running
	for _, p := range k.pods {
		p.halt(0)
		left = append(left, p.tasks...)
	}
	k.mu.Unlock()
	for _, r := range left {
		select {
		case <-r.task.Gone():
		case <-ctx.Done():
			return
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range k.pods {
		p.forward.close()
		p.block.Release()
	}
}

// halt asks all containers to end.
func (p *pod) halt(grace time.Duration) {
	for _, r := range p.tasks {
		r.task.Stop(grace)
	}
}

// gone says that no process of the pod is left.
func (p *pod) gone() bool {
	for _, r := range p.tasks {
		select {
		case <-r.task.Gone():
		default:
			return false
		}
	}
	return true
}

// over says that the first container, which is Ray's, has ended.
func (p *pod) over() bool {
	if len(p.tasks) == 0 {
		return false
	}
	select {
	case <-p.tasks[0].task.Exited():
		return true
	default:
		return false
	}
}

func isRay(p *corev1.Pod) bool { return p.Labels[labelCluster] != "" && len(p.Spec.Containers) > 0 }
