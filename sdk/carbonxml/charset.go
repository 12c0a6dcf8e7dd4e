package carbonxml

import (
	"bytes"
	"regexp"
	"strings"
	"unicode/utf8"
)

var declaration = regexp.MustCompile(`^<\?xml\s[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]+)["']`)

// decode gives the document as UTF-8 without a byte order mark.
func (p *parser) decode(data []byte) ([]byte, error) {
	if bytes.HasPrefix(data, []byte{0xFE, 0xFF}) || bytes.HasPrefix(data, []byte{0xFF, 0xFE}) {
		return nil, ErrXML.New("the file is UTF-16; save it as UTF-8").At(p.file, 1, 1)
	}
	data = bytes.TrimPrefix(data, []byte("\xEF\xBB\xBF"))
	name := "UTF-8"
	if m := declaration.FindSubmatch(data[:min(len(data), 256)]); m != nil {
		name = string(m[1])
	}
	switch strings.ToUpper(name) {
	case "UTF-8", "UTF8", "US-ASCII", "ASCII":
		if i := invalidUTF8(data); i >= 0 {
			line := bytes.Count(data[:i], []byte{'\n'}) + 1
			column := utf8.RuneCount(data[bytes.LastIndexByte(data[:i], '\n')+1:i]) + 1
			return nil, ErrXML.New("a byte here is no %s", strings.ToUpper(name)).At(p.file, line, column)
		}
		return data, nil
	case "ISO-8859-1", "LATIN1", "ISO8859-1", "ISO_8859-1":
		out := make([]byte, 0, len(data)+len(data)/16)
		for _, b := range data {
			out = utf8.AppendRune(out, rune(b))
		}
		return out, nil
	}
	return nil, ErrXML.New("the encoding %s is not supported; save the file as UTF-8", name).At(p.file, 1, 1)
}

// invalidUTF8 finds the first byte that is no UTF-8; -1 if there is none.
func invalidUTF8(data []byte) int {
	for i := 0; i < len(data); {
		if data[i] < utf8.RuneSelf {
			i++
			continue
		}
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}
