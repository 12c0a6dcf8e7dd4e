package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"carbonado.dev/carbonado/runtime/catalog"
)

// packageCommands are the verbs that handle finished packages.
func (a *app) packageCommands() []*cobra.Command {
	return []*cobra.Command{
		{Use: "install DIR", Short: "Install the package in a folder; a running server takes it up at its next start", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			p, err := catalog.At(a.Home).Install(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.print(map[string]string{"name": p.Name, "version": p.Version, "package": p.Dir, "digest": p.Digest}, func(w io.Writer) {
				fmt.Fprintf(w, "installed %s %s\n", p.Name, p.Version)
			})
		}},
		{Use: "remove NAME VERSION", Short: "Remove an installed package", Args: cobra.ExactArgs(2), RunE: func(_ *cobra.Command, args []string) error {
			return catalog.At(a.Home).Uninstall(args[0], args[1])
		}},
	}
}
