package sdktest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
	kernelv1 "carbonado.dev/sdk/proto/carbonado/kernel/v1"
)

// artifact is what the double remembers of a file.
type artifact struct {
	path, typ, name string
	owner           *Component
	content         []byte
	deployed        bool // the owner has been given it
	state           controlv1.DeployResponse_State
	waitsFor        []string
	offers          []string
	revision        uint64
	cause           *commonv1.Cause
}

// Deploy hands content at a path below repository/deployment/server, "eventstreams/x.json", to its deployer, as new or as an update, and
// answers what became of it. Artifacts that wait for what it offers are handed over again.
func (k *Kernel) Deploy(path, content string) (controlv1.DeployResponse_State, *commonv1.Cause) {
	k.t.Helper()
	a, err := k.put(path, []byte(content))
	if err != nil {
		k.t.Fatalf("deploy %s: %v", path, err)
	}
	return a.state, a.cause
}

// MustDeploy is Deploy that fails the test unless the artifact is deployed.
func (k *Kernel) MustDeploy(path, content string) {
	k.t.Helper()
	if state, c := k.Deploy(path, content); state != controlv1.DeployResponse_STATE_DEPLOYED {
		k.t.Fatalf("%s is %v: %v", path, state, c)
	}
}

// ArtifactState is the present state of a path; STATE_UNSPECIFIED if it is unknown.
func (k *Kernel) ArtifactState(path string) controlv1.DeployResponse_State {
	k.mu.Lock()
	defer k.mu.Unlock()
	if a := k.artifacts[path]; a != nil {
		return a.state
	}
	return controlv1.DeployResponse_STATE_UNSPECIFIED
}

// Undeploy removes a path.
func (k *Kernel) Undeploy(path string) {
	k.t.Helper()
	k.mu.Lock()
	a := k.artifacts[path]
	delete(k.artifacts, path)
	k.mu.Unlock()
	if a == nil {
		return
	}
	_ = os.Remove(filepath.Join(k.dir, "repository", "deployment", "server", filepath.FromSlash(path)))
	ctx, cancel := context.WithTimeout(k.ctx, deadline)
	defer cancel()
	if _, err := a.owner.control.Undeploy(ctx, k.request(a)); err != nil {
		k.t.Errorf("undeploy %s: %v", path, err)
	}
}

func (k *Kernel) request(a *artifact) *controlv1.DeployRequest {
	k.mu.Lock()
	k.tx++
	tx := k.tx
	k.mu.Unlock()
	sum := sha256.Sum256(a.content)
	return &controlv1.DeployRequest{Transaction: tx, Artifact: &controlv1.Artifact{
		Path: "deployment/server/" + a.path, Type: a.typ, Name: a.name, Digest: hex.EncodeToString(sum[:]), Content: a.content, Tenant: Tenant,
	}}
}

func (k *Kernel) put(path string, content []byte) (*artifact, error) {
	k.mu.Lock()
	a := k.artifacts[path]
	if a == nil {
		a = &artifact{path: path}
		for _, c := range k.components {
			for _, d := range c.desc.Deploys {
				if filepath.Dir(path) == d.Directory && strings.HasSuffix(path, d.Suffix) {
					a.owner, a.typ = c, d.Type
					a.name = strings.TrimSuffix(filepath.Base(path), d.Suffix)
				}
			}
		}
	}
	k.mu.Unlock()
	if a.owner == nil {
		return nil, status.Errorf(codes.NotFound, "nobody deploys %s", path)
	}
	file := filepath.Join(k.dir, "repository", "deployment", "server", filepath.FromSlash(path))
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(file, content, 0o600); err != nil {
		return nil, err
	}
	a.content = content
	if err := k.hand(a); err != nil {
		return nil, err
	}
	return a, nil
}

