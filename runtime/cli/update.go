package cli

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"carbonado.dev/carbonado/runtime/admin"
)

func (a *app) restartCommand() *cobra.Command {
	hard := false
	c := &cobra.Command{
		Use: "restart NAME", Short: "Replace a component's process by a new one beside it; calls wait for a moment, none is lost", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "/api/components/" + url.PathEscape(args[0]) + "/restart"
			if hard {
				path += "?hard=" + strconv.FormatBool(hard)
			}
			v, err := call[admin.Component](cmd.Context(), a, http.MethodPost, path, strings.NewReader("{}"))
			if err != nil {
				return err
			}
			return a.print(v, func(w io.Writer) { fmt.Fprintf(w, "%s is %s\n", v.Name, v.State) })
		},
	}
	c.Flags().BoolVar(&hard, "hard", false, "kill the old process first")
	return c
}

func (a *app) updateCommand() *cobra.Command {
	version := ""
	c := &cobra.Command{
		Use: "update NAME", Short: "Run the highest installed version of a component, or another; on a failure the old one serves on", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "/api/components/" + url.PathEscape(args[0]) + "/update?version=" + url.QueryEscape(version)
			r, err := call[admin.Replacement](cmd.Context(), a, http.MethodPost, path, strings.NewReader("{}"))
			if err != nil {
				return err
			}
			if err := a.print(r, func(w io.Writer) { printReplacement(w, &r) }); err != nil {
				return err
			}
			if r.Cause != nil {
				return exit(ExitFailed)
			}
			return nil
		},
	}
	c.Flags().StringVar(&version, "version", "", "an installed version; without it the highest")
	return c
}

func printReplacement(w io.Writer, r *admin.Replacement) {
	switch r.Outcome {
	case "UNCHANGED":
		fmt.Fprintf(w, "%s UNCHANGED: it runs %s\n", r.Name, r.From)
	case "UPDATED":
		fmt.Fprintf(w, "%s UPDATED from %s to %s, generation %d, calls waited %.0f ms\n", r.Name, r.From, r.To, r.Generation, r.StallMs)
	default:
		fmt.Fprintf(w, "%s %s: %s was not replaced by %s; generation %d serves\n", r.Name, r.Outcome, r.From, r.To, r.Generation)
	}
	causeLines(w, "  ", r.Cause)
}
