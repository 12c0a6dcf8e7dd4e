// Command carbonado is the server and the operator's command line in one binary: `carbonado server` starts the guardian, the guardian
// starts the kernel, and every other command talks to a running kernel.
package main

import (
	"fmt"
	"os"

	"golang.org/x/term"

	"carbonado.dev/carbonado/docs"
	"carbonado.dev/carbonado/runtime/cli"
	_ "carbonado.dev/carbonado/runtime/guardian/boot" // makes this process the guardian where it is started as the server
	"carbonado.dev/carbonado/runtime/kernel"
	_ "carbonado.dev/carbonado/runtime/launch" // makes this binary the launcher step when it is executed under that name
)

// version is set by the build.
var version = "1.0.0-dev"

func main() {
	home, err := cli.Home()
	if err != nil {
		fmt.Fprintln(os.Stderr, "carbonado:", err)
		os.Exit(cli.ExitFailed)
	}
	os.Exit(cli.Main(cli.Program{
		Home: home, Version: version, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Errors: docs.Errors,
		Server: func(args []string) int { return server(home, args) },
	}, os.Args[1:]))
}

// server is the kernel: package boot has made this process the guardian, and not come here, if there was none.
func server(home string, args []string) int {
	return kernel.Run(kernel.Options{
		Home: home, Args: args, Version: version, Errors: docs.Errors, Terminal: os.Stderr, Out: os.Stdout, Interactive: term.IsTerminal(int(os.Stdout.Fd())),
	})
}
