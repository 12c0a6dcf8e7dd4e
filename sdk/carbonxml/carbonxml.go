// Package carbonxml reads the XML files that operators write (carbon.xml, event receivers, sinks, scripts) into a tree in which
// every element, attribute and text knows its line and column. It refuses what no such file needs and attacks use: DOCTYPE,
// entities, processing instructions, a second root, duplicate attributes, too much of anything. It must not know what any
// element means.
package carbonxml

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"carbonado.dev/sdk/cause"
	"google.golang.org/grpc/codes"
)

// ErrXML is the kind of every error of this package. Each names file, line and column.
var ErrXML = cause.Define("CBN-SDK-010", "An XML file cannot be read.", "Correct the place that is named.").Code(codes.InvalidArgument)

// Limits bound a document. A zero field is the default's.
type Limits struct {
	// Bytes of the whole document.
	Bytes int
	// Depth of nested elements, the root included.
	Depth int
	// Elements and Attributes in the whole document.
	Elements, Attributes int
}

// DefaultLimits hold for Parse. Files of WSO2's products stay far below them.
var DefaultLimits = Limits{Bytes: 4 << 20, Depth: 64, Elements: 100_000, Attributes: 200_000}

// Pos is a place in the file. Line and Column count from 1; a column is a character, not a byte.
type Pos struct {
	File         string
	Line, Column int
}

func (p Pos) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// Name is an element's or attribute's name. Space is the namespace's URI; empty is none.
type Name struct{ Space, Local string }

// Attr is one attribute. Namespace declarations are not among an element's attributes.
type Attr struct {
	Name  Name
	Value string
	Pos   Pos
}

// Element is one element with all that is in it. It is read-only.
type Element struct {
	Name     Name
	Pos      Pos
	Attrs    []Attr
	Children []*Element
	// Text is the element's own character data, that of its children excepted, as it stands: entities resolved, space kept.
	Text string
	// TextPos is where the first character of Text that is no space stands; the element's place if there is none.
	TextPos Pos
	// Inner is the raw text between the start and the end tag, for elements whose content another reader takes.
	Inner string
}

// Parse reads a document under DefaultLimits. The file is named in errors and positions only. Encodings are UTF-8 (with or without
// a byte order mark), US-ASCII and ISO-8859-1, which WSO2's own files declare.
func Parse(file string, data []byte) (*Element, error) {
	return ParseLimits(file, data, DefaultLimits)
}

// ParseReader is Parse on a stream; it reads no more than the limit.
func ParseReader(file string, r io.Reader) (*Element, error) {
	data, err := io.ReadAll(io.LimitReader(r, int64(DefaultLimits.Bytes)+1))
	if err != nil {
		return nil, ErrXML.Wrap(err, "the file cannot be read").At(file, 0, 0)
	}
	return Parse(file, data)
}

// ParseLimits is Parse under limits of the caller's.
func ParseLimits(file string, data []byte, l Limits) (*Element, error) {
	p := &parser{file: file, limits: l.orDefault()}
	if len(data) > p.limits.Bytes {
		return nil, ErrXML.New("the file has %d bytes; the most is %d", len(data), p.limits.Bytes).At(file, 0, 0)
	}
	text, err := p.decode(data)
	if err != nil {
		return nil, err
	}
	p.text = text
	p.lines = append(p.lines, 0)
	for i, b := range text {
		if b == '\n' {
			p.lines = append(p.lines, i+1)
		}
	}
	return p.parse()
}

func (l Limits) orDefault() Limits {
	if l.Bytes == 0 {
		l.Bytes = DefaultLimits.Bytes
	}
	if l.Depth == 0 {
		l.Depth = DefaultLimits.Depth
	}
	if l.Elements == 0 {
		l.Elements = DefaultLimits.Elements
	}
	if l.Attributes == 0 {
		l.Attributes = DefaultLimits.Attributes
	}
	return l
}

// frame is an element that is open.
type frame struct {
	element *Element
	text    []byte
	begin   int // offset behind the start tag
}

type parser struct {
	file     string
	limits   Limits
	text     []byte
	lines    []int // offset of each line's first byte
	root     *Element
	open     []frame
	elements int
	attrs    int
}

func (p *parser) parse() (*Element, error) {
	dec := xml.NewDecoder(bytes.NewReader(p.text))
	dec.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil } // decode has seen to it
	for {
		start := int(dec.InputOffset())
		token, err := dec.Token()
		end := int(dec.InputOffset())
		switch {
		case errors.Is(err, io.EOF):
			if p.root == nil {
				return nil, p.refuse(start, "the file has no element")
			}
			return p.root, nil
		case err != nil:
			return nil, p.syntax(err, end)
		}
		if err := p.token(token, start, end); err != nil {
			return nil, err
		}
	}
}

func (p *parser) token(token xml.Token, start, end int) error {
	switch t := token.(type) {
	case xml.StartElement:
		return p.begin(t, start, end)
	case xml.EndElement:
		p.end(start)
	case xml.CharData:
		if len(p.open) == 0 {
			if rest := bytes.TrimSpace(t); len(rest) > 0 {
				return p.refuse(start+bytes.Index(p.text[start:], rest[:1]), "text stands outside of the root element")
			}
			return nil
		}
		f := &p.open[len(p.open)-1]
		if len(bytes.TrimSpace(f.text)) == 0 {
			if skip := p.firstInk(start, end); skip >= 0 {
				f.element.TextPos = p.at(skip)
			}
		}
		f.text = append(f.text, t...)
	case xml.Directive:
		return p.refuse(start, "a DOCTYPE or another declaration is not allowed")
	case xml.ProcInst:
		if t.Target != "xml" || start != 0 {
			return p.refuse(start, "a processing instruction (<?%s) is not allowed here", t.Target)
		}
	}
	return nil
}

