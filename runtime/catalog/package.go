// Package catalog knows the component packages installed under plugins/: their descriptors, their files' digests, and
// which of them are fit to be started. It must not know profiles, plans or processes.
package catalog

import (
	"io/fs"
	"slices"
	"strings"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/trust"
)

// Package is one installed version of a component. It is read-only once made.
type Package struct {
	// Name and Version are the folder's: plugins/Name/Version.
	Name, Version string
	// Descriptor is what its component.yaml says; nil where it cannot be read (Cause says why).
	Descriptor *component.Descriptor
	// Dir is the absolute path of plugins/Name/Version.
	Dir string
	// Digest is the SHA-256, hexadecimal, of its package.lock: the identity of the package.
	Digest string
	// Contracts are the FileDescriptorSets that its descriptor names, by path. One that can't be read is left out: Cause says so.
	Contracts map[string][]byte
	// Files are its files with the digests recorded at install, by path.
	Files []File
	// Origin says where it came from; the zero Origin is a folder laid or installed by hand.
	Origin Origin
	// Signature is what is known about its signature.
	Signature trust.Verdict
	// Cause says why the package must not be started; nil if it may.
	Cause *component.Cause
}

// file gives the record of a path.
func (p *Package) file(path string) (File, bool) {
	i, ok := slices.BinarySearchFunc(p.Files, path, func(f File, want string) int { return strings.Compare(f.Path, want) })
	if !ok {
		return File{}, false
	}
	return p.Files[i], true
}

// File is one file of a package as recorded at install.
type File struct {
	// Path within the package, with slashes.
	Path string
	// SHA256 is hexadecimal.
	SHA256 string
	Size   int64
	// Mode has the permission bits.
	Mode fs.FileMode
}
