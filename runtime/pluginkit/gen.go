package pluginkit

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"

	// Contracts of the SDK that a contract may import, beside those that are linked anyway.
	_ "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	_ "carbonado.dev/sdk/proto/carbonado/http/v1"
)

// The generators. protoc-gen-go is taken in the version of the project's own protobuf module, which its code must fit.
const (
	goGenerator     = "google.golang.org/protobuf/cmd/protoc-gen-go@"
	grpcGenerator   = "google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2"
	protobufDefault = "v1.36.12"
)

// Generate compiles every contract of the project, writes Go code for those whose go_package lies in the project's module, and the
// FileDescriptorSet of each `contract:` in component.yaml. Files whose content is right already are not touched.
func (p *Project) Generate(ctx context.Context) error {
	files, err := p.contracts(ctx)
	if err != nil {
		return err
	}
	if err := p.generateGo(ctx, files); err != nil {
		return err
	}
	sets, err := p.descriptorSets(files)
	if err != nil {
		return err
	}
	for name, set := range sets {
		if err := writeChanged(filepath.Join(p.Dir, filepath.FromSlash(name)), set); err != nil {
			return ErrContract.Wrap(err, "%s", name)
		}
	}
	return nil
}

// contracts compiles the project's .proto files; their paths are relative to its folder.
func (p *Project) contracts(ctx context.Context) (linker.Files, error) {
	var names []string
	err := filepath.WalkDir(p.Dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && path != p.Dir && (strings.HasPrefix(e.Name(), ".") || e.Name() == "build" || e.Name() == "target" || e.Name() == "vendor"):
			return fs.SkipDir
		case !e.IsDir() && strings.HasSuffix(path, ".proto"):
			rel, err := filepath.Rel(p.Dir, path)
			names = append(names, filepath.ToSlash(rel))
			return err
		}
		return nil
	})
	if err != nil {
		return nil, ErrContract.Wrap(err, "%s", p.Dir)
	}
	if len(names) == 0 {
		return nil, nil
	}
	own := &protocompile.SourceResolver{ImportPaths: []string{p.Dir}}
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(protocompile.CompositeResolver{own, protocompile.ResolverFunc(linked)}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := compiler.Compile(ctx, names...)
	if err != nil {
		return nil, ErrContract.Wrap(err, "contracts of %s", p.Descriptor.Name)
	}
	return files, nil
}

// linked finds the SDK's own contracts, which are part of this program.
func linked(path string) (protocompile.SearchResult, error) {
	f, err := protoregistry.GlobalFiles.FindFileByPath(path)
	if err != nil {
		return protocompile.SearchResult{}, err
	}
	return protocompile.SearchResult{Proto: protodesc.ToFileDescriptorProto(f)}, nil
}

// withImports lists a file's imports, their imports first, then the file.
func withImports(f protoreflect.FileDescriptor, seen map[string]bool, out []*descriptorpb.FileDescriptorProto) []*descriptorpb.FileDescriptorProto {
	if seen[f.Path()] {
		return out
	}
	seen[f.Path()] = true
	for i := range f.Imports().Len() {
		out = withImports(f.Imports().Get(i).FileDescriptor, seen, out)
	}
	return append(out, protoutil.ProtoFromFileDescriptor(f))
}

// descriptorSets makes the content of every `contract:` file whose service a project's contract defines.
func (p *Project) descriptorSets(files linker.Files) (map[string][]byte, error) {
	merged := map[string]*descriptorpb.FileDescriptorSet{}
	seen := map[string]map[string]bool{}
	for _, provided := range p.Descriptor.Provides {
		if provided.Contract == "" {
			continue
		}
		for _, f := range files {
			if f.FindDescriptorByName(protoreflect.FullName(provided.Service)) == nil {
				continue
			}
			if merged[provided.Contract] == nil {
				merged[provided.Contract], seen[provided.Contract] = &descriptorpb.FileDescriptorSet{}, map[string]bool{}
			}
			set := merged[provided.Contract]
			set.File = withImports(f, seen[provided.Contract], set.File)
		}
	}
	out := map[string][]byte{}
	for name, set := range merged {
		for i, f := range set.File { // as protoc writes it: without positions and comments
			f = proto.Clone(f).(*descriptorpb.FileDescriptorProto)
			f.SourceCodeInfo = nil
			set.File[i] = f
		}
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(set)
		if err != nil {
			return nil, ErrContract.Wrap(err, "%s", name)
		}
		out[name] = b
	}
	return out, nil
}

