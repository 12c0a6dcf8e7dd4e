package eventreceiver

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"carbonado.dev/carbonado/components/eventreceiver/catalog"
	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/component"
	"carbonado.dev/sdk/databridge/streamdef"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	kernelv1 "carbonado.dev/sdk/proto/carbonado/kernel/v1"
)

// ErrNotDefined is the kind of a definition that could not be written or deployed.
var ErrNotDefined = cause.Define("CBN-STR-005", "A stream could not be defined.", "See the reason in the chain and `carbonado artifact ls`.")

// streamType is the type of stream files under `deploys`.
const streamType = "eventstream"

// defineStream brings a definition into force by writing its file. It is idempotent for an equal definition; another one of the
// same id, or one at odds with another version, is streamdef.ErrDifferent.
func (r *receiver) defineStream(ctx context.Context, d *streamdef.Definition) error {
	ctx, cancel := context.WithTimeout(ctx, definePatience)
	defer cancel()
	select {
	case r.define <- struct{}{}:
		defer func() { <-r.define }()
	case <-ctx.Done():
		return ErrNotDefined.Wrap(ctx.Err(), "stream %s", d.ID())
	}
	if have, err := r.streams.Get(d.ID()); err == nil {
		if have.Definition.Same(d) {
			return nil
		}
		return streamdef.ErrDifferent.New("stream %s", d.ID())
	}
	if err := r.streams.Check(d.FileName(), d); err != nil {
		return err
	}
	resp, err := r.files.Put(ctx, &kernelv1.PutArtifactRequest{Type: streamType, Name: d.FileName(), Content: d.JSON(), CreateOnly: true})
	if status.Code(err) == codes.AlreadyExists {
		return streamdef.ErrDifferent.Wrap(cause.From(err), "eventstreams/%s.json has another content", d.FileName())
	}
	if err != nil {
		return ErrNotDefined.Wrap(cause.From(err), "stream %s", d.ID())
	}
	if a := resp.GetArtifact(); a.GetState() != "DEPLOYED" {
		return ErrNotDefined.Wrap(reason(a), "eventstreams/%s.json is %s", d.FileName(), a.GetState())
	}
	_, err = r.streams.Await(ctx, d.ID())
	return err
}

func reason(a *kernelv1.ArtifactInfo) error {
	if a.GetCause() == nil {
		return nil
	}
	return cause.FromProto(a.GetCause(), codes.FailedPrecondition)
}

// deleteStream removes a stream's file and answers whether there was one.
func (r *receiver) deleteStream(ctx context.Context, id string) (bool, error) {
	s, err := r.streams.Get(id)
	if err != nil {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, definePatience)
	defer cancel()
	if _, err := r.files.Remove(ctx, &kernelv1.RemoveArtifactRequest{Type: streamType, Name: s.File}); err != nil {
		return false, ErrNotDefined.Wrap(cause.From(err), "stream %s could not be removed", id)
	}
	return true, nil
}

// streamFiles deploys eventstreams/*.json.
type streamFiles struct{ r *receiver }

func (f *streamFiles) parse(a *component.Artifact) (*streamdef.Definition, error) {
	d, notices, err := streamdef.Parse(a.Path, a.Content)
	if err != nil {
		return nil, err
	}
	for _, n := range notices {
		f.r.log.Warn("passed over in a stream definition", "file", a.Path, "line", n.Line, "column", n.Column, "text", n.Text)
	}
	return d, nil
}

// Validate implements component.Deployer.
func (f *streamFiles) Validate(_ context.Context, a *component.Artifact) error {
	d, err := f.parse(a)
	if err != nil {
		return err
	}
	return at(a, f.r.streams.Check(a.Name, d))
}

// Deploy implements component.Deployer.
func (f *streamFiles) Deploy(_ context.Context, a *component.Artifact) error {
	d, err := f.parse(a)
	if err != nil {
		return err
	}
	if err := f.r.streams.Put(a.Name, d); err != nil {
		return at(a, err)
	}
	a.Offer(streamType + ":" + d.ID())
	return nil
}

// Update implements component.Deployer.
func (f *streamFiles) Update(ctx context.Context, a *component.Artifact) error {
	return f.Deploy(ctx, a)
}

// Undeploy implements component.Deployer.
func (f *streamFiles) Undeploy(_ context.Context, a *component.Artifact) error {
	f.r.streams.Remove(a.Name)
	return nil
}

