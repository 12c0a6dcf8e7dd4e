package catalog

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"carbonado.dev/carbonado/runtime/durable"
	"carbonado.dev/sdk/cause"
)

// ErrKnown is the kind of trouble with the file of names once installed.
var ErrKnown = cause.Define("CBN-PKG-010", "The file of component names once installed cannot be used.",
	"Check repository/data/kernel/known-names and its permissions.")

// Known lists the names of components that are or once were installed, by name: a flag that names one of them is no mistake.
func (c *Catalog) Known() ([]string, error) {
	data, err := os.ReadFile(c.known)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, ErrKnown.Wrap(err, "the names cannot be read")
	}
	var names []string
	for line := range strings.Lines(string(data)) {
		if n := strings.TrimSpace(line); namePattern.MatchString(n) {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// Remember adds names to those once installed. The file is replaced as a whole; nothing is written where all are known.
func (c *Catalog) Remember(names ...string) error {
	known, err := c.Known()
	if err != nil {
		return err
	}
	all := slices.Compact(slices.Sorted(slices.Values(slices.Concat(known, names))))
	if len(all) == len(known) {
		return nil
	}
	dir, name := filepath.Split(c.known)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return ErrKnown.Wrap(err, "the names cannot be written")
	}
	root, err := os.OpenRoot(dir)
	if err == nil {
		err = errors.Join(durable.Write(root, name, []byte(strings.Join(all, "\n")+"\n"), 0o644), root.Close())
	}
	if err != nil {
		return ErrKnown.Wrap(err, "the names cannot be written")
	}
	return nil
}
