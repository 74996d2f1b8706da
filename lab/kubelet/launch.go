package kubelet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/tandem-autoscaler/tandem/lab/container"
)

// launch starts the containers of a Ray pod as soon as it may: a worker needs
// a ready head, which is what KubeRay's init container waits for, and only so
// many start at a time.
func (k *Pods) launch(ctx context.Context, obj *corev1.Pod, p *pod) (ctrl.Result, error) {
	if wait := time.Until(p.retryAt); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	headIP, ok := k.place(obj, p)
	if !ok {
		return ctrl.Result{RequeueAfter: poll}, k.report(ctx, obj, initializing(obj))
	}
	err := k.start(ctx, obj, p, headIP)
	if err == nil {
		k.log.Info("ray pod started", zap.Stringer("pod", p.key), zap.String("ip", p.ip))
		return ctrl.Result{RequeueAfter: poll}, k.report(ctx, obj, runningStatus(obj, p))
	}
	k.mu.Lock()
	p.halt(0)
	p.retryAt = time.Now().Add(2 * time.Second)
	k.mu.Unlock()
	var config *configError
	if errors.As(err, &config) {
		if p.problem != err.Error() {
			k.log.Warn("ray pod cannot start", zap.Stringer("pod", p.key), zap.Error(err))
			p.problem = err.Error()
		}
		return ctrl.Result{RequeueAfter: 2 * time.Second}, k.report(ctx, obj, misconfigured(obj, config))
	}
	return ctrl.Result{}, err
}

// place decides whether a pod may start, and gives it its address.
func (k *Pods) place(obj *corev1.Pod, p *pod) (headIP string, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed || p.ended {
		return "", false
	}
	head := obj.Labels[labelNodeType] == headNode
	if !head {
		h := k.head(p.key.Namespace, p.labels[labelCluster])
		if h == nil {
			return "", false
		}
		headIP = h.ip
	}
	starting := 0
	for _, o := range k.pods {
		if o != p && o.block != nil && !o.ready && !o.ended && !o.over() {
			starting++
		}
	}
	if starting >= k.options.MaxStarting {
		return "", false
	}
	if p.ip == "" {
		p.ip = k.address()
	}
	if head {
		headIP = p.ip
	}
	return headIP, true
}

// start leases ports and starts one task per container.
func (k *Pods) start(ctx context.Context, obj *corev1.Pod, p *pod, headIP string) error {
	if err := k.connect(ctx, obj, p); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(k.logPath(p.key.Namespace, p.key.Name, "x")), 0o700); err != nil {
		return fmt.Errorf("creating the directory of a pod's logs: %w", err)
	}
	var tasks []*running
	for i := range obj.Spec.Containers {
		spec, err := k.spec(ctx, obj, p, &obj.Spec.Containers[i], headIP)
		if err == nil {
			var task *container.Task
			name := fmt.Sprintf("%s/%s/%d", p.uid, obj.Spec.Containers[i].Name, p.tries)
			if task, err = k.options.Runtime.Run(ctx, name, spec); err == nil {
				tasks = append(tasks, &running{container: obj.Spec.Containers[i].Name, task: task, log: spec.Log, started: time.Now()})
				continue
			}
		}
		for _, r := range tasks {
			r.task.Stop(0)
		}
		p.tries++
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	p.tasks = tasks
	if k.closed || p.ended {
		p.halt(0)
	}
	return nil
}