// at gives a cause without place the artifact's file.
func at(a *component.Artifact, err error) error {
	var e *cause.Error
	if errors.As(err, &e) {
		if file, _, _ := e.Position(); file == "" {
			return e.At(a.Path, 0, 0)
		}
	}
	return err
}

// streamAdmin is the StreamAdmin service.
type streamAdmin struct {
	analyticsv1.UnimplementedStreamAdminServer
	r *receiver
}

func (s *streamAdmin) tenant(tenant int32) error {
	if tenant != s.r.c.Tenant() {
		return ErrTenant.New("tenant %d", tenant)
	}
	return nil
}

// Define implements analyticsv1.StreamAdminServer.
func (s *streamAdmin) Define(ctx context.Context, req *analyticsv1.DefineStreamRequest) (*analyticsv1.DefineStreamResponse, error) {
	if err := s.tenant(req.GetTenant()); err != nil {
		return nil, err
	}
	d, err := streamdef.FromProto(req.GetDefinition())
	if err != nil {
		return nil, err
	}
	if err := s.r.defineStream(ctx, d); err != nil {
		return nil, err
	}
	return &analyticsv1.DefineStreamResponse{StreamId: d.ID()}, nil
}

// Get implements analyticsv1.StreamAdminServer.
func (s *streamAdmin) Get(_ context.Context, req *analyticsv1.GetStreamRequest) (*analyticsv1.GetStreamResponse, error) {
	if err := s.tenant(req.GetTenant()); err != nil {
		return nil, err
	}
	have, err := s.r.streams.Get(req.GetStreamId())
	if err != nil {
		return nil, err
	}
	return &analyticsv1.GetStreamResponse{Definition: have.Definition.Proto()}, nil
}

// List implements analyticsv1.StreamAdminServer.
func (s *streamAdmin) List(_ context.Context, req *analyticsv1.ListStreamsRequest) (*analyticsv1.ListStreamsResponse, error) {
	if err := s.tenant(req.GetTenant()); err != nil {
		return nil, err
	}
	all, _ := s.r.streams.Streams()
	resp := &analyticsv1.ListStreamsResponse{}
	for _, have := range all {
		resp.Definitions = append(resp.Definitions, have.Definition.Proto())
	}
	return resp, nil
}

// Delete implements analyticsv1.StreamAdminServer.
func (s *streamAdmin) Delete(ctx context.Context, req *analyticsv1.DeleteStreamRequest) (*analyticsv1.DeleteStreamResponse, error) {
	if err := s.tenant(req.GetTenant()); err != nil {
		return nil, err
	}
	existed, err := s.r.deleteStream(ctx, req.GetStreamId())
	if err != nil {
		return nil, err
	}
	return &analyticsv1.DeleteStreamResponse{Existed: existed}, nil
}

// Watch implements analyticsv1.StreamAdminServer. It is level-triggered: changes that follow fast on each other may be joined. It ends when
// another process takes over; that one tells all anew.
func (s *streamAdmin) Watch(req *analyticsv1.WatchStreamsRequest, stream grpc.ServerStreamingServer[analyticsv1.WatchStreamsResponse]) error {
	if err := s.tenant(req.GetTenant()); err != nil {
		return err
	}
	sent := map[string]*catalog.Stream{}
	for first := true; ; first = false {
		all, changed := s.r.streams.Streams()
		present := map[string]bool{}
		for _, have := range all {
			present[have.ID] = true
			if sent[have.ID] == have {
				continue
			}
			sent[have.ID] = have
			if err := stream.Send(&analyticsv1.WatchStreamsResponse{Definition: have.Definition.Proto()}); err != nil {
				return err
			}
		}
		for id, gone := range sent {
			if present[id] {
				continue
			}
			delete(sent, id)
			if err := stream.Send(&analyticsv1.WatchStreamsResponse{Definition: gone.Definition.Proto(), Removed: true}); err != nil {
				return err
			}
		}
		if first {
			if err := stream.Send(&analyticsv1.WatchStreamsResponse{Synced: true}); err != nil {
				return err
			}
		}
		select {
		case <-changed:
		case <-component.Draining(stream.Context()):
			return nil
		case <-stream.Context().Done():
			return nil
		case <-s.r.c.Context().Done():
			return nil
		}
	}
}
