package jsonevent

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/databridge"
	"carbonado.dev/sdk/databridge/databridgetest"
	"carbonado.dev/sdk/databridge/streamdef"
)

func layout(t testing.TB) *databridge.Layout {
	t.Helper()
	d, _, err := streamdef.Parse("", []byte(`{name:s,metaData:[{name:h,type:string}],correlationData:[{name:c,type:long}],
		payloadData:[{name:i,type:int},{name:f,type:float},{name:d,type:double},{name:b,type:bool},{name:t,type:string}]}`))
	if err != nil {
		t.Fatal(err)
	}
	return databridge.NewLayout(d)
}

func TestMap(t *testing.T) {
	l := layout(t)
	one := `{"event":{"metaData":{"h":"x"},"correlationData":{"c":5},"payloadData":{"i":"7","f":1.5,"d":-2e3,"b":true,"extra":{}}}}`
	for _, c := range []struct {
		in   string
		rows int
		want string
	}{
		{one, 1, "s:1.0.0 _timestamp=9 meta_h=x correlation_c=5 i=7 f=1.5 d=-2000 b=true t=null _arbitrary=null"},
		{"[" + one + "," + one + "]", 2, "s:1.0.0 _timestamp=9 meta_h=x correlation_c=5 i=7 f=1.5 d=-2000 b=true t=null _arbitrary=null"},
		{`{event:{correlationData:{c:1},payloadData:{i:1,f:2,d:3,b:FALSE,t:bare}}}`, 1, "s:1.0.0 _timestamp=9 meta_h=null correlation_c=1 i=1 f=2 d=3 b=false t=bare _arbitrary=null"},
		{"[]", 0, ""},
	} {
		rows, err := Map(l, []byte(c.in), 9)
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		parts, err := rows.Parts(databridge.Stamp{}, nil)
		if err != nil || rows.Len() != c.rows {
			t.Errorf("%s: %d rows, %v", c.in, rows.Len(), err)
			continue
		}
		for _, p := range parts {
			got, err := databridgetest.Decode(p)
			if err != nil || got[len(got)-1] != c.want {
				t.Errorf("%s:\n got %q %v\nwant %q", c.in, got, err, c.want)
			}
		}
		databridge.FreeParts(parts)
	}
}

func TestMapErrors(t *testing.T) {
	l := layout(t)
	ok := `{"event":{"correlationData":{"c":1},"payloadData":{"i":1,"f":2,"d":3,"b":true}}}`
	for _, c := range []struct{ in, text string }{
		{"", "missing"},
		{"{", "the end"},
		{"7", "where an object"},
		{"{}", `"event" is missing`},
		{`{"event":7}`, `"event" is missing`},
		{`{"event":{"metaData":7}}`, "metaData is a number or word"},
		{`{"event":{"payloadData":{"i":1,"f":2,"d":3,"b":true}}}`, "correlationData.c (long) is missing"},
		{strings.Replace(ok, `"i":1`, `"i":1.5`, 1), `"1.5" is no value of type int`},
		{strings.Replace(ok, `"i":1`, `"i":3000000000`, 1), "no value of type int"},
		{strings.Replace(ok, `"b":true`, `"b":yes`, 1), "no value of type bool"},
		{strings.Replace(ok, `"d":3`, `"d":[3]`, 1), "an array where"},
		{strings.Replace(ok, `"f":2`, `"f":1e99`, 1), "no value of type float"},
		{"[" + ok + "," + strings.Replace(ok, `"i":1,`, "", 1) + "]", "event 2 of 2: payloadData.i (int) is missing"},
		{`{"event":{},"event":{}}`, "twice"},
	} {
		_, err := Map(l, []byte(c.in), 9)
		var e *cause.Error
		if !errors.Is(err, ErrMapping) || !errors.As(err, &e) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v, want …%s…", c.in, err, c.text)
			continue
		}
		if _, line, column := e.Position(); line < 1 || column < 1 {
			t.Errorf("%s: no place in %v", c.in, err)
		}
	}
	if _, err := Map(l, make([]byte, MaxMessage+1), 9); !errors.Is(err, ErrMapping) {
		t.Errorf("a huge message: %v", err)
	}
}

func TestLine(t *testing.T) {
	d := layout(t).Definition
	values, time, err := Line(d, []byte(`{"meta_h":"x","correlation_c":1,"i":2,"f":3,"d":4,"b":true,"_timestamp":77}`))
	if got := fmt.Sprint(values, time); err != nil || got != "[x 1 2 3 4 true <nil>] 77" {
		t.Errorf("%s %v", got, err)
	}
	if values, time, err = Line(d, []byte(`{"event":{"correlationData":{"c":1},"payloadData":{"i":1,"f":2,"d":3,"b":true,"t":"u"}}}`)); err != nil || time != 0 || values[6] != "u" {
		t.Errorf("%v %v", values, err)
	}
	if _, _, err = Line(d, []byte(`{"correlation_c":1,"i":2,"f":3,"d":4,"b":true,"colour":1}`)); !errors.Is(err, ErrMapping) || !strings.Contains(err.Error(), "colour") {
		t.Errorf("an unknown name: %v", err)
	}
}

func FuzzMap(f *testing.F) {
	l := layout(f)
	f.Add([]byte(`{"event":{"correlationData":{"c":1},"payloadData":{"i":1,"f":2,"d":3,"b":true}}}`))
	f.Add([]byte(`[{event:{}}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		rows, err := Map(l, data, 1)
		if err != nil {
			if !errors.Is(err, ErrMapping) {
				t.Fatal(err)
			}
			return
		}
		parts, err := rows.Parts(databridge.Stamp{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		databridge.FreeParts(parts)
	})
}
