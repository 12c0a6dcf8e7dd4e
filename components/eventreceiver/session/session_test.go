package session

import (
	"regexp"
	"testing"
	"time"
)

// TestIdleNotAge: a session in use outlives any age; one that is idle ends.
func TestIdleNotAge(t *testing.T) {
	now := time.Unix(1000, 0)
	table := New(30*time.Minute, func() time.Time { return now })
	s := table.Open("admin")
	idle := table.Open("other")
	if !regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`).MatchString(s.ID) || s.ID == idle.ID {
		t.Errorf("ids %s and %s", s.ID, idle.ID)
	}
	for range 10 {
		now = now.Add(20 * time.Minute)
		if got := table.Use([]byte(s.ID)); got != s {
			t.Fatalf("used every 20 minutes, gone at %s", now)
		}
	}
	if table.Use([]byte(idle.ID)) != nil {
		t.Error("a session idle for hours is alive")
	}
	now = now.Add(30*time.Minute + 1)
	if table.Use([]byte(s.ID)) != nil {
		t.Error("alive after 30 idle minutes")
	}
	if table.Use([]byte("guess")) != nil {
		t.Error("a guessed id")
	}
}

func TestSweepAndClose(t *testing.T) {
	now := time.Unix(1000, 0)
	table := New(time.Minute, func() time.Time { return now })
	table.Open("a")
	now = now.Add(2 * time.Minute)
	b, c := table.Open("b"), table.Open("c")
	table.Close(c.ID)
	table.Close("unknown")
	if left := table.Sweep(); left != 1 || table.Use([]byte(b.ID)) == nil || table.Use([]byte(c.ID)) != nil {
		t.Errorf("%d left", left)
	}
}

func TestTheIdlestMakesRoom(t *testing.T) {
	now := time.Unix(1000, 0)
	table := New(time.Hour, func() time.Time { return now })
	first := table.Open("first")
	now = now.Add(time.Second)
	for range MaxSessions - 1 {
		table.Open("x")
	}
	last := table.Open("last")
	if table.Use([]byte(first.ID)) != nil || table.Use([]byte(last.ID)) == nil || table.Sweep() != MaxSessions {
		t.Error("the idlest session should make room for the newest")
	}
}
