package tlskeys

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/pavlo-v-chernykh/keystore-go/v4"
	"software.sslmate.com/src/go-pkcs12"

	"carbonado.dev/sdk/cause"
)

// ErrWeak is a notice: the pair serves, but it should be replaced.
var ErrWeak = cause.Define("CBN-GW-004", "The server's TLS pair is weak or out of date.",
	"Replace the keystore, or remove Security/KeyStore from repository/conf/carbon.xml to have a pair made.")

// maxStore is the largest keystore that is read, in bytes.
const maxStore = 4 << 20

const (
	magicJKS   = 0xFEEDFEED
	magicJCEKS = 0xCECECECE
)

// readStore reads a JKS or PKCS#12 file. What it is, its first bytes say: Java writes PKCS#12 under the name of JKS.
func readStore(s Store) (*Pair, error) {
	info, err := os.Stat(s.Path)
	if err == nil && info.Size() > maxStore {
		err = fmt.Errorf("it has %d bytes, a keystore may have %d", info.Size(), maxStore)
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(s.Path)
	}
	if err != nil {
		return nil, ErrStore.Wrap(err, "%s", s.Path)
	}
	var p *Pair
	switch {
	case len(data) >= 4 && binary.BigEndian.Uint32(data) == magicJKS:
		p, err = readJKS(data, s)
	case len(data) >= 4 && binary.BigEndian.Uint32(data) == magicJCEKS:
		err = errors.New("it is a JCEKS store; convert it: keytool -importkeystore -deststoretype PKCS12")
	case len(data) > 0 && data[0] == 0x30:
		p, err = readPKCS12(data, s)
	default:
		err = errors.New("it is neither a JKS nor a PKCS#12 file")
	}
	if err != nil {
		return nil, ErrStore.Wrap(err, "%s", s.Path)
	}
	p.Source = s.Path
	return p, nil
}

func readJKS(data []byte, s Store) (*Pair, error) {
	ks := keystore.New(keystore.WithOrderedAliases())
	if err := ks.Load(bytes.NewReader(data), []byte(s.Password)); err != nil {
		return nil, err
	}
	keys := slices.DeleteFunc(ks.Aliases(), func(a string) bool { return !ks.IsPrivateKeyEntry(a) })
	alias := strings.ToLower(s.Alias) // as Java does
	switch {
	case alias == "" && len(keys) == 1:
		alias = keys[0]
	case !slices.Contains(keys, alias):
		return nil, fmt.Errorf("it has no key %q; its keys are %q", s.Alias, keys)
	}
	password := s.KeyPassword
	if password == "" {
		password = s.Password
	}
	entry, err := ks.GetPrivateKeyEntry(alias, []byte(password))
	if err != nil {
		return nil, fmt.Errorf("the key %q: %w", alias, err)
	}
	key, err := x509.ParsePKCS8PrivateKey(entry.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("the key %q: %w", alias, err)
	}
	var chain [][]byte
	for _, c := range entry.CertificateChain {
		chain = append(chain, c.Content)
	}
	p, err := encode(key, chain)
	if err != nil {
		return nil, err
	}
	return parse(append(p.KeyPEM, p.CertificatePEM...))
}

func readPKCS12(data []byte, s Store) (*Pair, error) {
	key, leaf, others, err := pkcs12.DecodeChain(data, s.Password)
	if err != nil {
		return nil, err
	}
	chain := [][]byte{leaf.Raw}
	for _, c := range others {
		chain = append(chain, c.Raw)
	}
	p, err := encode(key, chain)
	if err != nil {
		return nil, err
	}
	return parse(append(p.KeyPEM, p.CertificatePEM...))
}

// notice says what a pair lacks, or nil.
func notice(p *Pair, now time.Time) error {
	leaf := p.Certificate.Leaf
	switch key, isRSA := leaf.PublicKey.(*rsa.PublicKey); {
	case now.After(leaf.NotAfter):
		return ErrWeak.New("the certificate of %s is out of date since %s", p.Source, leaf.NotAfter.UTC().Format(time.DateOnly))
	case now.Before(leaf.NotBefore):
		return ErrWeak.New("the certificate of %s is good from %s only", p.Source, leaf.NotBefore.UTC().Format(time.DateOnly))
	case isRSA && key.N.BitLen() < 2048:
		return ErrWeak.New("the key of %s is RSA with %d bits", p.Source, key.N.BitLen())
	}
	return nil
}
