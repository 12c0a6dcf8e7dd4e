package deploy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"carbonado.dev/sdk/telemetry"
	"google.golang.org/protobuf/proto"

	"carbonado.dev/sdk/cause"
	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
)

// ServerRoot is where artifacts lie, relative to the repository; DropinsRoot is where packages are dropped. Files of both
// are listed; types claim folders of the first.
const (
	ServerRoot  = "deployment/server"
	DropinsRoot = "components/dropins"
)

// Times are the waits of this room; a zero field means its default.
type Times struct {
	// Debounce is the quiet time after the last file event before a look (500 ms); DebounceCap the longest delay (5 s).
	Debounce, DebounceCap time.Duration
	// Quiet is how long a file must stay the same between two looks, and be gone before it counts as deleted (1 s).
	Quiet time.Duration
	// Rescan is the time between looks without any event (15 s, Carbon's DeploymentUpdateInterval).
	Rescan time.Duration
	// Poll replaces Rescan where file events can't be had (2 s).
	Poll time.Duration
	// Call is how long one call of a deployer may take (30 s).
	Call time.Duration
}

func (t Times) orDefaults() Times {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&t.Debounce, 500*time.Millisecond)
	set(&t.DebounceCap, 5*time.Second)
	set(&t.Quiet, time.Second)
	set(&t.Rescan, 15*time.Second)
	set(&t.Poll, 2*time.Second)
	set(&t.Call, 30*time.Second)
	return t
}

// Options of a Service.
type Options struct {
	// Repository is the absolute path of repository/.
	Repository string
	// Data is the absolute path of repository/data/kernel/artifacts; it is made if missing.
	Data string
	// Deployers finds the owners of types.
	Deployers Deployers
	// Roles are this server's, for Carbon applications: regular expressions over an artifact's role.
	Roles []string
	// Resume: owners' processes run on from an earlier kernel, and keep what they were given.
	Resume bool
	// Bell is the source of file events; nil means the operating system's, or polling where there are none.
	Bell Doorbell
	// Times to wait; zero fields are defaults.
	Times Times
	// Now is the clock of ages and states; nil means time.Now.
	Now func() time.Time
	// Log takes one line per change; nil means none.
	Log hclog.Logger
	// OnChange is told each change of an artifact, in order, from the goroutine that made it; nil means nobody. For a file
	// that is gone, State is Gone. It must not block or call back.
	OnChange func(Artifact)
	// Listeners are told before and after each operation, in their order.
	Listeners []Listener
	// Telemetry takes spans of the operations; nil means none.
	Telemetry *telemetry.Registry
}

// Service keeps deployers equal to the disk. Its methods are safe for concurrent use; Run must run once.
type Service struct {
	repo  *os.Root
	base  string
	roots []string
	blobs *blobs
	who   Deployers
	apps  *apps
	bell  Doorbell
	times Times
	now   func() time.Time
	log   hclog.Logger
	told  func(Artifact)

	listeners []Listener
	telemetry *telemetry.Registry

	// owners is rung by Ring; scanned is closed after the first look.
	owners  chan struct{}
	scanned chan struct{}

	// telling keeps the reports of OnChange in order. It is taken while mu is held and kept beyond it.
	telling sync.Mutex

	mu        sync.Mutex // guards what follows
	entries   map[string]*entry
	needers   map[string]map[*entry]bool // name -> who stands on it or waits for it
	offered   map[string]int             // name -> how many offer it
	services  entry                      // no file: holds what Provide was told
	turns     map[string]chan struct{}   // owner -> its turn: one call at a time
	pauses    map[string]pause           // owner -> not called before
	used, top uint64                     // transaction ids given, and reserved on disk
	dirty     bool                       // the index on disk is old
	relook    bool                       // a kept content is missing: read the files again
	closed    bool

	// The following belong to the goroutine of Run alone.
	sightings map[string]sighting
	missing   map[string]time.Time
	looked    bool

	polling atomic.Bool
}

// pause keeps an owner that ended or hung in mid-call from being called again at once.
type pause struct {
	until      time.Time // zero once it is over
	tries      int
	generation uint64
}

// sighting is an unsettled file: how it looked, and since when.
type sighting struct {
	stamp stamp
	since time.Time
}

