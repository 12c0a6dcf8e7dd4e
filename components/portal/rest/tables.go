package rest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

func (s *Service) tables(w http.ResponseWriter, r *http.Request) error {
	store, ctx, cancel, err := s.store(r, callTime)
	if err != nil {
		return err
	}
	defer cancel()
	resp, err := store.ListTables(ctx, &analyticsv1.ListTablesRequest{Tenant: tenant})
	if err != nil {
		return err
	}
	names := make([]string, 0, len(resp.Tables))
	for _, t := range resp.Tables {
		names = append(names, t.Name)
	}
	slices.Sort(names)
	writeJSON(w, http.StatusOK, names)
	return nil
}

func (s *Service) tableExists(w http.ResponseWriter, r *http.Request) error {
	name, err := tableParameter(r)
	if err != nil {
		return err
	}
	_, err = s.table(r, name)
	switch {
	case err == nil:
		done(w, http.StatusOK, "success", "Table : "+name+" exists.")
	case status.Code(err) == codes.NotFound:
		done(w, http.StatusNotFound, "non-existent", "Table : "+name+" does not exist.")
	default:
		return err
	}
	return nil
}

func (s *Service) recordStores(w http.ResponseWriter, r *http.Request) error {
	stores, err := s.listStores(r)
	if err != nil {
		return err
	}
	names := make([]string, 0, len(stores))
	for _, store := range stores {
		names = append(names, store.Name)
	}
	writeJSON(w, http.StatusOK, names)
	return nil
}

func (s *Service) recordStore(w http.ResponseWriter, r *http.Request) error {
	name, err := tableParameter(r)
	if err != nil {
		return err
	}
	table, err := s.table(r, name)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, table.Store)
	return nil
}

func (s *Service) pagination(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("store")
	stores, err := s.listStores(r)
	if err != nil {
		return err
	}
	for _, store := range stores {
		if store.Name == name && store.Pagination {
			done(w, http.StatusOK, "success", "RecordStore : "+name+" support pagination.")
			return nil
		}
	}
	done(w, http.StatusNotFound, "non-existent", "RecordStore : "+name+" does not support pagination.")
	return nil
}

func (s *Service) recordCount(w http.ResponseWriter, r *http.Request) error {
	store, ctx, cancel, err := s.store(r, callTime)
	if err != nil {
		return err
	}
	defer cancel()
	table, err := s.table(r, r.PathValue("table"))
	if err != nil {
		return err
	}
	stores, err := s.listStores(r)
	if err != nil {
		return err
	}
	for _, st := range stores {
		if st.Name == table.Store && !st.RecordCount {
			writeJSON(w, http.StatusOK, -1)
			return nil
		}
	}
	resp, err := store.Count(ctx, &analyticsv1.CountRequest{Tenant: tenant, Table: table.Name})
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, resp.Rows)
	return nil
}

// column is a column of a schema as DAS shows it.
type column struct {
	Type         string `json:"type"`
	IsScoreParam bool   `json:"isScoreParam"`
	IsIndex      bool   `json:"isIndex"`
	IsFacet      bool   `json:"isFacet"`
}

func (s *Service) schema(w http.ResponseWriter, r *http.Request) error {
	table, err := s.table(r, r.PathValue("table"))
	if err != nil {
		return err
	}
	// Written by hand: the order of the columns is the table's, which a map would lose.
	var out bytes.Buffer
	out.WriteString(`{"columns":{`)
	for i, c := range table.Schema.GetColumns() {
		if i > 0 {
			out.WriteByte(',')
		}
		name, err := json.Marshal(c.Name)
		if err != nil {
			return err
		}
		value, err := json.Marshal(columnOf(c))
		if err != nil {
			return err
		}
		out.Write(name)
		out.WriteByte(':')
		out.Write(value)
	}
	keys := table.Schema.GetPrimaryKeys()
	if keys == nil {
		keys = []string{}
	}
	list, err := json.Marshal(keys)
	if err != nil {
		return err
	}
	out.WriteString(`},"primaryKeys":`)
	out.Write(list)
	out.WriteString("}\n")
	header(w)
	_, _ = w.Write(out.Bytes()) // fails only if the reader has gone
	return nil
}

func columnOf(c *analyticsv1.Column) column {
	out := column{
		Type:         strings.TrimPrefix(c.Type.String(), "COLUMN_TYPE_"),
		IsScoreParam: c.ScoreParam, IsIndex: c.Indexed, IsFacet: c.Facet,
	}
	if c.Type == analyticsv1.ColumnType_COLUMN_TYPE_FACET {
		out.Type, out.IsFacet = "STRING", true
	}
	return out
}

// table finds a table; ErrNoTable in DAS's words if there is none.
func (s *Service) table(r *http.Request, name string) (*analyticsv1.TableInfo, error) {
	store, ctx, cancel, err := s.store(r, callTime)
	if err != nil {
		return nil, err
	}
	defer cancel()
	resp, err := store.GetTable(ctx, &analyticsv1.GetTableRequest{Tenant: tenant, Table: name})
	if status.Code(err) == codes.NotFound {
		return nil, ErrNoTable.Wrap(err, "[%d:%s] does not exist", tenant, strings.ToUpper(name))
	}
	if err != nil {
		return nil, err
	}
	return resp.Table, nil
}

func (s *Service) listStores(r *http.Request) ([]*analyticsv1.ListStoresResponse_Store, error) {
	store, ctx, cancel, err := s.store(r, callTime)
	if err != nil {
		return nil, err
	}
	defer cancel()
	resp, err := store.ListStores(ctx, &analyticsv1.ListStoresRequest{})
	if err != nil {
		return nil, err
	}
	return resp.Stores, nil
}

func tableParameter(r *http.Request) (string, error) {
	name := r.URL.Query().Get("table")
	if name == "" {
		return "", ErrRequest.New("Query param 'table' is not provided")
	}
	return name, nil
}
