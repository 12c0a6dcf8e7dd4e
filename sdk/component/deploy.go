package component

import (
	"context"
	"errors"
	"strings"

	"carbonado.dev/sdk/cause"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
)

// ErrWaiting is the cause of an artifact that waits for another.
var ErrWaiting = cause.Define("CBN-SDK-030", "An artifact waits for another.", "Deploy what it waits for.")

// ErrNoDeployer is the cause of an artifact whose type the component doesn't take.
var ErrNoDeployer = cause.Define("CBN-SDK-031", "A component has no deployer for a type that its component.yaml declares.", "Call C.Deploys for it.")

// Artifact is a file of repository/deployment/server handed to its deployer.
type Artifact struct {
	// Path is relative to repository/, with slashes. Type and Name are the entry of `deploys` and the file's name without suffix.
	Path, Type, Name string
	// Digest is the SHA-256 of Content in hexadecimal: the artifact's identity.
	Digest  string
	Content []byte
	Tenant  int32
	// Transaction grows per batch.
	Transaction uint64

	offers []string
}

// Offer says what those that wait may now find: "type:name", for example "eventstream:org.acme.orders:1.0.0".
func (a *Artifact) Offer(names ...string) { a.offers = append(a.offers, names...) }

// Deployer takes artifacts of one type. Calls for one path never overlap. An error other than WaitFor's makes the artifact
// FAULTY: nothing of it may remain, and after a failed Update the last good one must keep running.
type Deployer interface {
	// Validate is a dry run.
	Validate(ctx context.Context, a *Artifact) error
	Deploy(ctx context.Context, a *Artifact) error
	// Update gets the new content of a deployed or waiting path.
	Update(ctx context.Context, a *Artifact) error
	// Undeploy gets no content; an unknown path is no error.
	Undeploy(ctx context.Context, a *Artifact) error
}

type waiting struct{ names []string }

func (w *waiting) Error() string { return "waits for " + strings.Join(w.names, ", ") }

// WaitFor is the error of an artifact that is right but waits for others ("type:name"). It is handed over again when one of them
// is offered.
func WaitFor(names ...string) error { return &waiting{names} }

// Deploys names the deployer of a type under `deploys` of component.yaml. Call it within Start.
func (c *C) Deploys(typ string, d Deployer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deployers[typ] = d
}

// Validate implements controlv1.DeployerServer.
func (s *Control) Validate(ctx context.Context, req *controlv1.DeployRequest) (*controlv1.DeployResponse, error) {
	return s.deploy(ctx, req, Deployer.Validate)
}

// Deploy implements controlv1.DeployerServer.
func (s *Control) Deploy(ctx context.Context, req *controlv1.DeployRequest) (*controlv1.DeployResponse, error) {
	return s.deploy(ctx, req, Deployer.Deploy)
}

// Update implements controlv1.DeployerServer.
func (s *Control) Update(ctx context.Context, req *controlv1.DeployRequest) (*controlv1.DeployResponse, error) {
	return s.deploy(ctx, req, Deployer.Update)
}

// Undeploy implements controlv1.DeployerServer.
func (s *Control) Undeploy(ctx context.Context, req *controlv1.DeployRequest) (*controlv1.DeployResponse, error) {
	return s.deploy(ctx, req, Deployer.Undeploy)
}

func (s *Control) deploy(ctx context.Context, req *controlv1.DeployRequest, call func(Deployer, context.Context, *Artifact) error) (*controlv1.DeployResponse, error) {
	in := req.Artifact
	if _, err := s.service(); err != nil {
		return nil, err
	}
	s.c.mu.Lock()
	d := s.c.deployers[in.GetType()]
	s.c.mu.Unlock()
	if d == nil {
		return nil, ErrNoDeployer.New("type %s at %s", in.GetType(), s.c.cfg.GetName())
	}
	a := &Artifact{Path: in.Path, Type: in.Type, Name: in.Name, Digest: in.Digest, Content: in.Content, Tenant: in.Tenant, Transaction: req.Transaction}
	err := s.guarded(func() error { return call(d, ctx, a) })
	var w *waiting
	switch {
	case err == nil:
		return &controlv1.DeployResponse{State: controlv1.DeployResponse_STATE_DEPLOYED, Offers: a.offers}, nil
	case errors.As(err, &w):
		return &controlv1.DeployResponse{State: controlv1.DeployResponse_STATE_WAITING, WaitsFor: w.names, Cause: ErrWaiting.New("%s waits for %s", a.Path, strings.Join(w.names, ", ")).Proto()}, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	c := cause.Proto(err)
	if c.File == "" {
		c.File = a.Path
	}
	return &controlv1.DeployResponse{State: controlv1.DeployResponse_STATE_FAULTY, Cause: c}, nil
}

// guarded turns a panic of component code into an error.
func (s *Control) guarded(f func() error) (err error) {
	defer s.svc.Recovered("deployer", &err)
	return f()
}
