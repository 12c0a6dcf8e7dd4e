package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"carbonado.dev/carbonado/runtime/admin"
	"carbonado.dev/carbonado/runtime/catalog"
	"carbonado.dev/carbonado/runtime/deploy"
	"carbonado.dev/carbonado/runtime/trust"
)

// passwordVariable has the password of an encrypted secret key.
const passwordVariable = "CARBONADO_KEY_PASSWORD"

// packageCommands are the verbs that handle finished packages. None needs a server; one that runs is told of changes.
func (a *app) packageCommands() []*cobra.Command {
	return []*cobra.Command{
		a.pluginPack(), a.pluginKeygen(), a.pluginSign(), a.pluginVerify(), a.pluginInstall(), a.pluginRemove(), a.pluginTrust(), a.pluginLs(),
	}
}

// fileFlag is -o FILE. It takes the place of -o FORMAT, which these verbs have no use for.
func fileFlag(c *cobra.Command, to *string, usage string) *cobra.Command {
	c.Flags().StringVarP(to, "output", "o", "", usage)
	return c
}

func (a *app) pluginPack() *cobra.Command {
	var out string
	return fileFlag(&cobra.Command{Use: "pack [-o FILE] [FOLDER]", Short: "Make a package file of a package's folder (default: here)", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			folder := "."
			if len(args) == 1 {
				folder = args[0]
			}
			file := out
			if file == "" {
				data, err := os.ReadFile(filepath.Join(folder, "component.yaml"))
				if err != nil {
					return catalog.ErrPack.Wrap(err, "%s is no package's folder", folder)
				}
				d, err := catalog.ParseDescriptor(filepath.Join(folder, "component.yaml"), data)
				if err != nil {
					return err
				}
				file = d.Name + "-" + d.Version.String() + catalog.Suffix
			}
			p, err := catalog.Pack(cmd.Context(), folder, file)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.Stdout, "packed %s %s into %s: %d files, digest %s\n", p.Name, p.Version, file, len(p.Files), p.Digest)
			return nil
		}}, &out, "the package file to write (default: NAME-VERSION.carbonado)")
}

func (a *app) pluginKeygen() *cobra.Command {
	var out string
	c := fileFlag(&cobra.Command{Use: "keygen -o FILE", Short: "Make a key to sign packages with: FILE, which stays secret, and FILE.pub", Args: cobra.NoArgs,
		Long: "Make a minisign key: FILE, which stays secret, and FILE.pub. With " + passwordVariable + " set, the secret key is encrypted with it.",
		RunE: func(*cobra.Command, []string) error {
			s, err := trust.MakeKey(out, os.Getenv(passwordVariable))
			if err != nil {
				return err
			}
			fmt.Fprintf(a.Stdout, "made the key %s: %s (secret) and %s.pub\n", s.ID, out, out)
			return nil
		}}, &out, "the secret key's file to write")
	_ = c.MarkFlagRequired("output") // the flag is there
	return c
}

func (a *app) pluginSign() *cobra.Command {
	var key string
	c := &cobra.Command{Use: "sign FILE --key KEY", Short: "Sign a package file, in place", Args: cobra.ExactArgs(1), RunE: func(_ *cobra.Command, args []string) error {
		k, err := trust.ReadKey(key, os.Getenv(passwordVariable))
		if err != nil {
			return err
		}
		if err := catalog.Sign(args[0], k); err != nil {
			return err
		}
		return a.print(map[string]string{"file": args[0], "key": k.ID()}, func(w io.Writer) { fmt.Fprintf(w, "signed %s with the key %s\n", args[0], k.ID()) })
	}}
	c.Flags().StringVar(&key, "key", "", "secret key file; "+passwordVariable+" has its password, if it has one")
	_ = c.MarkFlagRequired("key") // the flag is there
	return c
}

// verified answers `plugin verify`.
type verified struct {
	Name      string `json:"name"`
	Version   string `json:"version"`
	Digest    string `json:"digest"`
	Files     int    `json:"files"`
	Signature string `json:"signature"`
	Signer    string `json:"signer"`
}

