package lucene

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"carbonado.dev/carbonado/components/indexing/analysis"
	"carbonado.dev/carbonado/components/indexing/column"
	"carbonado.dev/carbonado/components/indexing/query"
)

// target is a field that a value is read for.
type target struct {
	p    *parser
	name string
	typ  Type
	at   int
}

func (f target) wrong(text, wanted string) error {
	return ErrValue.New("%q is not %s, as field %s needs", text, wanted, f.name).At("query", 1, f.p.lex.column(f.at))
}

func (f target) build(t, edits token) (query.Node, error) {
	if t.kind == star {
		return query.Exists{Field: f.name, Kind: kindOf(f.typ), Boost: 1}, nil
	}
	if t.kind != term && t.kind != quoted {
		return f.pattern(t)
	}
	text, err := f.p.lex.unescape(t.text, t.at)
	if err != nil {
		return nil, err
	}
	if f.typ >= Integer {
		if edits.kind == tilde {
			return nil, f.p.lex.fail(edits.at, "~ means nothing after a number")
		}
		v, err := f.number(text)
		return query.Range{Field: f.name, Kind: kindOf(f.typ), Lo: v, Hi: v, Boost: 1}, err
	}
	if edits.kind == tilde && t.kind == term {
		return f.fuzzy(text, edits)
	}
	switch f.typ {
	case Boolean:
		text = strings.ToLower(text)
		if text != "true" && text != "false" {
			return nil, f.wrong(text, "true or false")
		}
		fallthrough
	case Keyword:
		return query.Term{Field: f.name, Kind: kindOf(f.typ), Text: string(analysis.Keyword([]byte(text))), Boost: 1}, nil
	}
	return f.words(text, t.kind == quoted, edits)
}

// words analyses a text: one word is a term, several are a phrase in quotes and alternatives without, none is nothing.
func (f target) words(text string, phrase bool, slop token) (query.Node, error) {
	var found []query.PhraseTerm
	f.p.analyzer.Reset([]byte(text))
	for {
		w, at, ok := f.p.analyzer.Next()
		if !ok {
			break
		}
		found = append(found, query.PhraseTerm{Text: string(w), At: at})
	}
	if f.p.clauses += len(found); f.p.clauses > maxClauses {
		return nil, ErrLimit.New("the query has more than %d clauses", maxClauses)
	}
	switch {
	case len(found) == 0:
		return nil, nil
	case len(found) == 1:
		return query.Term{Field: f.name, Kind: kindOf(f.typ), Text: found[0].Text, Boost: 1}, nil
	case phrase:
		n := query.Phrase{Field: f.name, Terms: found, Boost: 1}
		if slop.kind == tilde && slop.text != "" {
			s, err := strconv.ParseFloat(slop.text, 64)
			if err != nil || s > 1<<20 {
				return nil, f.p.lex.fail(slop.at, "~%s is no slop", slop.text)
			}
			n.Slop = int(s)
		}
		first := found[0].At
		for i := range n.Terms {
			n.Terms[i].At -= first
		}
		return n, nil
	}
	b := query.Bool{Boost: 1}
	for _, w := range found {
		b.Clauses = append(b.Clauses, query.Clause{Node: query.Term{Field: f.name, Kind: kindOf(f.typ), Text: w.Text, Boost: 1}})
	}
	return b, nil
}

// folded is a pattern's text as the field's terms are written: lower case where they are analysed.
func (f target) folded(s string) string {
	if f.typ == String {
		return string(analysis.Lower(nil, []byte(s)))
	}
	return s
}

func (f target) pattern(t token) (query.Node, error) {
	if f.typ >= Integer {
		return nil, f.wrong(t.text, "a number")
	}
	n := query.Pattern{Field: f.name, Kind: kindOf(f.typ), Boost: 1}
	switch t.kind {
	case prefix:
		text, err := f.p.lex.unescape(strings.TrimSuffix(t.text, "*"), t.at)
		if err != nil {
			return nil, err
		}
		n.Match, n.Text = query.Prefix, f.folded(text)
	case wild:
		if c := t.text[0]; (c == '*' || c == '?') && !f.p.opts.AllowLeadingWildcard {
			return nil, ErrLeadingWildcard.New("%q starts with %q", t.text, string(c)).At("query", 1, f.p.lex.column(t.at))
		}
		n.Match, n.Text = query.Wildcard, f.folded(t.text)
	case regexp:
		n.Match, n.Text = query.Regexp, t.text
		if f.typ == String {
			n.Text = lowerRegexp(t.text)
		}
		n.Text = strings.ReplaceAll(n.Text, `\/`, `/`)
		if err := checkRegexp(n.Text); err != nil {
			return nil, f.p.lex.fail(t.at, "regular expression: %v", err)
		}
	}
	return n, nil
}

// lowerRegexp lowers all but what follows a backslash, which may name a class.
func lowerRegexp(s string) string {
	var b []byte
	for i := 0; i < len(s); {
		_, n := utf8.DecodeRuneInString(s[i:])
		if s[i] == '\\' && i+1 < len(s) {
			_, m := utf8.DecodeRuneInString(s[i+1:])
			b = append(b, s[i:i+1+m]...)
			i += 1 + m
			continue
		}
		b = analysis.Lower(b, []byte(s[i:i+n]))
		i += n
	}
	return string(b)
}

