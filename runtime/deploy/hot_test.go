package deploy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// The rest of the cases of CLUSTER.md section 4, and of its traps, beside TestDiskCases. docs/hot-deployment.md lists them all.
func TestMoreDiskCases(t *testing.T) {
	cases := []struct {
		name string
		do   func(w *world)
	}{
		{"10 rsync", func(w *world) {
			w.write("streams/.a.json.Xy12Zq", v1[:4]) // its temporary name
			w.pass(settleTime)
			w.write("streams/.a.json.Xy12Zq", v1)
			w.rename("streams/.a.json.Xy12Zq", "streams/a.json")
			w.pass(settleTime)
			w.wantCalls("deploy streams/a.json")
		}},
		{"11 rsync --inplace", func(w *world) {
			w.replace("streams/a.json", v1)
			w.pass(settleTime)
			f, err := os.OpenFile(w.abs("streams/a.json"), os.O_WRONLY, 0)
			w.check(err)
			w.append(f, "streams/a.json", v2[:5])
			w.pass(settleTime)
			w.wantRunning(map[string]string{"a.json": v1})
			w.append(f, "streams/a.json", v2[5:])
			w.check(f.Truncate(int64(len(v2))))
			w.check(f.Close())
			w.check(os.Chtimes(w.abs("streams/a.json"), time.Now(), time.Now()))
			w.pass(settleTime)
			w.wantCalls("deploy streams/a.json", "update streams/a.json")
			w.wantRunning(map[string]string{"a.json": v2})
		}},
		{"16b in place with the same size and times", func(w *world) {
			w.replace("streams/a.json", v1)
			w.pass(settleTime)
			info, err := os.Stat(w.abs("streams/a.json"))
			w.check(err)
			w.write("streams/a.json", v2)
			w.check(os.Chtimes(w.abs("streams/a.json"), info.ModTime(), info.ModTime()))
			w.pass(settleTime)
			w.wantRunning(map[string]string{"a.json": v2})
		}},
		{"9b written through another hard link, without an event", func(w *world) {
			w.replace("streams/a.json", v1)
			w.pass(settleTime)
			other := filepath.Join(w.home, "other.json")
			w.check(os.Link(w.abs("streams/a.json"), other))
			w.check(os.WriteFile(other, []byte(v2), 0o644))
			w.pass(20 * time.Second)
			w.wantRunning(map[string]string{"a.json": v2})
		}},
		{"case-only rename", func(w *world) {
			w.replace("streams/a.json", v1)
			w.pass(settleTime)
			w.rename("streams/a.json", "streams/A.json")
			w.pass(settleTime)
			w.wantCalls("deploy streams/a.json", "undeploy streams/a.json", "deploy streams/A.json")
			w.wantRunning(map[string]string{"A.json": v1})
			if a := w.get("streams/a.json"); a.Path != "" {
				w.t.Errorf("still listed: %s", describe(a))
			}
		}},
		{"two names that differ by case only are two artifacts", func(w *world) {
			w.replace("streams/a.json", v1)
			w.replace("streams/A.json", v2)
			w.pass(settleTime)
			w.wantRunning(map[string]string{"a.json": v1, "A.json": v2})
		}},
		{"24 two folders change places", func(w *world) {
			w.replace("streams/a.json", v1)
			w.replace("streams/b.json", v1)
			w.pass(settleTime)
			w.mkdir("next")
			w.check(os.WriteFile(w.abs("next/a.json"), []byte(v2), 0o644))
			w.check(unix.Renameat2(unix.AT_FDCWD, w.abs("next"), unix.AT_FDCWD, w.abs("streams"), unix.RENAME_EXCHANGE))
			w.event("streams", false)
			w.pass(settleTime)
			w.wantRunning(map[string]string{"a.json": v2})
			w.wantCalls("deploy streams/a.json", "deploy streams/b.json", "undeploy streams/b.json", "update streams/a.json")
		}},
		{"8 a link to a file is swapped, without an event for its target", func(w *world) {
			for name, text := range map[string]string{"one": v1, "two": v2} {
				w.check(os.MkdirAll(filepath.Join(w.home, "sets", name), 0o755))
				w.check(os.WriteFile(filepath.Join(w.home, "sets", name, "a.json"), []byte(text), 0o644))
			}
			w.check(os.Symlink("one", filepath.Join(w.home, "sets", "current")))
			w.check(os.Symlink("../../../sets/current/a.json", w.abs("streams/a.json")))
			w.event("streams/a.json", false)
			w.pass(settleTime)
			w.wantRunning(map[string]string{"a.json": v1})
			w.check(os.Symlink("two", filepath.Join(w.home, "sets", "next")))
			w.check(os.Rename(filepath.Join(w.home, "sets", "next"), filepath.Join(w.home, "sets", "current")))
			w.pass(20 * time.Second)
			w.wantRunning(map[string]string{"a.json": v2})
			w.wantCalls("deploy streams/a.json", "update streams/a.json")
		}},
		{"editors' and copy programs' temporary files", func(w *world) {
			for _, name := range []string{".a.json", "~a.json", "#a.json#", "a.json~", "a.json.tmp", "a.json.part", "a.json.crdownload", "a.json.swp", "a.json.bk", "a.json.filepart"} {
				w.write("streams/"+name, v1[:4])
			}
			w.pass(settleTime)
			w.wantCalls()
			if list := w.service.List(""); len(list) != 0 {
				w.t.Errorf("%d artifacts: %s", len(list), describe(list[0]))
			}
		}},
		{"more events than are remembered", func(w *world) {
			// After an overflow nothing is known to have appeared whole: the file must be quiet, and nobody may write it.
			w.check(os.WriteFile(w.abs("streams/a.json"), []byte(v1), 0o644))
			w.bell.rings <- struct{}{} // no path with it
			w.pass(800 * time.Millisecond)
			w.wantCalls()
			w.pass(settleTime)
			w.wantCalls("deploy streams/a.json")
		}},
		{"the clock jumps back and ahead", func(w *world) {
			w.replace("streams/a.json", v1)
			w.check(os.Chtimes(w.abs("streams/a.json"), time.Now().Add(48*time.Hour), time.Now().Add(48*time.Hour))) // written by a clock that is ahead
			w.pass(settleTime)
			w.wantCalls("deploy streams/a.json")
			w.replace("streams/a.json", v2)
			w.check(os.Chtimes(w.abs("streams/a.json"), time.Unix(0, 0), time.Unix(0, 0))) // older than what it replaces
			w.pass(settleTime)
			w.wantCalls("update streams/a.json")
			w.wantRunning(map[string]string{"a.json": v2})
		}},
		{"order in one batch: undeploy, update, deploy", func(w *world) {
			for _, name := range []string{"gone-a", "gone-b", "kept-a", "kept-b"} {
				w.replace("streams/"+name+".json", v1)
			}
			w.pass(settleTime)
			w.calls()
			w.replace("streams/a-new.json", v1)
			w.replace("streams/z-new.json", v1)
			w.replace("streams/kept-b.json", v2)
			w.replace("streams/kept-a.json", v2)
			for _, name := range []string{"gone-a", "gone-b"} {
				w.remove("streams/" + name + ".json")
			}
			w.pass(settleTime)
			w.wantCalls("undeploy streams/gone-a.json", "undeploy streams/gone-b.json", "update streams/kept-a.json", "update streams/kept-b.json",
				"deploy streams/a-new.json", "deploy streams/z-new.json")
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.start()
				c.do(w)
			})
		})
	}
}

