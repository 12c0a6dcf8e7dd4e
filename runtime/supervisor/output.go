package supervisor

import (
	"bufio"
	"bytes"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// lineMost is the longest line that reaches the log whole; the rest of a longer one is counted.
	lineMost = 256 << 10
	// queueLines and queueBytes bound what waits for the log.
	queueLines = 16 << 10
	queueBytes = 8 << 20
	// A component may log ratePerSecond lines in the long run and rateBurst at once. A flood would otherwise take the kernel's
	// time and the disk; what is left out is counted and said.
	ratePerSecond = 2000
	rateBurst     = 40000
	// tailLineMost is how much of a line Exit.Tail keeps.
	tailLineMost = 2 << 10
)

// stream is where a line came from.
type stream uint8

const (
	fromStdout stream = iota + 1
	fromStderr
	beforeHandshake
)

// line is one line of output on its way to the log.
type line struct {
	from stream
	text string
	cut  int // bytes left out at the end
}

// output carries a process's lines to the log. Whatever the log does, the process is never held up: lines that can't wait are left out
// and counted. Safe for concurrent use.
type output struct {
	emit func(line)    // called on one goroutine
	lost func(n int64) // likewise
	now  func() time.Time
	done chan struct{}

	mu      sync.Mutex // guards what follows
	more    *sync.Cond
	queue   []line
	bytes   int
	dropped int64
	tokens  float64
	filled  time.Time
	closed  bool
	tail    [TailLines][]byte
	tailed  int    // lines ever put in tail
	stderr  []byte // the last line of standard error
	// starved: the process said that memory ran out, in words that no process survives. hungry is the number of lines put in tail
	// when it said so in words that a process may survive; 0 is never.
	starved bool
	hungry  int
}

func newOutput(emit func(line), lost func(int64), now func() time.Time) *output {
	o := &output{emit: emit, lost: lost, now: now, done: make(chan struct{}), tokens: rateBurst, filled: now()}
	o.more = sync.NewCond(&o.mu)
	go o.run()
	return o
}

// put takes one line, without its newline. It doesn't wait, and doesn't keep text.
func (o *output) put(from stream, text []byte, cut int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	slot := &o.tail[o.tailed%TailLines]
	*slot = append((*slot)[:0], text[:min(len(text), tailLineMost)]...)
	o.tailed++
	if from == fromStderr && len(bytes.TrimSpace(text)) > 0 {
		o.stderr = append(o.stderr[:0], text[:min(len(text), tailLineMost)]...)
	}
	if from != fromStdout {
		said, last := saysOutOfMemory(text)
		o.starved = o.starved || last
		if said {
			o.hungry = o.tailed
		}
	}
	if o.closed || len(o.queue) >= queueLines || o.bytes+len(text) > queueBytes || !o.allowed() {
		o.dropped++
		return
	}
	o.queue = append(o.queue, line{from: from, text: string(text), cut: cut})
	o.bytes += len(text)
	o.more.Signal()
}

// allowed takes a token from the bucket. The caller holds mu.
func (o *output) allowed() bool {
	now := o.now()
	o.tokens = min(rateBurst, o.tokens+ratePerSecond*now.Sub(o.filled).Seconds())
	o.filled = now
	if o.tokens < 1 {
		return false
	}
	o.tokens--
	return true
}

// run emits lines until close.
func (o *output) run() {
	defer close(o.done)
	for {
		o.mu.Lock()
		for len(o.queue) == 0 && !o.closed {
			o.more.Wait()
		}
		lines, dropped, closed := o.queue, o.dropped, o.closed
		o.queue, o.bytes, o.dropped = nil, 0, 0
		o.mu.Unlock()
		for _, l := range lines {
			o.emit(l)
		}
		if dropped > 0 {
			o.lost(dropped)
		}
		if closed && len(lines) == 0 {
			return
		}
	}
}

// close lets what waits be emitted and ends. It does not wait for that; done tells.
func (o *output) close() {
	o.mu.Lock()
	o.closed = true
	o.more.Signal()
	o.mu.Unlock()
}

