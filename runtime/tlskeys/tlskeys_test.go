package tlskeys

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pavlo-v-chernykh/keystore-go/v4"
	"software.sslmate.com/src/go-pkcs12"
)

func TestPairIsMadeOnceAndTrustworthy(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "security")
	p, err := Load(Options{Folder: folder, Hosts: []string{"das.example.org", "10.1.2.3"}})
	if err != nil {
		t.Fatal(err)
	}
	key, ok := p.Certificate.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() || !p.Made || p.Notice != nil {
		t.Errorf("%T, made %v, %v", p.Certificate.PrivateKey, p.Made, p.Notice)
	}
	for _, h := range []string{"localhost", "127.0.0.1", "das.example.org", "10.1.2.3"} {
		if err := p.Certificate.Leaf.VerifyHostname(h); err != nil {
			t.Error(err)
		}
	}
	info, err := os.Stat(filepath.Join(folder, pairFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := os.Chmod(filepath.Join(folder, pairFile), 0o644); err != nil {
		t.Fatal(err)
	}
	again, err := Load(Options{Folder: folder})
	if err != nil || again.Made || string(again.CertificatePEM) != string(p.CertificatePEM) {
		t.Errorf("another pair, %v", err)
	}
	if info, _ := os.Stat(filepath.Join(folder, pairFile)); info.Mode().Perm() != 0o600 {
		t.Errorf("%v", info.Mode())
	}
	crt, err := os.ReadFile(filepath.Join(folder, certificateFile))
	if err != nil || string(crt) != string(p.CertificatePEM) || strings.Contains(string(crt), "KEY") {
		t.Errorf("%s, %v", crt, err)
	}
	shakeHands(t, again, "", tls.VersionTLS13)
}

func TestDamagedPairIsSaidNotReplaced(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, pairFile), []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(Options{Folder: folder}); !errors.Is(err, ErrMake) {
		t.Errorf("%v", err)
	}
}

// shakeHands proves that the pair serves at exactly a version.
func shakeHands(t *testing.T, p *Pair, least string, version uint16) {
	t.Helper()
	config, err := p.Server(least, "h2")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(p.Certificate.Leaf)
	a, b := net.Pipe()
	server := tls.Server(a, config)
	done := make(chan error, 1)
	go func() { done <- server.Handshake() }()
	client := tls.Client(b, &tls.Config{MinVersion: version, MaxVersion: version, InsecureSkipVerify: true, NextProtos: []string{"h2"}}) //nolint:gosec // old pairs have no SAN
	deadline := time.Now().Add(10 * time.Second)
	if err := errors.Join(a.SetDeadline(deadline), b.SetDeadline(deadline)); err != nil {
		t.Fatal(err)
	}
	if err := client.Handshake(); err != nil {
		t.Errorf("TLS %x: client: %v", version, err)
	}
	if err := <-done; err != nil {
		t.Errorf("TLS %x: server: %v", version, err)
	}
	if got := client.ConnectionState(); got.PeerCertificates == nil || !got.PeerCertificates[0].Equal(p.Certificate.Leaf) {
		t.Errorf("TLS %x: another certificate", version)
	}
}

// The stores in testdata were made by Java's keytool: RSA 1024, SHA-1, good until 2035, like the one DAS ships.
func TestStoresOfJava(t *testing.T) {
	for _, c := range []struct {
		store Store
		rsa   bool
	}{
		{Store{Path: "testdata/java-JKS.store", Password: "wso2carbon", Alias: "wso2carbon"}, true},
		{Store{Path: "testdata/java-JKS.store", Password: "wso2carbon", Alias: "WSO2Carbon", KeyPassword: "wso2carbon"}, true},
		{Store{Path: "testdata/java-JKS.store", Password: "wso2carbon", Alias: "other", KeyPassword: "another1"}, false},
		{Store{Path: "testdata/java-PKCS12.store", Password: "wso2carbon"}, true},
	} {
		p, err := Load(Options{Store: &c.store})
		if err != nil {
			t.Errorf("%+v: %v", c.store, err)
			continue
		}
		_, isRSA := p.Certificate.PrivateKey.(*rsa.PrivateKey)
		if isRSA != c.rsa || p.Source != c.store.Path || p.Made {
			t.Errorf("%+v: %T", c.store, p.Certificate.PrivateKey)
		}
		if c.rsa != errors.Is(p.Notice, ErrWeak) {
			t.Errorf("%+v: notice %v", c.store, p.Notice)
		}
		if c.rsa && p.Certificate.Leaf.NotAfter.Year() != 2035 {
			t.Errorf("good until %s", p.Certificate.Leaf.NotAfter)
		}
		for _, v := range []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13} {
			shakeHands(t, p, "1.0", v)
		}
	}
}

