package store

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"carbonado.dev/carbonado/components/dataservice/manifest"
	"carbonado.dev/carbonado/components/dataservice/rows"
	"carbonado.dev/carbonado/components/dataservice/source"
)

// Info is what is told of a table.
type Info struct {
	manifest.Table
	Rows, Bytes int64
}

// Lengths are not counted by the expressions: `{0,199}` makes a program of some hundred kilobytes, in every process that links this.
var tableName = regexp.MustCompile(`^[A-Z0-9_][A-Z0-9_.\-]*$`)

// maxName is the longest name of a table, in bytes, and of a column, in characters.
const maxName = 200

func isTableName(name string) bool { return len(name) <= maxName && tableName.MatchString(name) }

func isColumnName(name string) bool {
	n := utf8.RuneCountInString(name)
	return n > 0 && n <= maxName && !strings.ContainsFunc(name, func(r rune) bool { return r < 0x20 || r == '"' || r == '\\' })
}

// checkSchema refuses schemas that can't be, and gives a normalised copy: keys sorted.
func checkSchema(in manifest.Schema) (manifest.Schema, error) {
	out := manifest.Schema{Columns: slices.Clone(in.Columns), Keys: slices.Clone(in.Keys)}
	seen := map[string]bool{}
	for _, c := range out.Columns {
		switch c.Name {
		case rows.SeqColumn, rows.IDColumn, rows.TimeColumn, rows.ArbitraryColumn, "_score", "_weight":
			return out, ErrName.New("column %s is reserved", c.Name)
		}
		if !isColumnName(c.Name) || c.Indexed && strings.ContainsAny(c.Name, " ") {
			return out, ErrName.New("column %q", c.Name)
		}
		if seen[c.Name] {
			return out, ErrSchema.New("column %s is there twice", c.Name)
		}
		seen[c.Name] = true
		if c.Type < rows.String || c.Type > rows.Facet {
			return out, ErrRequest.New("column %s has no type", c.Name)
		}
		if c.ScoreParam && (c.Type == rows.String || c.Type == rows.Facet || c.Type == rows.Binary || c.Type == rows.Boolean) {
			return out, ErrSchema.New("column %s is %s and can't be a score parameter", c.Name, rows.TypeName(c.Type))
		}
	}
	slices.Sort(out.Keys)
	out.Keys = slices.Compact(out.Keys)
	for _, k := range out.Keys {
		if !seen[k] && k != rows.VersionColumn {
			return out, ErrSchema.New("primary key %s is no column", k)
		}
	}
	return out, nil
}

func equalSchema(a, b manifest.Schema) bool {
	return slices.Equal(a.Columns, b.Columns) && slices.Equal(a.Keys, b.Keys)
}

// CreateTable makes a table. With ifNotExists a table that is there is answered as it is.
func (s *Store) CreateTable(name, storeName string, schema manifest.Schema, ifNotExists bool) (Info, error) {
	name = strings.ToUpper(name)
	if !isTableName(name) {
		return Info{}, ErrName.New("table %q", name)
	}
	if storeName == "" {
		storeName = s.opts.Stores[0]
	}
	if !slices.Contains(s.opts.Stores, storeName) {
		return Info{}, ErrNoStore.New("record store %s", storeName)
	}
	schema, err := checkSchema(schema)
	if err != nil {
		return Info{}, err
	}
	err = s.do(func() (*change, error) {
		if t := s.tables[name]; t != nil {
			if ifNotExists || t.Store == storeName && equalSchema(t.Schema, schema) && t.Born == t.LastSeq {
				return nil, nil
			}
			return nil, ErrTableExists.New("table %s", name)
		}
		return &change{Op: opCreate, Create: &manifest.Table{ID: s.nextTable, Tenant: Tenant, Name: name, Store: storeName, Schema: schema}}, nil
	})
	if err != nil {
		return Info{}, err
	}
	return s.Table(name)
}

// DropTable removes a table with its rows; a missing one is no error.
func (s *Store) DropTable(name string) error {
	return s.do(func() (*change, error) {
		t := s.tables[strings.ToUpper(name)]
		if t == nil {
			return nil, nil
		}
		return &change{Op: opDrop, Table: t.ID}, nil
	})
}

// Table tells about a table.
func (s *Store) Table(name string) (Info, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	t, err := s.find(name)
	if err != nil {
		return Info{}, err
	}
	return Info{t.Table, t.live(), t.bytes()}, nil
}

