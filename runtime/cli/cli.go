// Package cli is the operator's command line on top of the admin API: it asks, prints and turns answers into exit codes. It must not
// know how the server does anything, nor any component: verbs of packages are found in their component.yaml.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"carbonado.dev/carbonado/runtime/admin"
	"carbonado.dev/carbonado/runtime/config"
	"carbonado.dev/carbonado/runtime/plan"
	"carbonado.dev/carbonado/runtime/profile"
	"carbonado.dev/sdk/cause"
)

// Exit codes (docs/cli.md).
const (
	ExitOK           = 0
	ExitFailed       = 1
	ExitInactive     = 3
	ExitNotFound     = 4
	ExitUsage        = 64
	ExitUnreachable  = 69
	ExitBusy         = 75
	ExitNotPermitted = 77
	ExitInvalid      = 78
	ExitTimeout      = 124
	ExitInterrupted  = 130
)

// errUsage is the kind of a command line that can't be understood.
var errUsage = cause.Define("CBN-CLI-070", "The command line can't be understood.", "See `carbonado help`.")

// exit is an error that only carries an exit code: everything has been said.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// Program is what main gives.
type Program struct {
	// Home is the installation's folder.
	Home    string
	Version string
	// Errors is the error catalogue as docs/errors.md has it.
	Errors string
	// Server runs `carbonado server`.
	Server         func(args []string) int
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// app is one invocation.
type app struct {
	Program
	format string
	// understood is set once cobra has accepted the command line: what fails before is a usage error.
	understood bool
}

// Home finds the installation: CARBON_HOME as it stands, or else the folder above the executable's, symbolic links resolved.
func Home() (string, error) {
	if h := os.Getenv("CARBON_HOME"); h != "" {
		return filepath.Abs(h)
	}
	exe, err := os.Executable()
	if err != nil {
		return "", err
	}
	if exe, err = filepath.EvalSymlinks(exe); err != nil {
		return "", err
	}
	return filepath.Dir(filepath.Dir(exe)), nil
}

// Main runs one command and answers the exit code.
func Main(p Program, args []string) int {
	a := &app{Program: p}
	if len(args) > 0 && args[0] == "server" {
		return p.Server(args[1:]) // DAS's flags (-receiverNode) are not cobra's; and no package has to be read
	}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(p.Stdin)
	root.SetOut(p.Stdout)
	root.SetErr(p.Stderr)
	if len(args) > 0 {
		if found, _, err := root.Find(args); err != nil || found == root {
			if code, ok := a.packageVerb(args); ok {
				return code
			}
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := root.ExecuteContext(ctx)
	if ctx.Err() != nil {
		return ExitInterrupted
	}
	return a.report(err)
}

// report prints an error with its fix and answers the exit code.
func (a *app) report(err error) int {
	var code exit
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &code):
		return int(code)
	}
	var f *admin.Failure
	if errors.As(err, &f) && f.Cause != nil { // the server's own word
		fmt.Fprintln(a.Stderr, err)
		if fix := f.Cause.FixText(); fix != "" {
			fmt.Fprintf(a.Stderr, "  fix: %s\n", fix)
		}
		return exitCode(err)
	}
	c := cause.From(err)
	text := err.Error()
	if errors.Is(err, cause.Unknown) || c.Code() == cause.Unknown.ID() {
		text = "carbonado: " + err.Error()
	}
	fmt.Fprintln(a.Stderr, text)
	if fix := c.Proto().GetFix(); fix != "" && c.Code() != cause.Unknown.ID() {
		fmt.Fprintf(a.Stderr, "  fix: %s\n", fix)
	}
	if c.Code() == cause.Unknown.ID() && !a.understood {
		return ExitUsage // cobra's own complaints
	}
	return exitCode(err)
}

func exitCode(err error) int {
	var f *admin.Failure
	switch {
	case errors.As(err, &f):
		return codeOfStatus(f)
	case errors.Is(err, admin.ErrNoServer):
		return ExitUnreachable
	case errors.Is(err, cause.Unreachable):
		return ExitUnreachable
	case errors.Is(err, errUsage), errors.Is(err, profile.ErrUsage), errors.Is(err, config.ErrArgument), errors.Is(err, plan.ErrFormat):
		return ExitUsage
	case errors.Is(err, errAway):
		return ExitInactive
	case errors.Is(err, errNoCode), errors.Is(err, config.ErrNoKey):
		return ExitNotFound
	case strings.HasPrefix(cause.From(err).Code(), "CBN-CFG"):
		return ExitInvalid
	}
	return ExitFailed
}

func codeOfStatus(f *admin.Failure) int {
	switch f.GetStatus() {
	case 404:
		return ExitNotFound
	case 400, 422:
		return ExitUsage
	case 401, 403:
		return ExitNotPermitted
	case 503:
		return ExitUnreachable
	case 504:
		return ExitTimeout
	case 409:
		if f.Cause != nil && f.Cause.Code == admin.ErrBusy.ID() {
			return ExitBusy
		}
	}
	return ExitFailed
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use: "carbonado", Short: "Carbonado: an analytics server made of components",
		SilenceUsage: true, SilenceErrors: true, Args: cobra.ArbitraryArgs,
		PersistentPreRun: func(*cobra.Command, []string) { a.understood = true },
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return errUsage.New("%q is neither a command nor a verb of an installed package", args[0])
			}
			return cmd.Help()
		},
	}
	root.PersistentFlags().StringVarP(&a.format, "output", "o", "table", "output format: table, json or yaml")
	root.AddCommand(
		&cobra.Command{Use: "server [-receiverNode|-indexerNode|-analyzerNode|-dashboardNode] [-Dname=value …]", Short: "Run the server in the foreground", DisableFlagParsing: true,
			RunE: func(_ *cobra.Command, args []string) error { return exit(a.Server(args)) }},
		a.statusCommand(), a.planCommand(), a.componentCommand(), a.levelCommand(), a.serviceCommand(), a.artifactCommand(), a.nodeCommand(), a.pluginCommand(), a.openCommand(),
		a.topCommand(), a.tapCommand(), a.doctorCommand(), a.bundleCommand(), a.manCommand(), a.upgradeCommand(), a.applyCommand(), a.deploymentsCommand(), a.rollbackCommand(), a.whyCommand(), a.errorCommand(), a.graphCommand(), a.blameCommand(), a.configCommand(), a.chaosCommand(),
		&cobra.Command{Use: "version", Short: "Print the version", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
			return a.print(map[string]string{"version": a.Version}, func(w io.Writer) { fmt.Fprintf(w, "Carbonado %s\n", a.Version) })
		}},
	)
	for _, v := range a.verbs() {
		root.AddCommand(&cobra.Command{Use: v.verb + " …", Short: v.summary + " (" + v.component + ")", DisableFlagParsing: true,
			RunE: func(_ *cobra.Command, args []string) error {
				code, _ := a.packageVerb(append([]string{v.verb}, args...))
				return exit(code)
			}})
	}
	return root
}

// colour tells whether to colour what goes to standard output.
func (a *app) colour() bool {
	f, ok := a.Stdout.(*os.File)
	return ok && os.Getenv("NO_COLOR") == "" && term.IsTerminal(int(f.Fd()))
}