// hand gives an artifact to its deployer and wakes those that waited for what it offers.
func (k *Kernel) hand(a *artifact) error {
	ctx, cancel := context.WithTimeout(k.ctx, deadline)
	defer cancel()
	call := a.owner.control.Deploy
	if a.deployed {
		call = a.owner.control.Update
	}
	resp, err := call(ctx, k.request(a))
	if err != nil {
		return err
	}
	k.mu.Lock()
	if resp.State != controlv1.DeployResponse_STATE_FAULTY {
		a.deployed = true
	}
	a.state, a.waitsFor, a.cause, a.offers = resp.State, resp.WaitsFor, resp.Cause, resp.Offers
	a.revision++
	k.artifacts[a.path] = a
	var woken []*artifact
	for _, other := range k.artifacts {
		if other.state != controlv1.DeployResponse_STATE_WAITING || other == a {
			continue
		}
		if slices.ContainsFunc(other.waitsFor, func(n string) bool { return slices.Contains(resp.Offers, n) }) {
			woken = append(woken, other)
		}
	}
	k.mu.Unlock()
	for _, w := range woken {
		if err := k.hand(w); err != nil {
			return err
		}
	}
	return nil
}

// redeployOwner hands all artifacts of a restarted component over again.
func (k *Kernel) redeployOwner(c *Component) {
	k.mu.Lock()
	var mine []*artifact
	for _, a := range k.artifacts {
		if a.owner.desc.Name == c.desc.Name {
			a.owner, a.deployed = c, false
			mine = append(mine, a)
		}
	}
	k.mu.Unlock()
	slices.SortFunc(mine, func(a, b *artifact) int { return strings.Compare(a.path, b.path) })
	for _, a := range mine {
		if err := k.hand(a); err != nil {
			k.t.Errorf("redeploy %s: %v", a.path, err)
		}
	}
}

// artifacts is kernelv1.Artifacts on the double.
type artifacts struct {
	kernelv1.UnimplementedArtifactsServer
	k *Kernel
}

func (s *artifacts) find(typ string) (deploys, bool) {
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	for _, c := range s.k.components {
		for _, d := range c.desc.Deploys {
			if d.Type == typ {
				return d, true
			}
		}
	}
	return deploys{}, false
}

func (s *artifacts) Put(_ context.Context, req *kernelv1.PutArtifactRequest) (*kernelv1.PutArtifactResponse, error) {
	d, ok := s.find(req.Type)
	if !ok {
		return nil, status.Errorf(codes.NotFound, "type %s", req.Type)
	}
	path := d.Directory + "/" + req.Name + d.Suffix
	s.k.mu.Lock()
	have := s.k.artifacts[path]
	s.k.mu.Unlock()
	if have != nil && req.CreateOnly && string(have.content) != string(req.Content) {
		return nil, status.Errorf(codes.AlreadyExists, "%s", path)
	}
	if have != nil && string(have.content) == string(req.Content) {
		return &kernelv1.PutArtifactResponse{Artifact: info(have)}, nil
	}
	a, err := s.k.put(path, req.Content)
	if err != nil {
		return nil, err
	}
	return &kernelv1.PutArtifactResponse{Artifact: info(a)}, nil
}

func (s *artifacts) Remove(_ context.Context, req *kernelv1.RemoveArtifactRequest) (*kernelv1.RemoveArtifactResponse, error) {
	if d, ok := s.find(req.Type); ok {
		s.k.Undeploy(d.Directory + "/" + req.Name + d.Suffix)
	}
	return &kernelv1.RemoveArtifactResponse{}, nil
}

func (s *artifacts) List(_ context.Context, req *kernelv1.ListArtifactsRequest) (*kernelv1.ListArtifactsResponse, error) {
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	out := &kernelv1.ListArtifactsResponse{}
	for _, a := range s.k.artifacts {
		if a.typ == req.Type {
			out.Artifacts = append(out.Artifacts, info(a))
		}
	}
	return out, nil
}

