package cli

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"carbonado.dev/carbonado/runtime/admin"
	"carbonado.dev/carbonado/runtime/component"
)

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{Use: "status", Short: "State of the node", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		s, err := get[admin.Status](cmd.Context(), a, "/api/status")
		if err != nil {
			return err
		}
		return a.print(s, func(w io.Writer) {
			fmt.Fprintf(w, "%s  profile %s, version %s, since %s\n", s.State, s.Profile, s.Version, s.Since.Format(time.RFC3339))
			if s.DeploymentPolling {
				fmt.Fprintln(w, "hot deployment polls: no file events come from some of its folders")
			}
			fmt.Fprintf(w, "guardian %d, kernel %d, node %s, home %s\n", s.GuardianPid, s.KernelPid, s.NodeID, s.Home)
			if d := s.Deployment; d != nil {
				fmt.Fprintf(w, "deployment generation %d, digest %s\n", d.Generation, d.Digest)
			}
			if s.GuardianVersion != "" {
				fmt.Fprintf(w, "the guardian is %s until the server's next full start\n", s.GuardianVersion)
			}
			if t := s.Takeover; t != nil {
				fmt.Fprintf(w, "followed kernel %d (%s), %d of %d components ran on\n", t.Kernel, t.Ended, t.Components, t.Of)
			}
			for _, state := range []string{"ACTIVE", "STARTING", "WAITING", "BACKOFF", "FAILED", "RESOLVED", "INSTALLED", "DISABLED"} {
				if n := s.Components[state]; n > 0 {
					fmt.Fprintf(w, "  %d %s\n", n, state)
				}
			}
			for i := range s.Causes {
				causeLines(w, "  ", &s.Causes[i])
			}
		})
	}}
}

func (a *app) componentCommand() *cobra.Command {
	c := &cobra.Command{Use: "component", Short: "Components: list, look at, start, stop"}
	c.AddCommand(
		&cobra.Command{Use: "ls", Short: "List the installed components", Args: cobra.NoArgs, RunE: a.componentLs},
		&cobra.Command{Use: "show NAME", Short: "One component in detail", Args: cobra.ExactArgs(1), RunE: a.componentShow},
		a.historyCommand(), a.diagCommand(), a.logsCommand(), a.restartCommand(), a.updateCommand(), a.resetFailedCommand(),
	)
	for verb, summary := range map[string]string{
		"start": "Start a component that was stopped or has failed", "stop": "Stop a component until it is started or the server starts anew",
		"disable": "Keep a component from running, for good", "enable": "Take back disable",
	} {
		v := &cobra.Command{Use: verb + " NAME", Short: summary, Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			v, err := call[admin.Component](cmd.Context(), a, http.MethodPost, "/api/components/"+url.PathEscape(args[0])+"/"+verb, strings.NewReader("{}"))
			if err != nil {
				return err
			}
			return a.print(v, func(w io.Writer) { fmt.Fprintf(w, "%s is %s\n", v.Name, v.State) })
		}}
		if verb == "start" {
			v.Flags().Bool("transient", false, "until the server's next start, as every start is: it leaves rules as they are, and a disabled component is refused")
		}
		c.AddCommand(v)
	}
	return c
}

func (a *app) componentLs(cmd *cobra.Command, _ []string) error {
	list, err := get[[]admin.Component](cmd.Context(), a, "/api/components")
	if err != nil {
		return err
	}
	return a.print(list, func(w io.Writer) {
		t := newTable(w, "NAME", "VERSION", "STATE", "HEALTH", "PID", "RESTARTS", "WHY")
		for _, c := range list {
			why := short(c.Cause)
			if c.DisabledBy != "" {
				why = "disabled by " + c.DisabledBy
			}
			pid := "-"
			if c.Pid > 0 {
				pid = strconv.Itoa(c.Pid)
			}
			t.AppendRow(table.Row{c.Name, c.Version, c.State, c.Health, pid, c.Restarts, why})
		}
		t.Render()
	})
}

func (a *app) componentShow(cmd *cobra.Command, args []string) error {
	c, err := get[admin.Component](cmd.Context(), a, "/api/components/"+url.PathEscape(args[0]))
	if err != nil {
		return err
	}
	return a.print(c, func(w io.Writer) {
		d := c.Detail
		fmt.Fprintf(w, "%s %s  %s, health %s, pid %d, generation %d, restarts %d\n", c.Name, c.Version, c.State, c.Health, c.Pid, d.Generation, c.Restarts)
		fmt.Fprintf(w, "  %s\n  package %s\n  executable sha256 %s\n  since %s\n", d.Summary, d.Package, d.Digest, d.Since.Format(time.RFC3339))
		if d.LastResult != "" {
			fmt.Fprintf(w, "  last run ended: %s\n", d.LastResult)
		}
		if c.DisabledBy != "" {
			fmt.Fprintf(w, "  disabled by %s\n", c.DisabledBy)
		}
		for _, s := range d.Provides {
			fmt.Fprintf(w, "  provides %s\n", s)
		}
		for _, r := range d.Requires {
			bound := "nobody"
			if len(r.Bound) > 0 {
				bound = strings.Join(r.Bound, ", ")
			}
			if r.Suspended {
				bound += " (being restarted)"
			}
			fmt.Fprintf(w, "  requires %s %s %s: %s\n", r.Name, r.Service, strings.Join(strings.Fields(strings.Join(
				[]string{r.Version, r.Cardinality, r.Policy, r.Option, r.Filter}, " ")), " "), bound)
		}
		for _, g := range d.Gates {
			var counts []string
			for _, s := range g.Services {
				counts = append(counts, fmt.Sprintf("%s %d/%d", s.Service, s.Have, s.Want))
			}
			fmt.Fprintf(w, "  gate %s %s (%s at %s): %s\n", g.Name, g.State, g.Policy, g.Deadline, strings.Join(counts, ", "))
		}
		for _, x := range d.Deploys {
			fmt.Fprintf(w, "  deploys %s\n", x)
		}
		for _, x := range d.Verbs {
			fmt.Fprintf(w, "  verb %s\n", x)
		}
		if len(d.Config) > 0 {
			fmt.Fprintf(w, "  config %s\n", d.Config)
		}
		measureLines(w, "limits", d.Limits)
		measureLines(w, "confinement", d.Confinement)
		causeLines(w, "  ", c.Cause)
	})
}

