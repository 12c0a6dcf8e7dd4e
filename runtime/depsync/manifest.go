package depsync

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// maxManifest is the largest list of files in bytes: room for a hundred thousand.
	maxManifest = 16 << 20
	// maxPath is the longest path in bytes.
	maxPath = 1024
	// manifestHead is the first line of a manifest: its format.
	manifestHead = "carbonado deployment 1\n"
)

// File is one file of a generation.
type File struct {
	// Path is relative to the deployment folder, with slashes.
	Path string
	// Digest is the SHA-256 of the content, hexadecimal.
	Digest string
	Size   int64
	// Mode holds the permission bits.
	Mode fs.FileMode
}

// Manifest is the list of the files of one generation, ordered by path. It never changes: its digest is its name, and the deployment
// digest of a node that has exactly these files.
type Manifest struct{ Files []File }

// NewManifest orders and checks files.
func NewManifest(files []File) (Manifest, error) {
	m := Manifest{slices.Clone(files)}
	slices.SortFunc(m.Files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	return m, m.check()
}

// Encode is the manifest as bytes, one line a file; equal manifests have equal bytes.
func (m Manifest) Encode() []byte {
	b := bytes.NewBufferString(manifestHead)
	for _, f := range m.Files {
		fmt.Fprintf(b, "%s %04o %d %s\n", f.Digest, f.Mode, f.Size, f.Path)
	}
	return b.Bytes()
}

// ParseManifest reads what Encode wrote. Whatever Encode would not have written is refused.
func ParseManifest(data []byte) (Manifest, error) {
	text, ok := strings.CutPrefix(string(data), manifestHead)
	if !ok {
		return Manifest{}, ErrManifest.New("its first line is not %q", strings.TrimSpace(manifestHead))
	}
	var m Manifest
	for line := range strings.Lines(text) {
		part := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
		if len(part) != 4 {
			return Manifest{}, ErrManifest.New("line %d has %d words", len(m.Files)+2, len(part))
		}
		mode, e1 := strconv.ParseUint(part[1], 8, 32)
		size, e2 := strconv.ParseInt(part[2], 10, 64)
		if e1 != nil || e2 != nil {
			return Manifest{}, ErrManifest.New("line %d: mode %q, size %q", len(m.Files)+2, part[1], part[2])
		}
		m.Files = append(m.Files, File{Path: part[3], Digest: part[0], Size: size, Mode: fs.FileMode(mode)})
	}
	if err := m.check(); err != nil {
		return Manifest{}, err
	}
	if !bytes.Equal(m.Encode(), data) {
		return Manifest{}, ErrManifest.New("it is not written as manifests are")
	}
	return m, nil
}

// check refuses what no deployment folder can hold, and every path that could lead out of it.
func (m Manifest) check() error {
	paths := make(map[string]bool, len(m.Files))
	for i, f := range m.Files {
		if err := checkPath(f.Path); err != nil {
			return err
		}
		if i > 0 && m.Files[i-1].Path >= f.Path {
			return ErrManifest.New("%q is there twice or out of order", f.Path)
		}
		if !isDigest(f.Digest) || f.Size < 0 || f.Mode&^fs.ModePerm != 0 {
			return ErrManifest.New("%q has the digest %q, %d bytes and the mode %o", f.Path, f.Digest, f.Size, f.Mode)
		}
		paths[f.Path] = true
	}
	for _, f := range m.Files {
		for _, folder := range foldersOf(f.Path) {
			if paths[folder] {
				return ErrManifest.New("%q is a file and a folder", folder)
			}
		}
	}
	return nil
}

// checkPath refuses a path that is not one below the folder. Names that begin with a dot are never part of a generation: that is what
// files are called while they are being written.
func checkPath(p string) error {
	fail := func(why string) error { return ErrManifest.New("the path %q %s", p, why) }
	switch {
	case !fs.ValidPath(p) || p == ".":
		return fail("does not lie in the deployment folder")
	case len(p) > maxPath:
		return fail("is too long")
	case !utf8.ValidString(p) || strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }):
		return fail("has a backslash or a control character")
	case hidden(p):
		return fail("has a name that begins with a dot")
	}
	return nil
}

// hidden tells whether an element of a path begins with a dot.
func hidden(p string) bool { return strings.HasPrefix(p, ".") || strings.Contains(p, "/.") }

// foldersOf are the folders above a file, the nearest first.
func foldersOf(p string) []string {
	var list []string
	for i := strings.LastIndexByte(p, '/'); i > 0; i = strings.LastIndexByte(p, '/') {
		p = p[:i]
		list = append(list, p)
	}
	return list
}

func isDigest(s string) bool {
	return len(s) == 2*sha256.Size && strings.Trim(s, "0123456789abcdef") == ""
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
