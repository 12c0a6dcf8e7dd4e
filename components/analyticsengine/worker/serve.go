package worker

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"carbonado.dev/carbonado/components/analyticsengine/statement"
	"carbonado.dev/sdk/handshake/layout"
)

// Name is the worker's argv[0] and its executable's name within the package.
const Name = "DuckDB"

const (
	// socket is the worker's end of the socket pair.
	socket = 3
	// batchRows and batchBytes bound the rows of one reply.
	batchRows  = 1024
	batchBytes = 256 << 10
)

// Called reports whether this process was started as a worker.
func Called() bool { return filepath.Base(os.Args[0]) == Name }

// Main is a worker's main function. It ends with the process that started it.
func Main(open statement.Open) {
	// ^C reaches the whole group; the kernel decides what happens then.
	signal.Ignore(syscall.SIGINT)
	_ = layout.SetProcessName(Name)
	conn, err := connect()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s is started by the component AnalyticsEngine, not by hand (%v).\n", Name, err)
		os.Exit(64)
	}
	if err := Serve(conn, open); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", Name, err)
		os.Exit(1)
	}
}

func connect() (net.Conn, error) {
	f := os.NewFile(socket, "engine")
	if f == nil {
		return nil, os.ErrInvalid
	}
	defer f.Close()
	return net.FileConn(f)
}

// Serve answers requests until the other end closes.
func Serve(conn net.Conn, open statement.Open) error {
	s := &server{open: open, enc: gob.NewEncoder(conn)}
	dec := gob.NewDecoder(conn)
	requests := make(chan request)
	ended := make(chan error, 1)
	go func() { ended <- s.answer(requests) }()
	err := s.read(dec, requests)
	close(requests)
	conn.Close()
	s.cancel(0)
	return errors.Join(err, <-ended)
}

// server is the worker's side of a conversation.
type server struct {
	open statement.Open
	enc  *gob.Encoder
	db   statement.Database

	// mu guards the call that runs now.
	mu   sync.Mutex
	call uint64
	stop context.CancelFunc
	gone bool
}

// read hands requests on, and ends a call as soon as it is cancelled.
func (s *server) read(dec *gob.Decoder, requests chan<- request) error {
	for {
		var r request
		if err := dec.Decode(&r); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if r.Op == opCancel {
			s.cancel(r.Call)
			continue
		}
		s.begin(r.Call)
		requests <- r
	}
}

// begin names the call that runs next; a cancel that comes before it has its context counts.
func (s *server) begin(call uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.call, s.stop = call, nil
}

// enter gives a call its context.
func (s *server) enter(call uint64) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone || s.call != call {
		cancel()
		return ctx, cancel
	}
	s.stop = cancel
	return ctx, cancel
}

// cancel ends a call; 0 is every one, now and later.
func (s *server) cancel(call uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = s.gone || call == 0
	if call != 0 && call != s.call {
		return
	}
	if s.stop != nil {
		s.stop()
	}
	s.call = 0
}

func (s *server) answer(requests <-chan request) error {
	defer func() {
		if s.db != nil {
			_ = s.db.Close()
		}
	}()
	var failed error
	for r := range requests {
		if failed != nil {
			continue
		}
		ctx, cancel := s.enter(r.Call)
		out := reply{Call: r.Call, Last: true}
		if err := s.do(ctx, r, &out); err != nil {
			out.fail(err)
		}
		cancel()
		failed = s.enc.Encode(out)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return nil // nobody reads any more
	}
	return failed
}

// do runs one call.
func (s *server) do(ctx context.Context, r request, out *reply) error {
	if r.Op == opOpen {
		if s.db != nil {
			return statement.ErrEngine.New("a statement runs already")
		}
		l, err := r.Limits.statement()
		if err != nil {
			return err
		}
		db, err := s.open(ctx, l)
		if err == nil {
			s.db = db
		}
		return err
	}
	if s.db == nil {
		return statement.ErrEngine.New("no statement runs")
	}
	var err error
	switch r.Op {
	case opCheck:
		out.Uses, err = s.db.Check(ctx, r.Query)
	case opQualify:
		out.Query, err = s.db.Qualify(ctx, r.Query, r.Uses)
	case opLock:
		err = s.db.Lock(ctx, r.Files, r.Names)
	case opTable:
		err = s.db.AddTable(ctx, r.Table.statement())
	case opDescribe:
		out.Columns, err = s.db.Describe(ctx, r.Query)
	case opQuery:
		sink := &sink{enc: s.enc, call: r.Call}
		if out.Result, err = s.db.Query(ctx, r.Query, r.MaxRows, sink); err == nil {
			out.Columns, out.Rows, out.Data = sink.columns, len(sink.rows), pack(sink.rows)
		}
	case opCopy:
		out.Count, err = s.db.Copy(ctx, r.Query, r.Write)
	case opClose:
		err = s.db.Close()
		s.db = nil
	default:
		err = statement.ErrEngine.New("unknown request %d", r.Op)
	}
	return err
}

// sink sends rows in batches; what remains goes with the last reply.
type sink struct {
	enc     *gob.Encoder
	call    uint64
	columns []statement.ResultColumn
	rows    [][]any
	bytes   int
}

func (k *sink) Columns(cols []statement.ResultColumn) error {
	k.columns = cols
	return nil
}

func (k *sink) Row(values []any) error {
	k.rows = append(k.rows, append([]any(nil), values...))
	for _, v := range values {
		switch v := v.(type) {
		case string:
			k.bytes += len(v)
		case []byte:
			k.bytes += len(v)
		}
		k.bytes += 16
	}
	if len(k.rows) < batchRows && k.bytes < batchBytes {
		return nil
	}
	if err := k.enc.Encode(reply{Call: k.call, Columns: k.columns, Rows: len(k.rows), Data: pack(k.rows)}); err != nil {
		return statement.ErrEngine.Wrap(err, "rows can't be sent")
	}
	k.columns, k.rows, k.bytes = nil, k.rows[:0], 0
	return nil
}
