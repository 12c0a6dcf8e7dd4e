package analyticsengine

import (
	"context"
	"encoding/json"
	"math"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"carbonado.dev/carbonado/components/analyticsengine/sparksql"
	"carbonado.dev/carbonado/components/analyticsengine/statement"
	kernelv1 "carbonado.dev/sdk/proto/carbonado/kernel/v1"
)

// incrementalRead is an incremental table that a statement reads.
type incrementalRead struct {
	id   string
	view string
}

// window is the state of one incremental id, kept by the Coordinator: records up to Primary are processed, the newest one read since
// is of Temp. Times are milliseconds since 1970; the least number says that there is none yet.
type window struct {
	Primary int64 `json:"primary"`
	Temp    int64 `json:"temp"`
}

// none is a window without a time, as DAS had it (Long.MIN_VALUE).
const none = math.MinInt64

// changeTries bounds the attempts of a compare-and-set.
const changeTries = 20

func incrementalKey(id string) string { return "analytics/incremental/" + id }

func (e *Engine) window(ctx context.Context, id string) (window, uint64, error) {
	w := window{Primary: none, Temp: none}
	resp, err := e.state.Get(ctx, &kernelv1.GetStateRequest{Key: incrementalKey(id)})
	if err != nil {
		return w, 0, err
	}
	if !resp.Found {
		return w, resp.Version, nil
	}
	if err := json.Unmarshal(resp.Value, &w); err != nil {
		return w, 0, ErrIncremental.Wrap(err, "state of %s", id)
	}
	return w, resp.Version, nil
}

// change changes a window by compare-and-set and returns it as it was and as it is.
func (e *Engine) change(ctx context.Context, id string, f func(*window)) (before, after window, err error) {
	for range changeTries {
		w, version, err := e.window(ctx, id)
		if err != nil {
			return w, w, err
		}
		before, after = w, w
		f(&after)
		if after == before && version > 0 {
			return before, after, nil
		}
		value, err := json.Marshal(after)
		if err != nil {
			return before, after, ErrIncremental.Wrap(err, "state of %s", id)
		}
		_, err = e.state.Set(ctx, &kernelv1.SetStateRequest{Key: incrementalKey(id), Value: value, IfVersion: version})
		if err == nil {
			return before, after, nil
		}
		if status.Code(err) != codes.Aborted {
			return before, after, err
		}
	}
	return before, after, ErrIncremental.New("the state of %s changes all the time", id)
}

// incrementalFrom is the least time that a read starts at; nil is the beginning.
func (e *Engine) incrementalFrom(ctx context.Context, inc *sparksql.Incremental) (*int64, error) {
	w, _, err := e.window(ctx, inc.ID)
	if err != nil || w.Primary <= 0 {
		return nil, err
	}
	from := windowStart(w.Primary, inc.Unit, inc.Buffer, e.limits.Zone)
	return &from, nil
}

// windowStart cuts a time to its unit and goes back by the buffer, by the calendar of a zone: MONTH 1 is the first of the previous
// month. Without a unit the next millisecond is meant.
func windowStart(ms int64, unit string, buffer int, zone *time.Location) int64 {
	t := time.UnixMilli(ms).In(zone)
	y, mo, d, h, mi, s := t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second()
	switch unit {
	case "SECOND":
		return t.Truncate(time.Second).Add(-time.Duration(buffer) * time.Second).UnixMilli()
	case "MINUTE":
		return t.Add(-time.Duration(s)*time.Second - time.Duration(t.Nanosecond())).Add(-time.Duration(buffer) * time.Minute).UnixMilli()
	case "HOUR":
		_ = h
		return t.Add(-time.Duration(mi)*time.Minute - time.Duration(s)*time.Second - time.Duration(t.Nanosecond())).Add(-time.Duration(buffer) * time.Hour).UnixMilli()
	case "DAY":
		return time.Date(y, mo, d-buffer, 0, 0, 0, 0, zone).UnixMilli()
	case "MONTH":
		return time.Date(y, mo-time.Month(buffer), 1, 0, 0, 0, 0, zone).UnixMilli()
	case "YEAR":
		return time.Date(y-buffer, 1, 1, 0, 0, 0, 0, zone).UnixMilli()
	}
	return ms + 1
}

// greatest is a sink for one number.
type greatest struct{ value *int64 }

func (g *greatest) Columns([]statement.ResultColumn) error { return nil }
func (g *greatest) Row(values []any) error {
	if v, ok := values[0].(int64); ok {
		g.value = &v
	}
	return nil
}

// noteIncremental keeps the greatest time that a statement has read of each incremental table.
func (q *query) noteIncremental(ctx context.Context) error {
	for _, r := range q.read {
		var g greatest
		text := &sparksql.Rewritten{SQL: "SELECT max(_timestamp) FROM das." + sparksql.QuoteName(r.view)}
		if _, err := q.db.Query(ctx, text, 1, &g); err != nil {
			return err
		}
		if g.value == nil {
			continue
		}
		_, _, err := q.s.e.change(ctx, r.id, func(w *window) { w.Temp = max(w.Temp, *g.value) })
		if err != nil {
			return err
		}
	}
	return nil
}

// incremental runs INCREMENTAL_TABLE_COMMIT, _RESET and _SHOW.
func (s *session) incremental(ctx context.Context, n int, st *sparksql.Statement) (finish, error) {
	sink := s.out.sink(n)
	inc := st.Incremental
	var cols []statement.ResultColumn
	switch inc.Action {
	case "COMMIT":
		cols = []statement.ResultColumn{{Name: "TABLE_ID", Type: "VARCHAR"}, {Name: "PREV_PRIMARY_VAL", Type: "BIGINT"}, {Name: "NEW_PRIMARY_VAL", Type: "BIGINT"}}
	case "SHOW":
		cols = []statement.ResultColumn{{Name: "TABLE_ID", Type: "VARCHAR"}, {Name: "TEMP_VAL", Type: "BIGINT"}, {Name: "PRIMARY_VAL", Type: "BIGINT"}}
	default:
		cols = []statement.ResultColumn{{Name: "TABLE_ID", Type: "VARCHAR"}}
	}
	if err := sink.Columns(cols); err != nil {
		return finish{}, err
	}
	for _, id := range inc.IDs {
		row := []any{id}
		switch inc.Action {
		case "COMMIT":
			before, after, err := s.e.change(ctx, id, func(w *window) { w.Primary = w.Temp })
			if err != nil {
				return finish{}, err
			}
			row = append(row, before.Primary, after.Primary)
		case "RESET":
			if _, _, err := s.e.change(ctx, id, func(w *window) { *w = window{Primary: none, Temp: none} }); err != nil {
				return finish{}, err
			}
		default:
			w, _, err := s.e.window(ctx, id)
			if err != nil {
				return finish{}, err
			}
			row = append(row, w.Temp, w.Primary)
		}
		if err := sink.Row(row); err != nil {
			return finish{}, err
		}
	}
	return finish{rows: int64(len(inc.IDs))}, nil
}
