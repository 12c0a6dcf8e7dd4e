package cli

import "github.com/spf13/cobra"

// developCommands are the verbs that make a component; what they do is runtime/pluginkit's.
func (a *app) developCommands() []*cobra.Command { return nil }
