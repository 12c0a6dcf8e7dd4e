// Package source turns the batches of one numbered source of the log (a stream with its bindings, or records put to a table) into
// rows of tables: names, casts, constants. It must not know where batches are stored.
package source

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc/codes"

	"carbonado.dev/carbonado/components/dataservice/batch"
	"carbonado.dev/carbonado/components/dataservice/keyindex"
	"carbonado.dev/carbonado/components/dataservice/manifest"
	"carbonado.dev/carbonado/components/dataservice/rows"
	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/frame"
)

// ErrBinding is the error of a binding that can't work.
var ErrBinding = cause.Define("CBN-STORE-010", "A binding of a stream to a table can't work.",
	"Make the columns of the event sink agree with the attributes of the stream.").Code(codes.InvalidArgument)

// Source is a compiled source. It is immutable but for its memory of constants, and safe for concurrent use.
type Source struct {
	Spec    manifest.Source
	ID      frame.SchemaID
	Schema  *arrow.Schema
	Targets []*Target
}

// Target is one table's side of a source.
type Target struct {
	Table uint32
	// Columns of the rows, `_seq` and `_timestamp` left out.
	Columns []rows.Column
	// MayFail: casts of single values may fail, so batches must be looked at before they are acknowledged.
	MayFail bool

	time    int // field of the row's time; -1: none, all rows have time 0
	fields  []field
	version string

	mu       sync.Mutex
	constant arrow.Array
}

type field struct {
	from int
	cast bool
	to   rows.Type
}

// Compile checks a source and prepares it.
func Compile(spec manifest.Source) (*Source, error) {
	schema, err := batch.ParseSchema(spec.Schema)
	if err != nil {
		return nil, ErrBinding.Wrap(err, "schema of %s", spec.Stream)
	}
	s := &Source{Spec: spec, ID: batch.SchemaID(spec.Schema), Schema: schema}
	for _, t := range spec.Targets {
		target, err := compileTarget(schema, t)
		if err != nil {
			return nil, err
		}
		s.Targets = append(s.Targets, target)
	}
	return s, nil
}

func compileTarget(schema *arrow.Schema, spec manifest.Target) (*Target, error) {
	t := &Target{Table: spec.Table, version: spec.Version, time: index(schema, rows.TimeColumn)}
	add := func(from string, to rows.Column) error {
		i := index(schema, from)
		if i < 0 {
			return ErrBinding.New("the stream has no attribute %s for column %s", from, to.Name)
		}
		typ, ok := rows.FromArrow(schema.Field(i).Type)
		if !ok {
			return ErrBinding.New("attribute %s has type %s", from, schema.Field(i).Type)
		}
		can, mayFail := rows.Castable(typ, to.Type)
		if !can {
			return ErrBinding.New("attribute %s is %s, column %s is %s", from, rows.TypeName(typ), to.Name, rows.TypeName(to.Type))
		}
		if to.Name == rows.TimeColumn {
			if to.Type != rows.Long || typ != rows.Long {
				return ErrBinding.New("attribute %s is no LONG and can't be the time of rows", from)
			}
			t.time = i
			return nil
		}
		if to.Name == rows.SeqColumn || to.Name == rows.IDColumn {
			return ErrBinding.New("column %s is the store's own", to.Name)
		}
		if slices.ContainsFunc(t.Columns, func(c rows.Column) bool { return c.Name == to.Name }) {
			return ErrBinding.New("column %s is bound twice", to.Name)
		}
		t.Columns = append(t.Columns, to)
		t.fields = append(t.fields, field{from: i, cast: typ != to.Type, to: to.Type})
		t.MayFail = t.MayFail || mayFail
		return nil
	}
	for _, c := range spec.Columns {
		if err := add(c.From, c.To); err != nil {
			return nil, err
		}
	}
	if spec.Version != "" && !slices.ContainsFunc(t.Columns, func(c rows.Column) bool { return c.Name == rows.VersionColumn }) {
		t.Columns = append(t.Columns, rows.Column{Name: rows.VersionColumn, Type: rows.String})
		t.fields = append(t.fields, field{from: -1})
	}
	if i := index(schema, rows.ArbitraryColumn); i >= 0 && schema.Field(i).Type.ID() == arrow.STRING &&
		!slices.ContainsFunc(t.Columns, func(c rows.Column) bool { return c.Name == rows.ArbitraryColumn }) {
		t.Columns = append(t.Columns, rows.Column{Name: rows.ArbitraryColumn, Type: rows.String})
		t.fields = append(t.fields, field{from: i, to: rows.String})
	}
	if t.time >= 0 && schema.Field(t.time).Type.ID() != arrow.INT64 {
		return nil, ErrBinding.New("%s of the stream is %s", rows.TimeColumn, schema.Field(t.time).Type)
	}
	return t, nil
}

func index(schema *arrow.Schema, name string) int {
	if i := schema.FieldIndices(name); len(i) > 0 {
		return i[0]
	}
	return -1
}

// Poison is a row that can't be stored: the value of a column has no counterpart in its type.
type Poison struct {
	Row    int
	Column string
	Reason string
}

