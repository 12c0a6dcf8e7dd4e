package pluginkit

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"
	"unicode"
)

// sdkEnv names the folder of the SDK where it is not to be had as a module.
const sdkEnv = "CARBONADO_SDK"

// sdkModule is the SDK's module path.
const sdkModule = "carbonado.dev/sdk"

//go:embed template
var templates embed.FS

var (
	newName   = regexp.MustCompile(`^[A-Z][A-Za-z0-9]{0,40}$`)
	newModule = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*\.[a-z]+(/[A-Za-z0-9_.~-]+)+$`)
)

// scaffold is what the templates are filled with.
type scaffold struct {
	// Name is the component's; Lower the same in small letters, for files and packages.
	Name, Lower string
	Module      string
	// Proto is the package of the contract, GoPackage its Go package.
	Proto, GoPackage string
	// Service is the full name of the contract.
	Service string
	// SDKVersion is required of the SDK's module, SDKFolder replaces it; empty where it is to be had as a module.
	SDKVersion, SDKFolder string
	GoVersion             string
}

// New lays out a component in parent/name and makes it ready for `plugin test`: code generated, modules resolved. sdk is the SDK's folder or empty.
// On an error nothing of it stays.
func New(ctx context.Context, parent, name, module, sdk, sdkVersion string, stdout, stderr io.Writer) (p *Project, err error) {
	if !newName.MatchString(name) {
		return nil, ErrScaffold.New("%q is no name: a capital letter, then letters and digits", name)
	}
	lower := strings.ToLower(name)
	if module == "" {
		module = "example.org/" + lower
	}
	if !newModule.MatchString(module) {
		return nil, ErrScaffold.New("%q is no module path: for example example.org/%s", module, lower)
	}
	s := scaffold{
		Name: name, Lower: lower, Module: module, Proto: protoPackage(module, lower), GoPackage: lower + "v1",
		SDKVersion: "v" + sdkVersion, GoVersion: "1.26.0",
	}
	s.Service = s.Proto + "." + name
	if sdk != "" {
		if sdk, err = filepath.Abs(sdk); err != nil {
			return nil, ErrScaffold.Wrap(err, "%s", sdkEnv)
		}
		if mod, err := os.ReadFile(filepath.Join(sdk, "go.mod")); err != nil || !bytes.Contains(mod, []byte("module "+sdkModule+"\n")) {
			return nil, ErrScaffold.New("%s=%s is not the folder of module %s", sdkEnv, sdk, sdkModule)
		}
		s.SDKVersion, s.SDKFolder = "v0.0.0", sdk
	}
	dir := filepath.Join(parent, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, ErrScaffold.Wrap(err, "folder %s", dir)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	if err := s.write(dir); err != nil {
		return nil, ErrScaffold.Wrap(err, "folder %s", dir)
	}
	if sdk != "" { // the hashes of what the SDK needs
		if sums, err := os.ReadFile(filepath.Join(sdk, "go.sum")); err == nil {
			if err := os.WriteFile(filepath.Join(dir, "go.sum"), sums, 0o644); err != nil {
				return nil, ErrScaffold.Wrap(err, "go.sum")
			}
		}
	}
	if p, err = Open(dir, stdout, stderr); err != nil {
		return nil, err
	}
	if err := p.Generate(ctx); err != nil {
		return nil, err
	}
	// Fills in what go.mod needs beside the SDK, and no more: `go mod tidy` would ask for the tests of every dependency.
	if _, err := p.output(ctx, nil, nil, "go", "list", "-mod=mod", "-deps", "-test", "./..."); err != nil {
		return nil, ErrScaffold.Wrap(err, "the modules that %s needs (%s names the SDK's folder where it is not to be had as a module)", name, sdkEnv)
	}
	return p, nil
}

// write fills in every template. A name in the tree is one too; its suffix .tmpl goes.
func (s scaffold) write(dir string) error {
	return fs.WalkDir(templates, "template", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := templates.ReadFile(path)
		if err != nil {
			return err
		}
		t, err := template.New(path).Delims("[[", "]]").Parse(string(text))
		if err != nil {
			return err
		}
		var out bytes.Buffer
		if err := t.Execute(&out, s); err != nil {
			return err
		}
		name := strings.TrimSuffix(strings.TrimPrefix(path, "template/"), ".tmpl")
		name = strings.ReplaceAll(strings.ReplaceAll(name, "NAME", s.Lower), "dot-", ".")
		return os.WriteFile(filepath.Join(dir, name), out.Bytes(), 0o644)
	})
}

// protoPackage makes a package name of a module path: example.org/weather is org.example.weather.v1. Letters that a package can't have go.
func protoPackage(module, lower string) string {
	parts := strings.Split(module, "/")
	labels := strings.Split(parts[0], ".")
	slices.Reverse(labels)
	labels = append(labels, parts[1:]...)
	if last := len(labels) - 1; labels[last] != lower {
		labels = append(labels, lower)
	}
	var out []string
	for _, l := range labels {
		l = strings.Map(func(r rune) rune {
			if r == '-' || r == '.' || r == '~' {
				return '_'
			}
			return unicode.ToLower(r)
		}, l)
		if l[0] < 'a' || l[0] > 'z' {
			l = "x" + l
		}
		out = append(out, l)
	}
	return strings.Join(append(out, "v1"), ".")
}
