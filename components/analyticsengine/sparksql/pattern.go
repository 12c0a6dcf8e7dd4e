package sparksql

import "strings"

// PatternField is one field of a date pattern of Java, or literal text.
type PatternField struct {
	// Letter is the pattern letter, 0 for literal text.
	Letter byte
	// Count is how often the letter stands.
	Count int
	// Text of a literal.
	Text string
}

// patternLetters are those of SimpleDateFormat that run here.
const patternLetters = "yMdHhkKmsSaEDuzZX"

// ParsePattern reads a pattern of java.text.SimpleDateFormat. A letter that is not run is named in the second result.
func ParsePattern(p string) ([]PatternField, string) {
	var out []PatternField
	literal := func(s string) {
		if n := len(out); n > 0 && out[n-1].Letter == 0 {
			out[n-1].Text += s
			return
		}
		out = append(out, PatternField{Text: s})
	}
	for i := 0; i < len(p); {
		c := p[i]
		switch {
		case c == '\'':
			end := strings.IndexByte(p[i+1:], '\'')
			if end < 0 {
				return nil, "the date pattern has a quote without end"
			}
			if end == 0 {
				literal("'")
			} else {
				literal(p[i+1 : i+1+end])
			}
			i += end + 2
			// A doubled quote within quotes is one quote.
			for i < len(p) && p[i] == '\'' && end > 0 {
				next := strings.IndexByte(p[i+1:], '\'')
				if next < 0 {
					return nil, "the date pattern has a quote without end"
				}
				literal("'" + p[i+1:i+1+next])
				i += next + 2
			}
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			if strings.IndexByte(patternLetters, c) < 0 {
				return nil, "the date pattern letter " + string(rune(c)) + " is refused; " + patternLetters + " run"
			}
			n := 1
			for i+n < len(p) && p[i+n] == c {
				n++
			}
			out = append(out, PatternField{Letter: c, Count: n})
			i += n
		default:
			literal(string(rune(c)))
			if c >= 0x80 {
				// Bytes of UTF-8 go through unchanged.
				out[len(out)-1].Text = out[len(out)-1].Text[:len(out[len(out)-1].Text)-len(string(rune(c)))] + string([]byte{c})
			}
			i++
		}
	}
	return out, ""
}

// pattern checks a date pattern literal.
func pattern(p string) (string, string) {
	_, why := ParsePattern(p)
	return p, why
}
