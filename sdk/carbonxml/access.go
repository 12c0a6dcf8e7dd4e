package carbonxml

import (
	"strings"

	"carbonado.dev/sdk/cause"
)

// Child gives the first child element of a local name; nil if there is none. It may be called on nil, so that paths can be
// followed without a check at each step.
func (e *Element) Child(local string) *Element {
	if e == nil {
		return nil
	}
	for _, c := range e.Children {
		if c.Name.Local == local {
			return c
		}
	}
	return nil
}

// All gives the child elements of a local name, in order.
func (e *Element) All(local string) []*Element {
	if e == nil {
		return nil
	}
	var out []*Element
	for _, c := range e.Children {
		if c.Name.Local == local {
			out = append(out, c)
		}
	}
	return out
}

// Path follows child names separated by slashes: Path("Ports/Offset"). It gives nil where one is missing.
func (e *Element) Path(path string) *Element {
	for _, local := range strings.Split(path, "/") {
		e = e.Child(local)
	}
	return e
}

// Attr gives an attribute by its local name, whatever its namespace.
func (e *Element) Attr(local string) (Attr, bool) {
	if e == nil {
		return Attr{}, false
	}
	for _, a := range e.Attrs {
		if a.Name.Local == local {
			return a, true
		}
	}
	return Attr{}, false
}

// Value gives the element's text without the space around it; empty on nil.
func (e *Element) Value() string {
	if e == nil {
		return ""
	}
	return strings.TrimSpace(e.Text)
}

// Errorf makes an error of a kind at the element's place.
func (e *Element) Errorf(kind *cause.Kind, format string, args ...any) *cause.Error {
	return kind.New(format, args...).At(e.Pos.File, e.Pos.Line, e.Pos.Column)
}

// Errorf makes an error of a kind at the attribute's place.
func (a Attr) Errorf(kind *cause.Kind, format string, args ...any) *cause.Error {
	return kind.New(format, args...).At(a.Pos.File, a.Pos.Line, a.Pos.Column)
}
