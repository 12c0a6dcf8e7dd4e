// Package idle gives the memory of a process back to the system when the process has been idle for a while: with GOGC=400 a burst leaves
// several times the live heap behind, and nothing else would collect it. It must not know what the process does.
package idle

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// After is how long a process must have been idle (SEAMS.md section 2).
	After = 30 * time.Second
	// look is how often it looks.
	look = 10 * time.Second
	// quiet is how many bytes an idle process may allocate in After: health checks, logs, a trickle of events.
	quiet = 8 << 20
	// worth is how much must have been allocated since the last time to give memory back again.
	worth = 1 << 20
)

const allocated = "/gc/heap/allocs:bytes"

// Watch returns memory whenever the process has become idle, until ctx ends.
func Watch(ctx context.Context) {
	t := time.NewTicker(look)
	defer t.Stop()
	w := watcher{read: readAllocated, free: Return}
	for {
		select {
		case <-t.C:
			w.tick()
		case <-ctx.Done():
			return
		}
	}
}

func readAllocated() uint64 {
	s := []metrics.Sample{{Name: allocated}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// Return gives memory back now: what the heap doesn't need, and the pages of code that only the start needed. It collects twice, because
// a sync.Pool gives up its buffers at the second collection only.
func Return() {
	debug.FreeOSMemory()
	debug.FreeOSMemory()
	leaveCode()
}

// watcher decides at each tick.
type watcher struct {
	read func() uint64
	free func()
	// past are the readings of the last After, oldest first.
	past []uint64
	// freed is the reading when memory was last given back.
	freed uint64
}

func (w *watcher) tick() {
	now := w.read()
	w.past = append(w.past, now)
	const span = int(After/look) + 1
	if len(w.past) < span {
		return
	}
	w.past = w.past[len(w.past)-span:]
	if now-w.past[0] > quiet || now-w.freed < worth {
		return
	}
	w.free()
	w.freed = w.read()
}
