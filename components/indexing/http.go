package indexing

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/component"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

const (
	permission = "/permission/admin/manage/analytics/records/search"
	mostBody   = 1 << 20
	// defaultCount is how many records a search without a count answers.
	defaultCount = 10
	// mostRecords bounds the records of one answer.
	mostRecords = 10_000
	readAtOnce  = 1000
)

// searchBody is what POST /index/search and /index/count take; count needs table and query only.
type searchBody struct {
	Table string   `json:"table"`
	Query string   `json:"query"`
	Start int64    `json:"start"`
	Count int64    `json:"count"`
	Sort  []string `json:"sort"` // "field" or "field desc"
}

// searchAnswer is what POST /index/search answers.
type searchAnswer struct {
	Table    string   `json:"table"`
	Total    int64    `json:"total"`
	Complete bool     `json:"complete"`
	Columns  []string `json:"columns"`
	Records  []record `json:"records"`
}

// record is a row of the store. Score is 0 where the order is not by score.
type record struct {
	ID        string         `json:"id"`
	Seq       uint64         `json:"seq"`
	Score     float64        `json:"score"`
	Timestamp int64          `json:"timestamp"`
	Values    map[string]any `json:"values"`
}

type countAnswer struct {
	Count    int64 `json:"count"`
	Complete bool  `json:"complete"`
}

func routes(s *service, records analyticsv1.RecordStoreClient) http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, f func(*http.Request, searchBody) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			answer, err := serve(w, r, f)
			if err != nil {
				writeError(w, err)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(answer) // the client has gone
		})
	}
	handle("POST /index/search", func(r *http.Request, b searchBody) (any, error) { return s.searchRecords(r.Context(), records, b) })
	handle("POST /index/count", func(r *http.Request, b searchBody) (any, error) {
		resp, err := s.Count(r.Context(), &analyticsv1.SearchCountRequest{Tenant: tenant, Table: b.Table, Query: b.Query})
		if err != nil {
			return nil, err
		}
		return countAnswer{Count: resp.Count, Complete: resp.Complete}, nil
	})
	handle("GET /index/status", func(r *http.Request, _ searchBody) (any, error) {
		return s.Status(r.Context(), &analyticsv1.IndexStatusRequest{Tenant: tenant})
	})
	return mux
}

func serve(w http.ResponseWriter, r *http.Request, f func(*http.Request, searchBody) (any, error)) (any, error) {
	p := component.PrincipalFrom(r.Context())
	if p == nil || !component.Granted(p, permission) {
		return nil, ErrPermission.New("user %q needs %s", p.GetUser(), permission)
	}
	var b searchBody
	if r.Method == http.MethodPost {
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, mostBody))
		d.DisallowUnknownFields()
		if err := d.Decode(&b); err != nil {
			return nil, ErrRequest.Wrap(err, "body of the request")
		}
		if b.Table == "" {
			return nil, ErrRequest.New("table is not given")
		}
	}
	return f(r, b)
}

