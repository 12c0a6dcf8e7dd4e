package cli

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
	"github.com/spf13/cobra"

	"carbonado.dev/carbonado/runtime/admin"
	"carbonado.dev/carbonado/runtime/catalog"
	"carbonado.dev/carbonado/runtime/chaos"
)

// remote is the node that the command line reaches.
type remote struct{ a *app }

func (n remote) Status(ctx context.Context) (admin.Status, error) {
	return get[admin.Status](ctx, n.a, "/api/status")
}
func (n remote) Components(ctx context.Context) ([]admin.Component, error) {
	return get[[]admin.Component](ctx, n.a, "/api/components")
}
func (n remote) Services(ctx context.Context) ([]admin.ServiceInfo, error) {
	return get[[]admin.ServiceInfo](ctx, n.a, "/api/services")
}
func (n remote) History(ctx context.Context, name string) ([]admin.Transition, error) {
	return get[[]admin.Transition](ctx, n.a, "/api/components/"+url.PathEscape(name)+"/history")
}
func (n remote) Do(ctx context.Context, name, verb string) error {
	if verb == chaos.Update {
		if err := n.successor(ctx, name); err != nil {
			return err
		}
	}
	_, err := call[admin.Component](ctx, n.a, http.MethodPost, "/api/components/"+url.PathEscape(name)+"/"+verb, strings.NewReader("{}"))
	return err
}

// versionLine is the version in a component.yaml.
var versionLine = regexp.MustCompile(`(?m)^version:.*$`)

// successor installs the package of a component once more, under the next patch version: something to update to.
func (n remote) successor(ctx context.Context, name string) (err error) {
	c, err := get[admin.Component](ctx, n.a, "/api/components/"+url.PathEscape(name))
	if err != nil {
		return err
	}
	version, err := semver.NewVersion(c.Version)
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "successor")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	at := filepath.Join(folder, name)
	if err := os.CopyFS(at, os.DirFS(c.Detail.Package)); err != nil {
		return err
	}
	descriptor := filepath.Join(at, "component.yaml")
	text, err := os.ReadFile(descriptor)
	if err != nil {
		return err
	}
	next := version.IncPatch()
	text = versionLine.ReplaceAll(text, []byte("version: "+next.String()))
	if err := errors.Join(os.WriteFile(descriptor, text, 0o600), os.RemoveAll(filepath.Join(at, "package.lock")), os.RemoveAll(filepath.Join(at, "package.minisig"))); err != nil {
		return err
	}
	if _, err := catalog.At(n.a.Home).InstallPath(ctx, at, true); err != nil {
		return err
	}
	return n.a.tellServer(ctx)
}

func (a *app) chaosCommand() *cobra.Command {
	o := chaos.Options{Out: a.Stdout}
	check, sure := "", false
	c := &cobra.Command{
		Use: "chaos", Short: "Trouble the running node on purpose and check it after each step", Args: cobra.NoArgs,
		Long: "Random stop, restart, update, kill -9, SIGSTOP of components, and kill -9 of the kernel. After each step every component must be\n" +
			"ACTIVE again, no process left over, no service without its provider, and every history by the table. An update installs the same package\n" +
			"under the next patch version. For a node that nobody needs.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !sure {
				return errUsage.New("chaos ends processes of this node; say --yes if nobody needs it")
			}
			for _, action := range o.Actions {
				if !slices.Contains(chaos.Actions, action) {
					return errUsage.New("%q is no action of chaos; there are %s", action, strings.Join(chaos.Actions, ", "))
				}
			}
			if check != "" {
				o.Check = func(ctx context.Context) error {
					out, err := exec.CommandContext(ctx, "/bin/sh", "-c", check).CombinedOutput()
					if err != nil {
						return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
					}
					return nil
				}
			}
			fmt.Fprintf(a.Stdout, "seed %d\n", o.Seed)
			return chaos.Run(cmd.Context(), remote{a}, o)
		},
	}
	f := c.Flags()
	f.Uint64Var(&o.Seed, "seed", rand.Uint64N(1e6), "makes a run again")
	f.IntVar(&o.Steps, "steps", 0, "end after so many steps; 0 is no limit")
	f.DurationVar(&o.Duration, "duration", 5*time.Minute, "end after this time; 0 is no limit")
	f.DurationVar(&o.Whole, "whole", 2*time.Minute, "how long the node has to be whole again")
	f.StringSliceVar(&o.Actions, "actions", nil, "only these: "+strings.Join(chaos.Actions, ","))
	f.StringSliceVar(&o.Components, "components", nil, "only these components")
	f.StringVar(&check, "check", "", "a shell command that must succeed after each step")
	f.BoolVar(&sure, "yes", false, "this node may be troubled")
	return c
}
