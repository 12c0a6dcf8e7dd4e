package worker

import (
	"context"
	"errors"
	"time"

	"carbonado.dev/carbonado/components/analyticsengine/sparksql"
	"carbonado.dev/carbonado/components/analyticsengine/statement"
	"carbonado.dev/sdk/cause"
)

const (
	// sendTimeout is how long a worker may take to read a request.
	sendTimeout = 10 * time.Second
	// cancelTimeout is how long a cancelled call may go on before the worker is killed.
	cancelTimeout = 5 * time.Second
	closeTimeout  = 10 * time.Second
)

// session is one statement's use of a worker. It implements statement.Database.
type session struct {
	pool *Pool
	w    *process
	// broken says that the conversation can't go on.
	broken bool
	closed bool
}

// call sends a request and reads its replies; each, if given, takes those that carry rows. If each fails the call is cancelled.
func (s *session) call(ctx context.Context, r request, each func(*reply) error) (*reply, error) {
	if s.broken || s.closed {
		return nil, statement.ErrWorker.New("the statement has no process any more")
	}
	w := s.w
	w.calls++
	r.Call = w.calls
	_ = w.conn.SetWriteDeadline(time.Now().Add(sendTimeout))
	if err := w.send(r); err != nil {
		return nil, s.lost(ctx, err)
	}
	cancel := func() {
		_ = w.conn.SetReadDeadline(time.Now().Add(cancelTimeout))
		_ = w.conn.SetWriteDeadline(time.Now().Add(cancelTimeout))
		_ = w.send(request{Call: r.Call, Op: opCancel}) // a worker that is gone is found by the reader
	}
	cancelled := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(cancelled)
		cancel()
	})
	defer func() {
		if !stop() {
			<-cancelled
		}
		_ = w.conn.SetReadDeadline(time.Time{})
	}()
	var refused error
	for {
		var a reply
		if err := w.dec.Decode(&a); err != nil {
			if err = s.lost(ctx, err); refused != nil {
				err = refused
			}
			return nil, err
		}
		err := a.failure()
		if err == nil && refused == nil && each != nil {
			if refused = each(&a); refused != nil && !a.Last {
				cancel()
			}
		}
		switch {
		case !a.Last:
		case refused != nil:
			return nil, refused
		case err != nil && ctx.Err() != nil:
			return nil, ended(ctx)
		default:
			return &a, err
		}
	}
}

// ended is why a call ended whose context did.
func ended(ctx context.Context) error {
	var why *cause.Error
	switch {
	case errors.As(context.Cause(ctx), &why):
		return why
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return statement.ErrTime.New("the statement was stopped at its time limit")
	}
	return statement.ErrCancelled.New("the statement was cancelled")
}

// lost ends a worker that can't be talked to any more, and says how it ended.
func (s *session) lost(ctx context.Context, err error) error {
	s.broken = true
	s.w.end(endTimeout)
	if ctx.Err() != nil {
		return ended(ctx)
	}
	if s.pool.isClosed() {
		return statement.ErrCancelled.New("the engine stops")
	}
	if s.w.err != nil {
		return statement.ErrWorker.New("its process ended: %v", s.w.err)
	}
	return statement.ErrWorker.Wrap(err, "its process ended")
}

// close gives the worker back; one whose statement can't be ended in order is ended itself.
func (s *session) close(ordered bool) error {
	if s.closed {
		return nil
	}
	var err error
	if ordered && !s.broken {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		_, err = s.call(ctx, request{Op: opClose}, nil)
	}
	s.closed = true
	switch {
	case s.broken:
	case !ordered || err != nil:
		_ = s.w.cmd.Process.Kill()
		s.w.end(endTimeout)
	default:
		s.pool.put(s.w)
	}
	return err
}

func (s *session) Close() error { return s.close(true) }

func (s *session) Check(ctx context.Context, q *sparksql.Rewritten) ([]statement.TableUse, error) {
	a, err := s.call(ctx, request{Op: opCheck, Query: q}, nil)
	if err != nil {
		return nil, err
	}
	return a.Uses, nil
}

func (s *session) Qualify(ctx context.Context, q *sparksql.Rewritten, uses []statement.TableUse) (*sparksql.Rewritten, error) {
	a, err := s.call(ctx, request{Op: opQualify, Query: q, Uses: uses}, nil)
	if err != nil {
		return nil, err
	}
	return a.Query, nil
}

func (s *session) Lock(ctx context.Context, files, uses []string) error {
	_, err := s.call(ctx, request{Op: opLock, Files: files, Names: uses}, nil)
	return err
}

func (s *session) AddTable(ctx context.Context, t statement.Table) error {
	_, err := s.call(ctx, request{Op: opTable, Table: wireTable(t)}, nil)
	return err
}

func (s *session) Describe(ctx context.Context, q *sparksql.Rewritten) ([]statement.ResultColumn, error) {
	a, err := s.call(ctx, request{Op: opDescribe, Query: q}, nil)
	if err != nil {
		return nil, err
	}
	return a.Columns, nil
}

func (s *session) Query(ctx context.Context, q *sparksql.Rewritten, maxRows int64, out statement.Sink) (statement.Result, error) {
	a, err := s.call(ctx, request{Op: opQuery, Query: q, MaxRows: maxRows}, func(a *reply) error {
		if a.Columns != nil {
			if err := out.Columns(a.Columns); err != nil {
				return err
			}
		}
		row := make([]any, len(a.Data))
		for n := range a.Rows {
			for i := range a.Data {
				row[i] = a.Data[i].at(n)
			}
			if err := out.Row(row); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return statement.Result{}, err
	}
	return a.Result, nil
}

func (s *session) Copy(ctx context.Context, q *sparksql.Rewritten, w statement.Write) (int64, error) {
	a, err := s.call(ctx, request{Op: opCopy, Query: q, Write: w}, nil)
	if err != nil {
		return 0, err
	}
	return a.Count, nil
}