// writeError answers a cause as JSON under the HTTP status that goes with its gRPC code.
func writeError(w http.ResponseWriter, err error) {
	e := cause.From(err)
	code := map[codes.Code]int{codes.InvalidArgument: 400, codes.PermissionDenied: 403, codes.NotFound: 404, codes.DeadlineExceeded: 504,
		codes.Unavailable: 503, codes.ResourceExhausted: 429}[status.Code(err)]
	if errors.Is(err, context.DeadlineExceeded) {
		code = http.StatusGatewayTimeout
	}
	if code == 0 {
		code = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	p := e.Proto()
	_ = json.NewEncoder(w).Encode(map[string]any{"status": "failed", "message": e.Error(), "cause": map[string]any{
		"code": p.Code, "text": p.Text, "fix": p.Fix, "chain": p.Chain, "file": p.File, "line": p.Line, "column": p.Column}})
}

func (s *service) searchRecords(ctx context.Context, store analyticsv1.RecordStoreClient, b searchBody) (*searchAnswer, error) {
	if b.Count == 0 {
		b.Count = defaultCount
	}
	if b.Count > mostRecords {
		return nil, ErrRequest.New("count is %d; at most %d records at once", b.Count, mostRecords)
	}
	req := &analyticsv1.SearchRequest{Tenant: tenant, Table: b.Table, Query: b.Query, Start: b.Start, Count: b.Count}
	for _, by := range b.Sort {
		f, err := sortField(by)
		if err != nil {
			return nil, err
		}
		req.Sort = append(req.Sort, f)
	}
	found, err := s.Search(ctx, req)
	if err != nil {
		return nil, err
	}
	answer := &searchAnswer{Table: strings.ToUpper(b.Table), Total: found.Total, Complete: found.Complete, Records: []record{}, Columns: []string{}}
	scores := make(map[uint64]float64, len(found.Hits))
	for _, h := range found.Hits {
		scores[h.Seq] = h.Score
	}
	for hits := found.Hits; len(hits) > 0; {
		n := min(len(hits), readAtOnce)
		read := &analyticsv1.ReadRequest{Tenant: tenant, Table: answer.Table}
		for _, h := range hits[:n] {
			read.Seqs = append(read.Seqs, h.Seq)
		}
		hits = hits[n:]
		if err := answer.read(ctx, store, read, scores); err != nil {
			return nil, err
		}
	}
	return answer, nil
}

// sortField reads "field", "field asc" or "field desc".
func sortField(s string) (*analyticsv1.SortField, error) {
	words := strings.Fields(s)
	if len(words) == 0 || len(words) > 2 {
		return nil, ErrRequest.New("sort %q is not a field, with asc or desc behind it", s)
	}
	f := &analyticsv1.SortField{Field: words[0]}
	if len(words) == 2 {
		f.Descending = strings.EqualFold(words[1], "desc")
		if !f.Descending && !strings.EqualFold(words[1], "asc") {
			return nil, ErrRequest.New("sort %q is neither asc nor desc", s)
		}
	}
	return f, nil
}

// read adds the rows that the store still has, in the order of the hits.
func (a *searchAnswer) read(ctx context.Context, store analyticsv1.RecordStoreClient, req *analyticsv1.ReadRequest, scores map[uint64]float64) error {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	stream, err := store.Read(ctx, req)
	if err != nil {
		return err
	}
	var all bytes.Buffer
	for {
		piece, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		all.Write(piece.ArrowIpc)
	}
	r, err := ipc.NewReader(&all)
	if err != nil {
		return ErrFeed.Wrap(err, "rows of table %s", req.Table)
	}
	defer r.Release()
	if len(a.Columns) == 0 {
		for _, f := range r.Schema().Fields() {
			if !reserved(f.Name) {
				a.Columns = append(a.Columns, f.Name)
			}
		}
	}
	for r.Next() {
		a.add(r.RecordBatch(), scores)
	}
	return r.Err()
}

func reserved(name string) bool {
	return name == "_seq" || name == "_timestamp" || name == "_id" || name == "_arbitrary"
}

func (a *searchAnswer) add(rec arrow.RecordBatch, scores map[uint64]float64) {
	for row := range int(rec.NumRows()) {
		r := record{Values: map[string]any{}}
		for i, f := range rec.Schema().Fields() {
			v := valueOf(rec.Column(i), row)
			switch f.Name {
			case "_seq":
				n, _ := v.(int64)
				r.Seq = uint64(n)
				r.Score = scores[r.Seq]
			case "_timestamp":
				r.Timestamp, _ = v.(int64)
			case "_id":
				r.ID, _ = v.(string)
			case "_arbitrary":
				more := map[string]any{}
				if s, ok := v.(string); ok && json.Unmarshal([]byte(s), &more) == nil {
					for k, x := range more {
						r.Values[k] = x
					}
				}
			default:
				r.Values[f.Name] = v
			}
		}
		a.Records = append(a.Records, r)
	}
}

// valueOf is a value as JSON can have it: floats that JSON has no number for are words.
func valueOf(col arrow.Array, row int) any {
	if col.IsNull(row) {
		return nil
	}
	switch c := col.(type) {
	case *array.String:
		return c.Value(row)
	case *array.Int64:
		return c.Value(row)
	case *array.Int32:
		return c.Value(row)
	case *array.Boolean:
		return c.Value(row)
	case *array.Binary:
		return c.Value(row)
	case *array.Float32:
		return number(float64(c.Value(row)), c.Value(row))
	case *array.Float64:
		return number(c.Value(row), c.Value(row))
	}
	return col.ValueStr(row)
}

func number(f float64, v any) any {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	return v
}
