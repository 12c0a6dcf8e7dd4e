package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"carbonado.dev/carbonado/runtime/admin"
	"carbonado.dev/carbonado/runtime/catalog"
	"carbonado.dev/carbonado/runtime/plan"
	"carbonado.dev/carbonado/runtime/plan/inputs"
)

// changeArgs is the command line of plan and apply: the server's own flags are not cobra's.
type changeArgs struct {
	admin.ChangeRequest
	strict, offline, help bool
}

// parseChange reads it. An argument that is no flag is the ID of a planned change, where one may stand.
func (a *app) parseChange(args []string, mayHaveID bool) (changeArgs, error) {
	var c changeArgs
	valued := map[string]func(string) error{
		"--disable": func(v string) error { c.Disable = append(c.Disable, v); return nil },
		"--enable":  func(v string) error { c.Enable = append(c.Enable, v); return nil },
		"--package": func(v string) error {
			v, err := filepath.Abs(v)
			c.Packages = append(c.Packages, v)
			return err
		},
		"--profile": func(v string) error { c.Arguments = append(c.Arguments, "--profile="+v); return nil },
		"--output":  func(v string) error { a.format = v; return nil },
		"-o":        func(v string) error { a.format = v; return nil },
	}
	for i := 0; i < len(args); i++ {
		arg := args[i]
		flag, value, joined := strings.Cut(arg, "=")
		if take := valued[flag]; take != nil {
			if !joined {
				if i++; i == len(args) {
					return c, errUsage.New("%s needs a value", flag)
				}
				value = args[i]
			}
			if err := take(value); err != nil {
				return c, err
			}
			continue
		}
		switch {
		case arg == "--strict":
			c.strict = true
		case arg == "--offline":
			c.offline = true
		case arg == "-h" || arg == "--help":
			c.help = true
		case strings.HasPrefix(arg, "-o"):
			a.format = arg[2:]
		case mayHaveID && c.ID == "" && !strings.HasPrefix(arg, "-"):
			c.ID = arg
		default:
			c.Arguments = append(c.Arguments, arg)
		}
	}
	return c, nil
}

func (a *app) postChange(ctx context.Context, path string, r admin.ChangeRequest) (admin.PlannedChange, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return admin.PlannedChange{}, err
	}
	return call[admin.PlannedChange](ctx, a, http.MethodPost, path, bytes.NewReader(b))
}

const changeFlags = "[--profile NAME|-receiverNode|…] [-Dname=value …] [--disable NAME] [--enable NAME] [--package FOLDER]"

// planCommand asks a running server what would change; without one it reads the installation as a start would.
func (a *app) planCommand() *cobra.Command {
	return &cobra.Command{
		Use: "plan " + changeFlags + " [--strict] [--offline]", Short: "Say what would run, by which rule, why the rest would not, and what that changes on a running server", DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.parseChange(args, false)
			if err != nil {
				return err
			}
			if c.help {
				return cmd.Help()
			}
			return a.plan(cmd.Context(), c)
		},
	}
}

func (a *app) plan(ctx context.Context, c changeArgs) error {
	running := !c.offline
	var p admin.PlannedChange
	var err error
	if running {
		p, err = a.postChange(ctx, "/api/plan", c.ChangeRequest)
		running = !errors.Is(err, admin.ErrNoServer)
	}
	if !running {
		p, err = a.planOffline(ctx, c.ChangeRequest)
	}
	if err != nil {
		return err
	}
	for _, n := range p.Notices {
		fmt.Fprintf(a.Stderr, "notice: %s\n", n)
	}
	whole := &plan.Plan{}
	if err := json.Unmarshal(p.Components, &whole.Components); err != nil {
		return err
	}
	err = a.print(p, func(w io.Writer) {
		if err := whole.Print(w, "table", a.colour()); err != nil || p.ID == "" {
			return
		}
		fmt.Fprintln(w)
		printChanges(w, p.Changes, running)
		if running && len(p.Changes) > 0 {
			fmt.Fprintf(w, "do it: carbonado apply %s\n", p.ID)
		}
	})
	if err != nil {
		return err
	}
	if c.strict && len(whole.Broken()) > 0 {
		return exit(ExitFailed)
	}
	return nil
}

func printChanges(w io.Writer, list []plan.Change, running bool) {
	what := "the running server"
	if !running {
		what = "the installation as it is"
	}
	if len(list) == 0 {
		fmt.Fprintf(w, "no change against %s\n", what)
		return
	}
	fmt.Fprintf(w, "changes against %s, in this order:\n", what)
	for _, c := range list {
		fmt.Fprintf(w, "  %s\n", c)
	}
}

