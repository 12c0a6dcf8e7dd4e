package receivers

import (
	"errors"
	"strings"
	"testing"

	"carbonado.dev/sdk/carbonxml"
	"carbonado.dev/sdk/cause"
)

const good = `<eventReceiver name="r" statistics="disable" trace="disable" xmlns="http://wso2.org/carbon/eventreceiver">
    <from eventAdapterType="http"><property name="transports">all</property></from>
    <mapping customMapping="disable" type="json"/>
    <to streamName="a.b" version="2.0.0"/>
</eventReceiver>`

func TestParse(t *testing.T) {
	d, err := parse("f.xml", []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if d.name != "r" || d.adapter != "http" || d.mapping != "json" || d.stream != "a.b:2.0.0" || d.properties["transports"] != "all" || len(d.notices) != 0 {
		t.Errorf("%+v", d)
	}
	d, err = parse("f.xml", []byte(`<eventReceiver name="r"><from eventAdapterType="wso2event"/><mapping type="wso2event"/><to streamName="a"/><extra/></eventReceiver>`))
	if err != nil || d.stream != "a:1.0.0" || len(d.notices) != 1 || !strings.Contains(d.notices[0], "f.xml:1:") {
		t.Errorf("%+v %v", d, err)
	}
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct {
		old, new string
		kind     error
		line     int
	}{
		{"<eventReceiver", "<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>\n<eventReceiver", carbonxml.ErrXML, 1},
		{"</eventReceiver>", "", carbonxml.ErrXML, 5},
		{`http://wso2.org/carbon/eventreceiver`, "urn:other", ErrFile, 1},
		{`name="r" `, ``, ErrFile, 1},
		{`name="r" `, `name="a/b" `, ErrFile, 1},
		{` eventAdapterType="http"`, ``, ErrFile, 2},
		{`<property name="transports">`, `<property name="transports" encrypted="true">`, ErrUnsupported, 2},
		{`<property name="transports">`, `<property>`, ErrFile, 2},
		{`type="json"`, `type="csv"`, ErrFile, 3},
		{`type="json"`, `type="xml"`, ErrUnsupported, 3},
		{`type="json"`, `type="wso2event"`, ErrUnsupported, 3},
		{`customMapping="disable"`, `customMapping="enable"`, ErrUnsupported, 3},
		{`customMapping="disable"`, `customMapping="maybe"`, ErrFile, 3},
		{`streamName="a.b" `, ``, ErrFile, 4},
		{`    <to streamName="a.b" version="2.0.0"/>`, ``, ErrFile, 1},
		{`    <mapping customMapping="disable" type="json"/>`, ``, ErrFile, 1},
	} {
		text := strings.Replace(good, c.old, c.new, 1)
		if text == good {
			t.Fatalf("%q is not in the file", c.old)
		}
		_, err := parse("f.xml", []byte(text))
		var e *cause.Error
		if !errors.Is(err, c.kind) || !errors.As(err, &e) {
			t.Errorf("%q: %v", c.new, err)
			continue
		}
		if file, line, _ := e.Position(); file != "f.xml" || line != c.line {
			t.Errorf("%q: %v, want line %d", c.new, err, c.line)
		}
	}
}
