package filter

import (
	"errors"
	"strings"
	"testing"
)

func TestMatches(t *testing.T) {
	props := map[string]string{"Adapter.Type": "http", "n": "10", "name": "Ada Lovelace", "path": `a*(b)\c`, "empty": ""}
	for text, want := range map[string]bool{
		"(adapter.type=http)": true, "(ADAPTER.TYPE=http)": true, "(adapter.type=HTTP)": false, "(adapter.type~= H T TP)": true,
		"(n>=9)": true, "(n>=10)": true, "(n<=9.5)": false, "(n= 10)": false, "(name>=Ada)": true,
		"(absent=x)": false, "(absent<=x)": false, "(!(absent=x))": true, "(absent=*)": false, "(empty=*)": true, "(empty=)": true,
		"(name=A*Love*e)": true, "(name=*Love*)": true, "(name=*love*)": false, "(name=Ada**e)": true, "(name=Ada Lovelace*Ada Lovelace)": false,
		`(path=a\*\(b\)\\c)`: true, `(path=a\2a\28b\29\5Cc)`: true, `(path=a\**)`: true,
		"(&(n=10)(name=*))": true, "(&(n=10)(name=x))": false, "(|(n=11)(name=A*))": true, " ( & ( n =10) (!(|(a=1)(b=2))) ) ": true,
	} {
		f, err := Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := f.Matches(props); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
	if !(*Filter)(nil).Matches(nil) || !(*Filter)(nil).Possible(nil) {
		t.Error("a nil filter does not match")
	}
}

func TestSyntaxErrorsNameThePosition(t *testing.T) {
	for text, want := range map[string]int{
		"": 1, "a=b": 1, "(a=b": 1, "(a=b))": 6, "(&)": 3, "(!(a=b)(c=d))": 8, "(=b)": 2, "(a)": 3, "(a>b)": 3, "(a=b(c)": 5, `(a=\x)`: 4, `(a=\`: 4,
		"(a>=x*)": 6, "(&(a=b)(c=d)": 1, "(&(a=b)x(c=d))": 8, "(a=\xff)": 1, "(a=b)(c=d)": 6, "(&(a=b)(c~d))": 10, "(&=x)": 3, "(a*b=c)": 3,
		"(&(a=b)|(c=d)))": 8,
	} {
		_, err := Parse(text)
		var s *SyntaxError
		if !errors.As(err, &s) {
			t.Errorf("%s: no error", text)
		} else if s.Position != want {
			t.Errorf("%s: position %d, want %d (%s)", text, s.Position, want, s.Text)
		}
	}
	if _, err := Parse(strings.Repeat("(!", 100) + "(a=b)" + strings.Repeat(")", 100)); err == nil {
		t.Error("100 levels were read")
	}
	if _, err := Parse("(a=" + strings.Repeat("x", MaxBytes) + ")"); err == nil {
		t.Error("a filter beyond the limit was read")
	}
}

// TestPossible: what a provider has not said yet may still come; what it has said is final.
func TestPossible(t *testing.T) {
	f, err := Parse("(&(kind=a)(!(old=*))(|(size>=3)(any=x)))")
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		props map[string]string
		want  bool
	}{
		{nil, true}, {map[string]string{"kind": "a"}, true}, {map[string]string{"kind": "b"}, false}, {map[string]string{"old": "1"}, false},
		{map[string]string{"size": "2"}, true}, {map[string]string{"size": "2", "any": "y"}, false}, {map[string]string{"size": "3"}, true},
	} {
		if got := f.Possible(x.props); got != x.want {
			t.Errorf("%v: %v", x.props, got)
		}
	}
	if got := f.Failing(map[string]string{"kind": "b"}, true); got != "(kind=a)" {
		t.Errorf("failing: %s", got)
	}
	if got := f.Failing(map[string]string{"kind": "a"}, false); got != "(|(size>=3)(any=x))" {
		t.Errorf("failing: %s", got)
	}
}

func TestKey(t *testing.T) {
	for text, want := range map[string]string{
		"(&(kind=a)(|(size>=3)(any=x)))": "kind=a", "(Kind=a)": "kind=a", "(&(z=1)(&(b=2)(c=3)))": "b=2",
		"(!(kind=a))": "=", "(|(kind=a)(kind=b))": "=", "(kind=*)": "=", "(kind>=1)": "=",
	} {
		f, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if name, value, ok := f.Key(); name+"="+value != want || ok != (want != "=") {
			t.Errorf("%s: %s=%s, %t", text, name, value, ok)
		}
	}
	if _, _, ok := (*Filter)(nil).Key(); ok {
		t.Error("no filter has a key")
	}
}

func TestEqual(t *testing.T) {
	f := Equal(map[string]string{"b": "(x*", "a": "1"})
	if f.String() != `(&(a=1)(b=\(x\*))` {
		t.Error(f.String())
	}
	if !f.Matches(map[string]string{"a": "1", "b": "(x*", "c": "2"}) || f.Matches(map[string]string{"a": "1", "b": "(xy"}) {
		t.Error("the map's filter does not mean what the map says")
	}
	if Equal(nil) != nil {
		t.Error("an empty map is a filter")
	}
}

// FuzzParse: what is read is written so that it is read again as the same, and means the same.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"(a=b)", "(&(a=b)(!(c=*)))", "(|(a>=1)(b<=2)(c~=x y))", `(a=x*\2a*y\\)`, "(a=", "((", "(!(!(a=*)))"} {
		f.Add(s, "a", "b")
	}
	f.Fuzz(func(t *testing.T, text, key, value string) {
		x, err := Parse(text)
		if err != nil {
			var s *SyntaxError
			if !errors.As(err, &s) || s.Position < 1 || s.Position > len(text)+1 {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		y, err := Parse(x.String())
		if err != nil {
			t.Fatalf("%q was written as %q: %v", text, x.String(), err)
		}
		props := map[string]string{key: value}
		if x.String() != y.String() || x.Matches(props) != y.Matches(props) || x.Possible(props) != y.Possible(props) {
			t.Fatalf("%q and %q differ", text, x.String())
		}
		if x.Matches(props) && !x.Possible(props) {
			t.Fatalf("%q matches and is not possible", text)
		}
		if (x.Failing(props, false) == "") != x.Matches(props) {
			t.Fatalf("%q: failing %q", text, x.Failing(props, false))
		}
	})
}
