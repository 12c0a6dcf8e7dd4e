package catalog

import (
	"bytes"
	"debug/elf"
	"io"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"

	"carbonado.dev/sdk/cause"
	"google.golang.org/grpc/codes"
)

// ErrPlatform is the kind of a package that has no program for this machine.
var ErrPlatform = cause.Define("CBN-PKG-050", "A package has no executable for this operating system and processor.",
	"Get the package for this platform; one package may have several: bin/<os>-<arch>/NAME beside or instead of bin/NAME.").Code(codes.FailedPrecondition)

// Platform is this machine's, as packages name it.
const Platform = runtime.GOOS + "-" + runtime.GOARCH

// resolveExecutable sets the descriptor's executable to the file for this platform: the one in <os>-<arch>/ below the folder of the path
// that component.yaml gives, or else the one at that path: bin/linux-arm64/Hello or bin/Hello.
func (p *Package) resolveExecutable() error {
	want := p.Descriptor.Executable
	here := path.Join(path.Dir(want), Platform, path.Base(want))
	if _, ok := p.file(here); ok {
		p.Descriptor.Executable = here
	} else if _, ok := p.file(want); !ok {
		if has := p.platforms(); len(has) > 0 {
			return ErrPlatform.New("%s %s is for %s; this node needs %s", p.Name, p.Version, strings.Join(has, ", "), Platform)
		}
	}
	return p.checkExecutable()
}

// platforms lists those for which the package has an executable.
func (p *Package) platforms() []string {
	var has []string
	folder, base := path.Split(p.Descriptor.Executable)
	for _, f := range p.Files {
		rest, ok := strings.CutPrefix(f.Path, folder)
		if name, file, cut := strings.Cut(rest, "/"); ok && cut && file == base && strings.Contains(name, "-") {
			has = append(has, name)
		}
	}
	slices.Sort(has)
	return has
}

// machines are the processors of ELF files, as Go calls them.
var machines = map[elf.Machine]string{
	elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64", elf.EM_386: "386", elf.EM_ARM: "arm", elf.EM_RISCV: "riscv64", elf.EM_PPC64: "ppc64",
	elf.EM_S390: "s390x", elf.EM_LOONGARCH: "loong64", elf.EM_MIPS: "mips",
}

// checkProgram refuses a program of another operating system or processor. Scripts, and what it does not know, pass: whether they run
// shows when they are started.
func checkProgram(file, shown string) error {
	f, err := os.Open(file)
	if err != nil {
		return ErrInstall.Wrap(err, "%s cannot be read", shown)
	}
	defer f.Close()
	var head [4]byte
	if _, err := io.ReadFull(f, head[:]); err != nil {
		return nil
	}
	is := ""
	switch {
	case bytes.Equal(head[:], []byte("\x7fELF")):
		x, err := elf.NewFile(f)
		if err != nil {
			return ErrPlatform.Wrap(err, "%s is a damaged program", shown)
		}
		arch := machines[x.Machine]
		if arch == "" {
			arch = x.Machine.String()
		}
		system := "linux"
		if x.OSABI == elf.ELFOSABI_FREEBSD {
			system = "freebsd"
		}
		is = system + "-" + arch
	case bytes.HasPrefix(head[:], []byte("MZ")):
		is = "windows"
	case slices.Contains([]string{"\xcf\xfa\xed\xfe", "\xce\xfa\xed\xfe", "\xca\xfe\xba\xbe"}, string(head[:])):
		is = "darwin"
	}
	if is == "" || is == Platform {
		return nil
	}
	return ErrPlatform.New("%s is a program for %s; this node needs %s", shown, is, Platform)
}
