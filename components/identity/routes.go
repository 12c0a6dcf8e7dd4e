package identity

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"carbonado.dev/carbonado/components/identity/account"
	"carbonado.dev/carbonado/components/identity/authority"
	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/component"
	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
)

// manageUsers is the permission to see and change users and roles, as in Carbon.
const manageUsers = "/permission/admin/configure/security/usermgt"

// maxBody bounds the body of a request.
const maxBody = 64 << 10

var (
	errForbidden = cause.Define("CBN-ID-013", "The user may not do this.",
		"Ask an administrator for a role with the permission that is named.").Code(codes.PermissionDenied)
	errBody = cause.Define("CBN-ID-014", "The body of the request is not what is expected.",
		"Send the JSON object that README.md of Identity describes.").Code(codes.InvalidArgument)
)

// userJSON and roleJSON are users and roles as they are shown and given.
type userJSON struct {
	Name  string   `json:"name"`
	Roles []string `json:"roles"`
}

type roleJSON struct {
	Name        string   `json:"name"`
	Permissions []string `json:"permissions"`
}

// routes serves /identity.
func (s *service) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /identity/me", s.me)
	mux.HandleFunc("POST /identity/password", s.password)
	mux.HandleFunc("GET /identity/users", s.guarded(s.listUsers))
	mux.HandleFunc("PUT /identity/users/{name}", s.guarded(s.putUser))
	mux.HandleFunc("DELETE /identity/users/{name}", s.guarded(s.deleteUser))
	mux.HandleFunc("GET /identity/roles", s.guarded(s.listRoles))
	mux.HandleFunc("PUT /identity/roles/{name}", s.guarded(s.putRole))
	mux.HandleFunc("DELETE /identity/roles/{name}", s.guarded(s.deleteRole))
	return mux
}

// guarded lets only those in who may manage users.
func (s *service) guarded(handle http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		principal := component.PrincipalFrom(r.Context())
		if !component.Granted(principal, manageUsers) {
			fail(w, errForbidden.New("user %s lacks the permission %s", principal.GetUser(), manageUsers))
			return
		}
		handle(w, r)
	}
}

func (s *service) me(w http.ResponseWriter, r *http.Request) {
	p := component.PrincipalFrom(r.Context())
	answer(w, struct {
		User        string   `json:"user"`
		Tenant      int32    `json:"tenant"`
		Roles       []string `json:"roles"`
		Permissions []string `json:"permissions"`
		Via         string   `json:"via"`
	}{p.GetUser(), p.GetTenant(), list(p.GetRoles()), list(p.GetPermissions()), p.GetVia()})
}

// password changes the caller's own password. Who may manage users need not know the present one: that right lets them set
// any password, and a person who came by a one-time link has none yet.
func (s *service) password(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Current string `json:"current"`
		New     string `json:"new"`
	}
	if err := read(w, r, &body); err != nil {
		fail(w, err)
		return
	}
	p := component.PrincipalFrom(r.Context())
	if !component.Granted(p, manageUsers) || body.Current != "" {
		if _, err := s.authority.Basic(r.Context(), authority.Basic{Username: p.GetUser(), Password: body.Current, Address: hostOf(r.RemoteAddr)}); err != nil {
			// 403 and not 401: the person is signed in, and browsers would ask for a password on 401.
			fail(w, errForbidden.Wrap(err, "the present password"))
			return
		}
	}
	if err := s.authority.SetPassword(r.Context(), p.GetUser(), body.New); err != nil {
		fail(w, err)
		return
	}
	s.log.Info("changed a password", "user", p.GetUser())
	done(w, "The password is changed. Sign in again.")
}

func (s *service) listUsers(w http.ResponseWriter, r *http.Request) {
	all, err := s.authority.Users(r.Context())
	if err != nil {
		fail(w, err)
		return
	}
	out := make([]userJSON, 0, len(all))
	for _, u := range all {
		out = append(out, userJSON{u.Name, list(u.Roles)})
	}
	answer(w, out)
}

