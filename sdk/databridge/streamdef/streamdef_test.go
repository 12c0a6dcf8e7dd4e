package streamdef

import (
	"errors"
	"strings"
	"testing"

	"carbonado.dev/sdk/cause"
	"google.golang.org/protobuf/proto"
)

const smartHome = `{
  "name": "org.wso2.das.sample.smart.home.data",
  'version': '1.0.0',
  nickName: "",
  "description": "home's data",
  "metaData": [{"name": "host", "type": "STRING"}],
  "correlationData": [{name: trace, type: long}],
  "payloadData": [
    {"name": "house_id", "type": "INT"}, {"name": "power_reading", "type": "Float"},
    {"name": "is_peak", "type": "bool"}, {"name": "d", "type": "double"}
  ]
}`

func TestParse(t *testing.T) {
	d, notices, err := Parse("f.json", []byte(smartHome))
	if err != nil || len(notices) != 0 {
		t.Fatal(err, notices)
	}
	if d.ID() != "org.wso2.das.sample.smart.home.data:1.0.0" || d.FileName() != "org.wso2.das.sample.smart.home.data_1.0.0" {
		t.Errorf("id %s, file %s", d.ID(), d.FileName())
	}
	var got []string
	for _, c := range d.Columns() {
		got = append(got, c.Name+" "+c.Type.String())
	}
	if s := strings.Join(got, ", "); s != "meta_host string, correlation_trace long, house_id int, power_reading float, is_peak bool, d double" {
		t.Errorf("columns %s", s)
	}
	again, _, err := Parse("", d.JSON())
	if err != nil || !d.Same(again) || string(again.JSON()) != string(d.JSON()) {
		t.Errorf("JSON does not read as it was written: %v\n%s", err, d.JSON())
	}
	back, err := FromProto(d.Proto())
	if err != nil || !proto.Equal(back.Proto(), d.Proto()) || !back.Same(d) {
		t.Errorf("proto does not read as it was written: %v", err)
	}
	if d, _, err := Parse("", []byte(`{name:x}`)); err != nil || d.Version != "1.0.0" {
		t.Errorf("default version: %v %v", d, err)
	}
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct {
		in           string
		line, column int
		text         string
	}{
		{`[]`, 1, 1, "array"},
		{`{"version":"1.0.0"}`, 1, 1, "no name"},
		{"{\"name\":\"a\",\n\"version\":\"1.0\"}", 2, 11, "form"},
		{`{"name":"a:b"}`, 1, 9, "stream name"},
		{`{"name":"../../etc/x"}`, 1, 9, "stream name"},
		{`{"name":"a","streamId":"b:1.0.0"}`, 1, 24, "streamId"},
		{"{\"name\":\"a\",\"payloadData\":[\n {\"name\":\"x\",\"type\":\"blob\"}]}", 2, 21, "blob"},
		{"{\"name\":\"a\",\"payloadData\":[\n {\"name\":\"x\",\"type\":\"int\"},\n {\"name\":\"X\",\"type\":\"int\"}]}", 3, 2, "twice"},
		{`{"name":"a","metaData":[{"name":"x","type":"int"}],"payloadData":[{"name":"meta_x","type":"int"}]}`, 1, 67, "twice"},
		{`{"name":"a","payloadData":[{"name":"_seq","type":"long"}]}`, 1, 28, "reserved"},
		{`{"name":"a","payloadData":[{"name":"_timestamp","type":"int"}]}`, 1, 28, "reserved"},
		{`{"name":"a","payloadData":[{"type":"int"}]}`, 1, 28, "no name"},
		{`{"name":"a","payloadData":{}}`, 1, 27, "array"},
		{`{"name":"a","durable":"all"}`, 1, 9, "durable"},
		{`{"name":"a","name":"b"}`, 1, 13, "twice"},
		{`{"name":["a"]}`, 1, 9, "string"},
		{`{"name":`, 1, 9, "missing"},
	} {
		_, _, err := Parse("s.json", []byte(c.in))
		var e *cause.Error
		if !errors.Is(err, ErrMalformed) || !errors.As(err, &e) {
			t.Errorf("%s: got %v", c.in, err)
			continue
		}
		file, line, column := e.Position()
		if file != "s.json" || line != c.line || column != c.column || !strings.Contains(e.Error(), c.text) {
			t.Errorf("%s: got %v, want %d:%d …%s…", c.in, e, c.line, c.column, c.text)
		}
	}
	if _, _, err := Parse("s.json", []byte(strings.Repeat(" ", MaxText+1))); !errors.Is(err, ErrMalformed) {
		t.Errorf("a huge text: %v", err)
	}
}

func TestUnknownNamesAreNoticed(t *testing.T) {
	_, notices, err := Parse("", []byte("{name:a,\n colour: red, payloadData:[{name:x,type:int,unit:W}]}"))
	if err != nil || len(notices) != 2 || notices[0].Line != 2 || notices[0].Column != 2 {
		t.Errorf("%v %v", notices, err)
	}
}

func TestSameAndConflict(t *testing.T) {
	def := func(version, attributes string) *Definition {
		t.Helper()
		d, _, err := Parse("", []byte(`{name:s,version:'`+version+`',payloadData:[`+attributes+`]}`))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	a := def("1.0.0", "{name:x,type:int},{name:y,type:string}")
	b := def("1.0.0", "{name:y,type:string},{name:x,type:int}")
	if a.Same(b) {
		t.Error("another order of attributes is another definition: events are encoded by order")
	}
	c := *a
	c.Description, c.Durable = "other words", "none"
	if !a.Same(&c) {
		t.Error("texts don't count")
	}
	if err := def("1.1.0", "{name:x,type:long}").Conflict(a); !errors.Is(err, ErrDifferent) {
		t.Errorf("another type in another version: %v", err)
	}
	if err := def("1.1.0", "{name:x,type:int},{name:z,type:long}").Conflict(a); err != nil {
		t.Errorf("an attribute more: %v", err)
	}
	if err := b.Conflict(a); err != nil {
		t.Errorf("the same id is no matter of Conflict: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(smartHome))
	f.Add([]byte(`{"admin":false,"ADMIN":true,"name":"a"}`))
	f.Add([]byte(strings.Repeat("[", 200)))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, _, err := Parse("f", data)
		if err != nil {
			var e *cause.Error
			if !errors.As(err, &e) || e.Code() != ErrMalformed.ID() {
				t.Fatalf("%v", err)
			}
			return
		}
		if err := d.Validate(); err != nil {
			t.Fatalf("%q was read but is not valid: %v", data, err)
		}
		again, _, err := Parse("f", d.JSON())
		if err != nil || !again.Same(d) {
			t.Fatalf("%s: %v", d.JSON(), err)
		}
	})
}
