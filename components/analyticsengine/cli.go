package analyticsengine

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"go.yaml.in/yaml/v3"

	"carbonado.dev/sdk/component"
)

// Exit codes of `carbonado query`: 0 the statements ran, 1 one failed, 64 the command line is wrong, 69 the engine can't be reached.
const (
	exitOK      = 0
	exitFailed  = 1
	exitUsage   = 64
	exitNoReach = 69
)

const queryUsage = `usage: carbonado query [-o table|json|yaml|csv] [--rows N] [--timeout SECONDS] "SQL"

Runs SQL on the analytics engine and prints the last result. SQL - is read from standard input.
Exit codes: 0 all statements ran, 1 a statement failed, 64 wrong command line, 69 the engine can't be reached.
`

// runQuery is `carbonado query`.
func runQuery(ctx context.Context, inv *component.Invocation) int {
	flags := flag.NewFlagSet("query", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	format := flags.String("o", "table", "")
	rows := flags.Int64("rows", 0, "")
	timeout := flags.Int64("timeout", 0, "")
	// Flags may follow the statement.
	var words []string
	for args := inv.Args; ; {
		if err := flags.Parse(args); err != nil {
			fmt.Fprint(inv.Stderr, queryUsage)
			if err == flag.ErrHelp {
				return exitOK
			}
			return exitUsage
		}
		if flags.NArg() == 0 {
			break
		}
		words = append(words, flags.Arg(0))
		args = flags.Args()[1:]
	}
	if len(words) != 1 {
		fmt.Fprint(inv.Stderr, queryUsage)
		return exitUsage
	}
	switch *format {
	case "table", "json", "yaml", "csv":
	default:
		fmt.Fprintf(inv.Stderr, "unknown format %q\n%s", *format, queryUsage)
		return exitUsage
	}
	sql := words[0]
	if sql == "-" {
		b, err := io.ReadAll(inv.Stdin)
		if err != nil {
			fmt.Fprintln(inv.Stderr, err)
			return exitUsage
		}
		sql = string(b)
	}
	body, err := json.Marshal(queryRequest{SQL: sql, MaxRows: *rows, TimeoutMs: *timeout * 1000})
	if err != nil {
		fmt.Fprintln(inv.Stderr, err)
		return exitFailed
	}
	return postQuery(ctx, inv, body, *format)
}

func postQuery(ctx context.Context, inv *component.Invocation, body []byte, format string) int {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://admin/engine/query", bytes.NewReader(body))
	if err != nil {
		fmt.Fprintln(inv.Stderr, err)
		return exitFailed
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := inv.Admin.Do(req)
	if err != nil {
		return inv.Fail(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return printFailure(inv, resp)
	}
	var a queryAnswer
	d := json.NewDecoder(resp.Body)
	d.UseNumber()
	if err := d.Decode(&a); err != nil {
		return inv.Fail(component.ErrAnswer.Wrap(err, "it can't be read"))
	}
	if err := printAnswer(inv.Stdout, a, format); err != nil {
		fmt.Fprintln(inv.Stderr, err)
		return exitFailed
	}
	if a.Truncated {
		fmt.Fprintf(inv.Stderr, "cut at %d rows; ask for more with --rows\n", len(a.Rows))
	}
	return exitOK
}

// printFailure prints a cause, its chain and what to do.
func printFailure(inv *component.Invocation, resp *http.Response) int {
	var f struct {
		Cause causeJSON `json:"cause"`
	}
	code := exitFailed
	if resp.StatusCode == http.StatusServiceUnavailable || resp.StatusCode == http.StatusBadGateway {
		code = exitNoReach
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&f); err != nil || f.Cause.Code == "" {
		_ = inv.Fail(component.ErrAnswer.New("the server answers %s", resp.Status))
		if resp.StatusCode == http.StatusNotFound {
			return exitNoReach
		}
		return code
	}
	c := f.Cause
	place := ""
	if c.Line > 0 {
		place = fmt.Sprintf(" line %d, column %d", c.Line, c.Column)
	}
	fmt.Fprintf(inv.Stderr, "%s%s: %s\n", c.Code, place, c.Text)
	for _, x := range c.Chain {
		fmt.Fprintf(inv.Stderr, "  because %s: %s\n", x.Code, x.Text)
	}
	if c.Fix != "" {
		fmt.Fprintf(inv.Stderr, "  fix: %s\n", c.Fix)
	}
	return code
}

// printAnswer prints a result; an answer without columns is what statements wrote.
func printAnswer(w io.Writer, a queryAnswer, format string) error {
	switch format {
	case "json":
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(a)
	case "yaml":
		// By way of JSON, so that names and numbers are the same.
		b, err := json.Marshal(a)
		if err != nil {
			return err
		}
		var n yaml.Node
		if err := yaml.Unmarshal(b, &n); err != nil {
			return err
		}
		blockStyle(&n)
		return yaml.NewEncoder(w).Encode(&n)
	case "csv":
		return printCSV(w, a)
	}
	if len(a.Columns) == 0 {
		_, err := fmt.Fprintf(w, "%d statements, %d rows written, %d ms\n", a.Statements, a.RowsWritten, a.ElapsedMs)
		return err
	}
	t := table.NewWriter()
	t.SetOutputMirror(w)
	style := table.StyleLight
	style.Options = table.OptionsNoBordersAndSeparators
	style.Format.Header = 0
	t.SetStyle(style)
	head := make(table.Row, len(a.Columns))
	for i, c := range a.Columns {
		head[i] = c.Name
	}
	t.AppendHeader(head)
	for _, r := range a.Rows {
		row := make(table.Row, len(r))
		for i, v := range r {
			row[i] = cell(v)
		}
		t.AppendRow(row)
	}
	t.Render()
	return nil
}

// blockStyle drops the flow style that JSON brings, rows excepted.
func blockStyle(n *yaml.Node) {
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 || n.Content[0].Kind != yaml.ScalarNode {
		n.Style = 0
	}
	if n.Kind == yaml.ScalarNode {
		n.Style = 0
	}
	for _, c := range n.Content {
		blockStyle(c)
	}
}

func printCSV(w io.Writer, a queryAnswer) error {
	c := csv.NewWriter(w)
	head := make([]string, len(a.Columns))
	for i, col := range a.Columns {
		head[i] = col.Name
	}
	if err := c.Write(head); err != nil {
		return err
	}
	for _, r := range a.Rows {
		row := make([]string, len(r))
		for i, v := range r {
			if v != nil {
				row[i] = cell(v)
			}
		}
		if err := c.Write(row); err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}

// cell writes a value for people; control characters are shown, not sent to the terminal.
func cell(v any) string {
	if v == nil {
		return "NULL"
	}
	s, ok := v.(string)
	if !ok {
		b, err := json.Marshal(v)
		if err != nil {
			return fmt.Sprint(v)
		}
		s = string(b)
	}
	return strings.Map(func(r rune) rune {
		if r < 0x20 && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '\ufffd'
		}
		return r
	}, s)
}
