package cli

import (
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"carbonado.dev/carbonado/runtime/admin"
)

func (a *app) nodeCommand() *cobra.Command {
	c := &cobra.Command{Use: "node", Short: "Nodes of the cluster and what is deployed on them"}
	c.AddCommand(
		&cobra.Command{Use: "ls", Short: "List the nodes, and whether their deployment folders are equal", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := get[[]admin.Node](cmd.Context(), a, "/api/nodes")
			if err != nil {
				return err
			}
			return a.print(list, func(w io.Writer) { nodeTable(w, list) })
		}},
		&cobra.Command{Use: "commit", Short: "Pass the deployment folder on as it is, though much may be gone from it", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := call[admin.Generation](cmd.Context(), a, http.MethodPost, "/api/nodes/commit", nil)
			if err != nil {
				return err
			}
			return a.print(d, func(w io.Writer) { fmt.Fprintf(w, "generation %d, digest %s\n", d.Generation, d.Digest) })
		}},
	)
	return c
}

func nodeTable(w io.Writer, list []admin.Node) {
	t := newTable(w, "NODE", "ADDRESS", "GENERATION", "DIGEST", "STATE", "SINCE", "ROLE")
	for _, n := range list {
		address, digest, since, role := n.Address, fmt.Sprintf("%.12s", n.Digest), "-", "follower"
		if !n.Member {
			address = "away"
		}
		if digest == "" {
			digest = "-"
		}
		if n.Since != nil {
			since = n.Since.Format(time.RFC3339)
		}
		if n.Committer {
			role = "committer"
		}
		t.AppendRow(table.Row{n.Node, address, n.Generation, digest, n.State, since, role})
	}
	t.Render()
	for _, n := range list {
		if n.Problem != "" {
			fmt.Fprintf(w, "  %s: %s\n", n.Node, n.Problem)
		}
	}
}