// planOffline plans without a server. Changes are those against the installation without the request's own.
func (a *app) planOffline(ctx context.Context, r admin.ChangeRequest) (admin.PlannedChange, error) {
	change := inputs.Change{Disable: r.Disable, Enable: r.Enable, By: "operator"}
	for _, path := range r.Packages {
		p, err := catalog.Peek(ctx, path)
		if err != nil {
			return admin.PlannedChange{}, err
		}
		change.Packages = append(change.Packages, p)
	}
	in, err := inputs.ReadChanged(ctx, a.Home, r.Arguments, change)
	if err != nil {
		return admin.PlannedChange{}, err
	}
	if len(in.Rest) > 0 {
		return admin.PlannedChange{}, errUsage.New("%q is not known", in.Rest[0])
	}
	to := in.Plan()
	out := admin.PlannedChange{Changes: []plan.Change{}, Notices: []string{}}
	if out.Components, err = json.Marshal(to.Components); err != nil {
		return out, err
	}
	for _, n := range in.Notices {
		out.Notices = append(out.Notices, n.String())
	}
	if len(r.Disable)+len(r.Enable)+len(r.Packages) == 0 {
		return out, nil
	}
	before, err := inputs.Read(ctx, a.Home, r.Arguments)
	if err != nil {
		return admin.PlannedChange{}, err
	}
	from := before.Plan()
	out.ID, out.Changes = plan.ID(from, to), plan.Diff(from, to)
	return out, nil
}

func (a *app) applyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "apply [ID] " + changeFlags, Short: "Make a change that plan showed: with its ID exactly that one, or nothing", DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.parseChange(args, true)
			if err != nil {
				return err
			}
			if c.help {
				return cmd.Help()
			}
			return a.apply(cmd.Context(), c.ChangeRequest)
		},
	}
}

func (a *app) apply(ctx context.Context, r admin.ChangeRequest) error {
	p, err := a.postChange(ctx, "/api/apply", r)
	if err != nil {
		return err
	}
	for _, n := range p.Notices {
		fmt.Fprintf(a.Stderr, "notice: %s\n", n)
	}
	return a.print(p, func(w io.Writer) {
		for _, c := range p.Changes {
			fmt.Fprintf(w, "  %s\n", c)
		}
		if len(p.Changes) == 0 {
			fmt.Fprintln(w, "nothing had to change")
		}
		fmt.Fprintf(w, "done: entry %d of `carbonado history`\n", p.Number)
	})
}

func (a *app) deploymentsCommand() *cobra.Command {
	return &cobra.Command{Use: "history", Short: "Changes of what is to run: who made them, when, and what they did", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		list, err := get[[]admin.Deployment](cmd.Context(), a, "/api/history")
		if err != nil {
			return err
		}
		return a.print(list, func(w io.Writer) {
			t := newTable(w, "NUMBER", "TIME", "ACTOR", "PROFILE", "WHAT", "DID", "OUTCOME")
			for _, d := range list {
				var did []string
				for _, c := range d.Changes {
					did = append(did, string(c.Kind)+" "+c.Component)
				}
				t.AppendRow(table.Row{d.Number, d.Time.Format("2006-01-02T15:04:05Z07:00"), d.Actor, d.Desired.Profile, d.What, strings.Join(did, ", "), d.Outcome})
			}
			t.Render()
		})
	}}
}

func (a *app) rollbackCommand() *cobra.Command {
	dry := false
	c := &cobra.Command{Use: "rollback [NUMBER]", Short: "Back to what was to run at an entry of the history: rules, profile and flags, package versions that are there", Args: cobra.MaximumNArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		r := admin.ChangeRequest{Rollback: -1}
		if len(args) == 1 {
			n, err := strconv.Atoi(args[0])
			if err != nil || n < 1 {
				return errUsage.New("%q is no number of an entry", args[0])
			}
			r.Rollback = n
		}
		if !dry {
			return a.apply(cmd.Context(), r)
		}
		p, err := a.postChange(cmd.Context(), "/api/plan", r)
		if err != nil {
			return err
		}
		return a.print(p, func(w io.Writer) {
			for _, n := range p.Notices {
				fmt.Fprintf(w, "notice: %s\n", n)
			}
			printChanges(w, p.Changes, true)
			fmt.Fprintf(w, "do it: carbonado apply %s\n", p.ID)
		})
	}}
	c.Flags().BoolVar(&dry, "dry-run", false, "say what it would do")
	return c
}
