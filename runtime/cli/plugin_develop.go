package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"carbonado.dev/carbonado/runtime/admin"
	"carbonado.dev/carbonado/runtime/catalog"
	"carbonado.dev/carbonado/runtime/pluginkit"
	"carbonado.dev/carbonado/runtime/pluginkit/conform"
	"carbonado.dev/sdk/component"
)

// developCommands are the verbs that make a component; what they do is runtime/pluginkit's.
func (a *app) developCommands() []*cobra.Command {
	return []*cobra.Command{a.newCommand(), a.genCommand(), a.buildCommand(), a.testCommand(), a.conformCommand(), a.devCommand(), a.attachCommand()}
}

// project is the component whose folder a command works on: the one given, or the present one.
func (a *app) project(args []string) (*pluginkit.Project, error) {
	dir := "."
	if len(args) > 0 {
		dir = args[0]
	}
	return pluginkit.Open(dir, a.Stderr, a.Stderr)
}

func (a *app) newCommand() *cobra.Command {
	module := ""
	c := &cobra.Command{Use: "new NAME [--module M]", Short: "Lay out a new component in ./NAME, with a test that passes", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		p, err := pluginkit.New(cmd.Context(), ".", args[0], module, os.Getenv("CARBONADO_SDK"), component.SDKVersion, a.Stderr, a.Stderr)
		if err != nil {
			return err
		}
		d := p.Descriptor
		return a.print(map[string]string{"name": d.Name, "folder": p.Dir, "service": d.Provides[0].Service}, func(w io.Writer) {
			fmt.Fprintf(w, "%s is laid out in ./%s; go there and run `carbonado plugin test`\n", d.Name, d.Name)
		})
	}}
	c.Flags().StringVar(&module, "module", "", "Go module path (default example.org/NAME)")
	return c
}

func (a *app) genCommand() *cobra.Command {
	return &cobra.Command{Use: "gen [DIR]", Short: "Generate code and descriptor sets from the contracts (no protoc needed)", Args: cobra.MaximumNArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		p, err := a.project(args)
		if err != nil {
			return err
		}
		return p.Generate(cmd.Context())
	}}
}

func (a *app) buildCommand() *cobra.Command {
	platforms := ""
	c := &cobra.Command{Use: "build [DIR] [--platform os/arch,…]", Short: "Build the package into build/NAME", Args: cobra.MaximumNArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		p, err := a.project(args)
		if err != nil {
			return err
		}
		list, err := pluginkit.ParsePlatforms(platforms)
		if err != nil {
			return errUsage.Wrap(err, "--platform")
		}
		if err := p.Build(cmd.Context(), list); err != nil {
			return err
		}
		return a.print(map[string]string{"name": p.Descriptor.Name, "version": p.Descriptor.Version.String(), "package": p.Package()}, func(w io.Writer) {
			fmt.Fprintf(w, "built %s %s in %s\n", p.Descriptor.Name, p.Descriptor.Version, p.Package())
		})
	}}
	c.Flags().StringVar(&platforms, "platform", "", "platforms, for example linux/amd64,linux/arm64 (default this machine's)")
	return c
}

func (a *app) testCommand() *cobra.Command {
	return &cobra.Command{Use: "test [DIR]", Short: "Run the component's tests, and check component.yaml against its contracts", Args: cobra.MaximumNArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		p, err := a.project(args)
		if err != nil {
			return err
		}
		return p.Test(cmd.Context())
	}}
}

// unpacked is the folder of a package that is given as a folder or as a file; done removes what was made for it.
func unpacked(ctx context.Context, path string) (folder string, done func(), err error) {
	if info, err := os.Stat(path); err != nil || info.IsDir() {
		return path, func() {}, nil
	}
	scratch, err := os.MkdirTemp("", "carbonado-conform-")
	if err != nil {
		return "", nil, err
	}
	done = func() { os.RemoveAll(scratch) }
	p, err := catalog.At(scratch).InstallPath(ctx, path, true) // whoever signed it: nothing is installed here
	if err != nil {
		done()
		return "", nil, err
	}
	return p.Dir, done, nil
}

