package duck

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"carbonado.dev/carbonado/components/analyticsengine/sparksql"
)

// formatTime writes a time by a pattern of java.text.SimpleDateFormat (English names).
func formatTime(t time.Time, pattern string) (string, error) {
	fields, why := sparksql.ParsePattern(pattern)
	if why != "" {
		return "", fmt.Errorf("%s", why)
	}
	var b strings.Builder
	for _, f := range fields {
		writeField(&b, t, f)
	}
	return b.String(), nil
}

func writeField(b *strings.Builder, t time.Time, f sparksql.PatternField) {
	pad := func(n int) {
		s := strconv.Itoa(n)
		b.WriteString(strings.Repeat("0", max(0, f.Count-len(s))))
		b.WriteString(s)
	}
	switch f.Letter {
	case 0:
		b.WriteString(f.Text)
	case 'y':
		if f.Count == 2 {
			fmt.Fprintf(b, "%02d", t.Year()%100)
		} else {
			pad(t.Year())
		}
	case 'M':
		switch {
		case f.Count >= 4:
			b.WriteString(t.Month().String())
		case f.Count == 3:
			b.WriteString(t.Month().String()[:3])
		default:
			pad(int(t.Month()))
		}
	case 'd':
		pad(t.Day())
	case 'D':
		pad(t.YearDay())
	case 'H':
		pad(t.Hour())
	case 'k':
		pad((t.Hour()+23)%24 + 1)
	case 'h':
		pad((t.Hour()+11)%12 + 1)
	case 'K':
		pad(t.Hour() % 12)
	case 'm':
		pad(t.Minute())
	case 's':
		pad(t.Second())
	case 'S':
		pad(t.Nanosecond() / 1_000_000)
	case 'a':
		if t.Hour() < 12 {
			b.WriteString("AM")
		} else {
			b.WriteString("PM")
		}
	case 'E':
		if f.Count >= 4 {
			b.WriteString(t.Weekday().String())
		} else {
			b.WriteString(t.Weekday().String()[:3])
		}
	case 'u':
		pad((int(t.Weekday())+6)%7 + 1)
	case 'z':
		name, _ := t.Zone()
		b.WriteString(name)
	case 'Z':
		b.WriteString(t.Format("-0700"))
	case 'X':
		switch f.Count {
		case 1:
			b.WriteString(t.Format("Z07"))
		case 2:
			b.WriteString(t.Format("Z0700"))
		default:
			b.WriteString(t.Format("Z07:00"))
		}
	}
}

// parsed is what a pattern found in a text.
type parsed struct {
	year, month, day, yearDay int
	hour, minute, second      int
	milli                     int
	half                      int // 0 unknown, 1 AM, 2 PM
	hour12                    bool
	zone                      *time.Location
}

// parseTime reads a text by a pattern of SimpleDateFormat, leniently as Java does for numbers out of range. What follows the
// pattern's match is ignored. The second result is false if the text doesn't fit.
func parseTime(text, pattern string, zone *time.Location) (time.Time, bool) {
	fields, why := sparksql.ParsePattern(pattern)
	if why != "" {
		return time.Time{}, false
	}
	p := parsed{year: 1970, month: 1, day: 1, zone: zone}
	for i, f := range fields {
		rest, ok := p.read(text, f, i+1 < len(fields) && isNumeric(fields[i+1]))
		if !ok {
			return time.Time{}, false
		}
		text = rest
	}
	if p.hour12 && p.half == 2 {
		p.hour += 12
	}
	if p.yearDay > 0 {
		p.month, p.day = 1, p.yearDay
	}
	return time.Date(p.year, time.Month(p.month), p.day, p.hour, p.minute, p.second, p.milli*1_000_000, p.zone), true
}

func isNumeric(f sparksql.PatternField) bool {
	switch f.Letter {
	case 0, 'a', 'E', 'z', 'Z', 'X':
		return false
	case 'M':
		return f.Count < 3
	}
	return true
}

