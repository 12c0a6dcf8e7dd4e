package indexing

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"carbonado.dev/carbonado/components/indexing/analysis"
	"carbonado.dev/carbonado/components/indexing/disk"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

// tenant is carbon.super, the only one for now.
const tenant int32 = -1234

// config is the component's configuration; component.yaml has the defaults.
type config struct {
	ShardCount           int    `json:"shardCount"`
	CommitSeconds        int    `json:"commitSeconds"`
	CommitDocuments      int    `json:"commitDocuments"`
	SchemaSeconds        int    `json:"schemaSeconds"`
	StopWords            string `json:"stopWords"`
	AllowLeadingWildcard bool   `json:"allowLeadingWildcard"`
	Nice                 int    `json:"nice"`
	SearchSeconds        int    `json:"searchSeconds"`
}

func (c config) stop() []string {
	if c.StopWords == "english" {
		return analysis.English
	}
	return nil
}

// commitBytes bounds what waits in memory for a commit.
const commitBytes = 16 << 20

const (
	storeTime = 10 * time.Second // a call of the store
	firstWait = time.Second      // before a broken subscription is tried again, doubled each time
	mostWait  = 30 * time.Second
	warnAgain = time.Minute // a feed that ends again and again is warned of so often
)

// engine owns the tables' indexes: it learns which tables to index, feeds them from one subscription and commits them.
type engine struct {
	cfg    config
	folder string
	fs     disk.FS
	log    hclog.Logger
	store  analyticsv1.RecordStoreClient
	feed   analyticsv1.ChangeFeedClient
	health func(error)

	lock    *os.File
	ctx     context.Context
	cancel  context.CancelFunc
	workers sync.WaitGroup
	refresh chan struct{} // rings the schema watcher
	wake    chan struct{} // rings the committer
	diskBad atomic.Bool   // the last commit failed, for diskErr
	unwell  atomic.Bool   // health may have changed: the committer tells
	// refreshing lets one look at the store's tables happen at a time. It is taken before mu.
	refreshing sync.Mutex

	// mu guards what follows. It is taken before a table's mu.
	mu      sync.Mutex
	tables  map[string]*table
	infos   map[string]*analyticsv1.TableInfo
	restart context.CancelFunc // ends the present subscription; nil if there is none
	again   bool               // the subscription was ended on purpose
	feedErr error
	diskErr error
	wanted  chan struct{} // closed and replaced when tables change
}

func newEngine(cfg config, folder string, log hclog.Logger, store analyticsv1.RecordStoreClient, feed analyticsv1.ChangeFeedClient, health func(error)) *engine {
	return &engine{cfg: cfg, folder: folder, fs: disk.OS{}, log: log, store: store, feed: feed, health: health,
		refresh: make(chan struct{}, 1), wake: make(chan struct{}, 1), tables: map[string]*table{},
		infos: map[string]*analyticsv1.TableInfo{}, wanted: make(chan struct{})}
}