// last returns the end of the output, and whether the process said that memory ran out.
func (o *output) last() (lines []string, outOfMemory bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := max(0, o.tailed-TailLines); i < o.tailed; i++ {
		lines = append(lines, strings.ToValidUTF8(string(o.tail[i%TailLines]), "?"))
	}
	return lines, o.starved || (o.hungry > 0 && o.tailed-o.hungry < TailLines)
}

// dyingWords are what runtimes print when memory ran out and they end: the JVM of its own memory, C++ and with it DuckDB, the
// sanitizers.
var dyingWords = [][]byte{
	[]byte("insufficient memory for the Java Runtime Environment"), []byte("instance of 'std::bad_alloc'"),
	[]byte("Sanitizer failed to allocate"),
}

// complaint is the last line of standard error; empty if there was none.
func (o *output) complaint() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.ToValidUTF8(string(o.stderr), "?")
}

// saysOutOfMemory recognises what runtimes print when memory has run out. last: the process ends of it; otherwise it may have gone on.
func saysOutOfMemory(text []byte) (said, last bool) {
	if bytes.HasPrefix(text, []byte("fatal error: ")) { // Go
		last = bytes.Contains(text, []byte("out of memory")) || bytes.Contains(text, []byte("cannot allocate memory"))
		return last, last
	}
	if bytes.HasPrefix(text, []byte("memory allocation of ")) && bytes.HasSuffix(text, []byte(" bytes failed")) { // Rust
		return true, true
	}
	for _, words := range dyingWords {
		if bytes.Contains(text, words) {
			return true, true
		}
	}
	for _, words := range []string{"java.lang.OutOfMemoryError", "MemoryError", "Out of Memory Error", "Cannot allocate memory", "cannot allocate memory"} {
		if bytes.Contains(text, []byte(words)) { // Java, Python, DuckDB, the C library's ENOMEM
			return true, false
		}
	}
	return false, false
}

// readLines calls take for each line of r until r ends. A line longer than lineMost is cut; cut is the number of bytes left out. text is
// valid during the call only.
func readLines(r io.Reader, take func(text []byte, cut int)) {
	b := bufio.NewReaderSize(r, 4<<10)
	var long []byte
	cut := 0
	for {
		part, err := b.ReadSlice('\n')
		ended := err == nil
		if ended {
			part = part[:len(part)-1]
		}
		switch {
		case ended && len(long) == 0 && cut == 0:
			take(bytes.TrimSuffix(part, []byte("\r")), 0)
			continue
		case len(long)+len(part) <= lineMost:
			long = append(long, part...)
		default:
			room := lineMost - len(long)
			long = append(long, part[:room]...)
			cut += len(part) - room
		}
		if ended || (err != bufio.ErrBufferFull && len(long) > 0) {
			take(bytes.TrimSuffix(long, []byte("\r")), cut)
			long, cut = long[:0], 0
		}
		if err != nil && err != bufio.ErrBufferFull {
			return
		}
	}
}

// lineWriter makes lines of chunks: go-plugin gives what a component prints through os.Stdout in pieces of 1 KiB. It is used by one
// goroutine.
type lineWriter struct {
	out  *output
	from stream
	part []byte
	cut  int
}

func (w *lineWriter) Write(p []byte) (int, error) {
	n := len(p)
	for {
		text, rest, ended := bytes.Cut(p, []byte("\n"))
		room := min(len(text), lineMost-len(w.part))
		w.part = append(w.part, text[:room]...)
		w.cut += len(text) - room
		if !ended {
			return n, nil
		}
		w.flush()
		p = rest
	}
}

// flush ends the line under way.
func (w *lineWriter) flush() {
	w.out.put(w.from, bytes.TrimSuffix(w.part, []byte("\r")), w.cut)
	w.part, w.cut = w.part[:0], 0
}

// controlOf is the socket's path in a handshake line.
func controlOf(text []byte) string { return strings.SplitN(string(text), "|", 6)[3] }

// isHandshake recognises go-plugin's line: "1|VERSION|unix|ADDRESS|grpc…".
func isHandshake(text []byte) bool {
	f := strings.SplitN(string(text), "|", 6)
	if len(f) < 4 || (f[2] != "unix" && f[2] != "tcp") {
		return false
	}
	for _, number := range f[:2] {
		if _, err := strconv.Atoi(strings.TrimSpace(number)); err != nil {
			return false
		}
	}
	return true
}
