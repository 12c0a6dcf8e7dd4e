// Package identity is the component Identity: it serves the Authenticator, Authorizer and Users services and /identity from one
// account store. It must not know who asks for what, the gateway and the receivers included.
package identity

import (
	"context"
	"net"
	"path/filepath"
	"time"

	"google.golang.org/grpc/metadata"

	"carbonado.dev/carbonado/components/identity/account"
	"carbonado.dev/carbonado/components/identity/authority"
	"carbonado.dev/sdk/component"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

// Options are the component's CLI verbs: none.
var Options []component.Option

// RemoteAddress is the gRPC metadata key under which a caller names the address that the credentials came from.
const RemoteAddress = "carbonado-remote-address"

// Start makes the component.
func Start(c *component.C) error {
	var config struct {
		AdminPassword string `json:"adminPassword"`
	}
	if err := c.Config(&config); err != nil {
		return err
	}
	s := &service{
		log:   c.Log(),
		path:  filepath.Join(c.DataFolder(), "identity.db"),
		first: firstPassword{given: config.AdminPassword, file: filepath.Join(c.RepositoryFolder(), "data", initialPassword), own: filepath.Join(c.DataFolder(), initialPassword)},
	}
	c.Manage(s)
	analyticsv1.RegisterAuthenticatorServer(c, &authenticator{service: s})
	analyticsv1.RegisterAuthorizerServer(c, &authorizer{service: s})
	analyticsv1.RegisterUsersServer(c, &users{service: s})
	component.ServeHTTP(c, "/identity", s.routes())
	return nil
}

// Acquire opens the store and makes the first administrator. Services are published after it.
func (s *service) Acquire(ctx context.Context) error {
	store, err := account.Open(ctx, s.path)
	if err != nil {
		return authority.ErrStore.Wrap(err, "%s", s.path)
	}
	s.store = store
	s.authority = authority.New(store, time.Now)
	made, err := s.authority.First(ctx, s.first.take)
	if err != nil {
		return err
	}
	switch {
	case made && s.first.written:
		s.log.Info("made the first administrator; the password is in the file", "user", authority.FirstAdmin, "file", "repository/data/"+initialPassword)
	case made:
		s.log.Info("made the first administrator with the password that was given", "user", authority.FirstAdmin)
	}
	return nil
}

// Release closes the store. Calls under way end first.
func (s *service) Release(context.Context) error {
	if s.store == nil {
		return nil
	}
	return s.store.Close()
}

// remoteAddress is the address that the credentials of a call came from, without port; empty if the caller named none.
func remoteAddress(ctx context.Context) string {
	md, _ := metadata.FromIncomingContext(ctx)
	values := md.Get(RemoteAddress)
	if len(values) == 0 {
		return ""
	}
	return hostOf(values[0])
}

// hostOf takes the port off an address, if it has one.
func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}
