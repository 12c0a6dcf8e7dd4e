// Package tlskeys gives the server its TLS pair: one made at the first start, or the one of a Java keystore. It must not
// know who listens with it.
package tlskeys

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"net"
	"os"
	"slices"
	"time"

	"carbonado.dev/carbonado/runtime/durable"
	"carbonado.dev/sdk/cause"
)

// Errors of Load.
var (
	ErrMake = cause.Define("CBN-GW-001", "The server's TLS pair can't be made or read.",
		"Give the server's user the right to write repository/resources/security, or remove a damaged server.pem to have a new pair made.")
	ErrStore = cause.Define("CBN-GW-002", "The keystore named in carbon.xml can't be read.",
		"Check Security/KeyStore in repository/conf/carbon.xml: Location, Type, Password, KeyAlias and KeyPassword.")
	ErrVersion = cause.Define("CBN-GW-003", "The least TLS version is none that exists.",
		"Set Security/TLS/MinimumVersion in repository/conf/carbon.xml to 1.0, 1.1, 1.2 or 1.3.")
)

const (
	// pairFile holds key and certificate in one, so that a crash can't part them.
	pairFile = "server.pem"
	// certificateFile is a copy of the certificate for those who want to trust it.
	certificateFile = "server.crt"
	// madeFor is how long a pair of ours is good. It is its own root, pinned by agents, so it is not renewed by itself.
	madeFor = 10 * 365 * 24 * time.Hour
)

// Store is a JKS or PKCS#12 file.
type Store struct {
	// Path is absolute.
	Path string
	// Password opens the store; KeyPassword the key, where it has one of its own (empty: Password).
	Password, KeyPassword string
	// Alias names the key; empty takes the only one.
	Alias string
}

// Options of Load.
type Options struct {
	// Folder is the absolute path of repository/resources/security.
	Folder string
	// Store is used instead of a pair of our own; nil is none.
	Store *Store
	// Hosts are the names and addresses of a certificate that is made, besides localhost and the machine's own name.
	Hosts []string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Pair is a key and its certificate chain. It is immutable.
type Pair struct {
	CertificatePEM, KeyPEM []byte
	// Certificate is the same, ready for a listener, Leaf parsed.
	Certificate tls.Certificate
	// Source is the file it comes from. Made is true if this call made it.
	Source string
	Made   bool
	// Notice is a cause to show where the pair is good enough to serve but not as it should be (expired, RSA below 2048 bits).
	Notice error
}

// Load reads the pair, or makes it where there is none.
func Load(o Options) (*Pair, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	var p *Pair
	var err error
	if o.Store != nil && o.Store.Path != "" {
		p, err = readStore(*o.Store)
	} else {
		p, err = ownPair(o)
	}
	if err != nil {
		return nil, err
	}
	p.Notice = notice(p, o.Now())
	return p, nil
}

// Server gives the configuration of a listener. The least version is "1.0" to "1.3", empty is "1.2".
func (p *Pair) Server(least string, protocols ...string) (*tls.Config, error) {
	version, ok := map[string]uint16{"": tls.VersionTLS12, "1.0": tls.VersionTLS10, "1.1": tls.VersionTLS11, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}[least]
	if !ok {
		return nil, ErrVersion.New("%q", least)
	}
	return &tls.Config{Certificates: []tls.Certificate{p.Certificate}, MinVersion: version, NextProtos: protocols}, nil
}

func ownPair(o Options) (*Pair, error) {
	if err := os.MkdirAll(o.Folder, 0o700); err != nil {
		return nil, ErrMake.Wrap(err, "%s", o.Folder)
	}
	root, err := os.OpenRoot(o.Folder)
	if err != nil {
		return nil, ErrMake.Wrap(err, "%s", o.Folder)
	}
	defer func() { _ = root.Close() }() // nothing is written through it any more
	made := false
	data, err := root.ReadFile(pairFile)
	if errors.Is(err, fs.ErrNotExist) {
		if data, err = makePair(o); err == nil {
			made = true
			err = durable.Write(root, pairFile, data, 0o600)
		}
	} else if err == nil {
		err = root.Chmod(pairFile, 0o600)
	}
	if err != nil {
		return nil, ErrMake.Wrap(err, "%s/%s", o.Folder, pairFile)
	}
	p, err := parse(data)
	if err != nil {
		return nil, ErrMake.Wrap(err, "%s/%s", o.Folder, pairFile)
	}
	p.Source, p.Made = o.Folder+"/"+pairFile, made
	if old, _ := root.ReadFile(certificateFile); !bytes.Equal(old, p.CertificatePEM) {
		if err := durable.Write(root, certificateFile, p.CertificatePEM, 0o644); err != nil {
			return nil, ErrMake.Wrap(err, "%s/%s", o.Folder, certificateFile)
		}
	}
	return p, nil
}

func makePair(o Options) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	hosts := append([]string{"localhost", "127.0.0.1", "::1"}, o.Hosts...)
	name := "localhost"
	if h, err := os.Hostname(); err == nil && h != "" {
		hosts, name = append(hosts, h), h
	}
	now := o.Now()
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name, Organization: []string{"Carbonado"}},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(madeFor),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else if h != "" && !slices.Contains(t.DNSNames, h) {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	certificate, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	p, err := encode(key, [][]byte{certificate})
	if err != nil {
		return nil, err
	}
	return append(p.KeyPEM, p.CertificatePEM...), nil
}

// encode makes the PEM of a key and a chain, leaf first.
func encode(key crypto.PrivateKey, chain [][]byte) (*Pair, error) {
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	p := &Pair{KeyPEM: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})}
	for _, c := range chain {
		p.CertificatePEM = append(p.CertificatePEM, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c})...)
	}
	return p, nil
}

// parse reads a PEM file with a key and certificates in any order, and proves that they belong together.
func parse(data []byte) (*Pair, error) {
	p := &Pair{}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			p.CertificatePEM = append(p.CertificatePEM, pem.EncodeToMemory(block)...)
		} else {
			p.KeyPEM = append(p.KeyPEM, pem.EncodeToMemory(block)...)
		}
	}
	c, err := tls.X509KeyPair(p.CertificatePEM, p.KeyPEM)
	if err != nil {
		return nil, err
	}
	if c.Leaf == nil {
		if c.Leaf, err = x509.ParseCertificate(c.Certificate[0]); err != nil {
			return nil, err
		}
	}
	p.Certificate = c
	return p, nil
}
