package catalog

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"carbonado.dev/carbonado/runtime/durable"
)

// seenFile has a line "name version digest" for each package folder that was ever recorded; it lies beside the names once installed.
func (c *Catalog) seenFile() string { return filepath.Join(filepath.Dir(c.known), "packages-seen") }

// Adopt records the files of package folders that were laid into plugins/ by hand, without a package.lock: from now on they are trusted by
// their digests. A folder in which something changed within quiet may be half copied and is left for later. One that was recorded before
// and has lost its record is adopted only if it is what it was: nobody gets a changed file past the digests by deleting them. It gives
// what it adopted, as "name version"; what it can't adopt stays refused by Scan, with the reason.
func (c *Catalog) Adopt(ctx context.Context, quiet time.Duration) ([]string, error) {
	var bare [][2]string
	err := c.each(func(name string, v fs.DirEntry) error {
		dir := filepath.Join(c.plugins, name, v.Name())
		if _, err := os.Lstat(filepath.Join(dir, lockFile)); v.IsDir() && errors.Is(err, fs.ErrNotExist) {
			bare = append(bare, [2]string{name, v.Name()})
		}
		return nil
	})
	if err != nil || len(bare) == 0 {
		return nil, err
	}
	unlock, err := c.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	seen, err := c.seen()
	if err != nil {
		return nil, err
	}
	var adopted []string
	for _, b := range bare {
		ok, err := c.adopt(ctx, b[0], b[1], quiet, seen)
		if err != nil {
			return adopted, err
		}
		if ok {
			adopted = append(adopted, b[0]+" "+b[1])
		}
	}
	return adopted, nil
}

func (c *Catalog) adopt(ctx context.Context, name, version string, quiet time.Duration, seen map[string]string) (bool, error) {
	dir := filepath.Join(c.plugins, name, version)
	root, err := os.OpenRoot(dir)
	if err != nil {
		return false, nil // it went meanwhile
	}
	defer root.Close()
	if !quietFor(root, quiet) {
		return false, nil
	}
	data, err := root.ReadFile(descriptorFile)
	if err != nil {
		return false, nil
	}
	d, err := ParseDescriptor(descriptorFile, data)
	if err != nil || d.Name != name || d.Version.String() != version {
		return false, nil
	}
	p := &Package{Name: name, Version: version, Descriptor: d}
	err = fs.WalkDir(root.FS(), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || beside(path) || ctx.Err() != nil {
			return errors.Join(err, context.Cause(ctx))
		}
		if e.Type() != 0 || len(p.Files) >= maxFiles {
			return ErrFiles.New("%s is no plain file, or there are too many", path)
		}
		f, err := record(root, path)
		p.Files = append(p.Files, f)
		return err
	})
	if err != nil || !quietFor(root, quiet) {
		return false, context.Cause(ctx)
	}
	slices.SortFunc(p.Files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	lock := writeLock(p.Files)
	digest := digestOf(lock)
	if had, ok := seen[name+" "+version]; ok && had != digest {
		return false, nil
	}
	if err := c.note(name, version, digest); err != nil {
		return false, err
	}
	if err := durable.Write(root, lockFile, lock, 0o644); err != nil {
		return false, ErrInstall.Wrap(err, "the record of digests of %s %s cannot be written", name, version)
	}
	return true, c.Remember(name)
}

// quietFor tells whether nothing in a folder changed for a while.
func quietFor(root *os.Root, quiet time.Duration) bool {
	now := time.Now()
	err := fs.WalkDir(root.FS(), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := root.Lstat(path)
		if err == nil && now.Sub(changedAt(info)) < quiet {
			err = fs.ErrExist
		}
		return err
	})
	return err == nil
}

// uninstalledDigest stands for a package that was uninstalled: whatever is laid there next is new.
const uninstalledDigest = "-"

// seen reads the digests that were ever recorded, by "name version"; the newest counts.
func (c *Catalog) seen() (map[string]string, error) {
	out := map[string]string{}
	f, err := os.Open(c.seenFile())
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if err != nil {
		return nil, ErrKnown.Wrap(err, "the packages once recorded cannot be read")
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		if parts := strings.Fields(s.Text()); len(parts) == 3 {
			out[parts[0]+" "+parts[1]] = parts[2]
			if parts[2] == uninstalledDigest {
				delete(out, parts[0]+" "+parts[1])
			}
		}
	}
	return out, s.Err()
}

// note remembers that a package folder was recorded. The caller holds the lock.
func (c *Catalog) note(name, version, digest string) error {
	if err := os.MkdirAll(filepath.Dir(c.seenFile()), 0o755); err != nil {
		return ErrKnown.Wrap(err, "a recorded package cannot be noted")
	}
	f, err := os.OpenFile(c.seenFile(), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return ErrKnown.Wrap(err, "a recorded package cannot be noted")
	}
	_, err = fmt.Fprintf(f, "%s %s %s\n", name, version, digest)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return ErrKnown.Wrap(err, "a recorded package cannot be noted")
	}
	return nil
}

// noteNew is note of an installed package, unless it is noted already.
func (c *Catalog) noteNew(p *Package) error {
	seen, err := c.seen()
	digest := digestOf(writeLock(p.Files))
	if err != nil || seen[p.Name+" "+p.Version] == digest {
		return err
	}
	return c.note(p.Name, p.Version, digest)
}

// digestOf is the identity of a package: the SHA-256 of its record, hexadecimal.
func digestOf(lock []byte) string {
	sum := sha256.Sum256(lock)
	return hex.EncodeToString(sum[:])
}

// changedAt is when a file or folder last changed in any way that the system notes.
func changedAt(info fs.FileInfo) time.Time {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return time.Unix(st.Ctim.Unix())
	}
	return info.ModTime()
}
