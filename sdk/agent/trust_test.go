package agent_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"

	"carbonado.dev/sdk/databridge/databridgetest"
)

// both trusts each receiver's certificate: it accepts what one of their pools verifies.
func both(rs ...*databridgetest.Receiver) *tls.Config {
	return &tls.Config{
		InsecureSkipVerify: true, // VerifyConnection does it
		VerifyConnection: func(s tls.ConnectionState) error {
			for _, r := range rs {
				if _, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: r.ClientTLS.RootCAs}); err == nil {
					return nil
				}
			}
			return errors.New("unknown certificate")
		},
	}
}
