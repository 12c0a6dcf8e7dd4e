package sparksql

import "strings"

func native(min, max int, name string) function {
	return function{min: min, max: max, tmpl: name + "($*)"}
}

func aggregate(name string) function {
	return function{min: 1, max: 1, tmpl: name + "($*)", aggregate: true}
}

func fixed(n int, tmpl string) function { return function{min: n, max: n, tmpl: tmpl} }

func window(min, max int, name string) function {
	return function{min: min, max: max, tmpl: name + "($*)", window: true}
}

// functions are Spark's functions that run here with Spark's result. Macros (spark_…) are in macros.go.
var functions = map[string]function{
	// Aggregates.
	"count":         aggregate("count"),
	"sum":           aggregate("sum"),
	"avg":           aggregate("avg"),
	"mean":          aggregate("avg"),
	"min":           aggregate("min"),
	"max":           aggregate("max"),
	"stddev":        aggregate("stddev_samp"),
	"std":           aggregate("stddev_samp"),
	"stddev_samp":   aggregate("stddev_samp"),
	"stddev_pop":    aggregate("stddev_pop"),
	"variance":      aggregate("var_samp"),
	"var_samp":      aggregate("var_samp"),
	"var_pop":       aggregate("var_pop"),
	"corr":          {min: 2, max: 2, tmpl: "corr($*)", aggregate: true},
	"covar_pop":     {min: 2, max: 2, tmpl: "covar_pop($*)", aggregate: true},
	"covar_samp":    {min: 2, max: 2, tmpl: "covar_samp($*)", aggregate: true},
	"first":         {min: 1, max: 1, tmpl: "first($*)", aggregate: true},
	"last":          {min: 1, max: 1, tmpl: "last($*)", aggregate: true},
	"first_value":   {min: 1, max: 1, tmpl: "first($*)", aggregate: true},
	"last_value":    {min: 1, max: 1, tmpl: "last($*)", aggregate: true},
	"max_by":        {min: 2, max: 2, tmpl: "max_by($*)", aggregate: true},
	"min_by":        {min: 2, max: 2, tmpl: "min_by($*)", aggregate: true},
	"bool_and":      aggregate("bool_and"),
	"every":         aggregate("bool_and"),
	"bool_or":       aggregate("bool_or"),
	"any":           aggregate("bool_or"),
	"some":          aggregate("bool_or"),
	"count_if":      fixed(1, "count(*) FILTER (WHERE $1)"),
	"percentile":    fixed(2, "quantile_cont($1, $2)"),
	"median":        aggregate("median"),
	"collect_list":  fixed(1, "coalesce(list($1) FILTER (WHERE ($1) IS NOT NULL), list_value())"),
	"collect_set":   fixed(1, "coalesce(list(DISTINCT $1) FILTER (WHERE ($1) IS NOT NULL), list_value())"),
	"geometricmean": fixed(1, "exp(avg(spark_ln($1)))"),
	"harmonicmean":  fixed(1, "(count($1) / sum(1.0 / ($1)))"),
	"row_number":    window(0, 0, "row_number"),
	"rank":          window(0, 0, "rank"),
	"dense_rank":    window(0, 0, "dense_rank"),
	"percent_rank":  window(0, 0, "percent_rank"),
	"cume_dist":     window(0, 0, "cume_dist"),
	"ntile":         window(1, 1, "ntile"),
	"lag":           window(1, 3, "lag"),
	"lead":          window(1, 3, "lead"),
	"grouping":      native(1, 1, "grouping"),

	// Nulls and choices.
	"coalesce":  native(1, -1, "coalesce"),
	"nvl":       native(2, 2, "coalesce"),
	"ifnull":    native(2, 2, "coalesce"),
	"nvl2":      fixed(3, "(CASE WHEN ($1) IS NOT NULL THEN $2 ELSE $3 END)"),
	"nullif":    native(2, 2, "nullif"),
	"if":        fixed(3, "(CASE WHEN $1 THEN $2 ELSE $3 END)"),
	"isnull":    fixed(1, "(($1) IS NULL)"),
	"isnotnull": fixed(1, "(($1) IS NOT NULL)"),
	"isnan":     fixed(1, "coalesce(isnan(spark_double($1)), false)"),
	"greatest":  native(2, -1, "greatest"),
	"least":     native(2, -1, "least"),

	// Numbers.
	"abs":     native(1, 1, "abs"),
	"ceil":    fixed(1, "spark_bigint(ceil($1))"),
	"ceiling": fixed(1, "spark_bigint(ceil($1))"),
	"floor":   fixed(1, "spark_bigint(floor($1))"),
	"round":   {min: 1, max: 2, tmpl: "spark_round($1, 0)", more: map[int]string{2: "spark_round($1, $2)"}},
	"sqrt":    fixed(1, "spark_sqrt($1)"),
	"cbrt":    native(1, 1, "cbrt"),
	"exp":     native(1, 1, "exp"),
	"ln":      fixed(1, "spark_ln($1)"),
	"log":     {min: 1, max: 2, tmpl: "spark_ln($1)", more: map[int]string{2: "(spark_ln($2) / spark_ln($1))"}},
	"log10":   fixed(1, "spark_log10($1)"),
	"log2":    fixed(1, "spark_log2($1)"),
	"pow":     fixed(2, "pow(spark_double($1), spark_double($2))"),
	"power":   fixed(2, "pow(spark_double($1), spark_double($2))"),
	"sign":    fixed(1, "spark_double(sign($1))"),
	"signum":  fixed(1, "spark_double(sign($1))"),
	"sin":     native(1, 1, "sin"),
	"cos":     native(1, 1, "cos"),
	"tan":     native(1, 1, "tan"),
	"asin":    fixed(1, "spark_asin($1)"),
	"acos":    fixed(1, "spark_acos($1)"),
	"atan":    native(1, 1, "atan"),
	"atan2":   native(2, 2, "atan2"),
	"sinh":    native(1, 1, "sinh"),
	"cosh":    native(1, 1, "cosh"),
	"tanh":    native(1, 1, "tanh"),
	"degrees": native(1, 1, "degrees"),
	"radians": native(1, 1, "radians"),
	"pi":      native(0, 0, "pi"),
	"e":       fixed(0, "exp(1)"),
	"pmod":    fixed(2, "spark_pmod($1, $2)"),
	"mod":     fixed(2, "(($1) % ($2))"),
	"rand":    fixed(0, "random()"),

	// Casts as functions.
	"int":      fixed(1, "spark_int($1)"),
	"bigint":   fixed(1, "spark_bigint($1)"),
	"smallint": fixed(1, "spark_smallint($1)"),
	"tinyint":  fixed(1, "spark_tinyint($1)"),
	"double":   fixed(1, "spark_double($1)"),
	"float":    fixed(1, "spark_float($1)"),
	"boolean":  fixed(1, "spark_boolean($1)"),
	"string":   fixed(1, "spark_string($1)"),
	"binary":   fixed(1, "spark_binary($1)"),

	// Strings. concat is null if one argument is, as in Spark.
	"concat":           {min: 1, max: -1, tmpl: "($*)", each: "spark_string(%)||"},
	"concat_ws":        {min: 1, max: -1, tmpl: "concat_ws($*)", each: "spark_text(%)"},
	"length":           fixed(1, "length(spark_string($1))"),
	"char_length":      fixed(1, "length(spark_string($1))"),
	"character_length": fixed(1, "length(spark_string($1))"),
	"lower":            fixed(1, "lower(spark_string($1))"),
	"lcase":            fixed(1, "lower(spark_string($1))"),
	"upper":            fixed(1, "upper(spark_string($1))"),
	"ucase":            fixed(1, "upper(spark_string($1))"),
	"trim":             fixed(1, "trim(spark_string($1))"),
	"ltrim":            fixed(1, "ltrim(spark_string($1))"),
	"rtrim":            fixed(1, "rtrim(spark_string($1))"),
	"substr":           {min: 2, max: 3, tmpl: "spark_substring($1, $2, 2147483647)", more: map[int]string{3: "spark_substring($1, $2, $3)"}},
	"substring":        {min: 2, max: 3, tmpl: "spark_substring($1, $2, 2147483647)", more: map[int]string{3: "spark_substring($1, $2, $3)"}},
	"left":             fixed(2, "spark_substring($1, 1, $2)"),
	"instr":            fixed(2, "instr(spark_string($1), spark_string($2))"),
	"locate":           fixed(2, "instr(spark_string($2), spark_string($1))"),
	"replace":          fixed(3, "replace(spark_string($1), spark_string($2), spark_string($3))"),
	"reverse":          fixed(1, "reverse(spark_string($1))"),
	"repeat":           fixed(2, "repeat(spark_string($1), greatest($2, 0))"),
	"space":            fixed(1, "repeat(' ', greatest($1, 0))"),
	"lpad":             fixed(3, "spark_lpad($1, $2, $3)"),
	"rpad":             fixed(3, "spark_rpad($1, $2, $3)"),
	"translate":        fixed(3, "translate(spark_string($1), spark_string($2), spark_string($3))"),
	"levenshtein":      fixed(2, "levenshtein(spark_string($1), spark_string($2))"),
	"md5":              fixed(1, "md5(spark_string($1))"),
	"sha":              fixed(1, "sha1(spark_string($1))"),
	"sha1":             fixed(1, "sha1(spark_string($1))"),
	"startswith":       fixed(2, "starts_with(spark_string($1), spark_string($2))"),
	"endswith":         fixed(2, "ends_with(spark_string($1), spark_string($2))"),
	"contains":         fixed(2, "contains(spark_string($1), spark_string($2))"),
	"regexp_extract": {min: 2, max: 3, tmpl: "regexp_extract(spark_string($1), $2, 1)",
		more: map[int]string{3: "regexp_extract(spark_string($1), $2, $3)"}, literal: map[int]func(string) (string, string){2: regex}},
	"regexp_replace": {min: 3, max: 3, tmpl: "regexp_replace(spark_string($1), $2, $3, 'g')",
		literal: map[int]func(string) (string, string){2: regex, 3: replacement}},
	"split": {min: 2, max: 2, tmpl: "string_split_regex(spark_string($1), $2)", literal: map[int]func(string) (string, string){2: regex}},

	// Arrays.
	"array":          native(0, -1, "list_value"),
	"size":           fixed(1, "coalesce(array_length($1), -1)"),
	"array_contains": fixed(2, "list_contains($1, $2)"),
	"sort_array":     fixed(1, "list_sort($1)"),
	"element_at":     fixed(2, "list_extract($1, $2)"),
	"array_max":      fixed(1, "list_max($1)"),
	"array_min":      fixed(1, "list_min($1)"),

	// Times. A string that is no time gives null, as in Spark.
	"now":               fixed(0, "CAST(now() AS TIMESTAMP)"),
	"current_timestamp": fixed(0, "CAST(now() AS TIMESTAMP)"),
	"current_date":      fixed(0, "CAST(now() AS DATE)"),
	"unix_timestamp": {min: 0, max: 2, tmpl: "spark_unix_timestamp(now())", more: map[int]string{1: "spark_unix_timestamp($1)", 2: "spark_parse_unix(spark_string($1), $2)"},
		literal: map[int]func(string) (string, string){2: pattern}},
	"from_unixtime": {min: 1, max: 2, tmpl: "spark_format_unix(spark_bigint($1), 'yyyy-MM-dd HH:mm:ss')",
		more: map[int]string{2: "spark_format_unix(spark_bigint($1), $2)"}, literal: map[int]func(string) (string, string){2: pattern}},
	"date_format": {min: 2, max: 2, tmpl: "spark_format_time(spark_timestamp($1), $2)", literal: map[int]func(string) (string, string){2: pattern}},
	"to_date":     {min: 1, max: 2, tmpl: "spark_date($1)", more: map[int]string{2: "spark_date(to_timestamp(spark_parse_unix(spark_string($1), $2)))"}, literal: map[int]func(string) (string, string){2: pattern}},
	"to_timestamp": {min: 1, max: 2, tmpl: "spark_timestamp($1)", more: map[int]string{2: "spark_timestamp(to_timestamp(spark_parse_unix(spark_string($1), $2)))"},
		literal: map[int]func(string) (string, string){2: pattern}},
	"date":             fixed(1, "spark_date($1)"),
	"year":             fixed(1, "year(spark_timestamp($1))"),
	"quarter":          fixed(1, "quarter(spark_timestamp($1))"),
	"month":            fixed(1, "month(spark_timestamp($1))"),
	"day":              fixed(1, "day(spark_timestamp($1))"),
	"dayofmonth":       fixed(1, "day(spark_timestamp($1))"),
	"dayofweek":        fixed(1, "(dayofweek(spark_timestamp($1)) + 1)"),
	"dayofyear":        fixed(1, "dayofyear(spark_timestamp($1))"),
	"weekofyear":       fixed(1, "weekofyear(spark_timestamp($1))"),
	"hour":             fixed(1, "hour(spark_timestamp($1))"),
	"minute":           fixed(1, "minute(spark_timestamp($1))"),
	"second":           fixed(1, "second(spark_timestamp($1))"),
	"last_day":         fixed(1, "last_day(spark_date($1))"),
	"datediff":         fixed(2, "date_diff('day', spark_date($2), spark_date($1))"),
	"date_add":         fixed(2, "(spark_date($1) + spark_int($2))"),
	"date_sub":         fixed(2, "(spark_date($1) - spark_int($2))"),
	"add_months":       fixed(2, "CAST(spark_date($1) + to_months(spark_int($2)) AS DATE)"),
	"date_trunc":       {min: 2, max: 2, tmpl: "date_trunc($1, spark_timestamp($2))", literal: map[int]func(string) (string, string){1: truncUnit}},
	"trunc":            {min: 2, max: 2, tmpl: "CAST(date_trunc($2, spark_date($1)) AS DATE)", literal: map[int]func(string) (string, string){2: truncUnit}},
	"timestamp_millis": fixed(1, "CAST(to_timestamp(($1) / 1000.0) AS TIMESTAMP)"),
}

