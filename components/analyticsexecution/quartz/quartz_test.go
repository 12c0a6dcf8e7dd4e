package quartz

import (
	"bufio"
	"errors"
	"fmt"

	"os"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"carbonado.dev/sdk/cause"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	l, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestAgainstQuartz compares with what Quartz 2.3.2 itself says (testdata/Golden.java made the file).
func TestAgainstQuartz(t *testing.T) {
	f, err := os.Open("testdata/quartz-2.3.2.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := 0
	for sc := bufio.NewScanner(f); sc.Scan(); {
		part := strings.Split(sc.Text(), "|")
		lines++
		got := fires(t, part[0], part[1], part[2], len(strings.Fields(part[3])))
		if got != part[3] {
			t.Errorf("%q in %s after %s\n gives  %s\n Quartz %s", part[0], part[1], part[2], got, part[3])
		}
	}
	if lines < 900 {
		t.Errorf("only %d vectors", lines)
	}
}

func fires(t *testing.T, expr, zoneName, after string, n int) string {
	e, err := Parse(expr)
	if err != nil {
		if !errors.Is(err, ErrExpression) {
			t.Errorf("%q: %v is no ErrExpression", expr, err)
		}
		return "error"
	}
	at, err := time.Parse(time.RFC3339, after)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for range n {
		next := e.Next(at, zone(t, zoneName))
		if next.Never {
			out = append(out, "never")
			break
		}
		at = next.At
		out = append(out, at.UTC().Format("2006-01-02T15:04:05Z"))
	}
	return strings.Join(out, " ")
}

// TestOracle compares with a search over every second, or every day, of expressions of which the oracle keeps plain lists.
func TestOracle(t *testing.T) {
	utc := time.UTC
	rapid.Check(t, func(rt *rapid.T) {
		pick := func(label string, lo, hi int) (string, func(int) bool) {
			switch rapid.IntRange(0, 3).Draw(rt, label) {
			case 0:
				return "*", func(int) bool { return true }
			case 1:
				list := rapid.SliceOfN(rapid.IntRange(lo, hi), 1, 4).Draw(rt, label+" list")
				var text []string
				for _, v := range list {
					text = append(text, fmt.Sprint(v))
				}
				return strings.Join(text, ","), func(v int) bool {
					for _, x := range list {
						if x == v {
							return true
						}
					}
					return false
				}
			case 2:
				a, b := rapid.IntRange(lo, hi).Draw(rt, label+" from"), rapid.IntRange(lo, hi).Draw(rt, label+" to")
				return fmt.Sprintf("%d-%d", a, b), func(v int) bool {
					if a <= b {
						return v >= a && v <= b
					}
					return v >= a || v <= b
				}
			}
			a, step := rapid.IntRange(lo, hi).Draw(rt, label+" start"), rapid.IntRange(1, hi-lo).Draw(rt, label+" step")
			return fmt.Sprintf("%d/%d", a, step), func(v int) bool { return v >= a && (v-a)%step == 0 }
		}
		secText, sec := pick("seconds", 0, 59)
		minText, minute := pick("minutes", 0, 59)
		hourText, hour := pick("hours", 0, 23)
		domText, dom := pick("days", 1, 31)
		monText, mon := pick("months", 1, 12)
		dowText, dow := pick("weekdays", 1, 7)
		byWeekday := rapid.Bool().Draw(rt, "by weekday")
		text := fmt.Sprintf("%s %s %s %s %s ?", secText, minText, hourText, domText, monText)
		if byWeekday {
			text = fmt.Sprintf("%s %s %s ? %s %s", secText, minText, hourText, monText, dowText)
		}
		e, err := Parse(text)
		if err != nil {
			rt.Fatalf("%q: %v", text, err)
		}
		after := time.Date(2026, 1, 1, 0, 0, rapid.IntRange(0, 30*365*86400).Draw(rt, "after"), 0, utc)
		next := e.Next(after, utc)
		// Days first: from the day after "after" on, the first fitting second of the day is enough.
		fits := func(x time.Time) bool {
			return mon(int(x.Month())) && (byWeekday && dow(int(x.Weekday())+1) || !byWeekday && dom(x.Day()))
		}
		clock := func(from int) int {
			for c := from; c < 86400; c++ {
				if hour(c/3600) && minute(c/60%60) && sec(c%60) {
					return c
				}
			}
			return -1
		}
		day := time.Date(after.Year(), after.Month(), after.Day(), 0, 0, 0, 0, utc)
		from := int(after.Sub(day)/time.Second) + 1
		first := clock(0)
		for n := 0; n < 366*41; n++ {
			if fits(day) {
				c := first
				if from > 0 {
					c = clock(from)
				}
				if c >= 0 {
					want := day.Add(time.Duration(c) * time.Second)
					if next.Never || !next.At.Equal(want) {
						rt.Fatalf("%q after %s gives %+v, want %s", text, after, next, want)
					}
					return
				}
			}
			day, from = day.AddDate(0, 0, 1), 0
		}
		if !next.Never {
			rt.Fatalf("%q after %s gives %s, want never", text, after, next.At)
		}
	})
}

func TestNever(t *testing.T) {
	for _, text := range []string{"0 0 0 30 2 ?", "0 0 0 1 1 ? 2020", "0 0 0 31 4,6,9,11 ?", "0 0 0 29 2 ? 2027", "0 0 0 ? 2 1#5 2027"} {
		e, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if next := e.Next(time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC), time.UTC); !next.Never || !next.At.IsZero() {
			t.Errorf("%q fires at %v", text, next)
		}
	}
}

func TestErrorsNameTheColumn(t *testing.T) {
	for _, test := range []struct {
		text   string
		column int
		say    string
	}{
		{"60 * * * * ?", 1, "60 is no value of seconds, which goes from 0 to 59"},
		{"0 0 12 * * *", 1, "exactly one of day of month and day of week must be ?"},
		{"0 0 12 * 1", 11, "the expression ends before the field day of week"},
		{"0 0 12 ? FOO MON", 10, `"FOO" is no value of month`},
		{"0 0 12 ? * MON-FRI/2", 19, `unexpected "/2" in day of week`},
		{"0 0 12 L,15 * ?", 8, "L stands alone"},
		{"0 0 12 3W,5 * ?", 9, "W can't be used with other days of the month"},
		{"0 0 12 ? * 6#9", 14, "# must be followed by a number from 1 to 5"},
		{"0 0/99 12 ? * 6", 5, "the step 99 of minutes is beyond 59"},
		{"0 0 12 ? * MON 2030-2025", 25, "the first year of a range must be less than the last"},
		{"0 0 12 ? * MON 2030 x", 21, "there are at most seven fields"},
		{"0 0 12 1,,2 * ?", 10, "a value is missing in day of month"},
		{"0 ? 12 ? * MON", 3, "? stands only for day of month or day of week, not for minutes"},
		{"0 0 12 ? * MON 1969", 16, "1969 is no value of year"},
	} {
		_, err := Parse(test.text)
		var c *cause.Error
		if !errors.As(err, &c) {
			t.Errorf("%q gives %v", test.text, err)
			continue
		}
		if _, _, column := c.Position(); column != test.column || !strings.Contains(c.Error(), test.say) {
			t.Errorf("%q gives column %d: %v\n want column %d: %s", test.text, column, c, test.column, test.say)
		}
	}
	if _, err := Parse("0 0 0 1" + strings.Repeat(",1", 5000) + " * ?"); !errors.Is(err, ErrExpression) {
		t.Errorf("10 kB: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"0 0/5 * 1/1 * ? *", "0 15 10 ? * 6#3", "0 15 10 L-3W * ?", "0 0 22-2 ? NOV-FEB FRIL 2026-2030/2", "*/7 /3 0 LW JAN ?"} {
		f.Add(s)
	}
	after := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		e, err := Parse(text)
		if err != nil {
			return
		}
		if next := e.Next(after, time.UTC); !next.Never && !next.At.After(after) {
			t.Fatalf("%q fires at %s", text, next.At)
		}
	})
}
