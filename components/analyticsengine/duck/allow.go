package duck

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"carbonado.dev/carbonado/components/analyticsengine/sparksql"
	"carbonado.dev/sdk/cause"
)

// Check parses a rewritten SELECT with DuckDB's own parser and walks over the tree: only kinds of nodes, operators and functions
// that are listed here may stand in it. It returns the tables that it names, common table expressions excepted, in order.
func (d *Database) Check(ctx context.Context, q *sparksql.Rewritten) ([]TableUse, error) {
	w, err := d.walk(ctx, q, nil)
	if err != nil {
		return nil, err
	}
	return w.tables, nil
}

// Qualify puts the schema of the statement's tables before the tables named and checks the result again: afterwards every name
// of a table is one of these or a common table expression.
func (d *Database) Qualify(ctx context.Context, q *sparksql.Rewritten, uses []TableUse) (*sparksql.Rewritten, error) {
	ins := make([]sparksql.Insertion, len(uses))
	known := map[string]bool{}
	for i, u := range uses {
		ins[i] = sparksql.Insertion{Offset: u.Offset, Text: schemaName + "."}
		known[strings.ToLower(u.Name)] = true
	}
	q = q.With(ins)
	if _, err := d.walk(ctx, q, known); err != nil {
		return nil, err
	}
	return q, nil
}

