package identity

import (
	"context"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"carbonado.dev/carbonado/components/identity/account"
	"carbonado.dev/carbonado/components/identity/authority"
	"carbonado.dev/sdk/component"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
)

// service is what the gRPC services and the routes share. store and authority are set by Acquire, before anybody is let in.
type service struct {
	log       hclog.Logger
	path      string
	first     firstPassword
	store     *account.Store
	authority *authority.Authority
}

// note logs who got in and who did not, without anything that was secret. A name that was refused may be a password typed
// into the wrong field: it is logged only if it is a user's.
func (s *service) note(ctx context.Context, how, user, address string, err error) {
	if err == nil {
		s.log.Debug("signed in", "how", how, "user", user, "address", address)
		return
	}
	name, _, _ := strings.Cut(user, "@")
	if _, _, unknown := s.store.User(ctx, name); unknown != nil {
		name = "(unknown)"
	}
	s.log.Warn("sign-in refused", "how", how, "user", name, "address", address, "error", err)
}

type authenticator struct {
	analyticsv1.UnimplementedAuthenticatorServer
	*service
}

// Authenticate checks credentials of any kind.
func (s *authenticator) Authenticate(ctx context.Context, req *analyticsv1.AuthenticateRequest) (*analyticsv1.AuthenticateResponse, error) {
	var principal *commonv1.Principal
	var err error
	switch c := req.Credentials.(type) {
	case *analyticsv1.AuthenticateRequest_Basic:
		address := remoteAddress(ctx)
		principal, err = s.authority.Basic(ctx, authority.Basic{Username: c.Basic.GetUsername(), Password: c.Basic.GetPassword(), Address: address})
		s.note(ctx, "basic", c.Basic.GetUsername(), address, err)
	case *analyticsv1.AuthenticateRequest_Session:
		principal, err = s.authority.Session(ctx, c.Session)
	case *analyticsv1.AuthenticateRequest_Bearer:
		principal, err = s.authority.Bearer(ctx, c.Bearer)
	default:
		err = authority.ErrCredentials.New("no credentials were given")
	}
	if err != nil {
		return nil, err
	}
	return &analyticsv1.AuthenticateResponse{Principal: principal}, nil
}

// OpenSession signs a person in. The first one to sign in as the first administrator ends the life of the file with the
// first password.
func (s *authenticator) OpenSession(ctx context.Context, req *analyticsv1.OpenSessionRequest) (*analyticsv1.OpenSessionResponse, error) {
	var session authority.Session
	var err error
	address := remoteAddress(ctx)
	switch c := req.Credentials.(type) {
	case *analyticsv1.OpenSessionRequest_Basic:
		session, err = s.authority.SignIn(ctx, authority.Basic{Username: c.Basic.GetUsername(), Password: c.Basic.GetPassword(), Address: address})
		s.note(ctx, "password", c.Basic.GetUsername(), address, err)
	case *analyticsv1.OpenSessionRequest_SignIn:
		session, err = s.authority.SignInOnce(ctx, c.SignIn)
		s.note(ctx, "one-time link", session.Principal.GetUser(), address, err)
	default:
		err = authority.ErrCredentials.New("no credentials were given")
	}
	if err != nil {
		return nil, err
	}
	if session.Principal.User == authority.FirstAdmin {
		removed, err := s.first.remove()
		if err != nil {
			s.log.Warn("the file with the first password cannot be removed", "file", s.first.file, "error", err)
		} else if removed {
			s.log.Info("removed the file with the first password: its owner has signed in")
		}
	}
	return &analyticsv1.OpenSessionResponse{Session: session.Secret, Principal: session.Principal, ExpiresUnixMs: session.Expires.UnixMilli()}, nil
}

// CloseSession signs a person out.
func (s *authenticator) CloseSession(ctx context.Context, req *analyticsv1.CloseSessionRequest) (*analyticsv1.CloseSessionResponse, error) {
	if err := s.authority.SignOut(ctx, req.Session); err != nil {
		return nil, err
	}
	return &analyticsv1.CloseSessionResponse{}, nil
}

// IssueToken makes a credential for the kernel, and for nobody else: who may ask for one may sign in as anybody.
func (s *authenticator) IssueToken(ctx context.Context, req *analyticsv1.IssueTokenRequest) (*analyticsv1.IssueTokenResponse, error) {
	if caller := component.CallerFrom(ctx); caller != "kernel" {
		return nil, authority.ErrCaller.New("%q asked for a token", caller)
	}
	token, expires, err := s.authority.Issue(ctx, req.Purpose, req.User, time.Duration(req.TtlMs)*time.Millisecond)
	if err != nil {
		return nil, err
	}
	s.log.Info("made a token", "purpose", req.Purpose, "user", req.User, "expires", expires.UTC().Format(time.RFC3339))
	return &analyticsv1.IssueTokenResponse{Token: token, ExpiresUnixMs: expires.UnixMilli()}, nil
}

