package cli

import "github.com/spf13/cobra"

// pluginCommand is the group for those who write and handle packages: the verbs that make a component stand in plugin_develop.go, those
// that handle finished packages in plugin_package.go.
func (a *app) pluginCommand() *cobra.Command {
	c := &cobra.Command{Use: "plugin", Short: "Component packages: write, build, test, install"}
	c.AddCommand(a.developCommands()...)
	c.AddCommand(a.packageCommands()...)
	return c
}