func (d *Database) walk(ctx context.Context, q *sparksql.Rewritten, known map[string]bool) (*walker, error) {
	var text string
	if err := d.conn.QueryRowContext(ctx, "SELECT CAST(json_serialize_sql(CAST(? AS VARCHAR)) AS VARCHAR)", q.SQL).Scan(&text); err != nil {
		return nil, d.failed(ctx, err)
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var tree struct {
		Error      bool   `json:"error"`
		Type       string `json:"error_type"`
		Message    string `json:"error_message"`
		Position   any    `json:"position"`
		Statements []object
	}
	if err := dec.Decode(&tree); err != nil {
		return nil, ErrEngine.Wrap(err, "the statement's tree can't be read")
	}
	w := &walker{q: q, known: known}
	if tree.Error {
		if tree.Type == "not implemented" {
			return nil, w.at(ErrForbidden, object{}, "only SELECT is run here")
		}
		offset := 0
		_, _ = fmt.Sscan(fmt.Sprint(tree.Position), &offset)
		pos := q.At(offset)
		return nil, sparksql.ErrSyntax.New("%s", clean(tree.Message)).At("", pos.Line, pos.Column)
	}
	if len(tree.Statements) != 1 {
		return nil, w.at(ErrForbidden, object{}, "exactly one statement is run at a time")
	}
	if err := w.subquery(tree.Statements[0], nil); err != nil {
		return nil, err
	}
	return w, nil
}

// object is a node of DuckDB's tree.
type object map[string]any

func (o object) text(key string) string { s, _ := o[key].(string); return s }

func (o object) object(key string) object {
	m, _ := o[key].(map[string]any)
	return m
}

func (o object) list(key string) []any { l, _ := o[key].([]any); return l }

// offset is where a node stands in the rewritten text.
func (o object) offset() int {
	n, ok := o["query_location"].(json.Number)
	if !ok {
		return 0
	}
	v, err := n.Int64()
	if err != nil {
		return 0
	}
	return int(v)
}

// scope is the common table expressions that a name may mean.
type scope struct {
	names map[string]bool
	outer *scope
}

func (s *scope) has(name string) bool {
	for ; s != nil; s = s.outer {
		if s.names[strings.ToLower(name)] {
			return true
		}
	}
	return false
}

// walker goes over one statement's tree.
type walker struct {
	q      *sparksql.Rewritten
	tables []TableUse
	// known are the tables of the schema; nil in the first pass, where no name has a schema.
	known map[string]bool
}

func (w *walker) at(k *cause.Kind, o object, format string, args ...any) error {
	pos := w.q.At(o.offset())
	return k.New(format, args...).At("", pos.Line, pos.Column)
}

// allowedFunctions are DuckDB's functions and operators that the front writes, and its own macros.
var allowedFunctions = set(`+ - * / // % || & | ~ ~~ !~~ ~~* !~~* like_escape not_like_escape ilike_escape not_ilike_escape
	regexp_full_match
	count count_star sum avg min max stddev_samp stddev_pop var_samp var_pop corr covar_pop covar_samp first last max_by min_by
	bool_and bool_or quantile_cont median list
	row_number rank dense_rank percent_rank cume_dist ntile lag lead grouping
	coalesce nullif isnan greatest least abs ceil floor cbrt exp pow sign sin cos tan atan atan2 sinh cosh tanh degrees radians pi
	random concat_ws length lower upper trim ltrim rtrim instr replace reverse repeat translate levenshtein md5 sha1 starts_with
	ends_with contains regexp_extract regexp_replace string_split_regex
	list_value array_length list_contains list_sort list_extract list_max list_min
	trunc
	now epoch to_timestamp to_months to_years to_days to_weeks to_hours to_minutes to_seconds to_milliseconds to_microseconds
	year quarter month day dayofweek dayofyear weekofyear hour minute second last_day date_diff date_trunc`)

func set(list string) map[string]bool {
	m := map[string]bool{}
	for _, s := range strings.Fields(list) {
		m[s] = true
	}
	return m
}

func (w *walker) function(o object) error {
	name := strings.ToLower(o.text("function_name"))
	_, macro := sparksql.Macros[name]
	// DuckDB's parser itself puts "main" before functions that it makes of syntax: LIKE … ESCAPE, INTERVAL, trim.
	schema := o.text("schema")
	if !allowedFunctions[name] && !macro && !isNative(name) || schema != "" && schema != "main" || o.text("catalog") != "" {
		return w.at(ErrForbidden, o, "the function %s must not be used", name)
	}
	return nil
}

// allowedTypes are the targets of casts that the front writes.
var allowedTypes = set(`BIGINT SMALLINT TINYINT INTEGER DOUBLE FLOAT DATE TIMESTAMP DECIMAL VARCHAR BOOLEAN BLOB`)

// allowedOperators are the types of nodes of class OPERATOR.
var allowedOperators = set(`OPERATOR_NOT OPERATOR_IS_NULL OPERATOR_IS_NOT_NULL COMPARE_IN COMPARE_NOT_IN OPERATOR_COALESCE
	OPERATOR_NULLIF GROUPING_FUNCTION`)

func (w *walker) exprs(list []any, s *scope) error {
	for _, x := range list {
		if err := w.expr(x, s); err != nil {
			return err
		}
	}
	return nil
}

// fields walks over the expressions in some fields of a node.
func (w *walker) fields(o object, s *scope, keys ...string) error {
	for _, k := range keys {
		switch v := o[k].(type) {
		case nil:
		case []any:
			if err := w.exprs(v, s); err != nil {
				return err
			}
		default:
			if err := w.expr(v, s); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *walker) orders(list []any, s *scope) error {
	for _, x := range list {
		m, _ := x.(map[string]any)
		if err := w.expr(m["expression"], s); err != nil {
			return err
		}
	}
	return nil
}

// empty refuses a node in which a field is not empty.
func (w *walker) empty(o object, keys ...string) error {
	for _, k := range keys {
		switch v := o[k].(type) {
		case nil:
		case bool:
			if v {
				return w.at(ErrForbidden, o, "%s must not be used", k)
			}
		case string:
			if v != "" {
				return w.at(ErrForbidden, o, "%s must not be used", k)
			}
		case []any:
			if len(v) > 0 {
				return w.at(ErrForbidden, o, "%s must not be used", k)
			}
		default:
			return w.at(ErrForbidden, o, "%s must not be used", k)
		}
	}
	return nil
}

func (w *walker) expr(x any, s *scope) error {
	m, ok := x.(map[string]any)
	if !ok {
		return w.at(ErrForbidden, object{}, "the statement's tree has a part of no known kind")
	}
	o := object(m)
	switch class := o.text("class"); class {
	case "COLUMN_REF":
		if n := len(o.list("column_names")); n < 1 || n > 2 {
			return w.at(ErrForbidden, o, "a column is named by itself or by its table and itself")
		}
		return nil
	case "CONSTANT":
		return nil
	case "FUNCTION":
		if err := w.function(o); err != nil {
			return err
		}
		if err := w.empty(o.object("order_bys"), "orders"); err != nil {
			return err
		}
		return w.fields(o, s, "children", "filter")
	case "COMPARISON":
		return w.fields(o, s, "left", "right")
	case "CONJUNCTION":
		return w.fields(o, s, "children")
	case "CAST":
		if id := o.object("cast_type").text("id"); !allowedTypes[id] {
			return w.at(ErrForbidden, o, "a cast to %s must not be used", id)
		}
		return w.fields(o, s, "child")
	case "CASE":
		for _, c := range o.list("case_checks") {
			m, _ := c.(map[string]any)
			if err := w.fields(m, s, "when_expr", "then_expr"); err != nil {
				return err
			}
		}
		return w.fields(o, s, "else_expr")
	case "OPERATOR":
		if t := o.text("type"); !allowedOperators[t] {
			return w.at(ErrForbidden, o, "the operator %s must not be used", t)
		}
		return w.fields(o, s, "children")
	case "BETWEEN":
		return w.fields(o, s, "input", "lower", "upper")
	case "STAR":
		return w.empty(o, "exclude_list", "replace_list", "rename_list", "qualified_exclude_list", "columns", "expr")
	case "SUBQUERY":
		if err := w.subquery(o.object("subquery"), s); err != nil {
			return err
		}
		return w.fields(o, s, "child")
	case "WINDOW":
		if err := w.function(o); err != nil {
			return err
		}
		if err := w.empty(o, "arg_orders"); err != nil {
			return err
		}
		if err := w.orders(o.list("orders"), s); err != nil {
			return err
		}
		return w.fields(o, s, "children", "partitions", "start_expr", "end_expr", "offset_expr", "default_expr", "filter_expr")
	default:
		return w.at(ErrForbidden, o, "an expression of kind %s must not be used", class)
	}
}

// subquery walks over {"node": …}.
func (w *walker) subquery(o object, s *scope) error { return w.query(o.object("node"), s) }

func (w *walker) query(o object, s *scope) error {
	s = &scope{names: map[string]bool{}, outer: s}
	for _, x := range o.object("cte_map").list("map") {
		m, _ := x.(map[string]any)
		value := object(m).object("value")
		if err := w.subquery(value.object("query"), s); err != nil {
			return err
		}
		if err := w.empty(value, "key_targets"); err != nil {
			return err
		}
		s.names[strings.ToLower(object(m).text("key"))] = true
	}
	switch kind := o.text("type"); kind {
	case "SELECT_NODE":
		if err := w.empty(o, "sample", "qualify"); err != nil {
			return err
		}
		if err := w.from(o.object("from_table"), s); err != nil {
			return err
		}
		if err := w.fields(o, s, "select_list", "where_clause", "group_expressions", "having"); err != nil {
			return err
		}
	case "SET_OPERATION_NODE":
		switch t := o.text("setop_type"); t {
		case "UNION", "EXCEPT", "INTERSECT":
		default:
			return w.at(ErrForbidden, o, "the set operation %s must not be used", t)
		}
		if err := w.setOperands(o, s); err != nil {
			return err
		}
	default:
		return w.at(ErrForbidden, o, "a query of kind %s must not be used", kind)
	}
	return w.modifiers(o, s)
}

func (w *walker) setOperands(o object, s *scope) error {
	operands := o.list("children")
	for _, k := range []string{"left", "right"} {
		if o[k] != nil {
			operands = append(operands, o[k])
		}
	}
	for _, x := range operands {
		m, _ := x.(map[string]any)
		if err := w.query(m, s); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) modifiers(o object, s *scope) error {
	for _, x := range o.list("modifiers") {
		m, _ := x.(map[string]any)
		mod := object(m)
		switch kind := mod.text("type"); kind {
		case "ORDER_MODIFIER":
			if err := w.orders(mod.list("orders"), s); err != nil {
				return err
			}
		case "LIMIT_MODIFIER":
			if err := w.fields(mod, s, "limit", "offset"); err != nil {
				return err
			}
		case "DISTINCT_MODIFIER":
			if err := w.empty(mod, "distinct_on_targets"); err != nil {
				return err
			}
		default:
			return w.at(ErrForbidden, o, "a clause of kind %s must not be used", kind)
		}
	}
	return nil
}

func (w *walker) from(o object, s *scope) error {
	if err := w.empty(o, "sample"); err != nil {
		return err
	}
	switch kind := o.text("type"); kind {
	case "EMPTY":
		return nil
	case "BASE_TABLE":
		return w.table(o, s)
	case "JOIN":
		switch t := o.text("ref_type"); t {
		case "REGULAR", "CROSS", "NATURAL":
		default:
			return w.at(ErrForbidden, o, "a join of kind %s must not be used", t)
		}
		if err := w.from(o.object("left"), s); err != nil {
			return err
		}
		if err := w.from(o.object("right"), s); err != nil {
			return err
		}
		return w.fields(o, s, "condition")
	case "SUBQUERY":
		return w.subquery(o.object("subquery"), s)
	case "EXPRESSION_LIST":
		for _, row := range o.list("values") {
			l, _ := row.([]any)
			if err := w.exprs(l, s); err != nil {
				return err
			}
		}
		return nil
	default:
		return w.at(ErrForbidden, o, "a source of kind %s must not be used: statements read tables by name", kind)
	}
}

func (w *walker) table(o object, s *scope) error {
	if err := w.empty(o, "at_clause", "catalog_name"); err != nil {
		return err
	}
	name, in := o.text("table_name"), o.text("schema_name")
	switch {
	case in == "" && s.has(name):
		return nil
	case w.known == nil && in == "":
		w.tables = append(w.tables, TableUse{Name: name, Offset: o.offset()})
		return nil
	case w.known != nil && in == schemaName && w.known[strings.ToLower(name)]:
		return nil
	}
	return w.at(ErrForbidden, o, "the table %s must not be named so", name)
}
