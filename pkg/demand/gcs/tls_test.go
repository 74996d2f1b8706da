package gcs_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tandem-autoscaler/tandem/pkg/demand/gcs"
	"github.com/tandem-autoscaler/tandem/pkg/demand/gcs/gcstest"
)

// authority signs certificates for 127.0.0.1.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &authority{cert: cert, key: key, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

func (a *authority) issue(t *testing.T) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, k.Public(), a.key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

func (a *authority) server(t *testing.T) *tls.Config {
	t.Helper()
	pair, err := tls.X509KeyPair(a.issue(t))
	require.NoError(t, err)
	clients := x509.NewCertPool()
	clients.AddCert(a.cert)
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert}
}

func TestMutualTLSWithFilesThatChange(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t), newAuthority(t)
	s := gcstest.Start(t, gcstest.Options{TLS: ours.server(t)})
	dir := t.TempDir()
	o := gcs.Options{
		Address: s.Address(),
		CAFile:  filepath.Join(dir, "ca"), CertFile: filepath.Join(dir, "cert"), KeyFile: filepath.Join(dir, "key"),
	}
	install := func(a *authority) {
		cert, key := a.issue(t)
		require.NoError(t, os.WriteFile(o.CAFile, a.pem, 0o600))
		require.NoError(t, os.WriteFile(o.CertFile, cert, 0o600))
		require.NoError(t, os.WriteFile(o.KeyFile, key, 0o600))
	}
	install(theirs)
	c := dial(t, o)
	_, err := c.State(t.Context())
	require.ErrorIs(t, err, gcs.ErrUnreachable, "signed by another authority")
	require.ErrorContains(t, err, "TLS")

	install(ours)
	require.Eventually(t, func() bool {
		_, err = c.State(t.Context())
		return err == nil
	}, patient, 20*time.Millisecond, "the files are read again for the next connection")

	plain := dial(t, gcs.Options{Address: s.Address()})
	_, err = plain.State(t.Context())
	require.ErrorIs(t, err, gcs.ErrUnreachable)

	anonymous := dial(t, gcs.Options{Address: s.Address(), CAFile: o.CAFile})
	_, err = anonymous.State(t.Context())
	require.ErrorIs(t, err, gcs.ErrUnreachable, "the server asks for a client certificate")
}