func (a *app) conformCommand() *cobra.Command {
	configFile := ""
	c := &cobra.Command{Use: "conform FILE|FOLDER [--config FILE]", Short: "Start a package's executable without a server and check it against the component protocol", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		o := conform.Options{}
		if configFile != "" {
			var err error
			if o.Config, err = os.ReadFile(configFile); err != nil {
				return errUsage.Wrap(err, "--config")
			}
		}
		if a.format == "table" || a.format == "" { // as they come: a slow one shows where it is
			o.Each = func(r conform.Result) { fmt.Fprintf(a.Stdout, "%-4s  %-18s  %s\n", r.State, r.Name, r.Text) }
		}
		folder, done, err := unpacked(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		defer done()
		report, err := conform.Run(cmd.Context(), folder, o)
		if err != nil {
			return err
		}
		if err := a.print(report, func(w io.Writer) {
			fmt.Fprintf(w, "%s %s: %d passed, %d failed, %d warnings, %d do not apply\n", report.Component, report.Version,
				report.Count(conform.OK), report.Count(conform.Fail), report.Count(conform.Warn), report.Count(conform.None))
		}); err != nil {
			return err
		}
		return report.Err()
	}}
	c.Flags().StringVar(&configFile, "config", "", "the component's configuration, a JSON object (default: its schema's defaults)")
	return c
}

// swapMost is how long a new package may take until it serves.
const swapMost = 3 * time.Minute

func (a *app) devCommand() *cobra.Command {
	return &cobra.Command{Use: "dev [DIR]", Short: "Build at every saved file and swap the component in the running server, until ^C", Args: cobra.MaximumNArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		p, err := a.project(args)
		if err != nil {
			return err
		}
		p.Stdout = a.Stdout
		if _, err := get[admin.Status](cmd.Context(), a, "/api/status"); err != nil {
			return err
		}
		return p.Dev(cmd.Context(), func(ctx context.Context) error { return a.swap(ctx, p) })
	}}
}

// swap installs what was built and waits until the server runs it.
func (a *app) swap(ctx context.Context, p *pluginkit.Project) error {
	ctx, cancel := context.WithTimeout(ctx, swapMost)
	defer cancel()
	installed, err := catalog.At(a.Home).Install(ctx, p.Package())
	if err != nil {
		return err
	}
	path := "/api/components/" + url.PathEscape(installed.Name)
	// Told, the server does not wait for the folder to be quiet. A component that it does not know yet has no version to be updated from.
	r, err := call[admin.Replacement](ctx, a, http.MethodPost, path+"/update", strings.NewReader("{}"))
	if notFound(err) {
		err = a.tellServer(ctx)
	}
	if err != nil {
		return err
	}
	if r.Cause != nil {
		return told(r.Cause)
	}
	for {
		c, err := get[admin.Component](ctx, a, path)
		switch {
		case err != nil && !notFound(err):
			return err
		case err == nil && c.State == "ACTIVE":
			return nil
		case err == nil && c.Cause != nil && c.State != "STARTING":
			return told(c.Cause)
		}
		select {
		case <-time.After(50 * time.Millisecond): // another process is watched, which can't tell us
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func notFound(err error) bool {
	var failure *admin.Failure
	return errors.As(err, &failure) && failure.GetStatus() == http.StatusNotFound
}

// told makes an error of a cause with its chain and fix.
func told(c *admin.Cause) error {
	var text bytes.Buffer
	causeLines(&text, "", c)
	return errors.New(strings.TrimSpace(text.String()))
}

func (a *app) attachCommand() *cobra.Command {
	return &cobra.Command{Use: "attach NAME", Short: "Print the environment with which a process that you start, in a debugger for example, takes a component's place", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		i, err := call[admin.Invitation](cmd.Context(), a, http.MethodPost, "/api/components/"+url.PathEscape(args[0])+"/attach", strings.NewReader("{}"))
		if err != nil {
			return err
		}
		return a.print(i, func(w io.Writer) {
			fmt.Fprintf(w, "export CARBONADO_ATTACH=%s\nexport CARBONADO_ATTACH_TOKEN=%s\n", i.Socket, i.Token)
			fmt.Fprintf(a.Stderr, "Start %s once with this environment before %s; while it is connected it serves in the place of the installed one.\n", i.Name, i.Expires.Format(time.TimeOnly))
		})
	}}
}
