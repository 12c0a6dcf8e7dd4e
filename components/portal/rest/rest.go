// Package rest is the read side of DAS's REST API: tables, schemas, records and search below /analytics. It must not know how
// records are stored or found, nor how people sign in.
package rest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"carbonado.dev/sdk/component"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

// Prefix is the path that the API lies below.
const Prefix = "/analytics"

// tenant is carbon.super.
const tenant int32 = -1234

// Permissions, as in DAS.
const (
	permTables  = "/permission/admin/manage/analytics/table/list"
	permRecords = "/permission/admin/manage/analytics/records/get"
	permSearch  = "/permission/admin/manage/analytics/records/search"
)

const (
	// callTime bounds one question to a service.
	callTime = 30 * time.Second
	// streamTime bounds one answer with records.
	streamTime = 10 * time.Minute
	// maxBody bounds the body of a request.
	maxBody = 1 << 20
)

// Service is what the API reads from. Has… say whether a provider is wired; a restarting one is.
type Service struct {
	Records    analyticsv1.RecordStoreClient
	HasRecords func() bool
	Index      analyticsv1.IndexClient
	HasIndex   func() bool
	Log        hclog.Logger
}

// handle is a resource's method. It writes nothing before it knows that it succeeds, and otherwise answers its error.
type handle func(w http.ResponseWriter, r *http.Request) error

// Handler serves Prefix and everything below it. It is safe for concurrent use.
func (s *Service) Handler() http.Handler {
	mux := http.NewServeMux()
	// One pattern per path, without method: the mux answers a wrong method in words of its own otherwise.
	add := func(method, path string, h handle) { mux.HandleFunc(Prefix+path, only(method, h)) }
	add("OPTIONS", "", s.options)
	add("OPTIONS", "/{$}", s.options)
	add("GET", "/tables", s.may(permTables, "list tables", s.tables))
	add("GET", "/table_exists", s.may(permTables, "list tables", s.tableExists))
	add("GET", "/recordstores", s.recordStores)
	add("GET", "/recordstore", s.may(permTables, "list tables", s.recordStore))
	add("GET", "/pagination/{store}", s.pagination)
	add("GET", "/tables/{table}/schema", s.may(permTables, "list tables", s.schema))
	add("GET", "/tables/{table}/recordcount", s.may(permRecords, "get records", s.recordCount))
	add("POST", "/tables/{table}/keyed_records", s.may(permRecords, "get records", s.keyedRecords))
	add("POST", "/search", s.may(permSearch, "search records", s.search))
	add("POST", "/search_count", s.may(permSearch, "search records", s.searchCount))
	add("GET", "/indexing_done", s.indexingDone)
	for _, path := range []string{"", "/{from}", "/{from}/{to}", "/{from}/{to}/{start}", "/{from}/{to}/{start}/{count}"} {
		add("GET", "/tables/{table}"+path, s.may(permRecords, "get records", s.records))
	}
	mux.HandleFunc(Prefix+"/", func(w http.ResponseWriter, r *http.Request) {
		Fail(w, ErrNoResource.New("there is no resource %s", r.URL.Path))
	})
	return mux
}

// only serves a resource that has one method; one with GET has HEAD too.
func only(method string, h handle) http.HandlerFunc {
	allow := method
	if method == http.MethodGet {
		allow += ", " + http.MethodHead
	}
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method && (r.Method != http.MethodHead || method != http.MethodGet) {
			w.Header().Set("Allow", allow)
			Fail(w, ErrMethod.New("%s is not among the methods of %s: %s", r.Method, r.URL.Path, allow))
			return
		}
		if err := h(w, r); err != nil {
			Fail(w, err)
		}
	}
}

// may lets only those in who have a permission.
func (s *Service) may(permission, what string, h handle) handle {
	return func(w http.ResponseWriter, r *http.Request) error {
		p := component.PrincipalFrom(r.Context())
		if !component.Granted(p, permission) {
			return ErrForbidden.New("User[%s] does not have required permission to %s: %s", p.GetUser(), what, permission)
		}
		return h(w, r)
	}
}

func (s *Service) options(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Allow", "GET, HEAD, POST, OPTIONS")
	w.WriteHeader(http.StatusOK)
	return nil
}

// store gives the record store and a bounded context, or says that there is none.
func (s *Service) store(r *http.Request, limit time.Duration) (analyticsv1.RecordStoreClient, context.Context, context.CancelFunc, error) {
	if !s.HasRecords() {
		return nil, nil, nil, ErrNoStore.New("no DataService is wired to this node's Portal")
	}
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	return s.Records, ctx, cancel, nil
}

// body decodes one JSON object. An empty body is an error with the given text.
func body(w http.ResponseWriter, r *http.Request, empty string, into any) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	d.UseNumber()
	switch err := d.Decode(into); {
	case errors.Is(err, io.EOF):
		return ErrRequest.New("%s", empty)
	case err != nil:
		return ErrRequest.New("the body is not the expected JSON object: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return ErrRequest.New("the body has more than one JSON object")
	}
	return nil
}
