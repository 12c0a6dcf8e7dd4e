package supervisor

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/digest"
	"carbonado.dev/carbonado/runtime/guardian"

	"pgregory.net/rapid"
)

func TestFreshDigestIsNotRemembered(t *testing.T) {
	path := filepath.Join(t.TempDir(), "program")
	digests := &digest.Cache{}
	for n := range 3 {
		text := fmt.Sprint(n)
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256([]byte(text))
		f, err := open(digests, path, hex.EncodeToString(sum[:]))
		if err != nil {
			t.Fatalf("written a moment ago: %v", err)
		}
		f.Close()
	}
}

func TestNoProgramIsRefused(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	digests := &digest.Cache{}
	for _, path := range []string{plain, dir, filepath.Join(dir, "none")} {
		if _, err := open(digests, path, strings.Repeat("0", 64)); !errors.Is(err, ErrExecutable) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestAttemptsLieElsewhereWhenPathsGetTooLong(t *testing.T) {
	brief, err := os.MkdirTemp("", "s") // t.TempDir's path is too long already
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(brief)
	short, err := newAttempts(filepath.Join(brief, "run"), false)
	if err != nil {
		t.Fatal(err)
	}
	folder, err := short.add("EventReceiver", 1, 0, false)
	if err != nil || filepath.Dir(folder) != short.root || short.elsewhere != "" {
		t.Errorf("%s, %v", folder, err)
	}
	long := filepath.Join(t.TempDir(), strings.Repeat("d", 100), "run")
	a, err := newAttempts(long, false)
	if err != nil {
		t.Fatal(err)
	}
	folder, err = a.add("AComponentWhoseNameIsLongerThanAnyoneWouldLike", 999999, 0, false)
	if err != nil || len(folder)+socketNameMost > socketPathMost || strings.HasPrefix(folder, long) {
		t.Errorf("%s, %v", folder, err)
	}
	if info, err := os.Stat(filepath.Dir(folder)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	named, err := os.ReadFile(filepath.Join(long, elsewhereFile))
	if err != nil || strings.TrimSpace(string(named)) != a.root {
		t.Errorf("the run folder names %q, %v", named, err)
	}
	// The next kernel clears what a killed one left.
	b, err := newAttempts(long, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(a.root); !os.IsNotExist(err) {
		t.Errorf("%s is left", a.root)
	}
	if err := b.close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(long, elsewhereFile)); !os.IsNotExist(err) {
		t.Error("the name of the folder is left")
	}
	// A file that somebody else made names nothing that is removed.
	precious := t.TempDir()
	os.WriteFile(filepath.Join(long, elsewhereFile), []byte(precious), 0o600)
	c, err := newAttempts(long, false)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
}

func TestLinesAreWhatWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		length := rapid.OneOf(rapid.IntRange(0, 80), rapid.SampledFrom([]int{64<<10 - 1, 64 << 10, 64<<10 + 1, lineMost - 1, lineMost, lineMost + 1, lineMost + 70000}))
		var want []string
		var cuts []int
		var all bytes.Buffer
		for i := range rapid.IntRange(0, 6).Draw(t, "lines") {
			text := strings.Repeat(string(rune('a'+i)), length.Draw(t, "length"))
			all.WriteString(text + "\n")
			cut := max(0, len(text)-lineMost)
			want, cuts = append(want, text[:len(text)-cut]), append(cuts, cut)
		}
		if rapid.Bool().Draw(t, "unfinished") {
			all.WriteString("the end")
			want, cuts = append(want, "the end"), append(cuts, 0)
		}
		n := 0
		check := func(text []byte, cut int) {
			if n >= len(want) || string(text) != want[n] || cut != cuts[n] {
				t.Fatalf("line %d has %d bytes and %d are cut", n, len(text), cut)
			}
			n++
		}
		readLines(bytes.NewReader(all.Bytes()), check)
		if n != len(want) {
			t.Fatalf("%d lines of %d", n, len(want))
		}
		// The same in pieces through a writer.
		n = 0
		var got []line
		var mu sync.Mutex
		o := newOutput(func(l line) { mu.Lock(); got = append(got, l); mu.Unlock() }, func(int64) {}, time.Now)
		w := &lineWriter{out: o, from: fromStdout}
		for b := all.Bytes(); len(b) > 0; {
			k := min(len(b), rapid.IntRange(1, 1<<17).Draw(t, "piece"))
			if m, err := w.Write(b[:k]); m != k || err != nil {
				t.Fatal(m, err)
			}
			b = b[k:]
		}
		if len(w.part) > 0 {
			w.flush()
		}
		o.close()
		<-o.done
		for _, l := range got {
			check([]byte(l.text), l.cut)
		}
	})
}

