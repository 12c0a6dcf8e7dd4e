package sparksql

import (
	"strconv"
	"strings"
)

// Type is the type of a column of a CarbonAnalytics table.
type Type uint8

// Types as DAS.md section 5.1 and 7.4 have them.
const (
	TypeString Type = iota + 1
	TypeInteger
	TypeLong
	TypeFloat
	TypeDouble
	TypeBoolean
	TypeBinary
	TypeFacet
)

var typeNames = map[string]Type{
	"string": TypeString, "int": TypeInteger, "integer": TypeInteger, "long": TypeLong, "float": TypeFloat,
	"double": TypeDouble, "boolean": TypeBoolean, "binary": TypeBinary, "facet": TypeFacet,
}

// Virtual columns: they are not kept with the table's columns.
const (
	TimestampColumn = "_timestamp"
	TenantColumn    = "_tenantId"
)

// Column is one column of the option schema.
type Column struct {
	Name       string
	Type       Type
	Indexed    bool
	ScoreParam bool
	Facet      bool
	// Virtual columns are `_timestamp` (the record's time) and `_tenantId`.
	Virtual bool
}

// Incremental is the option incrementalParams.
type Incremental struct {
	ID string
	// Unit is SECOND, MINUTE, HOUR, DAY, MONTH, YEAR, or empty.
	Unit string
	// Buffer is how many units before the last one are read again.
	Buffer int
}

// Options are the options of CREATE TEMPORARY TABLE … USING CarbonAnalytics OPTIONS (…).
type Options struct {
	// Table is the DAS table, upper case.
	Table string
	// Columns in the order of the option schema; nil without one.
	Columns []Column
	// PrimaryKeys as named; empty without any.
	PrimaryKeys []string
	// RecordStore, upper case; PROCESSED_DATA_STORE if not named.
	RecordStore string
	// MergeSchema is true unless the option says false: the schema is then replaced.
	MergeSchema bool
	// Incremental is nil without the option.
	Incremental *Incremental
	// Pos is where the options stand.
	Pos Pos
}

// DefaultRecordStore is where a table is made if recordStore is not named.
const DefaultRecordStore = "PROCESSED_DATA_STORE"

func parseOptions(raw []option, pos Pos) (Options, error) {
	o := Options{RecordStore: DefaultRecordStore, MergeSchema: true, Pos: pos}
	seen := map[string]option{}
	for _, opt := range raw {
		key := strings.ToLower(opt.key)
		if key == "streamname" {
			key = "tablename"
		}
		if first, twice := seen[key]; twice {
			return o, at(ErrOption, opt.keyPos, "option %s stands twice, first at line %d", opt.key, first.keyPos.Line)
		}
		seen[key] = opt
		if err := o.set(opt); err != nil {
			return o, err
		}
	}
	if o.Table == "" {
		return o, at(ErrOption, pos, "option tableName (or streamName) is missing")
	}
	for i, k := range o.PrimaryKeys {
		if o.Columns == nil {
			break
		}
		c := o.column(k)
		if c == nil {
			return o, at(ErrOption, seen["primarykeys"].valuePos, "primary key %s is no column of the schema", k)
		}
		if c.Virtual && c.Name == TenantColumn {
			return o, at(ErrOption, seen["primarykeys"].valuePos, "%s can't be a primary key", c.Name)
		}
		o.PrimaryKeys[i] = c.Name
	}
	return o, nil
}

// column finds a column by its name in any case.
func (o *Options) column(name string) *Column {
	for i := range o.Columns {
		if strings.EqualFold(o.Columns[i].Name, name) {
			return &o.Columns[i]
		}
	}
	return nil
}

func (o *Options) set(opt option) error {
	value := strings.TrimSpace(opt.value)
	var err error
	switch strings.ToLower(opt.key) {
	case "tablename":
		o.Table, err = tableName(value, opt)
	case "streamname":
		o.Table, err = tableName(strings.ReplaceAll(value, ".", "_"), opt)
	case "schema":
		o.Columns, err = parseSchema(value, opt.valuePos)
	case "primarykeys":
		o.PrimaryKeys, err = parseNames(value, opt)
	case "recordstore":
		if value == "" {
			return at(ErrOption, opt.valuePos, "option recordStore is empty")
		}
		o.RecordStore = strings.ToUpper(value)
	case "mergeschema":
		o.MergeSchema, err = parseBool(value, opt)
	case "globaltenantaccess":
		// There is one tenant, carbon.super: all tenants' tables are its tables.
		_, err = parseBool(value, opt)
	case "incrementalparams":
		o.Incremental, err = parseIncremental(value, opt.valuePos)
	case "tenantid":
		if value != "-1234" {
			err = at(ErrOption, opt.valuePos, "tenant %s is refused: there is tenant -1234 alone", value)
		}
	default:
		err = at(ErrOption, opt.keyPos, "unknown option %s; known are tableName, streamName, schema, primaryKeys, recordStore, mergeSchema, globalTenantAccess, incrementalParams", opt.key)
	}
	return err
}

func parseBool(value string, opt option) (bool, error) {
	switch {
	case strings.EqualFold(value, "true"):
		return true, nil
	case strings.EqualFold(value, "false"):
		return false, nil
	}
	return false, at(ErrOption, opt.valuePos, "option %s must be true or false, not %q", opt.key, value)
}

func tableName(value string, opt option) (string, error) {
	if value == "" {
		return "", at(ErrOption, opt.valuePos, "option %s is empty", opt.key)
	}
	return strings.ToUpper(value), nil
}

