// Package permission decides whether granted permission paths cover an asked one. It must not know users, roles or stores.
package permission

import (
	"fmt"
	"strings"
)

// Everything is the path that grants all permissions: every permission of the product lies below it, as in Carbon.
const Everything = "/permission"

// maxLength bounds a path, so that a stored one can be shown and logged.
const maxLength = 512

// Clean gives the canonical form of a permission path: a leading slash, no trailing one. It refuses paths with empty
// segments, "." and "..", control characters, and more than 512 bytes, because two spellings of one path must not differ.
func Clean(path string) (string, error) {
	if len(path) > maxLength {
		return "", fmt.Errorf("permission path has %d bytes; at most %d are allowed", len(path), maxLength)
	}
	if !strings.HasPrefix(path, "/") {
		return "", fmt.Errorf("permission path %q does not start with /", path)
	}
	if path == "/" {
		return path, nil
	}
	clean := strings.TrimSuffix(path, "/")
	for _, segment := range strings.Split(strings.TrimPrefix(clean, "/"), "/") {
		switch segment {
		case "":
			return "", fmt.Errorf("permission path %q has an empty segment", path)
		case ".", "..":
			return "", fmt.Errorf("permission path %q has a segment %q", path, segment)
		}
		for _, r := range segment {
			if r < 0x20 || r == 0x7f {
				return "", fmt.Errorf("permission path %q has a control character", path)
			}
		}
	}
	return clean, nil
}

// Tree is a set of granted paths. A granted path grants every path below it, segment by segment: "/a/b" grants "/a/b/c"
// and not "/a/bc". The zero value grants nothing. It is not safe for concurrent changes.
type Tree struct {
	granted  bool
	children map[string]*Tree
}

// New makes a tree of the given grants. It fails on a path that Clean refuses.
func New(grants ...string) (*Tree, error) {
	t := &Tree{}
	for _, g := range grants {
		if err := t.Grant(g); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// Grant adds a path.
func (t *Tree) Grant(path string) error {
	clean, err := Clean(path)
	if err != nil {
		return err
	}
	for _, segment := range segments(clean) {
		if t.granted {
			return nil
		}
		next := t.children[segment]
		if next == nil {
			if t.children == nil {
				t.children = make(map[string]*Tree)
			}
			next = &Tree{}
			t.children[segment] = next
		}
		t = next
	}
	t.granted = true
	t.children = nil
	return nil
}

// Allows says whether a grant covers path. A path that Clean refuses is never allowed.
func (t *Tree) Allows(path string) bool {
	clean, err := Clean(path)
	if err != nil {
		return false
	}
	for _, segment := range segments(clean) {
		if t.granted {
			return true
		}
		if t = t.children[segment]; t == nil {
			return false
		}
	}
	return t.granted
}

func segments(clean string) []string {
	if clean == "/" {
		return nil
	}
	return strings.Split(clean[1:], "/")
}