// measureLines prints what bounds a component, each measure on a line.
func measureLines(w io.Writer, title string, list []component.Measure) {
	for _, m := range list {
		fmt.Fprintf(w, "  %s %s\n", title, m.Line())
	}
}

func (a *app) historyCommand() *cobra.Command {
	all := false
	c := &cobra.Command{Use: "history NAME", Short: "The component's transitions", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		list, err := get[[]admin.Transition](cmd.Context(), a, "/api/components/"+url.PathEscape(args[0])+"/history?all="+strconv.FormatBool(all))
		if err != nil {
			return err
		}
		return a.print(list, func(w io.Writer) {
			t := newTable(w, "SEQ", "TIME", "FROM", "TO", "ACTOR", "GENERATION", "REASON")
			for _, x := range list {
				t.AppendRow(table.Row{x.Seq, x.Time.Format("2006-01-02T15:04:05.000Z07:00"), x.From, x.To, x.Actor, x.Generation, x.Reason})
			}
			t.Render()
		})
	}}
	c.Flags().BoolVar(&all, "all", false, "earlier runs of the server too")
	return c
}

func (a *app) logsCommand() *cobra.Command {
	var n int
	var follow bool
	c := &cobra.Command{Use: "logs [NAME]", Short: "The last lines of a component's log, or of the server's", Args: cobra.MaximumNArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		path := "/api/logs"
		if len(args) == 1 {
			path = "/api/components/" + url.PathEscape(args[0]) + "/logs"
		}
		resp, err := a.do(cmd.Context(), http.MethodGet, fmt.Sprintf("%s?n=%d&follow=%v", path, n, follow), nil)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = io.Copy(a.Stdout, resp.Body)
		return err
	}}
	c.Flags().IntVarP(&n, "lines", "n", 100, "how many lines")
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on as lines come")
	return c
}

func (a *app) serviceCommand() *cobra.Command {
	c := &cobra.Command{Use: "service", Short: "Registered services"}
	c.AddCommand(&cobra.Command{Use: "ls", Short: "List the registered services", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		list, err := get[[]admin.ServiceInfo](cmd.Context(), a, "/api/services")
		if err != nil {
			return err
		}
		return a.print(list, func(w io.Writer) {
			t := newTable(w, "ID", "SERVICE", "VERSION", "PROVIDER", "PROPERTIES", "USERS")
			for _, s := range list {
				var props []string
				for k, v := range s.Properties {
					props = append(props, k+"="+v)
				}
				t.AppendRow(table.Row{s.ID, s.Service, s.Version, s.Provider, strings.Join(props, " "), strings.Join(s.Users, " ")})
			}
			t.Render()
		})
	}})
	return c
}

func (a *app) artifactCommand() *cobra.Command {
	c := &cobra.Command{Use: "artifact", Short: "Files of the repository"}
	c.AddCommand(&cobra.Command{Use: "ls", Short: "List the artifacts and what became of them", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		list, err := get[[]admin.ArtifactLine](cmd.Context(), a, "/api/artifacts")
		if err != nil {
			return err
		}
		return a.print(list, func(w io.Writer) {
			t := newTable(w, "PATH", "TYPE", "STATE", "REVISION", "OWNER", "WHY")
			for _, x := range list {
				why := short(x.Cause)
				if x.Cause != nil && x.Cause.Line > 0 {
					why = place(x.Cause) + why
				}
				t.AppendRow(table.Row{x.Path, x.Type, x.State, x.Revision, x.Owner, why})
			}
			t.Render()
		})
	}})
	return c
}

func (a *app) openCommand() *cobra.Command {
	return &cobra.Command{Use: "open", Short: "Print a one-time link that signs a browser in as admin (ten minutes)", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		c, err := call[admin.Credentials](cmd.Context(), a, http.MethodPost, "/api/credentials", strings.NewReader(`{"purpose":"sign-in"}`))
		if err != nil {
			return err
		}
		return a.print(c, func(w io.Writer) { fmt.Fprintln(w, c.URL) })
	}}
}
