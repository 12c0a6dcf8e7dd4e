package indexing

import (
	"context"
	"errors"
	"time"

	"carbonado.dev/carbonado/components/indexing/codec"
	"carbonado.dev/carbonado/components/indexing/lucene"
	"carbonado.dev/carbonado/components/indexing/query"
	"carbonado.dev/carbonado/components/indexing/search"
	"carbonado.dev/carbonado/components/indexing/shard"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

const (
	// mostHits bounds start+count: so many hits are held in memory at once.
	mostHits = 1_000_000
	// A wait for the index without a deadline ends after this.
	waitTime = time.Minute
)

// service answers the Index contract.
type service struct {
	analyticsv1.UnimplementedIndexServer
	e     *engine
	limit time.Duration
}

func checkTenant(t int32) error {
	if t != tenant {
		return ErrTenant.New("tenant %d", t)
	}
	return nil
}

// question is a query ready to be asked of a table's snapshots.
type question struct {
	t        *table
	snaps    []*shard.Snapshot
	schema   *schema
	complete bool
	node     query.Node
}

func (q *question) release() {
	for _, s := range q.snaps {
		s.Release()
	}
}

func (s *service) ask(ctx context.Context, name, text string) (*question, error) {
	t, err := s.e.table(ctx, name)
	if err != nil {
		return nil, err
	}
	q := &question{t: t}
	q.snaps, q.schema, q.complete = t.acquire()
	q.node, err = lucene.Parse(text, lucene.Options{Field: q.schema.field, Stop: s.e.cfg.stop(), AllowLeadingWildcard: s.e.cfg.AllowLeadingWildcard})
	if err != nil {
		q.release()
		return nil, err
	}
	return q, nil
}

// examine looks at a table over which code failed or met damage: if its files are damaged they are read again from the store. The
// answer is what to say to whoever met it.
func (e *engine) examine(t *table, err error) error {
	if !errors.Is(err, codec.ErrDamaged) && !errors.Is(err, shard.ErrPanic) {
		return err
	}
	snaps, _, _ := t.acquire()
	var damage error
	for _, snap := range snaps {
		if verr := snap.Verify(); damage == nil {
			damage = verr
		}
		snap.Release()
	}
	if damage == nil {
		e.log.Error("the index code failed over whole files", "table", t.name, "reason", err)
		return ErrInternal.Wrap(err, "index of table %s", t.name)
	}
	reason := ErrRebuild.Wrap(damage, "index of table %s", t.name)
	e.log.Error("index is damaged and read again from the store", "table", t.name, "reason", damage)
	if rerr := e.replay(t, reason); rerr != nil {
		return rerr
	}
	return reason
}

// Search implements the contract.
func (s *service) Search(ctx context.Context, req *analyticsv1.SearchRequest) (*analyticsv1.SearchResponse, error) {
	if err := checkTenant(req.Tenant); err != nil {
		return nil, err
	}
	if req.Count <= 0 {
		return nil, ErrRequest.New("count is %d; it says how many records to answer", req.Count)
	}
	if req.Start < 0 || req.Start+req.Count > mostHits || req.Start+req.Count < 0 {
		return nil, ErrRequest.New("start %d and count %d: from 0 up to %d together", req.Start, req.Count, mostHits)
	}
	ctx, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	q, err := s.ask(ctx, req.Table, req.Query)
	if err != nil {
		return nil, err
	}
	defer q.release()
	r := search.Request{Node: q.node, Start: int(req.Start), Count: int(req.Count)}
	for _, f := range req.Sort {
		by, err := q.schema.sort(f.Field, f.Descending)
		if err != nil {
			return nil, err
		}
		r.Sort = append(r.Sort, by)
	}
	results := make([]search.Result, len(q.snaps))
	for i, snap := range q.snaps {
		if results[i], err = search.Run(ctx, snap, r); err != nil {
			return nil, s.e.examine(q.t, err)
		}
	}
	all := search.Combine(results, r)
	resp := &analyticsv1.SearchResponse{Total: int64(all.Total), Complete: q.complete, Hits: make([]*analyticsv1.Hit, len(all.Hits))}
	for i, h := range all.Hits {
		resp.Hits[i] = &analyticsv1.Hit{Seq: h.Seq, Score: h.Score}
	}
	return resp, nil
}

// Count implements the contract.
func (s *service) Count(ctx context.Context, req *analyticsv1.SearchCountRequest) (*analyticsv1.SearchCountResponse, error) {
	if err := checkTenant(req.Tenant); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	q, err := s.ask(ctx, req.Table, req.Query)
	if err != nil {
		return nil, err
	}
	defer q.release()
	total := 0
	for _, snap := range q.snaps {
		n, err := search.Count(ctx, snap, q.node)
		if err != nil {
			return nil, s.e.examine(q.t, err)
		}
		total += n
	}
	return &analyticsv1.SearchCountResponse{Count: int64(total), Complete: q.complete}, nil
}

// WaitForIndexing implements the contract.
func (s *service) WaitForIndexing(ctx context.Context, req *analyticsv1.WaitForIndexingRequest) (*analyticsv1.WaitForIndexingResponse, error) {
	if err := checkTenant(req.Tenant); err != nil {
		return nil, err
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, waitTime)
		defer cancel()
	}
	if err := s.e.look(ctx); err != nil {
		return nil, err
	}
	tables := s.e.allTables()
	if req.Table != "" {
		t, err := s.e.table(ctx, req.Table)
		if err != nil {
			return nil, err
		}
		tables = []*table{t}
	}
	targets := map[string]uint64{}
	s.e.mu.Lock()
	for _, t := range tables {
		targets[t.name] = s.e.infos[t.name].GetLastSeq()
	}
	s.e.mu.Unlock()
	for _, t := range tables {
		if err := s.e.waitFor(ctx, t, targets[t.name]); err != nil {
			return nil, err
		}
	}
	return &analyticsv1.WaitForIndexingResponse{}, nil
}

