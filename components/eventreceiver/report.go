package eventreceiver

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/databridge"
)

// quiet is how long repeats of one error of one method are summed up instead of logged.
const quiet = 10 * time.Second

// report logs what went wrong with clients: the first of a kind at once, repeats as a sum. No text in it comes from a password or a
// session id.
type report struct {
	log    hclog.Logger
	events atomic.Uint64 // refused events

	// mu guards kinds.
	mu    sync.Mutex
	kinds map[string]*repeated
}

type repeated struct {
	logged time.Time
	count  int
	remote string
	last   error
}

func newReport(log hclog.Logger) *report { return &report{log: log, kinds: map[string]*repeated{}} }

// refused counts events that were answered with an error.
func (r *report) refused(events int) { r.events.Add(uint64(events)) }

// call is a databridge.Report.
func (r *report) call(remote, method string, err error) {
	code := cause.Unknown.ID()
	var e *cause.Error
	if errors.As(err, &e) {
		code = e.Code()
	}
	key := code + " " + method
	r.mu.Lock()
	k := r.kinds[key]
	if k == nil {
		k = &repeated{}
		r.kinds[key] = k
	}
	k.remote, k.last = remote, err
	first := time.Since(k.logged) > quiet
	if first {
		k.logged = time.Now()
	} else {
		k.count++
	}
	r.mu.Unlock()
	if first {
		r.write(key, remote, err, 1)
	}
}

// flush writes the sums that are due.
func (r *report) flush() {
	type line struct {
		key, remote string
		err         error
		count       int
	}
	var lines []line
	r.mu.Lock()
	for key, k := range r.kinds {
		if k.count > 0 {
			lines = append(lines, line{key, k.remote, k.last, k.count})
			k.count, k.logged = 0, time.Now()
		} else if time.Since(k.logged) > time.Hour {
			delete(r.kinds, key)
		}
	}
	r.mu.Unlock()
	for _, l := range lines {
		r.write(l.key, l.remote, l.err, l.count)
	}
}

func (r *report) write(key, remote string, err error, times int) {
	level := hclog.Warn
	if errors.Is(err, databridge.ErrSession) {
		level = hclog.Info // agents log in again by themselves
	}
	r.log.Log(level, "a client's call failed", "call", key, "remote", remote, "error", err.Error(), "times", times, "refusedEvents", r.events.Load())
}
