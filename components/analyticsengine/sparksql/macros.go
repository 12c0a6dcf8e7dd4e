package sparksql

// Macros are DuckDB macros that give Spark's result where DuckDB's own function differs. The value is what stands behind
// CREATE MACRO name. Branches by typeof are decided when a statement is planned.
//
// Casts follow Spark without ANSI mode: a string that can't be cast gives null, a fraction is cut, not rounded. A number out of
// range is an error here, where Spark would wrap around or saturate.
var Macros = map[string]string{
	"spark_bigint": `(x) AS CASE
		WHEN typeof(x) = 'VARCHAR' THEN TRY_CAST(regexp_extract(TRY_CAST(x AS VARCHAR), '^\s*([+-]?[0-9]+)(\.[0-9]*)?\s*$', 1) AS BIGINT)
		WHEN typeof(x) IN ('DOUBLE', 'FLOAT') THEN CAST(trunc(TRY_CAST(x AS DOUBLE)) AS BIGINT)
		WHEN starts_with(typeof(x), 'DECIMAL') THEN CAST(split_part(TRY_CAST(x AS VARCHAR), '.', 1) AS BIGINT)
		WHEN starts_with(typeof(x), 'TIMESTAMP') THEN CAST(floor(epoch(TRY_CAST(x AS TIMESTAMPTZ))) AS BIGINT)
		WHEN typeof(x) = 'DATE' THEN error('a date has no number: use unix_timestamp')
		ELSE CAST(TRY_CAST(x AS HUGEINT) AS BIGINT) END`,
	"spark_int": `(x) AS CASE WHEN typeof(x) = 'VARCHAR' THEN TRY_CAST(spark_bigint(x) AS INTEGER)
		ELSE CAST(spark_bigint(x) AS INTEGER) END`,
	"spark_smallint": `(x) AS CASE WHEN typeof(x) = 'VARCHAR' THEN TRY_CAST(spark_bigint(x) AS SMALLINT)
		ELSE CAST(spark_bigint(x) AS SMALLINT) END`,
	"spark_tinyint": `(x) AS CASE WHEN typeof(x) = 'VARCHAR' THEN TRY_CAST(spark_bigint(x) AS TINYINT)
		ELSE CAST(spark_bigint(x) AS TINYINT) END`,
	"spark_double": `(x) AS CASE
		WHEN typeof(x) = 'VARCHAR' THEN TRY_CAST(trim(TRY_CAST(x AS VARCHAR)) AS DOUBLE)
		WHEN starts_with(typeof(x), 'TIMESTAMP') THEN epoch(TRY_CAST(x AS TIMESTAMPTZ))
		WHEN typeof(x) = 'DATE' THEN error('a date has no number: use unix_timestamp')
		ELSE TRY_CAST(x AS DOUBLE) END`,
	"spark_float": `(x) AS CAST(spark_double(x) AS FLOAT)`,
	"spark_string": `(x) AS CASE
		WHEN typeof(x) = 'VARCHAR' THEN TRY_CAST(x AS VARCHAR)
		WHEN typeof(x) = 'DOUBLE' THEN spark_java_double(TRY_CAST(x AS DOUBLE))
		WHEN typeof(x) = 'FLOAT' THEN spark_java_float(TRY_CAST(x AS FLOAT))
		WHEN typeof(x) = 'BLOB' THEN decode(TRY_CAST(x AS BLOB))
		WHEN typeof(x) = 'TIMESTAMP WITH TIME ZONE' THEN CAST(TRY_CAST(x AS TIMESTAMP) AS VARCHAR)
		ELSE TRY_CAST(x AS VARCHAR) END`,
	"spark_text": `(x) AS CASE WHEN ends_with(typeof(x), ']') THEN error('arrays are refused here') ELSE spark_string(x) END`,
	"spark_boolean": `(x) AS CASE
		WHEN typeof(x) = 'VARCHAR' THEN CASE
			WHEN lower(trim(TRY_CAST(x AS VARCHAR))) IN ('t', 'true', 'y', 'yes', '1') THEN true
			WHEN lower(trim(TRY_CAST(x AS VARCHAR))) IN ('f', 'false', 'n', 'no', '0') THEN false END
		WHEN typeof(x) = 'BOOLEAN' THEN TRY_CAST(x AS BOOLEAN)
		ELSE TRY_CAST(x AS DOUBLE) <> 0 END`,
	"spark_timestamp": `(x) AS CASE
		WHEN typeof(x) = 'VARCHAR' THEN TRY_CAST(trim(TRY_CAST(x AS VARCHAR)) AS TIMESTAMP)
		WHEN typeof(x) = 'DATE' OR starts_with(typeof(x), 'TIMESTAMP') THEN TRY_CAST(x AS TIMESTAMP)
		ELSE CAST(to_timestamp(TRY_CAST(x AS DOUBLE)) AS TIMESTAMP) END`,
	"spark_date": `(x) AS CASE
		WHEN typeof(x) = 'VARCHAR' OR typeof(x) = 'DATE' OR starts_with(typeof(x), 'TIMESTAMP') THEN CAST(spark_timestamp(x) AS DATE)
		ELSE error('a number is no date: use to_date(from_unixtime(…))') END`,
	"spark_binary": `(x) AS CASE WHEN typeof(x) = 'BLOB' THEN TRY_CAST(x AS BLOB)
		WHEN typeof(x) = 'VARCHAR' THEN encode(TRY_CAST(x AS VARCHAR))
		ELSE error('only strings are cast to binary') END`,
	"spark_unix_timestamp": `(x) AS CAST(floor(epoch(CAST(spark_timestamp(x) AS TIMESTAMPTZ))) AS BIGINT)`,
	"spark_ln":             `(x) AS CASE WHEN x > 0 THEN ln(TRY_CAST(x AS DOUBLE)) END`,
	"spark_log10":          `(x) AS CASE WHEN x > 0 THEN log10(TRY_CAST(x AS DOUBLE)) END`,
	"spark_log2":           `(x) AS CASE WHEN x > 0 THEN log2(TRY_CAST(x AS DOUBLE)) END`,
	"spark_sqrt":           `(x) AS CASE WHEN x < 0 THEN CAST('NaN' AS DOUBLE) ELSE sqrt(TRY_CAST(x AS DOUBLE)) END`,
	"spark_asin":           `(x) AS CASE WHEN x < -1 OR x > 1 THEN CAST('NaN' AS DOUBLE) ELSE asin(TRY_CAST(x AS DOUBLE)) END`,
	"spark_acos":           `(x) AS CASE WHEN x < -1 OR x > 1 THEN CAST('NaN' AS DOUBLE) ELSE acos(TRY_CAST(x AS DOUBLE)) END`,
	"spark_pmod":           `(a, n) AS CASE WHEN a % n < 0 THEN (a % n + n) % n ELSE a % n END`,
	"spark_substring": `(s, p, l) AS substring(spark_string(s),
		greatest(spark_start(spark_string(s), p) + 1, 1),
		greatest(spark_start(spark_string(s), p) + CAST(l AS BIGINT) - greatest(spark_start(spark_string(s), p), 0), 0))`,
	"spark_start": `(s, p) AS CAST(CASE WHEN p > 0 THEN p - 1 WHEN p < 0 THEN length(s) + p ELSE 0 END AS BIGINT)`,
	"spark_lpad":  `(s, n, p) AS CASE WHEN n <= 0 THEN '' WHEN p = '' THEN left(spark_string(s), n) ELSE lpad(spark_string(s), n, p) END`,
	"spark_rpad":  `(s, n, p) AS CASE WHEN n <= 0 THEN '' WHEN p = '' THEN left(spark_string(s), n) ELSE rpad(spark_string(s), n, p) END`,
}

// Natives are functions that the runner registers in Go, because neither DuckDB's functions nor a macro give Spark's result.
var Natives = []string{"spark_java_double", "spark_java_float", "spark_round", "spark_format_time", "spark_format_unix", "spark_parse_unix"}
