package rest

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

const (
	// rowsPerRead bounds the rows that one question to the store names.
	rowsPerRead = 10_000
	// maxIndexWait bounds indexing_done.
	maxIndexWait = 10 * time.Minute
	// headerComplete is "false" if a shard of the index did not answer.
	headerComplete = "Carbonado-Complete"
)

// query is the body of search and search_count.
type query struct {
	TableName string   `json:"tableName"`
	Query     string   `json:"query"`
	Start     int64    `json:"start"`
	Count     int64    `json:"count"`
	Columns   []string `json:"columns"`
	SortBy    []struct {
		Field    string `json:"field"`
		SortType string `json:"sortType"`
	} `json:"sortBy"`
}

func (s *Service) search(w http.ResponseWriter, r *http.Request) error {
	q, err := s.query(w, r)
	if err != nil {
		return err
	}
	if q.Start < 0 {
		return ErrRequest.New("start: %d is less than 0", q.Start)
	}
	if q.Count <= 0 {
		return ErrRequest.New("count: %d is not above 0; it says how many records to answer", q.Count)
	}
	req := &analyticsv1.SearchRequest{Tenant: tenant, Table: q.TableName, Query: q.Query, Start: q.Start, Count: q.Count}
	for i, by := range q.SortBy {
		descending := strings.EqualFold(by.SortType, "DESC")
		if !descending && by.SortType != "" && !strings.EqualFold(by.SortType, "ASC") {
			return ErrRequest.New("sortBy[%d].sortType: %q is neither ASC nor DESC", i, by.SortType)
		}
		req.Sort = append(req.Sort, &analyticsv1.SortField{Field: by.Field, Descending: descending})
	}
	ctx, cancel := context.WithTimeout(r.Context(), callTime)
	defer cancel()
	resp, err := s.Index.Search(ctx, req)
	if err != nil {
		return err
	}
	w.Header().Set(headerComplete, strconv.FormatBool(resp.Complete))
	var reads []*analyticsv1.ReadRequest
	for hits := resp.Hits; len(hits) > 0; {
		n := min(len(hits), rowsPerRead)
		read := &analyticsv1.ReadRequest{Tenant: tenant, Table: q.TableName, Columns: q.Columns}
		for _, hit := range hits[:n] {
			read.Seqs = append(read.Seqs, hit.Seq)
		}
		reads, hits = append(reads, read), hits[n:]
	}
	return s.stream(w, r, q.TableName, reads)
}

func (s *Service) searchCount(w http.ResponseWriter, r *http.Request) error {
	q, err := s.query(w, r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), callTime)
	defer cancel()
	resp, err := s.Index.Count(ctx, &analyticsv1.SearchCountRequest{Tenant: tenant, Table: q.TableName, Query: q.Query})
	if err != nil {
		return err
	}
	w.Header().Set(headerComplete, strconv.FormatBool(resp.Complete))
	writeJSON(w, http.StatusOK, resp.Count)
	return nil
}

// query reads the body and sees to it that there is an index and the table.
func (s *Service) query(w http.ResponseWriter, r *http.Request) (query, error) {
	var q query
	if err := body(w, r, "Search parameters not provided", &q); err != nil {
		return q, err
	}
	if q.TableName == "" {
		return q, ErrRequest.New("tableName is not provided")
	}
	if !s.HasIndex() {
		return q, ErrNoIndex.New("no Indexing is wired to this node's Portal, so that nothing can be searched")
	}
	_, err := s.table(r, q.TableName)
	return q, err
}

func (s *Service) indexingDone(w http.ResponseWriter, r *http.Request) error {
	text := r.URL.Query().Get("timeout")
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return ErrRequest.New("timeout: %q is not a number of seconds; a negative one waits for %s", text, maxIndexWait)
	}
	if !s.HasIndex() {
		return ErrNoIndex.New("no Indexing is wired to this node's Portal, so that nothing is indexed")
	}
	wait := maxIndexWait
	if seconds >= 0 && seconds < int64(maxIndexWait/time.Second) {
		wait = time.Duration(seconds) * time.Second
	}
	table := r.URL.Query().Get("table")
	if table != "" {
		if _, err := s.table(r, table); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	defer cancel()
	_, err = s.Index.WaitForIndexing(ctx, &analyticsv1.WaitForIndexingRequest{Tenant: tenant, Table: table})
	if status.Code(err) == codes.DeadlineExceeded || (err != nil && ctx.Err() != nil) {
		return ErrTimeout.Wrap(err, "the index did not catch up within %s", wait)
	}
	if err != nil {
		return err
	}
	done(w, http.StatusOK, "success", "Indexing Completed successfully")
	return nil
}
