package archive

import (
	"archive/zip"
	"io/fs"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// checkName refuses every name that some system would read as another file than the one it seems to be.
func checkName(f *zip.File) error {
	fail := func(why string) error { return ErrName.New("the member %q %s", shortened(f.Name), why) }
	name := strings.TrimSuffix(f.Name, "/")
	switch {
	case name == "":
		return fail("has no name")
	case len(name) > maxNameBytes:
		return fail("has a name of more bytes than a path may have")
	case !utf8.ValidString(name):
		return fail("is not UTF-8")
	case f.NonUTF8 && strings.ContainsFunc(name, func(r rune) bool { return r >= utf8.RuneSelf }):
		return fail("does not say in which encoding it is")
	case strings.HasPrefix(name, "/"):
		return fail("begins at the root of the file system")
	case strings.ContainsRune(name, '\\'):
		return fail("has a backslash, which is a slash elsewhere")
	case strings.ContainsRune(name, ':'):
		return fail("has a colon, which names a drive or a stream elsewhere")
	case !norm.NFC.IsNormalString(name):
		return fail("spells an accent in two characters (it is not in Unicode's form NFC)")
	}
	for _, r := range name {
		if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co, unicode.Cs) {
			return fail("has a control or formatting character")
		}
	}
	parts := strings.Split(name, "/")
	if len(parts) > maxDepth {
		return fail("lies deeper than folders may")
	}
	for _, p := range parts {
		switch {
		case p == "..":
			return fail("leads out of the archive")
		case len(p) > maxComponentBytes:
			return fail("has a longer part than a file name may have")
		case strings.HasSuffix(p, " ") || strings.HasSuffix(p, ".") && p != ".":
			return fail("has a part that ends with a space or a dot, which some systems drop")
		case reserved(p):
			return fail("is the name of a device elsewhere")
		}
	}
	if !fs.ValidPath(name) || name == "." {
		return fail("is no path below a folder")
	}
	return nil
}

// reserved are the names of devices on Windows, whatever suffix follows.
func reserved(part string) bool {
	base, _, _ := strings.Cut(strings.ToUpper(part), ".")
	switch base {
	case "CON", "PRN", "AUX", "NUL":
		return true
	}
	return len(base) == 4 && (strings.HasPrefix(base, "COM") || strings.HasPrefix(base, "LPT")) && base[3] >= '1' && base[3] <= '9'
}

func shortened(name string) string {
	if len(name) > 120 {
		return name[:60] + "…" + name[len(name)-40:]
	}
	return name
}

// names finds members that would be one file: the same name, the same but for case or accents, or a file that is a folder too.
type names struct {
	fold cases.Caser
	seen map[string]seen
}

type seen struct {
	name     string // as it was spelled first
	dir      bool
	explicit bool // it is a member itself, not the folder of one
}

func newNames() *names { return &names{fold: cases.Fold(), seen: map[string]seen{}} }

// folded is what names are compared by.
func (n *names) folded(name string) string {
	return norm.NFKC.String(n.fold.String(norm.NFKC.String(name)))
}

func (n *names) add(name string, dir bool) error {
	for i := range name {
		if name[i] != '/' {
			continue
		}
		if err := n.put(name[:i], true, false); err != nil {
			return err
		}
	}
	return n.put(name, dir, true)
}

func (n *names) put(name string, dir, explicit bool) error {
	key := n.folded(name)
	have, ok := n.seen[key]
	switch {
	case !ok:
		n.seen[key] = seen{name, dir, explicit}
		return nil
	case have.name != name:
		return ErrCollision.New("%q and %q are one file where letter case or spelling don't count", shortened(have.name), shortened(name))
	case have.dir != dir:
		return ErrCollision.New("%q is a file and a folder", shortened(name))
	case have.explicit && explicit:
		return ErrCollision.New("%q is there twice", shortened(name))
	}
	have.explicit = have.explicit || explicit
	n.seen[key] = have
	return nil
}
