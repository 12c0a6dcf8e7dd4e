package receivers

import (
	"errors"
	"fmt"
	"strconv"

	"carbonado.dev/sdk/databridge"
	"carbonado.dev/sdk/databridge/lenientjson"
	"carbonado.dev/sdk/databridge/streamdef"
)

// maxMessage is the largest message in bytes and maxEvents how many events it may hold.
const (
	maxMessage = 8 << 20
	maxEvents  = 100_000
)

// mapJSON maps a message in DAS's default form (DAS.md section 4.3): {"event":{"metaData":{},"correlationData":{},"payloadData":{}}} or
// an array of such. A message is mapped as a whole or not at all.
func mapJSON(l *databridge.Layout, message []byte, now int64) (*databridge.Rows, error) {
	if len(message) > maxMessage {
		return nil, ErrMapping.New("a message of %d bytes; at most %d are possible", len(message), maxMessage)
	}
	root, err := lenientjson.Parse(message)
	if err != nil {
		var s *lenientjson.SyntaxError
		if errors.As(err, &s) {
			return nil, ErrMapping.New("%s", s.Text).At("message", s.Line, s.Column)
		}
		return nil, ErrMapping.Wrap(err, "the message can't be read")
	}
	events := []*lenientjson.Value{root}
	if root.Kind == lenientjson.Array {
		events = root.Items
	}
	if len(events) > maxEvents {
		return nil, ErrMapping.New("a message of %d events; at most %d are possible", len(events), maxEvents)
	}
	rows := databridge.NewRows(l)
	for i, e := range events {
		if err := mapEvent(l, e, now, rows); err != nil {
			var p *placed
			if errors.As(err, &p) {
				return nil, ErrMapping.New("event %d of %d: %s", i+1, len(events), p.text).At("message", p.at.Line, p.at.Column)
			}
			return nil, ErrMapping.Wrap(err, "event %d of %d", i+1, len(events))
		}
	}
	return rows, nil
}

// placed is what is wrong at a place of the message.
type placed struct {
	at   *lenientjson.Value
	text string
}

func (p *placed) Error() string { return p.text }

func wrong(at *lenientjson.Value, format string, args ...any) error {
	return &placed{at, fmt.Sprintf(format, args...)}
}

func mapEvent(l *databridge.Layout, v *lenientjson.Value, now int64, rows *databridge.Rows) error {
	if v.Kind != lenientjson.Object {
		return wrong(v, "%s where an object {\"event\": …} should be", v.Kind)
	}
	event := v.Get("event")
	if event == nil || event.Kind != lenientjson.Object {
		return wrong(v, "the object \"event\" is missing")
	}
	d := l.Definition
	values := make([]any, 0, len(d.Meta)+len(d.Correlation)+len(d.Payload))
	for _, section := range []struct {
		name  string
		attrs []streamdef.Attribute
	}{{"metaData", d.Meta}, {"correlationData", d.Correlation}, {"payloadData", d.Payload}} {
		data := event.Get(section.name)
		if data != nil && data.Kind != lenientjson.Object && data.Kind != lenientjson.Null {
			return wrong(data, "%s is %s instead of an object", section.name, data.Kind)
		}
		for _, a := range section.attrs {
			var cell *lenientjson.Value
			if data != nil {
				cell = data.Get(a.Name)
			}
			if cell == nil || cell.Kind == lenientjson.Null {
				if a.Type != streamdef.String {
					at := event
					if data != nil {
						at = data
					}
					return wrong(at, "%s.%s (%s) is missing", section.name, a.Name, a.Type)
				}
				values = append(values, nil)
				continue
			}
			x, err := convert(cell, a.Type)
			if err != nil {
				return wrong(cell, "%s.%s: %s", section.name, a.Name, err.Error())
			}
			values = append(values, x)
		}
	}
	return rows.Add(now, values, nil)
}

func convert(v *lenientjson.Value, t streamdef.Type) (any, error) {
	if v.Kind == lenientjson.Object || v.Kind == lenientjson.Array {
		return nil, fmt.Errorf("%s where a value of type %s should be", v.Kind, t)
	}
	bad := fmt.Errorf("%.60q is no value of type %s", v.Text, t)
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
		switch v.Text {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
	default:
		return v.Text, nil
	}
	return nil, bad
}