func init() {
	// facet1 … facet22 join their arguments with commas.
	for n := 1; n <= 22; n++ {
		functions["facet"+itoa(n)] = function{min: n, max: n, tmpl: "concat_ws(',', $*)", each: "spark_text(%)"}
	}
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return string(rune('0'+n/10)) + string(rune('0'+n%10))
}

// refusedFunctions are known to Spark and not run here, each with its reason.
var refusedFunctions = map[string]string{
	"explode":               "it makes rows, which DuckDB's unnest does otherwise",
	"posexplode":            "it makes rows, which DuckDB's unnest does otherwise",
	"inline":                "it makes rows, which DuckDB's unnest does otherwise",
	"json_tuple":            "it makes rows, which DuckDB's unnest does otherwise",
	"approx_count_distinct": "its estimate would differ from Spark's; use count(DISTINCT …)",
	"approx_percentile":     "its estimate would differ from Spark's; use percentile",
	"percentile_approx":     "its estimate would differ from Spark's; use percentile",
	"skewness":              "DuckDB's definition differs from Spark's",
	"kurtosis":              "DuckDB's definition differs from Spark's",
	"hash":                  "its value would differ from Spark's",
	"xxhash64":              "its value would differ from Spark's",
	"randn":                 "DuckDB has no counterpart",
	"initcap":               "DuckDB has no counterpart",
	"soundex":               "DuckDB has no counterpart",
	"conv":                  "DuckDB has no counterpart",
	"crc32":                 "DuckDB has no counterpart",
	"months_between":        "DuckDB's definition differs from Spark's",
	"next_day":              "DuckDB has no counterpart",
	"from_utc_timestamp":    "it needs zones per row",
	"to_utc_timestamp":      "it needs zones per row",
	"get_json_object":       "DuckDB's paths differ from Spark's",
	"map":                   "maps are refused",
	"struct":                "structs are refused",
	"named_struct":          "structs are refused",
	"timestamp":             "DAS gave it another meaning than Spark; use to_timestamp",
	"read_parquet":          "statements read tables, not files",
	"read_csv":              "statements read tables, not files",
	"read_csv_auto":         "statements read tables, not files",
	"read_json":             "statements read tables, not files",
	"read_json_auto":        "statements read tables, not files",
	"read_text":             "statements read tables, not files",
	"read_blob":             "statements read tables, not files",
	"parquet_scan":          "statements read tables, not files",
	"parquet_metadata":      "statements read tables, not files",
	"glob":                  "statements read tables, not files",
	"getenv":                "statements see nothing of the process",
	"current_setting":       "statements see nothing of the process",
	"duckdb_settings":       "statements see nothing of the process",
	"generate_series":       "Spark has no such function",
	"range":                 "row-making functions are refused",
}

