package eventreceiver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"crypto/tls"

	"carbonado.dev/carbonado/components/eventreceiver/cli"
	"carbonado.dev/sdk/component"
	"carbonado.dev/sdk/sdktest"
)

// admin answers as the node's admin socket does: credentials, and the receiver's routes.
type admin struct{ w *world }

func (a admin) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Path != "/api/credentials" {
		return a.w.receiver.HTTP(sdktest.Admin()).Transport.RoundTrip(req)
	}
	body, err := io.ReadAll(req.Body)
	if err != nil || string(body) != `{"purpose":"publish"}` || req.Method != http.MethodPost {
		return nil, fmt.Errorf("%s %s: %v", req.Method, body, err)
	}
	conn, err := tls.Dial("tcp", a.w.receiver.Address("thriftSSL"), anyTLS)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: conn.ConnectionState().PeerCertificates[0].Raw})
	text, err := json.Marshal(map[string]any{
		"username": "token", "password": "secret-4", "certificate": string(certificate),
		"listeners": map[string]string{"EventReceiver/thrift": a.w.receiver.Address("thrift"), "EventReceiver/thriftSSL": a.w.receiver.Address("thriftSSL")},
	})
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: 200, Status: "200 OK", Body: io.NopCloser(bytes.NewReader(text)), Header: http.Header{}, Request: req}, nil
}

// run calls a verb and answers its exit code and what it printed.
func (w *world) run(verb func(context.Context, *component.Invocation) int, stdin string, args ...string) (code int, out, errs string) {
	w.t.Helper()
	var stdout, stderr bytes.Buffer
	inv := &component.Invocation{Verb: "verb", Args: args, Stdin: strings.NewReader(stdin), Stdout: &stdout, Stderr: &stderr, Admin: &http.Client{Transport: admin{w}}}
	code = verb(within(w.t), inv)
	return code, stdout.String(), stderr.String()
}

func TestPublishVerb(t *testing.T) {
	w := newWorld(t, durableS, map[string]any{"startWait": "1ms"})
	w.kernel.MustDeploy("eventstreams/s.json", streamS)
	lines := `{"n":0,"t":"t0"}` + "\n\n" + `{"event":{"payloadData":{"n":1,"t":"t1"}}}` + "\n"
	if code, out, errs := w.run(cli.Publish, lines, "s:1.0.0"); code != 0 || !strings.Contains(out, "2 events published to s:1.0.0, 0 failed") {
		t.Errorf("%d %s %s", code, out, errs)
	}
	file := filepath.Join(t.TempDir(), "events.jsonl")
	if err := os.WriteFile(file, []byte(`{"n":2,"t":"t2"}`+"\n{bad\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := w.run(cli.Publish, "", "s:1.0.0", file); code != 5 || !strings.Contains(out, "1 events published") || !strings.Contains(errs, "line 2: CBN-RCV-053") {
		t.Errorf("%d %s %s", code, out, errs)
	}
	numbered(t, w.keeper.stored(), 3)
	if code, _, errs := w.run(cli.Publish, `{"n":"x"}`, "s:1.0.0"); code != 78 || !strings.Contains(errs, "line 1") {
		t.Errorf("only bad lines: %d %s", code, errs)
	}
	if code, _, errs := w.run(cli.Publish, "", "none:1.0.0"); code != 4 || !strings.Contains(errs, "CBN-STR-004") || !strings.Contains(errs, "fix: ") {
		t.Errorf("an unknown stream: %d %s", code, errs)
	}
	if code, _, errs := w.run(cli.Publish, ""); code != 64 || !strings.Contains(errs, "usage:") {
		t.Errorf("no stream: %d %s", code, errs)
	}
	definition := filepath.Join(t.TempDir(), "u.json")
	if err := os.WriteFile(definition, []byte(streamU), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs := w.run(cli.Publish, `{"x":1}`, "-definition", definition, "u:1.0.0")
	if code != 1 || !strings.Contains(errs, "CBN-RCV-030") || !strings.Contains(out, "1 failed") {
		t.Errorf("a stream without consumer: %d %s %s", code, out, errs)
	}
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("secret-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	remote := []string{"-url", "tcp://" + w.receiver.Address("thrift"), "-auth-url", "ssl://" + w.receiver.Address("thriftSSL"), "-user", "admin", "-password-file", password, "s:1.0.0"}
	if code, _, errs := w.run(cli.Publish, "", remote...); code != 69 || !strings.Contains(errs, "certificate") {
		t.Errorf("without trust: %d %s", code, errs)
	}
}

func TestSampleVerb(t *testing.T) {
	w := newWorld(t, map[string]bool{cli.SmartHome.ID(): true}, nil)
	// The stream is not there: the verb defines it.
	code, out, errs := w.run(cli.Sample, "", "smart-home", "--rate", "0", "--count", "1234")
	if code != 0 || !strings.Contains(out, "1234 events acknowledged, 0 failed") {
		t.Fatalf("%d %s %s", code, out, errs)
	}
	rows := w.keeper.stored()
	areas := map[string]bool{}
	for _, row := range rows {
		var house, device int
		var power float64
		fields := strings.Split(row, " ")
		i := slices.IndexFunc(fields, func(f string) bool { return strings.HasPrefix(f, "device_id=") })
		if _, err := fmt.Sscanf(fields[1]+" "+fields[i]+" "+fields[i+1], "house_id=%d device_id=%d power_reading=%g", &house, &device, &power); err != nil {
			t.Fatalf("%q: %v", row, err)
		}
		if house < 1 || house > 21 || device < 1 || device > 7 || power < 0 || power > 1000 {
			t.Fatalf("%q", row)
		}
		areas[strings.Join(fields[2:i], " ")] = true
	}
	if len(rows) != 1234 || len(areas) != 10 {
		t.Errorf("%d rows, %d places", len(rows), len(areas))
	}
	if code, _, errs := w.run(cli.Sample, "", "garden"); code != 64 || !strings.Contains(errs, "smart-home") {
		t.Errorf("%d %s", code, errs)
	}
	if code, out, errs = w.run(cli.Sample, "", "--count", "10", "--rate", "1000", "smart-home"); code != 0 || !strings.Contains(out, "10 events acknowledged") {
		t.Errorf("%d %s %s", code, out, errs)
	}
}
