package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"carbonado.dev/carbonado/runtime/admin"
)

// busy answers /api/top: with each picture a second goes by, in which Cruncher uses CPU and Hoarder has the memory, serves the calls and
// passes the events.
type busy struct {
	// mu guards all below.
	mu       sync.Mutex
	pictures int
	gone     bool // answers no more
}

func (b *busy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.URL.Path != "/api/top" || b.gone {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, `{"status":"failed","message":"the server stops","cause":{"code":"CBN-API-001","text":"the server stops","chain":[],"fix":"Wait."}}`)
		return
	}
	n := float64(b.pictures)
	b.pictures++
	_ = json.NewEncoder(w).Encode(admin.Top{Time: time.Date(2026, 11, 25, 10, 0, b.pictures, 0, time.UTC), Components: []admin.TopLine{
		{Name: "Cruncher", State: "ACTIVE", Health: "OK", Pid: 7, CPUSeconds: 0.5 * n, ResidentBytes: 10 << 20, Threads: 3},
		{Name: "Hoarder", State: "ACTIVE", Health: "OK", Pid: 8, CPUSeconds: 0.25 * n, ResidentBytes: 99 << 20, Calls: 40 * n, EventsIn: 300 * n},
		{Name: "Absent", State: "WAITING", Health: "UNKNOWN"},
	}})
}

// terminal is a pseudo terminal of some size: what a person would see, and their keys.
type terminal struct {
	t             *testing.T
	person, other *os.File
	before        unix.Termios
	seen          chan []byte
	// screen is all that has been written so far.
	screen bytes.Buffer
}

func newTerminal(t *testing.T, width, height uint16) *terminal {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := person.SyscallConn() // not Fd, which would make reads wait for ever
	if err != nil {
		t.Fatal(err)
	}
	var number int
	var failed [3]error
	err = raw.Control(func(fd uintptr) {
		number, failed[0] = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		failed[1] = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0)
		failed[2] = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: height, Col: width})
	})
	if err := errors.Join(append(failed[:], err)...); err != nil {
		t.Fatal(err)
	}
	other, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	x := &terminal{t: t, person: person, other: other, seen: make(chan []byte, 1000)}
	x.before = x.settings()
	go func() {
		defer close(x.seen)
		for {
			b := make([]byte, 4096)
			n, err := person.Read(b)
			if err != nil { // nobody has the other end open
				return
			}
			x.seen <- b[:n]
		}
	}()
	t.Cleanup(func() {
		person.Close()
		for range x.seen { // until its reader has ended
		}
		other.Close()
	})
	return x
}

func (x *terminal) settings() unix.Termios {
	s, err := unix.IoctlGetTermios(int(x.other.Fd()), unix.TCGETS)
	if err != nil {
		x.t.Fatal(err)
	}
	return *s
}

func (x *terminal) press(keys string) {
	x.t.Helper()
	if _, err := x.person.WriteString(keys); err != nil {
		x.t.Fatal(err)
	}
}

// until reads until the last whole picture satisfies ok, and gives its lines.
func (x *terminal) until(what string, ok func(lines []string) bool) []string {
	x.t.Helper()
	late := time.After(20 * time.Second)
	for {
		if p := x.picture(); p != nil && ok(p) {
			return p
		}
		select {
		case b := <-x.seen:
			x.screen.Write(b)
		case <-late:
			x.t.Fatalf("no %s in %q", what, x.screen.String())
		}
	}
}

// picture is the last one that is whole: from the cursor's way home to the clearing of the rest.
func (x *terminal) picture() []string {
	all := x.screen.String()
	end := strings.LastIndex(all, "\x1b[J")
	if end < 0 {
		return nil
	}
	all = all[:end]
	lines := strings.Split(all[strings.LastIndex(all, "\x1b[H")+len("\x1b[H"):], "\r\n")
	for i := range lines {
		lines[i] = strings.TrimSuffix(lines[i], "\x1b[K")
	}
	return lines
}

// top runs `carbonado top` on the terminal; the function that it gives waits for its exit code and its errors.
func (x *terminal) top(api http.Handler, args ...string) (end func() (int, string)) {
	x.t.Helper()
	dir := home(x.t, api)
	var errs bytes.Buffer
	code := make(chan int, 1)
	go func() {
		code <- Main(Program{Home: dir, Stdin: x.other, Stdout: x.other, Stderr: &errs}, append([]string{"top", "--interval", "0.1"}, args...))
	}()
	return func() (int, string) {
		x.t.Helper()
		select {
		case n := <-code:
			return n, errs.String()
		case <-time.After(20 * time.Second):
			x.t.Fatal("top does not end")
			return 0, ""
		}
	}
}

// order are the names of a picture's rows from the top.
func order(lines []string) string {
	var out []string
	for _, l := range lines {
		if f := strings.Fields(l); len(f) > 3 && (f[1] == "ACTIVE" || f[1] == "WAITING") {
			out = append(out, f[0])
		}
	}
	return strings.Join(out, " ")
}

