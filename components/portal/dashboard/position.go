package dashboard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"carbonado.dev/sdk/cause"
)

// maxDepth bounds how deep objects and arrays may lie in each other.
const maxDepth = 32

// positions knows where the values of a JSON text begin, by path: "pages[0].gadgets[2].chart".
type positions struct {
	text   []byte
	starts map[string]int64
}

// locate walks a JSON text and refuses what encoding/json would let pass: two keys that it takes for one, more than one
// value, and depths that only an attacker writes.
func locate(text []byte) (*positions, *cause.Error) {
	p := &positions{text: text, starts: map[string]int64{}}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := p.value(d, "", 0); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, p.at(d.InputOffset(), ErrDefinition.New("there is something after the JSON object"))
	}
	return p, nil
}

func (p *positions) value(d *json.Decoder, path string, depth int) *cause.Error {
	if depth > maxDepth {
		return p.at(d.InputOffset(), ErrDefinition.New("%s lies deeper than %d levels", path, maxDepth))
	}
	begin := d.InputOffset()
	token, err := d.Token()
	if err != nil {
		return p.syntax(d, err)
	}
	// The decoder stands behind the last token: blanks, comma and colon lie before the value.
	for begin < int64(len(p.text)) && bytes.IndexByte([]byte(" \t\r\n,:"), p.text[begin]) >= 0 {
		begin++
	}
	p.starts[path] = begin
	switch token {
	case json.Delim('{'):
		return p.object(d, path, depth)
	case json.Delim('['):
		for i := 0; d.More(); i++ {
			if err := p.value(d, path+"["+strconv.Itoa(i)+"]", depth+1); err != nil {
				return err
			}
		}
		if _, err := d.Token(); err != nil {
			return p.syntax(d, err)
		}
	}
	return nil
}

func (p *positions) object(d *json.Decoder, path string, depth int) *cause.Error {
	seen := map[string]bool{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return p.syntax(d, err)
		}
		key, _ := token.(string)
		folded := strings.ToLower(key)
		if seen[folded] {
			return p.at(d.InputOffset(), ErrDefinition.New("the key %q stands twice in %s", key, orRoot(path)))
		}
		seen[folded] = true
		if err := p.value(d, strings.TrimPrefix(path+"."+key, "."), depth+1); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return p.syntax(d, err)
	}
	return nil
}

func (p *positions) syntax(d *json.Decoder, err error) *cause.Error {
	offset := d.InputOffset()
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		offset = syntax.Offset
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return p.at(int64(len(p.text)), ErrDefinition.New("the JSON text ends too early"))
	}
	return p.at(offset, ErrDefinition.New("no JSON: %s", err))
}

// at says on which line and column the byte at offset stands.
func (p *positions) at(offset int64, e *cause.Error) *cause.Error {
	before := p.text[:max(0, min(offset, int64(len(p.text))))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := len(before) - bytes.LastIndexByte(before, '\n')
	return e.At("", line, column)
}

// wrong makes an error about the value at a path, or about the nearest one above that is there.
func (p *positions) wrong(path, format string, args ...any) *cause.Error {
	e := ErrDefinition.New("%s: %s", orRoot(path), fmt.Sprintf(format, args...))
	for near := path; ; {
		if offset, ok := p.starts[near]; ok {
			return p.at(offset, e)
		}
		cut := strings.LastIndexAny(near, ".[")
		if cut < 0 {
			return p.at(p.starts[""], e)
		}
		near = near[:cut]
	}
}

func orRoot(path string) string {
	if path == "" {
		return "the dashboard"
	}
	return path
}
