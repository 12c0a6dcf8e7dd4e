package deploy

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// settleTime is longer than a debounce and two looks, shorter than the periodic look.
const settleTime = 4 * time.Second

var v1, v2 = content("one"), content("two")

// The numbers are those of CLUSTER.md section 4, "test cases a hot deployer must pass".
func TestDiskCases(t *testing.T) {
	cases := []struct {
		name string
		do   func(w *world)
	}{
		{"1 new file by rename", func(w *world) {
			w.replace("streams/a.json", v1)
			w.pass(800 * time.Millisecond) // one look is enough for what appears whole
			w.wantCalls("deploy streams/a.json")
			w.wantState("streams/a.json", Deployed)
		}},
		{"2 slow copy", func(w *world) {
			f := w.create("streams/a.json")
			for i := range 10 {
				w.append(f, "streams/a.json", v1[i*len(v1)/10:(i+1)*len(v1)/10])
				w.pass(300 * time.Millisecond)
			}
			w.check(f.Close())
			w.pass(settleTime)
			w.wantCalls("deploy streams/a.json")
		}},
		{"3 pause longer than the quiet time, writer still there", func(w *world) {
			f := w.create("streams/a.json")
			w.append(f, "streams/a.json", v1[:4])
			w.pass(10 * time.Second)
			w.wantCalls()
			if a := w.wantState("streams/a.json", Pending); a.Cause.GetCode() != ErrBeingWritten.ID() {
				w.t.Errorf("cause %v", a.Cause)
			}
			w.append(f, "streams/a.json", v1[4:])
			w.check(f.Close())
			w.pass(settleTime)
			w.wantCalls("deploy streams/a.json")
		}},
		{"4 writer dies in the middle", func(w *world) {
			w.owner.partial = true
			w.write("streams/a.json", v1[:4])
			w.pass(settleTime)
			a := w.wantState("streams/a.json", Faulty)
			if a.Cause.GetText() != "not whole" || a.Cause.GetLine() != 1 || a.Cause.GetFile() != a.Path {
				w.t.Errorf("cause %v", a.Cause)
			}
			w.wantCalls()
			w.wantRunning(map[string]string{})
		}},
		{"5 empty file, then content", func(w *world) {
			f := w.create("streams/a.json")
			w.pass(settleTime)
			w.append(f, "streams/a.json", v1)
			w.check(f.Close())
			w.pass(settleTime)
			w.wantCalls("deploy streams/a.json")
		}},
		{"6 truncate and rewrite a live artifact", func(w *world) {
			w.replace("streams/a.json", v1)
			w.pass(settleTime)
			f := w.create("streams/a.json")
			w.pass(settleTime)
			w.wantRunning(map[string]string{"a.json": v1})
			w.append(f, "streams/a.json", v2[:5])
			w.pass(settleTime)
			w.wantRunning(map[string]string{"a.json": v1})
			w.append(f, "streams/a.json", v2[5:])
			w.check(f.Close())
			w.pass(settleTime)
			w.wantCalls("deploy streams/a.json", "update streams/a.json")
			w.wantRunning(map[string]string{"a.json": v2})
		}},
		{"7 vim", func(w *world) {
			w.replace("streams/a.json", v1)
			w.pass(settleTime)
			w.write("streams/.a.json.swp", "x")
			w.rename("streams/a.json", "streams/a.json~")
			w.pass(700 * time.Millisecond) // a look falls between
			w.write("streams/a.json", v2)
			w.remove("streams/a.json~")
			w.remove("streams/.a.json.swp")
			w.pass(settleTime)
			w.wantCalls("deploy streams/a.json", "update streams/a.json")
		}},
		{"8 emacs", func(w *world) {
			w.replace("streams/a.json", v1)
			w.pass(settleTime)
			w.check(os.Symlink("me@host.1:2", w.abs("streams/.#a.json")))
			w.write("streams/#a.json#", v2[:3])
			w.pass(settleTime)
			w.write("streams/a.json", v2)
			w.remove("streams/.#a.json")
			w.remove("streams/#a.json#")
			w.pass(settleTime)
			w.wantCalls("deploy streams/a.json", "update streams/a.json")
		}},
		{"9 sed -i", func(w *world) {
			w.replace("streams/a.json", v1)
			w.pass(settleTime)
			if out, err := exec.Command("sed", "-i", "s/one/two/", w.abs("streams/a.json")).CombinedOutput(); err != nil {
				w.t.Fatalf("%v: %s", err, out)
			}
			w.event("streams/a.json", false)
			w.pass(settleTime)
			w.wantRunning(map[string]string{"a.json": v2})
		}},
		{"12 filepart and rename", func(w *world) {
			w.write("streams/a.json.filepart", v1[:4])
			w.pass(settleTime)
			w.write("streams/a.json.filepart", v1)
			w.rename("streams/a.json.filepart", "streams/a.json")
			w.pass(settleTime)
			w.wantCalls("deploy streams/a.json")
		}},
		{"13 O_TMPFILE and linkat", func(w *world) {
			fd, err := unix.Open(w.abs("streams"), unix.O_TMPFILE|unix.O_RDWR, 0o644)
			w.check(err)
			f := os.NewFile(uintptr(fd), "tmpfile")
			w.append(f, "streams/#1", v1)
			w.check(unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, w.abs("streams/a.json"), unix.AT_SYMLINK_FOLLOW))
			w.event("streams/a.json", false)
			w.check(f.Close())
			w.pass(settleTime)
			w.wantCalls("deploy streams/a.json")
		}},
		{"14 a populated folder is moved in", func(w *world) {
			w.check(os.Remove(w.abs("streams")))
			other := w.t.TempDir()
			w.check(os.WriteFile(filepath.Join(other, "a.json"), []byte(v1), 0o644))
			w.check(os.Rename(other, w.abs("streams")))
			w.event("streams", false)
			w.pass(settleTime)
			w.wantCalls("deploy streams/a.json")
		}},
		{"16 a thousand files, one deploy each", func(w *world) {
			want := map[string]string{}
			for i := range 1000 {
				name := fmt.Sprintf("a%04d.json", i)
				want[name] = content(name)
				w.write("streams/"+name, want[name])
			}
			w.pass(settleTime)
			w.wantRunning(want)
			if n := len(w.calls()); n != 1000 {
				w.t.Errorf("%d calls", n)
			}
		}},
		{"17 a folder is renamed", func(w *world) {
			w.replace("streams/a.json", v1)
			w.pass(settleTime)
			w.rename("streams", "elsewhere")
			w.pass(settleTime)
			w.wantCalls("deploy streams/a.json", "undeploy streams/a.json")
			w.wantState("elsewhere/a.json", Pending)
		}},
		{"18 a folder moved out and back", func(w *world) {
			w.replace("streams/a.json", v1)
			w.pass(settleTime)
			w.rename("streams", "elsewhere")
			w.pass(600 * time.Millisecond)
			w.rename("elsewhere", "streams")
			w.pass(settleTime)
			w.wantCalls("deploy streams/a.json")
		}},
		{"19 deleted and made anew with the same bytes", func(w *world) {
			w.replace("streams/a.json", v1)
			w.pass(settleTime)
			w.remove("streams/a.json")
			w.pass(600 * time.Millisecond)
			w.write("streams/a.json", v1)
			w.pass(settleTime)
			w.wantCalls("deploy streams/a.json")
			if a := w.get("streams/a.json"); a.Revision != 1 {
				w.t.Errorf("revision %d", a.Revision)
			}
		}},
		{"20 deleted", func(w *world) {
			w.replace("streams/a.json", v1)
			w.pass(settleTime)
			w.remove("streams/a.json")
			w.pass(settleTime)
			w.wantCalls("deploy streams/a.json", "undeploy streams/a.json")
			if a := w.get("streams/a.json"); a.Path != "" {
				w.t.Errorf("still listed: %s", describe(a))
			}
		}},
		{"21 deleted and made anew with other bytes", func(w *world) {
			w.replace("streams/a.json", v1)
			w.pass(settleTime)
			w.remove("streams/a.json")
			w.pass(600 * time.Millisecond)
			w.write("streams/a.json", v2)
			w.pass(settleTime)
			w.wantCalls("deploy streams/a.json", "update streams/a.json")
		}},
		{"22 renamed: the old name first", func(w *world) {
			one := content("offer x")
			w.replace("streams/a.json", one)
			w.pass(settleTime)
			w.rename("streams/a.json", "streams/b.json")
			w.pass(settleTime)
			w.wantCalls("deploy streams/a.json", "undeploy streams/a.json", "deploy streams/b.json")
			w.wantRunning(map[string]string{"b.json": one})
		}},
		{"23 two names change places", func(w *world) {
			w.replace("streams/a.json", v1)
			w.replace("streams/b.json", v2)
			w.pass(settleTime)
			err := unix.Renameat2(unix.AT_FDCWD, w.abs("streams/a.json"), unix.AT_FDCWD, w.abs("streams/b.json"), unix.RENAME_EXCHANGE)
			w.check(err)
			w.event("streams/a.json", false)
			w.pass(settleTime)
			w.wantRunning(map[string]string{"a.json": v2, "b.json": v1})
		}},
		{"same size and time, another file", func(w *world) {
			w.replace("streams/a.json", v1)
			w.pass(settleTime)
			info, err := os.Stat(w.abs("streams/a.json"))
			w.check(err)
			w.replace("streams/a.json", v2)
			w.check(os.Chtimes(w.abs("streams/a.json"), info.ModTime(), info.ModTime()))
			w.pass(settleTime)
			w.wantRunning(map[string]string{"a.json": v2})
		}},
		{"touched without a change", func(w *world) {
			w.replace("streams/a.json", v1)
			w.pass(settleTime)
			w.check(os.Chtimes(w.abs("streams/a.json"), time.Now(), time.Now()))
			w.event("streams/a.json", true)
			w.pass(settleTime)
			w.wantCalls("deploy streams/a.json")
		}},
		{"no event at all: the periodic look finds it", func(w *world) {
			w.check(os.WriteFile(w.abs("streams/a.json"), []byte(v1), 0o644))
			w.pass(20 * time.Second)
			w.wantCalls("deploy streams/a.json")
		}},
		{"events that never end do not delay for ever", func(w *world) {
			w.write("streams/a.json", v1)
			for range 80 {
				w.event("noise", true)
				w.pass(100 * time.Millisecond)
			}
			w.wantCalls("deploy streams/a.json")
		}},
		{"a link that leaves the repository", func(w *world) {
			outside := filepath.Join(w.t.TempDir(), "secret.json")
			w.check(os.WriteFile(outside, []byte(v1), 0o644))
			w.check(os.Symlink(outside, w.abs("streams/a.json")))
			w.check(os.Symlink("/etc", w.abs("etc")))
			w.check(os.Symlink("nowhere", w.abs("streams/b.json")))
			w.event("streams/a.json", false)
			w.pass(settleTime)
			w.wantCalls()
			for _, name := range []string{"streams/a.json", "streams/b.json", "etc"} {
				if a := w.wantState(name, Faulty); a.Cause.GetCode() != ErrLeavesRepository.ID() {
					w.t.Errorf("cause %v", a.Cause)
				}
			}
			if n := len(w.service.List("")); n != 3 {
				w.t.Errorf("%d artifacts", n)
			}
		}},
		{"a link that stays inside", func(w *world) {
			w.check(os.WriteFile(filepath.Join(w.home, "shared.txt"), []byte(v1), 0o644))
			w.check(os.Symlink("../../../shared.txt", w.abs("streams/a.json")))
			w.event("streams/a.json", false)
			w.pass(settleTime)
			w.wantRunning(map[string]string{"a.json": v1})
			w.check(os.WriteFile(filepath.Join(w.home, "shared.txt"), []byte(v2), 0o644))
			w.pass(20 * time.Second)
			w.wantRunning(map[string]string{"a.json": v2})
		}},
		{"a pipe is never opened", func(w *world) {
			w.check(syscall.Mkfifo(w.abs("streams/a.json"), 0o644))
			w.event("streams/a.json", false)
			w.pass(settleTime)
			if a := w.wantState("streams/a.json", Faulty); a.Cause.GetCode() != ErrNotAFile.ID() {
				w.t.Errorf("cause %v", a.Cause)
			}
		}},
		{"too large", func(w *world) {
			w.replace("streams/a.json", strings.Repeat("x", MaxContent+1))
			w.pass(settleTime)
			if a := w.wantState("streams/a.json", Faulty); a.Cause.GetCode() != ErrTooLarge.ID() || len(a.Digest) != 64 {
				w.t.Errorf("%s", describe(a))
			}
			w.wantCalls()
		}},
		{"nobody takes it", func(w *world) {
			w.write("streams/a.txt", "x")
			w.write("carbonapps.car", "x")
			w.check(os.MkdirAll(filepath.Join(w.home, DropinsRoot), 0o755))
			w.check(os.WriteFile(filepath.Join(w.home, DropinsRoot, "p.zip"), []byte("x"), 0o644))
			w.pass(settleTime)
			for _, name := range []string{"streams/a.txt", "carbonapps.car", DropinsRoot + "/p.zip"} {
				if a := w.wantState(name, Pending); a.Cause.GetCode() != ErrNoOwner.ID() || a.Type != "" || len(a.Digest) != 64 {
					w.t.Errorf("%s", describe(a))
				}
			}
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

// create opens a file as a copy program does and leaves it open.
func (w *world) create(name string) *os.File {
	w.t.Helper()
	f, err := os.Create(w.abs(name))
	w.check(err)
	w.event(name, true)
	return f
}

func (w *world) append(f *os.File, name, text string) {
	w.t.Helper()
	_, err := f.WriteString(text)
	w.check(err)
	w.event(name, true)
}