func TestStoresThatCantBeRead(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, name)
	}
	jks, err := os.ReadFile("testdata/java-JKS.store")
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]Store{
		"missing":           {Path: filepath.Join(dir, "nothing")},
		"empty":             {Path: file("empty", nil)},
		"text":              {Path: file("text", []byte("hello"))},
		"JCEKS":             {Path: file("jceks", []byte{0xCE, 0xCE, 0xCE, 0xCE, 0})},
		"cut":               {Path: file("cut", jks[:len(jks)/2]), Password: "wso2carbon", Alias: "wso2carbon"},
		"wrong password":    {Path: "testdata/java-JKS.store", Password: "s3cret", Alias: "wso2carbon"},
		"wrong key's":       {Path: "testdata/java-JKS.store", Password: "wso2carbon", Alias: "other"},
		"unknown alias":     {Path: "testdata/java-JKS.store", Password: "wso2carbon", Alias: "nobody"},
		"two keys, no name": {Path: "testdata/java-JKS.store", Password: "wso2carbon"},
		"wrong, PKCS12":     {Path: "testdata/java-PKCS12.store", Password: "s3cret"},
	} {
		if _, err := Load(Options{Store: &s}); !errors.Is(err, ErrStore) {
			t.Errorf("%s: %v", name, err)
		} else if s.Password != "" && s.Password != "wso2carbon" && strings.Contains(err.Error(), s.Password) {
			t.Errorf("%s: a password in %v", name, err)
		}
	}
}

// Stores of Go's making, with a chain of two.
func TestChainIsKept(t *testing.T) {
	caKey, ca := certify(t, nil, nil)
	key, leaf := certify(t, ca, caKey)
	dir := t.TempDir()
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	ks := keystore.New()
	err = ks.SetPrivateKeyEntry("a", keystore.PrivateKeyEntry{CreationTime: time.Now(), PrivateKey: pkcs8, CertificateChain: []keystore.Certificate{
		{Type: "X509", Content: leaf.Raw}, {Type: "X509", Content: ca.Raw}}}, []byte("secret-of-key"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "s.jks"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(ks.Store(f, []byte("secret-of-store")), f.Close()); err != nil {
		t.Fatal(err)
	}
	p12, err := pkcs12.Modern.Encode(key, leaf, []*x509.Certificate{ca}, "secret-of-store")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "s.p12"), p12, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"s.jks", "s.p12"} {
		p, err := Load(Options{Store: &Store{Path: filepath.Join(dir, name), Password: "secret-of-store", KeyPassword: "secret-of-key"}})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(p.Certificate.Certificate) != 2 || !p.Certificate.Leaf.Equal(leaf) {
			t.Errorf("%s: a chain of %d", name, len(p.Certificate.Certificate))
		}
	}
}

func certify(t *testing.T, parent *x509.Certificate, parentKey *rsa.PrivateKey) (*rsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour), IsCA: parent == nil, BasicConstraintsValid: true}
	if parent == nil {
		parent, parentKey = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	c, err = x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, c
}

func TestLeastVersion(t *testing.T) {
	p, err := Load(Options{Folder: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if c, err := p.Server(""); err != nil || c.MinVersion != tls.VersionTLS12 {
		t.Errorf("%v, %v", c, err)
	}
	if _, err := p.Server("0.9"); !errors.Is(err, ErrVersion) {
		t.Errorf("%v", err)
	}
}

func TestNoticeOfDates(t *testing.T) {
	now := time.Now()
	p, err := Load(Options{Folder: t.TempDir(), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []time.Time{now.Add(madeFor + time.Hour), now.Add(-2 * time.Hour)} {
		if err := notice(p, at); !errors.Is(err, ErrWeak) {
			t.Errorf("%s: %v", at, err)
		}
	}
}
