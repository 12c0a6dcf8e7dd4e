package pluginkit

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// extras is the folder of the project whose content goes into the package as it is: scripts, static files.
const extras = "package"

// Platform is an operating system and an architecture, as Go names them.
type Platform struct{ OS, Arch string }

// Host is the platform of this machine.
var Host = Platform{runtime.GOOS, runtime.GOARCH}

func (p Platform) String() string { return p.OS + "/" + p.Arch }

// ParsePlatforms reads a list such as "linux/amd64,linux/arm64"; empty is Host.
func ParsePlatforms(list string) ([]Platform, error) {
	if list == "" {
		return []Platform{Host}, nil
	}
	var out []Platform
	for item := range strings.SplitSeq(list, ",") {
		os, arch, ok := strings.Cut(strings.TrimSpace(item), "/")
		if !ok || os == "" || arch == "" || strings.ContainsAny(os+arch, "/. ") {
			return nil, ErrBuild.New("%q is no platform: for example linux/arm64", item)
		}
		out = append(out, Platform{os, arch})
	}
	return out, nil
}

// Executable is where a package holds the program for a platform: bin/Name alone if it is built for one, bin/<os>-<arch>/Name else.
func (p *Project) Executable(platform Platform, of []Platform) string {
	exe := p.Descriptor.Executable
	if len(of) < 2 {
		return exe
	}
	return path.Join(path.Dir(exe), platform.OS+"-"+platform.Arch, path.Base(exe))
}

// Build lays the package out in build/NAME: component.yaml, contracts, what lies in package/, and the executables. A project with a
// pom.xml and no go.mod is built by Maven, whose build makes that folder.
func (p *Project) Build(ctx context.Context, platforms []Platform) error {
	return p.build(ctx, platforms, p.program)
}

// programEnv is what a program of a platform is built with.
func programEnv(platform Platform) []string {
	env := []string{"GOOS=" + platform.OS, "GOARCH=" + platform.Arch}
	if os.Getenv("CGO_ENABLED") == "" {
		env = append(env, "CGO_ENABLED=0")
	}
	if os.Getenv("GOGC") == "" {
		env = append(env, "GOGC=400") // a sixth less CPU for the linker, for a tenth more memory
	}
	return env
}

// programBuild are go's arguments for the program target.
func programBuild(target string, flags ...string) []string {
	return append(append([]string{"build"}, flags...), "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", target, ".")
}

// program makes one executable.
func (p *Project) program(ctx context.Context, target string, platform Platform) error {
	return p.command(ctx, programEnv(platform), "go", programBuild(target)...).Run()
}

// build is Build with another way to make the executables.
func (p *Project) build(ctx context.Context, platforms []Platform, program func(ctx context.Context, target string, platform Platform) error) error {
	if len(platforms) == 0 {
		platforms = []Platform{Host}
	}
	if !p.has("go.mod") {
		if !p.has("pom.xml") {
			return ErrBuild.New("%s has neither go.mod nor pom.xml: nothing says how it is built", p.Dir)
		}
		if err := p.command(ctx, nil, "mvn", "-B", "-q", "package").Run(); err != nil {
			return ErrBuild.Wrap(err, "%s: mvn package", p.Descriptor.Name)
		}
		return p.checkPackage()
	}
	// Beside the old one, which may be installed from meanwhile.
	stage := p.Package() + ".new"
	if err := os.RemoveAll(stage); err != nil {
		return ErrBuild.Wrap(err, "folder %s", stage)
	}
	for _, platform := range platforms {
		target := filepath.Join(stage, filepath.FromSlash(p.Executable(platform, platforms)))
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return ErrBuild.Wrap(err, "folder %s", stage)
		}
		if err := program(ctx, target, platform); err != nil {
			return ErrBuild.Wrap(err, "%s for %s", p.Descriptor.Name, platform)
		}
	}
	if err := p.layOut(stage); err != nil {
		return ErrBuild.Wrap(err, "package of %s", p.Descriptor.Name)
	}
	if err := os.RemoveAll(p.Package()); err != nil {
		return ErrBuild.Wrap(err, "folder %s", p.Package())
	}
	if err := os.Rename(stage, p.Package()); err != nil {
		return ErrBuild.Wrap(err, "folder %s", p.Package())
	}
	return nil
}

