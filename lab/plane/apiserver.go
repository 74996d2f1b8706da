package plane

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/tandem-autoscaler/tandem/lab/component"
)

// startTimeout bounds how long a process of the control plane may take to
// answer. It is generous: the machine may be busy.
const startTimeout = 3 * time.Minute

// apiServer is an etcd and a kube-apiserver.
type apiServer struct {
	plane *Plane
	name  string // "management" or "workload"
	dir   string

	etcdPort, peerPort, port int

	ca        *authority
	etcd, api *child
}

func newAPIServer(p *Plane, name string, etcdPort, peerPort, port int) *apiServer {
	return &apiServer{plane: p, name: name, dir: p.scratch.path(name), etcdPort: etcdPort, peerPort: peerPort, port: port}
}

// start returns when the API server is healthy.
func (s *apiServer) start(ctx context.Context) error {
	if err := s.writeCertificates(); err != nil {
		return err
	}
	local := func(port int) string { return "http://127.0.0.1:" + strconv.Itoa(port) }
	var err error
	// A lab's data die with it, so nothing is gained by syncing them to disk.
	s.etcd, err = s.plane.startChild(component.Etcd, s.name+"-etcd",
		"--data-dir="+filepath.Join(s.dir, "etcd"), "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls="+local(s.etcdPort), "--advertise-client-urls="+local(s.etcdPort),
		"--listen-peer-urls="+local(s.peerPort), "--initial-advertise-peer-urls="+local(s.peerPort),
		"--initial-cluster=default="+local(s.peerPort))
	if err != nil {
		return err
	}
	if err := await(ctx, s.etcd, http.DefaultClient, local(s.etcdPort)+"/health"); err != nil {
		return err
	}
	return s.startAPI(ctx)
}

// startAPI starts the kube-apiserver on the port and data that it had before.
func (s *apiServer) startAPI(ctx context.Context) error {
	file := func(name string) string { return filepath.Join(s.dir, name) }
	var err error
	s.api, err = s.plane.startChild(component.APIServer, s.name+"-apiserver",
		"--etcd-servers=http://127.0.0.1:"+strconv.Itoa(s.etcdPort),
		"--bind-address=127.0.0.1", "--secure-port="+strconv.Itoa(s.port),
		// Loopback is refused here; nobody uses the address (RFC 5737).
		"--advertise-address=192.0.2.1",
		"--cert-dir="+s.dir, "--tls-cert-file="+file("tls.crt"), "--tls-private-key-file="+file("tls.key"),
		"--client-ca-file="+file("ca.crt"), "--authorization-mode=RBAC",
		"--service-account-issuer=https://127.0.0.1:"+strconv.Itoa(s.port)+"/",
		"--service-account-key-file="+file("sa.key"), "--service-account-signing-key-file="+file("sa.key"),
		// No controller makes the ServiceAccounts that Pods would need.
		"--disable-admission-plugins=ServiceAccount",
		"--service-cluster-ip-range=10.0.0.0/24", "--allow-privileged")
	if err != nil {
		return err
	}
	cfg, err := s.config()
	if err != nil {
		return err
	}
	hc, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return fmt.Errorf("making a client of the %s API server: %w", s.name, err)
	}
	defer hc.CloseIdleConnections()
	return await(ctx, s.api, hc, s.url()+"/healthz")
}

// await polls a URL until it answers 200, the process ends, or time is up.
func await(ctx context.Context, c *child, hc *http.Client, url string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return fmt.Errorf("asking %s: %w", c.name, err)
		}
		if res, err := hc.Do(req); err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-c.exited:
			return fmt.Errorf("%s ended while starting; its log is %s.log", c.name, c.name)
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s to answer: %w", c.name, ctx.Err())
		case <-tick.C:
		}
	}
}

// restart kills the kube-apiserver without warning and starts it again.
func (s *apiServer) restart(ctx context.Context) error {
	s.api.stop()
	return s.startAPI(ctx)
}

// stop kills both processes: their data are not needed any more.
func (s *apiServer) stop() {
	if s != nil {
		s.api.stop()
		s.etcd.stop()
	}
}

func (s *apiServer) writeCertificates() error {
	var err error
	if s.ca, err = newAuthority("lab-" + s.name); err != nil {
		return err
	}
	serving, err := s.ca.serving()
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("making the service account key: %w", err)
	}
	sa, err := keyPEM(key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("creating the directory of the %s API server: %w", s.name, err)
	}
	for name, b := range map[string][]byte{"ca.crt": s.ca.pem, "tls.crt": serving.cert, "tls.key": serving.key, "sa.key": sa} {
		err = errors.Join(err, os.WriteFile(filepath.Join(s.dir, name), b, 0o600))
	}
	if err != nil {
		return fmt.Errorf("writing the certificates of the %s API server: %w", s.name, err)
	}
	return nil
}

func (s *apiServer) url() string { return "https://127.0.0.1:" + strconv.Itoa(s.port) }

// config is the administrator's.
func (s *apiServer) config() (*rest.Config, error) {
	pair, err := s.ca.user("lab-admin", "system:masters")
	if err != nil {
		return nil, err
	}
	return &rest.Config{
		Host:            s.url(),
		TLSClientConfig: rest.TLSClientConfig{CAData: s.ca.pem, CertData: pair.cert, KeyData: pair.key},
		// Enough that the lab is never what a test waits for.
		QPS: 500, Burst: 1000,
	}, nil
}

// kubeconfig is that of a user with these groups.
func (s *apiServer) kubeconfig(user string, groups ...string) ([]byte, error) {
	pair, err := s.ca.user(user, groups...)
	if err != nil {
		return nil, err
	}
	c := clientcmdapi.NewConfig()
	c.Clusters[s.name] = &clientcmdapi.Cluster{Server: s.url(), CertificateAuthorityData: s.ca.pem}
	c.AuthInfos[user] = &clientcmdapi.AuthInfo{ClientCertificateData: pair.cert, ClientKeyData: pair.key}
	c.Contexts[s.name] = &clientcmdapi.Context{Cluster: s.name, AuthInfo: user, Namespace: namespace}
	c.CurrentContext = s.name
	b, err := clientcmd.Write(*c)
	if err != nil {
		return nil, fmt.Errorf("writing the kubeconfig of %s: %w", user, err)
	}
	return b, nil
}
