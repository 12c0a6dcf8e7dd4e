// Package jsonevent reads events from JSON in DAS's default form (DAS.md section 4.3), leniently. It must not know where the text
// comes from.
package jsonevent

import (
	"errors"
	"fmt"
	"strconv"

	"google.golang.org/grpc/codes"

	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/databridge"
	"carbonado.dev/sdk/databridge/lenientjson"
	"carbonado.dev/sdk/databridge/streamdef"
)

// ErrMapping is the kind of a message that can't be read as events.
var ErrMapping = cause.Define("CBN-RCV-053", "A message can't be mapped to events.", "Send what the stream needs, in the form {\"event\":{\"metaData\":{},\"correlationData\":{},\"payloadData\":{}}} or an array of such.").Code(codes.InvalidArgument)

// Limits of a message.
const (
	MaxMessage = 8 << 20
	MaxEvents  = 100_000
)

// Map reads a message: one event or an array of events. It is mapped as a whole or not at all; errors are ErrMapping with line and
// column. now is the events' time, in milliseconds since 1970.
func Map(l *databridge.Layout, message []byte, now int64) (*databridge.Rows, error) {
	root, err := parse(message)
	if err != nil {
		return nil, err
	}
	events := []*lenientjson.Value{root}
	if root.Kind == lenientjson.Array {
		events = root.Items
	}
	if len(events) > MaxEvents {
		return nil, ErrMapping.New("a message of %d events; at most %d are possible", len(events), MaxEvents)
	}
	rows := databridge.NewRows(l)
	for i, e := range events {
		values, err := defaultForm(l.Definition, e)
		if err == nil {
			err = rows.Add(now, values, nil)
		}
		if err != nil {
			return nil, explain(err, fmt.Sprintf("event %d of %d: ", i+1, len(events)))
		}
	}
	return rows, nil
}

// Line reads one event from one line: the default form, or an object with the columns' names, {"meta_host":…,"price":…}, whose member
// `_timestamp` is the event's time. It answers 0 for a time that is not there.
func Line(d *streamdef.Definition, line []byte) (values []any, time int64, err error) {
	root, err := parse(line)
	if err != nil {
		return nil, 0, err
	}
	if root.Kind == lenientjson.Object && root.Get("event") == nil {
		values, time, err = flatForm(d, root)
	} else {
		values, err = defaultForm(d, root)
	}
	if err != nil {
		return nil, 0, explain(err, "")
	}
	return values, time, nil
}

func parse(text []byte) (*lenientjson.Value, error) {
	if len(text) > MaxMessage {
		return nil, ErrMapping.New("a message of %d bytes; at most %d are possible", len(text), MaxMessage)
	}
	root, err := lenientjson.Parse(text)
	var s *lenientjson.SyntaxError
	if errors.As(err, &s) {
		return nil, ErrMapping.New("%s", s.Text).At("message", s.Line, s.Column)
	}
	if err != nil {
		return nil, ErrMapping.Wrap(err, "the message can't be read")
	}
	return root, nil
}

// misplaced is what is wrong at a place of the message.
type misplaced struct {
	at   *lenientjson.Value
	text string
}

func (p *misplaced) Error() string { return p.text }

func wrong(at *lenientjson.Value, format string, args ...any) error {
	return &misplaced{at, fmt.Sprintf(format, args...)}
}

func explain(err error, prefix string) error {
	var p *misplaced
	if errors.As(err, &p) {
		return ErrMapping.New("%s%s", prefix, p.text).At("message", p.at.Line, p.at.Column)
	}
	return ErrMapping.Wrap(err, "%san event can't be taken", prefix)
}

func defaultForm(d *streamdef.Definition, v *lenientjson.Value) ([]any, error) {
	if v.Kind != lenientjson.Object {
		return nil, wrong(v, "%s where an object {\"event\": …} should be", v.Kind)
	}
	event := v.Get("event")
	if event == nil || event.Kind != lenientjson.Object {
		return nil, wrong(v, "the object \"event\" is missing")
	}
	values := make([]any, 0, len(d.Meta)+len(d.Correlation)+len(d.Payload))
	for _, section := range []struct {
		name  string
		attrs []streamdef.Attribute
	}{{"metaData", d.Meta}, {"correlationData", d.Correlation}, {"payloadData", d.Payload}} {
		data := event.Get(section.name)
		if data != nil && data.Kind != lenientjson.Object && data.Kind != lenientjson.Null {
			return nil, wrong(data, "%s is %s instead of an object", section.name, data.Kind)
		}
		if data == nil {
			data = &lenientjson.Value{Line: event.Line, Column: event.Column}
		}
		for _, a := range section.attrs {
			x, err := value(data, a.Name, section.name+"."+a.Name, a.Type)
			if err != nil {
				return nil, err
			}
			values = append(values, x)
		}
	}
	return values, nil
}

func flatForm(d *streamdef.Definition, v *lenientjson.Value) (values []any, time int64, err error) {
	known := map[string]bool{"_timestamp": true}
	for _, c := range d.Columns() {
		known[c.Name] = true
		x, err := value(v, c.Name, c.Name, c.Type)
		if err != nil {
			return nil, 0, err
		}
		values = append(values, x)
	}
	for _, m := range v.Members {
		if !known[m.Name] {
			return nil, 0, wrong(m.Value, "stream %s has no attribute %.60q", d.ID(), m.Name)
		}
	}
	if t := v.Get("_timestamp"); t != nil && t.Kind != lenientjson.Null {
		x, err := convert(t, streamdef.Long)
		if err != nil {
			return nil, 0, wrong(t, "_timestamp: %s", err.Error())
		}
		time = x.(int64)
	}
	return values, time, nil
}

// value takes an attribute: a missing string is null, anything else that is missing is an error.
func value(data *lenientjson.Value, name, label string, t streamdef.Type) (any, error) {
	cell := data.Get(name)
	if cell == nil || cell.Kind == lenientjson.Null {
		if t != streamdef.String {
			return nil, wrong(data, "%s (%s) is missing", label, t)
		}
		return nil, nil
	}
	x, err := convert(cell, t)
	if err != nil {
		return nil, wrong(cell, "%s: %s", label, err.Error())
	}
	return x, nil
}

func convert(v *lenientjson.Value, t streamdef.Type) (any, error) {
	if v.Kind == lenientjson.Object || v.Kind == lenientjson.Array {
		return nil, fmt.Errorf("%s where a value of type %s should be", v.Kind, t)
	}
	switch t {
	case streamdef.Int:
		if n, err := strconv.ParseInt(v.Text, 10, 32); err == nil {
			return int32(n), nil
		}
	case streamdef.Long:
		if n, err := strconv.ParseInt(v.Text, 10, 64); err == nil {
			return n, nil
		}
	case streamdef.Float:
		if f, err := strconv.ParseFloat(v.Text, 32); err == nil {
			return float32(f), nil
		}
	case streamdef.Double:
		if f, err := strconv.ParseFloat(v.Text, 64); err == nil {
			return f, nil
		}
	case streamdef.Bool:
		if v.Text == "true" || v.Text == "false" {
			return v.Text == "true", nil
		}
	default:
		return v.Text, nil
	}
	return nil, fmt.Errorf("%.60q is no value of type %s", v.Text, t)
}
