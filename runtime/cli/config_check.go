package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"carbonado.dev/carbonado/runtime/admin"
	"carbonado.dev/carbonado/runtime/plan/inputs"
)

// configCheck is what `config check` prints as JSON.
type configCheck struct {
	// Components that are right, by name; Faults of the others, and Notices, which stop nothing.
	Right   []string      `json:"right"`
	Faults  []admin.Cause `json:"faults"`
	Notices []admin.Cause `json:"notices"`
}

// configCheckCommand reads the configuration as the server would, without one.
func (a *app) configCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use: "check [-- --profile NAME -Dname=value …]", Short: "Whether the configuration of every component is right, before it is taken: faults with file, line and column",
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := inputs.Read(cmd.Context(), a.Home, args)
			if err != nil {
				return err
			}
			out := configCheck{Right: []string{}, Faults: []admin.Cause{}, Notices: []admin.Cause{}}
			for _, name := range slices.Sorted(maps.Keys(in.Components)) {
				if c := in.Components[name]; c.Cause != nil {
					out.Faults = append(out.Faults, *admin.CauseOf(c.Cause.Proto()))
				} else {
					out.Right = append(out.Right, name)
				}
			}
			for _, n := range in.Notices {
				out.Notices = append(out.Notices, *admin.CauseOf(n.Proto()))
			}
			if err := a.print(out, func(w io.Writer) {
				for i := range out.Faults {
					causeLines(w, "", &out.Faults[i])
				}
				for i := range out.Notices {
					causeLines(w, "notice: ", &out.Notices[i])
				}
				fmt.Fprintf(w, "%d components are right, %d are not\n", len(out.Right), len(out.Faults))
			}); err != nil {
				return err
			}
			if len(out.Faults) > 0 {
				return exit(ExitInvalid)
			}
			return nil
		},
	}
}