func info(a *artifact) *kernelv1.ArtifactInfo {
	state := strings.TrimPrefix(a.state.String(), "STATE_")
	sum := sha256.Sum256(a.content)
	return &kernelv1.ArtifactInfo{Path: "deployment/server/" + a.path, Type: a.typ, Name: a.name, State: state, Revision: a.revision, Digest: hex.EncodeToString(sum[:]), Owner: a.owner.desc.Name, Cause: a.cause}
}

// coordinator is kernelv1.Coordinator in memory.
type coordinator struct {
	kernelv1.UnimplementedCoordinatorServer

	// mu guards all below.
	mu      sync.Mutex
	leases  map[string]*kernelv1.AcquireLeaseResponse
	tokens  map[string]uint64
	state   map[string]*kernelv1.GetStateResponse
	changed chan struct{}
}

func newCoordinator() *coordinator {
	return &coordinator{leases: map[string]*kernelv1.AcquireLeaseResponse{}, tokens: map[string]uint64{}, state: map[string]*kernelv1.GetStateResponse{}, changed: make(chan struct{})}
}

func (s *coordinator) Members(context.Context, *kernelv1.MembersRequest) (*kernelv1.MembersResponse, error) {
	return &kernelv1.MembersResponse{Members: []*kernelv1.MembersResponse_Member{{NodeId: "test", Self: true, Leader: true}}}, nil
}

func (s *coordinator) Acquire(_ context.Context, req *kernelv1.AcquireLeaseRequest) (*kernelv1.AcquireLeaseResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	l := s.leases[req.Name]
	if l != nil && l.Holder != req.Holder && l.ExpiresUnixMs > now.UnixMilli() {
		return &kernelv1.AcquireLeaseResponse{Holder: l.Holder, ExpiresUnixMs: l.ExpiresUnixMs}, nil
	}
	if l == nil || l.Holder != req.Holder || l.ExpiresUnixMs <= now.UnixMilli() {
		s.tokens[req.Name]++
	}
	l = &kernelv1.AcquireLeaseResponse{Granted: true, Token: s.tokens[req.Name], Holder: req.Holder, ExpiresUnixMs: now.UnixMilli() + req.TtlMs}
	s.leases[req.Name] = l
	return l, nil
}

func (s *coordinator) Release(_ context.Context, req *kernelv1.ReleaseLeaseRequest) (*kernelv1.ReleaseLeaseResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.leases[req.Name]; l != nil && l.Holder == req.Holder && l.Token == req.Token {
		delete(s.leases, req.Name)
	}
	return &kernelv1.ReleaseLeaseResponse{}, nil
}

func (s *coordinator) get(key string) *kernelv1.GetStateResponse {
	if v := s.state[key]; v != nil {
		return v
	}
	return &kernelv1.GetStateResponse{}
}

func (s *coordinator) Get(_ context.Context, req *kernelv1.GetStateRequest) (*kernelv1.GetStateResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.get(req.Key), nil
}

func (s *coordinator) Set(_ context.Context, req *kernelv1.SetStateRequest) (*kernelv1.SetStateResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	have := s.get(req.Key)
	if have.Version != req.IfVersion {
		return nil, status.Errorf(codes.Aborted, "%s is at version %d", req.Key, have.Version)
	}
	next := have.Version + 1
	s.state[req.Key] = &kernelv1.GetStateResponse{Found: !req.Delete, Value: req.Value, Version: next}
	close(s.changed)
	s.changed = make(chan struct{})
	return &kernelv1.SetStateResponse{Version: next}, nil
}

func (s *coordinator) Watch(req *kernelv1.WatchStateRequest, stream grpc.ServerStreamingServer[kernelv1.GetStateResponse]) error {
	last := ^uint64(0)
	for {
		s.mu.Lock()
		v, changed := s.get(req.Key), s.changed
		s.mu.Unlock()
		if v.Version != last {
			last = v.Version
			if err := stream.Send(v); err != nil {
				return err
			}
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return nil
		}
	}
}