// Acquire takes the index's folder and starts to follow the store.
func (e *engine) Acquire(context.Context) error {
	if of := fmt.Sprint(tenant); filepath.Base(e.folder) != of { // it may be acquired again
		e.folder = filepath.Join(e.folder, of)
	}
	if err := os.MkdirAll(e.folder, 0o700); err != nil {
		return ErrDisk.Wrap(err, "index folder")
	}
	lock, err := os.OpenFile(filepath.Join(e.folder, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return ErrDisk.Wrap(err, "index folder")
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return ErrLocked.Wrap(err, "index folder")
	}
	e.lock = lock
	if err := renice(e.cfg.Nice); err != nil {
		e.log.Warn("could not lower the priority", "nice", e.cfg.Nice, "reason", err)
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	for _, w := range []func(context.Context){e.watchTables, e.follow, e.committer} {
		e.workers.Add(1)
		go func() {
			defer e.workers.Done()
			w(e.ctx)
		}()
	}
	return nil
}

// Release commits what is in memory and lets go of the folder. A second call does nothing.
func (e *engine) Release(context.Context) error {
	if e.lock == nil {
		return nil
	}
	e.cancel()
	e.workers.Wait()
	e.mu.Lock()
	tables := e.tables
	e.tables = map[string]*table{}
	e.mu.Unlock()
	var errs []error
	for _, t := range tables {
		t.mu.Lock()
		if !t.marked && !t.dirty.IsZero() {
			errs = append(errs, t.commit())
		}
		t.mu.Unlock()
		t.close()
	}
	err := e.lock.Close()
	e.lock = nil
	return errors.Join(append(errs, err)...)
}

// watchTables looks at the store's tables at intervals, and when it is rung.
func (e *engine) watchTables(ctx context.Context) {
	every := time.NewTicker(time.Duration(e.cfg.SchemaSeconds) * time.Second)
	defer every.Stop()
	for {
		if err := e.look(ctx); err != nil && ctx.Err() == nil {
			e.log.Debug("the store's tables can't be listed now", "reason", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		case <-e.refresh:
		}
	}
}

// look brings the set of indexed tables and their schemas up to date.
func (e *engine) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	e.refreshing.Lock()
	defer e.refreshing.Unlock()
	resp, err := e.store.ListTables(ctx, &analyticsv1.ListTablesRequest{Tenant: tenant})
	if err != nil {
		return err
	}
	infos := make(map[string]*analyticsv1.TableInfo, len(resp.Tables))
	for _, info := range resp.Tables {
		infos[info.Name] = info
	}
	e.mu.Lock()
	e.infos = infos
	var gone []*table
	for name, t := range e.tables {
		if info := infos[name]; info == nil || !newSchema(info).indexed() || t.isDropped() {
			gone = append(gone, t)
			delete(e.tables, name)
		}
	}
	e.mu.Unlock()
	changed := len(gone) > 0
	for _, t := range gone {
		e.log.Info("table is no longer indexed", "table", t.name)
		if infos[t.name] != nil && !t.isDropped() {
			// Nothing of it is indexed now; if that changes, it goes on where it stopped.
			t.close()
			continue
		}
		if err := t.remove(); err != nil {
			e.log.Warn("index folder can't be removed", "table", t.name, "reason", err)
		}
	}
	for name, info := range infos {
		added, err := e.adopt(name, info)
		if err != nil {
			e.setDisk(err)
			e.log.Error("index can't be opened", "table", name, "reason", err)
		}
		changed = changed || added
	}
	e.sweep(infos)
	if changed {
		e.resubscribe()
	}
	return nil
}

// adopt opens a table that is to be indexed and is not yet, or gives it its new schema.
func (e *engine) adopt(name string, info *analyticsv1.TableInfo) (added bool, err error) {
	e.mu.Lock()
	t := e.tables[name]
	e.mu.Unlock()
	if t != nil {
		if t.schemaVersion() != info.SchemaVersion {
			err = t.setSchema(newSchema(info))
		}
		return false, err
	}
	s := newSchema(info)
	if !s.indexed() {
		return false, nil
	}
	if t, err = e.openTable(name, s); err != nil {
		return false, err
	}
	t.target = info.LastSeq
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx.Err() != nil {
		t.close()
		return false, nil
	}
	e.tables[name] = t
	e.log.Info("table is indexed", "table", name, "position", t.position)
	return true, nil
}

// sweep removes folders of tables that were dropped while the component was down.
func (e *engine) sweep(infos map[string]*analyticsv1.TableInfo) {
	entries, err := os.ReadDir(e.folder)
	if err != nil {
		return
	}
	for _, d := range entries {
		name, err := url.PathUnescape(d.Name())
		if err != nil || !d.IsDir() {
			continue
		}
		if infos[name] == nil {
			e.log.Info("removing the index of a table that is no longer there", "table", name)
			_ = os.RemoveAll(filepath.Join(e.folder, d.Name()))
		}
	}
}

func (t *table) isDropped() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.dropped
}

func (t *table) schemaVersion() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.schema.version
}

// setSchema takes a new schema for the rows that follow. What is in memory keeps its own.
func (t *table) setSchema(s *schema) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, sh := range t.shards {
		if err := sh.Stage(); err != nil {
			return ErrDisk.Wrap(err, "table %s", t.name)
		}
		sh.Batch().Forget()
	}
	t.schema = s
	return nil
}