var moduleLine = regexp.MustCompile(`(?m)^module\s+(\S+)`)

// generateGo runs the two generators on the contracts whose Go package lies in the project's module.
func (p *Project) generateGo(ctx context.Context, files linker.Files) error {
	mod, err := os.ReadFile(filepath.Join(p.Dir, "go.mod"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // another language's project
	}
	if err != nil {
		return ErrContract.Wrap(err, "go.mod")
	}
	m := moduleLine.FindSubmatch(mod)
	if m == nil {
		return ErrContract.New("%s/go.mod names no module", p.Dir)
	}
	module := string(m[1])
	request := &pluginpb.CodeGeneratorRequest{Parameter: proto.String("module=" + module)}
	seen := map[string]bool{}
	for _, f := range files {
		request.ProtoFile = withImports(f, seen, request.ProtoFile)
		goPackage, _, _ := strings.Cut(protoutil.ProtoFromFileDescriptor(f).GetOptions().GetGoPackage(), ";")
		if goPackage == module || strings.HasPrefix(goPackage, module+"/") {
			request.FileToGenerate = append(request.FileToGenerate, f.Path())
		}
	}
	if len(request.FileToGenerate) == 0 {
		return nil
	}
	slices.Sort(request.FileToGenerate)
	input, err := proto.Marshal(request)
	if err != nil {
		return ErrContract.Wrap(err, "request to the generators")
	}
	for _, generator := range []string{goGenerator + protobufVersion(mod), grpcGenerator} {
		if err := p.runGenerator(ctx, generator, input); err != nil {
			return err
		}
	}
	return nil
}

var protobufLine = regexp.MustCompile(`google\.golang\.org/protobuf (v[0-9][^\s]*)`)

func protobufVersion(mod []byte) string {
	if m := protobufLine.FindSubmatch(mod); m != nil {
		return string(m[1])
	}
	return protobufDefault
}

// runGenerator runs one of protoc's plug-ins by the Go tool, which fetches and builds it once.
func (p *Project) runGenerator(ctx context.Context, generator string, input []byte) error {
	out, err := p.output(ctx, []string{"GOFLAGS=" + withoutMod(os.Getenv("GOFLAGS"))}, bytes.NewReader(input), "go", "run", generator)
	if err != nil {
		return ErrContract.Wrap(err, "generator %s", generator)
	}
	var answer pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(out, &answer); err != nil {
		return ErrContract.Wrap(err, "answer of %s", generator)
	}
	if answer.Error != nil {
		return ErrContract.New("%s: %s", generator, answer.GetError())
	}
	for _, f := range answer.File {
		if !filepath.IsLocal(filepath.FromSlash(f.GetName())) {
			return ErrContract.New("%s writes %q, outside of the project", generator, f.GetName())
		}
		path := filepath.Join(p.Dir, filepath.FromSlash(f.GetName()))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return ErrContract.Wrap(err, "%s", f.GetName())
		}
		if err := writeChanged(path, []byte(f.GetContent())); err != nil {
			return ErrContract.Wrap(err, "%s", f.GetName())
		}
	}
	return nil
}

// withoutMod takes -mod=… out of GOFLAGS: it means the project, not the generator.
func withoutMod(flags string) string {
	return strings.Join(slices.DeleteFunc(strings.Fields(flags), func(f string) bool { return strings.HasPrefix(f, "-mod") }), " ")
}

// writeChanged writes a file unless it has that content.
func writeChanged(path string, content []byte) error {
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, content) {
		return nil
	}
	return os.WriteFile(path, content, 0o644)
}
