package vsphere

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/vmware/govmomi/vapi/rest"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/soap"
	"go.uber.org/zap"

	"github.com/tandem-autoscaler/tandem/pkg/config"
)

// mostAnswer bounds the answer of vCenter: a class takes a few kilobytes.
const mostAnswer = 64 << 20

// errTooLong says that the answer was cut off.
var errTooLong = errors.New("the answer is longer than 64 MiB")

// vcenter reads VM classes through vCenter's REST API, with one session that is
// kept as long as vCenter keeps it. It is not safe for concurrent use.
type vcenter struct {
	o         config.VCenter
	namespace string
	log       *zap.Logger

	client *rest.Client // nil: no session
}

// read lists the classes. A session that vCenter has ended (after 30 minutes
// without use, or a day in all) is replaced once; should that not do, the error
// makes the caller pause.
func (v *vcenter) read(ctx context.Context) (map[string]hardware, error) {
	if v.client == nil {
		if err := v.login(ctx); err != nil {
			return nil, err
		}
	}
	body, err := v.get(ctx)
	if rest.IsStatusError(err, http.StatusUnauthorized) {
		v.log.Info("vcenter has ended the session; logging in again")
		v.client = nil
		if err := v.login(ctx); err != nil {
			return nil, err
		}
		body, err = v.get(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("listing the VM classes of vCenter: %w", err)
	}
	return parseVCenter(body, v.namespace)
}

// get returns the raw answer, and its error as it is.
func (v *vcenter) get(ctx context.Context) ([]byte, error) {
	var body limited
	req := v.client.Resource(vcenterClassesPath).Request(http.MethodGet)
	err := v.client.Do(ctx, req, &body)
	return body.buf.Bytes(), err
}

// limited is a buffer that refuses to grow without end.
type limited struct{ buf bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if l.buf.Len()+len(p) > mostAnswer {
		return 0, errTooLong
	}
	return l.buf.Write(p)
}

// credentials are what the credential files say now.
func (v *vcenter) credentials() (*url.Userinfo, error) {
	username, err := secret(v.o.UsernameFile)
	if err != nil {
		return nil, fmt.Errorf("reading the vCenter user name: %w", err)
	}
	password, err := secret(v.o.PasswordFile)
	if err != nil {
		return nil, fmt.Errorf("reading the vCenter password: %w", err)
	}
	return url.UserPassword(username, password), nil
}

// connect opens a connection without a session.
func (v *vcenter) connect(ctx context.Context) (*vim25.Client, error) {
	transport, err := v.transport()
	if err != nil {
		return nil, err
	}
	vim, err := vim25.NewClient(ctx, transport)
	if err != nil {
		return nil, fmt.Errorf("connecting to vCenter: %w", err)
	}
	return vim, nil
}

// login opens a session.
func (v *vcenter) login(ctx context.Context) error {
	user, err := v.credentials()
	if err != nil {
		return err
	}
	vim, err := v.connect(ctx)
	if err != nil {
		return err
	}
	client := rest.NewClient(vim)
	if err := client.Login(ctx, user); err != nil {
		client.CloseIdleConnections()
		return fmt.Errorf("logging in to vCenter: %w", err)
	}
	v.client = client
	return nil
}

// transport verifies the certificate of vCenter against CAFile or the system's
// authorities. A thumbprint stands in where that verification fails.
func (v *vcenter) transport() (*soap.Client, error) {
	u, err := soap.ParseURL(v.o.URL)
	if err != nil {
		return nil, fmt.Errorf("reading the URL of vCenter: %w", err)
	}
	if u == nil || u.Host == "" {
		return nil, errors.New("reading the URL of vCenter: it names no host")
	}
	u.User = nil // credentials come from files only
	c := soap.NewClient(u, v.o.Insecure)
	c.UserAgent = "tandem-coordinator"
	if v.o.CAFile != "" {
		if err := c.SetRootCAs(v.o.CAFile); err != nil {
			return nil, fmt.Errorf("reading the certificate authorities of vCenter: %w", err)
		}
	}
	if v.o.Thumbprint != "" {
		c.SetThumbprint(u.Host, v.o.Thumbprint)
	}
	return c, nil
}

// keepAlive uses the session, so that vCenter does not end it for idleness.
func (v *vcenter) keepAlive(ctx context.Context) {
	if v.client == nil {
		return
	}
	// Only a real call tells: the client itself believes in any session.
	if s, err := v.client.Session(ctx); err == nil && s == nil {
		v.client = nil
	}
}

// close ends the session: vCenter keeps a limited number of them.
func (v *vcenter) close(ctx context.Context) error {
	if v.client == nil {
		return nil
	}
	client := v.client
	v.client = nil
	err := client.Logout(ctx)
	client.CloseIdleConnections()
	if err != nil {
		return fmt.Errorf("logging out of vCenter: %w", err)
	}
	return nil
}

// secret reads one line from a file.
func secret(path string) (string, error) {
	b, err := os.ReadFile(path) //nolint:gosec // the path is the operator's configuration
	if err != nil {
		return "", err
	}
	s := strings.TrimRight(string(b), "\r\n")
	if s == "" {
		return "", fmt.Errorf("%s is empty", path)
	}
	return s, nil
}
