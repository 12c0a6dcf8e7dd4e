package indexing

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"go.yaml.in/yaml/v3"

	"carbonado.dev/sdk/component"
)

// Exit codes of the verb: 64 is a wrong command line, 1 a search that failed.
const (
	exitFailed = 1
	exitUsage  = 64
)

const searchUsage = `usage: carbonado search TABLE "LUCENE" [--start N] [--count N] [--sort "field desc,…"] [--count-only] [-o table|json|yaml]

Searches the indexed columns of a table. A term needs its field: city:london AND usage:[10 TO *]. Without a query: every record.
`

// searchVerb is `carbonado search`.
func searchVerb(ctx context.Context, inv *component.Invocation) int {
	var b searchBody
	var sort, output string
	var only bool
	f := flag.NewFlagSet("search", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Int64Var(&b.Start, "start", 0, "")
	f.Int64Var(&b.Count, "count", defaultCount, "")
	f.StringVar(&sort, "sort", "", "")
	f.StringVar(&output, "o", "table", "")
	f.BoolVar(&only, "count-only", false, "")
	var words []string
	for args := inv.Args; ; {
		err := f.Parse(args)
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(inv.Stdout, searchUsage)
			return 0
		}
		if err != nil {
			fmt.Fprintf(inv.Stderr, "%v\n%s", err, searchUsage)
			return exitUsage
		}
		if f.NArg() == 0 {
			break
		}
		// Flags may stand behind words; what follows -- may not be one.
		words, args = append(words, f.Arg(0)), f.Args()[1:]
	}
	if len(words) == 0 || len(words) > 2 || output != "table" && output != "json" && output != "yaml" {
		fmt.Fprint(inv.Stderr, searchUsage)
		return exitUsage
	}
	b.Table = words[0]
	if len(words) == 2 {
		b.Query = words[1]
	}
	for _, s := range strings.Split(sort, ",") {
		if s = strings.TrimSpace(s); s != "" {
			b.Sort = append(b.Sort, s)
		}
	}
	if only {
		return postAndPrint(ctx, inv, "/index/count", b, output, printCount)
	}
	return postAndPrint(ctx, inv, "/index/search", b, output, printRecords)
}

// postAndPrint asks the node and prints the answer, or the reason why there is none.
func postAndPrint(ctx context.Context, inv *component.Invocation, path string, b searchBody, output string, table func(io.Writer, []byte) error) int {
	fail := inv.Fail
	body, err := json.Marshal(b)
	if err != nil {
		return fail(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://admin"+path, bytes.NewReader(body))
	if err != nil {
		return fail(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := inv.Admin.Do(req)
	if err != nil {
		return fail(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return fail(err)
	}
	if resp.StatusCode != http.StatusOK {
		var e struct {
			Message string `json:"message"`
			Cause   struct {
				Fix string `json:"fix"`
			} `json:"cause"`
		}
		if json.Unmarshal(answer, &e) != nil || e.Message == "" {
			return fail(component.ErrAnswer.New("the server answers %s: %.1000s", resp.Status, bytes.TrimSpace(answer)))
		}
		fmt.Fprintf(inv.Stderr, "search: %s\n", e.Message)
		if e.Cause.Fix != "" {
			fmt.Fprintf(inv.Stderr, "  fix: %s\n", e.Cause.Fix)
		}
		return exitFailed
	}
	switch output {
	case "json":
		var out bytes.Buffer
		if err = json.Indent(&out, bytes.TrimSpace(answer), "", "  "); err == nil {
			_, err = fmt.Fprintln(inv.Stdout, out.String())
		}
	case "yaml":
		err = printYAML(inv.Stdout, answer)
	default:
		err = table(inv.Stdout, answer)
	}
	if err != nil {
		return fail(err)
	}
	return 0
}

// printYAML goes through YAML's own reader, which takes JSON and keeps integers whole.
func printYAML(w io.Writer, answer []byte) error {
	var n yaml.Node
	if err := yaml.Unmarshal(answer, &n); err != nil {
		return err
	}
	plain(&n)
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	if err := e.Encode(&n); err != nil {
		return err
	}
	return e.Close()
}

// plain takes JSON's style off.
func plain(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		plain(c)
	}
}

func printCount(w io.Writer, answer []byte) error {
	var c countAnswer
	if err := json.Unmarshal(answer, &c); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, c.Count)
	return err
}

func printRecords(w io.Writer, answer []byte) error {
	var a searchAnswer
	d := json.NewDecoder(bytes.NewReader(answer))
	d.UseNumber()
	if err := d.Decode(&a); err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(append([]string{"TIME", "ID"}, a.Columns...), "\t"))
	for _, r := range a.Records {
		cells := []string{time.UnixMilli(r.Timestamp).UTC().Format(time.RFC3339Nano), r.ID}
		for _, c := range a.Columns {
			cells = append(cells, cell(r.Values[c]))
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	note := ""
	if !a.Complete {
		note = ", not complete: a part of the index is being read again"
	}
	_, err := fmt.Fprintf(w, "%d of %d records%s\n", len(a.Records), a.Total, note)
	return err
}

// cell keeps a value on its line and terminals safe from control characters.
func cell(v any) string {
	if v == nil {
		return "-"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, fmt.Sprint(v))
}