// New opens the repository and what is kept from earlier runs. The caller must Run the service, or Close it.
func New(o Options) (*Service, error) {
	repo, err := os.OpenRoot(o.Repository)
	if err != nil {
		return nil, ErrDisk.Wrap(err, "the repository can't be opened")
	}
	kept, err := openBlobs(o.Data)
	if err != nil {
		return nil, errors.Join(ErrDisk.Wrap(err, "kept artifacts can't be opened"), repo.Close())
	}
	x, err := kept.loadIndex()
	if err != nil {
		return nil, errors.Join(ErrDisk.Wrap(err, "the index of kept artifacts can't be read"), kept.close(), repo.Close())
	}
	s := &Service{
		repo: repo, base: o.Repository, roots: []string{ServerRoot, DropinsRoot}, blobs: kept, who: o.Deployers, bell: o.Bell,
		times: o.Times.orDefaults(), now: o.Now, log: o.Log, told: o.OnChange, listeners: o.Listeners, telemetry: o.Telemetry,
		owners: make(chan struct{}, 1), scanned: make(chan struct{}),
		entries: map[string]*entry{}, needers: map[string]map[*entry]bool{}, offered: map[string]int{},
		turns: map[string]chan struct{}{}, pauses: map[string]pause{}, used: x.Transactions, top: x.Transactions,
		sightings: map[string]sighting{}, missing: map[string]time.Time{},
	}
	s.apps = &apps{s: s, roles: o.Roles}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = hclog.NewNullLogger()
	}
	if s.told == nil {
		s.told = func(Artifact) {}
	}
	if s.bell == nil {
		if s.bell, err = NewDoorbell(); err != nil {
			s.log.Warn("file events can't be had, looking every few seconds", "every", s.times.Poll, "reason", err)
			s.bell = silentBell{}
		}
	}
	if x.damaged != nil {
		s.log.Warn("the damaged index of artifacts was set aside; it is made anew from the files", "kept", x.damaged)
	}
	for p, item := range x.Artifacts {
		e := newEntry(p)
		e.claim(Type{Type: item.Type, Suffix: path.Ext(p), InPlace: item.InPlace}, item.Owner)
		e.digest, e.revision, e.since, e.state = item.Digest, item.Revision, item.Since, Pending
		if item.InPlace || s.blobs.has(item.Good) {
			e.good = item.Good
		}
		if item.Application != "" {
			e.app, e.as, e.place, e.read = item.Application, item.As, item.Place, s.blobs.has(e.digest)
		}
		s.entries[p] = e
		if t := item.Taken; o.Resume && t != nil && s.blobs.has(t.Running) {
			e.earlier = t
		}
	}
	return s, nil
}

// Ring says that Deployers.Owners answers differently now. It never blocks.
func (s *Service) Ring() {
	select {
	case s.owners <- struct{}{}:
	default:
	}
}

// Reconsider hands the refused artifacts of a type, and those that wait, over again: what the owner decides by has changed.
func (s *Service) Reconsider(typ string) {
	s.mu.Lock()
	for _, e := range s.entries {
		if e.typ == typ && !e.absent && e.read && e.problem == nil && e.breaks < maxBreaks && e.tried != "" {
			e.due = true
		}
	}
	s.mu.Unlock()
	s.Ring()
}

// Scanned is closed once the repository has been looked at for the first time and what could be handed over was.
func (s *Service) Scanned() <-chan struct{} { return s.scanned }

// Close lets go of everything of a service that is not running. It may be called more than once.
func (s *Service) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	err := s.save()
	s.mu.Unlock()
	return errors.Join(err, s.bell.Close(), s.blobs.close(), s.repo.Close())
}

// List gives the artifacts of a type ("" is all), ordered by path.
func (s *Service) List(typ string) []Artifact {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []Artifact{}
	for _, e := range s.entries {
		if (typ == "" || e.typ == typ) && e.visible() {
			list = append(list, e.artifact())
		}
	}
	slices.SortFunc(list, func(a, b Artifact) int { return strings.Compare(a.Path, b.Path) })
	return list
}

// visible leaves out files that are gone, unless their owner did not let go of them.
func (e *entry) visible() bool { return !e.absent || e.state == Faulty }

// Run keeps deployers equal to the disk until ctx ends, and then closes the service. Calls under way get ctx.
func (s *Service) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var firstRing, ringDue, againDue, rescanDue time.Time
	for {
		select {
		case <-ctx.Done():
			return s.Close()
		case <-s.bell.Rings():
			now := time.Now()
			if firstRing.IsZero() {
				firstRing = now
			}
			ringDue = earliest(now.Add(s.times.Debounce), firstRing.Add(s.times.DebounceCap))
		case <-s.owners:
			if s.looked {
				s.converge(ctx)
			}
		case <-timer.C:
			if now := time.Now(); !now.Before(earliest(ringDue, againDue, rescanDue)) {
				again := s.look()
				firstRing, ringDue, againDue = time.Time{}, time.Time{}, time.Time{}
				if again {
					againDue = now.Add(s.times.Quiet)
				}
				rescanDue = now.Add(s.times.Rescan)
				if s.polling.Load() {
					rescanDue = now.Add(s.times.Poll)
				}
			}
			s.converge(ctx)
			if !s.looked {
				s.looked = true
				close(s.scanned)
			}
		}
		if s.mustRelook() {
			againDue = earliest(againDue, time.Now().Add(s.times.Quiet))
		}
		timer.Reset(max(0, time.Until(earliest(ringDue, againDue, rescanDue, s.retryDue()))))
	}
}

