package throttle

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

var limits = Limits{Free: 3, First: time.Second, Max: 10 * time.Second, Forget: time.Minute, Keys: 4}

func TestDelaysDoubleUpToTheMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := New(limits, time.Now)
		for i, want := range []time.Duration{0, 0, 0, 1, 2, 4, 8, 10, 10} {
			th.Failed("k")
			if got := th.Wait("k"); got != want*time.Second {
				t.Errorf("after %d failures: wait %v, want %v", i+1, got, want*time.Second)
			}
		}
		time.Sleep(4 * time.Second)
		if got := th.Wait("k"); got != 6*time.Second {
			t.Errorf("four seconds later: wait %v, want 6s", got)
		}
		if got := th.Wait("other"); got > 0 {
			t.Errorf("another key waits %v", got)
		}
	})
}

func TestSuccessAndTimeForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := New(limits, time.Now)
		fail := func(n int) {
			for range n {
				th.Failed("k")
			}
		}
		fail(4)
		th.Succeeded("k")
		if got := th.Wait("k"); got > 0 {
			t.Errorf("after a success: wait %v", got)
		}
		fail(3)
		time.Sleep(limits.Forget + time.Second)
		fail(1)
		if got := th.Wait("k"); got > 0 {
			t.Errorf("the fourth failure came after the time to forget, and waits %v", got)
		}
	})
}

func TestManyFailuresDoNotOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := New(limits, time.Now)
		for range 200 {
			th.Failed("k")
			if got := th.Wait("k"); got < 0 || got > limits.Max {
				t.Fatalf("wait %v", got)
			}
		}
	})
}

func TestRemembersOnlySoManyKeys(t *testing.T) {
	th := New(limits, time.Now)
	for i := range 10 {
		th.Failed(fmt.Sprint(i))
	}
	if len(th.keys) != limits.Keys || th.order.Len() != limits.Keys {
		t.Fatalf("%d keys and %d in order, want %d", len(th.keys), th.order.Len(), limits.Keys)
	}
	if th.keys["9"] == nil || th.keys["0"] != nil {
		t.Error("the oldest must go, the newest stay")
	}
}
