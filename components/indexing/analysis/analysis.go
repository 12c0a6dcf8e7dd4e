// Package analysis turns text into words as Lucene's StandardAnalyzer does: UAX #29 words, lower case, at most 255 characters
// each. It must not know fields or documents.
package analysis

import (
	"unicode"
	"unicode/utf8"
)

// MaxWord is the greatest length of a word in UTF-16 units; longer ones are cut into several.
const MaxWord = 255

// English are the words that Lucene's StandardAnalyzer left out up to version 7, and so DAS.
var English = []string{"a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no", "not", "of",
	"on", "or", "such", "that", "the", "their", "then", "there", "these", "they", "this", "to", "was", "will", "with"}

// Analyzer walks the words of one text at a time. Not safe for concurrent use.
type Analyzer struct {
	stop map[string]struct{}

	text  []byte // ASCII texts
	at    int
	lower []byte
	pos   uint32

	words [][]byte // other texts, already in words
	parts [][]byte
	types []int
	slow  bool
	next  int
	rest  []byte // of a word that is too long
}

// New makes an analyzer that leaves the stop words out; their positions stay.
func New(stop []string) *Analyzer {
	a := &Analyzer{}
	if len(stop) > 0 {
		a.stop = make(map[string]struct{}, len(stop))
		for _, w := range stop {
			a.stop[w] = struct{}{}
		}
	}
	return a
}

// class of an ASCII byte.
const (
	other    = iota
	letter   // A-Z a-z
	digit    // 0-9
	joiner   // _
	midWord  // : between letters
	midNum   // , ; between digits
	midBoth  // . ' between letters or digits
	nonASCII // not the table's business
)

var classes = func() (t [256]byte) {
	for c := range t {
		switch {
		case c >= utf8.RuneSelf:
			t[c] = nonASCII
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			t[c] = letter
		case c >= '0' && c <= '9':
			t[c] = digit
		}
	}
	t['_'], t[':'], t[','], t[';'], t['.'], t['\''] = joiner, midWord, midNum, midNum, midBoth, midBoth
	return t
}()

var lowered = func() (t [256]byte) {
	for c := range t {
		t[c] = byte(c)
		if c >= 'A' && c <= 'Z' {
			t[c] = byte(c) + 'a' - 'A'
		}
	}
	return t
}()

// Reset starts a new text, which must not change while its words are walked.
func (a *Analyzer) Reset(text []byte) {
	a.text, a.at, a.pos, a.rest, a.slow = text, 0, 0, nil, false
	for _, c := range text {
		if c >= utf8.RuneSelf {
			a.split(text)
			return
		}
	}
}

// Next returns the next word and its position, which counts from 0. The word is valid until the next call.
func (a *Analyzer) Next() (word []byte, pos uint32, ok bool) {
	for {
		if a.slow || a.rest != nil {
			word, ok = a.nextSlow()
		} else {
			word, ok = a.nextASCII()
		}
		if !ok {
			return nil, 0, false
		}
		pos = a.pos
		a.pos++
		if a.stop != nil {
			if _, leave := a.stop[string(word)]; leave {
				continue
			}
		}
		return word, pos, true
	}
}

func (a *Analyzer) nextASCII() ([]byte, bool) {
	t := a.text
	i := a.at
	for i < len(t) {
		for i < len(t) && (classes[t[i]] == other || classes[t[i]] > joiner) {
			i++
		}
		start, real := i, false
		for i < len(t) {
			c := classes[t[i]]
			if c == letter || c == digit {
				real = true
			} else if c != joiner {
				// A mark in the middle joins only between two of its kind.
				if c < midWord || i+1 >= len(t) || i == start {
					break
				}
				before, after := classes[t[i-1]], classes[t[i+1]]
				if before != after || !(before == letter && c != midNum || before == digit && c != midWord) {
					break
				}
			}
			i++
		}
		if !real {
			continue
		}
		a.lower = a.lower[:0]
		for _, c := range t[start:i] {
			a.lower = append(a.lower, lowered[c])
		}
		a.at = i
		if len(a.lower) > MaxWord {
			a.rest = a.lower[MaxWord:]
			return a.lower[:MaxWord], true
		}
		return a.lower, true
	}
	a.at = i
	return nil, false
}

func (a *Analyzer) nextSlow() ([]byte, bool) {
	if a.rest != nil {
		n, units := 0, 0
		for n < len(a.rest) {
			r, size := utf8.DecodeRune(a.rest[n:])
			u := 1
			if r > 0xffff {
				u = 2
			}
			if units+u > MaxWord {
				word := a.rest[:n]
				a.rest = a.rest[n:]
				return word, true
			}
			n, units = n+size, units+u
		}
		word := a.rest
		a.rest = nil
		return word, true
	}
	if a.next == len(a.words) {
		return nil, false
	}
	a.lower = Lower(a.lower[:0], a.words[a.next])
	a.next++
	if len(a.lower) > MaxWord {
		a.rest = a.lower
		return a.nextSlow()
	}
	return a.lower, true
}

// Lower appends text to dst with each character in lower case.
func Lower(dst, text []byte) []byte {
	for i := 0; i < len(text); {
		if c := text[i]; c < utf8.RuneSelf {
			dst = append(dst, lowered[c])
			i++
			continue
		}
		r, size := utf8.DecodeRune(text[i:])
		dst = utf8.AppendRune(dst, unicode.ToLower(r))
		i += size
	}
	return dst
}

// MaxKeyword is the greatest length of an untokenised value in characters.
const MaxKeyword = 1000

// Keyword cuts an untokenised value to MaxKeyword characters.
func Keyword(v []byte) []byte {
	if len(v) <= MaxKeyword {
		return v
	}
	n, i := 0, 0
	for i < len(v) && n < MaxKeyword {
		_, size := utf8.DecodeRune(v[i:])
		i += size
		n++
	}
	return v[:i]
}
