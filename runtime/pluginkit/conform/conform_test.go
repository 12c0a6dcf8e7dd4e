package conform_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"carbonado.dev/carbonado/runtime/pluginkit/conform"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const descriptor = `name: Broken
version: 1.0.0
summary: A component with one fault.
executable: bin/Broken
provides: [{service: carbonado.analytics.v1.StreamAdmin, version: 1.0.0}]
ports: [{name: thrift, port: 7611}]
requires: [{name: other, service: acme.other.v1.Other, cardinality: 1..1}]
shares: [{name: files, mode: rw}]
privileges: [tls.server]
config: {properties: {mood: {type: string}}}
modified: [mood]
`

// lay makes the package of the component with a fault.
func lay(t *testing.T, exe, fault, yaml string) string {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(exe, filepath.Join(dir, "bin", "Broken")); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"component.yaml": yaml, "fault": fault} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// also are lines that fail with another because of it.
var also = map[string]map[string]bool{
	"stays":         {"stop.early": true},
	"token":         {"service.revoke": true, "service.big": true},
	"unimplemented": {"service.call": true},
	"configure":     {"beside": true},
	"publish":       {"acquire.again": true},
}

// TestFaultsAreFound: each fault makes exactly its own line fail; without a fault none does.
func TestFaultsAreFound(t *testing.T) {
	exe := filepath.Join(t.TempDir(), "Broken")
	if out, err := exec.Command("go", "build", "-o", exe, "./testdata/broken").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, c := range []struct{ fault, line, text string }{
		{"", "", ""},
		{"hand", "hand", "exit code 0"},
		{"silent", "handshake", "no handshake line"},
		{"crash", "handshake", "exit code 3) without a handshake line; it said: no such thing"},
		{"stdout", "stdout", "hello, world"},
		{"socket", "handshake.line", "not in PLUGIN_UNIX_SOCKET_DIR"},
		{"peer", "peer.stranger", "is let in"},
		{"configure", "configure", "second, equal call"},
		{"order", "order.prepare", "Prepare before Configure"},
		{"synced", "watch", "no Synced"},
		{"twice", "acquire", "called a second time"},
		{"publish", "publish", "StreamAdmin, which component.yaml provides, is not published"},
		{"health", "health.reported", "no health"},
		{"token", "service.token", "without a token is answered"},
		{"unimplemented", "service.contract", "StreamAdmin/List is not implemented"},
		{"revoke", "service.revoke", "revoked token is answered"},
		{"small", "control.big", "12 MiB"},
		{"modified", "modified", "nothing takes a configuration"},
		{"drain", "drain", "still published"},
		{"stays", "stop", "still runs"},
		{"log", "log", "no line"},
		{"lifeline", "lifeline", "still runs"},
		{"sigterm", "sigterm", "still runs"},
		{"sigint", "sigint", "SIGINT"},
	} {
		t.Run(c.fault, func(t *testing.T) {
			t.Parallel()
			o := conform.Options{}
			if c.fault == "silent" {
				o.Patience = 500 * time.Millisecond
			}
			report, err := conform.Run(t.Context(), lay(t, exe, c.fault, descriptor), o)
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, r := range report.Results {
				switch {
				case r.State != conform.Fail:
				case r.Name == c.line && strings.Contains(r.Text, c.text):
					found = true
				case !also[c.fault][r.Name]:
					t.Errorf("%s fails too: %s", r.Name, r.Text)
				}
			}
			if c.fault == "" {
				if err := report.Err(); err != nil {
					t.Error(err)
				}
				return
			}
			if !found {
				t.Errorf("%s does not fail with %q: %+v", c.line, c.text, report.Results)
			}
			if err := report.Err(); !errors.Is(err, conform.ErrNotConform) {
				t.Errorf("the report's error is %v", err)
			}
		})
	}
}

func TestWhatIsNoPackage(t *testing.T) {
	if _, err := conform.Run(t.Context(), t.TempDir(), conform.Options{}); err == nil || !strings.Contains(err.Error(), "CBN-PKG-084") {
		t.Errorf("an empty folder: %v", err)
	}
	for text, want := range map[string]string{"name: 1\n": "component.yaml:1", descriptor: ""} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "component.yaml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		report, err := conform.Run(t.Context(), dir, conform.Options{})
		if want != "" {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("a bad descriptor: %v", err)
			}
			continue
		}
		// A package without its executable: the report says so.
		if err != nil {
			t.Fatal(err)
		}
		if r := report.Results[0]; r.Name != "descriptor" || r.State != conform.Fail || report.Err() == nil {
			t.Errorf("%+v", report.Results)
		}
	}
}
