package conform

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"carbonado.dev/carbonado/runtime/cluster"
	"carbonado.dev/carbonado/runtime/cluster/local"
	"carbonado.dev/carbonado/runtime/config/schema"
	"carbonado.dev/sdk/handshake"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
	kernelv1 "carbonado.dev/sdk/proto/carbonado/kernel/v1"
	"carbonado.dev/sdk/service"
)

// double stands for the kernel's own services and for every provider that the component requires: the former work, the latter
// answer Unimplemented to a caller whose token is right.
type double struct {
	path   string
	server *grpc.Server
	served chan struct{}
	state  *local.Coordinator
	pair   *controlv1.TLSPair

	mu     sync.Mutex // guards tokens
	tokens map[string]bool
}

func newDouble(scratch string) (*double, error) {
	folder := filepath.Join(scratch, "kernel")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	state, err := local.Open(folder, "conform", "")
	if err != nil {
		return nil, err
	}
	d := &double{path: filepath.Join(scratch, "k.sock"), state: state, tokens: map[string]bool{}, served: make(chan struct{})}
	d.server = grpc.NewServer(append(handshake.ServerOptions(handshake.OfUser(os.Geteuid())),
		grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
			if err := d.admit(ctx); err != nil {
				return nil, err
			}
			return h(ctx, req)
		}),
		grpc.StreamInterceptor(func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
			if err := d.admit(ss.Context()); err != nil {
				return err
			}
			return h(srv, ss)
		}),
		grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error {
			return status.Error(codes.Unimplemented, "the conformance suite provides nothing")
		}))...)
	kernelv1.RegisterCoordinatorServer(d.server, cluster.NewServer(state))
	kernelv1.RegisterArtifactsServer(d.server, noArtifacts{})
	l, err := net.Listen("unix", d.path)
	if err != nil {
		state.Close()
		return nil, err
	}
	go func() {
		defer close(d.served)
		_ = d.server.Serve(l) // ends with close
	}()
	return d, nil
}

func (d *double) close() {
	d.server.Stop()
	<-d.served
	d.state.Close()
}

func (d *double) admit(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if v := metadata.ValueFromIncomingContext(ctx, service.TokenKey); len(v) == 1 && d.tokens[v[0]] {
		return nil
	}
	return status.Error(codes.PermissionDenied, "no token of a link")
}

// bind makes a BindRequest for one of the double's services.
func (d *double) bind(reference, service string, id uint64) *controlv1.BindRequest {
	t := token()
	d.mu.Lock()
	d.tokens[string(t)] = true
	d.mu.Unlock()
	return &controlv1.BindRequest{
		Reference: reference, ServiceId: id, Generation: 1, Service: service, Provider: "conform", Address: "unix://" + d.path, Token: t,
		ProviderPid: int32(os.Getpid()), ProviderUid: int32(os.Geteuid()),
	}
}

func token() []byte {
	t := make([]byte, 32)
	_, _ = rand.Read(t) // never fails (crypto/rand)
	return t
}

// tlsPair makes a pair for components that serve TLS.
func (d *double) tlsPair() (*controlv1.TLSPair, error) {
	if d.pair != nil {
		return d.pair, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	d.pair = &controlv1.TLSPair{
		CertificatePem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		KeyPem:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
	return d.pair, nil
}

// noArtifacts has no files and takes none.
type noArtifacts struct {
	kernelv1.UnimplementedArtifactsServer
}

func (noArtifacts) List(context.Context, *kernelv1.ListArtifactsRequest) (*kernelv1.ListArtifactsResponse, error) {
	return &kernelv1.ListArtifactsResponse{}, nil
}

// config is the component's configuration: what was given, and the defaults of its schema.
func (s *suite) config() ([]byte, error) {
	sch, err := schema.Compile(s.descriptor.Name+".config", s.descriptor.Config)
	if err != nil {
		return nil, err
	}
	var value any = map[string]any{}
	if len(s.Config) > 0 {
		if err := json.Unmarshal(s.Config, &value); err != nil {
			return nil, err
		}
	}
	return json.Marshal(sch.Defaults(value))
}