// layOut copies what the package holds beside executables.
func (p *Project) layOut(stage string) error {
	names := []string{descriptorFile, "README.md", "LICENSE", "NOTICE"}
	for _, provided := range p.Descriptor.Provides {
		if provided.Contract != "" {
			names = append(names, provided.Contract)
		}
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		err := copyFile(filepath.Join(stage, filepath.FromSlash(name)), filepath.Join(p.Dir, filepath.FromSlash(name)))
		if errors.Is(err, fs.ErrNotExist) && !strings.Contains(name, ".binpb") && name != descriptorFile {
			continue
		}
		if err != nil {
			return err
		}
	}
	root := filepath.Join(p.Dir, extras)
	if _, err := os.Stat(root); err != nil {
		return nil
	}
	return filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		return copyFile(filepath.Join(stage, rel), path)
	})
}

func copyFile(to, from string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, b, info.Mode().Perm()|0o600)
}

// checkPackage makes sure that another build tool has made the package.
func (p *Project) checkPackage() error {
	for _, name := range []string{descriptorFile, p.Descriptor.Executable} {
		if _, err := os.Stat(filepath.Join(p.Package(), filepath.FromSlash(name))); err != nil {
			return ErrBuild.Wrap(err, "the build made no package in %s", p.Package())
		}
	}
	return nil
}

// Test runs the project's own tests and checks its descriptor against its contracts.
func (p *Project) Test(ctx context.Context) error {
	if err := p.Check(ctx); err != nil {
		return err
	}
	name, args := "go", []string{"test", "./..."}
	if !p.has("go.mod") {
		name, args = "mvn", []string{"-B", "-q", "test"}
	}
	if err := p.command(ctx, nil, name, args...).Run(); err != nil {
		return ErrTest.Wrap(err, "%s", p.Descriptor.Name)
	}
	return nil
}

// Check compares component.yaml with the contracts: each FileDescriptorSet is there, is what the .proto files say, and defines its service.
func (p *Project) Check(ctx context.Context) error {
	files, err := p.contracts(ctx)
	if err != nil {
		return err
	}
	sets, err := p.descriptorSets(files)
	if err != nil {
		return err
	}
	for _, provided := range p.Descriptor.Provides {
		if provided.Contract == "" {
			continue
		}
		have, err := os.ReadFile(filepath.Join(p.Dir, filepath.FromSlash(provided.Contract)))
		if err != nil {
			return ErrContract.Wrap(err, "%s provides %s", p.Descriptor.Name, provided.Service).At(p.Descriptor.File, provided.Line, 0)
		}
		if _, err := FindService(have, provided.Service); err != nil {
			return ErrContract.Wrap(err, "%s", provided.Contract).At(p.Descriptor.File, provided.Line, 0)
		}
		if want, ok := sets[provided.Contract]; ok && !sameSet(want, have) {
			return ErrContract.New("%s is not what the contract's source says", provided.Contract).At(p.Descriptor.File, provided.Line, 0)
		}
	}
	return nil
}

// FindService finds a service in a FileDescriptorSet.
func FindService(set []byte, service string) (protoreflect.ServiceDescriptor, error) {
	var s descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(set, &s); err != nil {
		return nil, ErrContract.Wrap(err, "no FileDescriptorSet")
	}
	files, err := protodesc.NewFiles(&s)
	if err != nil {
		return nil, ErrContract.Wrap(err, "the FileDescriptorSet is not whole")
	}
	d, err := files.FindDescriptorByName(protoreflect.FullName(service))
	if err != nil {
		return nil, ErrContract.New("the FileDescriptorSet does not define %s", service)
	}
	sd, ok := d.(protoreflect.ServiceDescriptor)
	if !ok {
		return nil, ErrContract.New("%s is no service", service)
	}
	return sd, nil
}

// sameSet compares two sets by content, whoever wrote them.
func sameSet(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	var x, y descriptorpb.FileDescriptorSet
	if proto.Unmarshal(a, &x) != nil || proto.Unmarshal(b, &y) != nil {
		return false
	}
	for _, s := range []*descriptorpb.FileDescriptorSet{&x, &y} {
		for _, f := range s.File {
			f.SourceCodeInfo = nil
		}
	}
	return proto.Equal(&x, &y)
}