// Rows gives a batch's rows for the target, numbered from first; poison rows are left out. The arrays may alias the batch.
func (t *Target) Rows(rec arrow.RecordBatch, first uint64) (*rows.Rows, []Poison) {
	n := int(rec.NumRows())
	out := &rows.Rows{Seq: make([]int64, n), Cols: make([]rows.Col, len(t.Columns))}
	for i := range out.Seq {
		out.Seq[i] = int64(first) + int64(i)
	}
	out.Time = t.times(rec)
	var poison []Poison
	for i, f := range t.fields {
		out.Cols[i].Column = t.Columns[i]
		switch {
		case f.from < 0:
			out.Cols[i].Arr = t.versions(n)
		case !f.cast:
			out.Cols[i].Arr = rec.Column(f.from)
		default:
			src := rec.Column(f.from)
			arr, bad := rows.Cast(src, f.to)
			out.Cols[i].Arr = arr
			for _, b := range bad {
				poison = append(poison, Poison{int(b), t.Columns[i].Name,
					fmt.Sprintf("%s is no %s", strconv.Quote(short(src, int(b))), rows.TypeName(f.to))})
			}
		}
	}
	if len(poison) > 0 {
		bad := map[int]bool{}
		for _, p := range poison {
			bad[p.Row] = true
		}
		out = out.Select(out.Where(func(i int) bool { return !bad[i] }))
	}
	return out, poison
}

func (t *Target) times(rec arrow.RecordBatch) []int64 {
	if t.time < 0 {
		return make([]int64, rec.NumRows())
	}
	a := rec.Column(t.time).(*array.Int64)
	if a.NullN() == 0 {
		return a.Int64Values()
	}
	out := make([]int64, a.Len())
	for i := range out {
		if a.IsValid(i) {
			out[i] = a.Value(i)
		}
	}
	return out
}

// versions is n times the version.
func (t *Target) versions(n int) arrow.Array {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.constant == nil || t.constant.Len() < n {
		b := array.NewStringBuilder(memory.DefaultAllocator)
		for range max(n, 256) {
			b.Append(t.version)
		}
		t.constant = b.NewArray()
	}
	return array.NewSlice(t.constant, 0, int64(n))
}

func short(arr arrow.Array, i int) string {
	s, _ := rows.Text(arr, i)
	if len(s) > 100 {
		s = strings.ToValidUTF8(s[:100], "") + "…"
	}
	return s
}

// JSON is one row of a batch as a JSON object, for dead letters.
func JSON(rec arrow.RecordBatch, row int) string {
	b, err := rec.NewSlice(int64(row), int64(row)+1).MarshalJSON()
	if err != nil {
		return "{}"
	}
	s := strings.TrimSpace(string(b))
	return strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
}

// Keys are the keys of rows by the named columns, in that order. Values are joined with their lengths, so that no two
// different keys become one; null differs from every value.
func Keys(r *rows.Rows, columns []string) []keyindex.Key {
	arrs := make([]arrow.Array, len(columns))
	for i, name := range columns {
		if c := r.Col(name); c != nil {
			arrs[i] = c.Arr
		}
	}
	out := make([]keyindex.Key, r.Len())
	var buf []byte
	for row := range out {
		buf = buf[:0]
		for _, a := range arrs {
			if a == nil || a.IsNull(row) {
				buf = append(buf, 0)
				continue
			}
			if b, ok := a.(*array.Binary); ok {
				buf = appendKey(buf, string(b.Value(row)))
				continue
			}
			s, _ := rows.Text(a, row)
			buf = appendKey(buf, s)
		}
		out[row] = keyOf(buf)
	}
	return out
}

func appendKey(buf []byte, v string) []byte {
	buf = binary.AppendUvarint(buf, uint64(len(v))+1)
	return append(buf, v...)
}

func keyOf(joined []byte) (k keyindex.Key) {
	sum := sha256.Sum256(joined)
	copy(k[:], sum[:])
	return k
}

// KeyOfText is the key of values as text, each read as its column's type; nil is null.
func KeyOfText(values []*string, types []rows.Type) (keyindex.Key, error) {
	var buf []byte
	for i, v := range values {
		if v == nil {
			buf = append(buf, 0)
			continue
		}
		if types[i] == rows.Binary || types[i] == rows.String || types[i] == rows.Facet {
			buf = appendKey(buf, *v)
			continue
		}
		b := array.NewStringBuilder(memory.DefaultAllocator)
		b.Append(*v)
		arr, bad := rows.Cast(b.NewArray(), types[i])
		if len(bad) > 0 {
			return keyindex.Key{}, fmt.Errorf("%q is no %s", *v, rows.TypeName(types[i]))
		}
		s, _ := rows.Text(arr, 0)
		buf = appendKey(buf, s)
	}
	return keyOf(buf), nil
}

var base32Lower = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// KeyID is the `_id` of a row with a key.
func KeyID(k keyindex.Key) string { return base32Lower.EncodeToString(k[:]) }

// ParseKeyID is KeyID's inverse.
func ParseKeyID(id string) (k keyindex.Key, ok bool) {
	b, err := base32Lower.DecodeString(strings.ToLower(id))
	if err != nil || len(b) != len(k) {
		return k, false
	}
	return keyindex.Key(b), true
}

// SeqID is the `_id` of a row without key.
func SeqID(seq int64) string { return strconv.FormatUint(uint64(seq), 32) }

// ParseSeqID is SeqID's inverse.
func ParseSeqID(id string) (uint64, bool) {
	n, err := strconv.ParseUint(id, 32, 64)
	return n, err == nil
}