// regex passes a Java pattern that RE2 reads alike; the others are refused.
func regex(p string) (string, string) {
	for i := 0; i < len(p); i++ {
		switch {
		case p[i] == '\\' && i+1 < len(p):
			if c := p[i+1]; c >= '1' && c <= '9' || strings.IndexByte("GkRXhHVeuxNZ", c) >= 0 {
				return "", "the pattern uses \\" + string(rune(c)) + ", which RE2 lacks or reads otherwise than Java"
			}
			i++
		case strings.HasPrefix(p[i:], "(?=") || strings.HasPrefix(p[i:], "(?!") || strings.HasPrefix(p[i:], "(?<=") || strings.HasPrefix(p[i:], "(?<!") || strings.HasPrefix(p[i:], "(?>"):
			return "", "the pattern looks ahead or behind, which RE2 lacks"
		case (p[i] == '*' || p[i] == '+' || p[i] == '?' || p[i] == '}') && i+1 < len(p) && p[i+1] == '+':
			return "", "the pattern has a possessive quantifier, which RE2 lacks"
		case strings.HasPrefix(p[i:], "&&"):
			return "", "the pattern intersects classes, which RE2 lacks"
		}
	}
	return p, ""
}

// replacement turns Java's $1 and backslashes into RE2's \1.
func replacement(r string) (string, string) {
	var b strings.Builder
	for i := 0; i < len(r); i++ {
		switch {
		case r[i] == '$' && i+1 < len(r) && r[i+1] >= '0' && r[i+1] <= '9':
			if i+2 < len(r) && r[i+2] >= '0' && r[i+2] <= '9' {
				return "", "the replacement names a group beyond $9 or is ambiguous"
			}
			i++
			b.WriteString(`\` + string(rune(r[i])))
		case r[i] == '$':
			return "", "the replacement has a $ that names no group"
		case r[i] == '\\':
			if i+1 == len(r) {
				return "", "the replacement ends in a backslash"
			}
			i++
			if r[i] == '\\' {
				b.WriteString(`\\`)
			} else {
				b.WriteByte(r[i])
			}
		default:
			b.WriteByte(r[i])
		}
	}
	return b.String(), ""
}

// truncUnit maps Spark's units of trunc and date_trunc to DuckDB's.
func truncUnit(u string) (string, string) {
	switch strings.ToUpper(u) {
	case "YEAR", "YYYY", "YY":
		return "year", ""
	case "QUARTER":
		return "quarter", ""
	case "MONTH", "MM", "MON":
		return "month", ""
	case "WEEK":
		return "week", ""
	case "DAY", "DD":
		return "day", ""
	case "HOUR":
		return "hour", ""
	case "MINUTE":
		return "minute", ""
	case "SECOND":
		return "second", ""
	}
	return "", "the unit " + u + " is refused"
}