func TestAllowanceOfLines(t *testing.T) {
	now := time.Unix(0, 0)
	var logged int
	var left int64
	o := newOutput(func(line) { logged++ }, func(n int64) { left += n }, func() time.Time { return now })
	o.mu.Lock()
	allowed := 0
	for range rateBurst + 500 {
		if o.allowed() {
			allowed++
		}
	}
	now = now.Add(time.Second)
	for range ratePerSecond + 500 {
		if o.allowed() {
			allowed++
		}
	}
	o.mu.Unlock()
	if allowed != rateBurst+ratePerSecond {
		t.Errorf("%d lines were allowed", allowed)
	}
	o.put(fromStderr, []byte("fatal error: out of memory"), 0)
	o.close()
	<-o.done
	if tail, hungry := o.last(); logged != 0 || left != 1 || !hungry || len(tail) != 1 {
		t.Errorf("%d logged, %d left out, tail %q", logged, left, tail)
	}
}

func TestCase66LastWordsOfThoseWhoseMemoryRanOut(t *testing.T) {
	for _, c := range []struct {
		words      string
		said, last bool
	}{
		{"fatal error: runtime: out of memory", true, true},
		{"fatal error: runtime: cannot allocate memory", true, true},
		{"# There is insufficient memory for the Java Runtime Environment to continue.", true, true},
		{"Exception in thread \"main\" java.lang.OutOfMemoryError: Java heap space", true, false},
		{"terminate called after throwing an instance of 'std::bad_alloc'", true, true},
		{"memory allocation of 1048576 bytes failed", true, true},
		{"==7==ERROR: ThreadSanitizer failed to allocate 0x1000 bytes", true, true},
		{"_duckdb.OutOfMemoryException: Out of Memory Error: failed to allocate data of size 1 GiB", true, false},
		{"fork/exec: Cannot allocate memory", true, false},
		{"fatal error: concurrent map writes", false, false},
		{"a write of 12 bytes failed", false, false},
	} {
		if said, last := saysOutOfMemory([]byte(c.words)); said != c.said || last != c.last {
			t.Errorf("%q: said %t, last %t", c.words, said, last)
		}
	}
	// What a process survives counts for its next lines only.
	o := newOutput(func(line) {}, func(int64) {}, time.Now)
	o.put(fromStderr, []byte("java.lang.OutOfMemoryError: Java heap space"), 0)
	if _, hungry := o.last(); !hungry {
		t.Error("it was its last word")
	}
	for range TailLines {
		o.put(fromStderr, []byte("back at work"), 0)
	}
	if _, hungry := o.last(); hungry {
		t.Error("it went on for long")
	}
	o.close()
	<-o.done
	for _, c := range []struct {
		exit   guardian.Exit
		hungry bool
		want   component.ResultKind
	}{
		{guardian.Exit{Code: 2}, true, component.ResultOutOfMemory},
		{guardian.Exit{Code: -1, Signal: syscall.SIGABRT}, true, component.ResultOutOfMemory},
		{guardian.Exit{Code: -1, Signal: syscall.SIGKILL, OutOfMemory: true}, false, component.ResultOutOfMemory},
		{guardian.Exit{Code: -1, Signal: syscall.SIGKILL}, true, component.ResultSignal},
		{guardian.Exit{Code: -1, Signal: syscall.SIGABRT}, false, component.ResultSignal},
		{guardian.Exit{Code: 5}, true, component.ResultExit},
		{guardian.Exit{Code: 2}, false, component.ResultExit},
	} {
		if got := exitOf(c.exit, component.ResultNone, c.hungry).Result.Kind; got != c.want {
			t.Errorf("%+v, hungry %t: %s", c.exit, c.hungry, got)
		}
	}
}

func TestHandshakeLine(t *testing.T) {
	for text, want := range map[string]bool{
		"1|1|unix|/run/x|grpc|":      true,
		"1|1|unix|/run/x|grpc|abc|1": true,
		"1|2|tcp|127.0.0.1:1":        true,
		"2|1|unix|/run/x|grpc":       true, // go-plugin says what is wrong with it
		"one|1|unix|/run/x":          false,
		"1|1|pipe|/run/x":            false,
		"1|1|unix":                   false,
		"":                           false,
		"a|b|c|d|e":                  false,
	} {
		if isHandshake([]byte(text)) != want {
			t.Errorf("%q: want %t", text, want)
		}
	}
}
