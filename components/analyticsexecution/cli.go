package analyticsexecution

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"go.yaml.in/yaml/v3"

	"carbonado.dev/sdk/component"
)

// Exit codes of `carbonado script`: 0 done, 1 refused or the run failed, 64 the command line is wrong, 69 the server can't be reached.
const (
	exitOK      = 0
	exitFailed  = 1
	exitUsage   = 64
	exitNoReach = 69
)

const scriptUsage = `usage: carbonado script COMMAND [-o table|json|yaml]

  ls                       all scripts, when they run next and how they ran last
  show NAME                the text of a script
  run NAME                 run a script now, or when its present run has ended (30 s at most), and wait for its end
  cancel NAME              end the present run of a script
  history [NAME] [-n N]    the last N runs (20), newest first
  next NAME [-n N]         the next N times (5) of a script's cron expression
  next --cron "EXPR"       the same of any Quartz expression

Exit codes: 0 done, 1 refused or the run failed, 64 wrong command line, 69 the server can't be reached.
`

// call is one command as it was read.
type call struct {
	inv    *component.Invocation
	format string
	n      int
	cron   string
	words  []string
}

// runScript is `carbonado script`.
func runScript(ctx context.Context, inv *component.Invocation) int {
	c := &call{inv: inv}
	flags := flag.NewFlagSet("script", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&c.format, "o", "table", "")
	flags.IntVar(&c.n, "n", 0, "")
	flags.StringVar(&c.cron, "cron", "", "")
	for args := inv.Args; ; {
		if err := flags.Parse(args); err != nil {
			if err == flag.ErrHelp {
				fmt.Fprint(inv.Stdout, scriptUsage)
				return exitOK
			}
			return c.usage(err.Error())
		}
		if flags.NArg() == 0 {
			break
		}
		c.words = append(c.words, flags.Arg(0))
		args = flags.Args()[1:]
	}
	switch c.format {
	case "table", "json", "yaml":
	default:
		return c.usage(fmt.Sprintf("unknown format %q", c.format))
	}
	if len(c.words) == 0 {
		return c.usage("a command is missing")
	}
	command, args := c.words[0], c.words[1:]
	one := len(args) == 1
	switch {
	case command == "ls" && len(args) == 0:
		return c.list(ctx)
	case command == "show" && one:
		return c.show(ctx, args[0])
	case command == "run" && one:
		return c.run(ctx, args[0])
	case command == "cancel" && one:
		return c.cancel(ctx, args[0])
	case command == "history" && len(args) <= 1:
		return c.history(ctx, append(args, "-")[0])
	case command == "next" && (one || len(args) == 0 && c.cron != ""):
		return c.next(ctx, append(args, "-")[0])
	}
	return c.usage(fmt.Sprintf("unknown command %q or wrong number of arguments", strings.Join(c.words, " ")))
}

func (c *call) usage(why string) int {
	fmt.Fprintf(c.inv.Stderr, "%s\n%s", why, scriptUsage)
	return exitUsage
}

// get asks the server; the answer goes into v. The exit code is not 0 if there is none.
func (c *call) get(ctx context.Context, method, path string, v any) int {
	refusal, code := c.ask(ctx, method, path, v)
	if refusal != nil {
		c.printCause(refusal)
	}
	return code
}

