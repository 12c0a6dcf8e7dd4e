package eventreceiver

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/pavlo-v-chernykh/keystore-go/v4"
	"software.sslmate.com/src/go-pkcs12"
)

// pair makes a key as WSO2's products ship: RSA 1024, valid to 2035.
func pair(t *testing.T) (*rsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, NotBefore: time.Date(2010, 2, 19, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2035, 2, 13, 0, 0, 0, 0, time.UTC)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, cert
}

// TestKeystores: a JKS and a PKCS#12 file serve TLS, down to version 1.0 where the settings say so.
func TestKeystores(t *testing.T) {
	key, cert := pair(t)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	ks := keystore.New()
	entry := keystore.PrivateKeyEntry{CreationTime: time.Now(), PrivateKey: pkcs8, CertificateChain: []keystore.Certificate{{Type: "X509", Content: cert.Raw}}}
	if err := ks.SetPrivateKeyEntry("wso2carbon", entry, []byte("wso2carbon")); err != nil {
		t.Fatal(err)
	}
	var jks bytes.Buffer
	if err := ks.Store(&jks, []byte("wso2carbon")); err != nil {
		t.Fatal(err)
	}
	p12, err := pkcs12.Legacy.Encode(key, cert, nil, "wso2carbon")
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"jks": jks.Bytes(), "p12": p12} {
		got, err := readKeystore(data, "wso2carbon", "")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := readKeystore(data, "wrong", ""); err == nil {
			t.Errorf("%s: a wrong password was taken", name)
		}
		handshake(t, name, got, cert)
	}
	if _, err := readKeystore(jks.Bytes(), "wso2carbon", "other"); err == nil {
		t.Error("an alias that is not there")
	}
}

func handshake(t *testing.T, name string, cert *tls.Certificate, want *x509.Certificate) {
	t.Helper()
	r := &receiver{config: config{TLSMinVersion: "1.0"}}
	cfg, err := r.lower(&tls.Config{Certificates: []tls.Certificate{*cert}})
	if err != nil {
		t.Fatal(err)
	}
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	done := make(chan error, 1)
	go func() { done <- tls.Server(server, cfg).Handshake() }()
	c := tls.Client(client, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10})
	if err := c.Handshake(); err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	if err := <-done; err != nil {
		t.Errorf("%s: %v", name, err)
	}
	if s := c.ConnectionState(); s.Version != tls.VersionTLS10 || !s.PeerCertificates[0].Equal(want) {
		t.Errorf("%s: %x", name, s.Version)
	}
}
