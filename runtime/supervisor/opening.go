package supervisor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// openingMost is how much of what stands where the handshake belongs is shown to a person.
const openingMost = 48

// opening keeps the first bytes of a process's standard output until its handshake comes, also those of a line that never ends. Safe for
// concurrent use.
type opening struct {
	mu      sync.Mutex // guards what follows
	bytes   []byte
	all     int
	done    bool
	version int // of the handshake
}

// Write never fails.
func (o *opening) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.done {
		o.bytes = append(o.bytes, p[:min(len(p), openingMost-len(o.bytes))]...)
		o.all += len(p)
	}
	return len(p), nil
}

// shaken takes the handshake's line.
func (o *opening) shaken(line []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.done = true
	if f := strings.SplitN(string(line), "|", 3); len(f) == 3 {
		o.version, _ = strconv.Atoi(strings.TrimSpace(f[1])) // isHandshake has looked
	}
}

// text says what stood where the handshake belongs; empty where that came, or nothing did.
func (o *opening) text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.done || o.all == 0:
		return ""
	case o.all > len(o.bytes):
		return fmt.Sprintf("; where its handshake belongs it printed %q and %d bytes more", o.bytes, o.all-len(o.bytes))
	}
	return fmt.Sprintf("; where its handshake belongs it printed %q", o.bytes)
}

// spoken is the version of the handshake; 0 if that did not come.
func (o *opening) spoken() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.version
}

// foreign is the version of the handshake if it is none of those; 0 otherwise.
func (o *opening) foreign(versions []int) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.done || slices.Contains(versions, o.version) {
		return 0
	}
	return o.version
}

// list prints versions as a person does.
func list(versions []int) string {
	var words []string
	for _, v := range slices.Sorted(slices.Values(versions)) {
		words = append(words, strconv.Itoa(v))
	}
	return strings.Join(words, ", ")
}
