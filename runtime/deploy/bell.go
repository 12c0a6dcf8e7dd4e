package deploy

import (
	"errors"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// Doorbell says that it is worth looking at the disk. It may ring too often and too late: what counts is what a look finds.
type Doorbell interface {
	// Rings gets a value after something happened below a watched folder.
	Rings() <-chan struct{}
	// Watch makes folders (absolute) the watched set. added is true if one was new: what happened in it before may have been
	// missed, so it must be looked at again. An error means that some can't be watched: the caller polls.
	Watch(folders []string) (added bool, err error)
	// Touched gives the paths since the last call, each with whether it was written in place (false: it appeared whole,
	// by a rename or a link), and forgets them.
	Touched() map[string]bool
	// Close ends the watching and waits for it.
	Close() error
}

// touchedLimit bounds what a doorbell remembers between two looks. Beyond it, everything counts as written.
const touchedLimit = 4096

// notifyBell is a Doorbell on fsnotify. Its goroutine ends with Close.
type notifyBell struct {
	watcher *fsnotify.Watcher
	rings   chan struct{}
	done    chan struct{}

	mu       sync.Mutex // guards what follows
	touched  map[string]bool
	overflow bool
}

// NewDoorbell makes a doorbell on the operating system's file events.
func NewDoorbell() (Doorbell, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	b := &notifyBell{watcher: w, rings: make(chan struct{}, 1), done: make(chan struct{}), touched: map[string]bool{}}
	go b.listen()
	return b, nil
}

func (b *notifyBell) listen() {
	defer close(b.done)
	for {
		select {
		case ev, ok := <-b.watcher.Events:
			if !ok {
				return
			}
			b.note(ev)
		case _, ok := <-b.watcher.Errors:
			if !ok {
				return
			}
			// Overflow or not, events may be lost: nothing is known to have appeared whole.
			b.mu.Lock()
			b.overflow = true
			b.mu.Unlock()
			b.ring()
		}
	}
}

func (b *notifyBell) note(ev fsnotify.Event) {
	if ev.Op == fsnotify.Chmod {
		return
	}
	b.mu.Lock()
	switch {
	case len(b.touched) >= touchedLimit:
		b.overflow = true
	case ev.Has(fsnotify.Write):
		b.touched[ev.Name] = true
	case ev.Has(fsnotify.Create):
		if !b.touched[ev.Name] {
			b.touched[ev.Name] = false
		}
	}
	b.mu.Unlock()
	b.ring()
}

func (b *notifyBell) ring() {
	select {
	case b.rings <- struct{}{}:
	default:
	}
}

func (b *notifyBell) Rings() <-chan struct{} { return b.rings }

func (b *notifyBell) Watch(folders []string) (bool, error) {
	present := map[string]bool{}
	for _, f := range b.watcher.WatchList() {
		present[f] = true
	}
	var added bool
	var errs []error
	for _, f := range folders {
		if present[f] {
			delete(present, f)
			continue
		}
		if err := b.watcher.Add(f); err != nil {
			errs = append(errs, err)
			continue
		}
		added = true
	}
	for f := range present {
		// Gone with its folder, as a rule: then there is nothing to remove.
		_ = b.watcher.Remove(f)
	}
	return added, errors.Join(errs...)
}

func (b *notifyBell) Touched() map[string]bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.touched
	if b.overflow {
		t = map[string]bool{}
	}
	b.touched, b.overflow = map[string]bool{}, false
	return t
}

func (b *notifyBell) Close() error {
	err := b.watcher.Close()
	<-b.done
	return err
}

// silentBell never rings: where no file events can be had, looks are taken by the clock alone.
type silentBell struct{}

func (silentBell) Rings() <-chan struct{}       { return nil }
func (silentBell) Watch([]string) (bool, error) { return false, errors.New("no file events") }
func (silentBell) Touched() map[string]bool     { return nil }
func (silentBell) Close() error                 { return nil }