func (a *app) pluginVerify() *cobra.Command {
	var key string
	c := &cobra.Command{Use: "verify FILE [--key PUB]", Short: "Prove a package file: structure, every file's digest, and its signature by a key", Args: cobra.ExactArgs(1),
		Long: "Prove a package file: structure, every file's digest, and its signature by the public key in PUB, or by one of the signers trusted here.",
		RunE: func(cmd *cobra.Command, args []string) error {
			policy, err := a.signers(key)
			if err != nil {
				return err
			}
			p, err := catalog.OpenArchive(args[0])
			if err != nil {
				return err
			}
			defer p.Close()
			if err := p.Verify(cmd.Context()); err != nil {
				return err
			}
			v, err := policy.Dropped(p.Lock, p.Signature)
			if err != nil {
				return err
			}
			out := verified{Name: p.Name, Version: p.Version, Digest: p.Digest, Files: len(p.Files), Signature: v.Key}
			if v.Signer != nil {
				out.Signer = v.Signer.Name
			}
			return a.print(out, func(w io.Writer) {
				fmt.Fprintf(w, "%s %s: %d files as packed, digest %s, %s\n", p.Name, p.Version, len(p.Files), p.Digest, v)
			})
		}}
	c.Flags().StringVar(&key, "key", "", "the signer's public key file")
	return c
}

// signers is the policy that trusts one key file, or, without one, the installation's.
func (a *app) signers(key string) (*trust.Policy, error) {
	if key == "" {
		return trust.Load(a.Home)
	}
	s, err := trust.ReadPublic(key)
	if err != nil {
		return nil, err
	}
	return trust.Only(s), nil
}

func (a *app) pluginInstall() *cobra.Command {
	unsigned := false
	c := &cobra.Command{Use: "install FILE|FOLDER", Short: "Install a package; a running server takes it up at once", Args: cobra.ExactArgs(1),
		Long: "Install a package file, or a package's folder, into plugins/NAME/VERSION. A file needs a signature by a trusted signer, as dropped ones do, unless\n" +
			"--allow-unsigned is given. A folder is trusted as it is: whoever may write to plugins/ could put it there.",
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := catalog.At(a.Home).InstallPath(cmd.Context(), args[0], unsigned)
			if err != nil {
				return err
			}
			if err := a.tellServer(cmd.Context()); err != nil {
				return err
			}
			return a.print(map[string]string{"name": p.Name, "version": p.Version, "package": p.Dir, "digest": p.Digest, "signature": p.Signature.Key}, func(w io.Writer) {
				fmt.Fprintf(w, "installed %s %s, %s\n", p.Name, p.Version, p.Signature)
			})
		}}
	c.Flags().BoolVar(&unsigned, "allow-unsigned", false, "take a file without a signature, or by a signer who is not trusted")
	return c
}

// tellServer has a running server follow changed packages; it is no error that none runs.
func (a *app) tellServer(ctx context.Context) error {
	_, err := call[admin.Refreshed](ctx, a, http.MethodPost, "/api/packages/refresh", strings.NewReader("{}"))
	if err != nil && exitCode(err) == ExitUnreachable {
		return nil
	}
	return err
}

func (a *app) pluginRemove() *cobra.Command {
	return &cobra.Command{Use: "remove NAME[@VERSION]", Short: "Uninstall a component, or one version of it; a dropped file is deleted too", Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, version, _ := strings.Cut(args[0], "@")
			if len(args) == 2 {
				version = args[1]
			}
			removed, err := a.remove(cmd.Context(), name, version)
			if err != nil {
				return err
			}
			return a.print(map[string]any{"name": name, "removed": removed}, func(w io.Writer) { fmt.Fprintf(w, "removed %s %s\n", name, strings.Join(removed, ", ")) })
		}}
}

// remove has a running server let go of the packages before their files go.
func (a *app) remove(ctx context.Context, name, version string) ([]string, error) {
	cat := catalog.At(a.Home)
	all, err := cat.Scan(ctx)
	if err != nil {
		return nil, err
	}
	var list []*catalog.Package
	var versions []string
	for _, p := range all {
		if p.Name == name && (version == "" || p.Version == version) {
			list = append(list, p)
			versions = append(versions, p.Version)
		}
	}
	if len(list) == 0 {
		return nil, catalog.ErrUnknown.New("%s is not installed", strings.TrimSpace(name+" "+version))
	}
	for _, file := range a.droppedFiles(ctx, list) {
		if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, catalog.ErrInstall.Wrap(err, "the dropped file %s can't be deleted", file)
		}
	}
	for _, p := range list {
		if err := cat.Supersede(p, true); err != nil {
			return nil, err
		}
	}
	if err := a.tellServer(ctx); err != nil {
		return nil, err
	}
	for _, p := range list {
		if err := cat.UninstallSuperseded(p.Name, p.Version); err != nil && !errors.Is(err, catalog.ErrUnknown) { // the server may have been faster
			return nil, err
		}
	}
	return versions, nil
}

