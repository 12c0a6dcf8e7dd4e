package layout

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ExitLifeline is the exit code of a component whose lifeline ended: its guardian is gone.
const ExitLifeline = 112

// Kernel names the process that a component obeys. It is the only peer that the control socket lets in.
type Kernel struct {
	PID int
	UID int
}

// Line returns what the guardian writes to a lifeline to name k: "kernel PID UID\n". A later line replaces an earlier one.
func (k Kernel) Line() string { return fmt.Sprintf("kernel %d %d\n", k.PID, k.UID) }

// ParseKernel reads one line of a lifeline, with or without its newline. ok is false for lines of a kind that this version
// doesn't know; a reader skips them.
func ParseKernel(line string) (k Kernel, ok bool) {
	n, err := fmt.Sscanf(line, "kernel %d %d", &k.PID, &k.UID)
	return k, err == nil && n == 2 && k.PID > 0 && k.UID >= 0
}

// Lifeline is the component's end of a pipe whose other end the guardian alone holds. It tells who the kernel is, and it ends
// when the guardian ends, however that dies. Safe for concurrent use.
type Lifeline struct {
	source io.ReadCloser
	done   chan struct{} // closed when the reading goroutine has ended
	first  chan struct{} // closed when the kernel is known

	mu     sync.Mutex // guards kernel, closed
	kernel Kernel
	known  bool
	closed bool
}

// firstLineMost is how long Take waits for the first line, which the guardian writes before it forks.
const firstLineMost = 5 * time.Second

// Take takes over FDLifeline of this process and watches it for the rest of the process's life: when it ends, the process exits
// at once with ExitLifeline, without running anything. It returns when the kernel is known, so that its first connection is let
// in. An error means that this process was not started by a guardian.
func Take() (*Lifeline, error) {
	var st unix.Stat_t
	if err := unix.Fstat(FDLifeline, &st); err != nil {
		return nil, fmt.Errorf("no lifeline at descriptor %d: this program is started by carbonado, not by hand: %w", FDLifeline, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return nil, fmt.Errorf("descriptor %d is no lifeline: this program is started by carbonado, not by hand", FDLifeline)
	}
	// Non-blocking, so that the runtime's poller waits and no thread is spent on it.
	if err := unix.SetNonblock(FDLifeline, true); err != nil {
		return nil, fmt.Errorf("lifeline: %w", err)
	}
	unix.CloseOnExec(FDLifeline)
	l := Watch(os.NewFile(FDLifeline, "lifeline"), func() { os.Exit(ExitLifeline) })
	ctx, cancel := context.WithTimeout(context.Background(), firstLineMost)
	defer cancel()
	if _, err := l.Kernel(ctx); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Watch reads lifeline lines from r until it ends, then calls ended once, unless Close was called before. Take is Watch over
// FDLifeline; a test gives a pipe of its own.
func Watch(r io.ReadCloser, ended func()) *Lifeline {
	l := &Lifeline{source: r, done: make(chan struct{}), first: make(chan struct{})}
	go l.read(ended)
	return l
}

func (l *Lifeline) read(ended func()) {
	defer close(l.done)
	lines := bufio.NewScanner(l.source)
	for lines.Scan() {
		k, ok := ParseKernel(lines.Text())
		if !ok {
			continue
		}
		l.mu.Lock()
		first := !l.known
		l.kernel, l.known = k, true
		l.mu.Unlock()
		if first {
			close(l.first)
		}
	}
	l.mu.Lock()
	closed := l.closed
	l.mu.Unlock()
	if !closed {
		ended()
	}
}

// Kernel returns the present kernel, waiting for the first line until ctx ends.
func (l *Lifeline) Kernel(ctx context.Context) (Kernel, error) {
	select {
	case <-l.first:
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.kernel, nil
	case <-ctx.Done():
		return Kernel{}, fmt.Errorf("the lifeline names no kernel: %w", ctx.Err())
	}
}

// Admits reports whether a process is the present kernel. It doesn't wait: before the first line nobody is admitted. Both
// numbers must be those of SO_PEERCRED.
func (l *Lifeline) Admits(pid, uid int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.known && l.kernel.PID == pid && l.kernel.UID == uid
}

// Close ends the watch without calling ended, and waits for it. For tests; a component's lifeline is watched to its end.
func (l *Lifeline) Close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	err := l.source.Close()
	<-l.done
	return err
}
