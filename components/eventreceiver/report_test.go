package eventreceiver

import (
	"bytes"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"carbonado.dev/sdk/databridge"
)

// TestReportSumsUp: the first of a kind is logged at once, repeats as one line, expired sessions at a lower level.
func TestReportSumsUp(t *testing.T) {
	var out bytes.Buffer
	r := newReport(hclog.New(&hclog.LoggerOptions{Output: &out, DisableTime: true, Level: hclog.Info}))
	for range 50 {
		r.call("1.2.3.4:5", "publish", databridge.ErrMalformed.New("short list"))
	}
	r.call("1.2.3.4:5", "publish", databridge.ErrSession.New("unknown"))
	if n := strings.Count(out.String(), "\n"); n != 2 || !strings.Contains(out.String(), "[WARN]  a client's call failed: call=\"CBN-RCV-002 publish\"") || !strings.Contains(out.String(), "[INFO]") {
		t.Errorf("%d lines:\n%s", n, out.String())
	}
	out.Reset()
	r.flush()
	if n := strings.Count(out.String(), "\n"); n != 1 || !strings.Contains(out.String(), "times=49") {
		t.Errorf("%d lines:\n%s", n, out.String())
	}
	out.Reset()
	r.flush()
	if out.Len() != 0 {
		t.Errorf("again: %s", out.String())
	}
}
