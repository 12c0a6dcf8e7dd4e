// Package dataservice is the component DataService: it opens the embedded store on the datasources' word and serves it. It must
// not know who writes and reads.
package dataservice

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"time"

	"carbonado.dev/carbonado/components/dataservice/datasources"
	"carbonado.dev/carbonado/components/dataservice/server"
	"carbonado.dev/carbonado/components/dataservice/store"
	"carbonado.dev/sdk/component"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

// Options are the component's CLI verbs: none.
var Options []component.Option

// exit ends the process when the store can't go on. Replaced by tests.
var exit = func() { os.Exit(1) }

type config struct {
	Fsync        *bool `json:"fsync"`
	LogFileMiB   int64 `json:"logFileMiB"`
	CutRows      int64 `json:"cutRows"`
	CutSeconds   int   `json:"cutSeconds"`
	GraceSeconds int   `json:"graceSeconds"`
	FeedMiB      int64 `json:"feedMiB"`
}

// Start makes the component.
func Start(c *component.C) error {
	var cfg config
	if err := c.Config(&cfg); err != nil {
		return err
	}
	s := &service{c: c, cfg: cfg}
	c.Manage(s)
	srv := server.New(s.current)
	analyticsv1.RegisterRecordStoreServer(c, srv)
	analyticsv1.RegisterEventLogServer(c, server.NewLog(s.current))
	analyticsv1.RegisterChangeFeedServer(c, server.NewFeed(s.current))
	return nil
}

// service owns the store between Acquire and Release.
type service struct {
	c       *component.C
	cfg     config
	sources *datasources.Set

	// mu guards store.
	mu    sync.RWMutex
	store *store.Store
}

func (s *service) current() (*store.Store, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.store == nil {
		return nil, store.ErrClosed.New("the store is not open")
	}
	return s.store, nil
}

// Prepare reads the datasources, so that a mistake there is seen before the log is taken.
func (s *service) Prepare(context.Context) error {
	set, err := datasources.Read(filepath.Join(s.c.RepositoryFolder(), "conf", "datasources", datasources.FileName))
	if err != nil {
		return err
	}
	for _, n := range set.Notices {
		s.c.Log().Warn(n)
	}
	s.sources = set
	return nil
}

// Acquire opens the store and replays its log.
func (s *service) Acquire(context.Context) error {
	begin := time.Now()
	st, err := store.Open(store.Options{
		Dir:         filepath.Join(s.c.DataFolder(), "store"),
		Segments:    s.c.Share("DataService/segments"),
		Staging:     s.c.Share("DataService/staging"),
		Stores:      s.sources.RecordStores(),
		Log:         s.c.Log(),
		LogFileSize: s.cfg.LogFileMiB << 20,
		NoSync:      s.cfg.Fsync != nil && !*s.cfg.Fsync,
		CutRows:     s.cfg.CutRows,
		CutAge:      time.Duration(s.cfg.CutSeconds) * time.Second,
		Grace:       time.Duration(s.cfg.GraceSeconds) * time.Second,
		FeedBytes:   s.cfg.FeedMiB << 20,
		Broken:      s.broken,
		Full:        s.full,
	})
	if err != nil {
		s.c.SetHealth(component.Critical, err)
		return err
	}
	s.c.Log().Info("the store is open", "tables", len(st.Tables()), "replay", time.Since(begin).Round(time.Millisecond).String())
	s.mu.Lock()
	s.store = st
	s.mu.Unlock()
	s.c.SetHealth(component.OK, nil)
	return nil
}

// Drain lets go of everything that waits on the store.
func (s *service) Drain(context.Context) error { return nil }

// Release closes the store, so that another process may open it.
func (s *service) Release(context.Context) error {
	s.mu.Lock()
	st := s.store
	s.store = nil
	s.mu.Unlock()
	if st == nil {
		return nil
	}
	return st.Close()
}

// broken ends the process: what the log has is replayed at the next start, what it has not was not acknowledged.
func (s *service) broken(err error) {
	s.c.SetHealth(component.Critical, err)
	go func() {
		// The health and the log lines get out first.
		select {
		case <-time.After(500 * time.Millisecond):
		case <-s.c.Context().Done():
		}
		exit()
	}()
}

// full tells health and log when the log's disk gets full, and when it has space again.
func (s *service) full(err error) {
	if err == nil {
		s.c.Log().Info("there is space for the log again; writes go on")
		s.c.SetHealth(component.OK, nil)
		return
	}
	s.c.Log().Error("writes are refused until there is space", "error", err)
	s.c.SetHealth(component.Critical, err)
}
