//go:build ui

package portal

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"carbonado.dev/carbonado/components/portal/rest/resttest"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	"carbonado.dev/sdk/sdktest"
)

// TestPage looks at the built page with Chromium, against the real Portal and a stand-in for what lies around it. The same
// steps run against a whole server with e2e/run.sh; here the runtime is in states that a healthy server does not show.
func TestPage(t *testing.T) {
	store := resttest.New()
	n := start(t, store, nil)
	sample, err := os.ReadFile("../../repository/deployment/server/dashboards/smart-home.json")
	if err != nil {
		t.Fatal(err)
	}
	n.kernel.MustDeploy("dashboards/smart-home.json", string(sample))

	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	home := newHome(store)
	wg.Go(func() { home.run(ctx) })
	server := httptest.NewTLSServer(surroundings(n, home))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		stop()
		wg.Wait()
	})

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "e2e/run.sh")
	cmd.Env = append(os.Environ(), "CARBONADO_URL="+server.URL, "CARBONADO_USER=admin", "CARBONADO_PASSWORD="+pagePassword,
		"CARBONADO_LINK="+server.URL+"/login?token=once", "CARBONADO_DISABLED=Indexing")
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}

const pagePassword = "page-password"

// home makes readings of smart homes.
type home struct {
	store *resttest.Store

	mu      sync.Mutex
	series  [][]any
	average map[string]float64
}

func newHome(store *resttest.Store) *home {
	h := &home{store: store, average: map[string]float64{}}
	store.Create("ORG_WSO2_DAS_SAMPLE_SMART_HOME_DATA", "EVENT_STORE", &analyticsv1.Schema{})
	for i, city := range []string{"Seattle", "Los Angeles", "San Francisco", "Houston", "Austin", "Chicago", "New York", "Boston", "Denver", "Miami"} {
		h.average[city] = 180 + 60*math.Sin(float64(i)*1.7)
	}
	now := time.Now().UnixMilli()
	for i := range int64(120) {
		h.point(now - (120-i)*5000)
	}
	h.step()
	return h
}

func (h *home) point(at int64) {
	average := 260 + 40*math.Sin(float64(at)/90_000) + 12*rand.Float64()
	h.series = append(h.series, []any{at, average, 880 + 110*rand.Float64()})
	h.series = h.series[max(0, len(h.series)-120):]
}

func (h *home) step() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.point(time.Now().UnixMilli())
	rows := make([]resttest.Row, 100)
	h.store.Add("ORG_WSO2_DAS_SAMPLE_SMART_HOME_DATA", rows...)
	schema := &analyticsv1.Schema{Columns: []*analyticsv1.Column{
		column("metro_area", analyticsv1.ColumnType_COLUMN_TYPE_STRING), column("avg_usage", analyticsv1.ColumnType_COLUMN_TYPE_DOUBLE),
	}, PrimaryKeys: []string{"metro_area"}}
	h.store.Create("CITY_USAGE", "PROCESSED_DATA_STORE", schema)
	for _, city := range slices.Sorted(maps.Keys(h.average)) {
		h.average[city] += 4*rand.Float64() - 2
		h.store.Add("CITY_USAGE", resttest.Row{Values: map[string]any{"metro_area": city, "avg_usage": h.average[city]}})
	}
}

func (h *home) run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			h.step()
		case <-ctx.Done():
			return
		}
	}
}

// surroundings stand for the gateway, Identity, the engine and the admin API, as far as the page sees them.
func surroundings(n node, h *home) http.Handler {
	client := n.HTTP(sdktest.Admin())
	var mu sync.Mutex
	used := false
	mux := http.NewServeMux()
	signedIn := func(r *http.Request) bool {
		c, err := r.Cookie("__Host-session")
		return err == nil && c.Value == "open"
	}
	refuse := func(w http.ResponseWriter, code, text string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, `{"status":"failed","message":%q,"cause":{"code":%q,"text":%q,"chain":[],"fix":"Check both."}}`, text, code, text)
	}
	mux.HandleFunc("POST /signin", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case r.FormValue("token") == "once" && !used:
			used = true
		case r.FormValue("token") != "":
			refuse(w, "CBN-ID-007", "The sign-in link was used or is too old.")
			return
		case r.FormValue("username") != "admin" || r.FormValue("password") != pagePassword:
			refuse(w, "CBN-ID-001", "The user name or the password is wrong.")
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "__Host-session", Value: "open", Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
		fmt.Fprint(w, `{"user":"admin"}`)
	})
	mux.HandleFunc("POST /signout", func(w http.ResponseWriter, _ *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "__Host-session", Path: "/", Secure: true, HttpOnly: true, MaxAge: -1})
		fmt.Fprint(w, `{}`)
	})
	mux.HandleFunc("GET /identity/me", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"user":"admin","tenant":-1234,"roles":["admin","everyone"],"permissions":["/permission"],"via":"session"}`)
	})
	mux.HandleFunc("POST /engine/query", func(w http.ResponseWriter, _ *http.Request) {
		h.mu.Lock()
		defer h.mu.Unlock()
		_ = json.NewEncoder(w).Encode(map[string]any{"columns": []map[string]string{{"name": "at"}, {"name": "average"}, {"name": "highest"}}, "rows": h.series})
	})
	mux.HandleFunc("GET /api/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, ": hello\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	runtimeOf(mux)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		req := r.Clone(r.Context())
		req.RequestURI, req.URL.Scheme, req.URL.Host = "", "https", "node"
		resp, err := client.Do(req)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		maps.Copy(w.Header(), resp.Header)
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		open := strings.HasPrefix(r.URL.Path, "/login") || strings.HasPrefix(r.URL.Path, "/assets/") || strings.HasPrefix(r.URL.Path, "/sign")
		switch {
		case open || signedIn(r):
			mux.ServeHTTP(w, r)
		case strings.Contains(r.Header.Get("Accept"), "text/html"):
			http.Redirect(w, r, "/login?to="+r.URL.Path, http.StatusSeeOther)
		default:
			refuse(w, "CBN-GW-001", "Nobody is signed in.")
		}
	})
}