func parseNames(value string, opt option) ([]string, error) {
	var out []string
	if value == "" {
		return nil, nil
	}
	for _, part := range strings.Split(value, ",") {
		name := strings.TrimSpace(part)
		if name == "" {
			return nil, at(ErrOption, opt.valuePos, "option %s has an empty name", opt.key)
		}
		for _, had := range out {
			if strings.EqualFold(had, name) {
				return nil, at(ErrOption, opt.valuePos, "option %s names %s twice", opt.key, name)
			}
		}
		out = append(out, name)
	}
	return out, nil
}

// parseSchema reads "col type [-i] [-sp] [-f], …".
func parseSchema(value string, pos Pos) ([]Column, error) {
	if value == "" {
		return nil, at(ErrOption, pos, "option schema is empty")
	}
	var out []Column
	seen := map[string]bool{}
	for _, part := range strings.Split(value, ",") {
		c, err := parseColumn(strings.Fields(part), pos)
		if err != nil {
			return nil, err
		}
		key := strings.ToLower(c.Name)
		if seen[key] {
			return nil, at(ErrOption, pos, "schema names column %s twice", c.Name)
		}
		seen[key] = true
		out = append(out, c)
	}
	return out, nil
}

// reserved are columns of every record that a schema can't declare.
var reserved = map[string]bool{"_id": true, "_seq": true, "_score": true, "_weight": true, "_arbitrary": true}

func parseColumn(words []string, pos Pos) (Column, error) {
	var c Column
	if len(words) < 2 {
		return c, at(ErrOption, pos, "schema has %q where a column's name and type are expected", strings.Join(words, " "))
	}
	c.Name = words[0]
	if strings.ContainsAny(c.Name, "\"'`") {
		return c, at(ErrOption, pos, "schema has a column named %s: quotes are refused in names", c.Name)
	}
	if reserved[strings.ToLower(c.Name)] {
		return c, at(ErrOption, pos, "schema names column %s, which is reserved", c.Name)
	}
	var known bool
	if c.Type, known = typeNames[strings.ToLower(words[1])]; !known {
		return c, at(ErrOption, pos, "schema gives column %s the unknown type %s; known are string, int, integer, long, float, double, boolean, binary, facet", c.Name, words[1])
	}
	if err := c.flags(words[2:], pos); err != nil {
		return c, err
	}
	switch {
	case strings.EqualFold(c.Name, TimestampColumn):
		c.Name, c.Virtual = TimestampColumn, true
		if c.Type != TypeLong {
			return c, at(ErrOption, pos, "column %s must be LONG", c.Name)
		}
	case strings.EqualFold(c.Name, TenantColumn):
		c.Name, c.Virtual = TenantColumn, true
		if c.Type != TypeInteger {
			return c, at(ErrOption, pos, "column %s must be INTEGER", c.Name)
		}
	}
	return c, nil
}

// flags applies -i, -sp and -f. One flag: any of them; two: -f with -sp or with -i. A facet column without a flag is a plain string.
func (c *Column) flags(words []string, pos Pos) error {
	set := map[string]bool{}
	for _, w := range words {
		f := strings.ToLower(w)
		switch f {
		case "-i", "-sp", "-f":
		default:
			return at(ErrOption, pos, "invalid option %s for column %s; known are -i, -sp, -f", w, c.Name)
		}
		if set[f] {
			return at(ErrOption, pos, "option %s stands twice for column %s", w, c.Name)
		}
		set[f] = true
	}
	if len(set) > 2 || len(set) == 2 && !set["-f"] {
		return at(ErrOption, pos, "invalid options %s for column %s: only -f goes with another", strings.Join(words, " "), c.Name)
	}
	c.Indexed = len(set) > 0
	c.ScoreParam = set["-sp"]
	c.Facet = set["-f"] || set["-i"] && c.Type == TypeFacet
	if c.ScoreParam {
		switch c.Type {
		case TypeInteger, TypeLong, TypeFloat, TypeDouble:
		default:
			return at(ErrOption, pos, "score-param assigned to the non-numeric column %s", c.Name)
		}
	}
	if c.Type == TypeFacet && len(set) == 0 {
		c.Type = TypeString
	}
	return nil
}

// parseIncremental reads "id[, UNIT[, buffer]]".
func parseIncremental(value string, pos Pos) (*Incremental, error) {
	parts := strings.Split(value, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	if parts[0] == "" || len(parts) > 3 {
		return nil, at(ErrOption, pos, "incrementalParams must be \"id[, UNIT[, buffer]]\", not %q", value)
	}
	inc := &Incremental{ID: parts[0]}
	if len(parts) > 1 {
		inc.Unit = strings.ToUpper(parts[1])
		inc.Buffer = 1
		switch inc.Unit {
		case "SECOND", "MINUTE", "HOUR", "DAY", "MONTH", "YEAR":
		default:
			return nil, at(ErrOption, pos, "incrementalParams has the unit %q; known are SECOND, MINUTE, HOUR, DAY, MONTH, YEAR", parts[1])
		}
	}
	if len(parts) > 2 {
		n, err := strconv.Atoi(parts[2])
		if err != nil || n < 0 || n > 1_000_000 {
			return nil, at(ErrOption, pos, "incrementalParams has the buffer %q, a number from 0 to 1000000 is expected", parts[2])
		}
		inc.Buffer = n
	}
	return inc, nil
}
