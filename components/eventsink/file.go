package eventsink

import (
	"path"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"

	"carbonado.dev/sdk/carbonxml"
	"carbonado.dev/sdk/cause"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

// Errors of sinks.
var (
	ErrFile      = cause.Define("CBN-SINK-001", "An event sink's file is wrong.", "Correct the file at the place that is named.").Code(codes.InvalidArgument)
	ErrName      = cause.Define("CBN-SINK-002", "An event sink's file has another name than its table.", "Name the file as the stream with '.' written '_', for example org_acme_orders.xml.").Code(codes.InvalidArgument)
	ErrDuplicate = cause.Define("CBN-SINK-003", "Two files define the sink of one table.", "Remove one of the files.").Code(codes.AlreadyExists)
	ErrStore     = cause.Define("CBN-SINK-004", "The store did not take a table or binding.", "See the reason in the chain.")
)

// definition is one file.
type definition struct {
	table   string // upper case
	store   string
	merge   bool
	schema  *analyticsv1.Schema
	streams []string
	notices []string
}

// columnTypes by their names in files.
var columnTypes = map[string]analyticsv1.ColumnType{
	"STRING": analyticsv1.ColumnType_COLUMN_TYPE_STRING, "INTEGER": analyticsv1.ColumnType_COLUMN_TYPE_INTEGER, "LONG": analyticsv1.ColumnType_COLUMN_TYPE_LONG,
	"FLOAT": analyticsv1.ColumnType_COLUMN_TYPE_FLOAT, "DOUBLE": analyticsv1.ColumnType_COLUMN_TYPE_DOUBLE, "BOOLEAN": analyticsv1.ColumnType_COLUMN_TYPE_BOOLEAN,
	"BINARY": analyticsv1.ColumnType_COLUMN_TYPE_BINARY, "FACET": analyticsv1.ColumnType_COLUMN_TYPE_FACET,
}

// parse reads a file (DAS.md section 4.8). Errors have its place; name is the file's name without suffix.
func parse(file, name string, data []byte) (*definition, error) {
	root, err := carbonxml.Parse(file, data)
	if err != nil {
		return nil, err
	}
	if root.Name.Local != "EventStoreConfiguration" {
		return nil, root.Errorf(ErrFile, "the root is <%s> instead of <EventStoreConfiguration>", root.Name.Local)
	}
	d := &definition{store: "EVENT_STORE", schema: &analyticsv1.Schema{}}
	for _, c := range root.Children {
		switch c.Name.Local {
		case "TableSchema":
			err = d.tableSchema(c)
		case "Source":
			err = d.source(c)
		case "MergeSchema":
			d.merge, err = boolean(c)
		case "RecordStoreName":
			if c.Value() != "" {
				d.store = c.Value()
			}
		default:
			d.notices = append(d.notices, c.Pos.String()+": <"+c.Name.Local+"> is not part of an event sink")
		}
		if err != nil {
			return nil, err
		}
	}
	if len(d.streams) == 0 {
		return nil, root.Errorf(ErrFile, "<Source> with a <StreamId> is missing")
	}
	stream, _, _ := strings.Cut(d.streams[0], ":")
	table := strings.ReplaceAll(stream, ".", "_")
	if !strings.EqualFold(table, name) {
		return nil, ErrName.New("the file is %s, stream %s makes the table %s", path.Base(file), stream, table).At(file, 0, 0)
	}
	d.table = strings.ToUpper(table)
	return d, nil
}

func boolean(e *carbonxml.Element) (bool, error) {
	switch strings.ToLower(e.Value()) {
	case "true":
		return true, nil
	case "false", "":
		return false, nil
	}
	return false, e.Errorf(ErrFile, "<%s> is %.40q; true and false are possible", e.Name.Local, e.Value())
}

func (d *definition) source(e *carbonxml.Element) error {
	for _, s := range e.All("StreamId") {
		id := s.Value()
		name, version, ok := strings.Cut(id, ":")
		if !ok || name == "" || version == "" {
			return s.Errorf(ErrFile, "stream id %.210q is not of the form name:version", id)
		}
		if len(d.streams) > 0 && !strings.HasPrefix(d.streams[0], name+":") {
			return s.Errorf(ErrFile, "stream %s: all sources of a sink are versions of one stream, and %s is the first", id, d.streams[0])
		}
		if slices.Contains(d.streams, id) {
			return s.Errorf(ErrFile, "stream %s stands twice", id)
		}
		d.streams = append(d.streams, id)
	}
	return nil
}

func (d *definition) tableSchema(e *carbonxml.Element) error {
	for _, c := range e.All("ColumnDefinition") {
		col := &analyticsv1.Column{Name: c.Child("Name").Value()}
		if col.Name == "" {
			return c.Errorf(ErrFile, "a column has no <Name>")
		}
		for _, have := range d.schema.Columns {
			if strings.EqualFold(have.Name, col.Name) {
				return c.Errorf(ErrFile, "column %s stands twice (case does not count)", col.Name)
			}
		}
		var ok bool
		if col.Type, ok = columnTypes[strings.ToUpper(c.Child("Type").Value())]; !ok {
			at := c.Child("Type")
			if at == nil {
				at = c
			}
			return at.Errorf(ErrFile, "column %s has type %.40q", col.Name, c.Child("Type").Value())
		}
		key := false
		for name, to := range map[string]*bool{"EnableIndexing": &col.Indexed, "EnableScoreParam": &col.ScoreParam, "IsFacet": &col.Facet, "IsPrimaryKey": &key} {
			if flag := c.Child(name); flag != nil {
				var err error
				if *to, err = boolean(flag); err != nil {
					return err
				}
			}
		}
		if col.Type == analyticsv1.ColumnType_COLUMN_TYPE_FACET {
			col.Facet = true
		}
		d.schema.Columns = append(d.schema.Columns, col)
		if key {
			d.schema.PrimaryKeys = append(d.schema.PrimaryKeys, col.Name)
		}
	}
	slices.Sort(d.schema.PrimaryKeys)
	return nil
}
