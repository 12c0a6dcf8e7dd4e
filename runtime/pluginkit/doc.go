// Package pluginkit helps those who write components: it scaffolds one, generates code from its contract, builds its package, tests
// it and checks the package against the protocol. It must not know the running server: what it makes is handed over as a package.
package pluginkit

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"carbonado.dev/carbonado/runtime/catalog"
	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/sdk/cause"
)

// Errors of this room.
var (
	ErrScaffold = cause.Define("CBN-PKG-080", "A new component can't be laid out.", "See the reason.")
	ErrContract = cause.Define("CBN-PKG-081", "A contract can't be compiled, or doesn't fit its component.yaml.", "Correct the place that is named, then `carbonado plugin gen`.")
	ErrBuild    = cause.Define("CBN-PKG-082", "A component can't be built.", "See what the build tool said above.")
	ErrTest     = cause.Define("CBN-PKG-083", "A component's tests fail.", "See what the test said above.")
	ErrProject  = cause.Define("CBN-PKG-084", "The folder is no component's.", "Go to the folder of its component.yaml, or make one with `carbonado plugin new NAME`.")
)

// descriptorFile is the component's description, at the head of its folder and of its package.
const descriptorFile = "component.yaml"

// Project is the folder of one component's sources.
type Project struct {
	Dir        string
	Descriptor *component.Descriptor
	// Stdout and Stderr take what the tools print.
	Stdout, Stderr io.Writer
}

// Open reads the project in dir.
func Open(dir string, stdout, stderr io.Writer) (*Project, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, ErrProject.Wrap(err, "%s", dir)
	}
	p := &Project{Dir: dir, Stdout: stdout, Stderr: stderr}
	return p, p.Reload()
}

// Reload reads component.yaml anew.
func (p *Project) Reload() error {
	file := filepath.Join(p.Dir, descriptorFile)
	data, err := os.ReadFile(file)
	if err != nil {
		return ErrProject.Wrap(err, "%s has no %s", p.Dir, descriptorFile)
	}
	d, err := catalog.ParseDescriptor(file, data)
	if err != nil {
		return err
	}
	p.Descriptor = d
	return nil
}

// has tells whether the project has a file of that name.
func (p *Project) has(name string) bool {
	_, err := os.Stat(filepath.Join(p.Dir, name))
	return err == nil
}

// Package is the folder where Build lays the package.
func (p *Project) Package() string { return filepath.Join(p.Dir, "build", p.Descriptor.Name) }

// command is a tool run in the project's folder. The project is a module of its own: a workspace around it doesn't count, unless GOWORK names one.
func (p *Project) command(ctx context.Context, env []string, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = p.Dir
	c.Env = os.Environ()
	if os.Getenv("GOWORK") == "" {
		c.Env = append(c.Env, "GOWORK=off")
	}
	c.Env = append(c.Env, env...)
	c.Stdout, c.Stderr = p.Stdout, p.Stderr
	return c
}

// output runs a tool and gives what it printed to standard output.
func (p *Project) output(ctx context.Context, env []string, stdin io.Reader, name string, args ...string) ([]byte, error) {
	c := p.command(ctx, env, name, args...)
	c.Stdin, c.Stdout, c.Stderr = stdin, nil, nil
	out, err := c.Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return out, errors.New(name + " " + strings.Join(args, " ") + ": " + strings.TrimSpace(string(failed.Stderr)))
	}
	return out, err
}
