package sdktest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"time"

	"carbonado.dev/sdk/component"
	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
	httpv1 "carbonado.dev/sdk/proto/carbonado/http/v1"
)

// Admin is a principal that may do everything.
func Admin() *commonv1.Principal {
	return &commonv1.Principal{User: "admin", Tenant: Tenant, Roles: []string{"admin"}, Permissions: []string{"/permission"}, Via: "basic"}
}

// HTTP is a client that reaches the component's routes as the gateway would, for a principal (nil: nobody). Any host will do.
func (c *Component) HTTP(p *commonv1.Principal) *http.Client {
	return &http.Client{
		Transport:     &gatewayTransport{c: c, principal: p, routes: httpv1.NewHTTPRoutesClient(c.Conn(httpv1.HTTPRoutes_ServiceDesc.ServiceName))},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

type gatewayTransport struct {
	c         *Component
	principal *commonv1.Principal
	routes    httpv1.HTTPRoutesClient
}

func (g *gatewayTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	stream, err := g.routes.Serve(req.Context())
	if err != nil {
		return nil, err
	}
	head := &httpv1.RequestHead{
		Method: req.Method, Url: req.URL.RequestURI(), Host: req.URL.Host, RemoteAddress: "127.0.0.1:1", Scheme: "https",
		ContentLength: req.ContentLength, Principal: g.principal,
	}
	for name, values := range req.Header {
		head.Headers = append(head.Headers, &httpv1.Header{Name: name, Values: values})
	}
	if g.principal != nil {
		if head.PrincipalSignature, err = component.SignPrincipal(g.principal, g.c.principal); err != nil {
			return nil, err
		}
	}
	if err := stream.Send(&httpv1.ServeRequest{Part: &httpv1.ServeRequest_Head{Head: head}}); err != nil {
		return nil, err
	}
	if req.Body != nil {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		for len(body) > 0 {
			n := min(len(body), 32<<10)
			if stream.Send(&httpv1.ServeRequest{Part: &httpv1.ServeRequest_Body{Body: body[:n]}}) != nil {
				break // the handler has answered without reading on
			}
			body = body[n:]
		}
	}
	if err := stream.CloseSend(); err != nil {
		return nil, err
	}
	first, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	h := first.GetHead()
	resp := &http.Response{StatusCode: int(h.GetStatus()), Status: http.StatusText(int(h.GetStatus())), Proto: "HTTP/2.0", ProtoMajor: 2, Header: http.Header{}, Request: req, ContentLength: -1}
	for _, x := range h.GetHeaders() {
		resp.Header[http.CanonicalHeaderKey(x.Name)] = x.Values
	}
	r, w := io.Pipe()
	resp.Body = r
	go func() {
		for {
			m, err := stream.Recv()
			if err != nil {
				w.CloseWithError(err) // io.EOF ends the body in order
				return
			}
			if _, err := w.Write(m.GetBody()); err != nil {
				return
			}
		}
	}()
	return resp, nil
}

// Routes are the prefixes that the component has published now.
func (c *Component) Routes() []string {
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	var out []string
	for _, p := range c.k.services {
		if p.owner == c && p.service == httpv1.HTTPRoutes_ServiceDesc.ServiceName {
			out = append(out, strings.Join([]string{p.props["prefix"], p.props["auth"], p.props["transports"]}, " "))
		}
	}
	return out
}

// Published are the properties of the component's registrations of a service.
func (c *Component) Published(serviceName string) []map[string]string {
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	var out []map[string]string
	for _, p := range c.k.services {
		if p.owner == c && p.service == serviceName {
			out = append(out, p.props)
		}
	}
	return out
}

// tlsPair is a self-signed P-256 pair for 127.0.0.1 and localhost.
func (k *Kernel) tlsPair() *controlv1.TLSPair {
	if k.tls != nil {
		return k.tls
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		k.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		k.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		k.t.Fatal(err)
	}
	k.tls = &controlv1.TLSPair{
		CertificatePem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		KeyPem:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}
	return k.tls
}

// CertificatePEM is what clients of components with TLS must trust.
func (k *Kernel) CertificatePEM() []byte { return k.tlsPair().CertificatePem }