// firstInk finds the first byte of character data between two offsets that is no space; -1 if there is none.
func (p *parser) firstInk(start, end int) int {
	raw := p.text[start:end]
	skip := 0
	if bytes.HasPrefix(raw, []byte("<![CDATA[")) {
		skip = len("<![CDATA[")
		raw = bytes.TrimSuffix(raw, []byte("]]>"))
	}
	for i := skip; i < len(raw); i++ {
		if !isSpace(raw[i]) {
			return start + i
		}
	}
	return -1
}

func (p *parser) begin(t xml.StartElement, start, end int) error {
	if len(p.open) == 0 && p.root != nil {
		return p.refuse(start, "a second root element <%s> begins here", t.Name.Local)
	}
	if p.elements++; p.elements > p.limits.Elements {
		return p.refuse(start, "the file has more than %d elements", p.limits.Elements)
	}
	if len(p.open) >= p.limits.Depth {
		return p.refuse(start, "elements are nested more than %d deep", p.limits.Depth)
	}
	if p.attrs += len(t.Attr); p.attrs > p.limits.Attributes {
		return p.refuse(start, "the file has more than %d attributes", p.limits.Attributes)
	}
	e := &Element{Name: Name(t.Name), Pos: p.at(start), TextPos: p.at(start)}
	if err := p.attributes(e, t.Attr, start, end); err != nil {
		return err
	}
	if len(p.open) == 0 {
		p.root = e
	} else {
		parent := p.open[len(p.open)-1].element
		parent.Children = append(parent.Children, e)
	}
	p.open = append(p.open, frame{element: e, begin: end})
	return nil
}

func (p *parser) end(start int) {
	f := p.open[len(p.open)-1]
	p.open = p.open[:len(p.open)-1]
	f.element.Text = string(f.text)
	if start > f.begin {
		f.element.Inner = string(p.text[f.begin:start])
	}
}

// attributes puts places to the attributes of a start tag, whose text lies between two offsets, and refuses a name that
// stands twice. The tag is well-formed: the decoder has read it.
func (p *parser) attributes(e *Element, attrs []xml.Attr, start, end int) error {
	offsets := attributeOffsets(p.text[start:end])
	seen := make(map[xml.Name]bool, len(attrs))
	for i, a := range attrs {
		at := start
		if i < len(offsets) {
			at = start + offsets[i]
		}
		if seen[a.Name] {
			return p.refuse(at, "the attribute %s stands twice in <%s>", a.Name.Local, e.Name.Local)
		}
		seen[a.Name] = true
		if a.Name.Space == "xmlns" || a.Name.Space == "" && a.Name.Local == "xmlns" {
			continue
		}
		e.Attrs = append(e.Attrs, Attr{Name: Name(a.Name), Value: a.Value, Pos: p.at(at)})
	}
	return nil
}

// attributeOffsets finds where each attribute's name begins in the text of a start tag.
func attributeOffsets(tag []byte) []int {
	var out []int
	i := 1
	for i < len(tag) && !isSpace(tag[i]) && tag[i] != '>' && tag[i] != '/' {
		i++
	}
	for i < len(tag) {
		for i < len(tag) && (isSpace(tag[i]) || tag[i] == '/') {
			i++
		}
		if i >= len(tag) || tag[i] == '>' {
			break
		}
		out = append(out, i)
		for i < len(tag) && tag[i] != '=' {
			i++
		}
		for i < len(tag) && tag[i] != '"' && tag[i] != '\'' {
			i++
		}
		if i >= len(tag) {
			break
		}
		quote := tag[i]
		for i++; i < len(tag) && tag[i] != quote; i++ {
		}
		i++
	}
	return out
}

func isSpace(b byte) bool { return b == ' ' || b == '\t' || b == '\n' || b == '\r' }

// at turns an offset into a place.
func (p *parser) at(offset int) Pos {
	offset = min(max(offset, 0), len(p.text))
	low, high := 0, len(p.lines)
	for high-low > 1 {
		if mid := (low + high) / 2; p.lines[mid] <= offset {
			low = mid
		} else {
			high = mid
		}
	}
	return Pos{p.file, low + 1, utf8.RuneCount(p.text[p.lines[low]:offset]) + 1}
}

func (p *parser) refuse(offset int, format string, args ...any) error {
	at := p.at(offset)
	return ErrXML.New(format, args...).At(at.File, at.Line, at.Column)
}

// syntax gives the decoder's message a place and words for the commonest mistakes.
func (p *parser) syntax(err error, offset int) error {
	at := p.at(offset)
	var se *xml.SyntaxError
	if !errors.As(err, &se) {
		return ErrXML.New("%s", strings.TrimPrefix(err.Error(), "xml: ")).At(p.file, at.Line, at.Column)
	}
	text := se.Msg
	switch {
	case strings.HasPrefix(text, "invalid character entity"):
		text = "the entity " + strings.TrimPrefix(text, "invalid character entity ") + " is not allowed; only &lt; &gt; &amp; &quot; &apos; and numbers are"
	case text == "unexpected EOF" && len(p.open) > 0:
		e := p.open[len(p.open)-1].element
		text = fmt.Sprintf("the file ends before <%s> of line %d is closed", e.Name.Local, e.Pos.Line)
	}
	return ErrXML.New("%s", text).At(p.file, at.Line, at.Column)
}