func by(column, rows string) func([]string) bool {
	return func(lines []string) bool { return strings.Contains(lines[0], "by "+column+" ") && order(lines) == rows }
}

// restored wants the terminal as it was before: its first screen, the cursor, and its settings.
func (x *terminal) restored() {
	x.t.Helper()
	x.until("end of the other screen", func([]string) bool { return strings.HasSuffix(x.screen.String(), "\x1b[?25h\x1b[?1049l") })
	if !strings.HasPrefix(x.screen.String(), "\x1b[?1049h\x1b[?25l") {
		x.t.Errorf("it begins with %.40q", x.screen.String())
	}
	if now := x.settings(); now != x.before {
		x.t.Errorf("the terminal's settings are %+v, were %+v", now, x.before)
	}
}

// TestTopIsLive: pictures follow each other with the rates between them, keys sort, q ends it and leaves the terminal as it was.
func TestTopIsLive(t *testing.T) {
	x := newTerminal(t, 140, 30)
	end := x.top(&busy{})
	x.until("first picture by CPU", func(lines []string) bool { return strings.Contains(lines[0], "by cpu ") })
	picture := x.until("picture with rates", func(lines []string) bool {
		return order(lines) == "Cruncher Hoarder Absent" && strings.Contains(strings.Join(lines, "\n"), "50.0")
	})
	text := strings.Join(picture, "\n")
	for _, want := range []string{"COMPONENT", "25.0", "99.0 MiB", "WAITING", " 40 ", " 300 "} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	for _, c := range []struct{ key, column, rows string }{
		{"m", "memory", "Hoarder Cruncher Absent"},
		{"n", "name", "Absent Cruncher Hoarder"},
		{"a", "calls", "Hoarder Absent Cruncher"},
		{"c", "cpu", "Cruncher Hoarder Absent"},
		{"e", "events", "Hoarder Cruncher Absent"},
	} {
		x.press(c.key)
		if c.key == "a" || c.key == "e" { // the others are equal: their order is that of before
			x.until("sorted by "+c.column, func(lines []string) bool {
				return strings.Contains(lines[0], "by "+c.column+" ") && strings.HasPrefix(order(lines), "Hoarder ")
			})
			continue
		}
		x.until("sorted by "+c.column, by(c.column, c.rows))
	}
	x.press("?q") // an unknown key is passed over
	if code, errs := end(); code != ExitOK || errs != "" {
		t.Errorf("exit code %d, %s", code, errs)
	}
	x.restored()
}

// TestTopInASmallWindow: no line is longer than the window, there are no more of them, and none moves the others up.
func TestTopInASmallWindow(t *testing.T) {
	x := newTerminal(t, 40, 5)
	end := x.top(&busy{}, "--sort", "name")
	lines := x.until("picture", func(lines []string) bool { return strings.Contains(lines[0], "by name") })
	if len(lines) != 5 {
		t.Errorf("%d lines: %q", len(lines), lines)
	}
	for _, l := range lines {
		if len([]rune(l)) > 40 {
			t.Errorf("%d characters: %q", len([]rune(l)), l)
		}
	}
	x.press("\x03") // ^C is a key there
	if code, errs := end(); code != ExitOK || errs != "" {
		t.Errorf("exit code %d, %s", code, errs)
	}
	x.restored()
}

// TestTopWhenTheServerGoes: the terminal is as before, and the reason stands on it.
func TestTopWhenTheServerGoes(t *testing.T) {
	api := &busy{}
	x := newTerminal(t, 140, 30)
	end := x.top(api)
	x.until("picture", func(lines []string) bool { return strings.Contains(lines[0], "by cpu") })
	api.mu.Lock()
	api.gone = true
	api.mu.Unlock()
	if code, errs := end(); code == ExitOK || !strings.Contains(errs, "the server stops") || !strings.Contains(errs, "fix: Wait.") {
		t.Errorf("exit code %d, %s", code, errs)
	}
	x.restored()
}

// TestTopOnce: without a terminal it is one picture with rates over the interval.
func TestTopOnce(t *testing.T) {
	dir := home(t, &busy{})
	code, out, errs := run(dir, "top", "--interval", "0.1", "--sort", "memory")
	if code != ExitOK || errs != "" || strings.Contains(out, "\x1b") || order(strings.Split(out, "\n")) != "Hoarder Cruncher Absent" || !strings.Contains(out, "50.0") {
		t.Errorf("exit code %d, %s%s", code, out, errs)
	}
	for _, args := range [][]string{{"--sort", "colour"}, {"--interval", "0"}} {
		if code, _, _ := run(dir, append([]string{"top"}, args...)...); code != ExitUsage {
			t.Errorf("%v: exit code %d", args, code)
		}
	}
}