type authorizer struct {
	analyticsv1.UnimplementedAuthorizerServer
	*service
}

// Authorize answers one permission question.
func (s *authorizer) Authorize(ctx context.Context, req *analyticsv1.AuthorizeRequest) (*analyticsv1.AuthorizeResponse, error) {
	if err := tenant(req.Tenant); err != nil {
		return nil, err
	}
	allowed, err := s.authority.Allowed(ctx, req.User, req.Permission)
	if err != nil {
		return nil, err
	}
	return &analyticsv1.AuthorizeResponse{Allowed: allowed}, nil
}

type users struct {
	analyticsv1.UnimplementedUsersServer
	*service
}

// ListUsers lists users by name.
func (s *users) ListUsers(ctx context.Context, req *analyticsv1.ListUsersRequest) (*analyticsv1.ListUsersResponse, error) {
	if err := tenant(req.Tenant); err != nil {
		return nil, err
	}
	all, err := s.authority.Users(ctx)
	if err != nil {
		return nil, err
	}
	resp := &analyticsv1.ListUsersResponse{}
	for _, u := range all {
		resp.Users = append(resp.Users, &analyticsv1.User{Name: u.Name, Roles: u.Roles})
	}
	return resp, nil
}

// PutUser makes or changes a user.
func (s *users) PutUser(ctx context.Context, req *analyticsv1.PutUserRequest) (*analyticsv1.PutUserResponse, error) {
	if err := tenant(req.Tenant); err != nil {
		return nil, err
	}
	change := authority.Change{Name: req.User.GetName(), Roles: req.User.GetRoles(), Password: req.Password}
	if err := s.authority.PutUser(ctx, change); err != nil {
		return nil, err
	}
	s.log.Info("changed a user", "user", req.User.GetName(), "roles", req.User.GetRoles(), "password", req.Password != "")
	return &analyticsv1.PutUserResponse{}, nil
}

// DeleteUser removes a user.
func (s *users) DeleteUser(ctx context.Context, req *analyticsv1.DeleteUserRequest) (*analyticsv1.DeleteUserResponse, error) {
	if err := tenant(req.Tenant); err != nil {
		return nil, err
	}
	if err := s.authority.DeleteUser(ctx, req.Name); err != nil {
		return nil, err
	}
	s.log.Info("removed a user", "user", req.Name)
	return &analyticsv1.DeleteUserResponse{}, nil
}

// ListRoles lists roles by name.
func (s *users) ListRoles(ctx context.Context, req *analyticsv1.ListRolesRequest) (*analyticsv1.ListRolesResponse, error) {
	if err := tenant(req.Tenant); err != nil {
		return nil, err
	}
	all, err := s.authority.Roles(ctx)
	if err != nil {
		return nil, err
	}
	resp := &analyticsv1.ListRolesResponse{}
	for _, r := range all {
		resp.Roles = append(resp.Roles, &analyticsv1.Role{Name: r.Name, Permissions: r.Permissions})
	}
	return resp, nil
}

// PutRole makes or changes a role.
func (s *users) PutRole(ctx context.Context, req *analyticsv1.PutRoleRequest) (*analyticsv1.PutRoleResponse, error) {
	if err := tenant(req.Tenant); err != nil {
		return nil, err
	}
	if err := s.authority.PutRole(ctx, account.Role{Name: req.Role.GetName(), Permissions: req.Role.GetPermissions()}); err != nil {
		return nil, err
	}
	s.log.Info("changed a role", "role", req.Role.GetName(), "permissions", req.Role.GetPermissions())
	return &analyticsv1.PutRoleResponse{}, nil
}

// DeleteRole removes a role.
func (s *users) DeleteRole(ctx context.Context, req *analyticsv1.DeleteRoleRequest) (*analyticsv1.DeleteRoleResponse, error) {
	if err := tenant(req.Tenant); err != nil {
		return nil, err
	}
	if err := s.authority.DeleteRole(ctx, req.Name); err != nil {
		return nil, err
	}
	s.log.Info("removed a role", "role", req.Name)
	return &analyticsv1.DeleteRoleResponse{}, nil
}

func tenant(id int32) error {
	if id != authority.Tenant {
		return authority.ErrTenant.New("tenant %d", id)
	}
	return nil
}