// Tables tells about all tables, by name.
func (s *Store) Tables() []Info {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]Info, 0, len(s.tables))
	for _, t := range s.tables {
		out = append(out, Info{t.Table, t.live(), t.bytes()})
	}
	slices.SortFunc(out, func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Stores are the names of the record stores.
func (s *Store) Stores() []string { return slices.Clone(s.opts.Stores) }

// SetSchema replaces or merges a table's schema. Rows stay as they are; a column whose type changed is read in the new type, null
// where a value has no counterpart. Keys change only while a table has no rows.
func (s *Store) SetSchema(name string, schema manifest.Schema, merge bool) (Info, error) {
	schema, err := checkSchema(schema)
	if err != nil {
		return Info{}, err
	}
	err = s.do(func() (*change, error) {
		s.mu.RLock()
		defer s.mu.RUnlock()
		t, err := s.find(name)
		if err != nil {
			return nil, err
		}
		next := schema
		if merge {
			if next, err = mergeSchema(t.Schema, schema); err != nil {
				return nil, err
			}
		}
		if equalSchema(next, t.Schema) {
			return nil, nil
		}
		if !slices.Equal(next.Keys, t.Schema.Keys) && (t.live() > 0 || len(t.tail) > 0) {
			return nil, ErrSchema.New("table %s has rows: its primary keys %v can't become %v", t.Name, t.Schema.Keys, next.Keys)
		}
		for _, k := range next.Keys {
			if a, b := typeOf(t.Schema, k), typeOf(next, k); a != b && t.keyed() && t.live() > 0 {
				return nil, ErrSchema.New("table %s has rows: primary key %s can't become %s", t.Name, k, rows.TypeName(b))
			}
		}
		return &change{Op: opSchema, Table: t.ID, Schema: &next}, nil
	})
	if err != nil {
		return Info{}, err
	}
	return s.Table(name)
}

func typeOf(schema manifest.Schema, name string) rows.Type {
	for _, c := range schema.Columns {
		if c.Name == name {
			return c.Type
		}
	}
	return 0
}

// mergeSchema is the union of columns, of their flags, and of keys. DAS lets later flags win (DAS.md section 5.1), so that a script's
// declaration took a sink's index away.
func mergeSchema(have, more manifest.Schema) (manifest.Schema, error) {
	out := manifest.Schema{Columns: slices.Clone(have.Columns), Keys: slices.Clone(have.Keys)}
	for _, c := range more.Columns {
		i := slices.IndexFunc(out.Columns, func(o manifest.Column) bool { return o.Name == c.Name })
		switch {
		case i < 0:
			out.Columns = append(out.Columns, c)
		case out.Columns[i].Type != c.Type:
			return out, ErrSchema.New("column %s is %s and can't become %s", c.Name, rows.TypeName(out.Columns[i].Type), rows.TypeName(c.Type))
		default:
			// Flags are only added: a script that declares a table without -i must not take the sink's index away.
			c.Indexed = c.Indexed || out.Columns[i].Indexed
			c.ScoreParam = c.ScoreParam || out.Columns[i].ScoreParam
			c.Facet = c.Facet || out.Columns[i].Facet
			out.Columns[i] = c
		}
	}
	switch {
	case len(more.Keys) == 0 || slices.Equal(have.Keys, more.Keys):
	case len(have.Keys) == 0:
		out.Keys = more.Keys
	default:
		return out, ErrSchema.New("the primary keys are %v and can't become %v", have.Keys, more.Keys)
	}
	return out, nil
}

// Bind makes the frames of a stream rows of a table. A later call for the same two replaces the binding for what follows; frames
// of the stream must then have the given schema.
func (s *Store) Bind(stream, name string, schema []byte, target manifest.Target) error {
	if stream == "" {
		return ErrRequest.New("a binding without stream")
	}
	return s.do(func() (*change, error) {
		t := s.tables[strings.ToUpper(name)]
		if t == nil {
			return nil, ErrNoTable.New("table %s", strings.ToUpper(name))
		}
		target.Table = t.ID
		spec := manifest.Source{Stream: stream, Schema: schema}
		old := s.streams[stream]
		if old != nil {
			// Bindings of the stream to other tables go on, with the new schema.
			spec.Targets = slices.DeleteFunc(slices.Clone(old.Spec.Targets), func(x manifest.Target) bool { return x.Table == t.ID })
		}
		spec.Targets = append(spec.Targets, target)
		slices.SortFunc(spec.Targets, func(a, b manifest.Target) int { return int(a.Table) - int(b.Table) })
		src, err := source.Compile(spec)
		if err != nil {
			return nil, err
		}
		for _, x := range src.Targets {
			if x.Table != t.ID {
				continue
			}
			if err := fits(t, x); err != nil {
				return nil, err
			}
		}
		if old != nil && equalSource(old.Spec, spec) {
			return nil, nil
		}
		return &change{Op: opBind, Source: &spec}, nil
	})
}

// fits refuses a target whose columns have other types than the table's schema says, or that lacks key columns.
func fits(t *table, x *source.Target) error {
	for _, c := range x.Columns {
		if typ := typeOf(t.Schema, c.Name); typ != 0 && typ != c.Type {
			return source.ErrBinding.New("column %s of table %s is %s, the binding says %s", c.Name, t.Name, rows.TypeName(typ), rows.TypeName(c.Type))
		}
	}
	for _, k := range t.Schema.Keys {
		if !slices.ContainsFunc(x.Columns, func(c rows.Column) bool { return c.Name == k }) {
			return source.ErrBinding.New("primary key %s of table %s gets no attribute", k, t.Name)
		}
	}
	return nil
}

func equalSource(a, b manifest.Source) bool {
	return a.Stream == b.Stream && string(a.Schema) == string(b.Schema) && slices.EqualFunc(a.Targets, b.Targets, func(x, y manifest.Target) bool {
		return x.Table == y.Table && x.Version == y.Version && slices.Equal(x.Columns, y.Columns)
	})
}

// Unbind ends a binding; a missing one is no error.
func (s *Store) Unbind(stream, name string) error {
	return s.do(func() (*change, error) {
		t, src := s.tables[strings.ToUpper(name)], s.streams[stream]
		if t == nil || src == nil {
			return nil, nil
		}
		spec := src.Spec
		spec.Targets = slices.DeleteFunc(slices.Clone(spec.Targets), func(x manifest.Target) bool { return x.Table == t.ID })
		if len(spec.Targets) == len(src.Spec.Targets) {
			return nil, nil
		}
		return &change{Op: opBind, Source: &spec}, nil
	})
}
