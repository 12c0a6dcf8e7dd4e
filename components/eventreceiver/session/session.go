// Package session keeps who is signed in over Thrift. Being idle ends a session, its age does not. It must not know how people
// sign in.
package session

import (
	"crypto/rand"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// MaxSessions is how many sessions exist at once; beyond it the one that was idle longest ends.
const MaxSessions = 20_000

// Session is one client that signed in.
type Session struct {
	ID, User string
	last     atomic.Int64 // unix ns of the last use
}

// Table is safe for concurrent use.
type Table struct {
	idle time.Duration
	now  func() time.Time

	// mu guards byID.
	mu   sync.RWMutex
	byID map[string]*Session
}

// New makes a table whose sessions end after idle without use. now is time.Now but for tests.
func New(idle time.Duration, now func() time.Time) *Table {
	return &Table{idle: idle, now: now, byID: map[string]*Session{}}
}

// Open starts a session with an id that can't be guessed, in the form of a UUID as DAS had it.
func (t *Table) Open(user string) *Session {
	var b [16]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	s := &Session{ID: fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]), User: user}
	s.last.Store(t.now().UnixNano())
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.byID) >= MaxSessions {
		t.makeRoom()
	}
	t.byID[s.ID] = s
	return s
}

// makeRoom ends the session that was idle longest; mu is held.
func (t *Table) makeRoom() {
	var oldest *Session
	for _, s := range t.byID {
		if oldest == nil || s.last.Load() < oldest.last.Load() {
			oldest = s
		}
	}
	delete(t.byID, oldest.ID)
}

// Use answers a session that is alive and keeps it alive; nil if it is unknown or has been idle too long. It does not allocate.
func (t *Table) Use(id []byte) *Session {
	t.mu.RLock()
	s := t.byID[string(id)]
	t.mu.RUnlock()
	if s == nil {
		return nil
	}
	now := t.now().UnixNano()
	if now-s.last.Load() > int64(t.idle) {
		t.Close(s.ID)
		return nil
	}
	s.last.Store(now)
	return s
}

// Close ends a session; an unknown id is no error.
func (t *Table) Close(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byID, id)
}

// Sweep forgets sessions that have been idle too long, and answers how many are left.
func (t *Table) Sweep() int {
	least := t.now().Add(-t.idle).UnixNano()
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, s := range t.byID {
		if s.last.Load() < least {
			delete(t.byID, id)
		}
	}
	return len(t.byID)
}

// Saved is a session as one process hands it to the next.
type Saved struct {
	ID, User string
	Last     time.Time
}

// Save gives all sessions.
func (t *Table) Save() []Saved {
	t.mu.RLock()
	defer t.mu.RUnlock()
	out := make([]Saved, 0, len(t.byID))
	for _, s := range t.byID {
		out = append(out, Saved{s.ID, s.User, time.Unix(0, s.last.Load())})
	}
	return out
}

// Restore adds sessions of an earlier process.
func (t *Table) Restore(all []Saved) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, x := range all {
		if len(t.byID) >= MaxSessions {
			return
		}
		s := &Session{ID: x.ID, User: x.User}
		s.last.Store(x.Last.UnixNano())
		t.byID[x.ID] = s
	}
}
