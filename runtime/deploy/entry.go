package deploy

import (
	"path"
	"slices"
	"strings"
	"time"

	"carbonado.dev/sdk/cause"
	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
)

// entry is what this room holds about one path. Service.mu guards all of it.
type entry struct {
	path, name string
	typ, owner string
	inPlace    bool // its owner reads the file itself; no content is kept

	// Of an artifact in an application (app.go): the application's path, where it would lie as a file, its place in the order. held: a
	// transaction over the application hands it over, nobody else.
	app, as string
	place   int
	held    bool
	notice  *commonv1.Cause // what the owner says of content that it took

	// What lies on disk.
	stamp   stamp  // the file as it was when digest was read
	read    bool   // digest was read in this run and is the file's present content, as far as is known
	absent  bool   // the file is gone, surely
	gone    bool   // absent, and nothing is left to do about it now: told as gone
	digest  string // last whole content seen, of an earlier run too
	problem error  // why the file can't be an artifact; nil if it can

	// What the owner has taken.
	good       string // last content that was taken, of an earlier run too; its bytes are kept
	generation uint64 // process of the owner that the following is about
	running    string // content that it runs
	parked     bool   // running waits: it is known to the owner, but does nothing
	tried      string // content that it has answered about
	due        bool   // to be handed again although tried
	retryAt    time.Time
	retries    int
	breaks     int    // times the owner ended or hung while it was given digest
	woken      uint64 // batch in which it was last handed again after a refusal
	offers     []string
	earlier    *taken   // by an earlier kernel's word, until the owner is there
	needs      []string // names that answers have said it stands on or waits for

	// What is told.
	state    State
	since    time.Time
	cause    *commonv1.Cause
	revision uint64
	reported Artifact // last told to OnChange
}

func newEntry(p string) *entry {
	return &entry{path: p, name: path.Base(p)}
}

// claim says who takes the file.
func (e *entry) claim(typ Type, owner string) {
	e.typ, e.owner, e.inPlace = typ.Type, owner, typ.InPlace
	e.name = strings.TrimSuffix(path.Base(e.path), typ.Suffix)
}

// content records what a whole reading of the file found.
func (e *entry) content(digest string, st stamp) {
	e.stamp, e.read, e.absent, e.gone, e.problem = st, true, false, false, nil
	if e.digest != digest {
		e.digest = digest
		e.revision++
		e.breaks, e.retries, e.retryAt = 0, 0, time.Time{}
	}
}

// forget drops what was known of an owner's process that is no more. Contents and files stay known.
func (e *entry) forget() {
	e.generation, e.running, e.parked, e.tried, e.due = 0, "", false, "", false
	e.retryAt, e.retries = time.Time{}, 0
}

// where is the path that decides who takes it.
func (e *entry) where() string {
	if e.app != "" {
		return e.as
	}
	return e.path
}

// label is what calls need to know of an entry; unlike the entry it can be used without Service.mu.
type label struct {
	path, typ, name string
	inPlace         bool
}

func (e *entry) label() label { return label{e.path, e.typ, e.name, e.inPlace} }

// handed reports whether the present process of the owner has been told of the artifact.
func (e *entry) handed() bool { return e.running != "" || e.tried != "" }

func (e *entry) artifact() Artifact {
	a := Artifact{
		Path: e.path, Type: e.typ, Name: e.name, Owner: e.owner, State: e.state, Revision: e.revision, Digest: e.digest,
		Running: e.running, Since: e.since, Cause: e.cause, Application: e.app,
	}
	if e.parked {
		a.Running = ""
	}
	if e.state == Waiting {
		a.WaitsFor = slices.Clone(e.needs)
	}
	return a
}

// action is what has to be done about an entry next. They are done in this order within a batch, so that a name that one
// artifact gives up is free for another.
type action int

const (
	nothing action = iota
	undeploy
	update
	deploy
)

// step is one action with the content it hands over.
type step struct {
	action action
	digest string
}

// next decides what has to be done about an entry whose owner runs as process o. It changes nothing but what belonged to an
// earlier process.
func (e *entry) next(o Owner, now time.Time) step {
	if e.generation != o.Generation {
		e.forget()
		e.generation = o.Generation
	}
	if now.Before(e.retryAt) {
		return step{}
	}
	if e.absent {
		if e.handed() || e.good != "" {
			return step{undeploy, e.digest}
		}
		return step{}
	}
	if bad := e.breaks >= maxBreaks; bad || !e.read || e.problem != nil {
		// The file can't be used; a process that has nothing gets the last good content.
		if e.running == "" && e.good != "" && (e.tried != e.good || e.due) && !(bad && e.good == e.digest) {
			return step{deploy, e.good}
		}
		return step{}
	}
	if e.running == e.digest && !e.parked && !e.due {
		return step{}
	}
	if e.tried == e.digest && !e.due {
		return step{}
	}
	if e.running != "" {
		return step{update, e.digest}
	}
	return step{deploy, e.digest}
}

// rest gives the state of an entry for which nothing is to be done now, where no answer of the owner has set it.
func (e *entry) rest() (State, error) {
	switch {
	case e.problem != nil:
		return Faulty, e.problem
	case e.breaks >= maxBreaks:
		return e.state, keep
	case !e.read && e.running != e.digest && e.tried != e.digest:
		return Pending, ErrBeingWritten.New("%s is still being written", e.path)
	case e.running != "" && e.running == e.digest && !e.parked:
		return Deployed, nil
	}
	return e.state, keep
}

// keep tells settle to leave state and cause as they are.
var keep = cause.Define("CBN-DEP-000", "Nothing changed.", "")
