package rest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow/ipc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

// maxKeys bounds the keys of one request.
const maxKeys = 10_000

func (s *Service) records(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("table")
	req := &analyticsv1.ReadRequest{Tenant: tenant, Table: name, Columns: columnsParameter(r), Count: -1}
	from, err := number(r, "from", math.MinInt64, math.MinInt64)
	if err != nil {
		return err
	}
	to, err := number(r, "to", math.MaxInt64, math.MinInt64)
	if err != nil {
		return err
	}
	if req.Start, err = number(r, "start", 0, 0); err != nil {
		return err
	}
	if req.Count, err = number(r, "count", -1, -1); err != nil {
		return err
	}
	// DAS's open ends: the least and the greatest number.
	if from != math.MinInt64 {
		req.From = &from
	}
	if to != math.MaxInt64 {
		req.To = &to
	}
	if req.Count == 0 {
		// To the store 0 means all.
		if _, err := s.table(r, name); err != nil {
			return err
		}
		return s.stream(w, r, name, nil)
	}
	return s.stream(w, r, name, []*analyticsv1.ReadRequest{req})
}

func (s *Service) keyedRecords(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		ValueBatches []map[string]any `json:"valueBatches"`
		Columns      []string         `json:"columns"`
	}
	if err := body(w, r, "List of records are empty", &in); err != nil {
		return err
	}
	if len(in.ValueBatches) == 0 || len(in.ValueBatches) > maxKeys {
		return ErrRequest.New("valueBatches has %d entries; 1 to %d are allowed", len(in.ValueBatches), maxKeys)
	}
	name := r.PathValue("table")
	req := &analyticsv1.ReadRequest{Tenant: tenant, Table: name, Columns: in.Columns}
	for i, batch := range in.ValueBatches {
		values := make(map[string]string, len(batch))
		for column, value := range batch {
			switch v := value.(type) {
			case string:
				values[column] = v
			case json.Number:
				values[column] = v.String()
			case bool:
				values[column] = strconv.FormatBool(v)
			default:
				return ErrRequest.New("valueBatches[%d].%s is neither a string, a number nor a boolean", i, column)
			}
		}
		req.Keys = append(req.Keys, &analyticsv1.KeyValues{Values: values})
	}
	return s.stream(w, r, name, []*analyticsv1.ReadRequest{req})
}

// stream answers the rows of the requests as one JSON array, as they come. An error before the first row is answered as
// such; after it the array stays open, which no JSON parser takes for an answer.
func (s *Service) stream(w http.ResponseWriter, r *http.Request, table string, reqs []*analyticsv1.ReadRequest) error {
	store, ctx, cancel, err := s.store(r, streamTime)
	if err != nil {
		return err
	}
	defer cancel()
	out := bufio.NewWriterSize(w, 32<<10)
	enc := &encoder{out: out, table: strings.ToUpper(table)}
	begun := false
	begin := func() {
		if !begun {
			begun = true
			header(w)
			_ = out.WriteByte('[') // errors come back from Flush
		}
	}
	for _, req := range reqs {
		if err := read(ctx, store, req, enc, begin); err != nil {
			if begun {
				s.Log.Error("an answer with records broke off", "table", table, "error", err)
				return nil
			}
			if status.Code(err) == codes.NotFound {
				return ErrNoTable.Wrap(err, "[%d:%s] does not exist", tenant, strings.ToUpper(table))
			}
			return err
		}
	}
	begin()
	_, _ = out.WriteString("]\n")
	_ = out.Flush() // fails only if the reader has gone
	return nil
}

// read copies the rows of one request. It calls begin when it knows that there is an answer.
func read(ctx context.Context, store analyticsv1.RecordStoreClient, req *analyticsv1.ReadRequest, enc *encoder, begin func()) error {
	stream, err := store.Read(ctx, req)
	if err != nil {
		return err
	}
	in := &pieces{next: func() ([]byte, error) {
		resp, err := stream.Recv()
		return resp.GetArrowIpc(), err
	}}
	reader, err := ipc.NewReader(in)
	if err != nil {
		if in.err != nil && !errors.Is(in.err, io.EOF) {
			return in.err
		}
		return err
	}
	defer reader.Release()
	begin()
	for reader.Next() {
		if err := enc.batch(reader.RecordBatch(), req.Columns); err != nil {
			return err
		}
	}
	if in.err != nil && !errors.Is(in.err, io.EOF) {
		return in.err
	}
	return reader.Err()
}

// pieces joins the pieces of an Arrow IPC stream. err is how it ended.
type pieces struct {
	next func() ([]byte, error)
	rest []byte
	err  error
}

func (p *pieces) Read(into []byte) (int, error) {
	for len(p.rest) == 0 {
		if p.err != nil {
			return 0, p.err
		}
		p.rest, p.err = p.next()
	}
	n := copy(into, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// columnsParameter reads ?columns=a,b&columns=c; none means all.
func columnsParameter(r *http.Request) []string {
	var columns []string
	for _, list := range r.URL.Query()["columns"] {
		for column := range strings.SplitSeq(list, ",") {
			if column != "" {
				columns = append(columns, column)
			}
		}
	}
	return columns
}

// number reads an optional number of the path.
func number(r *http.Request, name string, usual, least int64) (int64, error) {
	text := r.PathValue(name)
	if text == "" {
		return usual, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, ErrRequest.New("%s: %q is not a whole number of 64 bits", name, text)
	}
	if n < least {
		return 0, ErrRequest.New("%s: %d is less than %d", name, n, least)
	}
	return n, nil
}
