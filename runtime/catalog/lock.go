package catalog

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// lockHead is the first line of package.lock. Each line after it is a file: SHA-256, mode in octal, size, path; by path.
const lockHead = "carbonado package 1"

// writeLock renders the record of a package's files.
func writeLock(files []File) []byte {
	var b bytes.Buffer
	fmt.Fprintln(&b, lockHead)
	for _, f := range files {
		fmt.Fprintf(&b, "%s %04o %d %s\n", f.SHA256, f.Mode.Perm(), f.Size, f.Path)
	}
	return b.Bytes()
}

// readLock reads the record and sets Files and Digest.
func (p *Package) readLock(root *os.Root) error {
	data, err := root.ReadFile(lockFile)
	if err != nil {
		return ErrLock.Wrap(err, "%s %s has no %s that can be read", p.Name, p.Version, lockFile)
	}
	files, err := parseLock(data)
	if err != nil {
		return ErrLock.Wrap(err, "the %s of %s %s is damaged", lockFile, p.Name, p.Version)
	}
	sum := sha256.Sum256(data)
	p.Files, p.Digest = files, hex.EncodeToString(sum[:])
	return nil
}

func parseLock(data []byte) ([]File, error) {
	head, rest, _ := strings.Cut(string(data), "\n")
	if head != lockHead {
		return nil, fmt.Errorf("line 1 is not %q", lockHead)
	}
	var files []File
	last := ""
	for i, line := range strings.Split(strings.TrimSuffix(rest, "\n"), "\n") {
		f, err := parseLockLine(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+2, err)
		}
		if f.Path <= last {
			return nil, fmt.Errorf("line %d: %q is out of order", i+2, f.Path)
		}
		last = f.Path
		files = append(files, f)
	}
	return files, nil
}

func parseLockLine(line string) (File, error) {
	parts := strings.SplitN(line, " ", 4)
	if len(parts) != 4 || !fs.ValidPath(parts[3]) || parts[3] == "." {
		return File{}, fmt.Errorf("not of the form `digest mode size path`")
	}
	if raw, err := hex.DecodeString(parts[0]); err != nil || len(raw) != sha256.Size || strings.ToLower(parts[0]) != parts[0] {
		return File{}, fmt.Errorf("%q is no SHA-256", parts[0])
	}
	mode, err := strconv.ParseUint(parts[1], 8, 9)
	if err != nil {
		return File{}, fmt.Errorf("%q is no mode", parts[1])
	}
	size, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil || size < 0 {
		return File{}, fmt.Errorf("%q is no size", parts[2])
	}
	return File{Path: parts[3], SHA256: parts[0], Size: size, Mode: fs.FileMode(mode)}, nil
}
