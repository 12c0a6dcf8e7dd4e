package idle

import (
	"context"
	"testing"
	"testing/synctest"
)

func TestMemoryIsReturnedOnceAfterABurst(t *testing.T) {
	now := uint64(100 << 20)
	frees := 0
	w := watcher{read: func() uint64 { return now }, free: func() { frees++ }}
	ticks := func(n int, each uint64) {
		for range n {
			now += each
			w.tick()
		}
	}
	ticks(10, 50<<20)
	if frees != 0 {
		t.Fatal("memory was returned under load")
	}
	ticks(2, 1<<10)
	if frees != 0 {
		t.Fatal("memory was returned before the process was idle long enough")
	}
	ticks(10, 1<<10)
	if frees != 1 {
		t.Fatalf("memory was returned %d times after one burst", frees)
	}
	ticks(3, 50<<20)
	ticks(10, 1<<10)
	if frees != 2 {
		t.Fatalf("memory was returned %d times after two bursts", frees)
	}
}

func TestWatchEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			Watch(ctx)
		}()
		cancel()
		<-done
	})
}
