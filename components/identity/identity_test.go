package identity

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"carbonado.dev/carbonado/components/identity/authority"
	"carbonado.dev/sdk/cause"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
	"carbonado.dev/sdk/sdktest"
)

const first = "first-password"

type node struct {
	*sdktest.Component
	kernel *sdktest.Kernel
	auth   analyticsv1.AuthenticatorClient
}

func start(t *testing.T, opts ...sdktest.Option) node {
	t.Helper()
	k := sdktest.NewKernel(t)
	c := k.Start(Start, opts...)
	return node{c, k, analyticsv1.NewAuthenticatorClient(c.Conn(analyticsv1.Authenticator_ServiceDesc.ServiceName))}
}

func given(t *testing.T) node {
	return start(t, sdktest.WithConfig(map[string]any{"adminPassword": first}))
}

func basicRequest(user, secret string) *analyticsv1.AuthenticateRequest {
	return &analyticsv1.AuthenticateRequest{Credentials: &analyticsv1.AuthenticateRequest_Basic{Basic: &analyticsv1.BasicCredentials{Username: user, Password: secret}}}
}

func openRequest(user, secret string) *analyticsv1.OpenSessionRequest {
	return &analyticsv1.OpenSessionRequest{Credentials: &analyticsv1.OpenSessionRequest_Basic{Basic: &analyticsv1.BasicCredentials{Username: user, Password: secret}}}
}

func (n node) initialPassword() string {
	return filepath.Join(n.kernel.Dir(), "repository", "data", initialPassword)
}