// connect gives a pod its ports.
func (k *Pods) connect(ctx context.Context, obj *corev1.Pod, p *pod) error {
	if p.block == nil {
		block, err := k.options.Ports.Lease(ctx)
		if err != nil {
			return fmt.Errorf("leasing ports for a pod: %w", err)
		}
		k.mu.Lock()
		p.block, p.gcsPort = block, rayPort(obj)
		k.mu.Unlock()
	}
	if obj.Labels[labelNodeType] != headNode || p.forward != nil {
		return nil
	}
	known, err := headPorts(p.gcsPort, p.block.Port)
	if err != nil {
		return &configError{container: obj.Spec.Containers[0].Name, problem: err.Error()}
	}
	f, err := forward(ctx, p.ip, known)
	if err != nil {
		return &configError{container: obj.Spec.Containers[0].Name, problem: err.Error()}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	p.forward = f
	return nil
}

// spec is the process of a container.
func (k *Pods) spec(ctx context.Context, obj *corev1.Pod, p *pod, c *corev1.Container, headIP string) (container.Spec, error) {
	env, err := k.env(ctx, obj, c, p.ip)
	if err != nil {
		return container.Spec{}, err
	}
	t := translation{
		head: obj.Labels[labelNodeType] == headNode, ip: p.ip, headIP: headIP,
		headService: headService(obj), gcsPort: p.gcsPort,
		port: p.block.Port, tempDir: k.tempDir(p),
	}
	spec := container.Spec{Args: t.args(c, env), Dir: k.options.Home, Log: k.logPath(p.key.Namespace, p.key.Name, c.Name)}
	if len(spec.Args) == 0 {
		return container.Spec{}, &configError{container: c.Name, problem: "it has no command, and the lab has no images"}
	}
	spec.Env = k.processEnv(env, t)
	if c.Name == autoscalerContainer {
		access, err := k.apiAccess(obj, p)
		if err != nil {
			return container.Spec{}, err
		}
		spec.Env = append(spec.Env, access...)
	}
	// A container that starts again must not look ready by its former output.
	if err := os.Remove(spec.Log); err != nil && !errors.Is(err, os.ErrNotExist) {
		return container.Spec{}, fmt.Errorf("removing the log of a container: %w", err)
	}
	return spec, nil
}

// apiAccess lets the in-tree autoscaler reach the API server with exactly the
// rights of its service account. Ray reads these variables since 2.59.
func (k *Pods) apiAccess(obj *corev1.Pod, p *pod) ([]string, error) {
	account := obj.Spec.ServiceAccountName
	if account == "" {
		account = "default"
	}
	cert, key, err := k.options.API.Issue("system:serviceaccount:"+obj.Namespace+":"+account,
		"system:serviceaccounts", "system:serviceaccounts:"+obj.Namespace, "system:authenticated")
	if err != nil {
		return nil, fmt.Errorf("issuing the certificate of the in-tree autoscaler: %w", err)
	}
	dir := k.tempDir(p) + "-api"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("writing the certificate of the in-tree autoscaler: %w", err)
	}
	path := func(name string) string { return filepath.Join(dir, name) }
	for name, b := range map[string][]byte{"ca.crt": k.options.API.CA, "tls.crt": cert, "tls.key": key} {
		if err := os.WriteFile(path(name), b, 0o600); err != nil {
			return nil, fmt.Errorf("writing the certificate of the in-tree autoscaler: %w", err)
		}
	}
	return []string{
		"KUBERNETES_SERVICE_HOST=" + k.options.API.Host,
		"KUBERNETES_SERVICE_PORT_HTTPS=" + strconv.Itoa(k.options.API.Port),
		"RAY_KUBERAY_CLIENT_CERT_PATH=" + path("tls.crt"), "RAY_KUBERAY_CLIENT_KEY_PATH=" + path("tls.key"),
		"RAY_KUBERAY_CA_CERT_PATH=" + path("ca.crt"),
	}, nil
}

// tempDir is Ray's session directory of a pod.
func (k *Pods) tempDir(p *pod) string {
	return filepath.Join(k.options.Scratch, strings.ReplaceAll(string(p.uid), "-", "")[:10])
}

// started says whether Ray has said that it runs.
func started(log string) (bool, error) {
	f, err := os.Open(log) //nolint:gosec // The lab's own file.
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading the log of a container: %w", err)
	}
	defer f.Close() //nolint:errcheck // Opened for reading.
	// It says so in its first lines.
	b, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return false, fmt.Errorf("reading the log of a container: %w", err)
	}
	return bytes.Contains(b, []byte("Ray runtime started")), nil
}
