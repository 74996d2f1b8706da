package gcs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"

	"google.golang.org/grpc/credentials"
)

// tlsFiles are transport credentials that read their files for every
// connection, so that rotated certificates need no restart. Connections to a
// GCS last as long as its head, so the files are read rarely.
type tlsFiles struct {
	ca, cert, key string
	serverName    string
}

func newTLSFiles(o Options) (*tlsFiles, error) {
	if o.CAFile == "" {
		return nil, errors.New("a client certificate needs the CA file as well")
	}
	if (o.CertFile == "") != (o.KeyFile == "") {
		return nil, errors.New("the certificate file and the key file go together")
	}
	t := &tlsFiles{ca: o.CAFile, cert: o.CertFile, key: o.KeyFile, serverName: o.ServerName}
	if _, err := t.config(); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *tlsFiles) config() (*tls.Config, error) {
	pem, err := os.ReadFile(t.ca)
	if err != nil {
		return nil, fmt.Errorf("reading the CA file: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("reading the CA file: %s holds no PEM certificate", t.ca)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, ServerName: t.serverName}
	if t.cert != "" {
		pair, err := tls.LoadX509KeyPair(t.cert, t.key)
		if err != nil {
			return nil, fmt.Errorf("reading the client certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// ClientHandshake is part of [credentials.TransportCredentials].
func (t *tlsFiles) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, err := t.config()
	if err != nil {
		return nil, nil, err
	}
	return credentials.NewTLS(c).ClientHandshake(ctx, authority, conn)
}

// ServerHandshake is part of [credentials.TransportCredentials].
func (t *tlsFiles) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials are for clients only")
}

// Info is part of [credentials.TransportCredentials].
func (t *tlsFiles) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls", SecurityVersion: "1.2"}
}

// Clone is part of [credentials.TransportCredentials].
func (t *tlsFiles) Clone() credentials.TransportCredentials {
	c := *t
	return &c
}

// OverrideServerName is part of [credentials.TransportCredentials].
func (t *tlsFiles) OverrideServerName(name string) error {
	t.serverName = name
	return nil
}
