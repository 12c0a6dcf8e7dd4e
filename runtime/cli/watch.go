package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"carbonado.dev/carbonado/runtime/admin"
)

// orders are the columns that top can be sorted by.
var orders = map[string]func(a, b admin.TopLine) bool{
	"name":   func(a, b admin.TopLine) bool { return a.Name < b.Name },
	"cpu":    func(a, b admin.TopLine) bool { return a.CPUPercent > b.CPUPercent },
	"memory": func(a, b admin.TopLine) bool { return a.ResidentBytes > b.ResidentBytes },
	"calls":  func(a, b admin.TopLine) bool { return a.CallsPerSecond > b.CallsPerSecond },
	"events": func(a, b admin.TopLine) bool { return a.EventsPerSecond > b.EventsPerSecond },
}

func (a *app) topCommand() *cobra.Command {
	once, interval, sort := false, 2.0, "cpu"
	c := &cobra.Command{Use: "top", Short: "What each component uses and does, live; q ends it, n c m a e sort by name, CPU, memory, calls, events", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		if orders[sort] == nil {
			return errUsage.New("top can't be sorted by %q", sort).Fix("Sort by name, cpu, memory, calls or events.")
		}
		if interval < 0.1 {
			return errUsage.New("an interval of %g s", interval).Fix("At least 0.1 seconds.")
		}
		pause := time.Duration(interval * float64(time.Second))
		f, terminal := a.Stdout.(*os.File)
		if once || a.format == "json" || a.format == "yaml" || !terminal || !term.IsTerminal(int(f.Fd())) {
			top, err := a.rates(cmd.Context(), pause)
			if err != nil {
				return err
			}
			return a.print(top, func(w io.Writer) { topTable(w, top, sort) })
		}
		return a.live(cmd.Context(), f, pause, sort)
	}}
	c.Flags().BoolVar(&once, "once", false, "one picture, then end")
	c.Flags().Float64Var(&interval, "interval", interval, "seconds between two pictures, and over which rates are taken")
	c.Flags().StringVar(&sort, "sort", sort, "name, cpu, memory, calls or events")
	return c
}

// rates takes two pictures and gives the second one with what happened between them.
func (a *app) rates(ctx context.Context, pause time.Duration) (admin.Top, error) {
	before, err := get[admin.Top](ctx, a, "/api/top")
	if err != nil {
		return before, err
	}
	select {
	case <-time.After(pause):
	case <-ctx.Done():
		return before, ctx.Err()
	}
	now, err := get[admin.Top](ctx, a, "/api/top")
	if err == nil {
		between(before, &now)
	}
	return now, err
}

// between fills the rates of a picture. A process that is another one than before begins at zero.
func between(before admin.Top, now *admin.Top) {
	seconds := now.Time.Sub(before.Time).Seconds()
	if seconds <= 0 {
		return
	}
	was := map[string]admin.TopLine{}
	for _, l := range before.Components {
		was[l.Name+"/"+strconv.Itoa(l.Pid)] = l
	}
	for i := range now.Components {
		l := &now.Components[i]
		old := was[l.Name+"/"+strconv.Itoa(l.Pid)]
		l.CPUPercent = max(0, 100*(l.CPUSeconds-old.CPUSeconds)/seconds)
		l.CallsPerSecond = max(0, (l.Calls-old.Calls)/seconds)
		l.EventsPerSecond = max(0, (max(l.EventsIn, l.EventsOut)-max(old.EventsIn, old.EventsOut))/seconds)
	}
}

func topTable(w io.Writer, top admin.Top, sort string) {
	slices.SortStableFunc(top.Components, func(x, y admin.TopLine) int {
		switch {
		case orders[sort](x, y):
			return -1
		case orders[sort](y, x):
			return 1
		}
		return 0
	})
	t := newTable(w, "COMPONENT", "STATE", "HEALTH", "PID", "CPU %", "MEMORY", "THREADS", "RESTARTS", "CALLS/S", "EVENTS/S", "FAILED", "DROPPED")
	for _, l := range top.Components {
		pid := "-"
		if l.Pid > 0 {
			pid = strconv.Itoa(l.Pid)
		}
		t.AppendRow(table.Row{l.Name, l.State, l.Health, pid, fmt.Sprintf("%.1f", l.CPUPercent), fmt.Sprintf("%.1f MiB", float64(l.ResidentBytes)/(1<<20)), l.Threads, l.Restarts,
			fmt.Sprintf("%.0f", l.CallsPerSecond), fmt.Sprintf("%.0f", l.EventsPerSecond), fmt.Sprintf("%.0f", l.Failed), fmt.Sprintf("%.0f", l.Dropped)})
	}
	t.Render()
}

