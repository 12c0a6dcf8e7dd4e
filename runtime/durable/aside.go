package durable

import (
	"os"
	"time"
)

// SetAside renames a damaged file, so that it can be looked at while a new one takes its place, and answers its new name. now marks it.
func SetAside(root *os.Root, name string, now time.Time) (kept string, err error) {
	kept = name + ".damaged-" + now.UTC().Format("20060102T150405.000")
	return kept, root.Rename(name, kept)
}
