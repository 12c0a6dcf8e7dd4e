// Package catalog is the set of stream definitions that are in force, each from one file. It must not know how files are
// deployed, nor who publishes events.
package catalog

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/codes"

	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/databridge"
	"carbonado.dev/sdk/databridge/streamdef"
)

// Errors of the catalogue.
var (
	ErrDuplicate = cause.Define("CBN-STR-003", "A stream is defined by another file already.", "Remove one of the two files, or give one another version.").Code(codes.AlreadyExists)
	ErrUnknown   = cause.Define("CBN-STR-004", "There is no such stream.", "See the files in eventstreams, or define the stream.").Code(codes.NotFound)
)

// Stream is a definition in force. It is immutable.
type Stream struct {
	*databridge.Layout
	// File is the definition's artifact: its file's name without suffix.
	File string
}

// Catalog is safe for concurrent use.
type Catalog struct {
	// layouts by id is replaced as a whole, so that the path of events takes no lock.
	layouts atomic.Pointer[map[string]*databridge.Layout]

	// mu guards all below.
	mu      sync.Mutex
	byID    map[string]*Stream
	byFile  map[string]*Stream
	changed chan struct{} // closed and renewed at each change
}

// New makes an empty catalogue.
func New() *Catalog {
	c := &Catalog{byID: map[string]*Stream{}, byFile: map[string]*Stream{}, changed: make(chan struct{})}
	c.layouts.Store(&map[string]*databridge.Layout{})
	return c
}

// Layout finds a stream by its id; nil if it is unknown. It neither blocks nor allocates.
func (c *Catalog) Layout(id []byte) *databridge.Layout { return (*c.layouts.Load())[string(id)] }

// Get finds a stream by its id.
func (c *Catalog) Get(id string) (*Stream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.byID[id]; s != nil {
		return s, nil
	}
	return nil, ErrUnknown.New("stream %.210s", id)
}

// Streams are all streams by id, in order, and a channel that is closed at the next change.
func (c *Catalog) Streams() ([]*Stream, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.SortedFunc(maps.Values(c.byID), func(a, b *Stream) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	}), c.changed
}

// Check says why a definition can't come from a file: its id is another file's, or it is at odds with another version.
func (c *Catalog) Check(file string, d *streamdef.Definition) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.check(file, d)
}

func (c *Catalog) check(file string, d *streamdef.Definition) error {
	if have := c.byID[d.ID()]; have != nil && have.File != file {
		return ErrDuplicate.New("stream %s is defined by eventstreams/%s.json", d.ID(), have.File)
	}
	for _, s := range c.byID {
		if s.File == file {
			continue // it is being replaced
		}
		if err := d.Conflict(s.Definition); err != nil {
			return err
		}
	}
	return nil
}

// Put takes the definition of a file, new or changed. On an error the present one stays in force.
func (c *Catalog) Put(file string, d *streamdef.Definition) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.check(file, d); err != nil {
		return err
	}
	old := c.byFile[file]
	if old != nil && string(old.Definition.JSON()) == string(d.JSON()) {
		return nil
	}
	if old != nil {
		delete(c.byID, old.ID)
	}
	s := &Stream{Layout: databridge.NewLayout(d), File: file}
	c.byID[s.ID], c.byFile[file] = s, s
	c.publish()
	return nil
}

// Remove forgets a file; an unknown one is no error. It answers the id of the stream that is gone.
func (c *Catalog) Remove(file string) (id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.byFile[file]
	if s == nil {
		return ""
	}
	delete(c.byFile, file)
	delete(c.byID, s.ID)
	c.publish()
	return s.ID
}

// publish makes a change visible; mu is held.
func (c *Catalog) publish() {
	layouts := make(map[string]*databridge.Layout, len(c.byID))
	for id, s := range c.byID {
		layouts[id] = s.Layout
	}
	c.layouts.Store(&layouts)
	close(c.changed)
	c.changed = make(chan struct{})
}

// Await waits until a stream is defined.
func (c *Catalog) Await(ctx context.Context, id string) (*Stream, error) {
	for {
		c.mu.Lock()
		s, changed := c.byID[id], c.changed
		c.mu.Unlock()
		if s != nil {
			return s, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ErrUnknown.New("stream %.210s", id)
		}
	}
}
