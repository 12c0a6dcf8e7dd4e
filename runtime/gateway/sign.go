package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"google.golang.org/grpc/metadata"

	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

const (
	// maxSignIn is the largest body of a sign-in, in bytes.
	maxSignIn = 64 << 10
	// maxTo is the longest address to return to after signing in.
	maxTo = 2048
)

// signInForm is what POST /signin takes, as JSON or as a form: a user and a password, or the token of a sign-in link.
type signInForm struct {
	Username string `json:"username"`
	Password string `json:"password"`
	Token    string `json:"token"`
	// To is where the browser goes afterwards: a path of this server.
	To string `json:"to"`
}

// signedIn is what POST /signin answers to programs.
type signedIn struct {
	User    string    `json:"user"`
	Expires time.Time `json:"expires"`
}

// signIn shows the form (GET, which changes nothing, so that whatever fetches links ahead can't use up a token) or opens a
// session (POST).
func (g *Gateway) signIn(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		q := r.URL.Query()
		f := signInForm{Token: q.Get("token"), To: local(q.Get("to"))}
		if g.routes.Load().has(loginPrefix) {
			to := url.Values{"to": {f.To}}
			if f.Token != "" {
				to.Set("token", f.Token)
			}
			see(w, loginPrefix+"?"+to.Encode())
			return
		}
		g.form(w, r, f, nil)
	case http.MethodPost:
		f, err := readForm(w, r)
		if err == nil {
			err = g.openSession(w, r, f)
		}
		if err != nil {
			g.signInFailed(w, r, f, err)
		}
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		fail(w, ErrMethod.New("the method %s of %s", r.Method, signInPath))
	}
}

func readForm(w http.ResponseWriter, r *http.Request) (signInForm, error) {
	var f signInForm
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(authTimeout))
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxSignIn))
	if err != nil {
		return f, ErrSignIn.Wrap(err, "the body can't be read")
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch kind {
	case "application/json":
		d := json.NewDecoder(strings.NewReader(string(data)))
		d.DisallowUnknownFields()
		if err := d.Decode(&f); err != nil {
			return signInForm{}, ErrSignIn.New("the body is not the expected JSON")
		}
	case "application/x-www-form-urlencoded":
		v, err := url.ParseQuery(string(data))
		if err != nil {
			return f, ErrSignIn.New("the body is no form")
		}
		f = signInForm{Username: v.Get("username"), Password: v.Get("password"), Token: v.Get("token"), To: v.Get("to")}
	default:
		return f, ErrSignIn.New("a body of type %.80q", kind)
	}
	f.To = local(f.To)
	if f.Token == "" && (f.Username == "" || f.Password == "") {
		return f, ErrSignIn.New("a user name or a password is missing")
	}
	return f, nil
}

func (g *Gateway) openSession(w http.ResponseWriter, r *http.Request, f signInForm) error {
	client, err := g.authenticator()
	if err != nil {
		return err
	}
	request, user := &analyticsv1.OpenSessionRequest{}, f.Username
	if f.Token != "" {
		request.Credentials, user = &analyticsv1.OpenSessionRequest_SignIn{SignIn: f.Token}, "\x00sign-in link"
	} else {
		request.Credentials = &analyticsv1.OpenSessionRequest_Basic{Basic: &analyticsv1.BasicCredentials{Username: f.Username, Password: f.Password}}
	}
	address := hostOf(r.RemoteAddr)
	if err := g.mayTry(address, user); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(r.Context(), remoteAddress, address), authTimeout)
	defer cancel()
	resp, err := client.OpenSession(ctx, request)
	if err != nil {
		g.noteFailure(r, user, err)
		return authError(err)
	}
	if old, err := r.Cookie(sessionCookie); err == nil && old.Value != "" && old.Value != resp.Session {
		// The session that the browser had is replaced, not left behind; if that fails it ends by itself.
		_, _ = client.CloseSession(ctx, &analyticsv1.CloseSessionRequest{Session: old.Value})
	}
	http.SetCookie(w, cookie(resp.Session))
	g.log.Info("signed in", "user", resp.GetPrincipal().GetUser(), "address", address)
	if wantsJSON(r) {
		writeJSON(w, signedIn{User: resp.GetPrincipal().GetUser(), Expires: time.UnixMilli(resp.ExpiresUnixMs).UTC()})
		return nil
	}
	see(w, f.To)
	return nil
}

func (g *Gateway) signInFailed(w http.ResponseWriter, r *http.Request, f signInForm, err error) {
	var t throttled
	if errors.As(err, &t) {
		retryAfter(w.Header(), t.wait)
	}
	if wantsJSON(r) {
		fail(w, err)
		return
	}
	f.Password = ""
	if statusOf(err) == http.StatusUnauthorized {
		f.Token = "" // spent or wrong: the form for a password is of more use
	}
	g.form(w, r, f, err)
}

// signOut ends the session, if there is one.
func (g *Gateway) signOut(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		fail(w, ErrMethod.New("the method %s of %s", r.Method, signOutPath))
		return
	}
	if c, err := r.Cookie(sessionCookie); err == nil && c.Value != "" {
		client, err := g.authenticator()
		if err == nil {
			ctx, cancel := context.WithTimeout(r.Context(), authTimeout)
			defer cancel()
			_, err = client.CloseSession(ctx, &analyticsv1.CloseSessionRequest{Session: c.Value})
		}
		clearCookie(w)
		if err != nil {
			fail(w, authError(err))
			return
		}
	}
	if wantsJSON(r) {
		writeJSON(w, struct{}{})
		return
	}
	see(w, signInPath)
}

func cookie(session string) *http.Cookie {
	return &http.Cookie{Name: sessionCookie, Value: session, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
}

func clearCookie(w http.ResponseWriter) {
	c := cookie("")
	c.MaxAge = -1
	http.SetCookie(w, c)
}

// local keeps addresses of this server and makes everything else "/".
func local(to string) string {
	u, err := url.Parse(to)
	if err != nil || len(to) > maxTo || u.Scheme != "" || u.Host != "" || u.Opaque != "" || u.User != nil || checkPath(u.Path) != nil {
		return "/"
	}
	for i := range len(to) {
		if to[i] <= ' ' || to[i] == 0x7f || to[i] == '\\' {
			return "/"
		}
	}
	if below(u.Path, signInPath) || below(u.Path, signOutPath) || below(u.Path, loginPrefix) {
		return "/"
	}
	return u.String()
}

// wantsJSON tells programs and scripts from forms.
func wantsJSON(r *http.Request) bool {
	accept := r.Header.Get("Accept")
	if strings.Contains(accept, "text/html") {
		return false
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return strings.Contains(accept, "application/json") || kind == "application/json"
}

func writeJSON(w http.ResponseWriter, v any) {
	secure(w.Header())
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(v) // the visitor may be gone
}
