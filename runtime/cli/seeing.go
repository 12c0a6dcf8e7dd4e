package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"carbonado.dev/carbonado/runtime/admin"
	"carbonado.dev/carbonado/runtime/config"
	"carbonado.dev/carbonado/runtime/plan/inputs"
	"carbonado.dev/sdk/cause"
	"google.golang.org/grpc/codes"
)

func (a *app) diagnose(ctx context.Context, name, asOf string) (admin.Diagnosis, error) {
	path := "/api/components/" + url.PathEscape(name) + "/diag"
	if asOf != "" {
		at, err := moment(asOf, time.Now())
		if err != nil {
			return admin.Diagnosis{}, err
		}
		path += "?at=" + url.QueryEscape(at.UTC().Format(time.RFC3339Nano))
	}
	return get[admin.Diagnosis](ctx, a, path)
}

// moment reads a past time: RFC 3339, or how long ago: "90s", "10m ago", "2d ago".
func moment(text string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	span := strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(text), "ago"))
	if days, is := strings.CutSuffix(span, "d"); is {
		if n, err := strconv.ParseFloat(days, 64); err == nil && n >= 0 {
			return now.Add(-time.Duration(n * 24 * float64(time.Hour))), nil
		}
	}
	if d, err := time.ParseDuration(span); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, errUsage.New("%q is no time", text).Fix("Write 2026-11-25T10:00:00Z, or how long ago: \"10m ago\".")
}

func (a *app) diagCommand() *cobra.Command {
	asOf := ""
	c := &cobra.Command{Use: "diag NAME", Short: "Why a component is not, or was not, as asked for, down to the leaf cause, and the fix", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		d, err := a.diagnose(cmd.Context(), args[0], asOf)
		if err != nil {
			return err
		}
		if err := a.print(d, func(w io.Writer) { printDiagnosis(w, d) }); err != nil {
			return err
		}
		return inactive(d)
	}}
	c.Flags().StringVar(&asOf, "as-of", "", `a past time: RFC 3339, or how long ago ("10m ago")`)
	return c
}

func inactive(d admin.Diagnosis) error {
	if d.State != "ACTIVE" {
		return exit(ExitInactive)
	}
	return nil
}

func printDiagnosis(w io.Writer, d admin.Diagnosis) {
	if d.AsOf == nil {
		fmt.Fprintf(w, "%s  %s (%s), health %s, profile %s\n", d.Name, d.State, time.Since(d.Since).Round(time.Second), d.Health, d.Profile)
	} else {
		span := "since " + stamp(d.Since)
		if d.Since.IsZero() {
			span = "not recorded"
		}
		if d.Until != nil {
			span += " until " + stamp(*d.Until)
		}
		fmt.Fprintf(w, "%s  was %s at %s (%s), health %s, profile %s\n", d.Name, d.State, stamp(*d.AsOf), span, d.Health, d.Profile)
		if d.Reason != "" {
			fmt.Fprintf(w, "  by %s: %s\n", d.Actor, d.Reason)
		}
	}
	if d.DisabledBy != "" {
		fmt.Fprintf(w, "  disabled by %s\n", d.DisabledBy)
	}
	if d.Cause == nil {
		fmt.Fprintln(w, "  it is as asked for")
	}
	causeLines(w, "  ", d.Cause)
	if len(d.Blocks) > 0 {
		fmt.Fprintf(w, "  blocks: %s\n", strings.Join(d.Blocks, ", "))
	}
	if d.LastResult != "" {
		fmt.Fprintf(w, "  last run ended: %s\n", d.LastResult)
	}
	for _, line := range d.Evidence {
		fmt.Fprintf(w, "  | %s\n", line)
	}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// whyCommand is diag in a few words: the leaf and the fix.
func (a *app) whyCommand() *cobra.Command {
	asOf := ""
	c := &cobra.Command{Use: "why NAME", Short: "The one thing that keeps a component from running, and the fix", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		d, err := a.diagnose(cmd.Context(), args[0], asOf)
		if err != nil {
			return err
		}
		if err := a.print(d, func(w io.Writer) {
			leaf := d.Cause.Leaf()
			switch {
			case leaf == nil && d.State == "ACTIVE":
				fmt.Fprintf(w, "%s is ACTIVE: it is as asked for\n", d.Name)
				return
			case leaf == nil:
				fmt.Fprintf(w, "%s is %s: nothing keeps it; it is on its way\n", d.Name, d.State)
				return
			}
			fmt.Fprintf(w, "%s is %s: %s %s%s\n", d.Name, d.State, leaf.Code, place(leaf), leaf.Text)
			if d.Fix != "" {
				fmt.Fprintf(w, "fix: %s\n", d.Fix)
			}
		}); err != nil {
			return err
		}
		return inactive(d)
	}}
	c.Flags().StringVar(&asOf, "as-of", "", `a past time: RFC 3339, or how long ago ("10m ago")`)
	return c
}

