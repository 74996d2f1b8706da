package kubelet

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/tandem-autoscaler/tandem/lab/ports"
)

// autoscalerContainer is the in-tree autoscaler's (kuberay:
// ray-operator/controllers/ray/common/pod.go).
const autoscalerContainer = "autoscaler"

const (
	startCommand      = "ray start "
	autoscalerCommand = "ray kuberay-autoscaler "
)

// Ports of a head in its block; those of every pod come before, those of Ray's
// workers behind.
const (
	portClient = iota + 6
	portDashboard
	portGCS
	portWorkers
)

// translation makes the command of a container fit a machine that many pods
// share: an address, ports and a directory of its own, no names.
type translation struct {
	head        bool
	ip, headIP  string
	headService string // its full name, which stands for the head's address
	gcsPort     string
	port        func(i int) int // of the pod's block
	tempDir     string
}

// The flags of "ray start" that the lab decides.
var ownFlags = []string{
	"port", "node-ip-address", "object-store-memory", "node-manager-port", "object-manager-port", "dashboard-agent-listen-port",
	"dashboard-agent-grpc-port", "runtime-env-agent-port", "metrics-export-port", "ray-client-server-port", "dashboard-port",
	"min-worker-port", "max-worker-port", "worker-port-list", "temp-dir",
}

var (
	ownFlag   = regexp.MustCompile(`\s--(` + strings.Join(ownFlags, "|") + `)[= ]\s*\S+`)
	reference = regexp.MustCompile(`\$\(([A-Za-z0-9_.-]+)\)`)
)

// args is the command line, with references resolved.
func (t translation) args(c *corev1.Container, env environment) []string {
	args := slices.Concat(c.Command, c.Args)
	for i := range args {
		args[i] = t.text(expand(args[i], env))
	}
	return args
}

// text puts addresses in place of names and adds what the lab decides.
func (t translation) text(s string) string {
	s = strings.ReplaceAll(s, t.headService, t.headIP)
	if strings.Contains(s, autoscalerCommand) {
		return strings.Replace(s, autoscalerCommand, autoscalerCommand+"--gcs-address "+t.ip+":"+t.gcsPort+" ", 1)
	}
	if !strings.Contains(s, startCommand) {
		return s
	}
	s = ownFlag.ReplaceAllString(s, "")
	return strings.Replace(s, startCommand, startCommand+t.flags()+" ", 1)
}

// flags are the lab's own. Processes of one host pick ports before they bind
// them, and bind them on every address; so no two pods may share one.
func (t translation) flags() string {
	f := fmt.Sprintf("--node-ip-address=%s --disable-usage-stats --object-store-memory=80000000 "+
		"--node-manager-port=%d --object-manager-port=%d --dashboard-agent-listen-port=%d --dashboard-agent-grpc-port=%d "+
		"--runtime-env-agent-port=%d --metrics-export-port=%d --min-worker-port=%d --max-worker-port=%d --temp-dir=%s",
		t.ip, t.port(0), t.port(1), t.port(2), t.port(3), t.port(4), t.port(5), t.port(portWorkers), t.port(ports.Size-1), t.tempDir)
	if t.head {
		f += fmt.Sprintf(" --port=%d --ray-client-server-port=%d --dashboard-port=%d", t.port(portGCS), t.port(portClient), t.port(portDashboard))
	}
	return f
}

// expand resolves $(NAME) as Kubernetes does: unknown names stay as they are,
// and $$ is a dollar sign.
func expand(s string, env environment) string {
	parts := strings.Split(s, "$$")
	for i := range parts {
		parts[i] = reference.ReplaceAllStringFunc(parts[i], func(m string) string {
			if v, ok := env.lookup(m[2 : len(m)-1]); ok {
				return v
			}
			return m
		})
	}
	return strings.Join(parts, "$")
}

// headService is the full name of the head's Service, as KubeRay tells it to
// workers.
func headService(p *corev1.Pod) string {
	for _, c := range p.Spec.Containers {
		for _, e := range c.Env {
			if e.Name == "FQ_RAY_IP" && e.Value != "" {
				return e.Value
			}
		}
	}
	return fmt.Sprintf("%s-head-svc.%s.svc.cluster.local", p.Labels[labelCluster], p.Namespace)
}

// headPorts maps the ports that clients of a head know to those it has.
func headPorts(gcs string, port func(int) int) (map[int]int, error) {
	n, err := strconv.ParseUint(gcs, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("reading the port of the GCS: %w", err)
	}
	return map[int]int{int(n): port(portGCS), 10001: port(portClient), 8265: port(portDashboard)}, nil
}

// rayPort is the port of the GCS. KubeRay passes it to every container of Ray;
// the Service may show another one.
func rayPort(p *corev1.Pod) string {
	for _, c := range p.Spec.Containers {
		for _, e := range c.Env {
			if e.Name == "RAY_PORT" && e.Value != "" {
				return e.Value
			}
		}
	}
	return "6379"
}