// earliest gives the first of the times that are set; the zero time, long past, if none is.
func earliest(times ...time.Time) time.Time {
	var first time.Time
	for _, t := range times {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

// retryDue is when the next artifact or owner may be tried again; zero if none is to be.
func (s *Service) retryDue() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	var first time.Time
	for _, e := range s.entries {
		first = earliest(first, e.retryAt)
	}
	for _, p := range s.pauses {
		first = earliest(first, p.until)
	}
	if !first.IsZero() {
		// The clock of states may be another than the timer's.
		first = time.Now().Add(first.Sub(s.now()))
	}
	return first
}

func (s *Service) mustRelook() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	must := s.relook
	s.relook = false
	return must
}

// add makes an entry. The caller holds mu, and has asked for the owners before it did.
func (s *Service) add(p string, owners []Owner) *entry {
	e := newEntry(p)
	e.state, e.since = Pending, s.now()
	if o, t, ok := match(owners, p); ok {
		e.claim(t, o.Component)
	}
	s.entries[p] = e
	return e
}

// settle sets state and cause. The caller holds mu.
func (s *Service) settle(e *entry, st State, why error) {
	if why == keep {
		return
	}
	var c *commonv1.Cause
	if why != nil {
		c = cause.Proto(why)
	}
	if e.state != st {
		e.state, e.since = st, s.now()
		s.dirty = true
	}
	if !proto.Equal(e.cause, c) {
		e.cause = c
	}
}

// unlockAndTell ends a critical section and reports what it changed, in order.
func (s *Service) unlockAndTell(entries ...*entry) {
	var news []Artifact
	for _, e := range entries {
		a := e.artifact()
		if !e.visible() {
			if !e.gone {
				continue
			}
			a.State, a.Cause = Gone, nil
		}
		r := e.reported
		if a.State == r.State && a.Digest == r.Digest && a.Running == r.Running && a.Revision == r.Revision && proto.Equal(a.Cause, r.Cause) {
			continue
		}
		e.reported = a
		news = append(news, a)
	}
	if len(news) == 0 {
		s.mu.Unlock()
		return
	}
	s.telling.Lock()
	s.mu.Unlock()
	defer s.telling.Unlock()
	for _, a := range news {
		if a.Cause != nil && a.State == Faulty {
			s.log.Warn("artifact", "path", a.Path, "state", a.State, "digest", brief(a.Digest), "cause", cause.FromProto(a.Cause, 0))
		} else {
			s.log.Info("artifact", "path", a.Path, "state", a.State, "digest", brief(a.Digest), "revision", a.Revision)
		}
		s.told(a)
	}
}

// save brings the index to disk and drops contents that nobody needs. The caller holds mu.
func (s *Service) save() error {
	if !s.dirty {
		return nil
	}
	x := index{Transactions: s.top, Artifacts: map[string]indexItem{}}
	used := map[string]bool{}
	for p, e := range s.entries {
		used[e.good], used[e.digest], used[e.running] = true, true, true
		if e.typ != "" && (e.good != "" || e.digest != "") {
			x.Artifacts[p] = indexItem{Application: e.app, As: e.as, Place: e.place, Type: e.typ, InPlace: e.inPlace, Owner: e.owner, Digest: e.digest, Good: e.good, Revision: e.revision, Since: e.since, Taken: e.taken()}
		}
	}
	if err := s.blobs.saveIndex(x); err != nil {
		return ErrDisk.Wrap(err, "the index of kept artifacts can't be written")
	}
	s.dirty = false
	if err := s.blobs.keep(used); err != nil {
		return ErrDisk.Wrap(err, "old contents can't be removed")
	}
	return nil
}

// match finds who takes a path.
func match(owners []Owner, p string) (Owner, Type, bool) {
	folder, file := path.Split(p)
	for _, o := range owners {
		for _, t := range o.Types {
			if folder == t.folder() && len(file) > len(t.Suffix) && strings.HasSuffix(file, t.Suffix) {
				return o, t, true
			}
		}
	}
	return Owner{}, Type{}, false
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func brief(digest string) string { return fmt.Sprintf("%.12s", digest) }