// read takes one field from the front of a text. Before another number a field is exactly as wide as its letters.
func (p *parsed) read(text string, f sparksql.PatternField, adjacent bool) (string, bool) {
	if f.Letter == 0 {
		return strings.CutPrefix(text, f.Text)
	}
	text = strings.TrimLeft(text, " \t")
	if !isNumeric(f) {
		return p.readName(text, f)
	}
	width := len(text)
	if adjacent {
		width = f.Count
	}
	n := 0
	for n < len(text) && n < width && text[n] >= '0' && text[n] <= '9' {
		n++
	}
	v, err := strconv.Atoi(text[:n])
	if err != nil || v > 1_000_000_000 {
		return "", false
	}
	p.set(f, v, n)
	return text[n:], true
}

func (p *parsed) set(f sparksql.PatternField, v, digits int) {
	switch f.Letter {
	case 'y':
		if f.Count == 2 && digits == 2 {
			// Java: within 80 years before and 20 after the present.
			century := (time.Now().Year() + 20) / 100 * 100
			if v+century > time.Now().Year()+20 {
				century -= 100
			}
			v += century
		}
		p.year = v
	case 'M':
		p.month = v
	case 'd':
		p.day = v
	case 'D':
		p.yearDay = v
	case 'H':
		p.hour = v
	case 'k':
		p.hour = v % 24
	case 'h':
		p.hour, p.hour12 = v%12, true
	case 'K':
		p.hour, p.hour12 = v, true
	case 'm':
		p.minute = v
	case 's':
		p.second = v
	case 'S':
		p.milli = v
	}
}

func (p *parsed) readName(text string, f sparksql.PatternField) (string, bool) {
	switch f.Letter {
	case 'M':
		for m := time.January; m <= time.December; m++ {
			if rest, ok := cutName(text, m.String()); ok {
				p.month = int(m)
				return rest, true
			}
		}
	case 'E':
		for d := time.Sunday; d <= time.Saturday; d++ {
			if rest, ok := cutName(text, d.String()); ok {
				return rest, true
			}
		}
	case 'a':
		for i, s := range []string{"AM", "PM"} {
			if len(text) >= 2 && strings.EqualFold(text[:2], s) {
				p.half = i + 1
				return text[2:], true
			}
		}
	case 'z', 'Z', 'X':
		return p.readZone(text)
	}
	return "", false
}

// cutName takes a full English name or its first three letters.
func cutName(text, name string) (string, bool) {
	for _, s := range []string{name, name[:3]} {
		if len(text) >= len(s) && strings.EqualFold(text[:len(s)], s) {
			return text[len(s):], true
		}
	}
	return "", false
}

// readZone takes Z, UTC, GMT, +0530, +05:30, GMT+05:30 or a zone's IANA name.
func (p *parsed) readZone(text string) (string, bool) {
	rest := text
	for _, s := range []string{"GMT", "UTC", "Z"} {
		if r, ok := strings.CutPrefix(rest, s); ok {
			p.zone = time.UTC
			rest = r
			break
		}
	}
	if rest != "" && (rest[0] == '+' || rest[0] == '-') {
		sign := 1
		if rest[0] == '-' {
			sign = -1
		}
		digits := ""
		n := 1
		for ; n < len(rest) && len(digits) < 4 && (rest[n] >= '0' && rest[n] <= '9' || rest[n] == ':' && len(digits) == 2); n++ {
			if rest[n] != ':' {
				digits += string(rune(rest[n]))
			}
		}
		if len(digits) == 2 {
			digits += "00"
		}
		if len(digits) != 4 {
			return "", false
		}
		hours, _ := strconv.Atoi(digits[:2])
		minutes, _ := strconv.Atoi(digits[2:])
		p.zone = time.FixedZone("", sign*(hours*3600+minutes*60))
		return rest[n:], true
	}
	if rest != text {
		return rest, true
	}
	n := 0
	for n < len(text) && (text[n] == '/' || text[n] == '_' || text[n] >= 'A' && text[n] <= 'Z' || text[n] >= 'a' && text[n] <= 'z') {
		n++
	}
	if n == 0 {
		return "", false
	}
	zone, err := time.LoadLocation(text[:n])
	if err != nil {
		return "", false
	}
	p.zone = zone
	return text[n:], true
}
