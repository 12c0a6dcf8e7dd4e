// Package archive reads zip archives that nobody vouches for: the whole structure is proved before a byte of a member is unpacked,
// and everything that is read or written has a bound. It must not know what an archive is for.
package archive

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"carbonado.dev/sdk/cause"
	"google.golang.org/grpc/codes"
)

// The kinds of error of archives. Each refusal leaves nothing behind.
var (
	ErrName = cause.Define("CBN-PKG-030", "An archive has a member whose name can't be that of a file below a folder.",
		"Don't use the archive; make it anew with `carbonado plugin pack`, or with zip from within the folder.").Code(codes.InvalidArgument)
	ErrKind = cause.Define("CBN-PKG-031", "An archive has a member that is neither a plain file nor a folder.",
		"Put copies of files in the place of links, and leave out devices, pipes and special rights.").Code(codes.InvalidArgument)
	ErrCollision = cause.Define("CBN-PKG-032", "Two members of an archive would be the same file.",
		"Rename one of them; names that differ in letter case or in the spelling of accents alone are the same on some systems.").Code(codes.InvalidArgument)
	ErrLimit = cause.Define("CBN-PKG-033", "An archive is larger, or has more in it, than one may.",
		"Leave out what does not belong into it.").Code(codes.InvalidArgument)
	ErrStructure = cause.Define("CBN-PKG-034", "An archive is damaged, or not made as archives are.",
		"Fetch or make it anew; a half-copied file looks like this too.").Code(codes.InvalidArgument)
	ErrFeature = cause.Define("CBN-PKG-035", "An archive uses something that this reader does not take: encryption, several disks, ZIP64, a rare compression.",
		"Make it with `carbonado plugin pack`, or with zip and its usual settings.").Code(codes.InvalidArgument)
	ErrUnpack = cause.Define("CBN-PKG-036", "An archive can't be unpacked here.", "Free space on the disk, or repair the rights of the folder.").Code(codes.Unavailable)
)

// Limits bound what an archive may have; a zero field means its default.
type Limits struct {
	// Archive is the size of the archive's file in bytes (1 GiB).
	Archive int64
	// Members is how many files and folders it may have (10,000).
	Members int
	// File and Total bound the unpacked size of one file (2 GiB) and of all (4 GiB), in bytes.
	File, Total int64
	// Ratio bounds how many times its packed size a file of more than RatioFrom bytes may have (200).
	Ratio int64
}

// RatioFrom is the unpacked size up to which the ratio does not matter: small files of one letter are no bombs.
const RatioFrom = 4 << 20

const (
	maxNameBytes      = 512
	maxComponentBytes = 200
	maxDepth          = 24
)

func (l Limits) orDefaults() Limits {
	set := func(v *int64, d int64) {
		if *v <= 0 {
			*v = d
		}
	}
	set(&l.Archive, 1<<30)
	set(&l.File, 2<<30)
	set(&l.Total, 4<<30)
	set(&l.Ratio, 200)
	if l.Members <= 0 {
		l.Members = 10_000
	}
	return l
}

// Entry is one member.
type Entry struct {
	// Name is a path with slashes, valid for fs.ValidPath, without a slash at its end.
	Name string
	Dir  bool
	// Size is the declared unpacked size; reading proves it.
	Size int64
	// Executable: the archive gives it an execute bit.
	Executable bool

	file *zip.File
}

// Archive is an archive whose structure is sound. Its methods are safe for concurrent use as far as its io.ReaderAt is.
type Archive struct {
	// Entries are all members, by name.
	Entries []Entry
	limits  Limits
}

// Open proves the structure of an archive of size bytes. Nothing of any member's content is read yet.
func Open(r io.ReaderAt, size int64, l Limits) (*Archive, error) {
	l = l.orDefaults()
	files, err := parse(r, size, l)
	if err != nil {
		return nil, err
	}
	a := &Archive{limits: l}
	names := newNames()
	var total int64
	for _, f := range files {
		e := Entry{Name: strings.TrimSuffix(f.Name, "/"), Dir: strings.HasSuffix(f.Name, "/"), Size: int64(f.UncompressedSize64), file: f}
		if err := checkName(f); err != nil {
			return nil, err
		}
		if err := e.checkMode(); err != nil {
			return nil, err
		}
		if err := names.add(e.Name, e.Dir); err != nil {
			return nil, err
		}
		if f.UncompressedSize64 > uint64(l.File) {
			return nil, ErrLimit.New("%q has %d bytes, a file may have %d", f.Name, f.UncompressedSize64, l.File)
		}
		if total += e.Size; total > l.Total {
			return nil, ErrLimit.New("its files have more than %d bytes together", l.Total)
		}
		if e.Size > RatioFrom && e.Size/l.Ratio > int64(f.CompressedSize64) {
			return nil, ErrLimit.New("%q is packed to %d of its %d bytes, which is what bombs do", f.Name, f.CompressedSize64, e.Size)
		}
		if e.Dir && e.Size != 0 {
			return nil, ErrStructure.New("the folder %q has a content", f.Name)
		}
		a.Entries = append(a.Entries, e)
	}
	slices.SortFunc(a.Entries, func(x, y Entry) int { return strings.Compare(x.Name, y.Name) })
	return a, nil
}