// TestAClockThatJumpsWhileTheServerRuns: what is quiet is measured by the service's clock; a jump ahead must not make a half-written file
// whole, a jump back must not stop deployment for ever.
func TestAClockThatJumpsWhileTheServerRuns(t *testing.T) {
	inWorld(t, func(w *world) {
		var jump time.Duration
		w.bell = &fakeBell{rings: make(chan struct{}, 1), known: map[string]bool{}}
		s, err := New(Options{
			Repository: w.home, Data: filepath.Join(w.home, "data"), Deployers: w, Bell: w.bell,
			Now: func() time.Time { return time.Now().Add(jump) },
		})
		w.check(err)
		w.service = s
		ctx, cancel := context.WithCancel(w.t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		defer func() {
			cancel()
			w.check(<-done)
			w.service = nil
		}()
		<-s.Scanned()
		f := w.create("streams/a.json")
		w.append(f, "streams/a.json", v1[:5])
		w.pass(700 * time.Millisecond)
		jump = 24 * time.Hour
		w.event("streams/a.json", true)
		w.pass(settleTime)
		w.wantCalls() // its writer is still there
		w.append(f, "streams/a.json", v1[5:])
		w.check(f.Close())
		w.pass(settleTime)
		w.wantCalls("deploy streams/a.json")
		w.write("streams/a.json", v2)
		w.pass(600 * time.Millisecond)
		jump = -24 * time.Hour
		w.event("streams/a.json", true)
		w.pass(30 * time.Second)
		w.wantCalls("update streams/a.json")
		w.wantRunning(map[string]string{"a.json": v2})
	})
}

// TestUnreadableFilesAndFolders: permissions that a service without root's powers meets. What can't be read keeps what was deployed of it.
func TestUnreadableFilesAndFolders(t *testing.T) {
	if os.Geteuid() == 0 {
		// root reads everything: the same test, by another user.
		dir, err := os.MkdirTemp("", "unreadable")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		self, err := os.ReadFile("/proc/self/exe")
		if err != nil {
			t.Fatal(err)
		}
		binary := filepath.Join(dir, "deploy.test")
		if err := os.WriteFile(binary, self, 0o755); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(binary, "-test.run=^TestUnreadableFilesAndFolders$", "-test.v")
		cmd.Dir, cmd.Env = dir, []string{"TMPDIR=" + dir, "HOME=" + dir}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	inWorld(t, func(w *world) {
		w.start()
		w.replace("streams/a.json", v1)
		w.pass(settleTime)
		w.write("streams/a.json", v2)
		w.check(os.Chmod(w.abs("streams/a.json"), 0))
		w.pass(settleTime)
		if a := w.get("streams/a.json"); a.Cause.GetCode() != ErrUnreadable.ID() {
			t.Errorf("%s", describe(a))
		}
		w.wantRunning(map[string]string{"a.json": v1})
		w.check(os.Chmod(w.abs("streams/a.json"), 0o644)) // no event comes of it
		w.pass(20 * time.Second)
		w.wantRunning(map[string]string{"a.json": v2})

		w.check(os.Chmod(w.abs("streams"), 0))
		w.event("streams", false)
		w.pass(20 * time.Second)
		w.wantRunning(map[string]string{"a.json": v2})
		w.check(os.Chmod(w.abs("streams"), 0o755))
		w.pass(20 * time.Second)
		w.wantCalls("deploy streams/a.json", "update streams/a.json")
	})
}

// TestTenThousandFilesAtOnce: each is deployed once, on the system's own events, more than a doorbell remembers.
func TestTenThousandFilesAtOnce(t *testing.T) {
	t.Parallel() // the disk is waited for, not the processor
	const n = 10_000
	times := quick
	times.Debounce, times.Quiet = 50*time.Millisecond, 100*time.Millisecond
	w := newRealWorld(t, times)
	for i := range n {
		name := fmt.Sprintf("f%05d.json", i)
		if err := os.WriteFile(filepath.Join(w.home, ServerRoot, "streams", name), []byte(content(name)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	w.until("all", func() bool {
		w.owner.mu.Lock()
		defer w.owner.mu.Unlock()
		return len(w.owner.running) == n
	})
	w.owner.mu.Lock()
	defer w.owner.mu.Unlock()
	deploys := 0
	for _, c := range w.owner.calls {
		if strings.HasPrefix(c, "deploy ") {
			deploys++
		}
	}
	if deploys != n || len(w.owner.calls) > 2*n {
		t.Errorf("%d deployments, %d calls", deploys, len(w.owner.calls))
	}
}

// TestDoorbellOverflow: more events than are remembered: nothing counts as having appeared whole.
func TestDoorbellOverflow(t *testing.T) {
	b := &notifyBell{rings: make(chan struct{}, 1), touched: map[string]bool{}}
	for i := range touchedLimit + 1 {
		b.note(fsnotify.Event{Name: fmt.Sprint("/x/", i), Op: fsnotify.Create})
	}
	<-b.rings
	if got := b.Touched(); len(got) != 0 {
		t.Errorf("%d paths are known", len(got))
	}
	b.note(fsnotify.Event{Name: "/x/y", Op: fsnotify.Create})
	if got := b.Touched(); len(got) != 1 {
		t.Errorf("afterwards %v", got)
	}
}

// TestPollingIsSaid: folders that can't be watched are looked at by the clock, and Polling says so until they can.
func TestPollingIsSaid(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		if w.service.Polling() {
			t.Error("it polls at once")
		}
		w.bell.mu.Lock()
		w.bell.broken = errors.New("too many open files")
		w.bell.mu.Unlock()
		w.check(os.WriteFile(w.abs("streams/a.json"), []byte(v1), 0o644)) // no event
		w.pass(20 * time.Second)
		if !w.service.Polling() {
			t.Error("it does not say that it polls")
		}
		w.wantCalls("deploy streams/a.json")
		w.check(os.WriteFile(w.abs("streams/a.json"), []byte(v2), 0o644))
		w.pass(6 * time.Second) // the poll, well before the periodic look
		w.wantCalls("update streams/a.json")
		w.bell.mu.Lock()
		w.bell.broken = nil
		w.bell.mu.Unlock()
		w.pass(20 * time.Second)
		if w.service.Polling() {
			t.Error("it says still that it polls")
		}
	})
}
