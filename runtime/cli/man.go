package cli

import (
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func (a *app) manCommand() *cobra.Command {
	return &cobra.Command{Use: "man FOLDER", Short: "Write the manual pages of all commands into a folder (read one with man -l)", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		if err := os.MkdirAll(args[0], 0o755); err != nil {
			return err
		}
		root := cmd.Root()
		root.DisableAutoGenTag = true
		date := time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC) // of the release: the same pages at each run
		return doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "Carbonado " + a.Version, Manual: "Carbonado", Date: &date}, args[0])
	}}
}
