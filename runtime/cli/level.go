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

func (a *app) levelCommand() *cobra.Command {
	return &cobra.Command{
		Use: "level [N]", Short: "Print the start level, or go up or down to another, one level after the other", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := a.level(cmd, args)
			if err != nil {
				return err
			}
			return a.print(v, func(w io.Writer) {
				fmt.Fprintf(w, "level %d\n", v.Level)
				for _, l := range v.Levels {
					mark := " "
					if l.Level <= v.Level {
						mark = "*"
					}
					fmt.Fprintf(w, "%s %4d  %s\n", mark, l.Level, strings.Join(l.Components, ", "))
				}
			})
		},
	}
}

func (a *app) level(cmd *cobra.Command, args []string) (admin.Levels, error) {
	if len(args) == 0 {
		return get[admin.Levels](cmd.Context(), a, "/api/level")
	}
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return admin.Levels{}, errUsage.New("%q is no level", args[0])
	}
	return call[admin.Levels](cmd.Context(), a, http.MethodPost, "/api/level", strings.NewReader(fmt.Sprintf(`{"level":%d}`, n)))
}

func (a *app) resetFailedCommand() *cobra.Command {
	return &cobra.Command{
		Use: "reset-failed NAME", Short: "Give a component its whole restart budget back; one that is FAILED starts again", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := call[admin.Component](cmd.Context(), a, http.MethodPost, "/api/components/"+url.PathEscape(args[0])+"/reset-failed", strings.NewReader("{}"))
			if err != nil {
				return err
			}
			return a.print(v, func(w io.Writer) { fmt.Fprintf(w, "%s is %s\n", v.Name, v.State) })
		},
	}
}