// live draws on the terminal's other screen until q, ^C or the end of ctx.
func (a *app) live(ctx context.Context, out *os.File, pause time.Duration, sort string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	keys := make(chan byte)
	if in, ok := a.Stdin.(*os.File); ok && term.IsTerminal(int(in.Fd())) {
		old, err := term.MakeRaw(int(in.Fd()))
		if err == nil {
			defer func() { _ = term.Restore(int(in.Fd()), old) }()
			go func() { // ends with the process: a read of a terminal can't be called off
				b := make([]byte, 1)
				for {
					if _, err := in.Read(b); err != nil {
						return
					}
					select {
					case keys <- b[0]:
					case <-ctx.Done():
						return
					}
				}
			}()
		}
	}
	fmt.Fprint(out, "\x1b[?1049h\x1b[?25l")
	defer fmt.Fprint(out, "\x1b[?25h\x1b[?1049l")
	before, err := get[admin.Top](ctx, a, "/api/top")
	if err != nil {
		return err
	}
	now, tick := before, time.NewTicker(pause)
	defer tick.Stop()
	for {
		draw(out, now, sort)
		select {
		case <-ctx.Done():
			return nil
		case key := <-keys:
			switch key {
			case 'q', 3, 4:
				return nil
			case 'n':
				sort = "name"
			case 'c':
				sort = "cpu"
			case 'm':
				sort = "memory"
			case 'a':
				sort = "calls"
			case 'e':
				sort = "events"
			}
			continue
		case <-tick.C:
		}
		next, err := get[admin.Top](ctx, a, "/api/top")
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		between(before, &next)
		before, now = next, next
	}
}

// draw writes one picture, as much of it as there is room for.
func draw(out *os.File, top admin.Top, sort string) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "carbonado top  %s  by %s  (q ends; n c m a e sort)\n\n", top.Time.Format("15:04:05"), sort)
	topTable(&b, top, sort)
	width, height, err := term.GetSize(int(out.Fd()))
	if err != nil {
		width, height = 120, 40
	}
	lines := strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
	lines = lines[:min(len(lines), height)]
	for i, l := range lines {
		if r := []rune(strings.TrimRight(l, " ")); len(r) > width {
			l = string(r[:width])
		}
		lines[i] = strings.TrimRight(l, " ") + "\x1b[K"
	}
	// No new line after the last one: in a full window it would move all up.
	fmt.Fprint(out, "\x1b[H"+strings.Join(lines, "\r\n")+"\x1b[J")
}

func (a *app) tapCommand() *cobra.Command {
	samples, count, seconds := 10, 0, 0.0
	c := &cobra.Command{Use: "tap SERVICE | tap stream NAME", Short: "Watch the calls of a service, or the frames of a stream, as they pass; it does not hold them up", Args: cobra.RangeArgs(1, 2), RunE: func(cmd *cobra.Command, args []string) error {
		q := url.Values{"samples": {strconv.Itoa(samples)}}
		switch {
		case len(args) == 1:
			q.Set("service", args[0])
		case args[0] == "stream":
			q.Set("stream", args[1])
		default:
			return errUsage.New("what is %q?", args[0]).Fix("`carbonado tap SERVICE` or `carbonado tap stream NAME`.")
		}
		ctx := cmd.Context()
		if seconds > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, time.Duration(seconds*float64(time.Second)))
			defer cancel()
		}
		resp, err := a.do(ctx, http.MethodGet, "/api/tap?"+q.Encode(), nil)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		return a.taps(ctx, resp.Body, count)
	}}
	c.Flags().IntVar(&samples, "samples", samples, "how many lines per second and component show content; 0: counts only")
	c.Flags().IntVarP(&count, "count", "n", 0, "end after so many lines")
	c.Flags().Float64Var(&seconds, "seconds", 0, "end after so many seconds")
	return c
}

// taps prints lines as they come, and at the end what each component has seen.
func (a *app) taps(ctx context.Context, body io.Reader, count int) error {
	last := map[string]admin.TapLine{}
	d := json.NewDecoder(body)
	var failure error
	for n := 0; count == 0 || n < count; n++ {
		var l admin.TapLine
		if err := d.Decode(&l); err != nil {
			if ctx.Err() == nil && !errors.Is(err, io.EOF) {
				failure = err
			}
			break
		}
		last[l.Component] = l
		if a.format == "json" || a.format == "yaml" {
			b, err := json.Marshal(l)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.Stdout, "%s\n", b)
			continue
		}
		fmt.Fprintln(a.Stdout, tapText(l))
	}
	for _, l := range last {
		fmt.Fprintf(a.Stderr, "%s: %d seen, %d events, %d bytes, %d left out\n", l.Component, l.Seen, l.SeenRows, l.SeenBytes, l.LeftOut)
	}
	return failure
}

func tapText(l admin.TapLine) string {
	arrow := "<-"
	if l.Direction == "out" {
		arrow = "->"
	}
	peer := l.Peer
	if peer == "" {
		peer = "?"
	}
	s := fmt.Sprintf("%s %s %s %s  ", l.Time.Format("15:04:05.000"), l.Component, arrow, peer)
	if l.Method != "" {
		s += fmt.Sprintf("%s %s %.2f ms %d B", l.Method, l.Code, l.DurationMs, l.Bytes)
	} else {
		s += fmt.Sprintf("%s %s %d events %d B", l.Stream, l.Kind, l.Rows, l.Bytes)
	}
	if l.Sample != "" {
		s += "  " + l.Sample
	}
	return s
}