// checkMode refuses what is no plain file or folder, and rights that no package may ask for.
func (e *Entry) checkMode() error {
	mode := e.file.Mode()
	if t := mode.Type(); t != 0 && !(t == fs.ModeDir && e.Dir) {
		return ErrKind.New("%q is no plain file (%s)", e.file.Name, mode)
	}
	if mode&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky) != 0 {
		return ErrKind.New("%q asks for the rights of another user (%s)", e.file.Name, mode)
	}
	e.Executable = !e.Dir && mode&0o111 != 0
	return nil
}

// Find gives the member of a name.
func (a *Archive) Find(name string) (Entry, bool) {
	i, ok := slices.BinarySearchFunc(a.Entries, name, func(e Entry, n string) int { return strings.Compare(e.Name, n) })
	if !ok {
		return Entry{}, false
	}
	return a.Entries[i], true
}

// Read gives the content of one file of at most limit bytes.
func (a *Archive) Read(name string, limit int64) ([]byte, error) {
	e, ok := a.Find(name)
	if !ok || e.Dir {
		return nil, ErrStructure.New("the archive has no file %s", name)
	}
	if e.Size > limit {
		return nil, ErrLimit.New("%q has %d bytes, it may have %d", name, e.Size, limit)
	}
	r, err := e.Open()
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(r)
	return content, errors.Join(err, r.Close())
}

// Open reads the content of a file. Its end comes only after exactly the declared number of bytes with the declared checksum; anything
// else is an error of kind ErrStructure.
func (e Entry) Open() (io.ReadCloser, error) {
	rc, err := e.file.Open()
	if err != nil {
		return nil, ErrStructure.Wrap(err, "%q can't be read", e.Name)
	}
	return &exact{rc: rc, left: e.Size, name: e.Name}, nil
}

// exact counts what really comes.
type exact struct {
	rc   io.ReadCloser
	left int64
	name string
}

func (x *exact) Read(p []byte) (int, error) {
	n, err := x.rc.Read(p)
	if x.left -= int64(n); x.left < 0 {
		return 0, ErrStructure.New("%q unpacks to more than its declared size", x.name)
	}
	if err == io.EOF && x.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && err != io.EOF {
		return n, ErrStructure.Wrap(err, "%q is damaged", x.name)
	}
	return n, err
}

func (x *exact) Close() error { return x.rc.Close() }

// File is one unpacked file.
type File struct {
	Name string
	// SHA256 is hexadecimal.
	SHA256 string
	Size   int64
}

// Unpack writes every member below root, which must be empty, with the modes 0755 and 0644, and gives the files by name. What is written
// is on disk when it returns. On an error the caller removes root's content.
func (a *Archive) Unpack(ctx context.Context, root *os.Root) ([]File, error) {
	var out []File
	for _, e := range a.Entries {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		folder := path.Dir(e.Name)
		if e.Dir {
			folder = e.Name
		}
		if err := root.MkdirAll(folder, 0o755); err != nil {
			return nil, ErrUnpack.Wrap(err, "the folder %s can't be made", folder)
		}
		if e.Dir {
			continue
		}
		f, err := e.unpack(ctx, root)
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

func (e Entry) unpack(ctx context.Context, root *os.Root) (File, error) {
	mode := fs.FileMode(0o644)
	if e.Executable {
		mode = 0o755
	}
	from, err := e.Open()
	if err != nil {
		return File{}, err
	}
	defer from.Close()
	to, err := root.OpenFile(e.Name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return File{}, ErrUnpack.Wrap(err, "%s can't be written", e.Name)
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(to, sum), &until{ctx, from})
	if err == nil {
		err = to.Chmod(mode)
	}
	if err == nil {
		err = to.Sync()
	}
	err = errors.Join(err, to.Close())
	if err != nil && !errors.Is(err, ErrStructure) && ctx.Err() == nil {
		err = ErrUnpack.Wrap(err, "%s can't be written", e.Name)
	}
	return File{Name: e.Name, SHA256: hex.EncodeToString(sum.Sum(nil)), Size: n}, err
}

// until ends a copy with its context.
type until struct {
	ctx context.Context
	r   io.Reader
}

func (u *until) Read(p []byte) (int, error) {
	if u.ctx.Err() != nil {
		return 0, context.Cause(u.ctx)
	}
	return u.r.Read(p)
}