func (s *service) putUser(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Roles        []string `json:"roles"`
		Password     string   `json:"password"`
		PasswordHash string   `json:"passwordHash"`
	}
	if err := read(w, r, &body); err != nil {
		fail(w, err)
		return
	}
	change := authority.Change{Name: r.PathValue("name"), Roles: body.Roles, Password: body.Password, Hash: body.PasswordHash}
	if err := s.authority.PutUser(r.Context(), change); err != nil {
		fail(w, err)
		return
	}
	s.log.Info("changed a user", "user", change.Name, "roles", change.Roles, "by", component.PrincipalFrom(r.Context()).GetUser())
	done(w, "User "+change.Name+" is stored.")
}

func (s *service) deleteUser(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if err := s.authority.DeleteUser(r.Context(), name); err != nil {
		fail(w, err)
		return
	}
	s.log.Info("removed a user", "user", name, "by", component.PrincipalFrom(r.Context()).GetUser())
	done(w, "User "+name+" is removed.")
}

func (s *service) listRoles(w http.ResponseWriter, r *http.Request) {
	all, err := s.authority.Roles(r.Context())
	if err != nil {
		fail(w, err)
		return
	}
	out := make([]roleJSON, 0, len(all))
	for _, role := range all {
		out = append(out, roleJSON{role.Name, list(role.Permissions)})
	}
	answer(w, out)
}

func (s *service) putRole(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Permissions []string `json:"permissions"`
	}
	if err := read(w, r, &body); err != nil {
		fail(w, err)
		return
	}
	name := r.PathValue("name")
	if err := s.authority.PutRole(r.Context(), account.Role{Name: name, Permissions: body.Permissions}); err != nil {
		fail(w, err)
		return
	}
	s.log.Info("changed a role", "role", name, "permissions", body.Permissions, "by", component.PrincipalFrom(r.Context()).GetUser())
	done(w, "Role "+name+" is stored.")
}

func (s *service) deleteRole(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if err := s.authority.DeleteRole(r.Context(), name); err != nil {
		fail(w, err)
		return
	}
	s.log.Info("removed a role", "role", name, "by", component.PrincipalFrom(r.Context()).GetUser())
	done(w, "Role "+name+" is removed.")
}

// read decodes one JSON object and refuses unknown keys and anything after it.
func read(w http.ResponseWriter, r *http.Request, into any) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return errBody.New("the body is not the expected JSON object: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errBody.New("the body has more than one JSON object")
	}
	return nil
}

func answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(body) // fails only if the reader has gone
}

func done(w http.ResponseWriter, message string) {
	answer(w, map[string]string{"status": "success", "message": message})
}

// fail answers an error as JSON with its cause.
func fail(w http.ResponseWriter, err error) {
	c := cause.Proto(err)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(httpStatus(status.Code(cause.From(err))))
	_ = json.NewEncoder(w).Encode(map[string]any{"status": "failed", "message": c.Text, "cause": causeJSON(c)})
}

// causeJSON is a cause as SEAMS.md section 7 has it: all four keys, always.
func causeJSON(c *commonv1.Cause) map[string]any {
	chain := make([]map[string]any, 0, len(c.Chain))
	for _, reason := range c.Chain {
		chain = append(chain, causeJSON(reason))
	}
	return map[string]any{"code": c.Code, "text": c.Text, "chain": chain, "fix": c.Fix}
}

func httpStatus(code codes.Code) int {
	switch code {
	case codes.InvalidArgument:
		return http.StatusBadRequest
	case codes.Unauthenticated:
		return http.StatusUnauthorized
	case codes.PermissionDenied:
		return http.StatusForbidden
	case codes.NotFound:
		return http.StatusNotFound
	case codes.FailedPrecondition:
		return http.StatusConflict
	case codes.ResourceExhausted:
		return http.StatusTooManyRequests
	case codes.Unavailable, codes.DeadlineExceeded:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// list makes nil an empty array in JSON.
func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