func TestFirstPasswordIsMadeWrittenAndRemoved(t *testing.T) {
	n := start(t)
	info, err := os.Stat(n.initialPassword())
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	raw, err := os.ReadFile(n.initialPassword())
	if err != nil {
		t.Fatal(err)
	}
	secret := strings.TrimSpace(string(raw))
	if len(secret) < 20 {
		t.Errorf("the first password has %d characters", len(secret))
	}
	if _, err := n.auth.Authenticate(t.Context(), basicRequest("admin", secret)); err != nil {
		t.Fatalf("with the password of the file: %v", err)
	}
	if _, err := os.Stat(n.initialPassword()); err != nil {
		t.Errorf("a REST client's sign-in removed the file: %v", err)
	}
	if _, err := n.auth.OpenSession(t.Context(), openRequest("admin", "wrong-password")); err == nil {
		t.Fatal("a wrong password opened a session")
	}
	if _, err := os.Stat(n.initialPassword()); err != nil {
		t.Errorf("a refused sign-in removed the file: %v", err)
	}
	if _, err := n.auth.OpenSession(t.Context(), openRequest("admin", secret)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(n.initialPassword()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(n.initialPassword()), ".initial*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestGivenFirstPasswordIsUsedAtTheFirstStartOnly(t *testing.T) {
	data := t.TempDir()
	n := start(t, sdktest.WithData(data), sdktest.WithConfig(map[string]any{"adminPassword": first}))
	if _, err := os.Stat(n.initialPassword()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a password was written although one was given: %v", err)
	}
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	again := start(t, sdktest.WithData(data), sdktest.WithConfig(map[string]any{"adminPassword": "second-password"}))
	if _, err := again.auth.Authenticate(t.Context(), basicRequest("admin", first)); err != nil {
		t.Errorf("the first password: %v", err)
	}
	if _, err := again.auth.Authenticate(t.Context(), basicRequest("admin", "second-password")); !errors.Is(cause.From(err), authority.ErrCredentials) {
		t.Errorf("the second password: %v", err)
	}
}

func TestFilesHoldNoSecretInClear(t *testing.T) {
	data := t.TempDir()
	n := start(t, sdktest.WithData(data), sdktest.WithConfig(map[string]any{"adminPassword": first}))
	session, err := n.auth.OpenSession(t.Context(), openRequest("admin", first))
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(data, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		for _, secret := range []string{first, session.Session} {
			if bytes.Contains(content, []byte(secret)) {
				t.Errorf("%s holds a secret in clear", path)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestSessionSurvivesARestart(t *testing.T) {
	n := given(t)
	opened, err := n.auth.OpenSession(t.Context(), openRequest("admin@carbon.super", first))
	if err != nil {
		t.Fatal(err)
	}
	if opened.Principal.User != "admin" || opened.ExpiresUnixMs == 0 {
		t.Errorf("opened %v", opened)
	}
	c := n.Restart()
	auth := analyticsv1.NewAuthenticatorClient(c.Conn(analyticsv1.Authenticator_ServiceDesc.ServiceName))
	session := &analyticsv1.AuthenticateRequest{Credentials: &analyticsv1.AuthenticateRequest_Session{Session: opened.Session}}
	if got, err := auth.Authenticate(t.Context(), session); err != nil || got.Principal.User != "admin" {
		t.Fatalf("after a restart: %v, %v", got, err)
	}
	if _, err := auth.CloseSession(t.Context(), &analyticsv1.CloseSessionRequest{Session: opened.Session}); err != nil {
		t.Fatal(err)
	}
	if _, err := auth.Authenticate(t.Context(), session); !errors.Is(cause.From(err), authority.ErrSession) || status.Code(err) != codes.Unauthenticated {
		t.Errorf("after signing out: %v", err)
	}
}

func TestAddressOfTheCallerIsThrottled(t *testing.T) {
	n := given(t)
	from := func(address string) context.Context {
		return metadata.AppendToOutgoingContext(t.Context(), RemoteAddress, address)
	}
	var err error
	for range 11 {
		_, err = n.auth.Authenticate(from("192.0.2.1:4711"), basicRequest("admin", "wrong-password"))
		if !errors.Is(cause.From(err), authority.ErrCredentials) {
			t.Fatal(err)
		}
	}
	_, err = n.auth.Authenticate(from("192.0.2.1:4712"), basicRequest("admin", first))
	if !errors.Is(cause.From(err), authority.ErrThrottled) || status.Code(err) != codes.ResourceExhausted {
		t.Errorf("from the same host: %v", err)
	}
	if _, err = n.auth.Authenticate(from("192.0.2.9:4711"), basicRequest("admin", first)); err != nil {
		t.Errorf("from another host: %v", err)
	}
}

func TestOnlyTheKernelGetsTokens(t *testing.T) {
	n := given(t)
	other := analyticsv1.NewAuthenticatorClient(n.ConnAs("EventReceiver", analyticsv1.Authenticator_ServiceDesc.ServiceName))
	req := &analyticsv1.IssueTokenRequest{Purpose: "publish"}
	if _, err := other.IssueToken(t.Context(), req); status.Code(err) != codes.PermissionDenied || !errors.Is(cause.From(err), authority.ErrCaller) {
		t.Errorf("for a component: %v", err)
	}
	token, err := n.auth.IssueToken(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	got, err := other.Authenticate(t.Context(), basicRequest("token", token.Token))
	if err != nil || got.Principal.User != "token" {
		t.Fatalf("%v, %v", got, err)
	}
	may := analyticsv1.NewAuthorizerClient(n.ConnAs("EventReceiver", analyticsv1.Authorizer_ServiceDesc.ServiceName))
	for path, want := range map[string]bool{"/permission/admin/publish/wso2event": true, "/permission/admin/manage": false} {
		if got, err := may.Authorize(t.Context(), &analyticsv1.AuthorizeRequest{Tenant: -1234, User: "token", Permission: path}); err != nil || got.Allowed != want {
			t.Errorf("%s: %v, %v", path, got, err)
		}
	}
	link, err := n.auth.IssueToken(t.Context(), &analyticsv1.IssueTokenRequest{Purpose: "sign-in"})
	if err != nil {
		t.Fatal(err)
	}
	open := &analyticsv1.OpenSessionRequest{Credentials: &analyticsv1.OpenSessionRequest_SignIn{SignIn: link.Token}}
	if got, err := n.auth.OpenSession(t.Context(), open); err != nil || got.Principal.User != "admin" {
		t.Fatalf("%v, %v", got, err)
	}
	if _, err := n.auth.OpenSession(t.Context(), open); !errors.Is(cause.From(err), authority.ErrToken) {
		t.Errorf("the link a second time: %v", err)
	}
}

func TestUsersService(t *testing.T) {
	ctx := t.Context()
	n := given(t)
	users := analyticsv1.NewUsersClient(n.Conn(analyticsv1.Users_ServiceDesc.ServiceName))
	if _, err := users.PutRole(ctx, &analyticsv1.PutRoleRequest{Tenant: -1234, Role: &analyticsv1.Role{Name: "analyst", Permissions: []string{"/permission/admin/manage/analytics"}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := users.PutUser(ctx, &analyticsv1.PutUserRequest{Tenant: -1234, User: &analyticsv1.User{Name: "ada", Roles: []string{"analyst"}}, Password: "ada-password"}); err != nil {
		t.Fatal(err)
	}
	listed, err := users.ListUsers(ctx, &analyticsv1.ListUsersRequest{Tenant: -1234})
	if err != nil || len(listed.Users) != 2 || listed.Users[0].Name != "ada" || strings.Join(listed.Users[0].Roles, ",") != "analyst,everyone" {
		t.Errorf("users %v, %v", listed, err)
	}
	roles, err := users.ListRoles(ctx, &analyticsv1.ListRolesRequest{Tenant: -1234})
	if err != nil || len(roles.Roles) != 3 {
		t.Errorf("roles %v, %v", roles, err)
	}
	got, err := n.auth.Authenticate(ctx, basicRequest("ada", "ada-password"))
	if err != nil || strings.Join(got.Principal.Permissions, ",") != "/permission/admin/manage/analytics" {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := users.DeleteRole(ctx, &analyticsv1.DeleteRoleRequest{Tenant: -1234, Name: "analyst"}); err != nil {
		t.Fatal(err)
	}
	if got, err := n.auth.Authenticate(ctx, basicRequest("ada", "ada-password")); err != nil || len(got.Principal.Permissions) != 0 {
		t.Errorf("a deleted role still grants: %v, %v", got, err)
	}
	if _, err := users.DeleteUser(ctx, &analyticsv1.DeleteUserRequest{Tenant: -1234, Name: "ada"}); err != nil {
		t.Fatal(err)
	}
	if _, err := n.auth.Authenticate(ctx, basicRequest("ada", "ada-password")); !errors.Is(cause.From(err), authority.ErrCredentials) {
		t.Errorf("a deleted user: %v", err)
	}
	for name, call := range map[string]func() error{
		"list users":  func() error { _, err := users.ListUsers(ctx, &analyticsv1.ListUsersRequest{}); return err },
		"put user":    func() error { _, err := users.PutUser(ctx, &analyticsv1.PutUserRequest{Tenant: 1}); return err },
		"delete user": func() error { _, err := users.DeleteUser(ctx, &analyticsv1.DeleteUserRequest{Tenant: 1}); return err },
		"list roles":  func() error { _, err := users.ListRoles(ctx, &analyticsv1.ListRolesRequest{}); return err },
		"put role":    func() error { _, err := users.PutRole(ctx, &analyticsv1.PutRoleRequest{Tenant: 1}); return err },
		"delete role": func() error { _, err := users.DeleteRole(ctx, &analyticsv1.DeleteRoleRequest{Tenant: 1}); return err },
	} {
		if err := call(); !errors.Is(cause.From(err), authority.ErrTenant) || status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s of another tenant: %v", name, err)
		}
	}
}

// call makes a request as a principal and answers status and body.
func (n node) call(t *testing.T, p *commonv1.Principal, method, path, body string) (int, map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "https://node"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := n.HTTP(p).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if json.Unmarshal(raw, &out) != nil {
		var list []any
		if err := json.Unmarshal(raw, &list); err == nil {
			out = map[string]any{"list": list}
		}
	}
	return resp.StatusCode, out
}

func TestRoutes(t *testing.T) {
	n := given(t)
	admin := sdktest.Admin()
	ada := &commonv1.Principal{User: "ada", Tenant: -1234, Roles: []string{"everyone"}, Via: "session"}
	for _, tc := range []struct {
		who          *commonv1.Principal
		method, path string
		body         string
		want         int
		code         string
	}{
		{admin, "PUT", "/identity/roles/analyst", `{"permissions":["/permission/admin/manage/analytics"]}`, 200, ""},
		{admin, "PUT", "/identity/users/ada", `{"roles":["analyst"],"password":"ada-password"}`, 200, ""},
		{admin, "GET", "/identity/users", "", 200, ""},
		{admin, "GET", "/identity/roles", "", 200, ""},
		{admin, "PUT", "/identity/users/ada", `{"roles":["analyst"],"passwordHash":"md5"}`, 400, "CBN-ID-008"},
		{admin, "PUT", "/identity/users/ada", `{"admin":true}`, 400, "CBN-ID-014"},
		{admin, "PUT", "/identity/users/ada", `{} {}`, 400, "CBN-ID-014"},
		{admin, "PUT", "/identity/users/ada", `{`, 400, "CBN-ID-014"},
		{admin, "PUT", "/identity/users/ada", `{"password":"` + strings.Repeat("x", maxBody) + `"}`, 400, "CBN-ID-014"},
		{admin, "DELETE", "/identity/users/admin", "", 409, "CBN-ID-010"},
		{admin, "PUT", "/identity/roles/admin", `{"permissions":[]}`, 409, "CBN-ID-010"},
		{ada, "GET", "/identity/users", "", 403, "CBN-ID-013"},
		{ada, "PUT", "/identity/users/eve", `{"password":"eve-password"}`, 403, "CBN-ID-013"},
		{ada, "PUT", "/identity/roles/analyst", `{"permissions":["/permission"]}`, 403, "CBN-ID-013"},
		{ada, "DELETE", "/identity/users/ada", "", 403, "CBN-ID-013"},
		{nil, "GET", "/identity/users", "", 403, "CBN-ID-013"},
		{ada, "GET", "/identity/me", "", 200, ""},
		{ada, "POST", "/identity/password", `{"new":"ada-password-2"}`, 403, "CBN-ID-013"},
		{ada, "POST", "/identity/password", `{"current":"wrong-password","new":"ada-password-2"}`, 403, "CBN-ID-013"},
		{ada, "POST", "/identity/password", `{"current":"ada-password","new":"short"}`, 400, "CBN-ID-008"},
		{ada, "POST", "/identity/password", `{"current":"ada-password","new":"ada-password-2"}`, 200, ""},
		{admin, "POST", "/identity/password", `{"new":"a-password-of-my-own"}`, 200, ""},
		{admin, "DELETE", "/identity/users/ada", "", 200, ""},
		{admin, "DELETE", "/identity/roles/analyst", "", 200, ""},
	} {
		got, body := n.call(t, tc.who, tc.method, tc.path, tc.body)
		if got != tc.want {
			t.Errorf("%s %s %.60s: %d %v, want %d", tc.method, tc.path, tc.body, got, body, tc.want)
			continue
		}
		if tc.code == "" {
			continue
		}
		why, _ := body["cause"].(map[string]any)
		if body["status"] != "failed" || body["message"] == "" || why["code"] != tc.code || why["fix"] == "" {
			t.Errorf("%s %s %.60s: body %v, want code %s", tc.method, tc.path, tc.body, body, tc.code)
		}
	}
	if _, err := n.auth.Authenticate(t.Context(), basicRequest("admin", "a-password-of-my-own")); err != nil {
		t.Errorf("the new password: %v", err)
	}
	if _, err := n.auth.Authenticate(t.Context(), basicRequest("ada", "ada-password-2")); err == nil {
		t.Error("a deleted user gets in")
	}
}