// droppedFiles are the files that packages were installed from, and those that would bring them back: the package of a dropped file may
// have been replaced by hand since.
func (a *app) droppedFiles(ctx context.Context, list []*catalog.Package) []string {
	var out []string
	for _, p := range list {
		if p.Origin.Dropin != "" {
			out = append(out, filepath.Join(a.Home, "repository", p.Origin.Dropin))
		}
	}
	files, _ := filepath.Glob(filepath.Join(a.Home, "repository", deploy.DropinsRoot, "*"+catalog.Suffix)) // the pattern is right
	for _, file := range files {
		d, err := catalog.Peek(ctx, file)
		if err != nil || slices.Contains(out, file) {
			continue // one that can't be read brings nothing
		}
		if slices.ContainsFunc(list, func(p *catalog.Package) bool { return p.Name == d.Name && p.Version == d.Version }) {
			out = append(out, file)
		}
	}
	return out
}

func (a *app) pluginTrust() *cobra.Command {
	show := func(verb string, s trust.Signer) error {
		return a.print(map[string]string{"name": s.Name, "key": s.ID}, func(w io.Writer) { fmt.Fprintf(w, "%s %s (%s)\n", verb, s.Name, s.ID) })
	}
	c := &cobra.Command{Use: "trust PUB", Short: "Take packages signed with a key: PUB is the public key file", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		s, err := trust.Trust(a.Home, args[0])
		if err != nil {
			return err
		}
		if err := a.tellServer(cmd.Context()); err != nil {
			return err
		}
		return show("trusts", s)
	}}
	c.AddCommand(
		&cobra.Command{Use: "ls", Short: "List the trusted signers", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
			p, err := trust.Load(a.Home)
			if err != nil {
				return err
			}
			list := []map[string]string{}
			for _, s := range p.Signers {
				list = append(list, map[string]string{"name": s.Name, "key": s.ID})
			}
			return a.print(list, func(w io.Writer) {
				t := newTable(w, "NAME", "KEY")
				for _, s := range p.Signers {
					t.AppendRow(table.Row{s.Name, s.ID})
				}
				t.Render()
			})
		}},
		&cobra.Command{Use: "remove NAME|KEY|PUB", Short: "No longer take packages of a signer; what was dropped of theirs stops", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				s, err := trust.Distrust(a.Home, args[0])
				if err != nil {
					return err
				}
				if err := a.tellServer(cmd.Context()); err != nil {
					return err
				}
				return show("no longer trusts", s)
			}},
	)
	return c
}

// installed is one line of `plugin ls`.
type installed struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Digest  string `json:"digest"`
	// Chosen: it is the version that the plan takes.
	Chosen bool `json:"chosen"`
	// Origin is the dropped file, or "by hand".
	Origin string `json:"origin"`
	// Key and Signer say who signed it; empty for nobody, and for nobody that is trusted.
	Key    string       `json:"key"`
	Signer string       `json:"signer"`
	Cause  *admin.Cause `json:"cause"`
}

func (a *app) pluginLs() *cobra.Command {
	return &cobra.Command{Use: "ls", Short: "List the installed packages, where they came from and who signed them", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		cat := catalog.At(a.Home)
		all, err := cat.Scan(cmd.Context())
		if err != nil {
			return err
		}
		chosen := map[*catalog.Package]bool{}
		for _, p := range catalog.Choose(all) {
			chosen[p] = true
		}
		list := []installed{}
		for _, p := range all {
			x := installed{Name: p.Name, Version: p.Version, Digest: p.Digest, Chosen: chosen[p], Origin: "by hand", Key: p.Signature.Key, Cause: admin.CauseOf(p.Cause.Proto())}
			if p.Origin.Dropin != "" {
				x.Origin = p.Origin.Dropin
			}
			if p.Signature.Signer != nil {
				x.Signer = p.Signature.Signer.Name
			}
			list = append(list, x)
		}
		return a.print(list, func(w io.Writer) {
			t := newTable(w, "NAME", "VERSION", "CHOSEN", "ORIGIN", "SIGNED BY", "DIGEST", "WHY NOT")
			for _, x := range list {
				by, taken := x.Signer, "no"
				switch {
				case by == "" && x.Key != "":
					by = x.Key + " (not trusted)"
				case by == "":
					by = "-"
				}
				if x.Chosen {
					taken = "yes"
				}
				t.AppendRow(table.Row{x.Name, x.Version, taken, x.Origin, by, fmt.Sprintf("%.12s", x.Digest), short(x.Cause)})
			}
			t.Render()
		})
	}}
}
