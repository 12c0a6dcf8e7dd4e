package analysis

import (
	"bytes"
	"unicode"
	"unicode/utf8"

	"github.com/blevesearch/segment"
)

// complexScripts are those whose words can't be told without a dictionary (line-break class SA): Lucene takes a run of their
// characters as one word.
var complexScripts = []*unicode.RangeTable{unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar, unicode.Tai_Le, unicode.New_Tai_Lue,
	unicode.Tai_Tham, unicode.Tai_Viet, unicode.Ahom}

func complexScript(r rune) bool {
	return r >= 0x0e00 && unicode.In(r, complexScripts...) && (unicode.IsLetter(r) || unicode.IsMark(r))
}

// split cuts a text into words by UAX #29.
func (a *Analyzer) split(text []byte) {
	a.slow, a.next, a.words = true, 0, a.words[:0]
	// The segmenter calls damage what is not UTF-8; such bytes become U+FFFD, which belongs to no word.
	if !utf8.Valid(text) {
		text = []byte(string([]rune(string(text))))
	}
	var err error
	a.parts, a.types, _, err = segment.SegmentWordsDirect(plainDigits(text), a.parts[:0], a.types[:0])
	if err != nil {
		return
	}
	at, run := 0, false // run: the last word ends here and is of a complex script
	for i, part := range a.parts {
		w := text[at : at+len(part)]
		at += len(part)
		first, _ := utf8.DecodeRune(w)
		switch {
		case complexScript(first), run && unicode.In(first, unicode.Mn, unicode.Me, unicode.Cf):
			if run {
				last := len(a.words) - 1
				a.words[last] = text[at-len(w)-len(a.words[last]) : at]
			} else {
				a.words = append(a.words, w)
			}
			run = true
			continue
		case a.types[i] != segment.None && !(unicode.Is(unicode.Pc, first) && !hasSubstance(w)):
			a.words = append(a.words, w)
		}
		run = false
	}
}

// hasSubstance tells whether anything in a word is more than a joiner.
func hasSubstance(w []byte) bool {
	return bytes.ContainsFunc(w, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) })
}

// plainDigits puts other digits of as many bytes in the place of fullwidth ones, which the segmenter's tables (Unicode 8) do
// not take as digits.
func plainDigits(text []byte) []byte {
	if !bytes.Contains(text, []byte("\xef\xbc")) {
		return text
	}
	out := bytes.Clone(text)
	for i := 0; i+2 < len(out); i++ {
		if out[i] == 0xef && out[i+1] == 0xbc && out[i+2] >= 0x90 && out[i+2] <= 0x99 {
			utf8.AppendRune(out[:i], '\u0966'+rune(out[i+2]-0x90))
		}
	}
	return out
}
