package indexing

import (
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"carbonado.dev/carbonado/components/indexing/builder"
	"carbonado.dev/carbonado/components/indexing/column"
	"carbonado.dev/carbonado/components/indexing/lucene"
	"carbonado.dev/carbonado/components/indexing/search"
	"carbonado.dev/carbonado/components/indexing/segment"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

// emptyFacet is what DAS files a row under that has no value in a facet column.
const emptyFacet = "EMPTY_FACET_VALUE!"

// schema is what a table's schema means for its index. It never changes.
type schema struct {
	version uint64
	columns []*analyticsv1.Column
	types   map[string]lucene.Type
}

func newSchema(info *analyticsv1.TableInfo) *schema {
	s := &schema{version: info.SchemaVersion, types: map[string]lucene.Type{segment.Time: lucene.Long, segment.Seq: lucene.Long}}
	for _, c := range info.GetSchema().GetColumns() {
		t, ok := typeOf(c.Type)
		if !ok || !c.Indexed && !c.Facet {
			continue
		}
		s.columns = append(s.columns, c)
		if c.Indexed || c.Type == analyticsv1.ColumnType_COLUMN_TYPE_FACET {
			s.types[c.Name] = t
		}
	}
	// The untokenised copies come second: a column of that very name goes first.
	for _, c := range s.columns {
		t, named := s.types[c.Name]
		if _, taken := s.types["_"+c.Name]; named && t == lucene.String && !taken {
			s.types["_"+c.Name] = lucene.Keyword
		}
	}
	return s
}

func typeOf(t analyticsv1.ColumnType) (lucene.Type, bool) {
	switch t {
	case analyticsv1.ColumnType_COLUMN_TYPE_STRING:
		return lucene.String, true
	case analyticsv1.ColumnType_COLUMN_TYPE_FACET:
		return lucene.Keyword, true
	case analyticsv1.ColumnType_COLUMN_TYPE_BOOLEAN:
		return lucene.Boolean, true
	case analyticsv1.ColumnType_COLUMN_TYPE_INTEGER:
		return lucene.Integer, true
	case analyticsv1.ColumnType_COLUMN_TYPE_LONG:
		return lucene.Long, true
	case analyticsv1.ColumnType_COLUMN_TYPE_FLOAT:
		return lucene.Float, true
	case analyticsv1.ColumnType_COLUMN_TYPE_DOUBLE:
		return lucene.Double, true
	}
	return 0, false
}

// field is the parser's view of the schema.
func (s *schema) field(name string) (lucene.Type, bool) {
	t, ok := s.types[name]
	return t, ok
}

// sort is one key of an order; texts are ordered by their untokenised copies.
func (s *schema) sort(name string, descending bool) (search.Sort, error) {
	if name == "_score" {
		return search.Sort{Descending: descending}, nil
	}
	t, ok := s.types[name]
	if !ok {
		return search.Sort{}, ErrSort.New("there is no indexed column %q to sort by", name)
	}
	out := search.Sort{Field: name, Descending: descending, Kind: segment.Int}
	switch t {
	case lucene.String:
		if s.types["_"+name] != lucene.Keyword {
			return search.Sort{}, ErrSort.New("column %q can't be sorted by: a column _%s is in the place of its untokenised copy", name, name)
		}
		out.Field, out.Kind = "_"+name, segment.Keyword
	case lucene.Keyword, lucene.Boolean:
		out.Kind = segment.Keyword
	case lucene.Float:
		out.Kind = segment.Float32
	case lucene.Double:
		out.Kind = segment.Float64
	}
	return out, nil
}

// indexed reports whether there is anything to index.
func (s *schema) indexed() bool { return len(s.columns) > 0 }

// batch is a BATCH frame's columns.
type batch struct {
	seq, time *array.Int64
	rec       arrow.RecordBatch
}

func newBatch(rec arrow.RecordBatch) (*batch, error) {
	b := &batch{rec: rec}
	var ok bool
	if b.seq, ok = columnOf(rec, segment.Seq).(*array.Int64); !ok {
		return nil, ErrFeed.New("a batch has no column _seq of type int64")
	}
	if b.time, ok = columnOf(rec, segment.Time).(*array.Int64); !ok {
		return nil, ErrFeed.New("a batch has no column _timestamp of type int64")
	}
	return b, nil
}

func columnOf(rec arrow.RecordBatch, name string) arrow.Array {
	for i, f := range rec.Schema().Fields() {
		if f.Name == name {
			return rec.Column(i)
		}
	}
	return nil
}

// addTo adds the rows for which want is true, a column at a time.
func (b *batch) addTo(to *builder.Builder, s *schema, want []bool) {
	n := int(b.rec.NumRows())
	docs := make([]uint32, n)
	for i := range n {
		if want[i] {
			docs[i] = to.Add(uint64(b.seq.Value(i)), b.time.Value(i))
		}
	}
	for _, c := range s.columns {
		col := columnOf(b.rec, c.Name)
		rows := func(f func(doc uint32, row int)) {
			for i := range n {
				if want[i] {
					f(docs[i], i)
				}
			}
		}
		facet := c.Facet || c.Type == analyticsv1.ColumnType_COLUMN_TYPE_FACET
		if facet {
			addFacet(to, s, c, col, rows)
		}
		if c.Type == analyticsv1.ColumnType_COLUMN_TYPE_FACET || !c.Indexed {
			continue
		}
		addValues(to, s, c.Name, col, rows)
	}
}

// addFacet indexes a column as paths: a FACET column under its name, another one that is a facet too under $name.
func addFacet(to *builder.Builder, s *schema, c *analyticsv1.Column, col arrow.Array, rows func(func(uint32, int))) {
	name := c.Name
	if c.Type != analyticsv1.ColumnType_COLUMN_TYPE_FACET {
		name = "$" + name
	}
	f := to.Field(name, segment.Keyword)
	if f == nil {
		return
	}
	rows(func(doc uint32, row int) {
		v := ""
		if col != nil && col.IsValid(row) {
			v = col.ValueStr(row)
		}
		if v = facetPath(v); v == "" {
			v = emptyFacet
		}
		f.AddPath(doc, []byte(v))
	})
}

// facetPath trims the steps of a path.
func facetPath(v string) string {
	steps := strings.Split(v, ",")
	for i := range steps {
		steps[i] = strings.TrimSpace(steps[i])
	}
	return strings.Trim(strings.Join(steps, ","), ",")
}

func addValues(to *builder.Builder, s *schema, name string, col arrow.Array, rows func(func(uint32, int))) {
	switch s.types[name] {
	case lucene.String:
		text, whole := to.Field(name, segment.Text), (*builder.Field)(nil)
		if s.types["_"+name] == lucene.Keyword {
			whole = to.Field("_"+name, segment.Keyword)
		}
		v, _ := col.(*array.String)
		var buf []byte
		rows(func(doc uint32, row int) {
			buf = buf[:0]
			if v != nil && v.IsValid(row) {
				buf = append(buf, v.Value(row)...)
			}
			if text != nil && len(buf) > 0 {
				text.AddText(doc, buf)
			}
			if whole != nil {
				whole.AddKeyword(doc, buf) // null is "", as in DAS
			}
		})
	case lucene.Boolean:
		v, ok := col.(*array.Boolean)
		f := to.Field(name, segment.Keyword)
		if !ok || f == nil {
			return
		}
		words := map[bool][]byte{true: []byte("true"), false: []byte("false")}
		rows(func(doc uint32, row int) {
			if v.IsValid(row) {
				f.AddKeyword(doc, words[v.Value(row)])
			}
		})
	case lucene.Integer:
		if v, ok := col.(*array.Int32); ok {
			addNumbers(to.Field(name, segment.Int), v, rows, func(row int) int64 { return int64(v.Value(row)) })
		}
	case lucene.Long:
		if v, ok := col.(*array.Int64); ok {
			addNumbers(to.Field(name, segment.Int), v, rows, v.Value)
		}
	case lucene.Float:
		if v, ok := col.(*array.Float32); ok {
			addNumbers(to.Field(name, segment.Float32), v, rows, func(row int) int64 { return column.OfFloat32(v.Value(row)) })
		}
	case lucene.Double:
		if v, ok := col.(*array.Float64); ok {
			addNumbers(to.Field(name, segment.Float64), v, rows, func(row int) int64 { return column.OfFloat64(v.Value(row)) })
		}
	}
}

func addNumbers(f *builder.Field, col arrow.Array, rows func(func(uint32, int)), value func(row int) int64) {
	if f == nil {
		return
	}
	rows(func(doc uint32, row int) {
		if col.IsValid(row) {
			f.AddNumber(doc, value(row))
		}
	})
}