// resubscribe ends the present subscription, so that another one with the present tables follows.
func (e *engine) resubscribe() {
	e.mu.Lock()
	defer e.mu.Unlock()
	close(e.wanted)
	e.wanted = make(chan struct{})
	if e.again = true; e.restart != nil {
		e.restart()
	}
}

// table is the index of a table, after a look at the store if it is not known.
func (e *engine) table(ctx context.Context, name string) (*table, error) {
	name = strings.ToUpper(name)
	for try := range 2 {
		e.mu.Lock()
		t := e.tables[name]
		e.mu.Unlock()
		if t != nil {
			return t, nil
		}
		if try == 0 {
			if err := e.look(ctx); err != nil {
				return nil, err
			}
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.infos[name] == nil {
		return nil, ErrTable.New("there is no table %s", name)
	}
	return nil, ErrTable.New("table %s has no indexed columns", name)
}

func (e *engine) allTables() []*table {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := make([]*table, 0, len(e.tables))
	for _, t := range e.tables {
		all = append(all, t)
	}
	return all
}

// committer commits each table a while after its first uncommitted change.
func (e *engine) committer(ctx context.Context) {
	for {
		if e.unwell.Swap(false) {
			e.tellHealth()
		}
		for _, t := range e.allTables() {
			if err := t.suspect.Swap(nil); err != nil {
				_ = e.examine(t, *err) // logged there
			}
		}
		timer := (<-chan time.Time)(nil)
		if next := e.commitDue(time.Now()); !next.IsZero() {
			timer = time.After(max(time.Until(next), time.Millisecond))
		}
		select {
		case <-ctx.Done():
			return
		case <-e.wake:
		case <-timer:
		}
	}
}

// commitDue commits what is due and says when to look again.
func (e *engine) commitDue(now time.Time) (next time.Time) {
	for _, t := range e.allTables() {
		t.mu.Lock()
		if t.dirty.IsZero() || t.marked || t.closed {
			t.mu.Unlock()
			continue
		}
		due := t.dirty.Add(time.Duration(e.cfg.CommitSeconds) * time.Second)
		if due.After(now) {
			if next.IsZero() || due.Before(next) {
				next = due
			}
			t.mu.Unlock()
			continue
		}
		err := t.commit()
		t.mu.Unlock()
		e.committed(err)
	}
	return next
}

// committed takes note of how a commit ended: a failed one ends the subscription, whose successor starts at what is on disk.
func (e *engine) committed(err error) {
	if err == nil {
		e.setDisk(nil)
		return
	}
	e.commitFailed(err)
	e.setDisk(err)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.restart != nil {
		e.restart()
	}
}

// commitFailed says so once: while the disk stays bad every retry fails, and health says that.
func (e *engine) commitFailed(err error, about ...any) {
	log := e.log.Error
	if e.diskBad.Load() {
		log = e.log.Debug
	}
	log("commit failed; going back to the last one", append(about, "reason", err)...)
}

func (e *engine) setDisk(err error) {
	if err == nil {
		e.wellWritten()
		return
	}
	e.mu.Lock()
	e.diskErr = err
	e.mu.Unlock()
	e.diskBad.Store(true)
	e.healthChanged()
}

func (e *engine) setFeed(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil || e.feedErr != nil {
		e.feedErr = err
		e.healthChanged()
	}
}

// wellWritten notes that a commit succeeded. It takes no lock: it is called with a table's.
func (e *engine) wellWritten() {
	if e.diskBad.Swap(false) {
		e.healthChanged()
	}
}

// healthChanged leaves it to the committer to tell, which holds no lock.
func (e *engine) healthChanged() {
	e.unwell.Store(true)
	ring(e.wake)
}

// tellHealth reports the worst that is known; nil is well.
func (e *engine) tellHealth() {
	e.mu.Lock()
	err := e.feedErr
	if e.diskBad.Load() {
		err = e.diskErr
	}
	e.mu.Unlock()
	for _, t := range e.allTables() {
		t.mu.Lock()
		if err == nil {
			err = t.reason
		}
		t.mu.Unlock()
	}
	e.health(err)
}

func ring(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