// fuzzy reads ~, ~n (edits) and ~0.x (Lucene's old similarity).
func (f target) fuzzy(text string, t token) (query.Node, error) {
	text = f.folded(text)
	edits := maxEdits
	if t.text != "" {
		s, err := strconv.ParseFloat(t.text, 64)
		switch {
		case err != nil, s >= 1 && s != math.Trunc(s):
			return nil, f.p.lex.fail(t.at, "~%s is neither a number of edits nor a similarity below 1", t.text)
		case s >= 1:
			edits = min(int(s), maxEdits)
		case s > 0:
			edits = min(int((1-s)*float64(utf8.RuneCountInString(text))), maxEdits)
		default:
			edits = 0
		}
	}
	if edits == 0 {
		return query.Term{Field: f.name, Kind: kindOf(f.typ), Text: text, Boost: 1}, nil
	}
	return query.Pattern{Field: f.name, Kind: kindOf(f.typ), Match: query.Fuzzy, Text: text, Edits: edits, Boost: 1}, nil
}

func (f target) between(lo, hi bound, includeLo, includeHi bool) (query.Node, error) {
	if f.typ < Integer {
		n := query.TermRange{Field: f.name, Kind: kindOf(f.typ), IncludeLo: includeLo, IncludeHi: includeHi, Boost: 1}
		if !lo.open {
			s := f.folded(lo.text)
			n.Lo = &s
		}
		if !hi.open {
			s := f.folded(hi.text)
			n.Hi = &s
		}
		return n, nil
	}
	n := query.Range{Field: f.name, Kind: kindOf(f.typ), Lo: math.MinInt64, Hi: math.MaxInt64, Boost: 1}
	if !lo.open {
		f.at = lo.at
		v, err := f.number(lo.text)
		if err != nil {
			return nil, err
		}
		if n.Lo = v; !includeLo {
			if v == math.MaxInt64 {
				return query.None{}, nil
			}
			n.Lo = v + 1
		}
	}
	if !hi.open {
		f.at = hi.at
		v, err := f.number(hi.text)
		if err != nil {
			return nil, err
		}
		if n.Hi = v; !includeHi {
			if v == math.MinInt64 {
				return query.None{}, nil
			}
			n.Hi = v - 1
		}
	}
	if n.Lo > n.Hi {
		return query.None{}, nil
	}
	return n, nil
}

// number reads a value of a numeric field, in the numbers of package column.
func (f target) number(text string) (int64, error) {
	switch f.typ {
	case Float:
		v, err := strconv.ParseFloat(text, 32)
		if err != nil {
			return 0, f.wrong(text, "a number")
		}
		return column.OfFloat32(float32(v)), nil
	case Double:
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return 0, f.wrong(text, "a number")
		}
		return column.OfFloat64(v), nil
	case Long:
		if v, err := strconv.ParseInt(text, 10, 64); err == nil {
			return v, nil
		}
		if t, ok := date(text, f.p.opts.Location); ok {
			return t.UnixMilli(), nil
		}
		return 0, f.wrong(text, "an integer or a date")
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, f.wrong(text, "an integer")
	}
	return v, nil
}

// date reads DAS's three forms.
func date(s string, local *time.Location) (time.Time, bool) {
	s = strings.TrimSpace(s)
	for _, layout := range []string{"2006-01-02", "2006-01-02 15:04:05"} {
		if t, err := time.ParseInLocation(layout, s, local); err == nil {
			return t, true
		}
	}
	const clock = len("2006-01-02 15:04:05")
	if len(s) < clock+2 || s[clock] != ' ' {
		return time.Time{}, false
	}
	zone, ok := zoneOf(s[clock+1:])
	if !ok {
		return time.Time{}, false
	}
	t, err := time.ParseInLocation("2006-01-02 15:04:05", s[:clock], zone)
	return t, err == nil
}

// Offsets in hours of the abbreviations that Java's SimpleDateFormat and people in the United States and Europe write.
var zones = map[string]float64{"UTC": 0, "GMT": 0, "Z": 0, "UT": 0, "WET": 0, "CET": 1, "CEST": 2, "EET": 2, "EEST": 3, "MSK": 3,
	"EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7, "IST": 5.5, "JST": 9, "SGT": 8}

// zoneOf reads an abbreviation, an IANA name, GMT+hh:mm or +hhmm.
func zoneOf(s string) (*time.Location, bool) {
	if h, ok := zones[strings.ToUpper(s)]; ok {
		return time.FixedZone(s, int(h*3600)), true
	}
	o := strings.TrimPrefix(strings.TrimPrefix(strings.ToUpper(s), "GMT"), "UTC")
	for _, layout := range []string{"-07:00", "-0700", "-07"} {
		if t, err := time.Parse(layout, o); err == nil {
			_, off := t.Zone()
			return time.FixedZone(s, off), true
		}
	}
	if !strings.Contains(s, "/") {
		return nil, false
	}
	l, err := time.LoadLocation(s)
	return l, err == nil
}