// errNoCode is the kind of a code that the catalogue does not have.
var errNoCode = cause.Define("CBN-CLI-071", "The error catalogue has no such code.", "Codes of third parties' components stand in their own documentation.").Code(codes.NotFound)

func (a *app) errorCommand() *cobra.Command {
	return &cobra.Command{Use: "error [CODE]", Short: "What a code of the error catalogue means, and what to do; all of an area (CFG), or all", Args: cobra.MaximumNArgs(1), RunE: func(_ *cobra.Command, args []string) error {
		want := ""
		if len(args) == 1 {
			want = strings.ToUpper(args[0])
			if !strings.HasPrefix(want, "CBN-") {
				want = "CBN-" + want
			}
		}
		var found []admin.CatalogueEntry
		for _, e := range admin.Catalogue(a.Errors) {
			if want == "" || e.Code == want || strings.HasPrefix(e.Code, want+"-") {
				found = append(found, e)
			}
		}
		if len(found) == 0 {
			return errNoCode.New("code %s", args[0])
		}
		return a.print(found, func(w io.Writer) {
			for _, e := range found {
				fmt.Fprintf(w, "%s  %s\n  fix: %s\n  raised in %s\n", e.Code, e.Meaning, e.Fix, e.RaisedIn)
			}
		})
	}}
}

func (a *app) blameCommand() *cobra.Command {
	return &cobra.Command{Use: "blame", Short: "How the last start went: who took how long, and the chain that made it so long", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		b, err := get[admin.Boot](cmd.Context(), a, "/api/boot")
		if err != nil {
			return err
		}
		return a.print(b, func(w io.Writer) {
			fmt.Fprintf(w, "started %s: %d ms until the last component was ACTIVE, of these %d ms the kernel alone\n", stamp(b.Since), b.TotalMs, b.KernelMs)
			t := newTable(w, "COMPONENT", "STARTING", "WAITED", "FROM", "TO", "AFTER", "", "")
			width := max(b.TotalMs, 1)
			for _, s := range b.Components {
				mark := ""
				for _, c := range b.Critical {
					if c == s.Name {
						mark = "critical"
					}
				}
				left, length := int(s.StartedAtMs*40/width), max(1, int((s.ActiveAtMs-s.StartedAtMs)*40/width))
				t.AppendRow(table.Row{s.Name, ms(s.StartingMs), ms(s.WaitedMs), ms(s.StartedAtMs), ms(s.ActiveAtMs), s.After, mark, strings.Repeat(" ", left) + strings.Repeat("=", length)})
			}
			t.Render()
			if len(b.Critical) > 0 {
				fmt.Fprintf(w, "critical path: kernel (%s) > %s\n", ms(b.KernelMs), strings.Join(b.Critical, " > "))
			}
		})
	}}
}

func ms(n int64) string { return strconv.FormatInt(n, 10) + " ms" }

func (a *app) configCommand() *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "Configuration"}
	c.AddCommand(&cobra.Command{
		Use: "explain [KEY] [-- --profile NAME -Dname=value …]", Short: "Where a value stands: file, line and layer. Without a server: as a start with these arguments would see it",
		RunE: func(cmd *cobra.Command, args []string) error {
			key := ""
			if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
				key, args = args[0], args[1:]
			}
			list, err := get[[]admin.Setting](cmd.Context(), a, "/api/config?key="+url.QueryEscape(key))
			if len(args) > 0 || errors.Is(err, admin.ErrNoServer) {
				list, err = a.explainOffline(cmd.Context(), key, args)
			}
			if err != nil {
				return err
			}
			return a.print(list, func(w io.Writer) {
				t := newTable(w, "KEY", "VALUE", "LAYER", "STANDS IN")
				for _, x := range list {
					v, _ := json.Marshal(x.Value)
					t.AppendRow(table.Row{x.Key, string(v), x.Layer, config.Origin{Layer: config.Layer(x.Layer), File: x.File, Line: x.Line}.String()})
				}
				t.Render()
			})
		},
	})
	c.AddCommand(a.configCheckCommand())
	return c
}

func (a *app) explainOffline(ctx context.Context, key string, args []string) ([]admin.Setting, error) {
	in, err := inputs.Read(ctx, a.Home, args)
	if err != nil {
		return nil, err
	}
	found, err := config.Explain(in.Config, in.Components, key)
	if err != nil {
		return nil, err
	}
	return admin.Settings(found), nil
}