// ask is get, but does not print why the server refuses.
func (c *call) ask(ctx context.Context, method, path string, v any) (refusal *causeJSON, code int) {
	req, err := http.NewRequestWithContext(ctx, method, "http://admin/scripts"+path, nil)
	if err != nil {
		fmt.Fprintln(c.inv.Stderr, err)
		return nil, exitFailed
	}
	resp, err := c.inv.Admin.Do(req)
	if err != nil {
		return nil, c.inv.Fail(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
			return nil, c.inv.Fail(component.ErrAnswer.Wrap(err, "it can't be read"))
		}
		return nil, exitOK
	}
	var f struct {
		Cause *causeJSON `json:"cause"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&f); err != nil || f.Cause == nil || f.Cause.Code == "" {
		_ = c.inv.Fail(component.ErrAnswer.New("the server answers %s", resp.Status))
		return nil, exitNoReach
	}
	return f.Cause, exitFailed
}

func (c *call) printCause(x *causeJSON) {
	place := x.File
	if x.Line > 0 {
		place += fmt.Sprintf(":%d:%d", x.Line, x.Column)
	}
	if place != "" {
		place = " " + place
	}
	fmt.Fprintf(c.inv.Stderr, "%s%s: %s\n", x.Code, place, x.Text)
	for _, y := range x.Chain {
		fmt.Fprintf(c.inv.Stderr, "  because %s: %s\n", y.Code, y.Text)
	}
	if x.Fix != "" {
		fmt.Fprintf(c.inv.Stderr, "  fix: %s\n", x.Fix)
	}
}

// print writes v as JSON or YAML, or rows as a table.
func (c *call) print(v any, head table.Row, rows []table.Row) int {
	var err error
	switch c.format {
	case "json":
		e := json.NewEncoder(c.inv.Stdout)
		e.SetIndent("", "  ")
		err = e.Encode(v)
	case "yaml":
		// By way of JSON, so that names are the same.
		var b []byte
		if b, err = json.Marshal(v); err == nil {
			var plain any
			if err = yaml.Unmarshal(b, &plain); err == nil {
				err = yaml.NewEncoder(c.inv.Stdout).Encode(plain)
			}
		}
	default:
		t := table.NewWriter()
		t.SetOutputMirror(c.inv.Stdout)
		style := table.StyleLight
		style.Options = table.OptionsNoBordersAndSeparators
		t.SetStyle(style)
		t.AppendHeader(head)
		t.AppendRows(rows)
		t.Render()
	}
	if err != nil {
		fmt.Fprintln(c.inv.Stderr, err)
		return exitFailed
	}
	return exitOK
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (c *call) list(ctx context.Context) int {
	var scripts []scriptJSON
	if code := c.get(ctx, http.MethodGet, "", &scripts); code != exitOK {
		return code
	}
	var rows []table.Row
	for _, s := range scripts {
		state, ended := "-", "-"
		if s.Last != nil {
			state, ended = s.Last.State, orDash(s.Last.Ended)
		}
		if s.Running {
			state = stateRunning
		}
		rows = append(rows, table.Row{s.Name, orDash(s.Cron), orDash(s.Next), state, ended})
	}
	return c.print(scripts, table.Row{"name", "cron", "next", "last", "ended"}, rows)
}

func (c *call) show(ctx context.Context, name string) int {
	var s scriptJSON
	if code := c.get(ctx, http.MethodGet, "/"+url.PathEscape(name), &s); code != exitOK {
		return code
	}
	if c.format == "table" {
		fmt.Fprintln(c.inv.Stdout, s.Text)
		return exitOK
	}
	return c.print(s, nil, nil)
}

func (c *call) printRuns(v any, runs []runJSON) int {
	var rows []table.Row
	for _, r := range runs {
		why := ""
		if r.Cause != nil {
			why = r.Cause.Code + ": " + r.Cause.Text
		}
		rows = append(rows, table.Row{r.Script, r.Started, orDash(r.Ended), r.State, r.Trigger, r.Statements, r.RowsWritten, why})
	}
	return c.print(v, table.Row{"script", "started", "ended", "state", "trigger", "statements", "rows", "cause"}, rows)
}

const (
	// runPatience is how long `run` waits for the end of a run that is under way: a script's own schedule may have begun it in this moment.
	runPatience = 30 * time.Second
	// runPause is how long it waits before it asks again.
	runPause = 200 * time.Millisecond
)

func (c *call) run(ctx context.Context, name string) int {
	var r runJSON
	for end, told := time.Now().Add(runPatience), false; ; {
		refusal, code := c.ask(ctx, http.MethodPost, "/"+url.PathEscape(name)+"/run", &r)
		if refusal != nil && refusal.Code == ErrRunning.ID() && time.Now().Before(end) {
			if !told {
				fmt.Fprintf(c.inv.Stderr, "%s; it is run again when that has ended, within %s\n", refusal.Text, runPatience)
				told = true
			}
			select {
			case <-time.After(runPause):
				continue
			case <-ctx.Done():
			}
		}
		if refusal != nil {
			c.printCause(refusal)
		}
		if code != exitOK {
			return code
		}
		break
	}
	if code := c.printRuns(r, []runJSON{r}); code != exitOK {
		return code
	}
	if r.State != stateSucceeded {
		return exitFailed
	}
	return exitOK
}

func (c *call) cancel(ctx context.Context, name string) int {
	var a struct {
		Cancelled bool `json:"cancelled"`
	}
	if code := c.get(ctx, http.MethodPost, "/"+url.PathEscape(name)+"/cancel", &a); code != exitOK {
		return code
	}
	return c.print(a, table.Row{"script", "cancelled"}, []table.Row{{name, a.Cancelled}})
}

func (c *call) history(ctx context.Context, name string) int {
	n := c.n
	if n == 0 {
		n = 20
	}
	var runs []runJSON
	if code := c.get(ctx, http.MethodGet, "/"+url.PathEscape(name)+"/history?limit="+strconv.Itoa(n), &runs); code != exitOK {
		return code
	}
	return c.printRuns(runs, runs)
}

func (c *call) next(ctx context.Context, name string) int {
	n := c.n
	if n == 0 {
		n = 5
	}
	query := url.Values{"count": {strconv.Itoa(n)}}
	if c.cron != "" {
		query.Set("cron", c.cron)
	}
	var a struct {
		Cron  string   `json:"cron"`
		Zone  string   `json:"zone"`
		Next  []string `json:"next"`
		Never bool     `json:"never"`
	}
	if code := c.get(ctx, http.MethodGet, "/"+url.PathEscape(name)+"/next?"+query.Encode(), &a); code != exitOK {
		return code
	}
	var rows []table.Row
	for _, t := range a.Next {
		rows = append(rows, table.Row{t})
	}
	if a.Never {
		rows = append(rows, table.Row{"never"})
	}
	return c.print(a, table.Row{"next (" + a.Zone + ")"}, rows)
}
