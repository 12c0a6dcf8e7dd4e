package deploy

import (
	"context"

	kernelv1 "carbonado.dev/sdk/proto/carbonado/kernel/v1"
)

// Server is kernelv1.Artifacts on top of an Artifacts. Errors are causes, which travel with their own status code.
type Server struct {
	kernelv1.UnimplementedArtifactsServer
	artifacts Artifacts
}

// NewServer makes the gRPC face of a.
func NewServer(a Artifacts) *Server { return &Server{artifacts: a} }

// Put implements kernelv1.ArtifactsServer.
func (s *Server) Put(ctx context.Context, r *kernelv1.PutArtifactRequest) (*kernelv1.PutArtifactResponse, error) {
	a, err := s.artifacts.Put(ctx, PutRequest{Type: r.Type, Name: r.Name, Content: r.Content, CreateOnly: r.CreateOnly})
	if err != nil {
		return nil, err
	}
	return &kernelv1.PutArtifactResponse{Artifact: a.info()}, nil
}

// Remove implements kernelv1.ArtifactsServer.
func (s *Server) Remove(ctx context.Context, r *kernelv1.RemoveArtifactRequest) (*kernelv1.RemoveArtifactResponse, error) {
	if err := s.artifacts.Remove(ctx, r.Type, r.Name); err != nil {
		return nil, err
	}
	return &kernelv1.RemoveArtifactResponse{}, nil
}

// List implements kernelv1.ArtifactsServer.
func (s *Server) List(_ context.Context, r *kernelv1.ListArtifactsRequest) (*kernelv1.ListArtifactsResponse, error) {
	resp := &kernelv1.ListArtifactsResponse{}
	for _, a := range s.artifacts.List(r.Type) {
		resp.Artifacts = append(resp.Artifacts, a.info())
	}
	return resp, nil
}

func (a Artifact) info() *kernelv1.ArtifactInfo {
	return &kernelv1.ArtifactInfo{
		Path: a.Path, Type: a.Type, Name: a.Name, State: string(a.State), Revision: a.Revision, Digest: a.Digest, Owner: a.Owner,
		SinceUnixMs: a.Since.UnixMilli(), Cause: a.Cause,
	}
}
