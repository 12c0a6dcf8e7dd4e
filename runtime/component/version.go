package component

import (
	"fmt"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// Range is an interval of versions: "[1.0,2)", "(1.2,1.9]", "[1.4,)", or "1.2", which means 1.2 or later.
type Range struct {
	text        string
	low, high   *semver.Version // high nil: no end
	lowIn, hiIn bool
}

// ParseRange reads a range. Brackets include their end, parentheses do not; a bare version means "at least".
func ParseRange(s string) (*Range, error) {
	text := strings.TrimSpace(s)
	if text == "" {
		return nil, fmt.Errorf("the version range is empty")
	}
	r := &Range{text: text, lowIn: true}
	first := text[0]
	if first != '[' && first != '(' {
		v, err := semver.NewVersion(text)
		if err != nil {
			return nil, fmt.Errorf("%q is neither a version nor a range such as [1.0,2): %w", s, err)
		}
		r.low = v
		return r, nil
	}
	last := text[len(text)-1]
	if last != ']' && last != ')' {
		return nil, fmt.Errorf("the range %q has no closing ] or )", s)
	}
	low, high, ok := strings.Cut(text[1:len(text)-1], ",")
	if !ok {
		return nil, fmt.Errorf("the range %q needs two ends, as in [1.0,2)", s)
	}
	r.lowIn, r.hiIn = first == '[', last == ']'
	var err error
	if r.low, err = semver.NewVersion(strings.TrimSpace(low)); err != nil {
		return nil, fmt.Errorf("the lower end of %q is no version: %w", s, err)
	}
	if h := strings.TrimSpace(high); h != "" {
		if r.high, err = semver.NewVersion(h); err != nil {
			return nil, fmt.Errorf("the upper end of %q is no version: %w", s, err)
		}
		if c := r.low.Compare(r.high); c > 0 || c == 0 && !(r.lowIn && r.hiIn) {
			return nil, fmt.Errorf("no version lies in the range %q", s)
		}
	} else if r.hiIn {
		return nil, fmt.Errorf("the range %q has no upper end and must close with )", s)
	}
	return r, nil
}

// Has tells whether v lies in the range. A nil range has every version. A pre-release of an excluded upper end is excluded
// too: 2.0.0-rc.1 is no 1.x.
func (r *Range) Has(v *semver.Version) bool {
	if r == nil {
		return true
	}
	if v == nil {
		return false
	}
	if c := v.Compare(r.low); c < 0 || c == 0 && !r.lowIn {
		return false
	}
	if r.high == nil {
		return true
	}
	if !r.hiIn && v.Prerelease() != "" && r.high.Prerelease() == "" &&
		v.Major() == r.high.Major() && v.Minor() == r.high.Minor() && v.Patch() == r.high.Patch() {
		return false
	}
	c := v.Compare(r.high)
	return c < 0 || c == 0 && r.hiIn
}

// String is the range as it was written; a nil range is "any".
func (r *Range) String() string {
	if r == nil {
		return "any"
	}
	return r.text
}
