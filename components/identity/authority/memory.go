package authority

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"strings"
	"sync"
	"time"
)

// memory remembers successful password checks under an HMAC whose key lives and dies with the process. It is safe for
// concurrent use.
type memory struct {
	key [32]byte
	now func() time.Time

	// mu guards changes and entries.
	mu      sync.Mutex
	changes uint64
	entries map[string]success
}

type success struct {
	mac   [sha256.Size]byte
	until time.Time
}

// memorySize bounds the users that are remembered; beyond it everything is forgotten and learned anew.
const memorySize = 10_000

func newMemory(now func() time.Time) *memory {
	m := &memory{now: now, entries: make(map[string]success)}
	rand.Read(m.key[:]) // never fails: crypto/rand ends the process instead
	return m
}

// age grows with every forget. What was checked at one age must not be remembered at another.
func (m *memory) age() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changes
}

// remember notes a success that was checked against the store as of age.
func (m *memory) remember(user, password string, age uint64) {
	mac := m.mac(user, password)
	m.mu.Lock()
	defer m.mu.Unlock()
	if age != m.changes {
		return
	}
	if len(m.entries) >= memorySize {
		clear(m.entries)
	}
	m.entries[strings.ToLower(user)] = success{mac: mac, until: m.now().Add(rememberTime)}
}

func (m *memory) has(user, password string) bool {
	mac := m.mac(user, password)
	m.mu.Lock()
	defer m.mu.Unlock()
	known, ok := m.entries[strings.ToLower(user)]
	return ok && hmac.Equal(mac[:], known.mac[:]) && m.now().Before(known.until)
}

// forget drops a user, and all checks under way.
func (m *memory) forget(user string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.changes++
	delete(m.entries, strings.ToLower(user))
}

func (m *memory) mac(user, password string) (sum [sha256.Size]byte) {
	h := hmac.New(sha256.New, m.key[:])
	h.Write([]byte(strings.ToLower(user)))
	h.Write([]byte{0})
	h.Write([]byte(password))
	h.Sum(sum[:0])
	return sum
}
