package crashtest

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// diskSize is that of the file system that is filled.
const diskSize = 48 << 20

// TestFullDisk runs the server with its repository on a small file system, which then is full: events are refused with a code that
// the health shows and the log has, none that was acknowledged is lost, and all goes on by itself once there is space.
func TestFullDisk(t *testing.T) {
	l := install(t, func(home string) {
		repository := filepath.Join(home, "repository")
		if err := os.Mkdir(repository, 0o755); err != nil {
			t.Fatal(err)
		}
		err := syscall.Mount("none", repository, "tmpfs", 0, fmt.Sprintf("size=%d", diskSize))
		if errors.Is(err, syscall.EPERM) {
			t.Skip("only root can mount a small file system")
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := syscall.Unmount(repository, syscall.MNT_DETACH); err != nil {
				t.Errorf("unmount: %v", err)
			}
		})
	})
	// Files of the log are small, so that it needs a new one soon.
	l.write("conf/components/DataService.yaml", "logFileMiB: 2\ncutRows: 20000\n")
	l.start()
	l.stream()
	x := l.agentLoad()
	x.moved(5000)
	ballast := filepath.Join(l.home, "repository", "ballast")
	fill(t, ballast)
	l.wait("DataService to say that its disk is full", func() error {
		var c componentLine
		if err := l.get("/api/components/DataService", &c); err != nil {
			return err
		}
		if c.State != "ACTIVE" || c.Health == "OK" || !strings.HasPrefix(c.Cause.String(), "CBN-STORE-021") {
			fill(t, ballast) // whatever was freed since
			return fmt.Errorf("it is %s, %s: %s", c.State, c.Health, c.Cause)
		}
		return nil
	})
	l.logged("CBN-STORE-021")
	_, acked := x.counts()
	// What was acknowledged can be read while nothing can be written; a query, which cuts first, is refused with a code.
	resp, text := l.request(http.MethodGet, "/analytics/tables/"+table+"/recordcount", nil, basic)
	var count int64
	if _, err := fmt.Sscan(text, &count); err != nil || resp.StatusCode != http.StatusOK || count < acked {
		t.Errorf("%d events were acknowledged; recordcount: %s %.300s", acked, resp.Status, text)
	}
	if _, errs, code := l.cli("query", "SELECT count(*) FROM "+table); code != 0 && !strings.Contains(errs, "CBN-STORE-0") {
		t.Errorf("query: exit code %d: %s", code, errs)
	}
	// A command that fails for it says so, whatever it wanted to write.
	l.wait("sample to fail for the disk", func() error {
		fill(t, ballast)
		_, errs, code := l.cli("sample", "smart-home", "--count", "1")
		if code == 0 || !strings.Contains(errs, "CBN-SDK-044") || !strings.Contains(errs, "fix: Free space") || !strings.Contains(errs, filepath.Join(l.home, "repository")) {
			return fmt.Errorf("exit code %d: %s", code, errs)
		}
		t.Logf("sample: %s", errs)
		return nil
	})
	// The full disk is outlived by the store's end as well; with space all goes on by itself.
	l.kill9("DataService")
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	l.wait("all to be well again", l.notActive)
	x.moved(1000)
	l.exactly(x.settle())
	l.stop()
}

// fill writes until no byte is left.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
