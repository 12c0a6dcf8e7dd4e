package eventreceiver

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"

	"github.com/pavlo-v-chernykh/keystore-go/v4"
	"software.sslmate.com/src/go-pkcs12"

	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/component"
)

// ErrKeystore is the kind of a keystore that can't be used.
var ErrKeystore = cause.Define("CBN-RCV-043", "The receiver's keystore can't be used.", "Correct keystore, keystorePassword and keystoreAlias in repository/conf/components/EventReceiver.yaml.")

// serverTLS is the configuration of the secure port; nil if the component has no pair.
func (r *receiver) serverTLS() (*tls.Config, error) {
	var cfg *tls.Config
	if own := r.c.TLS(); own != nil {
		cfg = own.Clone()
	}
	if r.config.Keystore != "" {
		path := r.config.Keystore
		if !filepath.IsAbs(path) {
			path = filepath.Join(r.c.RepositoryFolder(), path)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, ErrKeystore.Wrap(err, "%s", r.config.Keystore)
		}
		cert, err := readKeystore(data, r.config.KeystorePassword, r.config.KeystoreAlias)
		if err != nil {
			return nil, ErrKeystore.Wrap(err, "%s", r.config.Keystore)
		}
		if cfg == nil {
			cfg = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		cfg.Certificates, cfg.GetCertificate = []tls.Certificate{*cert}, nil
	}
	return r.lower(cfg)
}

// lower applies the setting of the least TLS version.
func (r *receiver) lower(cfg *tls.Config) (*tls.Config, error) {
	if cfg == nil || r.config.TLSMinVersion == "" {
		return cfg, nil
	}
	least, err := component.TLSMinVersion(r.config.TLSMinVersion)
	if err != nil {
		return nil, err
	}
	cfg.MinVersion = least
	if least < tls.VersionTLS12 {
		// Java 6 and 7 know no better suites; they come last.
		for _, s := range tls.CipherSuites() {
			cfg.CipherSuites = append(cfg.CipherSuites, s.ID)
		}
		cfg.CipherSuites = append(cfg.CipherSuites, tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_256_CBC_SHA)
	}
	return cfg, nil
}

// jksMagic starts a JKS file; PKCS#12 is DER.
var jksMagic = []byte{0xfe, 0xed, 0xfe, 0xed}

// readKeystore takes a key and its chain from a JKS or PKCS#12 keystore. Store and key have the same password, as WSO2's have. A key
// of a certificate that is not valid now, or of RSA 1024, is taken: agents in the field trust it by its bytes.
func readKeystore(data []byte, password, alias string) (*tls.Certificate, error) {
	if !bytes.HasPrefix(data, jksMagic) {
		return readPKCS12(data, password)
	}
	ks := keystore.New()
	if err := ks.Load(bytes.NewReader(data), []byte(password)); err != nil {
		return nil, err
	}
	aliases := ks.Aliases()
	slices.Sort(aliases)
	for _, name := range aliases {
		if alias != "" && name != alias || !ks.IsPrivateKeyEntry(name) {
			continue
		}
		entry, err := ks.GetPrivateKeyEntry(name, []byte(password))
		if err != nil {
			return nil, err
		}
		key, err := x509.ParsePKCS8PrivateKey(entry.PrivateKey)
		if err != nil {
			return nil, err
		}
		cert := &tls.Certificate{PrivateKey: key}
		for _, c := range entry.CertificateChain {
			cert.Certificate = append(cert.Certificate, c.Content)
		}
		return cert, nil
	}
	return nil, ErrKeystore.New("there is no key %q", alias)
}

func readPKCS12(data []byte, password string) (*tls.Certificate, error) {
	key, leaf, chain, err := pkcs12.DecodeChain(data, password)
	if err != nil {
		return nil, err
	}
	if _, ok := key.(crypto.Signer); !ok {
		return nil, ErrKeystore.New("the key can't sign")
	}
	cert := &tls.Certificate{PrivateKey: key, Certificate: [][]byte{leaf.Raw}}
	for _, c := range chain {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	return cert, nil
}