// waitFor returns when a table has committed everything up to a position, which it hurries.
func (e *engine) waitFor(ctx context.Context, t *table, position uint64) error {
	t.mu.Lock()
	t.waiters++
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		t.waiters--
		t.mu.Unlock()
	}()
	for {
		t.mu.Lock()
		at, changed, closed := t.committed(), t.changed, t.closed
		if at < position && t.position >= position && !t.dirty.IsZero() {
			t.dirty = time.Unix(1, 0) // long due
			ring(e.wake)
		}
		t.mu.Unlock()
		if closed {
			return ErrTable.New("table %s is no longer indexed", t.name)
		}
		if at >= position {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ErrWait.Wrap(ctx.Err(), "table %s is at %d of %d", t.name, at, position)
		}
	}
}

// Clear implements the contract. The replay goes on after the answer.
func (s *service) Clear(ctx context.Context, req *analyticsv1.ClearIndexRequest) (*analyticsv1.ClearIndexResponse, error) {
	if err := checkTenant(req.Tenant); err != nil {
		return nil, err
	}
	if err := s.e.look(ctx); err != nil {
		return nil, err
	}
	t, err := s.e.table(ctx, req.Table)
	if err != nil {
		return nil, err
	}
	s.e.log.Info("index is cleared and read again from the store", "table", t.name)
	if err := s.e.replay(t, nil); err != nil {
		return nil, err
	}
	return &analyticsv1.ClearIndexResponse{}, nil
}

// Status implements the contract.
func (s *service) Status(ctx context.Context, req *analyticsv1.IndexStatusRequest) (*analyticsv1.IndexStatusResponse, error) {
	if err := checkTenant(req.Tenant); err != nil {
		return nil, err
	}
	if err := s.e.look(ctx); err != nil {
		return nil, err
	}
	resp := &analyticsv1.IndexStatusResponse{}
	for _, t := range s.e.allTables() {
		st := &analyticsv1.IndexStatusResponse_Table{Table: t.name}
		snaps, _, _ := t.acquire()
		st.Position = 1<<64 - 1
		for _, snap := range snaps {
			st.Documents += int64(snap.Documents())
			st.Segments += int32(len(snap.Parts))
			st.Bytes += snap.Bytes()
			st.Position = min(st.Position, snap.Position)
			snap.Release()
		}
		s.e.mu.Lock()
		st.StorePosition = max(s.e.infos[t.name].GetLastSeq(), st.Position)
		s.e.mu.Unlock()
		resp.Tables = append(resp.Tables, st)
	}
	return resp, nil
}
